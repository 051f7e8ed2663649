//! The streamable order: each node before everything below it, and that from left to right.
//!
//! Source: <https://atproto.com/specs/repository#car-file-serialization>

use blockstore_core::BlockStore;
use mst_ops::NodeWalker;

/// What comes next in the walker's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The very first: the node that the walker is in.
    Node,
    /// The slot's subtree.
    Subtree,
    /// What comes after the subtree.
    Right,
}

/// Where a turn has moved a walker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Into a node.
    IntoNode,
    /// Past an entry, to its right.
    OverRecord,
}

impl Turn {
    /// Moves the walker to the next node or record; `None` after the last. After an error the
    /// walker is where it was, and the next turn continues past the subtree at fault.
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
