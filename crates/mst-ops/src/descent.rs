//! The straight way down to one key, through nodes that link to each other.

use std::mem;
use std::sync::Arc;

use blockstore_core::{BlockStore, Cid};
use mst_node::node_digest;
use smallvec::SmallVec;

use crate::place::{Site, check_bottom, check_linked, check_site, top_height};
use crate::walker::Above;
use crate::{EntryRef, NodeStore, TreeNode};

/// Where a descent has ended.
pub(crate) enum Descended {
    /// At the key.
    Found(EntryRef),
    /// Where the key would be.
    Absent,
    /// Before a subtree whose node is not known to be in memory.
    Stopped(Box<Descent>),
}

impl<S: BlockStore> NodeStore<S> {
    /// Goes down towards `key` in the tree of `root` as a [`NodeWalker`](crate::NodeWalker) does,
    /// with the same checks, but only through nodes that are in memory, along the links between
    /// them. `None` if the cache does not have the root, or if anything is wrong: a walker finds
    /// out what.
    #[inline]
    pub(crate) fn descend(&self, root: &Cid, key: &[u8]) -> Option<Descended> {
        let root = self.cached(node_digest(root)?)?;
        let height = top_height(&root).ok()?;
        check_bottom(&root, height).ok()?;
        let mut descent = Descent {
            height,
            above: SmallVec::new(),
            enclosing: (Above::Root, Above::Root),
            node: root,
            slot: 0,
        };
        loop {
            let node = &descent.node;
            descent.slot = match node.find(key) {
                Ok(index) => {
                    let node = Arc::clone(node);
                    return Some(Descended::Found(EntryRef::new(node, index)));
                }
                Err(slot) => slot,
            };
            let Some(child) = node.linked(descent.slot) else {
                return Some(if node.subtree_digest(descent.slot).is_none() {
                    Descended::Absent
                } else {
                    Descended::Stopped(Box::new(descent))
                });
            };
            descent.enter(child, self.options().trusted)?;
        }
    }
}

/// A path down from the root, which is all in memory.
pub(crate) struct Descent {
    /// The node at its end, and the slot there.
    node: Arc<TreeNode>,
    slot: usize,
    /// The height of that node.
    height: u8,
    /// The entries that enclose it.
    enclosing: (Above, Above),
    /// The nodes above it, from the root down, each with its slot.
    above: SmallVec<[(Arc<TreeNode>, usize); 16]>,
}

impl Descent {
    /// Goes down into the subtree here, of which `child` is the top; `None` if that is out of place.
    #[inline]
    fn enter(&mut self, child: Arc<TreeNode>, trusted: bool) -> Option<()> {
        let height = self.height.checked_sub(1)?;
        if !trusted {
            let (left, right) = self.enclosing;
            if self.node.is_empty() {
                let site = Site {
                    height,
                    left: self.key(left),
                    right: self.key(right),
                };
                check_site(&child, &site).ok()?;
            } else {
                let (left, right) = (|| self.key(left), || self.key(right));
                check_linked(&child, &self.node, self.slot, left, right).ok()?;
            }
        }
        self.enclosing = Above::below(&self.node, self.slot, self.above.len(), self.enclosing);
        let parent = mem::replace(&mut self.node, child);
        self.above.push((parent, self.slot));
        self.height = height;
        Some(())
    }

    fn key(&self, above: Above) -> Option<&[u8]> {
        match above {
            Above::Entry { depth, index } => self.above.get(depth)?.0.key(index),
            Above::Root => None,
        }
    }

    /// The height of the root.
    pub(crate) fn root_height(&self) -> u8 {
        // Each step down needs a height above 0, so there are no more steps than that.
        self.height + u8::try_from(self.above.len()).unwrap_or(0)
    }

    /// The nodes from the root down, each with its slot.
    pub(crate) fn into_path(self) -> impl Iterator<Item = (Arc<TreeNode>, usize)> {
        self.above.into_iter().chain([(self.node, self.slot)])
    }
}
