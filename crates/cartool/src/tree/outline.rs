//! A walk through a tree from the top down, in the order in which it is shown.

use atproto_mst::{BlockStore, Cid, NodeWalker};

use crate::failure::Failure;
use crate::fault::Fault;
use crate::input::{Blocks, Repository};

/// How much of a tree is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'p> {
    /// How many layers below the top.
    pub(super) depth: usize,
    /// Only subtrees that may hold keys with this prefix are visited.
    pub(super) prefix: &'p [u8],
}

/// What a walk finds.
pub(super) enum Part {
    /// A node. Its parts follow, and then `End`.
    Node { cid: Cid, height: u8 },
    Entry {
        key: Vec<u8>,
        value: Cid,
        /// Whether the store has the record.
        is_there: bool,
    },
    /// A subtree that is not visited.
    Closed { cid: Cid },
    /// A subtree that is missing or wrong.
    Fault { cid: Option<Cid>, fault: Box<Fault> },
    /// The end of the innermost node.
    End,
}

/// An iterator over the parts of a tree: each node before its contents, and these from left to
/// right.
pub(super) struct Outline<'r> {
    blocks: &'r Blocks,
    walker: Option<NodeWalker<'r, Blocks>>,
    scope: Scope<'r>,
    next: Next,
    no_top: Option<Part>,
}

#[derive(Clone, Copy)]
enum Next {
    /// The node that the walker stands in.
    Node,
    /// The subtree in the walker's slot.
    Subtree,
    /// The entry on the right of that.
    Entry,
    Done,
}

impl<'r> Outline<'r> {
    pub(super) fn new(repository: &'r Repository, scope: Scope<'r>) -> Result<Self, Failure> {
        let (walker, no_top) = match repository.walker() {
            Ok(walker) => (Some(walker), None),
            Err(error) => {
                let part = Part::Fault {
                    cid: Some(repository.commit().data),
                    fault: Box::new(Fault::of_top(error)?),
                };
                (None, Some(part))
            }
        };
        Ok(Self {
            blocks: repository.blocks(),
            walker,
            scope,
            next: Next::Node,
            no_top,
        })
    }

    fn step(&mut self) -> Result<Option<Part>, Failure> {
        let Some(walker) = &mut self.walker else {
            return Ok(self.no_top.take());
        };
        loop {
            match self.next {
                Next::Node => {
                    self.next = Next::Subtree;
                    return Ok(Some(Part::Node {
                        cid: walker.node().cid(),
                        height: walker.height(),
                    }));
                }
                Next::Subtree => {
                    self.next = Next::Entry;
                    let Some(cid) = walker.subtree() else {
                        continue;
                    };
                    if walker.depth() >= self.scope.depth || !may_hold(walker, self.scope.prefix) {
                        return Ok(Some(Part::Closed { cid }));
                    }
                    match walker.go_down() {
                        Ok(_) => self.next = Next::Node,
                        Err(error) => {
                            let fault = Box::new(Fault::at(walker, error)?);
                            let cid = Some(cid);
                            return Ok(Some(Part::Fault { cid, fault }));
                        }
                    }
                }
                Next::Entry => {
                    let slot = walker.slot();
                    if !walker.go_right() {
                        self.next = if walker.go_up() {
                            Next::Entry
                        } else {
                            Next::Done
                        };
                        return Ok(Some(Part::End));
                    }
                    self.next = Next::Subtree;
                    let node = walker.node();
                    if let (Some(key), Some(value)) = (node.key(slot), node.value(slot)) {
                        return Ok(Some(Part::Entry {
                            key: key.to_vec(),
                            value,
                            is_there: self.blocks.has(&value)?,
                        }));
                    }
                }
                Next::Done => return Ok(None),
            }
        }
    }
}

impl Iterator for Outline<'_> {
    type Item = Result<Part, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Whether the subtree before which `walker` stands may hold keys that begin with `prefix`.
fn may_hold(walker: &NodeWalker<'_, Blocks>, prefix: &[u8]) -> bool {
    let left = walker.left_key();
    let right = walker.right_key();
    left.is_none_or(|left| left < prefix || left.starts_with(prefix))
        && right.is_none_or(|right| right > prefix)
}
