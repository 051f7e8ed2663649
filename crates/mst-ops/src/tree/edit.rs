//! Edits a tree: what inserting or removing one key does to its nodes.
//!
//! Each change has two phases. The first only reads: it finds the path, loads every node that the
//! second phase will need, and is where anything that can fail fails. The second phase has all it
//! needs in memory and cannot fail. So a change is atomic.

use std::sync::Arc;

use blockstore_core::Cid;
use mst_node::{DIGEST_LEN, Joint, Limits, Node, check_key, height_of};
use smallvec::SmallVec;

use super::branch::{Branch, KEY_CHECKED, NO_NEW_KEY, Subtree, View};
use super::gathered::Top;
use super::{Tree, misplaced};
use crate::place::check_size;
use crate::{Error, NodeSource};

/// Why a node that is about to be changed is in memory.
const LOADED: &str = "the first part of a change loads what the second needs";

/// Slots from the top down.
type Path = SmallVec<[usize; 16]>;

/// A slot of a node.
type Slot<'t> = (View<'t>, usize);

fn has_subtree(slot: Option<Slot<'_>>) -> bool {
    slot.is_some_and(|(view, slot)| view.branch.has_subtree(slot))
}

/// Where a key is to be inserted.
enum Place {
    /// It exists: entry `index` of the node at the end of the path, with this value.
    Entry { index: usize, value: Cid },
    /// It belongs into the node at the end of the path.
    Slot(usize),
    /// It belongs further down, where this slot of the node at the end of the path is empty.
    Below(usize),
    /// It belongs above the top.
    AboveTop,
}

impl<N: NodeSource> Tree<N> {
    /// Maps `key` to `value` and returns its previous value: `None` if the key is new, and `value`
    /// itself if there was nothing to do.
    ///
    /// # Errors
    ///
    /// The tree is then unchanged.
    ///
    /// - [`Error::InvalidKey`] if no tree can have such a key.
    /// - [`Error::NodeTooLarge`] if the key's node would exceed the limits of the node store.
    /// - [`Error::MissingBlock`], [`Error::InvalidNode`], [`Error::InvalidTree`] and
    ///   [`Error::Store`] for a node that had to be loaded.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_ops::{Node, Tree};
    ///
    /// let one = Node::empty().cid();
    /// let two = Tree::from_entries([("key", one)])?.root();
    /// let mut tree = Tree::new();
    /// assert_eq!(tree.insert("key", &one)?, None);
    /// assert_eq!(tree.insert("key", &two)?, Some(one));
    /// assert_eq!(tree.insert("key", &two)?, Some(two));
    /// # Ok::<(), mst_ops::Error>(())
    /// ```
    pub fn insert(&mut self, key: impl AsRef<[u8]>, value: &Cid) -> Result<Option<Cid>, Error> {
        let key = key.as_ref();
        let limits = self.nodes.options().limits;
        check_key(key, &limits)?;
        // As if it were alone in its node; together with others it is checked where they are found.
        check_size(1, key.len(), &limits)?;
        if let Top::Gathered(gathered) = &mut self.top
            && let Some(gathered) = Arc::get_mut(gathered)
            && let Ok(old) = gathered.insert(key, value, &limits)
        {
            return Ok(old);
        }
        let height = height_of(key);
        let mut path = Path::new();
        let place = self.find_place(key, height, &limits, &mut path)?;
        let top = self.top.branch_mut();
        let retired = &mut self.retired;

        // From here on nothing fails.
        match place {
            Place::Entry { index, value: old } => {
                if old != *value {
                    descend(top, &path, retired).node.set_value(index, value);
                }
                return Ok(Some(old));
            }
            Place::Slot(slot) => {
                let branch = descend(top, &path, retired);
                let (left, right) = match branch.take_subtree(slot) {
                    Subtree::Loaded(below) => split(below, key, retired),
                    Subtree::None => (None, None),
                    Subtree::Stored(_) => unreachable!("{LOADED}"),
                };
                let (left, right) = (Subtree::from(left), Subtree::from(right));
                let joint = Joint::entry(left.digest(), key, value, right.digest());
                branch.node =
                    Node::join(&branch.node, slot, joint, &branch.node, slot).expect(KEY_CHECKED);
                if let Some(child) = branch.children.get_mut(slot) {
                    *child = left.into_child();
                    branch.children.insert(slot + 1, right.into_child());
                }
            }
            Place::Below(slot) => {
                let new = Branch::of_entry(key, value, height, Subtree::None, Subtree::None);
                let branch = descend(top, &path, retired);
                let new = raise(Arc::new(new), branch.height - 1);
                branch.set_subtree(slot, Subtree::Loaded(new));
            }
            Place::AboveTop => {
                let below = std::mem::replace(top, Arc::new(Branch::empty()));
                let (left, right) = if below.is_vacant() {
                    own(below, retired);
                    (None, None)
                } else {
                    split(below, key, retired)
                };
                let raised =
                    |part: Option<_>| Subtree::from(part.map(|part| raise(part, height - 1)));
                let new = Branch::of_entry(key, value, height, raised(left), raised(right));
                *top = Arc::new(new);
            }
        }
        Ok(None)
    }

    /// Removes `key` and returns its value, or `None` if the tree does not have it.
    ///
    /// # Errors
    ///
    /// The tree is then unchanged.
    ///
    /// - [`Error::NodeTooLarge`] if two nodes are merged into one that exceeds the limits of the
    ///   node store.
    /// - [`Error::MissingBlock`], [`Error::InvalidNode`], [`Error::InvalidTree`] and
    ///   [`Error::Store`] for a node that had to be loaded.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_ops::{Node, Tree};
    ///
    /// let value = Node::empty().cid();
    /// let mut tree = Tree::from_entries([("key", value)])?;
    /// assert_eq!(tree.remove("key")?, Some(value));
    /// assert_eq!(tree.remove("key")?, None);
    /// assert_eq!(tree.root(), Node::empty().cid());
    /// # Ok::<(), mst_ops::Error>(())
    /// ```
    pub fn remove(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Cid>, Error> {
        let key = key.as_ref();
        let mut path = Path::new();
        let Some((view, index)) = self.find_entry(key, |slot| path.push(slot))? else {
            return Ok(None);
        };
        let value = view.branch.node.value(index);
        let at_top = path.is_empty() && view.branch.node.len() == 1;
        self.load_merge(view, index, at_top)?;

        // From here on nothing fails.
        let top = self.top.branch_mut();
        remove_entry(top, &path, index, &mut self.retired);
        trim_top(top, &mut self.retired);
        Ok(value)
    }

    /// Finds where to insert `key`, and loads the nodes that it splits.
    fn find_place(
        &self,
        key: &[u8],
        height: u8,
        limits: &Limits,
        path: &mut Path,
    ) -> Result<Place, Error> {
        let mut view = View::of_top(self.top.branch());
        if height > view.branch.height {
            self.load_split(view, key)?;
            return Ok(Place::AboveTop);
        }
        loop {
            let node = &view.branch.node;
            match node.find(key) {
                Ok(index) => {
                    let value = node.value(index).expect("an entry was found there");
                    return Ok(Place::Entry { index, value });
                }
                Err(slot) if view.branch.height == height => {
                    check_size(node.len() + 1, node.keys_len() + key.len(), limits)?;
                    if let Some(below) = view.child(&self.nodes, slot)? {
                        self.load_split(below, key)?;
                    }
                    return Ok(Place::Slot(slot));
                }
                Err(slot) => match view.child(&self.nodes, slot)? {
                    Some(below) => {
                        view = below;
                        path.push(slot);
                    }
                    None => return Ok(Place::Below(slot)),
                },
            }
        }
    }

    /// Loads the nodes that a split at `key` needs, from `view` down.
    fn load_split(&self, mut view: View<'_>, key: &[u8]) -> Result<(), Error> {
        loop {
            let Err(slot) = view.branch.node.find(key) else {
                // A key of another height than its node has: only possible in a trusted tree.
                return Err(misplaced(view.branch, height_of(key)));
            };
            match view.child(&self.nodes, slot)? {
                Some(below) => view = below,
                None => return Ok(()),
            }
        }
    }

    /// Loads the nodes that are merged when entry `index` of the node at `view` is removed; and if
    /// that leaves the tree without its top (`at_top`), those down to the new one.
    fn load_merge(&self, view: View<'_>, index: usize, mut at_top: bool) -> Result<(), Error> {
        let limits = self.nodes.options().limits;
        let (mut left, mut right) = (Some((view, index)), Some((view, index + 1)));
        loop {
            let become_one = has_subtree(left) && has_subtree(right);
            if !at_top && !become_one {
                return Ok(());
            }
            let sides = (self.below(left)?, self.below(right)?);
            match sides {
                (Some(left), Some(right)) => {
                    let (left, right) = (&left.branch.node, &right.branch.node);
                    let keys_len = left.keys_len() + right.keys_len();
                    check_size(left.len() + right.len(), keys_len, &limits)?;
                }
                (None, None) => return Ok(()),
                _ => {}
            }
            let keyless =
                |side: Option<View<'_>>| side.is_none_or(|side| side.branch.node.is_empty());
            at_top &= keyless(sides.0) && keyless(sides.1);
            left = sides.0.map(|view| (view, view.branch.node.len()));
            right = sides.1.map(|view| (view, 0));
        }
    }

    /// The node below a slot, loaded.
    fn below<'t>(&'t self, slot: Option<Slot<'t>>) -> Result<Option<View<'t>>, Error> {
        match slot {
            Some((view, slot)) => view.child(&self.nodes, slot),
            None => Ok(None),
        }
    }
}

/// The digests of nodes that the tree was opened with or has handed out, and that have been changed
/// or dropped since.
pub(super) type Retired = Vec<[u8; DIGEST_LEN]>;

/// Records that a node is about to change.
fn retire(branch: &Branch, retired: &mut Retired) {
    if branch.saved {
        retired.extend(branch.digest.get());
    }
}

/// A node that is about to be changed in its place.
fn touch<'t>(branch: &'t mut Arc<Branch>, retired: &mut Retired) -> &'t mut Branch {
    let branch = Arc::make_mut(branch);
    retire(branch, retired);
    branch.saved = false;
    branch.digest.take();
    branch
}

/// A node that was taken out of its place, to be taken apart.
fn own(branch: Arc<Branch>, retired: &mut Retired) -> Branch {
    retire(&branch, retired);
    Arc::unwrap_or_clone(branch)
}

/// The node at the end of `path`, to be changed.
fn descend<'t>(top: &'t mut Arc<Branch>, path: &[usize], retired: &mut Retired) -> &'t mut Branch {
    let mut branch = touch(top, retired);
    for slot in path {
        let below = branch.change(*slot).expect(LOADED);
        branch = touch(below, retired);
    }
    branch
}

/// Removes nodes without keys from the top.
fn trim_top(top: &mut Arc<Branch>, retired: &mut Retired) {
    while top.node.is_empty() {
        let keyless = std::mem::replace(top, Arc::new(Branch::empty()));
        match own(keyless, retired).take_subtree(0) {
            Subtree::Loaded(below) => *top = below,
            // The tree is empty.
            Subtree::None => return,
            Subtree::Stored(_) => unreachable!("{LOADED}"),
        }
    }
}

/// Puts nodes without keys on top of `branch` until it has `height`.
fn raise(mut branch: Arc<Branch>, height: u8) -> Arc<Branch> {
    while branch.height < height {
        branch = Arc::new(Branch::over(branch));
    }
    branch
}

/// A part of a tree; `None` if nothing is in it.
type Half = Option<Arc<Branch>>;

/// Splits a tree in two at `key`, which it does not have: what comes before the key, and what comes
/// after.
fn split(top: Arc<Branch>, key: &[u8], retired: &mut Retired) -> (Half, Half) {
    let (Ok(slot) | Err(slot)) = top.node.find(key);
    let len = top.node.len();
    if !top.has_subtree(slot) && (slot == 0 || slot == len) {
        // It is all on one side and stays unchanged.
        return if slot == 0 {
            (None, Some(top))
        } else {
            (Some(top), None)
        };
    }
    let height = top.height;
    let mut top = own(top, retired);
    let (left, right) = match top.take_subtree(slot) {
        Subtree::Loaded(below) => split(below, key, retired),
        Subtree::None => (None, None),
        Subtree::Stored(_) => unreachable!("{LOADED}"),
    };
    let mut right_children = top.children.split_off(top.children.len().min(slot + 1));
    let mut left_children = top.children;
    left_children.pop();
    let vacant = (slot == 0 && left.is_none(), slot == len && right.is_none());
    let (left, right) = (Subtree::from(left), Subtree::from(right));
    let none = Node::empty();
    let left_node = Node::join(&top.node, slot, Joint::subtree(left.digest()), &none, 0);
    let right_node = Node::join(&none, 0, Joint::subtree(right.digest()), &top.node, slot);
    if height > 0 {
        left_children.push(left.into_child());
        right_children.insert(0, right.into_child());
    }
    let half = |node: Result<Node, _>, children| {
        Arc::new(Branch::new(node.expect(NO_NEW_KEY), height, children))
    };
    (
        (!vacant.0).then(|| half(left_node, left_children)),
        (!vacant.1).then(|| half(right_node, right_children)),
    )
}

/// Merges two adjacent subtrees, which had an entry between them.
fn merge(left: Subtree, right: Subtree, retired: &mut Retired) -> Subtree {
    let (left, right) = match (left, right) {
        (Subtree::None, subtree) | (subtree, Subtree::None) => return subtree,
        (Subtree::Loaded(left), Subtree::Loaded(right)) => (left, right),
        _ => unreachable!("{LOADED}"),
    };
    let mut left = own(left, retired);
    let mut right = own(right, retired);
    let len = left.node.len();
    let middle = merge(left.take_subtree(len), right.take_subtree(0), retired);
    let joint = Joint::subtree(middle.digest());
    let node = Node::join(&left.node, len, joint, &right.node, 0).expect(NO_NEW_KEY);
    let mut children = left.children;
    children.pop();
    children.push(middle.into_child());
    children.extend(right.children.into_iter().skip(1));
    Subtree::Loaded(Arc::new(Branch::new(node, left.height, children)))
}

/// Removes entry `index` of the node at the end of `path`, and every node that is vacant then.
/// Returns whether that includes `branch` itself.
fn remove_entry(
    branch: &mut Arc<Branch>,
    path: &[usize],
    index: usize,
    retired: &mut Retired,
) -> bool {
    let branch = touch(branch, retired);
    if let Some((slot, path)) = path.split_first() {
        let below = branch.change(*slot).expect(LOADED);
        if remove_entry(below, path, index, retired) {
            branch.set_subtree(*slot, Subtree::None);
        }
    } else {
        let (left, right) = (branch.take_subtree(index), branch.take_subtree(index + 1));
        let merged = merge(left, right, retired);
        let joint = Joint::subtree(merged.digest());
        branch.node =
            Node::join(&branch.node, index, joint, &branch.node, index + 1).expect(NO_NEW_KEY);
        if index < branch.children.len() {
            branch.children.remove(index);
        }
        if let Some(child) = branch.children.get_mut(index) {
            *child = merged.into_child();
        }
    }
    branch.is_vacant()
}
