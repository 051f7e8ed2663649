//! The nodes of a tree in preorder.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Deref;
use std::sync::Arc;

use blockstore_core::BlockStore;

use crate::{Error, NodeWalker, TreeNode};

/// An iterator over the nodes of a tree in preorder, from [`NodeWalker::nodes`].
///
/// As with [`Entries`](crate::Entries), a subtree that cannot be read is an item, an error, and the
/// iterator continues past it.
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct Nodes<'s, S> {
    walker: NodeWalker<'s, S>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The root comes next.
    New,
    /// The walker stands in the first slot of the last node.
    InNode,
    /// It stands elsewhere: after an error, or after subtrees that were skipped.
    Between,
    Done,
}

/// A node met on a walk, and its level.
#[derive(Debug, Clone)]
pub struct VisitedNode {
    node: Arc<TreeNode>,
    height: u8,
}

impl VisitedNode {
    /// Returns the height of the node's level, which is known even if it has no keys.
    pub fn height(&self) -> u8 {
        self.height
    }

    /// Returns the node without its level.
    pub fn into_node(self) -> Arc<TreeNode> {
        self.node
    }
}

impl Deref for VisitedNode {
    type Target = TreeNode;

    fn deref(&self) -> &TreeNode {
        &self.node
    }
}

impl<'s, S: BlockStore> Nodes<'s, S> {
    pub(crate) fn new(mut walker: NodeWalker<'s, S>) -> Self {
        walker.go_to_start();
        Self {
            walker,
            state: State::New,
        }
    }

    /// Skips everything below the last node. If the last item was an error, there is nothing to
    /// skip.
    pub fn skip_subtrees(&mut self) {
        if self.state == State::InNode {
            self.state = if self.walker.leave() {
                State::Between
            } else {
                State::Done
            };
        }
    }

    /// Returns the walker. After a node it stands in that node's first slot; after an error, in the
    /// slot whose subtree could not be read, so that [`left_key`](NodeWalker::left_key) and
    /// [`right_key`](NodeWalker::right_key) say which keys are affected.
    pub fn walker(&self) -> &NodeWalker<'s, S> {
        &self.walker
    }
}

impl<S: BlockStore> Iterator for Nodes<'_, S> {
    type Item = Result<VisitedNode, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = match self.state {
            State::New => Ok(true),
            State::InNode | State::Between => self.walker.next_node(),
            State::Done => return None,
        };
        self.state = State::Between;
        match found {
            Ok(true) => {
                self.state = State::InNode;
                Some(Ok(VisitedNode {
                    node: Arc::clone(self.walker.node()),
                    height: self.walker.height(),
                }))
            }
            Ok(false) => {
                self.state = State::Done;
                None
            }
            Err(error) => {
                self.walker.skip_subtree();
                Some(Err(error))
            }
        }
    }
}

impl<S: BlockStore> FusedIterator for Nodes<'_, S> {}

impl<S: BlockStore> fmt::Debug for Nodes<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes")
            .field("walker", &self.walker)
            .finish_non_exhaustive()
    }
}
