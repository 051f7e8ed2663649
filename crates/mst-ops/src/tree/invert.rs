//! Goes back from a tree and the operations that led to it to the tree before.

use std::ops::Range;
use std::sync::Arc;

use blockstore_core::{Cid, sha2_256};
use mst_node::{DIGEST_LEN, Node, NodeParts, check_key, height_of, node_cid};

use super::Tree;
use super::branch::{Branch, View};
use super::gathered::Top;
use crate::levels::RootHasher;
use crate::{Error, NodeSource, Operation};

/// Why operations cannot be undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvertError {
    /// The tree cannot be read where the operations need it. [`Error::MissingBlock`] if a block
    /// that the inversion needs is missing.
    #[error(transparent)]
    Tree(#[from] Error),
    /// Two operations are about the same key.
    #[error("two operations on the key {key:?}")]
    Duplicate {
        /// The key, with what is not UTF-8 replaced.
        key: String,
    },
    /// An operation that changes nothing: it has no values, or the same value twice.
    #[error("an operation without effect on the key {key:?}")]
    NoEffect {
        /// The key, with what is not UTF-8 replaced.
        key: String,
    },
    /// The tree does not have what an operation claims to have left there.
    #[error(
        "after the operation on {key:?} the tree should have {} there, but has {}",
        or_nothing(claimed.as_deref()),
        or_nothing(found.as_deref())
    )]
    Value {
        /// The key, with what is not UTF-8 replaced.
        key: String,
        /// The value that the operation claims; `None` for a deletion.
        claimed: Option<Box<Cid>>,
        /// The value that the tree has.
        found: Option<Box<Cid>>,
    },
}

fn or_nothing(value: Option<&Cid>) -> String {
    value.map_or_else(|| "nothing".to_owned(), ToString::to_string)
}

impl<N: NodeSource> Tree<N> {
    /// Returns the root of the tree from which `operations`, in any order, led to this one.
    ///
    /// The tree may be partial. The nodes on the path to each key are needed, and those that have
    /// to be split or merged: the nodes that a commit of the firehose contains. All nodes that are
    /// present are checked first. Parts that are missing, and that no operation affects, keep their
    /// CIDs.
    ///
    /// So a part that is missing and has keys on the wrong side of one that was created goes
    /// unnoticed. To rule that out, call [`cover`](Self::cover) for the keys of the operations
    /// first, which reads their neighbours on both sides, and refuse a tree in which these are
    /// missing.
    ///
    /// All present nodes are in memory in the meantime, and those below nodes that were loaded
    /// before also afterwards; over a complete tree this takes as long as reading it. A few bytes
    /// can expand to long keys: for blocks from an untrusted source, set
    /// [`Limits::key_len`](crate::Limits::key_len) to the longest key you expect.
    ///
    /// The result means something only in comparison: if it is the root that is known from before,
    /// the operations are all that has changed. Any other root means that an operation is wrong,
    /// missing or superfluous, or names a wrong previous value.
    ///
    /// Source: <https://atproto.com/specs/sync#commit-validation>, and
    /// <https://github.com/bluesky-social/proposals/tree/main/0006-sync-iteration>
    ///
    /// # Errors
    ///
    /// [`InvertError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_ops::{Node, Operation, Tree};
    ///
    /// let value = Node::empty().cid();
    /// let mut tree = Tree::from_entries([("a/1", value), ("a/2", value)])?;
    /// let before = tree.root();
    /// tree.remove("a/2")?;
    /// tree.insert("a/3", &value)?;
    /// let operations = [
    ///     Operation { key: b"a/3".into(), old: None, new: Some(value) },
    ///     Operation { key: b"a/2".into(), old: Some(value), new: None },
    /// ];
    /// assert_eq!(tree.invert(&operations)?, before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn invert(&self, operations: &[Operation]) -> Result<Cid, InvertError> {
        let mut operations: Vec<_> = operations.iter().collect();
        operations.sort_unstable_by(|one, two| one.key.cmp(&two.key));
        for pair in operations.windows(2) {
            if let [one, two] = pair
                && one.key == two.key
            {
                return Err(InvertError::Duplicate {
                    key: lossy(&one.key),
                });
            }
        }
        for operation in &operations {
            check_key(&operation.key, &self.nodes.options().limits).map_err(Error::from)?;
            if operation.old == operation.new {
                return Err(InvertError::NoEffect {
                    key: lossy(&operation.key),
                });
            }
        }
        // A separate tree, so that what is loaded below the top now is dropped afterwards.
        let top = Arc::new(Branch::clone(self.top.branch()));
        let mut tree = Tree::of_top(&self.nodes, Top::Made(top));
        // Flushed, so that its nodes link to those below as their blocks do.
        let _ = tree.flush();
        let top = View::of_top(tree.top.branch());
        tree.check_present(top)?;
        let mut inversion = Inversion {
            nodes: &self.nodes,
            before: RootHasher::default(),
            closed: None,
        };
        inversion.take_node(top, &operations)?;
        Ok(node_cid(&inversion.finish()?))
    }

    /// Loads all nodes that are present, which checks them.
    fn check_present(&self, top: View<'_>) -> Result<(), Error> {
        let mut views = vec![top];
        while let Some(view) = views.pop() {
            for (slot, digest) in view.branch.node.subtree_digests() {
                views.extend(view.child_if_there(&self.nodes, slot, digest)?);
            }
        }
        Ok(())
    }
}

/// The tree before the operations, as it is built from left to right.
///
/// The tree after them is treated as a sequence of keys and closed subtrees. Keys that were created
/// are left out, those that were deleted are put back, and the result is built anew from the bottom
/// up. A subtree is opened, for which its node must be present, only if a key is put into its
/// range, or if it ends up beside something that it has to be merged with.
struct Inversion<'t, N> {
    nodes: &'t N,
    before: RootHasher<'t>,
    /// The closed subtree at the end of the sequence so far. It is put in its place once it is
    /// known that it need not be merged with what comes next.
    closed: Option<Closed<'t>>,
}

/// A subtree that has not been opened: the one in slot `slot` of `parent`.
#[derive(Clone, Copy)]
struct Closed<'t> {
    parent: View<'t>,
    slot: usize,
}

impl Closed<'_> {
    fn height(&self) -> usize {
        usize::from(self.parent.branch.height) - 1
    }

    fn digest(&self) -> Option<&[u8; DIGEST_LEN]> {
        self.parent.branch.node.subtree_digest(self.slot)
    }
}

impl<'t, N: NodeSource> Inversion<'t, N> {
    /// Appends a node and what is below it, with the operations in its range.
    fn take_node(
        &mut self,
        view: View<'t>,
        mut operations: &[&'t Operation],
    ) -> Result<(), InvertError> {
        let node = &view.branch.node;
        let mut start = 0;
        loop {
            // All before that slot is unchanged.
            let slot = match operations.first() {
                Some(next) => node.find(&next.key).unwrap_or_else(|slot| slot),
                None => node.len(),
            };
            if start < slot {
                self.take_slot(view, start, &[])?;
                self.push_entries(view, start..slot)?;
            }
            let inside = match node.key(slot) {
                Some(key) => operations.partition_point(|next| next.key.as_slice() < key),
                None => operations.len(),
            };
            let (inside, after) = operations.split_at(inside);
            self.take_slot(view, slot, inside)?;
            operations = after;
            let Some(key) = node.key(slot) else {
                return Ok(());
            };
            match operations.split_first() {
                Some((operation, after)) if operation.key == key => {
                    check_value(operation, node.value(slot))?;
                    self.put_back(operation, view.branch.height)?;
                    operations = after;
                }
                _ => self.push_entries(view, slot..slot + 1)?,
            }
            start = slot + 1;
        }
    }

    /// Appends what is in a slot, with the operations in its range.
    fn take_slot(
        &mut self,
        view: View<'t>,
        slot: usize,
        operations: &[&'t Operation],
    ) -> Result<(), InvertError> {
        if view.branch.has_subtree(slot) {
            if operations.is_empty() {
                self.close(Closed { parent: view, slot })?;
            } else if let Some(below) = view.child(self.nodes, slot)? {
                self.take_node(below, operations)?;
            }
            return Ok(());
        }
        for operation in operations {
            check_value(operation, None)?;
            self.put_back(operation, height_of(&operation.key))?;
        }
        Ok(())
    }

    /// Appends the entry that was there before an operation.
    fn put_back(&mut self, operation: &'t Operation, height: u8) -> Result<(), InvertError> {
        if let Some(value) = &operation.old {
            self.rise(height)?.push(&operation.key, value);
        }
        Ok(())
    }

    /// Appends entries of a node and the subtrees between them.
    fn push_entries(&mut self, view: View<'t>, entries: Range<usize>) -> Result<(), InvertError> {
        let node = self.rise(view.branch.height)?;
        node.push_entries(&view.branch.node, entries);
        Ok(())
    }

    /// Returns the node for a key of this height, which comes next in the sequence.
    fn rise(&mut self, height: u8) -> Result<&mut NodeParts<'t>, InvertError> {
        let height = usize::from(height);
        // A closed subtree that reaches up to the height of the key would have to hold it.
        self.open_down_to(height)?;
        self.put_closed();
        Ok(self.before.rise(height))
    }

    /// Appends a subtree as it is, if it need not be merged with anything beside it.
    fn close(&mut self, subtree: Closed<'t>) -> Result<(), InvertError> {
        let height = subtree.height();
        self.open_down_to(height)?;
        if self.closed.is_some() || self.before.reaches_down_to(height) {
            return self.open(subtree);
        }
        self.closed = Some(subtree);
        Ok(())
    }

    /// Opens the end of the sequence until no closed subtree there is as high as `height`.
    fn open_down_to(&mut self, height: usize) -> Result<(), InvertError> {
        while let Some(closed) = self.closed.take_if(|closed| closed.height() >= height) {
            self.open(closed)?;
        }
        Ok(())
    }

    /// Appends the contents of a subtree.
    fn open(&mut self, subtree: Closed<'t>) -> Result<(), InvertError> {
        match subtree.parent.child(self.nodes, subtree.slot)? {
            Some(view) => self.take_node(view, &[]),
            None => Ok(()),
        }
    }

    /// Puts the closed subtree into the slot above it.
    fn put_closed(&mut self) {
        if let Some(closed) = self.closed.take()
            && let Some(digest) = closed.digest()
        {
            self.before.rise(closed.height() + 1).set_subtree(*digest);
        }
    }

    /// Finishes the tree and returns its root.
    fn finish(mut self) -> Result<[u8; DIGEST_LEN], InvertError> {
        // If no keys are left, the top is the remaining subtree, unless that has none either.
        while self.before.is_empty()
            && let Some(closed) = self.closed.take()
        {
            self.open(closed)?;
        }
        self.put_closed();
        let top = self.before.finish();
        Ok(top.unwrap_or_else(|| sha2_256(&Node::empty().encode())))
    }
}

fn check_value(operation: &Operation, found: Option<Cid>) -> Result<(), InvertError> {
    if operation.new == found {
        return Ok(());
    }
    Err(InvertError::Value {
        key: lossy(&operation.key),
        claimed: operation.new.map(Box::new),
        found: found.map(Box::new),
    })
}

fn lossy(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}
