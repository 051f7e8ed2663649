//! What nodes hold that nothing links to any more, for where a tree has gaps.

use std::collections::{HashSet, VecDeque};

use blockstore_core::{BlockStore, Cid, StoreError};
use mst_node::{DIGEST_LEN, Node, node_digest};
use mst_ops::{EntryRef, NodeStore, NodeWalker};

use crate::repository::read_if_intact;
use crate::{Error, Fault};

/// Entries of a tree that cannot be reached.
#[derive(Default)]
pub(crate) struct Unreachable {
    /// Those in the gap that the walk has come to, in key order.
    here: VecDeque<EntryRef>,
    /// The gaps after it, in key order.
    gaps: VecDeque<Gap>,
}

/// A part of a tree whose top node is missing or wrong.
struct Gap {
    /// The greatest key left of it.
    left: Option<Vec<u8>>,
    /// The least key right of it.
    right: Option<Vec<u8>>,
    /// The height of the node above it, if there is one. All its keys are lower.
    height_above: Option<u8>,
    entries: Vec<EntryRef>,
}

impl Unreachable {
    /// Looks for what belongs into the gaps of the tree of `root`, in the nodes among the blocks
    /// `cids` and below them.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store fails.
    pub(crate) fn find<S: BlockStore>(
        nodes: &NodeStore<S>,
        root: &Cid,
        cids: &[Cid],
    ) -> Result<Self, Error> {
        let mut seen = HashSet::new();
        let mut gaps = gaps(nodes, root, &mut seen);
        let cids = if gaps.is_empty() { &[] } else { cids };
        let mut links = Vec::new();
        for cid in cids {
            links.push(*cid);
            while let Some(cid) = links.pop() {
                let is_new = node_digest(&cid).is_some_and(|digest| seen.insert(*digest));
                let node = if is_new { node_in(nodes, &cid)? } else { None };
                let Some(node) = node else {
                    continue;
                };
                links.extend((0..=node.len()).filter_map(|slot| node.subtree(slot)));
                let mut walker = match NodeWalker::new(nodes, &cid) {
                    Ok(walker) => walker,
                    // There are no keys, or they are of several heights.
                    Err(error) if error.cid().is_some() => continue,
                    Err(error) => return Err(error.into()),
                };
                let height = walker.height();
                loop {
                    if let Some(entry) = walker.right_entry()
                        && let Some(gap) = gap_around(&mut gaps, entry.key(), height)
                    {
                        gap.entries.push(entry);
                    }
                    if !walker.go_right() {
                        break;
                    }
                }
            }
        }
        for gap in &mut gaps {
            let sorted = &mut gap.entries;
            sorted.sort_by(|one, other| one.key().cmp(other.key()));
        }
        Ok(Self {
            here: VecDeque::new(),
            gaps: gaps.into(),
        })
    }

    /// Says that the walk has come to a gap, whose greatest key on the left is `left`.
    pub(crate) fn enter(&mut self, left: Option<&[u8]>) {
        if let Some(gap) = self.gaps.pop_front_if(|gap| gap.left.as_deref() == left) {
            self.here = gap.entries.into();
        }
    }

    /// Returns the next entry for this gap, or the fault if there are several for its key, with
    /// different values.
    pub(crate) fn next(&mut self) -> Option<Result<EntryRef, Fault>> {
        let entry = self.here.pop_front()?;
        let mut is_ambiguous = false;
        while let Some(same) = self.here.pop_front_if(|next| next.key() == entry.key()) {
            is_ambiguous |= same.value_bytes() != entry.value_bytes();
        }
        if !is_ambiguous {
            return Some(Ok(entry));
        }
        let key = String::from_utf8_lossy(entry.key()).into_owned();
        Some(Err(Fault::of_entry(&entry, Error::Ambiguous { key })))
    }
}

/// The gaps in a tree, in key order. Adds the digests of its nodes to `seen`.
fn gaps<S: BlockStore>(
    nodes: &NodeStore<S>,
    root: &Cid,
    seen: &mut HashSet<[u8; DIGEST_LEN]>,
) -> Vec<Gap> {
    let gap = |left: Option<&[u8]>, right: Option<&[u8]>, height_above| Gap {
        left: left.map(<[u8]>::to_vec),
        right: right.map(<[u8]>::to_vec),
        height_above,
        entries: Vec::new(),
    };
    let Ok(top) = NodeWalker::new(nodes, root) else {
        return vec![gap(None, None, None)];
    };
    let mut gaps = Vec::new();
    let mut nodes = top.nodes();
    while let Some(node) = nodes.next() {
        if let Ok(node) = node {
            seen.extend(node_digest(&node.cid()));
        } else {
            let walker = nodes.walker();
            let (left, right) = (walker.left_key(), walker.right_key());
            gaps.push(gap(left, right, Some(walker.height())));
        }
    }
    gaps
}

/// The gap that a key of this height belongs into.
fn gap_around<'g>(gaps: &'g mut [Gap], key: &[u8], height: u8) -> Option<&'g mut Gap> {
    let is_before = |right: &[u8]| right <= key;
    let is_left = |gap: &Gap| gap.right.as_deref().is_some_and(is_before);
    let gap = gaps.partition_point(is_left);
    let gap = gaps.get_mut(gap)?;
    let is_after = gap.left.as_deref().is_none_or(|left| left < key);
    let is_below = gap.height_above.is_none_or(|above| height < above);
    (is_after && is_below).then_some(gap)
}

/// The node in the block `cid`, if that is intact and is one. (A `NodeStore` would remember each
/// block that is not a node.)
fn node_in<S: BlockStore>(nodes: &NodeStore<S>, cid: &Cid) -> Result<Option<Node>, StoreError> {
    let block = read_if_intact(nodes.blocks(), cid)?;
    let limits = &nodes.options().limits;
    Ok(block.and_then(|block| Node::decode_within(&block, limits).ok()))
}
