//! What is missing in a partial tree, and where.

use std::fmt;
use std::iter::FusedIterator;

use blockstore_core::{BlockStore, Cid};

use crate::{Error, NodeWalker, Nodes};

/// A subtree whose top node is missing, and with it all entries between two keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The missing node.
    pub cid: Cid,
    /// The greatest key left of it; all its keys are greater. `None` at the left end.
    pub left: Option<Vec<u8>>,
    /// The least key right of it; all its keys are less. `None` at the right end.
    pub right: Option<Vec<u8>>,
}

/// An iterator over the gaps of a tree, from [`NodeWalker::gaps`].
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct Gaps<'s, S> {
    nodes: Nodes<'s, S>,
}

impl<'s, S: BlockStore> NodeWalker<'s, S> {
    /// Returns the gaps in the walker's tree, in key order: every missing node that a present node
    /// links to, with the range of keys that are unknown for it. There are none if the tree is
    /// complete.
    ///
    /// All nodes that are present are read. A bad one is an item, an error, and what is below it is
    /// unknown as well.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::collections::BTreeMap;
    /// # use blockstore_core::{BlockStoreMut, MemoryBlockStore};
    /// # use mst_ops::{Error, NodeStore, NodeWalker};
    /// # let value = mst_ops::Node::empty().cid();
    /// // Keys of height 0, 1 and 0.
    /// let keys = ["asdf", "blue", "cdef"].map(|key| (key.to_owned(), value));
    /// let tree = mst_testkit::build_tree(&BTreeMap::from(keys));
    /// # let blocks = MemoryBlockStore::new();
    /// # blocks.put_many(&tree.nodes)?;
    /// let (last, _) = &tree.nodes[2];
    /// blocks.delete(last)?;
    ///
    /// let nodes = NodeStore::new(blocks);
    /// let gaps: Result<Vec<_>, Error> = NodeWalker::new(&nodes, &tree.root)?.gaps().collect();
    /// let gaps = gaps?;
    /// assert_eq!((gaps.len(), gaps[0].cid), (1, *last));
    /// assert_eq!((gaps[0].left.as_deref(), &gaps[0].right), (Some(b"blue".as_slice()), &None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gaps(&self) -> Gaps<'s, S> {
        Gaps {
            nodes: self.nodes(),
        }
    }
}

impl<S: BlockStore> Iterator for Gaps<'_, S> {
    type Item = Result<Gap, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let error = self.nodes.find_map(Result::err)?;
        let Error::MissingBlock(cid) = error else {
            return Some(Err(error));
        };
        let owned = |key: Option<&[u8]>| key.map(<[u8]>::to_vec);
        let walker = self.nodes.walker();
        Some(Ok(Gap {
            cid,
            left: owned(walker.left_key()),
            right: owned(walker.right_key()),
        }))
    }
}

impl<S: BlockStore> FusedIterator for Gaps<'_, S> {}

impl<S: BlockStore> fmt::Debug for Gaps<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gaps")
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}
