//! Encodes nodes in their canonical form. The mirror image of `decode.rs`.

use std::ops::Range;

use cid::Cid;

use crate::link::{NODE_CID_START, SHA2_256_CID_LEN, push_cid};
use crate::prefix::shared_prefix_len;
use crate::span::Span;
use crate::{DIGEST_LEN, Node};

pub(crate) const UNSIGNED: u8 = 0;
pub(crate) const BYTES: u8 = 2;
pub(crate) const ARRAY: u8 = 4;
pub(crate) const NULL: u8 = 0xf6;
/// Map of two fields, and the first field's name, `e`.
pub(crate) const NODE_START: [u8; 3] = [0xa2, 0x61, b'e'];
/// Map of four fields, and the first field's name, `k`.
pub(crate) const ENTRY_START: [u8; 3] = [0xa4, 0x61, b'k'];
/// Tag 42, the tag of a link.
pub(crate) const LINK_TAG: [u8; 2] = [0xd8, 0x2a];
/// All of a subtree link but its digest: tag 42, 37 bytes, a zero byte, the CID's start.
pub(crate) const SUBTREE_START: [u8; 9] = [
    LINK_TAG[0],
    LINK_TAG[1],
    0x58,
    0x25,
    0x00,
    NODE_CID_START[0],
    NODE_CID_START[1],
    NODE_CID_START[2],
    NODE_CID_START[3],
];

impl Node {
    /// Returns the node's block: canonical DAG-CBOR, the only encoding that
    /// [`decode`](Self::decode) accepts for it.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(mst_node::Node::empty().encode(), b"\xa2\x61e\x80\x61l\xf6");
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::new();
        self.encode_linking(&mut block, |_, own| own);
        // The buffer was sized for the worst case, which may be far more than was needed.
        block.shrink_to_fit();
        block
    }

    /// Appends the node's block to `block` with other subtree digests: `link` gets the slot and the
    /// digest of each subtree, and returns the digest to write.
    ///
    /// For a tree that is being changed, where the digests of subtrees become known from the bottom
    /// up.
    pub fn encode_linking<'d>(
        &'d self,
        block: &mut Vec<u8>,
        link: impl Fn(usize, &'d [u8; DIGEST_LEN]) -> &'d [u8; DIGEST_LEN],
    ) {
        let max_len = MAX_FRAME_LEN + self.max_entries_len(&(0..self.len()));
        write(block, max_len, |room| {
            room.put_node_start(self.len());
            let link = |slot, own: Option<&'d _>| own.map(|own| link(slot, own));
            self.put_entries(room, 0..self.len(), &mut &[][..], link);
            room.put_node_end(link(0, self.subtree_digest(0)));
        });
    }

    /// An upper bound on the encoded length of `entries`, with a subtree after the last.
    pub(crate) fn max_entries_len(&self, entries: &Range<usize>) -> usize {
        let start = self.span_before(entries.start);
        let end = self.span_before(entries.end);
        let keys_len = end.key - start.key;
        let values_len = end.value - start.value;
        let rights_len = end.right - start.right;
        (keys_len + values_len + rights_len) as usize + DIGEST_LEN + entries.len() * MAX_ENTRY_LEN
    }

    /// Writes `entries`. `previous` is the key before the first of them, and becomes the key of the
    /// last. `link` gets the slot on the right of each and the digest there, and returns the digest
    /// to write.
    #[inline]
    pub(crate) fn put_entries<'d>(
        &'d self,
        room: &mut Room<'_>,
        entries: Range<usize>,
        previous: &mut &'d [u8],
        link: impl Fn(usize, Option<&'d [u8; DIGEST_LEN]>) -> Option<&'d [u8; DIGEST_LEN]>,
    ) {
        let mut start = self.span_before(entries.start);
        let mut shared_len = 0;
        let rows = self.rows().get(entries.clone()).unwrap_or_default();
        for (slot, row) in (entries.start + 1..).zip(rows) {
            let span = Span::from_row(row);
            let key = self.part(start.key, span.key);
            let right = self.part(start.right, span.right).try_into().ok();
            let value = self.part(start.value, span.value);
            room.put_entry(previous, key, shared_len, link(slot, right), value);
            *previous = key;
            shared_len = self.prefix_len();
            start = span;
        }
    }
}

/// Encodes a node whose parts come one after another, from left to right, as when a tree is built
/// from sorted keys. Only the last entry is held back, for the subtree on its right.
///
/// As in a [`Node`], keys must ascend; unlike there, it is up to the caller to ensure it.
///
/// # Examples
///
/// ```
/// use mst_node::{Joint, Node, NodeEncoder};
///
/// let (value, none) = (Node::empty().cid(), Node::empty());
/// let mut encoder = NodeEncoder::default();
/// encoder.push(b"asdf", &value);
/// let node = Node::join(&none, 0, Joint::entry(None, b"asdf", &value, None), &none, 0)?;
/// assert_eq!(encoder.finish(), node.encode());
/// // And the encoder starts over.
/// assert_eq!(encoder.finish(), none.encode());
/// # Ok::<(), mst_node::BuildError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct NodeEncoder {
    len: usize,
    keys_len: usize,
    left: Option<[u8; DIGEST_LEN]>,
    /// The entries before the last.
    entries: Vec<u8>,
    /// The key before the last.
    previous: Vec<u8>,
    /// The last entry, which waits for the subtree on its right.
    key: Vec<u8>,
    value: Vec<u8>,
    right: Option<[u8; DIGEST_LEN]>,
}

impl NodeEncoder {
    /// Returns the number of entries so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the length of all keys so far, written out in full, in bytes.
    pub fn keys_len(&self) -> usize {
        self.keys_len
    }

    /// Returns whether there is nothing in the node so far: neither entry nor subtree.
    pub fn is_vacant(&self) -> bool {
        self.is_empty() && self.left.is_none()
    }

    /// Returns whether the node has no entries so far.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the subtree in the last slot so far.
    pub fn set_subtree(&mut self, digest: [u8; DIGEST_LEN]) {
        if self.len == 0 {
            self.left = Some(digest);
        } else {
            self.right = Some(digest);
        }
    }

    /// Appends an entry, with an empty slot on its right.
    pub fn push(&mut self, key: &[u8], value: &Cid) {
        self.put_last();
        std::mem::swap(&mut self.previous, &mut self.key);
        self.key.clear();
        self.key.extend_from_slice(key);
        self.value.clear();
        push_cid(&mut self.value, value);
        self.right = None;
        self.len += 1;
        self.keys_len += key.len();
    }

    /// Returns the block, and starts the next node.
    pub fn finish(&mut self) -> Vec<u8> {
        self.put_last();
        // The exact length, so that the block keeps no spare capacity.
        let digest_len = self
            .left
            .map_or(1, |digest| SUBTREE_START.len() + digest.len());
        let len = NODE_START.len() + head_len(self.len) + self.entries.len() + 2 + digest_len;
        let mut block = Vec::with_capacity(len);
        write(&mut block, len, |room| {
            room.put_node_start(self.len);
            room.put_slice(&self.entries);
            room.put_node_end(self.left.as_ref());
        });
        self.len = 0;
        self.keys_len = 0;
        self.left = None;
        self.entries.clear();
        block
    }

    fn put_last(&mut self) {
        if self.len > 0 {
            // Before the first entry, `previous` is still a key of the node before.
            let previous = if self.len > 1 { &*self.previous } else { &[] };
            let right = self.right.as_ref();
            let max_len = MAX_ENTRY_LEN + self.key.len() + DIGEST_LEN + self.value.len();
            write(&mut self.entries, max_len, |room| {
                room.put_entry(previous, &self.key, 0, right, &self.value);
            });
        }
    }
}

/// The maximum encoded length of a node without its entries.
pub(crate) const MAX_FRAME_LEN: usize =
    NODE_START.len() + MAX_HEAD_LEN + 2 + SUBTREE_START.len() + DIGEST_LEN;
/// The maximum encoded length of an entry without its key, its value and the digest of its subtree.
pub(crate) const MAX_ENTRY_LEN: usize =
    ENTRY_START.len() + 3 * MAX_HEAD_LEN + 3 * 2 + SUBTREE_START.len() + LINK_TAG.len() + 1;
/// The maximum length of the head of a CBOR item.
const MAX_HEAD_LEN: usize = 9;

/// Appends what `put` writes, at most `max_len` bytes.
#[inline]
pub(crate) fn write(bytes: &mut Vec<u8>, max_len: usize, put: impl FnOnce(&mut Room<'_>)) {
    let start = bytes.len();
    bytes.resize(start + max_len, 0);
    let rest = bytes.get_mut(start..).unwrap_or_default();
    let mut room = Room { rest };
    put(&mut room);
    let left = room.rest.len();
    bytes.truncate(bytes.len() - left);
}

/// Space for a node's bytes that is allocated in advance, so that no write has to grow it.
pub(crate) struct Room<'b> {
    rest: &'b mut [u8],
}

impl Room<'_> {
    /// Writes a constant or a digest. Its length is known at compile time, so the copy is a few
    /// moves.
    #[inline]
    fn put<const LEN: usize>(&mut self, bytes: &[u8; LEN]) {
        let rest = std::mem::take(&mut self.rest);
        let (place, rest) = rest.split_first_chunk_mut().expect(ROOM);
        *place = *bytes;
        self.rest = rest;
    }

    #[inline]
    fn put_slice(&mut self, bytes: &[u8]) {
        let rest = std::mem::take(&mut self.rest);
        let (place, rest) = rest.split_at_mut_checked(bytes.len()).expect(ROOM);
        place.copy_from_slice(bytes);
        self.rest = rest;
    }

    pub(crate) fn put_node_start(&mut self, len: usize) {
        let [map, name @ ..] = NODE_START;
        self.put(&[map]);
        self.put_head(name, ARRAY, len);
    }

    /// Writes an entry that follows one with the key `previous`, with which `key` shares at least
    /// `shared_len` bytes.
    #[inline]
    pub(crate) fn put_entry(
        &mut self,
        previous: &[u8],
        key: &[u8],
        shared_len: usize,
        right: Option<&[u8; DIGEST_LEN]>,
        value: &[u8],
    ) {
        let [previous, rest] = [previous, key].map(|key| key.get(shared_len..).unwrap_or_default());
        let prefix_len = shared_len + shared_prefix_len(previous, rest);
        let rest = key.get(prefix_len..).unwrap_or_default();
        let [map, name @ ..] = ENTRY_START;
        self.put(&[map]);
        self.put_head(name, BYTES, rest.len());
        self.put_slice(rest);
        self.put_head([0x61, b'p'], UNSIGNED, prefix_len);
        self.put_subtree(b't', right);
        self.put(&[0x61, b'v']);
        self.put_head(LINK_TAG, BYTES, value.len() + 1);
        self.put(&[0]);
        match <&[u8; SHA2_256_CID_LEN]>::try_from(value) {
            Ok(value) => self.put(value),
            Err(_) => self.put_slice(value),
        }
    }

    pub(crate) fn put_node_end(&mut self, left: Option<&[u8; DIGEST_LEN]>) {
        self.put_subtree(b'l', left);
    }

    #[inline]
    fn put_subtree(&mut self, name: u8, digest: Option<&[u8; DIGEST_LEN]>) {
        match digest {
            Some(digest) => {
                self.put(&[0x61, name]);
                self.put(&SUBTREE_START);
                self.put(digest);
            }
            None => self.put(&[0x61, name, NULL]),
        }
    }

    /// Writes two bytes that come before an item, such as a field's name, and the item's head: its
    /// major type and a length or number, in the shortest form.
    #[inline]
    fn put_head(&mut self, [one, two]: [u8; 2], major: u8, value: usize) {
        let major = major << 5;
        if let Ok(value) = u8::try_from(value) {
            if value < 24 {
                self.put(&[one, two, major | value]);
            } else {
                self.put(&[one, two, major | 0x18, value]);
            }
        } else {
            self.put(&[one, two]);
            self.put_long_head(major, value);
        }
    }

    #[cold]
    fn put_long_head(&mut self, major: u8, value: usize) {
        if let Ok(value) = u16::try_from(value) {
            self.put(&[major | 0x19]);
            self.put(&value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.put(&[major | 0x1a]);
            self.put(&value.to_be_bytes());
        } else {
            self.put(&[major | 0x1b]);
            self.put(&(value as u64).to_be_bytes());
        }
    }
}

/// Why there is room.
const ROOM: &str = "the buffer has room for the longest encoding";

/// How many bytes the head of a CBOR item takes.
fn head_len(value: usize) -> usize {
    match value {
        0..24 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => MAX_HEAD_LEN,
    }
}
