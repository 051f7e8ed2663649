//! The entries of a tree in memory.

use std::fmt;
use std::iter::FusedIterator;

use blockstore_core::Cid;

use super::Tree;
use super::branch::View;
use crate::{Error, NodeSource};

/// An iterator over the entries of a [`Tree`] in key order, from [`Tree::entries`].
///
/// An item is a key and its value, or an error, which stands for one subtree that cannot be read.
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct TreeEntries<'t, N> {
    tree: &'t Tree<N>,
    /// The path to where the iterator is.
    stack: Vec<Place<'t>>,
}

/// A node, and its next slot.
struct Place<'t> {
    view: View<'t>,
    slot: usize,
    /// Whether the subtree in that slot has been visited.
    entered: bool,
}

impl<'t> Place<'t> {
    fn first(view: View<'t>) -> Self {
        Self {
            view,
            slot: 0,
            entered: false,
        }
    }
}

impl<'t, N> TreeEntries<'t, N> {
    pub(super) fn new(tree: &'t Tree<N>) -> Self {
        Self {
            tree,
            stack: vec![Place::first(View::of_top(tree.top.branch()))],
        }
    }
}

impl<'t, N: NodeSource> Iterator for TreeEntries<'t, N> {
    type Item = Result<(&'t [u8], Cid), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let place = self.stack.last_mut()?;
            if !place.entered {
                place.entered = true;
                match place.view.child(&self.tree.nodes, place.slot) {
                    Ok(Some(below)) => self.stack.push(Place::first(below)),
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                }
                continue;
            }
            let node = &place.view.branch.node;
            let entry = node.key(place.slot).zip(node.value(place.slot));
            place.slot += 1;
            place.entered = false;
            match entry {
                Some(entry) => return Some(Ok(entry)),
                None => {
                    self.stack.pop();
                }
            }
        }
    }
}

impl<N: NodeSource> FusedIterator for TreeEntries<'_, N> {}

impl<N> fmt::Debug for TreeEntries<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeEntries").finish_non_exhaustive()
    }
}
