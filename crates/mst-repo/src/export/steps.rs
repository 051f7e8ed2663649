//! The way through a tree in the streamable order.

use blockstore_core::{BlockStore, Bytes, Cid};
use mst_ops::NodeWalker;

/// A walk through a tree: each node, then, from left to right, its subtrees and its records.
pub(crate) struct Steps<'r, S> {
    walker: NodeWalker<'r, S>,
    turn: Turn,
}

/// What comes next in the slot that a walker stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The first of all: the node that the walker is in.
    Node,
    /// The slot's subtree.
    Subtree,
    /// What is behind that.
    Right,
}

/// Where a turn has brought a walker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Into a node.
    IntoNode,
    /// Over an entry, to its right.
    OverRecord,
}

/// A step of such a walk.
pub(crate) enum Step {
    Node(Cid, Bytes),
    /// A record, still to be read.
    Record(Cid),
    /// A record that was read.
    ReadRecord(Cid, Bytes),
    /// A subtree that cannot be read. The next step goes on beside it.
    Failed(Box<mst_ops::Error>),
}

impl Turn {
    /// Moves the walker on to the next node or record; `None` behind the last. After an error the
    /// walker is where it was, and the next turn goes on beside the subtree at fault.
    pub(crate) fn take<S: BlockStore>(
        &mut self,
        walker: &mut NodeWalker<'_, S>,
    ) -> Result<Option<Turned>, mst_ops::Error> {
        loop {
            let turn = std::mem::replace(self, Self::Right);
            if turn == Self::Node || turn == Self::Subtree && walker.go_down()? {
                *self = Self::Subtree;
                return Ok(Some(Turned::IntoNode));
            }
            if walker.go_right() {
                *self = Self::Subtree;
                return Ok(Some(Turned::OverRecord));
            }
            if !walker.go_up() {
                return Ok(None);
            }
        }
    }
}

impl<'r, S: BlockStore> Steps<'r, S> {
    pub(crate) fn new(walker: NodeWalker<'r, S>) -> Self {
        let turn = Turn::Node;
        Self { walker, turn }
    }

    /// The walker, which after a record stands on its right.
    pub(crate) fn walker(&self) -> &NodeWalker<'r, S> {
        &self.walker
    }

    /// Goes past the subtree that comes next, if one may, unless it is `wanted`.
    pub(super) fn pass_unless(&mut self, wanted: impl FnOnce(&NodeWalker<'r, S>) -> bool) {
        if self.turn == Turn::Subtree && !wanted(&self.walker) {
            self.turn = Turn::Right;
        }
    }

    pub(crate) fn step(&mut self) -> Option<Step> {
        let turned = self.turn.take(&mut self.walker).transpose()?;
        let node = self.walker.node();
        Some(match turned {
            Ok(Turned::IntoNode) => Step::Node(node.cid(), node.encode().into()),
            Ok(Turned::OverRecord) => {
                let record = node.value(self.walker.slot() - 1);
                Step::Record(record.expect("the walker went over an entry"))
            }
            Err(error) => Step::Failed(Box::new(error)),
        })
    }
}
