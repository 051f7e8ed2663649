//! How far a reader has come in a CAR, and what is near there.
//!
//! A reader of a repository asks for its nodes one by one and for its records many at a time. If
//! the CAR is in the order of the tree, both come in order, with the others between them; so each
//! way of asking has its place, and what is wanted next is looked for a few sections on.

/// How blocks are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    One,
    Many,
}

/// How many sections to look through for a block of a CAR that is read in order.
pub(crate) const AHEAD: usize = 8;

/// Whether a block that lies so many bytes behind another is not far from it.
pub(crate) fn is_near(ahead: u64) -> bool {
    ahead <= 4 << 10
}
