//! One node: n keys, n values, n + 1 subtrees.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

use cid::Cid;

use crate::link::{cid_from_bytes, cid_of_block, node_cid};
use crate::span::{Row, Span, head, position, row_head, rows_len};
use crate::{DIGEST_LEN, MixedHeights, height_of, shared_prefix_len};

/// One node of a Merkle Search Tree.
///
/// A node of n entries holds n keys in ascending order, the CID that each maps to, and
/// n + 1 *slots* between and around them, each with a link to a subtree or none:
///
/// ```text
/// keys:            0     1     2
/// values:          0     1     2
/// subtrees:     0     1     2     3
/// ```
///
/// A `Node` exists only if its parts obey the rules that can be checked on one node: keys non-empty
/// and strictly ascending, subtree links in the one CID form that the specification allows. What
/// takes a hash or another node is checked elsewhere: by [`key_height`](Self::key_height) whether
/// all keys belong on one level, and by the `mst-ops` crate whether the node has its right place in
/// a tree.
///
/// Its keys and the slots that have a subtree never change; what they lead to can be replaced
/// ([`set_value`](Self::set_value), [`set_subtree_digest`](Self::set_subtree_digest)).
///
/// All parts lie in one buffer, values and links as the bytes that the block held; a [`Cid`] is
/// made only on request.
///
/// Source: <https://atproto.com/specs/repository#mst-structure>
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    /// In this order: the rows of all entries, all keys, all values, the digests of the subtrees on
    /// the right of entries, the digest of subtree 0. Slots without a subtree take no space.
    /// Looking up a key touches only the beginning of the buffer.
    pub(crate) data: Vec<u8>,
    /// How many entries there are.
    len: u32,
    /// How many bytes all keys have in common at their start.
    prefix_len: u32,
}

impl Node {
    /// Returns the node of the empty tree: no entries, no subtree.
    ///
    /// # Examples
    ///
    /// ```
    /// // The root of an empty repository, as `atmst` and `@atproto/repo` give it too.
    /// assert_eq!(
    ///     mst_node::Node::empty().cid().to_string(),
    ///     "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm",
    /// );
    /// ```
    pub fn empty() -> Self {
        Self::from_data(Vec::new(), 0)
    }

    /// A node of `len` entries, whose data is `data` except for the heads of keys, which this fills
    /// in.
    pub(crate) fn from_data(data: Vec<u8>, len: usize) -> Self {
        let mut node = Self {
            data,
            len: position(len),
            prefix_len: 0,
        };
        if let (Some(first), Some(last)) = (node.key(0), node.key(len.wrapping_sub(1))) {
            // The keys between are sorted, so they share this prefix too.
            let prefix_len = shared_prefix_len(first, last);
            node.prefix_len = position(prefix_len);
            node.set_heads();
        }
        node
    }

    fn set_heads(&mut self) {
        let (rows, parts) = self.data.split_at_mut(rows_len(self.len as usize));
        let (rows, _) = rows.as_chunks_mut();
        let mut start = 0;
        for row in rows {
            let span = Span::from_row(row);
            let rest = parts.get(start + self.prefix_len as usize..span.key as usize);
            *row = span.with_head(rest.unwrap_or_default()).to_row();
            start = span.key as usize;
        }
    }

    /// Returns the number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns whether the node has no entries.
    ///
    /// It may still have a subtree: a level without keys, between two levels with keys, is such a
    /// node.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the key of entry `index`, counted from 0.
    #[inline]
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        let end = self.span(index)?.key;
        let start = self.before(index).map_or(0, |span| span.key);
        Some(self.part(start, end))
    }

    /// Returns the value of entry `index`: the CID that its key maps to.
    #[inline]
    pub fn value(&self, index: usize) -> Option<Cid> {
        let bytes = self.value_bytes(index)?;
        Some(cid_from_bytes(bytes).expect("a value was checked when the node was made"))
    }

    /// Returns the value of entry `index` as the binary CID that the block holds.
    #[inline]
    pub fn value_bytes(&self, index: usize) -> Option<&[u8]> {
        let end = self.span(index)?.value;
        Some(self.part(self.span_before(index).value, end))
    }

    /// Returns the CID of the subtree in slot `slot`, which is left of entry `slot` and
    /// right of the entry before it, so that slots run from 0 to [`len`](Self::len).
    ///
    /// `None` if there is no subtree, or no such slot.
    pub fn subtree(&self, slot: usize) -> Option<Cid> {
        self.subtree_digest(slot).map(node_cid)
    }

    /// Returns the digest of the subtree in slot `slot`, as [`subtree`](Self::subtree)
    /// does its CID.
    #[inline]
    pub fn subtree_digest(&self, slot: usize) -> Option<&[u8; DIGEST_LEN]> {
        let (start, end) = self.link_bounds(slot);
        self.part(start, end).try_into().ok()
    }

    /// Returns the slots that have a subtree, in order, each with the subtree's digest.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_node::{Joint, Node};
    ///
    /// let (value, none) = (Node::empty().cid(), Node::empty());
    /// let joint = Joint::entry(None, b"2a92d355", &value, Some(&[7; 32]));
    /// let node = Node::join(&none, 0, joint, &none, 0)?;
    /// assert!(node.has_subtrees());
    /// assert_eq!(node.subtree_digests().collect::<Vec<_>>(), [(1, &[7; 32])]);
    /// # Ok::<(), mst_node::BuildError>(())
    /// ```
    pub fn subtree_digests(&self) -> impl Iterator<Item = (usize, &[u8; DIGEST_LEN])> {
        let left = self.subtree_digest(0).map(|digest| (0, digest));
        let mut start = self.sections().right;
        let right = self.spans().zip(1..).filter_map(move |(span, slot)| {
            let digest = self.part(start, span.right);
            start = span.right;
            Some((slot, digest.try_into().ok()?))
        });
        left.into_iter().chain(right)
    }

    /// Returns whether any slot has a subtree.
    #[inline]
    pub fn has_subtrees(&self) -> bool {
        self.parts_len() > self.sections().right
    }

    /// Where the digest of the subtree in slot `slot` begins and ends. Both are the same if there
    /// is none.
    #[inline]
    pub(crate) fn link_bounds(&self, slot: usize) -> (u32, u32) {
        if let Some(index) = slot.checked_sub(1) {
            let start = self.span_before(index).right;
            (start, self.span(index).map_or(start, |span| span.right))
        } else {
            let start = self.last_span().map_or(0, |span| span.right);
            (start, self.parts_len())
        }
    }

    /// Returns the entries in key order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> + DoubleEndedIterator {
        (0..self.len()).map(|index| Entry { node: self, index })
    }

    /// Looks for `key`: `Ok` with the index of its entry, or `Err` with the slot of the
    /// subtree that would hold it.
    ///
    /// # Errors
    ///
    /// As with [`slice::binary_search`], `Err` is an answer: the key is not in this node.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_node::{Node, NodeBuilder};
    ///
    /// let value = Node::empty().cid();
    /// let mut builder = NodeBuilder::new(None)?;
    /// builder.push(b"2a92d355", &value, None)?;
    /// let node = builder.finish();
    /// assert_eq!(node.find(b"2a92d355"), Ok(0));
    /// assert_eq!(node.find(b"a"), Err(1));
    /// # Ok::<(), mst_node::BuildError>(())
    /// ```
    #[inline]
    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        const FEW: usize = 32;
        let prefix = self.part(0, self.prefix_len);
        let (start, rest) = key.split_at_checked(prefix.len()).unwrap_or((key, &[]));
        match start.cmp(prefix) {
            Ordering::Less => return Err(0),
            Ordering::Equal => {}
            Ordering::Greater => return Err(self.len()),
        }
        let head = head(rest);
        let rows = self.rows();
        if rows.len() > FEW {
            return self.find_among_many(head, key);
        }
        // The processor predicts the branches of a linear scan, and reads ahead what going down
        // from here takes; at each step of a binary search it would have to wait.
        for (index, row) in rows.iter().enumerate() {
            let found = row_head(row);
            if found < head {
                continue;
            }
            if found > head {
                return Err(index);
            }
            match self.cmp_key(index, key) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(index),
                Ordering::Greater => return Err(index),
            }
        }
        Err(rows.len())
    }

    /// Looks for `key`, which begins with the prefix common to all keys here, followed by `head`,
    /// with a binary search.
    fn find_among_many(&self, head: u32, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let found = self.rows().get(middle).map_or(0, row_head);
            let by_head = found.cmp(&head);
            match by_head.then_with(|| self.cmp_key(middle, key)) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    #[inline]
    fn cmp_key(&self, index: usize, key: &[u8]) -> Ordering {
        self.key(index).unwrap_or_default().cmp(key)
    }

    /// Returns the height that all keys of this node have, or `None` if it has no keys.
    ///
    /// This costs one SHA-256 per key, in usual nodes about as much as hashing the node's own
    /// block, so [`decode`](Self::decode) leaves it to the caller. If a small block expands to long
    /// keys, the cost is that of the long keys ([`Limits::key_bytes`](crate::Limits::key_bytes)).
    ///
    /// # Errors
    ///
    /// [`MixedHeights`] if two keys belong on different levels: such a node is in no tree.
    pub fn key_height(&self) -> Result<Option<u8>, MixedHeights> {
        self.key_height_by(height_of)
    }

    /// Returns what [`key_height`](Self::key_height) does, for a caller who already knows the
    /// heights of some keys: `height_of` is called for each key, in key order, up to the first
    /// whose height is another, and returns its height.
    ///
    /// # Errors
    ///
    /// As for [`key_height`](Self::key_height).
    pub fn key_height_by(
        &self,
        mut height_of: impl FnMut(&[u8]) -> u8,
    ) -> Result<Option<u8>, MixedHeights> {
        let Some(first_key) = self.key(0) else {
            return Ok(None);
        };
        let first = height_of(first_key);
        for (index, entry) in self.entries().enumerate().skip(1) {
            let height = height_of(entry.key());
            if height != first {
                return Err(MixedHeights {
                    index,
                    height,
                    first,
                });
            }
        }
        Ok(Some(first))
    }

    /// Returns the length of all keys together, written out in full, in bytes; see
    /// [`Limits::key_bytes`](crate::Limits::key_bytes).
    #[inline]
    pub fn keys_len(&self) -> usize {
        self.sections().value as usize
    }

    /// Returns the node's own CID: CIDv1, dag-cbor, sha2-256 of its encoding.
    pub fn cid(&self) -> Cid {
        cid_of_block(&self.encode())
    }

    /// Returns how many bytes of memory the node takes, its own struct included.
    pub fn memory_len(&self) -> usize {
        size_of::<Self>() + self.data.capacity()
    }

    /// The spans of all entries.
    #[inline]
    pub(crate) fn rows(&self) -> &[Row] {
        let rows = self.data.get(..rows_len(self.len()));
        let (rows, _) = rows.unwrap_or_default().as_chunks();
        rows
    }

    pub(crate) fn rows_mut(&mut self) -> &mut [Row] {
        let rows = self.data.get_mut(..rows_len(self.len as usize));
        let (rows, _) = rows.unwrap_or_default().as_chunks_mut();
        rows
    }

    #[inline]
    pub(crate) fn spans(&self) -> impl ExactSizeIterator<Item = Span> {
        self.rows().iter().map(Span::from_row)
    }

    #[inline]
    pub(crate) fn span(&self, index: usize) -> Option<Span> {
        self.rows().get(index).map(Span::from_row)
    }

    #[inline]
    pub(crate) fn last_span(&self) -> Option<Span> {
        self.rows().last().map(Span::from_row)
    }

    /// The span of the entry before `index`.
    #[inline]
    pub(crate) fn before(&self, index: usize) -> Option<Span> {
        self.span(index.checked_sub(1)?)
    }

    /// How many bytes all keys have in common at their start.
    pub(crate) fn prefix_len(&self) -> usize {
        self.prefix_len as usize
    }

    /// Where the keys, the values and the digests of the subtrees begin.
    #[inline]
    pub(crate) fn sections(&self) -> Span {
        let last = self.last_span();
        let value = last.map_or(0, |span| span.key);
        Span::new(0, value, last.map_or(0, |span| span.value))
    }

    /// How many bytes all parts take together.
    #[inline]
    fn parts_len(&self) -> u32 {
        position(self.data.len() - rows_len(self.len()))
    }

    /// Where the parts of entry `index` begin.
    #[inline]
    pub(crate) fn span_before(&self, index: usize) -> Span {
        self.before(index).unwrap_or_else(|| self.sections())
    }

    #[inline]
    pub(crate) fn part(&self, start: u32, end: u32) -> &[u8] {
        self.data
            .get(self.place(start, end))
            .expect("spans lie inside the node's data")
    }

    /// The part from `start` to `end`, counted from the end of the rows, as a range of the data.
    #[inline]
    pub(crate) fn place(&self, start: u32, end: u32) -> Range<usize> {
        let rows_len = rows_len(self.len());
        rows_len + start as usize..rows_len + end as usize
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("left", &self.subtree(0))
            .field("entries", &self.entries().collect::<Vec<_>>())
            .finish()
    }
}

/// One entry of a [`Node`]: a key, its value, and the subtree on its right.
#[derive(Clone, Copy)]
pub struct Entry<'n> {
    node: &'n Node,
    index: usize,
}

impl<'n> Entry<'n> {
    /// Returns the key, in full.
    #[inline]
    pub fn key(&self) -> &'n [u8] {
        self.node
            .key(self.index)
            .expect("an entry's index is valid")
    }

    /// Returns the CID that the key maps to.
    #[inline]
    pub fn value(&self) -> Cid {
        let value = self.node.value(self.index);
        value.expect("an entry's index is valid")
    }

    /// Returns the subtree between this entry and the next.
    pub fn right(&self) -> Option<Cid> {
        self.node.subtree(self.index + 1)
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &String::from_utf8_lossy(self.key()))
            .field("value", &self.value())
            .field("right", &self.right())
            .finish()
    }
}
