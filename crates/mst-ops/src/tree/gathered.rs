//! The entries of a tree that was started empty and has not been looked at yet.
//!
//! If many entries are inserted one after the other in any order, each has to find its place in the
//! tree and change some nodes, of which almost none remain in the end. So they are only collected,
//! in a hash table, until somebody asks for something that needs a tree.

mod make;
mod sort;

use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

use blockstore_core::Cid;
use hashbrown::{DefaultHashBuilder, HashTable};
use mst_node::{DIGEST_LEN, Limits, height_of, node_cid, node_digest};

use self::make::Maker;
use self::sort::sorted;
use super::branch::Branch;
use crate::TreeBuilder;
use crate::place::check_size;

/// The content of a tree in memory: its top node, or the entries that it will be made of.
#[derive(Debug, Clone)]
pub(super) enum Top {
    Made(Arc<Branch>),
    Gathered(Arc<Gathered>),
}

impl Top {
    pub(super) fn empty() -> Self {
        Self::Gathered(Arc::default())
    }

    /// The top node, which is made now if it was not before.
    #[inline]
    pub(super) fn branch(&self) -> &Arc<Branch> {
        match self {
            Self::Made(top) => top,
            Self::Gathered(gathered) => gathered.branch(),
        }
    }

    /// The top node, to be changed.
    pub(super) fn branch_mut(&mut self) -> &mut Arc<Branch> {
        loop {
            match self {
                Self::Made(top) => return top,
                Self::Gathered(gathered) => {
                    let top = Arc::clone(gathered.branch());
                    *self = Self::Made(top);
                }
            }
        }
    }
}

/// Entries in the order of insertion, without duplicate keys.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The keys, concatenated.
    keys: Vec<u8>,
    entries: Vec<Entry>,
    /// The entries by their keys.
    by_key: HashTable<Named>,
    hasher: DefaultHashBuilder,
    /// The heights of the keys of the first entries, those that were measured.
    heights: Vec<u8>,
    /// No node of the tree of the measured entries is larger.
    largest: Size,
    /// How many of the first entries were measured again, as one set, and how large their nodes can
    /// be.
    again: (usize, Size),
    /// The tree, once somebody has asked for it.
    made: OnceLock<Arc<Branch>>,
    root: OnceLock<Cid>,
}

/// An entry in the hash table: its index, and the hash of its key, so that other keys need not be
/// compared.
#[derive(Debug)]
struct Named {
    index: u32,
    hash: u32,
}

#[derive(Debug)]
struct Entry {
    /// Where the key begins in [`Gathered::keys`]. It ends where the next begins.
    start: u32,
    value: Value,
}

/// A CID in less than half the memory, if it is of the usual kind.
#[derive(Debug)]
enum Value {
    DagCbor([u8; DIGEST_LEN]),
    Other(Box<Cid>),
}

impl From<&Cid> for Value {
    fn from(cid: &Cid) -> Self {
        match node_digest(cid) {
            Some(digest) => Self::DagCbor(*digest),
            None => Self::Other(Box::new(*cid)),
        }
    }
}

impl Value {
    fn cid(&self) -> Cid {
        match self {
            Self::DagCbor(digest) => node_cid(digest),
            Self::Other(cid) => **cid,
        }
    }
}

/// Gathering is over, and a tree is needed.
pub(super) struct Over;

/// The size of a node.
#[derive(Debug, Default, Clone, Copy)]
struct Size {
    entries: usize,
    keys_len: usize,
}

impl Size {
    /// The maximum size of a node of both sets of entries together.
    fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            keys_len: self.keys_len + other.keys_len,
        }
    }
}

impl Gathered {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Cid> {
        Some(self.value(self.find(key, self.hash(key))?))
    }

    /// Maps `key`, which is valid, to `value`, and returns its previous value.
    ///
    /// If it returns [`Over`], nothing has happened: somebody has looked at the entries, or there
    /// are so many that a node might become too large.
    pub(super) fn insert(
        &mut self,
        key: &[u8],
        value: &Cid,
        limits: &Limits,
    ) -> Result<Option<Cid>, Over> {
        if self.made.get().is_some() || self.root.get().is_some() {
            return Err(Over);
        }
        let hash = self.hash(key);
        if let Some(index) = self.find(key, hash) {
            let entry = self.entries.get_mut(index as usize).expect(INDEX);
            let old = entry.value.cid();
            entry.value = value.into();
            return Ok(Some(old));
        }
        let start = u32::try_from(self.keys.len()).map_err(|_| Over)?;
        let index = u32::try_from(self.entries.len()).map_err(|_| Over)?;
        if !self.has_room(key.len(), limits) {
            return Err(Over);
        }
        let named = Named { index, hash };
        let hash_of = |named: &Named| spread(named.hash);
        self.by_key.insert_unique(spread(hash), named, hash_of);
        let value = value.into();
        self.entries.push(Entry { start, value });
        self.keys.extend_from_slice(key);
        Ok(None)
    }

    fn hash(&self, key: &[u8]) -> u32 {
        // Either half will do.
        (self.hasher.hash_one(key) >> 32) as u32
    }

    fn find(&self, key: &[u8], hash: u32) -> Option<u32> {
        let is_it = |named: &Named| named.hash == hash && self.key(named.index) == key;
        Some(self.by_key.find(spread(hash), is_it)?.index)
    }

    /// Whether no node can become too large with one more key, of `key_len` bytes.
    ///
    /// The nodes are not known yet, but those of two sets of entries together are no larger than
    /// the largest of each set, added up.
    fn has_room(&mut self, key_len: usize, limits: &Limits) -> bool {
        let fits = |gathered: &Self| {
            let most = gathered.largest.plus(gathered.unmeasured());
            check_size(most.entries + 1, most.keys_len + key_len, limits).is_ok()
        };
        if !fits(self) {
            self.measure();
        }
        if !fits(self) {
            self.measure_again();
        }
        fits(self)
    }

    /// The size of all entries that were not measured.
    fn unmeasured(&self) -> Size {
        let from = self.entries.get(self.heights.len());
        Size {
            entries: self.entries.len() - self.heights.len(),
            keys_len: from.map_or(0, |entry| self.keys.len() - entry.start as usize),
        }
    }

    /// Measures the entries that were added since the last time.
    fn measure(&mut self) {
        let from = self.heights.len();
        for index in (0..).take(self.entries.len()).skip(from) {
            let height = height_of(self.key(index));
            self.heights.push(height);
        }
        self.largest = self.largest.plus(self.largest_node(from));
    }

    /// Measures all entries that were added since the last time as one set. The bounds of many
    /// sets, added up, are far above the size of any node.
    fn measure_again(&mut self) {
        let (from, before) = self.again;
        self.largest = before.plus(self.largest_node(from));
        self.again = (self.entries.len(), self.largest);
    }

    /// The largest node that the entries from `from` on would make. Their heights must be known.
    fn largest_node(&self, from: usize) -> Size {
        let mut largest = Size::default();
        // The node that is being filled on each level.
        let mut nodes = [Size::default(); MAX_HEIGHT + 1];
        for index in self.sorted(from) {
            let height = self.heights.get(index as usize).copied().expect(INDEX);
            let (below, from_here) = nodes.split_at_mut(height.into());
            below.fill(Size::default());
            if let Some(node) = from_here.first_mut() {
                node.entries += 1;
                node.keys_len += self.key(index).len();
                largest.entries = largest.entries.max(node.entries);
                largest.keys_len = largest.keys_len.max(node.keys_len);
            }
        }
        largest
    }

    /// The top node of the tree of all entries, which is made the first time.
    #[cold]
    fn branch(&self) -> &Arc<Branch> {
        self.made.get_or_init(|| {
            let mut maker = Maker::default();
            self.for_each(|key, value, height| maker.push(key, value, height));
            maker.finish()
        })
    }

    /// The root of the tree. The first call makes no tree.
    pub(super) fn root(&self) -> Cid {
        if let Some(top) = self.made.get() {
            return node_cid(&top.digest());
        }
        *self.root.get_or_init(|| {
            let mut builder = TreeBuilder::new(|_, _| Ok(()));
            self.for_each(|key, value, height| {
                builder.append(key, &value, height).expect(NO_SINK);
            });
            builder.finish().expect(NO_SINK)
        })
    }

    /// Calls `each` with the entries in key order, and their keys' heights.
    fn for_each<'g>(&'g self, mut each: impl FnMut(&'g [u8], Cid, u8)) {
        for index in self.sorted(0) {
            let key = self.key(index);
            let height = self.heights.get(index as usize).copied();
            let height = height.unwrap_or_else(|| height_of(key));
            each(key, self.value(index), height);
        }
    }

    /// The indices of the entries from `from` on, in key order.
    fn sorted(&self, from: usize) -> impl Iterator<Item = u32> {
        let indices = (0..).take(self.entries.len()).skip(from);
        sorted(indices, |index| self.key(index))
    }

    fn value(&self, index: u32) -> Cid {
        let entry = self.entries.get(index as usize).expect(INDEX);
        entry.value.cid()
    }

    fn key(&self, index: u32) -> &[u8] {
        let start_of = |index: usize| self.entries.get(index).map(|entry| entry.start as usize);
        let start = start_of(index as usize).expect(INDEX);
        let end = start_of(index as usize + 1).unwrap_or(self.keys.len());
        self.keys.get(start..end).expect(INDEX)
    }
}

/// Spreads a hash of 32 bits for a table, which looks at its first and its last bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// The greatest height that a key can have.
const MAX_HEIGHT: usize = 128;

const INDEX: &str = "indices and places are those of entries that there are";
/// Why a builder cannot fail.
const NO_SINK: &str = "nodes are handed to nobody";
