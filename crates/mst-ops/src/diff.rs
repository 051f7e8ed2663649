//! The difference between two trees.

use std::cmp::Ordering;
use std::fmt;
use std::iter::FusedIterator;
use std::mem;
use std::sync::Arc;
use std::vec;

use blockstore_core::{BlockStore, Cid};
use hashbrown::{HashMap, HashSet};
use mst_node::{DIGEST_LEN, MixedHeights, Node, height_of};
use smallvec::SmallVec;

use crate::node_store::DigestKey;
use crate::place::{self, Site};
use crate::{EntryRef, Error, NodeStore, TreeFault, TreeNode};

/// The difference between two trees: which nodes only one of them has, and, as an iterator in key
/// order, the operations on records that lead from the first to the second.
///
/// It reads the nodes that only one tree has, and no others: a subtree that both have is skipped by
/// its CID, wherever in the trees it is. For two trees of 100,000 records that differ in one, that
/// is some ten nodes on each side.
///
/// Both trees are checked as far as they are read, as a [`NodeWalker`] does it; in trusted trees,
/// everything except whether the keys of a node have one height. What both have is not read, so a
/// diff does not show whether it is in its right place: a part that a tree shares with a sound one
/// may be in the wrong place there.
///
/// Everything is read, once, before the first operation is returned. Nodes with entries that differ
/// stay in memory until the last: if the trees have little in common, nearly all of their nodes. A
/// few bytes can expand to long keys: for blocks from an untrusted source, set
/// [`Limits::key_len`](crate::Limits::key_len) to the longest key you expect.
///
/// [`NodeWalker`]: crate::NodeWalker
///
/// # Examples
///
/// ```
/// use blockstore_core::{BlockStoreMut, MemoryBlockStore};
/// use mst_ops::{Diff, Node, NodeStore, NodeWrangler, Operation};
///
/// let wrangler = NodeWrangler::new(NodeStore::new(MemoryBlockStore::new()));
/// let value = Node::empty().cid();
/// let old = wrangler.put_record(&wrangler.empty()?, "app.bsky.feed.post/1", &value)?;
/// let new = wrangler.put_record(&old, "app.bsky.feed.post/2", &value)?;
///
/// let diff = Diff::new(wrangler.nodes(), &old, wrangler.nodes(), &new)?;
/// assert_eq!((diff.created(), diff.deleted()), ([new].as_slice(), [old].as_slice()));
/// let operations: Vec<Operation> = diff.collect();
/// assert_eq!(
///     operations,
///     [Operation { key: b"app.bsky.feed.post/2".into(), old: None, new: Some(value) }],
/// );
/// # Ok::<(), mst_ops::Error>(())
/// ```
#[derive(Clone)]
pub struct Diff {
    created: Vec<Cid>,
    deleted: Vec<Cid>,
    changes: vec::IntoIter<Change>,
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
    /// Returns the operation that undoes this one.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self {
            key: self.key,
            old: self.new,
            new: self.old,
        }
    }
}

impl Diff {
    /// Compares the tree of `old_root` with the tree of `new_root`, each in its own store or both
    /// in one. To get all of a tree, compare it with the empty tree, whose one node,
    /// [`Node::empty`](mst_node::Node::empty), must be in the store like any other.
    ///
    /// # Errors
    ///
    /// Those of [`NodeWalker::new`](crate::NodeWalker::new) and
    /// [`NodeWalker::go_down`](crate::NodeWalker::go_down), for any node that only one tree has.
    pub fn new<A: BlockStore, B: BlockStore>(
        old_nodes: &NodeStore<A>,
        old_root: &Cid,
        new_nodes: &NodeStore<B>,
        new_root: &Cid,
    ) -> Result<Self, Error> {
        let mut old = Side::new(old_nodes, old_root)?;
        let mut new = Side::new(new_nodes, new_root)?;
        let mut changes = Vec::new();
        let mut common = Vec::new();
        // Level by level from the top: subtrees that both trees have on a level are left out there,
        // with all below. A node that the other tree has below another parent is on the same level
        // in both.
        let top = old.height.max(new.height);
        let levels = if old_root == new_root { 0 } else { top + 1 };
        for level in (0..levels).rev() {
            old.enter(level);
            new.enter(level);
            leave_out_common(&mut old, &mut new, &common);
            old.read_level(level, Node::key_height)?;
            new.read_level(level, heights_beside(old.level_keys(), level))?;
            common = compare_level(&mut old, &mut new, &mut changes);
        }
        // The changes of each level are in order already, which a stable sort makes use of.
        changes.sort_by(|one, other| one.key().cmp(other.key()));
        Ok(Self {
            created: new.into_cids(),
            deleted: old.into_cids(),
            changes: changes.into_iter(),
        })
    }

    /// Returns the nodes that only the new tree has, higher ones first.
    pub fn created(&self) -> &[Cid] {
        &self.created
    }

    /// Returns the nodes that only the old tree has, higher ones first.
    pub fn deleted(&self) -> &[Cid] {
        &self.deleted
    }
}

/// The entries of a key for which the trees differ, at least one.
#[derive(Clone)]
struct Change {
    old: Option<EntryRef>,
    new: Option<EntryRef>,
}

impl Change {
    fn key(&self) -> &[u8] {
        let entry = self.old.as_ref().or(self.new.as_ref());
        entry.map_or(&[], EntryRef::key)
    }

    fn into_operation(self) -> Operation {
        Operation {
            key: self.key().to_vec(),
            old: self.old.as_ref().map(EntryRef::value),
            new: self.new.as_ref().map(EntryRef::value),
        }
    }
}

/// How many nodes are fetched before any of them is looked at.
const TOGETHER: usize = 16;

/// One of the two trees.
struct Side<'s, S> {
    nodes: &'s NodeStore<S>,
    top: Arc<TreeNode>,
    height: u8,
    /// The nodes that the other tree does not have, higher ones first, on each level from left to
    /// right.
    own: Vec<Own>,
    /// Where the last level begins.
    level: usize,
    /// The links to the nodes of the next level, from left to right.
    below: Vec<Link>,
}

/// A node that only one tree has.
struct Own {
    node: Arc<TreeNode>,
    link: Link,
}

/// The link to a node: the slot that it is in, or `None` for the top.
type Link = Option<Slot>;

/// A slot of a node in [`Side::own`], or the entry on its right.
#[derive(Clone, Copy)]
struct Slot {
    node: usize,
    index: usize,
}

impl<'s, S: BlockStore> Side<'s, S> {
    fn new(nodes: &'s NodeStore<S>, root: &Cid) -> Result<Self, Error> {
        let top = nodes.node(root)?;
        Ok(Self {
            nodes,
            height: place::top_height(&top)?,
            top,
            own: Vec::new(),
            level: 0,
            below: Vec::new(),
        })
    }

    /// Puts the top on its level. That of an empty tree is never the same as a node in the other
    /// tree: if that links to such a node, it must be read and refused.
    fn enter(&mut self, height: u8) {
        if self.height == height && self.top.is_empty() {
            let node = Arc::clone(&self.top);
            self.own.push(Own { node, link: None });
        } else if self.height == height {
            self.below.push(None);
        }
    }

    /// Reads the next level of nodes. `heights` finds the heights of their keys.
    fn read_level(
        &mut self,
        height: u8,
        mut heights: impl FnMut(&Node) -> Result<Option<u8>, MixedHeights>,
    ) -> Result<(), Error> {
        self.level = self.own.len();
        let mut keyless = HashSet::new();
        let below = mem::take(&mut self.below);
        for links in below.chunks(TOGETHER) {
            // Fetch some nodes, then look at each, so that the processor can load several from
            // memory in parallel. Not all of them: nodes out of place must not be read and kept for
            // nothing.
            let nodes = links.iter().map(|link| match self.linked(*link) {
                Some(node) => Ok(node),
                None => self.nodes.node_with(self.digest(*link), &mut heights),
            });
            let nodes: SmallVec<[_; TOGETHER]> = nodes.collect::<Result<_, _>>()?;
            for (link, node) in links.iter().zip(nodes) {
                match *link {
                    Some(slot) => {
                        let site = Site {
                            height,
                            left: self.left_key(slot),
                            right: self.right_key(slot),
                        };
                        place::check_site(&node, &site)?;
                    }
                    None => place::check_bottom(&node, height)?,
                }
                // A repeated node with keys is found by the order of keys; one without is not.
                if node.is_empty() && !keyless.insert(DigestKey(*node.digest())) {
                    return Err(place::invalid(&node, TreeFault::Repeated));
                }
                self.own.push(Own { node, link: *link });
            }
        }
        Ok(())
    }

    /// The keys of the last level, from left to right, if they are known to be on that level.
    fn level_keys(&self) -> impl Iterator<Item = &[u8]> {
        let trusted = self.nodes.options().trusted;
        let from = if trusted { self.own.len() } else { self.level };
        let level = self.own.iter().skip(from);
        level.flat_map(|own| own.node.entries().map(|entry| entry.key()))
    }

    /// The node that a link leads to, if it is known without asking the store.
    fn linked(&self, link: Link) -> Option<Arc<TreeNode>> {
        let Some(slot) = link else {
            return Some(Arc::clone(&self.top));
        };
        self.own.get(slot.node)?.node.linked(slot.index)
    }

    fn digest(&self, link: Link) -> &[u8; DIGEST_LEN] {
        let below = link.and_then(|slot| {
            let own = self.own.get(slot.node)?;
            own.node.subtree_digest(slot.index)
        });
        below.unwrap_or_else(|| self.top.digest())
    }

    /// The nearest key on the left of a slot, in its node or above.
    fn left_key(&self, mut slot: Slot) -> Option<&[u8]> {
        loop {
            let own = self.own.get(slot.node)?;
            if let Some(index) = slot.index.checked_sub(1) {
                return own.node.key(index);
            }
            slot = own.link?;
        }
    }

    /// The nearest key on the right of a slot, in its node or above.
    fn right_key(&self, mut slot: Slot) -> Option<&[u8]> {
        loop {
            let own = self.own.get(slot.node)?;
            let key = own.node.key(slot.index);
            if key.is_some() {
                return key;
            }
            slot = own.link?;
        }
    }

    fn into_cids(self) -> Vec<Cid> {
        self.own.iter().map(|own| own.node.cid()).collect()
    }
}

/// Removes from both sides the links that both have: `common`, and those found only here.
fn leave_out_common<A: BlockStore, B: BlockStore>(
    old: &mut Side<'_, A>,
    new: &mut Side<'_, B>,
    common: &[[u8; DIGEST_LEN]],
) {
    #[derive(Default)]
    struct Sides {
        old: bool,
        new: bool,
    }
    let len = old.below.len() + new.below.len();
    // By whole digests: linked nodes need not exist, so anybody can choose their digests.
    let mut sides: HashMap<[u8; DIGEST_LEN], Sides> = HashMap::with_capacity(len);
    for link in &old.below {
        sides.entry(*old.digest(*link)).or_default().old = true;
    }
    for link in &new.below {
        sides.entry(*new.digest(*link)).or_default().new = true;
    }
    for digest in common {
        if let Some(sides) = sides.get_mut(digest) {
            (sides.old, sides.new) = (true, true);
        }
    }
    let in_one = |digest: &[u8; DIGEST_LEN]| {
        let found = sides.get(digest);
        found.is_some_and(|found| found.old != found.new)
    };
    let (mut old_below, mut new_below) = (mem::take(&mut old.below), mem::take(&mut new.below));
    old_below.retain(|link| in_one(old.digest(*link)));
    new_below.retain(|link| in_one(new.digest(*link)));
    (old.below, new.below) = (old_below, new_below);
}

/// Compares the entries of the last level. Returns subtrees below it that both trees have, and
/// leaves the others to the next level.
///
/// A key that both trees have is on the same level in both, and its node is in [`Side::own`] in
/// both or in neither.
fn compare_level<A, B>(
    old: &mut Side<'_, A>,
    new: &mut Side<'_, B>,
    changes: &mut Vec<Change>,
) -> Vec<[u8; DIGEST_LEN]> {
    let mut common = Vec::new();
    let (mut old_at, mut new_at) = (Cursor::new(old), Cursor::new(new));
    loop {
        let order = match (old_at.key(), new_at.key()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.cmp(new),
        };
        if order.is_ne() || old_at.value() != new_at.value() {
            changes.push(Change {
                old: old_at.entry().filter(|_| order.is_le()),
                new: new_at.entry().filter(|_| order.is_ge()),
            });
        }
        let common_right = old_at
            .right()
            .filter(|right| new_at.right() == Some(*right));
        common.extend(common_right.copied());
        if order.is_le() {
            old_at.go_on(common_right.is_none());
        }
        if order.is_ge() {
            new_at.go_on(common_right.is_none());
        }
    }
    let (old_below, new_below) = (old_at.below, new_at.below);
    (old.below, new.below) = (old_below, new_below);
    common
}

/// A position before an entry of a tree's last level, or at the level's end.
struct Cursor<'l> {
    own: &'l [Own],
    at: Slot,
    node: Option<&'l Arc<TreeNode>>,
    /// The subtrees on the left.
    below: Vec<Link>,
}

impl<'l> Cursor<'l> {
    fn new<S>(side: &'l Side<'_, S>) -> Self {
        let mut cursor = Self {
            own: &side.own,
            at: Slot { node: 0, index: 0 },
            node: None,
            below: Vec::new(),
        };
        cursor.go_to_node(side.level);
        cursor
    }

    fn key(&self) -> Option<&'l [u8]> {
        self.node?.key(self.at.index)
    }

    fn value(&self) -> Option<&'l [u8]> {
        self.node?.value_bytes(self.at.index)
    }

    fn entry(&self) -> Option<EntryRef> {
        Some(EntryRef::new(Arc::clone(self.node?), self.at.index))
    }

    /// The subtree on the right of the entry.
    fn right(&self) -> Option<&'l [u8; DIGEST_LEN]> {
        self.node?.subtree_digest(self.at.index + 1)
    }

    /// Moves past the entry, and past the subtree on its right, which is recorded if it is
    /// `wanted`.
    fn go_on(&mut self, wanted: bool) {
        self.at.index += 1;
        if wanted {
            self.note_subtree();
        }
        if self.node.is_none_or(|node| self.at.index >= node.len()) {
            self.go_to_node(self.at.node + 1);
        }
    }

    /// Moves to the first entry of a node or of those after it.
    fn go_to_node(&mut self, mut index: usize) {
        loop {
            self.node = self.own.get(index).map(|own| &own.node);
            self.at = Slot {
                node: index,
                index: 0,
            };
            self.note_subtree();
            if self.node.is_none_or(|node| !node.is_empty()) {
                return;
            }
            index += 1;
        }
    }

    fn note_subtree(&mut self) {
        let subtree = self
            .node
            .and_then(|node| node.subtree_digest(self.at.index));
        if subtree.is_some() {
            self.below.push(Some(self.at));
        }
    }
}

/// Finds the height of each of some nodes, which come from left to right. Keys that are among
/// `known`, which were found to have the height `level`, are not hashed.
fn heights_beside<'k>(
    known: impl Iterator<Item = &'k [u8]>,
    level: u8,
) -> impl FnMut(&Node) -> Result<Option<u8>, MixedHeights> {
    let mut known = known.peekable();
    move |node| {
        node.key_height_by(|key| {
            while known.next_if(|known| *known < key).is_some() {}
            match known.next_if_eq(&key) {
                Some(_) => level,
                None => height_of(key),
            }
        })
    }
}

impl Iterator for Diff {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        self.changes.next().map(Change::into_operation)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.changes.size_hint()
    }
}

impl ExactSizeIterator for Diff {}

impl FusedIterator for Diff {}

impl fmt::Debug for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diff")
            .field("created", &self.created.len())
            .field("deleted", &self.deleted.len())
            .field("operations", &self.changes.len())
            .finish_non_exhaustive()
    }
}
