//! The way through a tree in the streamable order.

use blockstore_core::{BlockStore, Bytes, Cid};
use mst_ops::NodeWalker;

/// A walk through a tree: each node, then, from left to right, its subtrees and its records.
pub(crate) struct Steps<'r, S> {
    walker: NodeWalker<'r, S>,
    at: At,
}

/// Where in its slot the walker is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the first of all, with even the node that it is in still to come.
    Start,
    /// Left of the slot's subtree.
    Left,
    /// Right of it.
    Right,
}

/// A step of such a walk.
pub(crate) enum Step {
    /// A node, or a record that was read.
    Block(Cid, Bytes),
    /// A record, still to be read.
    Record(Cid),
    /// A subtree that cannot be read. The next step goes on beside it.
    Failed(Box<mst_ops::Error>),
}

impl<'r, S: BlockStore> Steps<'r, S> {
    pub(crate) fn new(walker: NodeWalker<'r, S>) -> Self {
        Self {
            walker,
            at: At::Start,
        }
    }

    /// The walker, which after a record stands on its right.
    pub(crate) fn walker(&self) -> &NodeWalker<'r, S> {
        &self.walker
    }

    /// Goes past the subtree that comes next, if one may, unless it is `wanted`.
    pub(super) fn pass_unless(&mut self, wanted: impl FnOnce(&NodeWalker<'r, S>) -> bool) {
        if self.at == At::Left && !wanted(&self.walker) {
            self.at = At::Right;
        }
    }

    pub(crate) fn step(&mut self) -> Option<Step> {
        loop {
            let entered = match self.at {
                At::Start => Ok(true),
                At::Left => self.walker.go_down(),
                At::Right => Ok(false),
            };
            self.at = At::Right;
            match entered {
                Ok(true) => {
                    self.at = At::Left;
                    let node = self.walker.node();
                    return Some(Step::Block(node.cid(), node.encode().into()));
                }
                Ok(false) => {}
                Err(error) => return Some(Step::Failed(Box::new(error))),
            }
            let slot = self.walker.slot();
            if self.walker.go_right() {
                self.at = At::Left;
                let value = self.walker.node().value(slot);
                return Some(Step::Record(value.expect("the walker went over an entry")));
            }
            if !self.walker.go_up() {
                return None;
            }
        }
    }
}
