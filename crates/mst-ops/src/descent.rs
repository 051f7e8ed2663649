//! The straight way down to one key, through nodes that link to each other.

use std::sync::Arc;

use blockstore_core::{BlockStore, Cid};
use smallvec::SmallVec;

use crate::place::{Site, check_bottom, check_order, check_site, top_height};
use crate::{EntryRef, NodeStore, TreeNode};

/// What the nodes in memory say about a key.
pub(crate) enum Known {
    Entry(EntryRef),
    Absent,
}

impl<S: BlockStore> NodeStore<S> {
    /// Looks for `key` in the tree of `root` as a [`NodeWalker`](crate::NodeWalker) does, with the
    /// same checks, but only in nodes that are in memory, along the links between them. `None` if
    /// these do not tell, or if anything is wrong: a walker finds out what.
    #[inline]
    pub(crate) fn known(&self, root: &Cid, key: &[u8]) -> Option<Known> {
        let root = self.cached(root)?;
        let height = top_height(&root).ok()?;
        check_bottom(&root, height).ok()?;
        let mut descent = Descent {
            nodes: SmallVec::new(),
            height,
            left: None,
            right: None,
        };
        descent.nodes.push(root);
        loop {
            let node = descent.nodes.last()?;
            let slot = match node.find(key) {
                Ok(index) => return Some(Known::Entry(EntryRef::new(Arc::clone(node), index))),
                Err(slot) => slot,
            };
            let Some(child) = node.linked(slot) else {
                let is_absent = node.subtree_digest(slot).is_none();
                return is_absent.then_some(Known::Absent);
            };
            descent.enter(slot, child, self.options().trusted)?;
        }
    }
}

struct Descent {
    /// The nodes from the root down.
    nodes: SmallVec<[Arc<TreeNode>; 16]>,
    /// The height of the last one.
    height: u8,
    /// The entries that enclose it.
    left: Option<Above>,
    right: Option<Above>,
}

/// Entry `index` of the node at `depth`.
#[derive(Clone, Copy)]
struct Above {
    depth: usize,
    index: usize,
}

impl Descent {
    /// Goes down into slot `slot` of the last node, which links to `child`; `None` if that is out
    /// of place.
    ///
    /// The link was made when the child was found to be in its place. What that depends on in its
    /// parent stays true; what depends on the nodes above that has to be checked again.
    #[inline]
    fn enter(&mut self, slot: usize, child: Arc<TreeNode>, trusted: bool) -> Option<()> {
        let depth = self.nodes.len() - 1;
        let len = self.nodes.last()?.len();
        let left = slot.checked_sub(1).map(|index| Above { depth, index });
        let right = (slot < len).then_some(Above { depth, index: slot });
        let height = self.height.checked_sub(1)?;
        if !trusted {
            let from_above = |own: Option<Above>, above| match own {
                None => self.key(above?),
                Some(_) => None,
            };
            let site = Site {
                height,
                left: from_above(left, self.left),
                right: from_above(right, self.right),
            };
            if len == 0 {
                check_site(&child, &site).ok()?;
            } else {
                check_order(&child, site.left, site.right).ok()?;
            }
        }
        self.nodes.push(child);
        self.height = height;
        self.left = left.or(self.left);
        self.right = right.or(self.right);
        Some(())
    }

    fn key(&self, above: Above) -> Option<&[u8]> {
        self.nodes.get(above.depth)?.key(above.index)
    }
}
