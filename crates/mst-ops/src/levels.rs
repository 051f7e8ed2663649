//! A tree that is built from left to right, with one open node on each level.

use std::convert::Infallible;

use blockstore_core::sha2_256;
use mst_node::{DIGEST_LEN, NodeEncoder, NodeParts};

/// A node to which entries can still be appended.
pub(crate) trait OpenNode: Default {
    /// What a node becomes when it is closed, for the one above it to link to.
    type Closed;

    /// Puts a subtree into the last slot so far.
    fn set_subtree(&mut self, below: Self::Closed);
}

impl OpenNode for NodeEncoder {
    type Closed = [u8; DIGEST_LEN];

    fn set_subtree(&mut self, below: Self::Closed) {
        Self::set_subtree(self, below);
    }
}

impl OpenNode for NodeParts<'_> {
    type Closed = [u8; DIGEST_LEN];

    fn set_subtree(&mut self, below: Self::Closed) {
        Self::set_subtree(self, below);
    }
}

/// The nodes on the right edge of a tree that grows to the right.
///
/// Each step costs as much as the nodes that it closes, however high the tree is.
#[derive(Debug, Default)]
pub(crate) struct Levels<N> {
    /// One for each level, from the bottom.
    open: Vec<N>,
    /// The lowest level that has anything in it. All levels between it and the highest have
    /// something too, or get it when it is closed.
    lowest: usize,
}

impl<N: OpenNode> Levels<N> {
    /// Returns the open node on level `height`, if the tree is that high so far.
    pub(crate) fn get(&self, height: usize) -> Option<&N> {
        self.open.get(height)
    }

    /// Returns whether nothing has been put into any node.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns whether the tree ends on level `height` or a lower one.
    pub(crate) fn reaches_down_to(&self, height: usize) -> bool {
        !self.is_empty() && self.lowest <= height
    }

    /// Closes all nodes below level `height`, and returns the node there, to append something to
    /// it.
    ///
    /// `close` gets each node with its level, and must leave a vacant one in its place.
    pub(crate) fn rise<E>(
        &mut self,
        height: usize,
        close: impl FnMut(usize, &mut N) -> Result<N::Closed, E>,
    ) -> Result<&mut N, E> {
        if self.open.is_empty() {
            self.lowest = height;
        }
        if self.open.len() <= height {
            self.open.resize_with(height + 1, N::default);
        }
        let below = self.close_below(height, close)?;
        self.lowest = height;
        let node = self
            .open
            .get_mut(height)
            .expect("it was added if it was missing");
        if let Some(below) = below {
            node.set_subtree(below);
        }
        Ok(node)
    }

    /// Closes all nodes and returns the highest; `None` if nothing has been put into any.
    pub(crate) fn finish<E>(
        mut self,
        close: impl FnMut(usize, &mut N) -> Result<N::Closed, E>,
    ) -> Result<Option<N::Closed>, E> {
        self.close_below(self.open.len(), close)
    }

    fn close_below<E>(
        &mut self,
        height: usize,
        mut close: impl FnMut(usize, &mut N) -> Result<N::Closed, E>,
    ) -> Result<Option<N::Closed>, E> {
        let mut below = None;
        let closed = self.open.get_mut(self.lowest..height);
        for (level, node) in (self.lowest..).zip(closed.into_iter().flatten()) {
            if let Some(below) = below {
                node.set_subtree(below);
            }
            below = Some(close(level, node)?);
        }
        Ok(below)
    }
}

/// A tree of which only the root is wanted: its nodes are hashed and dropped.
#[derive(Debug, Default)]
pub(crate) struct RootHasher<'p> {
    levels: Levels<NodeParts<'p>>,
    /// The buffer that nodes are encoded into.
    block: Vec<u8>,
}

impl<'p> RootHasher<'p> {
    /// As [`Levels::is_empty`].
    pub(crate) fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// As [`Levels::reaches_down_to`].
    pub(crate) fn reaches_down_to(&self, height: usize) -> bool {
        self.levels.reaches_down_to(height)
    }

    /// As [`Levels::rise`].
    pub(crate) fn rise(&mut self, height: usize) -> &mut NodeParts<'p> {
        let Ok(node) = self.levels.rise(height, hashing(&mut self.block));
        node
    }

    /// Returns the digest of the top node; `None` if nothing has been put into any.
    pub(crate) fn finish(mut self) -> Option<[u8; DIGEST_LEN]> {
        let Ok(top) = self.levels.finish(hashing(&mut self.block));
        top
    }
}

fn hashing<'p>(
    block: &mut Vec<u8>,
) -> impl FnMut(usize, &mut NodeParts<'p>) -> Result<[u8; DIGEST_LEN], Infallible> {
    |_, node| {
        block.clear();
        node.finish_into(block);
        Ok(sha2_256(block))
    }
}
