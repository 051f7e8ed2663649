//! Why a repository cannot be read as a stream.

use blockstore_car::CarError;
use blockstore_core::{Cid, StoreError};

use crate::Error;

/// Why a repository cannot be read any further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The stream failed, or is not a CAR, or one of its blocks does not match its CID.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The CAR names no root, so no commit.
    #[error("the CAR names no root")]
    NoRoot,
    /// A block is neither in the rest of the CAR nor among the most recent records: it is missing,
    /// or was returned too long ago
    /// ([`StreamOptions::memory_bytes`](crate::StreamOptions::memory_bytes)).
    #[error("block {0} is neither in the rest of the CAR nor among the last records read")]
    NotAhead(Cid),
    /// Too many blocks came before they were wanted: the CAR is in another order, or has a record
    /// only once that is wanted again much later.
    #[error(
        "blocks that came before they were needed take more than {limit} bytes: the CAR is not in \
         streamable order, or lacks a record that is needed again, and must be read with more \
         `StreamOptions::memory_bytes`, or as a `CarBlockStore` from a file or memory"
    )]
    TooMuchAside {
        /// [`StreamOptions::memory_bytes`](crate::StreamOptions::memory_bytes).
        limit: usize,
    },
    /// What was read is not a valid repository.
    #[error(transparent)]
    Repository(#[from] Error),
    /// Blocks were requested after records, or records after blocks, or an import after either:
    /// what has passed does not come again. You can go on with what was read before.
    #[error("part of the repository was read already, and cannot be read again")]
    AlreadyRead,
    /// Reading went on after an error, which is not possible.
    #[error("nothing can be read after an earlier error")]
    AfterError,
}

impl StreamError {
    /// Returns the block that is missing or at fault, if it is one block's fault.
    pub fn cid(&self) -> Option<Cid> {
        match self {
            Self::Car(error) => error.cid(),
            Self::Repository(error) => error.cid(),
            Self::NotAhead(cid) => Some(*cid),
            Self::NoRoot | Self::TooMuchAside { .. } | Self::AlreadyRead | Self::AfterError => None,
        }
    }
}

impl From<StoreError> for StreamError {
    fn from(error: StoreError) -> Self {
        Self::Repository(error.into())
    }
}
