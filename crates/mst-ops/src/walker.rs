//! A cursor in a tree.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use blockstore_core::{BlockStore, Cid};
use mst_node::height_of;

use crate::bounds::prefix_end;
use crate::descent::Descent;
use crate::entries::Entries;
use crate::node_store::{Child, TreeNode, Use};
use crate::place::{self, Site};
use crate::{EntryRef, Error, NodeStore, Nodes, TreeFault};

/// A cursor in a tree, which moves down into subtrees, along a node, and up again.
///
/// A walker always stands in one *slot* of one node: left of its first entry, between two
/// entries, or right of its last. In each slot there may be a subtree.
///
/// ```text
/// keys:    (left bound)   0     1     2   (right bound)
/// slots:               0     1     2     3
/// ```
///
/// It starts in slot 0 of the root. It remembers nothing but the path down, on a stack of its own.
/// No tree is too deep for it, and no blocks can make it go in circles, since each step down must
/// lower the height.
///
/// As it goes down it checks that each node is in its place: its height is one less than its
/// parent's, all its keys are between the two that enclose it, and it is not there for nothing. A
/// tree that was walked to its end without an error is therefore well-formed, and as every node has
/// only one encoding, it is *the* tree of its entries. [`NodeStoreOptions::trusted`] disables these
/// checks.
///
/// A step that fails leaves the walker where it was or, if it leads through several nodes, before
/// the subtree that could not be entered. So after [`Error::MissingBlock`] you may fetch the block
/// and repeat the step, or skip the subtree.
///
/// [`NodeStoreOptions::trusted`]: crate::NodeStoreOptions::trusted
///
/// # Examples
///
/// ```
/// # use blockstore_core::{BlockStoreMut, MemoryBlockStore};
/// use mst_node::{Node, NodeBuilder};
/// use mst_ops::{NodeStore, NodeWalker};
///
/// let value = Node::empty().cid();
/// let mut builder = NodeBuilder::new(None)?;
/// builder.push(b"blue", &value, None)?;
/// let node = builder.finish();
/// # let blocks = MemoryBlockStore::new();
/// # blocks.put(&node.cid(), node.encode().into())?;
///
/// let nodes = NodeStore::new(blocks);
/// let mut walker = NodeWalker::new(&nodes, &node.cid())?;
/// assert_eq!(walker.height(), 1);
/// assert_eq!((walker.left_key(), walker.right_key()), (None, Some(b"blue".as_slice())));
/// assert!(walker.go_right());
/// assert_eq!((walker.left_key(), walker.right_key()), (Some(b"blue".as_slice()), None));
/// assert!(walker.is_final());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NodeWalker<'s, S> {
    nodes: &'s NodeStore<S>,
    at: WalkerPosition,
}

/// The position of a [`NodeWalker`], which does not borrow the node store: to be kept in one struct
/// with the store, or while the block store is changed ([`NodeStore::blocks_mut`]).
///
/// It holds the nodes on the path, so they need not be read again.
///
/// # Examples
///
/// ```
/// # use std::collections::BTreeMap;
/// # use blockstore_core::{BlockStoreMut, MemoryBlockStore};
/// # use mst_ops::{NodeStore, NodeWalker, Node};
/// # let value = Node::empty().cid();
/// # let keys = ["a/1", "a/2", "b/1"].map(|key| (key.to_owned(), value));
/// # let tree = mst_testkit::build_tree(&BTreeMap::from(keys));
/// # let blocks = MemoryBlockStore::new();
/// # blocks.put_many(&tree.nodes)?;
/// # let nodes = NodeStore::new(blocks);
/// let mut walker = NodeWalker::new(&nodes, &tree.root)?;
/// walker.seek("a/2")?;
/// let position = walker.into_position();
/// // Later:
/// let mut walker = NodeWalker::at(&nodes, position).expect("it is of this store");
/// let entry = walker.next_entry()?.expect("two are left");
/// assert_eq!(entry.key(), b"a/2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct WalkerPosition {
    /// The path from the root to where the walker stands; never empty.
    stack: Vec<Frame>,
    /// Height of the root.
    root_height: u8,
    intended: Use,
    /// The keys that enclose the walker's root, if that is a subtree of a larger tree.
    left: Option<EntryRef>,
    right: Option<EntryRef>,
    /// The id of the [`NodeStore`] that the nodes come from.
    store: u64,
}

#[derive(Clone)]
struct Frame {
    node: Arc<TreeNode>,
    slot: usize,
    /// Whether the node has any subtrees: most have none.
    has_subtrees: bool,
    /// Which side of its slot's subtree the walker is on. Only whole steps (the next or previous
    /// entry, a seek) tell the sides apart.
    side: Side,
    /// The entries above that enclose the node, as places on the stack.
    left: Above,
    right: Above,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    /// The subtree is still ahead when going right.
    Left,
    /// The subtree has been passed when going right.
    Right,
}

/// An entry above a node that bounds its keys.
#[derive(Clone, Copy)]
pub(crate) enum Above {
    /// Entry `index` of the node at `depth` on the stack.
    Entry { depth: usize, index: usize },
    /// The bounds of the walker's root.
    Root,
}

impl Above {
    /// The entries that enclose the subtree in slot `slot` of `node`, which is at `depth` on a path
    /// down, and is enclosed by `left` and `right` itself.
    #[inline]
    pub(crate) fn below(
        node: &TreeNode,
        slot: usize,
        depth: usize,
        (left, right): (Self, Self),
    ) -> (Self, Self) {
        let left = match slot.checked_sub(1) {
            Some(index) => Self::Entry { depth, index },
            None => left,
        };
        let right = if slot < node.len() {
            Self::Entry { depth, index: slot }
        } else {
            right
        };
        (left, right)
    }
}

impl<'s, S: BlockStore> NodeWalker<'s, S> {
    /// Starts in the first slot of the tree of `root`.
    ///
    /// # Errors
    ///
    /// Those of [`NodeStore::node`], and [`Error::InvalidTree`] if the node cannot be the top of a
    /// tree, because it has a subtree but either no keys or keys of height 0.
    pub fn new(nodes: &'s NodeStore<S>, root: &Cid) -> Result<Self, Error> {
        let node = nodes.node(root)?;
        let root_height = place::top_height(&node)?;
        place::check_bottom(&node, root_height)?;
        let at = WalkerPosition {
            root_height,
            stack: first_frame(node),
            intended: Use::Again,
            left: None,
            right: None,
            store: nodes.id(),
        };
        Ok(Self { nodes, at })
    }

    /// Continues where another walker of the same node store stood. `None` if it was of another
    /// store: its blocks, and what was checked, may differ.
    #[inline]
    pub fn at(nodes: &'s NodeStore<S>, position: WalkerPosition) -> Option<Self> {
        (position.store == nodes.id()).then_some(Self {
            nodes,
            at: position,
        })
    }

    /// Stands where a descent has stopped.
    pub(crate) fn along(nodes: &'s NodeStore<S>, descent: Descent) -> Self {
        let mut above = (Above::Root, Above::Root);
        let mut stack = Vec::with_capacity(USUAL_DEPTH);
        let root_height = descent.root_height();
        for (depth, (node, slot)) in descent.into_path().enumerate() {
            let (left, right) = above;
            above = Above::below(&node, slot, depth, above);
            stack.push(Frame {
                has_subtrees: node.has_subtrees(),
                node,
                slot,
                side: Side::Left,
                left,
                right,
            });
        }
        let at = WalkerPosition {
            root_height,
            stack,
            intended: Use::Again,
            left: None,
            right: None,
            store: nodes.id(),
        };
        Self { nodes, at }
    }

    /// Returns the position of the walker, from which another can continue ([`at`](Self::at)).
    pub fn into_position(self) -> WalkerPosition {
        self.at
    }

    /// Makes the walker leave the cache of its node store unchanged: it takes nodes from the cache
    /// but adds none. For walks through a whole tree, which would fill the cache with nodes that
    /// are not needed again.
    #[must_use]
    pub fn uncached(mut self) -> Self {
        self.at.intended = Use::Once;
        self
    }

    /// Returns a walker whose root is the subtree in this slot, or `None` if there is none. Its
    /// keys are still checked against the bounds that they have in the whole tree.
    ///
    /// # Errors
    ///
    /// Those of [`go_down`](Self::go_down).
    pub fn subtree_walker(&self) -> Result<Option<Self>, Error> {
        let Some(node) = self.child()? else {
            return Ok(None);
        };
        let at = WalkerPosition {
            root_height: self.height() - 1,
            intended: self.at.intended,
            stack: first_frame(node),
            left: self.left_entry(),
            right: self.right_entry(),
            store: self.at.store,
        };
        Ok(Some(Self { at, ..*self }))
    }

    // ---- Where it stands.

    /// Returns the node that the walker stands in.
    pub fn node(&self) -> &Arc<TreeNode> {
        &self.top().node
    }

    /// Returns the height of the node that the walker stands in.
    pub fn height(&self) -> u8 {
        // Each step down needs a height above 0, so there are no more steps than that.
        self.at.root_height - u8::try_from(self.depth()).unwrap_or(u8::MAX)
    }

    /// Returns how many levels the walker is below its root.
    pub fn depth(&self) -> usize {
        self.at.stack.len() - 1
    }

    /// Returns the slot that the walker stands in, counted from 0 at the node's left end.
    pub fn slot(&self) -> usize {
        self.top().slot
    }

    /// Returns the nearest key on the left, in this node or above; all keys of the subtree here are
    /// greater. `None` if nothing in the tree is on the left.
    ///
    /// The Python library calls it `lpath`.
    pub fn left_key(&self) -> Option<&[u8]> {
        let (node, index) = self.left()?;
        node.key(index)
    }

    /// Returns the nearest key on the right, in this node or above; all keys of the subtree
    /// here are less. `None` if nothing in the tree is on the right.
    ///
    /// The Python library calls it `rpath`.
    pub fn right_key(&self) -> Option<&[u8]> {
        let (node, index) = self.right()?;
        node.key(index)
    }

    /// Returns the value of [`left_key`](Self::left_key).
    pub fn left_value(&self) -> Option<Cid> {
        self.left_entry().map(|entry| entry.value())
    }

    /// Returns the value of [`right_key`](Self::right_key).
    pub fn right_value(&self) -> Option<Cid> {
        self.right_entry().map(|entry| entry.value())
    }

    /// Returns the entry of [`left_key`](Self::left_key).
    pub fn left_entry(&self) -> Option<EntryRef> {
        let (node, index) = self.left()?;
        Some(EntryRef::new(Arc::clone(node), index))
    }

    /// Returns the entry of [`right_key`](Self::right_key).
    pub fn right_entry(&self) -> Option<EntryRef> {
        let (node, index) = self.right()?;
        Some(EntryRef::new(Arc::clone(node), index))
    }

    /// Returns the CID of the subtree in this slot.
    pub fn subtree(&self) -> Option<Cid> {
        self.node().subtree(self.slot())
    }

    /// Returns whether the walker stands in the very last slot: no subtree here, and no key of its
    /// tree on the right.
    pub fn is_final(&self) -> bool {
        let at_right_edge = |frame: &Frame| frame.slot == frame.node.len();
        self.at.stack.iter().all(at_right_edge) && self.subtree().is_none()
    }

    /// Returns whether there is an entry on the right in this node.
    pub fn can_go_right(&self) -> bool {
        self.slot() < self.node().len()
    }

    // ---- Single steps.

    /// Goes down into the first slot of the subtree here. `false` if there is none.
    ///
    /// # Errors
    ///
    /// Those of [`NodeStore::node`] for the subtree's node, and [`Error::InvalidTree`] if
    /// it does not belong here.
    pub fn go_down(&mut self) -> Result<bool, Error> {
        self.enter(Side::Left)
    }

    /// Moves past the next entry of this node. `false` if there is none.
    pub fn go_right(&mut self) -> bool {
        let can = self.can_go_right();
        if can {
            let top = self.top_mut();
            top.slot += 1;
            top.side = Side::Left;
        }
        can
    }

    /// Goes up to the slot whose subtree the walker stands in, before that subtree. `false` in the
    /// root.
    pub fn go_up(&mut self) -> bool {
        let can = self.depth() > 0;
        if can {
            self.at.stack.pop();
            self.top_mut().side = Side::Left;
        }
        can
    }

    /// Moves past the next entry on the right, in this node or above, without looking into the
    /// subtree here. If the walker's tree has none, returns `false` and does not move.
    pub fn go_right_or_up(&mut self) -> bool {
        let keep = self
            .at
            .stack
            .iter()
            .rposition(|frame| frame.slot < frame.node.len());
        let Some(keep) = keep else {
            return false;
        };
        self.at.stack.truncate(keep + 1);
        self.go_right()
    }

    /// Goes before the first entry.
    pub fn go_to_start(&mut self) {
        self.at.stack.truncate(1);
        let top = self.top_mut();
        top.slot = 0;
        top.side = Side::Left;
    }

    /// Goes after the last entry.
    pub fn go_to_end(&mut self) {
        self.at.stack.truncate(1);
        let top = self.top_mut();
        top.slot = top.node.len();
        top.side = Side::Right;
    }

    // ---- Whole steps.

    /// Moves past the next entry on the right, going down into every subtree before it, and returns
    /// it. After the last one it keeps returning `None`.
    ///
    /// # Errors
    ///
    /// Those of [`go_down`](Self::go_down). The walker then stands before the subtree that it could
    /// not enter; [`skip_subtree`](Self::skip_subtree) moves past it.
    pub fn next_entry(&mut self) -> Result<Option<EntryRef>, Error> {
        loop {
            let top = self.top();
            let may_enter = top.side == Side::Left && top.has_subtrees;
            if may_enter && self.enter(Side::Left)? {
                continue;
            }
            let top = self.top_mut();
            if top.slot < top.node.len() {
                top.slot += 1;
                top.side = Side::Left;
                return Ok(Some(top.entry(top.slot - 1)));
            }
            if !self.leave() {
                return Ok(None);
            }
        }
    }

    /// Moves past the next entry on the left, going down into every subtree before it, and returns
    /// it. Before the first one it keeps returning `None`.
    ///
    /// It goes back over what [`next_entry`](Self::next_entry) has passed.
    ///
    /// # Errors
    ///
    /// As for [`next_entry`](Self::next_entry).
    pub fn previous_entry(&mut self) -> Result<Option<EntryRef>, Error> {
        loop {
            let after_subtree = self.top().side == Side::Right;
            if after_subtree && self.enter(Side::Right)? {
                continue;
            }
            let top = self.top_mut();
            if let Some(slot) = top.slot.checked_sub(1) {
                top.slot = slot;
                top.side = Side::Right;
                return Ok(self.right_entry());
            }
            let went_up = self.go_up();
            self.top_mut().side = Side::Left;
            if !went_up {
                return Ok(None);
            }
        }
    }

    /// Whether both walkers stand in the same slot and on the same side of its subtree.
    pub(crate) fn stands_with(&self, other: &Self) -> bool {
        let same_slot = |(one, two): (&Frame, &Frame)| one.slot == two.slot;
        self.depth() == other.depth()
            && self.top().side == other.top().side
            && self.at.stack.iter().zip(&other.at.stack).all(same_slot)
    }

    /// The keys that enclose the walker's root, if that is a subtree of a larger tree.
    pub(crate) fn root_bounds(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        let (left, right) = (self.at.left.as_ref(), self.at.right.as_ref());
        (left.map(EntryRef::key), right.map(EntryRef::key))
    }

    /// The nodes from the walker's root to the one it stands in.
    pub(crate) fn path(&self) -> impl Iterator<Item = &Arc<TreeNode>> {
        self.at.stack.iter().map(|frame| &frame.node)
    }

    /// Goes to the first slot of the next node in preorder; `false` after the last.
    pub(crate) fn next_node(&mut self) -> Result<bool, Error> {
        loop {
            if self.top().side == Side::Left && self.enter(Side::Left)? {
                return Ok(true);
            }
            if self.go_right() {
                continue;
            }
            if !self.leave() {
                return Ok(false);
            }
        }
    }

    /// Goes up to the right of the subtree that the walker stands in. In the root it returns
    /// `false`, and regards the root as done.
    pub(crate) fn leave(&mut self) -> bool {
        let went_up = self.go_up();
        self.top_mut().side = Side::Right;
        went_up
    }

    /// Goes to the other side of the subtree here, without looking into it: past what
    /// [`next_entry`](Self::next_entry) or [`previous_entry`](Self::previous_entry) would enter
    /// next, in the direction in which the walker moved last. At first that is to the right, and
    /// after [`go_to_end`](Self::go_to_end) to the left.
    pub fn skip_subtree(&mut self) {
        let top = self.top_mut();
        top.side = match top.side {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        };
    }

    /// Goes to where `key` is or would be: afterwards [`right_key`](Self::right_key) is the least
    /// key that is not less than `key`, and [`next_entry`](Self::next_entry) returns it. If `key`
    /// is above the bounds of a walker of a subtree, that is the end.
    ///
    /// Only nodes on the path to it are read, and none below the one that holds `key`. To seek many
    /// keys, one walker is faster than many, above all if the keys are near each other.
    ///
    /// # Errors
    ///
    /// Those of [`go_down`](Self::go_down); the walker then stands before the subtree that it could
    /// not enter, which the answer depends on.
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<(), Error> {
        let key = key.as_ref();
        if matches!(self.root_bounds(), (_, Some(right)) if right <= key) {
            // All of the walker's tree comes before `key`.
            self.go_to_end();
            return Ok(());
        }
        // As long as the path is the one to where the walker stands, it keeps that.
        let mut depth = 0;
        let mut found = self.frame(depth).node.find(key);
        while found == Err(self.frame(depth).slot) && depth < self.depth() {
            depth += 1;
            found = self.frame(depth).node.find(key);
        }
        self.at.stack.truncate(depth + 1);
        self.seek_from(found, key)
    }

    /// Goes on to where `key` is or would be, if it was `found` in the node that the walker stands
    /// in.
    fn seek_from(&mut self, mut found: Result<usize, usize>, key: &[u8]) -> Result<(), Error> {
        loop {
            let top = self.top_mut();
            match found {
                Ok(index) => {
                    top.slot = index;
                    // The contents of the subtree come before `key`.
                    top.side = Side::Right;
                    return Ok(());
                }
                Err(slot) => {
                    top.slot = slot;
                    top.side = Side::Left;
                }
            }
            if !self.enter(Side::Left)? {
                return Ok(());
            }
            found = self.top().node.find(key);
        }
    }

    /// Looks for `key` as [`seek`](Self::seek) does and returns its value, or `None` if
    /// the tree does not have it.
    ///
    /// A missing node is no error if `key` could not be in it: a key is in the node of its own
    /// height, or nowhere.
    ///
    /// # Errors
    ///
    /// Those of [`go_down`](Self::go_down) for a node that the answer depends on.
    pub fn find(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Cid>, Error> {
        let is_here = self.seek_key(key.as_ref())?;
        let top = self.top();
        Ok(is_here.then(|| top.node.value(top.slot)).flatten())
    }

    /// As [`find`](Self::find), but returns the entry.
    pub(crate) fn find_entry(&mut self, key: &[u8]) -> Result<Option<EntryRef>, Error> {
        let is_here = self.seek_key(key)?;
        Ok(is_here.then(|| self.entry_here()))
    }

    /// As [`find_entry`](Self::find_entry), for a key that can only be in the subtree here.
    pub(crate) fn find_below(&mut self, key: &[u8]) -> Result<Option<EntryRef>, Error> {
        let sought = self.seek_from(Err(self.slot()), key);
        let is_here = self.is_at(key, sought)?;
        Ok(is_here.then(|| self.entry_here()))
    }

    /// Goes to where `key` is, and returns whether it is there.
    fn seek_key(&mut self, key: &[u8]) -> Result<bool, Error> {
        if matches!(self.root_bounds(), (Some(left), _) if key <= left) {
            self.go_to_start();
            return Ok(false);
        }
        let sought = self.seek(key);
        self.is_at(key, sought)
    }

    /// The entry on the right in this node, which must have one.
    fn entry_here(&self) -> EntryRef {
        let top = self.top();
        top.entry(top.slot)
    }

    /// Whether the walker has found `key` by a seek that has ended so.
    fn is_at(&self, key: &[u8], sought: Result<(), Error>) -> Result<bool, Error> {
        match sought {
            Ok(()) => {
                let top = self.top();
                Ok(top.node.key(top.slot) == Some(key))
            }
            // The height is needed only to prove a key absent, never to find one.
            Err(Error::MissingBlock(_)) if height_of(key) >= self.height() => Ok(false),
            Err(error) => Err(error),
        }
    }

    // ---- Iterators.

    /// Returns the entries of the walker's tree, all of them, in key order. They are read
    /// [`uncached`](Self::uncached).
    pub fn entries(&self) -> Entries<'s, S> {
        self.clone().into_entries()
    }

    /// Returns the entries whose keys lie in `bounds`, in key order. Only nodes that may hold such
    /// keys are read. There are none if the start is after the end. For all keys see
    /// [`entries`](Self::entries).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::collections::BTreeMap;
    /// # use blockstore_core::{BlockStoreMut, MemoryBlockStore};
    /// # use mst_ops::{NodeStore, NodeWalker, Node};
    /// # let value = Node::empty().cid();
    /// # let keys = ["a/1", "a/2", "b/1"].map(|key| (key.to_owned(), value));
    /// # let tree = mst_testkit::build_tree(&BTreeMap::from(keys));
    /// # let blocks = MemoryBlockStore::new();
    /// # blocks.put_many(&tree.nodes)?;
    /// # let nodes = NodeStore::new(blocks);
    /// let walker = NodeWalker::new(&nodes, &tree.root)?;
    /// let mut keys = Vec::new();
    /// for entry in walker.range("a/2"..).rev() {
    ///     keys.push(entry?.key_str()?.to_owned());
    /// }
    /// assert_eq!(keys, ["b/1", "a/2"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn range<K: AsRef<[u8]> + ?Sized>(&self, bounds: impl RangeBounds<K>) -> Entries<'s, S> {
        let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        Entries::new(
            self.clone(),
            owned(bounds.start_bound()),
            owned(bounds.end_bound()),
        )
    }

    /// Returns the entries whose keys begin with `prefix`, in key order: for
    /// `app.bsky.feed.post/`, the posts.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Entries<'s, S> {
        let prefix = prefix.as_ref();
        let start = Bound::Included(prefix.to_vec());
        Entries::new(self.clone(), start, prefix_end(prefix))
    }

    /// Returns the nodes of the walker's tree in preorder: each before its subtrees, and these from
    /// left to right. They are read [`uncached`](Self::uncached).
    pub fn nodes(&self) -> Nodes<'s, S> {
        Nodes::new(self.clone().uncached())
    }

    pub(crate) fn into_entries(self) -> Entries<'s, S> {
        Entries::new(self.uncached(), Bound::Unbounded, Bound::Unbounded)
    }

    // ---- Building blocks of the steps.

    /// Goes down into the subtree here, to the `side` of all that is in it.
    #[inline]
    fn enter(&mut self, side: Side) -> Result<bool, Error> {
        let Some(node) = self.child()? else {
            return Ok(false);
        };
        let depth = self.depth();
        let top = self.top();
        let (left, right) = Above::below(&top.node, top.slot, depth, (top.left, top.right));
        let has_subtrees = node.has_subtrees();
        if has_subtrees && self.at.intended == Use::Once {
            self.nodes.will_read_below(&node);
        }
        self.at.stack.push(Frame {
            slot: match side {
                Side::Left => 0,
                Side::Right => node.len(),
            },
            has_subtrees,
            node,
            side,
            left,
            right,
        });
        Ok(true)
    }

    /// The node of the subtree here, whose place has been checked.
    #[inline]
    fn child(&self) -> Result<Option<Arc<TreeNode>>, Error> {
        let top = self.top();
        if self.height() == 0 {
            return match top.node.subtree_digest(top.slot) {
                None => Ok(None),
                Some(_) => Err(place::invalid(&top.node, TreeFault::BelowBottom)),
            };
        }
        let trusted = self.nodes.options().trusted;
        if !trusted
            && !self.nodes.bad().is_empty()
            && let Some(digest) = top.node.subtree_digest(top.slot)
        {
            self.nodes.bad().check(digest, &self.site())?;
        }
        let Some(Child { node, linked }) =
            self.nodes.child(&top.node, top.slot, self.at.intended)?
        else {
            return Ok(None);
        };
        if linked && !trusted && !top.node.is_empty() {
            let (left, right) = (|| self.left_key(), || self.right_key());
            place::check_linked(&node, &top.node, top.slot, left, right)?;
        } else {
            if !trusted {
                self.check_place(&node)?;
            }
            if self.at.intended == Use::Again {
                top.node.link(top.slot, &node);
            }
        }
        Ok(Some(node))
    }

    /// Checks that `child` may be the top of the subtree here.
    fn check_place(&self, child: &TreeNode) -> Result<(), Error> {
        let checked = place::check_site(child, &self.site());
        checked.inspect_err(|_| self.nodes.bad().insert_misplaced(child))
    }

    /// The place of the subtree here.
    fn site(&self) -> Site<'_> {
        Site {
            height: self.height() - 1,
            left: self.left_key(),
            right: self.right_key(),
        }
    }

    /// The frame at `depth`, which must not be deeper than the walker is.
    fn frame(&self, depth: usize) -> &Frame {
        self.at.stack.get(depth).unwrap_or_else(|| self.top())
    }

    fn top(&self) -> &Frame {
        self.at
            .stack
            .last()
            .expect("the root's frame is never popped")
    }

    fn top_mut(&mut self) -> &mut Frame {
        self.at
            .stack
            .last_mut()
            .expect("the root's frame is never popped")
    }

    /// The nearest entry on the left, as an index into its node.
    #[inline]
    fn left(&self) -> Option<(&Arc<TreeNode>, usize)> {
        let frame = self.top();
        match frame.slot.checked_sub(1) {
            Some(index) => Some((&frame.node, index)),
            None => self.above(frame.left, self.at.left.as_ref()),
        }
    }

    /// The nearest entry on the right, as an index into its node.
    #[inline]
    fn right(&self) -> Option<(&Arc<TreeNode>, usize)> {
        let frame = self.top();
        if frame.slot < frame.node.len() {
            Some((&frame.node, frame.slot))
        } else {
            self.above(frame.right, self.at.right.as_ref())
        }
    }

    fn above<'w>(
        &'w self,
        above: Above,
        root: Option<&'w EntryRef>,
    ) -> Option<(&'w Arc<TreeNode>, usize)> {
        match above {
            Above::Entry { depth, index } => Some((&self.at.stack.get(depth)?.node, index)),
            Above::Root => root.map(EntryRef::place),
        }
    }
}

/// Trees of a few million entries are no higher.
const USUAL_DEPTH: usize = 12;

/// The stack of a walker in the first slot of `root`, with room for the path down.
fn first_frame(root: Arc<TreeNode>) -> Vec<Frame> {
    let mut stack = Vec::with_capacity(USUAL_DEPTH);
    stack.push(Frame {
        has_subtrees: root.has_subtrees(),
        node: root,
        slot: 0,
        side: Side::Left,
        left: Above::Root,
        right: Above::Root,
    });
    stack
}

impl Frame {
    fn entry(&self, index: usize) -> EntryRef {
        EntryRef::new(Arc::clone(&self.node), index)
    }
}

impl<S> Clone for NodeWalker<'_, S> {
    fn clone(&self) -> Self {
        Self {
            nodes: self.nodes,
            at: self.at.clone(),
        }
    }
}

impl<S: BlockStore> fmt::Debug for NodeWalker<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeWalker")
            .field("height", &self.height())
            .field("left_key", &self.left_key().map(String::from_utf8_lossy))
            .field("right_key", &self.right_key().map(String::from_utf8_lossy))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WalkerPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalkerPosition")
            .field("depth", &(self.stack.len() - 1))
            .finish_non_exhaustive()
    }
}
