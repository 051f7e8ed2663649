//! From a tree and the operations that led to it back to the tree before them.

use std::sync::Arc;

use blockstore_core::{Cid, sha2_256};
use mst_node::{DIGEST_LEN, Node, NodeEncoder, check_key, height_of, node_cid};

use super::Tree;
use super::branch::{Branch, View};
use super::gathered::Top;
use crate::{Error, NodeSource, Operation};

/// Why operations cannot be taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvertError {
    /// The tree cannot be read where the operations need it. [`Error::MissingBlock`]: a block
    /// is not there that the inversion needs.
    #[error(transparent)]
    Tree(#[from] Error),
    /// Two operations are about the same key.
    #[error("two operations on the key {key:?}")]
    Duplicate {
        /// The key, with what is not UTF-8 replaced.
        key: String,
    },
    /// An operation that changes nothing: it has no values, or the same twice.
    #[error("an operation without effect on the key {key:?}")]
    NoEffect {
        /// The key, with what is not UTF-8 replaced.
        key: String,
    },
    /// The tree does not have what an operation says that it led to.
    #[error(
        "after the operation on {key:?} the tree should have {} there, and has {}",
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

/// How many entries taking operations back one by one may move, as each change of a node does
/// with all of its entries. Real nodes have a few dozen at most; a stranger's may have as many as
/// fit into a message.
const MAX_MOVED: usize = 100_000;

impl<N: NodeSource> Tree<N> {
    /// Returns the root of the tree before `operations`, which are in any order, led to this
    /// one.
    ///
    /// The tree may be partial. What is needed are the nodes on the way to each key, and those
    /// that have to be cut in two or made one: the nodes that a commit of the firehose brings
    /// along. All that is there is held to the rules first. Parts that are not there, and that
    /// no operation reaches, keep their CIDs.
    ///
    /// So it is not seen if such a part has keys on the wrong side of one that was created.
    /// Who wants to rule that out asks [`cover`](Self::cover) for the keys of the operations
    /// first, which reads their neighbours on both sides, and refuses what leaves them out.
    ///
    /// All that is there is in memory meanwhile, and over a complete tree this takes as long as
    /// reading it. A few bytes can stand for long keys: over blocks from a stranger, set
    /// [`Limits::key_len`](crate::Limits::key_len) to what a key can have.
    ///
    /// The result says something only in comparison: if it is the root that is known from
    /// before, the operations are all that has changed. Any other root says that one is
    /// wrong, missing or too many, or names another previous value.
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
    /// tree.remove(b"a/2")?;
    /// tree.insert(b"a/3", &value)?;
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
        // Its own, so that changing it copies no node: what it loads, nobody else has.
        let top = Arc::new(Branch::clone(self.top.branch()));
        let mut before = Tree::of_top(&self.nodes, Top::Made(top));
        let largest = before.check_present()?;
        if operations.len().saturating_mul(largest) <= MAX_MOVED && before.take_back(&operations) {
            return Ok(before.root());
        }
        self.rebuild(&operations)
    }

    /// Takes the operations back one after the other, as changes, if all that these need is
    /// there. That is the quick way, which hashes only what changes, and mostly the way it goes.
    ///
    /// A proof can do with less, since one change may undo what another needs: where a key takes
    /// the place of another, whole subtrees beside them may stay closed.
    ///
    /// Returns whether it has; if not, the tree is somewhere on the way.
    fn take_back(&mut self, operations: &[&Operation]) -> bool {
        // What was there first, since more of the tree is near while the created keys are.
        for operation in operations {
            if let Some(value) = &operation.old
                && !matches!(self.insert(&operation.key, value), Ok(found) if found == operation.new)
            {
                return false;
            }
        }
        for operation in operations {
            if operation.old.is_none()
                && !matches!(self.remove(&operation.key), Ok(found) if found == operation.new)
            {
                return false;
            }
        }
        true
    }

    /// Builds the tree before the operations, sorted ones, of the sequence that this tree is.
    fn rebuild(&self, operations: &[&Operation]) -> Result<Cid, InvertError> {
        let mut inversion = Inversion {
            nodes: &self.nodes,
            operations,
            levels: Vec::new(),
        };
        inversion.take_node(View::of_top(self.top.branch()))?;
        Ok(node_cid(&inversion.finish()?))
    }

    /// Loads all nodes that are there, and so holds them to the rules. Returns how many entries
    /// the largest has.
    fn check_present(&self) -> Result<usize, Error> {
        let mut largest = 0;
        let mut views = vec![View::of_top(self.top.branch())];
        while let Some(view) = views.pop() {
            let node = &view.branch.node;
            largest = largest.max(node.len());
            for (slot, digest) in node.subtree_digests() {
                views.extend(view.child_if_there(&self.nodes, slot, digest)?);
            }
        }
        Ok(largest)
    }
}

/// The tree before the operations, being built from left to right.
///
/// The tree after them is taken for a sequence of keys and of subtrees that stay closed. Keys
/// that were created are left out, those that were deleted put in, and what results is built
/// anew from the bottom up. A subtree is opened, which takes its node to be there, only where a
/// key is put into its range, or where it comes to stand beside something that it has to be
/// merged with.
struct Inversion<'t, 'o, N> {
    nodes: &'t N,
    /// Those still to come, in key order.
    operations: &'o [&'o Operation],
    /// The node that is being made on each level, from the bottom.
    levels: Vec<Level<'t>>,
}

#[derive(Default)]
struct Level<'t> {
    node: NodeEncoder,
    /// The closed subtree in the slot that the node ends with so far. No two levels have one.
    closed: Option<Closed<'t>>,
}

/// A subtree that was not looked into: the one in slot `slot` of `parent`.
#[derive(Clone, Copy)]
struct Closed<'t> {
    parent: View<'t>,
    slot: usize,
}

impl Closed<'_> {
    fn height(&self) -> usize {
        usize::from(self.parent.branch.height) - 1
    }

    fn digest(&self) -> Option<[u8; DIGEST_LEN]> {
        let branch = self.parent.branch;
        match branch.loaded(self.slot) {
            Some(below) => Some(below.digest()),
            None => branch.node.subtree_digest(self.slot).copied(),
        }
    }
}

impl<'t, 'o, N: NodeSource> Inversion<'t, 'o, N> {
    /// Takes a node with operations in its range, and what is below it.
    fn take_node(&mut self, view: View<'t>) -> Result<(), InvertError> {
        let node = &view.branch.node;
        for slot in 0..=node.len() {
            self.take_slot(view, slot)?;
            let (Some(key), Some(value)) = (node.key(slot), node.value(slot)) else {
                break;
            };
            // A slot takes all operations up to the key behind it.
            let operation = self.next_operation(|next| next == key);
            let before = match operation {
                Some(operation) => {
                    check_value(operation, Some(value))?;
                    operation.old
                }
                None => Some(value),
            };
            if let Some(value) = before {
                self.push(key, &value, view.branch.height)?;
            }
        }
        Ok(())
    }

    /// Takes what is in a slot, and the operations in its range.
    fn take_slot(&mut self, view: View<'t>, slot: usize) -> Result<(), InvertError> {
        let right = view.right_key(slot);
        let in_range = |key: &[u8]| right.is_none_or(|right| key < right);
        if view.branch.has_subtree(slot) {
            let touched = self
                .operations
                .first()
                .is_some_and(|next| in_range(&next.key));
            if touched && let Some(below) = view.child(self.nodes, slot)? {
                return self.take_node(below);
            }
            return Ok(self.close(Closed { parent: view, slot })?);
        }
        while let Some(operation) = self.next_operation(in_range) {
            check_value(operation, None)?;
            if let Some(value) = &operation.old {
                self.push(&operation.key, value, height_of(&operation.key))?;
            }
        }
        Ok(())
    }

    fn next_operation(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Option<&'o Operation> {
        let (first, rest) = self.operations.split_first()?;
        wanted(&first.key).then(|| {
            self.operations = rest;
            *first
        })
    }

    /// Appends a key.
    fn push(&mut self, key: &[u8], value: &Cid, height: u8) -> Result<(), Error> {
        let height = usize::from(height);
        // A closed subtree in whose range of heights the key is would have to have it.
        while let Some(closed) = self.take_closed(|closed| closed.height() >= height) {
            self.open(closed)?;
        }
        let below = self.finish_below(height);
        let node = &mut self.level(height).node;
        if let Some(digest) = below {
            node.set_subtree(digest);
        }
        node.push(key, value);
        Ok(())
    }

    /// Appends a subtree as it is, if nothing beside it has to become one with it.
    fn close(&mut self, subtree: Closed<'t>) -> Result<(), Error> {
        let height = subtree.height();
        while let Some(closed) = self.take_closed(|closed| closed.height() >= height) {
            self.open(closed)?;
        }
        let beside = self.levels.iter().take(height + 1);
        if beside.into_iter().any(|level| !level.is_empty()) {
            return self.open(subtree);
        }
        self.level(height + 1).closed = Some(subtree);
        Ok(())
    }

    /// Appends what is in a subtree.
    fn open(&mut self, subtree: Closed<'t>) -> Result<(), Error> {
        let Some(view) = subtree.parent.child(self.nodes, subtree.slot)? else {
            return Ok(());
        };
        let node = &view.branch.node;
        for slot in 0..=node.len() {
            if view.branch.has_subtree(slot) {
                self.close(Closed { parent: view, slot })?;
            }
            if let (Some(key), Some(value)) = (node.key(slot), node.value(slot)) {
                self.push(key, &value, view.branch.height)?;
            }
        }
        Ok(())
    }

    fn take_closed(&mut self, wanted: impl Fn(&Closed<'t>) -> bool) -> Option<Closed<'t>> {
        self.levels
            .iter_mut()
            .find_map(|level| level.closed.take_if(|closed| wanted(closed)))
    }

    fn level(&mut self, height: usize) -> &mut Level<'t> {
        while self.levels.len() <= height {
            self.levels.push(Level::default());
        }
        self.levels
            .get_mut(height)
            .expect("it was made if it was not there")
    }

    /// Finishes the nodes of the lowest `height` levels, and returns the digest of what belongs
    /// into the slot that the level above them ends with.
    fn finish_below(&mut self, height: usize) -> Option<[u8; DIGEST_LEN]> {
        // Levels that nothing was on so far too: a subtree from below goes up through each.
        self.level(height);
        let mut below = None;
        for level in self.levels.iter_mut().take(height) {
            if let Some(digest) = level.subtree(below) {
                level.node.set_subtree(digest);
            }
            below = (!level.node.is_vacant()).then(|| sha2_256(&level.node.finish()));
        }
        self.level(height).subtree(below)
    }

    /// Finishes the tree and returns its root.
    fn finish(mut self) -> Result<[u8; DIGEST_LEN], Error> {
        loop {
            let has_keys = |level: &Level<'_>| !level.node.is_empty();
            if let Some(top) = self.levels.iter().rposition(has_keys) {
                let below = self.finish_below(top);
                let node = &mut self.level(top).node;
                if let Some(digest) = below {
                    node.set_subtree(digest);
                }
                return Ok(sha2_256(&node.finish()));
            }
            // No key is known: the top is what is left over, unless that has none either.
            match self.take_closed(|_| true) {
                Some(closed) => self.open(closed)?,
                None => return Ok(sha2_256(&Node::empty().encode())),
            }
        }
    }
}

impl Level<'_> {
    fn is_empty(&self) -> bool {
        self.node.is_vacant() && self.closed.is_none()
    }

    /// The digest of what stands in the slot that the node ends with: the closed subtree, or
    /// `below`, what was made on the levels below.
    fn subtree(&mut self, below: Option<[u8; DIGEST_LEN]>) -> Option<[u8; DIGEST_LEN]> {
        match self.closed.take() {
            Some(closed) => closed.digest(),
            None => below,
        }
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

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic in a test is the report"
)]
mod tests {
    use std::collections::BTreeMap;

    use mst_testkit::{Rng, SampleRepository};

    use crate::{Operation, Tree};

    /// Mostly one of the two ways would do, so that a fault of the other could hide behind it.
    #[test]
    fn both_ways_lead_back() {
        let mut rng = Rng::new(41);
        for round in 0..200 {
            let sample = SampleRepository::generate(round, 1 + rng.below(60));
            let before = sample.paths;
            let entries = before.iter().map(|(key, value)| (key, *value));
            let mut tree = Tree::from_entries(entries).unwrap();
            let root = tree.root();
            let keys: Vec<_> = before.keys().cloned().collect();
            let mut operations = BTreeMap::new();
            for _ in 0..=rng.below(12) {
                let near = &keys[rng.below(keys.len())];
                let (key, new) = match rng.below(3) {
                    0 => (near.clone(), None),
                    1 => (near.clone(), Some(root)),
                    _ => (format!("{near}{}", rng.below(9)), Some(root)),
                };
                let old = match &new {
                    Some(value) => tree.insert(key.as_bytes(), value).unwrap(),
                    None => tree.remove(key.as_bytes()).unwrap(),
                };
                let old = match operations.remove(&key) {
                    Some(Operation { old, .. }) => old,
                    None => old,
                };
                let bytes = key.clone().into_bytes();
                operations.insert(
                    key,
                    Operation {
                        key: bytes,
                        old,
                        new,
                    },
                );
            }
            let operations: Vec<_> = operations.values().collect();
            let effective = operations.iter().filter(|one| one.old != one.new);
            let effective: Vec<_> = effective.copied().collect();
            assert_eq!(tree.rebuild(&effective).unwrap(), root, "round {round}");
            assert!(tree.take_back(&effective), "round {round}");
            assert_eq!(tree.root(), root, "round {round}");
        }
    }
}
