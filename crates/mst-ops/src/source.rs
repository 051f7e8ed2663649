//! Where a tree gets its nodes.

use std::sync::Arc;

use blockstore_core::BlockStore;
use mst_node::DIGEST_LEN;

use crate::{Error, NodeStore, NodeStoreOptions, TreeNode};

/// Where a [`Tree`](crate::Tree) gets nodes that are not in memory: from a [`NodeStore`], borrowed,
/// owned, in a `Box` or an `Arc`, or from nowhere ([`NoNodes`]). If your nodes are somewhere else,
/// implement [`BlockStore`] for that, as only a `NodeStore` makes a [`TreeNode`].
pub trait NodeSource {
    /// Returns the node whose SHA-256 is `digest`, for the tree to keep; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// Those of [`NodeStore::node`], except for a missing block.
    fn fetch(&self, digest: &[u8; DIGEST_LEN]) -> Result<Option<TreeNode>, Error>;

    /// Returns whether the nodes are trusted, and how large they may become.
    fn options(&self) -> NodeStoreOptions;
}

/// For a tree that is in memory as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoNodes;

impl NodeSource for NoNodes {
    fn fetch(&self, _: &[u8; DIGEST_LEN]) -> Result<Option<TreeNode>, Error> {
        Ok(None)
    }

    fn options(&self) -> NodeStoreOptions {
        NodeStoreOptions::default()
    }
}

impl<S: BlockStore> NodeSource for NodeStore<S> {
    fn fetch(&self, digest: &[u8; DIGEST_LEN]) -> Result<Option<TreeNode>, Error> {
        self.own_node(digest)
    }

    fn options(&self) -> NodeStoreOptions {
        *NodeStore::options(self)
    }
}

macro_rules! forward_to_target {
    ($($handle:ty),*) => {$(
        impl<N: NodeSource + ?Sized> NodeSource for $handle {
            fn fetch(&self, digest: &[u8; DIGEST_LEN]) -> Result<Option<TreeNode>, Error> {
                (**self).fetch(digest)
            }

            fn options(&self) -> NodeStoreOptions {
                (**self).options()
            }
        }
    )*};
}

forward_to_target!(&N, Box<N>, Arc<N>);
