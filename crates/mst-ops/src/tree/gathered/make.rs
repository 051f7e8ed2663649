//! A tree in memory out of entries in key order.

use std::sync::Arc;

use blockstore_core::Cid;
use mst_node::{NodeBuilder, node_cid};

use crate::tree::branch::{Branch, Child, KEY_CHECKED, UNKNOWN};

/// Makes the tree of the entries that it is given, in key order and each key once.
#[derive(Default)]
pub(super) struct Maker<'k> {
    /// The node that is being made on each level, from the bottom.
    levels: Vec<Level<'k>>,
}

#[derive(Default)]
struct Level<'k> {
    entries: Vec<(&'k [u8], Cid)>,
    /// One for each slot so far but the last.
    children: Vec<Child>,
}

impl<'k> Maker<'k> {
    pub(super) fn push(&mut self, key: &'k [u8], value: Cid, height: u8) {
        let height = usize::from(height);
        while self.levels.len() <= height {
            self.levels.push(Level::default());
        }
        let below = self.close(height);
        if let Some(level) = self.levels.get_mut(height) {
            level.children.push(child(below));
            level.entries.push((key, value));
        }
    }

    /// Returns the top node.
    pub(super) fn finish(mut self) -> Arc<Branch> {
        let top = self.close(self.levels.len());
        top.unwrap_or_else(|| Arc::new(Branch::empty()))
    }

    /// Finishes the nodes of the lowest `height` levels, and returns the highest if there is
    /// anything in it.
    fn close(&mut self, height: usize) -> Option<Arc<Branch>> {
        let mut below = None;
        for (height, level) in (0..).zip(self.levels.iter_mut().take(height)) {
            below = match below {
                Some(below) if level.entries.is_empty() => Some(Arc::new(Branch::over(below))),
                None if level.entries.is_empty() => None,
                below => Some(Arc::new(level.finish(below, height))),
            };
        }
        below
    }
}

impl Level<'_> {
    /// The node, with `last` in its last slot. The next begins.
    fn finish(&mut self, last: Option<Arc<Branch>>, height: u8) -> Branch {
        let mut children = std::mem::take(&mut self.children);
        children.push(child(last));
        let unknown = node_cid(&UNKNOWN);
        let mut links = children.iter().map(|child| child.get().map(|_| &unknown));
        let mut node = NodeBuilder::new(links.next().flatten()).expect(NODE_CID);
        for ((key, value), right) in self.entries.drain(..).zip(links) {
            node.push(key, &value, right).expect(KEY_CHECKED);
        }
        Branch::new(node.finish(), height, children)
    }
}

/// Why a link is one that a node can have.
const NODE_CID: &str = "it is made as the CID of a node";

fn child(below: Option<Arc<Branch>>) -> Child {
    below.map_or_else(Child::new, Child::from)
}
