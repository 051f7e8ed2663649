//! The blocks in the order of a walk through a tree.

use blockstore_core::{BlockStore, Bytes, Cid};
use mst_ops::NodeWalker;
#[cfg(feature = "car")]
use mst_ops::{NodeStore, WalkerPosition};

use crate::turn::{Turn, Turned};

/// A walk through a tree: each node, then, from left to right, its subtrees and its records.
pub(crate) struct Steps<'r, S> {
    walker: NodeWalker<'r, S>,
    turn: Turn,
}

/// A step of such a walk.
pub(crate) enum Step {
    Node(Cid, Bytes),
    /// A record, and its block once it was read.
    Record(Cid, Option<Bytes>),
    /// A subtree that cannot be read. The next step continues past it.
    Failed(Box<mst_ops::Error>),
}

impl<'r, S: BlockStore> Steps<'r, S> {
    pub(crate) fn new(walker: NodeWalker<'r, S>) -> Self {
        let turn = Turn::Node;
        Self { walker, turn }
    }

    /// Where they stand, from which they can [`go on`](Self::at).
    #[cfg(feature = "car")]
    pub(super) fn into_position(self) -> (WalkerPosition, Turn) {
        (self.walker.into_position(), self.turn)
    }

    /// Goes on where others of the same node store stood; `None` if it was another.
    #[cfg(feature = "car")]
    pub(super) fn at(
        nodes: &'r NodeStore<S>,
        (position, turn): (WalkerPosition, Turn),
    ) -> Option<Self> {
        let walker = NodeWalker::at(nodes, position)?;
        Some(Self { walker, turn })
    }

    /// The walker. After a record it stands to the right of it.
    pub(crate) fn walker(&self) -> &NodeWalker<'r, S> {
        &self.walker
    }

    /// Skips the subtree that comes next, if there is one, unless it is `wanted`.
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
                Step::Record(record.expect("the walker went over an entry"), None)
            }
            Err(error) => Step::Failed(Box::new(error)),
        })
    }
}
