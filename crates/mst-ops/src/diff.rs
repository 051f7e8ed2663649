//! What lies between two trees.

use std::cmp::Ordering;
use std::fmt;
use std::iter::FusedIterator;

use blockstore_core::{BlockStore, Cid};
use mst_node::{DIGEST_LEN, node_cid};

use crate::{EntryRef, Error, NodeStore, NodeWalker, place};

/// The difference between two trees: which nodes only one of them has, and, as an iterator in
/// key order, the operations on records that lead from the first to the second.
///
/// It reads the nodes that only one tree has, and no others: a subtree that both have is passed
/// over by its CID, wherever in the trees it stands. For two trees of 100,000 records that
/// differ in one, that is some ten nodes on each side.
///
/// Both trees are held to the rules as far as they are read, as a [`NodeWalker`] does it. What
/// both have is not read, so a diff says nothing about whether it stands where it must: that a
/// tree which was sound differs from another in nothing does not make that one sound.
///
/// Each node is read twice, once for its subtrees and once for its entries. The cache of the
/// node store spares the second time for trees that differ in little; for trees that have
/// little in common a store without a cache is faster.
///
/// # Examples
///
/// ```
/// use blockstore_core::{BlockStoreMut, MemoryBlockStore};
/// use mst_ops::{Diff, Node, NodeStore, NodeWrangler, Operation};
///
/// let wrangler = NodeWrangler::new(NodeStore::new(MemoryBlockStore::new()));
/// let value = Node::empty().cid();
/// let old = wrangler.put_record(&wrangler.empty()?, b"app.bsky.feed.post/1", &value)?;
/// let new = wrangler.put_record(&old, b"app.bsky.feed.post/2", &value)?;
///
/// let diff = Diff::new(wrangler.nodes(), &old, wrangler.nodes(), &new)?;
/// assert_eq!((diff.created(), diff.deleted()), ([new].as_slice(), [old].as_slice()));
/// let operations: Result<Vec<Operation>, _> = diff.collect();
/// assert_eq!(
///     operations?,
///     [Operation { key: b"app.bsky.feed.post/2".into(), old: None, new: Some(value) }],
/// );
/// # Ok::<(), mst_ops::Error>(())
/// ```
pub struct Diff<'s, A, B = A> {
    old: Side<'s, A>,
    new: Side<'s, B>,
    /// Whether an error or the end has come.
    done: bool,
}

/// A change of one record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operation {
    /// The record's key.
    pub key: Vec<u8>,
    /// The value it had; `None` if the record is created.
    pub old: Option<Cid>,
    /// The value it has; `None` if the record is deleted.
    pub new: Option<Cid>,
}

impl Operation {
    /// Returns the operation that takes this one back.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self {
            key: self.key,
            old: self.new,
            new: self.old,
        }
    }
}

/// One of the two trees.
struct Side<'s, S> {
    walker: NodeWalker<'s, S>,
    /// The nodes that the other tree does not have, sorted.
    own: Vec<[u8; DIGEST_LEN]>,
    /// The same, from the top down.
    cids: Vec<Cid>,
    /// The next entry of these nodes.
    next: Option<EntryRef>,
}

/// Nodes of one height.
type Level = Vec<[u8; DIGEST_LEN]>;

impl<'s, A: BlockStore, B: BlockStore> Diff<'s, A, B> {
    /// Compares the tree of `old_root` with the tree of `new_root`, each in its own store or
    /// both in one, and finds the nodes that only one of them has.
    ///
    /// # Errors
    ///
    /// Those of [`NodeWalker::new`] and [`NodeWalker::go_down`].
    pub fn new(
        old_nodes: &'s NodeStore<A>,
        old_root: &Cid,
        new_nodes: &'s NodeStore<B>,
        new_root: &Cid,
    ) -> Result<Self, Error> {
        let mut old = Side::new(NodeWalker::new(old_nodes, old_root)?);
        let mut new = Side::new(NodeWalker::new(new_nodes, new_root)?);
        if old_root != new_root {
            old.enter_empty();
            new.enter_empty();
        }
        // Level by level from the top: what both trees have on one is left out there, and with
        // it all below. A node of one tree that the other has as well, but below another
        // parent, is met on its level in both.
        let top = old.walker.height().max(new.walker.height());
        let (mut old_level, mut new_level) = (Vec::new(), Vec::new());
        for height in (0..=top).rev() {
            old.enter(height, &mut old_level);
            new.enter(height, &mut new_level);
            leave_out_common(&mut old_level, &mut new_level);
            old.read_level(old_nodes, height, &mut old_level)?;
            new.read_level(new_nodes, height, &mut new_level)?;
        }
        old.own.sort_unstable();
        new.own.sort_unstable();
        Ok(Self {
            old,
            new,
            done: false,
        })
    }

    /// Returns the nodes that only the new tree has, those higher up first. That they are in
    /// their places is known when the iterator has come to its end.
    pub fn created(&self) -> &[Cid] {
        &self.new.cids
    }

    /// Returns the nodes that only the old tree has, those higher up first, as for
    /// [`created`](Self::created).
    pub fn deleted(&self) -> &[Cid] {
        &self.old.cids
    }

    /// Merges the entries of the nodes that only one tree has. A key that both trees have is in
    /// such a node in both or in neither.
    fn next_operation(&mut self) -> Result<Option<Operation>, Error> {
        loop {
            let order = match (self.old.peek()?, self.new.peek()?) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.key().cmp(new.key()),
            };
            let old = self.old.next.take_if(|_| order.is_le());
            let new = self.new.next.take_if(|_| order.is_ge());
            let (old_value, new_value) = (value(old.as_ref()), value(new.as_ref()));
            if old_value != new_value
                && let Some(entry) = old.or(new)
            {
                return Ok(Some(Operation {
                    key: entry.key().to_vec(),
                    old: old_value,
                    new: new_value,
                }));
            }
        }
    }
}

impl<'s, S: BlockStore> Side<'s, S> {
    fn new(walker: NodeWalker<'s, S>) -> Self {
        Self {
            walker,
            own: Vec::new(),
            cids: Vec::new(),
            next: None,
        }
    }

    /// Notes the top of an empty tree as its own. It has no place in the other tree: where that
    /// links to such a node, it must be read and refused.
    fn enter_empty(&mut self) {
        let node = self.walker.node();
        if node.is_empty() {
            self.own.push(*node.digest());
            self.cids.push(node.cid());
        }
    }

    /// Puts the tree's top on its level, if it has entries.
    fn enter(&self, height: u8, level: &mut Level) {
        if self.walker.height() == height && !self.walker.node().is_empty() {
            level.push(*self.walker.node().digest());
        }
    }

    /// Notes the nodes of a level as the tree's own, and replaces them by those below.
    fn read_level(
        &mut self,
        nodes: &NodeStore<S>,
        height: u8,
        level: &mut Level,
    ) -> Result<(), Error> {
        let mut below = Level::new();
        for digest in &*level {
            let node = nodes.node_by_digest(digest)?;
            if digest != self.walker.root_digest() {
                place::check_level(&node, height)?;
            }
            place::check_bottom(&node, height)?;
            let links = (0..=node.len()).filter_map(|slot| node.subtree_digest(slot));
            below.extend(links);
        }
        self.own.extend_from_slice(level);
        self.cids.extend(level.iter().map(node_cid));
        *level = below;
        Ok(())
    }

    /// The next entry of the tree's own nodes.
    fn peek(&mut self) -> Result<Option<&EntryRef>, Error> {
        if self.next.is_none() && !self.own.is_empty() {
            let is_own = |digest: &_| self.own.binary_search(digest).is_ok();
            self.next = self.walker.next_entry_of(is_own)?;
        }
        Ok(self.next.as_ref())
    }
}

fn value(entry: Option<&EntryRef>) -> Option<Cid> {
    entry.map(EntryRef::value)
}

/// Removes from both what both have, and what one has twice.
fn leave_out_common(old: &mut Level, new: &mut Level) {
    for level in [&mut *old, &mut *new] {
        level.sort_unstable();
        level.dedup();
    }
    let common: Level = {
        let mut others = new.iter().peekable();
        let mut in_both = |digest: &&_| {
            while others.next_if(|other| other < digest).is_some() {}
            others.peek() == Some(digest)
        };
        old.iter()
            .filter(|digest| in_both(digest))
            .copied()
            .collect()
    };
    for level in [old, new] {
        let mut common = common.iter().peekable();
        level.retain(|digest| common.next_if_eq(&digest).is_none());
    }
}

impl<A: BlockStore, B: BlockStore> Iterator for Diff<'_, A, B> {
    type Item = Result<Operation, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.next_operation().transpose();
        // What comes behind a part that cannot be read cannot be compared.
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<A: BlockStore, B: BlockStore> FusedIterator for Diff<'_, A, B> {}

impl<A, B> fmt::Debug for Diff<'_, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diff")
            .field("created", &self.new.cids.len())
            .field("deleted", &self.old.cids.len())
            .finish_non_exhaustive()
    }
}
