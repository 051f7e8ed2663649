//! The streamable order: each node before what is below it, that from left to right.
//!
//! Source: <https://atproto.com/specs/repository#car-file-serialization>

use blockstore_core::BlockStore;
use mst_ops::NodeWalker;

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
