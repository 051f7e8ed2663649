//! A tree in memory that can be changed.

mod branch;
mod cover;
mod edit;
mod entries;
mod gathered;
mod invert;
mod save;

use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use blockstore_core::Cid;
use mst_node::{height_of, node_cid, node_digest};

use self::branch::{Branch, View};
use self::edit::Retired;
pub use self::entries::TreeEntries;
use self::gathered::Top;
pub use self::invert::InvertError;
pub use self::save::Changes;
use crate::{Error, NoNodes, NodeSource, Summary, TreeFault};

/// A Merkle Search Tree in memory that can be changed.
///
/// It is opened at a root and loads nodes as they are needed, or starts empty. A change touches the
/// nodes on the path to its key and hashes nothing but that key; [`root`](Self::root) and
/// [`flush`](Self::flush) encode and hash each changed node once, however many changes there were.
/// Loaded nodes stay in memory, in the tree and not in a cache, until the tree is dropped. For
/// look-ups with bounded memory use [`NodeStore::get`](crate::NodeStore::get).
///
/// A tree that starts empty only gathers its entries at first, in whatever order they come. Its
/// nodes are made all at once when somebody asks for something that needs them, when the keys take
/// more than 4 GiB, or when a node might become too large. [`root`](Self::root) does not need them
/// the first time: it hashes the nodes without keeping them, so [`flush`](Self::flush) hashes them
/// again. Once the nodes are made, the tree keeps them and their hashes until it is changed, so
/// neither call hashes them again.
///
/// A change that fails, because of a missing or a bad block, leaves the tree unchanged. So on
/// [`Error::MissingBlock`] you may fetch the block and try again. Nodes are checked in their place
/// when they are loaded, and whatever a change splits or merges is loaded. What it only moves is
/// not: a subtree that was out of place beside a key may be in place without that key, so that an
/// invalid tree becomes valid. If you have to know that the tree was sound before, call
/// [`verify`](Self::verify) first.
///
/// A clone is cheap and independent: clones share the nodes that neither has changed. To find what
/// differs between two trees, store their nodes and use [`Diff`](crate::Diff).
///
/// # Examples
///
/// ```
/// use blockstore_core::{BlockStoreMut, MemoryBlockStore};
/// use mst_ops::{Node, NodeStore, Tree};
///
/// let blocks = MemoryBlockStore::new();
/// let value = Node::empty().cid();
///
/// let mut tree = Tree::new();
/// tree.insert("com.example.record/3jqfcqzm3fo2j", &value)?;
/// tree.insert("com.example.record/3jqfcqzm4fc2j", &value)?;
/// let changes = tree.flush();
/// blocks.put_many(&changes.new)?;
///
/// let nodes = NodeStore::new(&blocks);
/// let mut tree = Tree::open(&nodes, &changes.root)?;
/// assert_eq!(tree.remove("com.example.record/3jqfcqzm4fc2j")?, Some(value));
/// let changes = tree.flush();
/// assert_eq!((changes.new.len(), changes.removed.len()), (1, 1));
/// assert_eq!(changes.root, tree.root());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tree<N = NoNodes> {
    nodes: N,
    top: Top,
    retired: Retired,
}

impl Tree {
    /// Returns the empty tree, for which no store is needed.
    pub fn new() -> Self {
        Self::empty(NoNodes)
    }

    /// Returns the tree of `entries`, for which no store is needed. Of entries with the same key
    /// the last one counts.
    ///
    /// For entries in key order, [`TreeBuilder`](crate::TreeBuilder) takes less time and hardly any
    /// memory.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] and [`Error::NodeTooLarge`].
    pub fn from_entries<K: AsRef<[u8]>>(
        entries: impl IntoIterator<Item = (K, Cid)>,
    ) -> Result<Self, Error> {
        let mut tree = Self::new();
        for (key, value) in entries {
            tree.insert(key.as_ref(), &value)?;
        }
        Ok(tree)
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: NodeSource> Tree<N> {
    /// Returns the empty tree. As none of it was ever stored, `nodes` is used only for its options;
    /// it gives the tree the same type as one that was opened.
    pub fn empty(nodes: N) -> Self {
        Self::of_top(nodes, Top::empty())
    }

    /// Opens the tree of `root`, and loads its top node.
    ///
    /// # Errors
    ///
    /// Those of [`NodeStore::node`](crate::NodeStore::node), and [`Error::InvalidTree`] if the
    /// node cannot be the top of a tree.
    pub fn open(nodes: N, root: &Cid) -> Result<Self, Error> {
        let digest = node_digest(root).ok_or(Error::InvalidTree {
            cid: *root,
            fault: TreeFault::RootCid,
        })?;
        let top = Arc::new(Branch::load_top(&nodes, digest)?);
        Ok(Self::of_top(nodes, Top::Made(top)))
    }

    /// The tree below `top`, of which either nothing was handed out yet or everything.
    fn of_top(nodes: N, top: Top) -> Self {
        Self {
            nodes,
            top,
            retired: Retired::new(),
        }
    }

    /// Returns the source of the tree's nodes.
    pub fn nodes(&self) -> &N {
        &self.nodes
    }

    /// Returns the value of `key`, or `None` if the tree does not have it.
    ///
    /// As with [`NodeWalker::find`](crate::NodeWalker::find), a missing node is no error if `key`
    /// could not be in it.
    ///
    /// # Errors
    ///
    /// [`Error::MissingBlock`], [`Error::InvalidNode`], [`Error::InvalidTree`] and
    /// [`Error::Store`] for a node that had to be loaded.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Cid>, Error> {
        let key = key.as_ref();
        // As long as nodes are in memory, the keys around them do not matter.
        let mut branch = match &self.top {
            Top::Made(top) => top,
            Top::Gathered(gathered) => return Ok(gathered.get(key)),
        };
        loop {
            // Deep in the tree, most of this is not in the processor's cache. Touching the children
            // now loads them in parallel with the keys that `find` compares, instead of after them.
            black_box(branch.loaded(0).is_some());
            match branch.node.find(key) {
                Ok(index) => return Ok(branch.node.value(index)),
                Err(slot) => match branch.loaded(slot) {
                    Some(below) => branch = below,
                    None if branch.has_subtree(slot) => break,
                    None => return Ok(None),
                },
            }
        }
        let found = self.find_entry(key, |_| {})?;
        Ok(found.and_then(|(view, index)| view.branch.node.value(index)))
    }

    /// Returns whether the tree has `key`.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(self.get(key)?.is_some())
    }

    /// Returns whether the tree has no entries.
    pub fn is_empty(&self) -> bool {
        match &self.top {
            Top::Made(top) => top.is_vacant(),
            Top::Gathered(gathered) => gathered.len() == 0,
        }
    }

    /// Returns whether a node of the tree is missing, so that some of its entries cannot be read.
    /// Loads the whole tree, or all of it up to the first gap. As for [`verify`](Self::verify),
    /// nodes that are in memory are not missing, even if the store has lost them.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidNode`], [`Error::InvalidTree`] and [`Error::Store`] for a node that is
    /// there.
    pub fn is_partial(&self) -> Result<bool, Error> {
        match self.verify() {
            Ok(_) => Ok(false),
            Err(Error::MissingBlock(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Returns the entries in key order, loading nodes as it comes to them.
    ///
    /// A subtree that cannot be read is an item, an error, and the iterator continues past it.
    pub fn entries(&self) -> TreeEntries<'_, N> {
        TreeEntries::new(self)
    }

    /// Returns all entries as a map.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), if any part of the tree cannot be read.
    pub fn to_map(&self) -> Result<BTreeMap<Vec<u8>, Cid>, Error> {
        let owned =
            |entry: Result<(&[u8], Cid), Error>| entry.map(|(key, value)| (key.to_vec(), value));
        self.entries().map(owned).collect()
    }

    /// Loads the whole tree and returns counts of it, if the tree is complete and canonical.
    ///
    /// Nodes that are in memory already, in the tree or in the cache of its node store, are not
    /// looked for in the block store. The function [`verify`](crate::verify) looks for all.
    ///
    /// # Errors
    ///
    /// The first fault in preorder.
    pub fn verify(&self) -> Result<Summary, Error> {
        let mut summary = Summary {
            height: self.top.branch().height,
            nodes: 0,
            entries: 0,
        };
        // The path down, with the next slot of each node.
        let mut way: Vec<(View<'_>, usize)> = Vec::new();
        let mut next = Some(View::of_top(self.top.branch()));
        loop {
            if let Some(view) = next.take() {
                let branch = view.branch;
                // Loading checked everything else, and this too unless the store is trusted.
                for entry in branch.node.entries() {
                    let found = height_of(entry.key());
                    if found != branch.height {
                        return Err(misplaced(branch, found));
                    }
                }
                summary.nodes += 1;
                summary.entries += branch.node.len() as u64;
                way.push((view, 0));
            }
            let Some((view, slot)) = way.last_mut() else {
                return Ok(summary);
            };
            if *slot <= view.branch.node.len() {
                next = view.child(&self.nodes, *slot)?;
                *slot += 1;
            } else {
                way.pop();
            }
        }
    }

    /// Finds the entry of `key`: its node, and its index there. `on_way_down` is called with the
    /// slots on the path.
    fn find_entry(
        &self,
        key: &[u8],
        mut on_way_down: impl FnMut(usize),
    ) -> Result<Option<(View<'_>, usize)>, Error> {
        let mut view = View::of_top(self.top.branch());
        loop {
            let slot = match view.branch.node.find(key) {
                Ok(index) => return Ok(Some((view, index))),
                Err(slot) => slot,
            };
            match view.child(&self.nodes, slot) {
                Ok(Some(below)) => view = below,
                Ok(None) => return Ok(None),
                // A key is in the node of its own height, or nowhere.
                Err(Error::MissingBlock(_)) if height_of(key) >= view.branch.height => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
            on_way_down(slot);
        }
    }
}

/// The error for a key of height `found` in `branch`, which has another height.
fn misplaced(branch: &Branch, found: u8) -> Error {
    Error::InvalidTree {
        cid: node_cid(&branch.digest()),
        fault: TreeFault::Height {
            expected: branch.height,
            found,
        },
    }
}

impl<N> fmt::Debug for Tree<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tree = f.debug_struct("Tree");
        match &self.top {
            Top::Made(top) => tree.field("height", &top.height),
            Top::Gathered(gathered) => tree.field("entries", &gathered.len()),
        };
        tree.finish_non_exhaustive()
    }
}
