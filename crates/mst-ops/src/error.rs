//! The errors of a tree, by what the caller can do about them.

use blockstore_core::{Cid, StoreError};
use mst_node::{DIGEST_LEN, DecodeError, InvalidKey, MixedHeights, node_cid};

/// Why an operation on a tree failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The block store failed, or returned a block that does not match its CID. Its error says
    /// whether trying again can help.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A block is missing. Fetch it and try again.
    #[error("block {0} is missing")]
    MissingBlock(Cid),
    /// A block is there, but is not a node of any tree.
    #[error("block {cid} is not a valid node")]
    InvalidNode {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        source: Box<InvalidNode>,
    },
    /// A node is valid in itself but in the wrong place, so this is not a tree.
    #[error("node {cid} is out of place: {fault}")]
    InvalidTree {
        /// The node; for [`TreeFault::BelowBottom`] the node that links to it.
        cid: Cid,
        /// What is wrong with its place.
        fault: TreeFault,
    },
    /// The key to be inserted cannot be in any tree.
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    /// A [`TreeBuilder`](crate::TreeBuilder) was given a key that is not greater than the one
    /// before it.
    #[error("entry {index}: the key is not greater than the one before")]
    KeyOrder {
        /// The entry, counted from 0.
        index: u64,
    },
    /// A change would make a node that the limits of the node store refuse to read back.
    #[error("a node of {entries} entries with keys of {keys_len} bytes would be too large")]
    NodeTooLarge {
        /// How many entries it would have.
        entries: usize,
        /// How many bytes its keys would take, written out in full.
        keys_len: usize,
    },
}

impl Error {
    /// Returns the block that is missing or at fault, if it is one block's fault.
    pub fn cid(&self) -> Option<Cid> {
        match self {
            Self::Store(error) => error.cid(),
            Self::MissingBlock(cid)
            | Self::InvalidNode { cid, .. }
            | Self::InvalidTree { cid, .. } => Some(*cid),
            Self::InvalidKey(_) | Self::KeyOrder { .. } | Self::NodeTooLarge { .. } => None,
        }
    }

    /// The error for a missing node.
    pub(crate) fn missing_node(digest: &[u8; DIGEST_LEN]) -> Self {
        Self::MissingBlock(node_cid(digest))
    }
}

/// What is wrong with a node in itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNode {
    /// The block is not the canonical encoding of a node.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    /// Its keys belong on different levels.
    #[error(transparent)]
    MixedHeights(#[from] MixedHeights),
}

/// What is wrong with the place of a node in its tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeFault {
    /// A root that is not named by a CIDv1, dag-cbor, sha2-256.
    #[error("a root must be named by a CIDv1, dag-cbor, sha2-256")]
    RootCid,
    /// The top node has no keys, only a subtree.
    #[error("the top node has no keys, but a subtree")]
    TopWithoutKeys,
    /// A node with neither keys nor a subtree below another node.
    #[error("a node below the top has neither keys nor a subtree")]
    Empty,
    /// A node's keys have another height than its level.
    #[error("keys of height {found} on the level of height {expected}")]
    Height {
        /// The height of the level.
        expected: u8,
        /// The height of the keys.
        found: u8,
    },
    /// A node of height 0 has a subtree.
    #[error("a subtree below height 0")]
    BelowBottom,
    /// A key does not come after the key on the left of the subtree it is in.
    #[error("its first key is not greater than the key to its left")]
    KeyNotGreater,
    /// A key does not come before the key on the right of the subtree it is in.
    #[error("its last key is not less than the key to its right")]
    KeyNotLess,
    /// A node is linked to twice, so that its keys are in the wrong place at least once.
    #[error("it occurs in the tree twice")]
    Repeated,
}
