//! Whether a tree is whole and well-formed.

use blockstore_core::{BlockStore, Cid};

use crate::{Error, NodeStore, NodeWalker};

/// What [`verify`] counted on its way through a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The height of the top node.
    pub height: u8,
    /// The number of nodes.
    pub nodes: u64,
    /// The number of entries, which is that of keys.
    pub entries: u64,
}

/// Walks the whole tree of `root` and returns what it counted, if the tree is complete and
/// canonical: every node there, encoded as it must be, in its place, with keys of its
/// level between the keys around it.
///
/// That is the case if and only if building a tree of its entries gives the same root. It
/// is checked even over a store whose trees are taken for well-formed
/// ([`NodeStoreOptions::trusted`](crate::NodeStoreOptions::trusted)), and every node is read from
/// the block store, whether it is in the cache or not. Records are not read: that each value's
/// block is there is a repository's question.
///
/// # Errors
///
/// The first fault in preorder, which names the block. For all of them, and where they are,
/// go through [`NodeWalker::nodes`].
///
/// # Examples
///
/// ```
/// # use std::collections::BTreeMap;
/// # use blockstore_core::{BlockStoreMut, MemoryBlockStore};
/// # use mst_ops::{Error, NodeStore, verify};
/// # let value = mst_node::Node::empty().cid();
/// // Keys of height 0, 1 and 2.
/// let keys = ["asdf", "blue", "88bfafc7"].map(|key| (key.to_owned(), value));
/// let tree = mst_testkit::build_tree(&BTreeMap::from(keys));
/// # let blocks = MemoryBlockStore::new();
/// # blocks.put_many(&tree.nodes)?;
/// let nodes = NodeStore::new(&blocks);
/// let summary = verify(&nodes, &tree.root)?;
/// assert_eq!((summary.height, summary.nodes, summary.entries), (2, 3, 3));
///
/// blocks.delete(&tree.nodes[2].0)?;
/// assert!(matches!(verify(&nodes, &tree.root), Err(Error::MissingBlock(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify<S: BlockStore>(nodes: &NodeStore<S>, root: &Cid) -> Result<Summary, Error> {
    let nodes = nodes.verifying();
    let walker = NodeWalker::new(&nodes, root)?;
    let mut summary = Summary {
        height: walker.height(),
        nodes: 0,
        entries: 0,
    };
    for node in walker.nodes() {
        let node = node?;
        summary.nodes += 1;
        summary.entries += node.len() as u64;
    }
    Ok(summary)
}
