//! What has changed in a tree: its root, its new nodes, and those that it no longer has.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use blockstore_core::{Bytes, Cid, sha2_256};
use mst_node::{DIGEST_LEN, node_cid};
use smallvec::SmallVec;

use super::Tree;
use super::branch::{Branch, UNKNOWN};
use super::gathered::Top;

/// What [`Tree::flush`] returns: all that a store needs to know about the changes since the tree
/// was opened or last flushed.
#[derive(Clone, PartialEq, Eq)]
#[must_use = "the new nodes are nowhere else"]
#[non_exhaustive]
pub struct Changes {
    /// The CID of the top node.
    pub root: Cid,
    /// The nodes that the tree has now and did not have before, each once, with its block; nodes
    /// come before those that link to them.
    pub new: Vec<(Cid, Bytes)>,
    /// The nodes that it had and no longer has, each once, in no particular order.
    pub removed: Vec<Cid>,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("root", &self.root)
            .field("new", &format_args!("{} nodes", self.new.len()))
            .field("removed", &format_args!("{} nodes", self.removed.len()))
            .finish()
    }
}

impl<N> Tree<N> {
    /// Returns the root: the CID of the top node.
    ///
    /// Nodes that were changed since the last call are encoded and hashed, and still count as
    /// changed for [`flush`](Self::flush).
    pub fn root(&self) -> Cid {
        match &self.top {
            Top::Made(top) => node_cid(&top.digest()),
            Top::Gathered(gathered) => gathered.root(),
        }
    }

    /// Returns what has changed since the tree was opened or last flushed, and regards it as
    /// stored: the next flush does not return it again.
    ///
    /// If your store then fails, open the tree again, or go back to a clone made before.
    ///
    /// A tree made by [`Tree::new`] was never stored, so its first flush returns all its nodes,
    /// even if that is just the one node of the empty tree.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_ops::{Node, Tree};
    ///
    /// let mut tree = Tree::from_entries([("key", Node::empty().cid())])?;
    /// let changes = tree.flush();
    /// assert_eq!(changes.new.len(), 1);
    /// assert_eq!(changes.new[0].0, changes.root);
    /// assert!(tree.flush().new.is_empty());
    /// # Ok::<(), mst_ops::Error>(())
    /// ```
    pub fn flush(&mut self) -> Changes {
        self.retired.sort_unstable_by(order);
        let mut save = Save {
            new: Vec::with_capacity(self.retired.len()),
            block: Vec::with_capacity(TYPICAL_LEN),
            retired: &self.retired,
            back: Vec::new(),
        };
        let digest = save.save(self.top.branch_mut());
        let (new, back) = (save.new, save.back);
        let mut removed = Vec::with_capacity(self.retired.len());
        for (at, digest) in self.retired.drain(..).enumerate() {
            if back.get(at) != Some(&true) {
                removed.push(node_cid(&digest));
            }
        }
        Changes {
            root: node_cid(&digest),
            new,
            removed,
        }
    }
}

/// The order of two digests. Their first bytes nearly always decide it, and are compared as numbers,
/// which takes no call.
fn order(one: &[u8; DIGEST_LEN], other: &[u8; DIGEST_LEN]) -> Ordering {
    let start = |digest: &[u8; DIGEST_LEN]| digest.first_chunk().copied().map(u64::from_be_bytes);
    start(one).cmp(&start(other)).then_with(|| one.cmp(other))
}

/// Why the node below a changed slot is available.
const CHANGED: &str = "a changed node is in memory";

/// Room for the block of most nodes, in bytes.
const TYPICAL_LEN: usize = 1024;

struct Save<'t> {
    /// The nodes that were changed or dropped, sorted by digest.
    retired: &'t [[u8; DIGEST_LEN]],
    /// Which of them came back because a change was undone; empty if none did.
    back: Vec<bool>,
    new: Vec<(Cid, Bytes)>,
    /// The buffer that nodes are encoded into.
    block: Vec<u8>,
}

impl Save<'_> {
    /// Collects the changed nodes from `branch` down, and returns the digest of `branch`. The
    /// recursion is as deep as the tree, at most 129.
    fn save(&mut self, branch: &mut Arc<Branch>) -> [u8; DIGEST_LEN] {
        if branch.saved {
            return branch.digest();
        }
        let branch = Arc::make_mut(branch);
        let changed: SmallVec<[usize; 8]> = branch.changed_slots().collect();
        for slot in changed {
            let below = branch.change(slot).expect(CHANGED);
            let digest = self.save(below);
            branch.node.set_subtree_digest(slot, &digest);
        }
        branch.saved = true;
        branch.encode(&mut self.block);
        let digest = *branch.digest.get_or_init(|| sha2_256(&self.block));
        let retired = self.retired.binary_search_by(|one| order(one, &digest));
        if let Ok(at) = retired {
            self.back.resize(self.retired.len(), false);
            if let Some(back) = self.back.get_mut(at) {
                *back = true;
            }
        } else {
            let block = Bytes::copy_from_slice(&self.block);
            self.new.push((node_cid(&digest), block));
        }
        digest
    }
}

impl Branch {
    /// The SHA-256 of the node's block.
    pub(super) fn digest(&self) -> [u8; DIGEST_LEN] {
        match self.digest.get() {
            Some(digest) => *digest,
            None => self.hash(&mut Vec::new()),
        }
    }

    /// Computes the digests of the changed nodes from here down.
    fn hash(&self, block: &mut Vec<u8>) -> [u8; DIGEST_LEN] {
        for slot in self.changed_slots() {
            let below = self.loaded(slot).expect(CHANGED);
            if below.digest.get().is_none() {
                below.hash(block);
            }
        }
        self.encode(block);
        *self.digest.get_or_init(|| sha2_256(block))
    }

    /// Writes the node's block into `block`. The digests of the nodes below must be known.
    pub(super) fn encode(&self, block: &mut Vec<u8>) {
        block.clear();
        self.node.encode_linking(block, |slot, link| {
            let below = if *link == UNKNOWN {
                self.loaded(slot)
            } else {
                None
            };
            below.map_or(link, |below| {
                below.digest.get().expect("it was hashed before")
            })
        });
    }
}
