//! Whether a tree is whole and well-formed.

use blockstore_core::{BlockStore, Cid};

use crate::{Error, NodeStore, NodeWalker};

/// What [`verify`] counted in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The height of the top node.
    pub height: u8,
    /// The number of nodes.
    pub nodes: u64,
    /// The number of entries, and so of keys.
    pub entries: u64,
}

/// Walks the whole tree of `root` and returns counts of it, if the tree is complete and canonical:
/// every node is present, canonically encoded and in its place, with keys of its level between the
/// keys around it.
///
/// That is the case if and only if building a tree of its entries gives the same root. It is
/// checked even if trees are trusted to be well-formed
/// ([`NodeStoreOptions::trusted`](crate::NodeStoreOptions::trusted)), and every node is read from
/// the block store, whether it is cached or not. Records are not read: whether each value's block
/// is present is a question for the repository.
///
/// # Errors
///
/// The first fault in preorder, which names the block. To get all of them, and where they are, use
/// [`NodeWalker::nodes`].
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
