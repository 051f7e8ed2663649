//! Makes a tree in memory of entries in key order.

use std::convert::Infallible;
use std::sync::Arc;

use blockstore_core::Cid;
use mst_node::{NodeBuilder, node_cid};

use crate::levels::{Levels, OpenNode};
use crate::tree::branch::{Branch, Child, KEY_CHECKED, UNKNOWN};

/// Makes the tree of the entries that it is given, in key order and without duplicates.
#[derive(Default)]
pub(super) struct Maker<'k> {
    levels: Levels<OpenBranch<'k>>,
}

#[derive(Default)]
struct OpenBranch<'k> {
    entries: Vec<(&'k [u8], Cid)>,
    /// One for each slot so far except the last.
    children: Vec<Child>,
    /// The child in the last slot.
    last: Child,
}

impl<'k> Maker<'k> {
    pub(super) fn push(&mut self, key: &'k [u8], value: Cid, height: u8) {
        let Ok(node) = self.levels.rise(usize::from(height), closing());
        node.children.push(std::mem::take(&mut node.last));
        node.entries.push((key, value));
    }

    /// Returns the top node.
    pub(super) fn finish(self) -> Arc<Branch> {
        let Ok(top) = self.levels.finish(closing());
        top.unwrap_or_else(|| Arc::new(Branch::empty()))
    }
}

fn closing<'k>() -> impl FnMut(usize, &mut OpenBranch<'k>) -> Result<Arc<Branch>, Infallible> {
    |height, node| Ok(node.close(height))
}

impl OpenNode for OpenBranch<'_> {
    type Closed = Arc<Branch>;

    fn set_subtree(&mut self, below: Arc<Branch>) {
        self.last = Child::from(below);
    }
}

impl OpenBranch<'_> {
    /// Returns the node as it is in a tree, and leaves a vacant one.
    fn close(&mut self, height: usize) -> Arc<Branch> {
        let mut children = std::mem::take(&mut self.children);
        children.push(std::mem::take(&mut self.last));
        let unknown = node_cid(&UNKNOWN);
        let mut links = children.iter().map(|child| child.get().map(|_| &unknown));
        let mut closed = NodeBuilder::new(links.next().flatten()).expect(NODE_CID);
        for ((key, value), right) in self.entries.drain(..).zip(links) {
            closed.push(key, &value, right).expect(KEY_CHECKED);
        }
        let height = u8::try_from(height).expect(HEIGHT);
        Arc::new(Branch::new(closed.finish(), height, children))
    }
}

/// Why a link is one that a node can have.
const NODE_CID: &str = "it is made as the CID of a node";
/// Why a level is the height of a node.
const HEIGHT: &str = "it is the height of a key, or less";
