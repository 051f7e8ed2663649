//! Why a repository cannot be read as it comes in.

use blockstore_car::CarError;
use blockstore_core::{Cid, StoreError};

use crate::Error;

/// Why a repository cannot be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The stream failed, or is no CAR, or one of its blocks is not what its CID names.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The CAR names no root, so no commit.
    #[error("the CAR names no root")]
    NoRoot,
    /// A block is not in the rest of the CAR, nor among the records that were given last: it is
    /// missing, or was given too long ago ([`StreamOptions::memory_bytes`](crate::StreamOptions::memory_bytes)).
    #[error("block {0} is neither in the rest of the CAR nor among the records read last")]
    NotAhead(Cid),
    /// Too much came before it was wanted: the CAR is in another order.
    #[error(
        "blocks that came before they were wanted take more than {limit} bytes: the CAR is not in \
         streamable order, and must be read with more `StreamOptions::memory_bytes`, or as a \
         `CarBlockStore` from a file or memory"
    )]
    TooMuchAside {
        /// [`StreamOptions::memory_bytes`](crate::StreamOptions::memory_bytes).
        limit: usize,
    },
    /// What came is not a repository.
    #[error(transparent)]
    Repository(#[from] Error),
    /// Blocks were asked for after records, or records after blocks, or an import after either:
    /// what was passed does not come again. What was read before can be read on.
    #[error("part of the repository was read already, and does not come again")]
    AlreadyRead,
    /// Reading went on behind an error, where nothing can be read.
    #[error("there was an error before, and nothing can be read behind it")]
    AfterError,
}

impl From<StoreError> for StreamError {
    fn from(error: StoreError) -> Self {
        Self::Repository(error.into())
    }
}
