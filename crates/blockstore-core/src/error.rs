//! What can go wrong with a block store.

use std::error::Error;

use cid::Cid;

/// Why a store did not give or take a block.
///
/// There is one error type for all stores, so that they compose. A block that is not there is not
/// an error: it is `Ok(None)`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The bytes are not the ones that the CID names.
    #[error("block {0} does not hash to its CID")]
    HashMismatch(Cid),
    /// The CID's hash is not one that can be computed here (only sha2-256 with the whole digest
    /// can), so nothing can be said about the bytes.
    #[error("block {0} cannot be verified: its hash is not sha2-256 with 32 bytes")]
    Unverifiable(Cid),
    /// The backend of the store failed; trying again may help.
    #[error("the block store failed")]
    Backend(#[source] Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// Returns the CID of the block at fault, if it is one block's fault.
    pub fn cid(&self) -> Option<Cid> {
        match self {
            Self::HashMismatch(cid) | Self::Unverifiable(cid) => Some(*cid),
            Self::Backend(_) => None,
        }
    }

    /// Wraps the error of a store's backend.
    pub fn backend(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Backend(error.into())
    }
}
