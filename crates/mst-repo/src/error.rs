//! The errors of a repository, by what the caller can do about them.

use blockstore_core::{Cid, StoreError};

use crate::brief::Quoted;
use crate::{InvalidCommit, InvalidNsid, InvalidPath, SignatureError};

/// Why an operation on a repository failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The block store failed, or returned a block that does not match its CID.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A block is missing: the commit, a node or a record. Fetch it and try again.
    #[error("block {0} is missing")]
    MissingBlock(Cid),
    /// The block is not a commit.
    #[error("block {cid} is not a valid commit")]
    InvalidCommit {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        source: Box<InvalidCommit>,
    },
    /// The commit is not signed by the key that was given.
    #[error("the signature of commit {cid} is not valid")]
    Signature {
        /// The commit.
        cid: Cid,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// A block is not a node, or a node is out of place in the tree. Never a missing block or a
    /// failure of the store, which are [`MissingBlock`](Self::MissingBlock) and
    /// [`Store`](Self::Store).
    #[error(transparent)]
    Tree(mst_ops::Error),
    /// A key of the tree, or what was asked for, is not the path of a record.
    #[error("{} is not a repository path", Quoted(key))]
    InvalidPath {
        /// The key, with invalid UTF-8 replaced.
        key: String,
        /// What is wrong with it.
        source: Box<InvalidPath>,
    },
    /// Nodes that nothing links to have different values for a key, so it is not known which is the
    /// latest; from [`Repository::salvage_among`](crate::Repository::salvage_among).
    #[error(
        "nodes that cannot be reached have different values for {}",
        Quoted(key)
    )]
    Ambiguous {
        /// The key, with invalid UTF-8 replaced.
        key: String,
    },
    /// The name of a collection is not valid.
    #[error("{} is not the name of a collection", Quoted(collection))]
    InvalidCollection {
        /// What was asked for.
        collection: String,
        /// What is wrong with it.
        source: Box<InvalidNsid>,
    },
}

impl Error {
    /// Returns the block that is missing or at fault, if it is one block's fault.
    pub fn cid(&self) -> Option<Cid> {
        match self {
            Self::Store(error) => error.cid(),
            Self::Tree(error) => error.cid(),
            Self::MissingBlock(cid)
            | Self::InvalidCommit { cid, .. }
            | Self::Signature { cid, .. } => Some(*cid),
            Self::InvalidPath { .. } | Self::Ambiguous { .. } | Self::InvalidCollection { .. } => {
                None
            }
        }
    }

    /// The error for a key that is not a path.
    pub(crate) fn invalid_path(key: &[u8], fault: InvalidPath) -> Self {
        Self::InvalidPath {
            key: String::from_utf8_lossy(key).into_owned(),
            source: Box::new(fault),
        }
    }
}

impl From<mst_ops::Error> for Error {
    fn from(error: mst_ops::Error) -> Self {
        match error {
            mst_ops::Error::Store(error) => Self::Store(error),
            mst_ops::Error::MissingBlock(cid) => Self::MissingBlock(cid),
            error => Self::Tree(error),
        }
    }
}
