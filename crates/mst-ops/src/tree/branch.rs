//! A node of a tree in memory, with the nodes below it that are in memory too.

use std::sync::{Arc, OnceLock};

use blockstore_core::Cid;
use mst_node::{DIGEST_LEN, Joint, Node};

use crate::place::{self, Site};
use crate::{Error, NodeSource, TreeNode};

/// A node in memory.
///
/// Its [`Node`] holds the links to its subtrees. Only if the top of a subtree was changed and not
/// handed out since, the link is [`UNKNOWN`], and `children` alone has that node.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) node: Node,
    /// The height of its level, which is known even if it has no keys.
    pub(super) height: u8,
    /// One for each slot, or none at all on the bottom level, where there are no subtrees.
    pub(super) children: Vec<Child>,
    /// The SHA-256 of its block, if it is known.
    pub(super) digest: OnceLock<[u8; DIGEST_LEN]>,
    /// Whether the tree was opened with this node, or has handed it out since.
    pub(super) saved: bool,
}

/// The node below a slot, once it is in memory.
pub(super) type Child = OnceLock<Arc<Branch>>;

/// A subtree that is being moved from one node into another.
#[derive(Debug, Clone)]
pub(super) enum Subtree {
    None,
    /// Not in memory.
    Stored([u8; DIGEST_LEN]),
    Loaded(Arc<Branch>),
}

/// In place of the digest of a node that has not been handed out yet.
pub(super) const UNKNOWN: [u8; DIGEST_LEN] = [0; DIGEST_LEN];

impl Branch {
    pub(super) fn empty() -> Self {
        Self::new(Node::empty(), 0, Vec::new())
    }

    /// A changed node; `children` must be one for each slot of `node`.
    pub(super) fn new(node: Node, height: u8, mut children: Vec<Child>) -> Self {
        if height == 0 {
            children = Vec::new();
        }
        Self {
            node,
            height,
            children,
            digest: OnceLock::new(),
            saved: false,
        }
    }

    /// A node of one entry.
    pub(super) fn of_entry(
        key: &[u8],
        value: &Cid,
        height: u8,
        left: Subtree,
        right: Subtree,
    ) -> Self {
        let none = Node::empty();
        let joint = Joint::entry(left.digest(), key, value, right.digest());
        let node = Node::join(&none, 0, joint, &none, 0).expect(KEY_CHECKED);
        Self::new(node, height, vec![left.into_child(), right.into_child()])
    }

    /// A node without keys above `below`.
    pub(super) fn over(below: Arc<Self>) -> Self {
        let height = below.height + 1;
        let none = Node::empty();
        let joint = Joint::subtree(Some(below.link()));
        let node = Node::join(&none, 0, joint, &none, 0).expect("it has no keys");
        Self::new(node, height, vec![Child::from(below)])
    }

    /// Loads the node of `digest` as the top of a tree.
    pub(super) fn load_top(
        nodes: &impl NodeSource,
        digest: &[u8; DIGEST_LEN],
    ) -> Result<Self, Error> {
        let node = nodes
            .fetch(digest)?
            .ok_or_else(|| Error::missing_node(digest))?;
        let height = place::top_height(&node)?;
        place::check_bottom(&node, height)?;
        Ok(Self::from_store(node, height))
    }

    /// Makes a branch of a node whose place has been checked.
    fn from_store(node: TreeNode, height: u8) -> Self {
        let digest = OnceLock::from(*node.digest());
        let slots = node.len() + 1;
        let children = if height == 0 { 0 } else { slots };
        Self {
            node: node.into_node(),
            height,
            children: (0..children).map(|_| Child::new()).collect(),
            digest,
            saved: true,
        }
    }

    /// Whether it has neither entries nor subtrees.
    pub(super) fn is_vacant(&self) -> bool {
        self.node.is_empty() && !self.has_subtree(0)
    }

    /// The digest for the link to this node.
    fn link(&self) -> &[u8; DIGEST_LEN] {
        match self.digest.get() {
            Some(digest) if self.saved => digest,
            _ => &UNKNOWN,
        }
    }

    /// The slots whose nodes were changed and not handed out since.
    ///
    /// Nobody can make a block whose digest is [`UNKNOWN`], but anybody can link to it; so the node
    /// must be in memory too, or it was not changed.
    pub(super) fn changed_slots(&self) -> impl Iterator<Item = usize> {
        let links = self.node.subtree_digests();
        let changed =
            links.filter(|(slot, link)| **link == UNKNOWN && self.loaded(*slot).is_some());
        changed.map(|(slot, _)| slot)
    }

    /// The node below slot `slot`, which is in memory, to be changed.
    pub(super) fn change(&mut self, slot: usize) -> Option<&mut Arc<Self>> {
        let below = self.children.get_mut(slot)?.get_mut()?;
        if below.saved {
            self.node.set_subtree_digest(slot, &UNKNOWN);
        }
        Some(below)
    }

    pub(super) fn has_subtree(&self, slot: usize) -> bool {
        self.node.subtree_digest(slot).is_some()
    }

    /// The node below slot `slot`, if there is one in memory.
    #[inline]
    pub(super) fn loaded(&self, slot: usize) -> Option<&Arc<Self>> {
        self.children.get(slot)?.get()
    }

    /// Takes the subtree out of slot `slot`, whose link stays until the node is joined anew.
    pub(super) fn take_subtree(&mut self, slot: usize) -> Subtree {
        if let Some(loaded) = self.children.get_mut(slot).and_then(Child::take) {
            return Subtree::Loaded(loaded);
        }
        match self.node.subtree_digest(slot) {
            Some(digest) => Subtree::Stored(*digest),
            None => Subtree::None,
        }
    }

    /// Puts a subtree into slot `slot`, in place of what was there.
    pub(super) fn set_subtree(&mut self, slot: usize, subtree: Subtree) {
        let joint = Joint::subtree(subtree.digest());
        self.node = Node::join(&self.node, slot, joint, &self.node, slot).expect(NO_NEW_KEY);
        if let Some(child) = self.children.get_mut(slot) {
            *child = subtree.into_child();
        }
    }
}

/// Why a join without a new key cannot fail.
pub(super) const NO_NEW_KEY: &str = "keys of one tree are in order, and the size was checked";
/// Why a join with a new key cannot fail.
pub(super) const KEY_CHECKED: &str = "the key was checked and its place was looked for";

impl Subtree {
    /// The digest for the parent's link.
    pub(super) fn digest(&self) -> Option<&[u8; DIGEST_LEN]> {
        match self {
            Self::None => None,
            Self::Stored(digest) => Some(digest),
            Self::Loaded(branch) => Some(branch.link()),
        }
    }

    pub(super) fn into_child(self) -> Child {
        match self {
            Self::None | Self::Stored(_) => Child::new(),
            Self::Loaded(branch) => Child::from(branch),
        }
    }
}

impl From<Option<Arc<Branch>>> for Subtree {
    fn from(branch: Option<Arc<Branch>>) -> Self {
        branch.map_or(Self::None, Self::Loaded)
    }
}

/// A node in memory, together with the keys that enclose it.
#[derive(Clone, Copy)]
pub(super) struct View<'t> {
    pub(super) branch: &'t Branch,
    left: Option<Bound<'t>>,
    right: Option<Bound<'t>>,
}

/// An entry above a node that bounds its keys: a node and the index of the entry in it. The key is
/// looked up only when a node has to be checked, which those in memory have been.
type Bound<'t> = (&'t Branch, usize);

fn key_of(bound: Option<Bound<'_>>) -> Option<&[u8]> {
    let (branch, index) = bound?;
    branch.node.key(index)
}

impl<'t> View<'t> {
    /// The top of a tree.
    pub(super) fn of_top(branch: &'t Branch) -> Self {
        Self {
            branch,
            left: None,
            right: None,
        }
    }

    /// The node below slot `slot`, or `None` if there is no subtree. If it is not in memory yet, it
    /// is loaded and its place is checked.
    pub(super) fn child(
        &self,
        nodes: &impl NodeSource,
        slot: usize,
    ) -> Result<Option<Self>, Error> {
        let Some(digest) = self.branch.node.subtree_digest(slot) else {
            return Ok(None);
        };
        let below = self.child_if_there(nodes, slot, digest)?;
        Ok(Some(below.ok_or_else(|| Error::missing_node(digest))?))
    }

    /// The node below slot `slot`, as for [`child`](Self::child), or `None` if it is missing.
    /// `digest` must be what that slot links to.
    pub(super) fn child_if_there(
        &self,
        nodes: &impl NodeSource,
        slot: usize,
        digest: &[u8; DIGEST_LEN],
    ) -> Result<Option<Self>, Error> {
        let branch = self.branch;
        let left = match slot.checked_sub(1) {
            Some(index) => Some((branch, index)),
            None => self.left,
        };
        let right = if slot < branch.node.len() {
            Some((branch, slot))
        } else {
            self.right
        };
        let Some(child) = branch.children.get(slot) else {
            // A subtree here was refused when the node was loaded.
            return Ok(None);
        };
        let branch = if let Some(loaded) = child.get() {
            loaded
        } else {
            let Some(node) = nodes.fetch(digest)? else {
                return Ok(None);
            };
            let height = branch.height - 1;
            // Even if trees are trusted: the code that follows relies on it.
            let site = Site {
                height,
                left: key_of(left),
                right: key_of(right),
            };
            place::check_site(&node, &site)?;
            let loaded = Arc::new(Branch::from_store(node, height));
            child.get_or_init(|| loaded)
        };
        Ok(Some(Self {
            branch,
            left,
            right,
        }))
    }
}
