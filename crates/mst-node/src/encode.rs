//! A node's one spelling. The mirror image of `decode.rs`.

use cid::Cid;

use crate::link::{NODE_CID_START, push_cid};
use crate::prefix::shared_prefix_len;
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
        // Beside what `data` holds, an entry takes at most 22 bytes and a link 9.
        let mut block = Vec::with_capacity(self.data.len() + self.len() * 32 + 16);
        self.encode_linking(&mut block, |_| None);
        block
    }

    /// Appends the node's block to `block`, with other subtrees than its own: `digest_of` is
    /// asked for each slot that has one, and where it has no answer the node's own stays.
    ///
    /// For a tree that is being changed, which learns what its nodes link to from the bottom
    /// up.
    pub fn encode_linking<'d>(
        &'d self,
        block: &mut Vec<u8>,
        digest_of: impl Fn(usize) -> Option<&'d [u8; DIGEST_LEN]>,
    ) {
        let digest = |slot| {
            let own = self.subtree_digest(slot)?;
            Some(digest_of(slot).unwrap_or(own))
        };
        put_node_start(block, self.len());
        let mut previous: &[u8] = &[];
        for (index, entry) in self.entries().enumerate() {
            let key = entry.key();
            let value = self.value_bytes(index).unwrap_or_default();
            put_entry(block, previous, key, digest(index + 1), value);
            previous = key;
        }
        put_node_end(block, digest(0));
    }
}

/// A node's block while its parts are still coming, from left to right: for building a tree
/// from sorted keys, where nothing but the end of a node has to wait in memory.
///
/// As with [`Node`], keys must ascend; unlike there, it is the caller who sees to it.
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
/// // And it begins anew.
/// assert_eq!(encoder.finish(), none.encode());
/// # Ok::<(), mst_node::BuildError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct NodeEncoder {
    len: usize,
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

    /// Returns whether there is nothing in the node so far: neither entry nor subtree.
    pub fn is_vacant(&self) -> bool {
        self.is_empty() && self.left.is_none()
    }

    /// Returns whether the node has no entries so far.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a subtree into the slot that the node ends with so far.
    pub fn set_subtree(&mut self, digest: [u8; DIGEST_LEN]) {
        if self.len == 0 {
            self.left = Some(digest);
        } else {
            self.right = Some(digest);
        }
    }

    /// Appends an entry, which ends with an empty slot.
    pub fn push(&mut self, key: &[u8], value: &Cid) {
        self.put_last();
        std::mem::swap(&mut self.previous, &mut self.key);
        self.key.clear();
        self.key.extend_from_slice(key);
        self.value.clear();
        push_cid(&mut self.value, value);
        self.right = None;
        self.len += 1;
    }

    /// Returns the block, and begins the next.
    pub fn finish(&mut self) -> Vec<u8> {
        self.put_last();
        let mut block = Vec::with_capacity(self.entries.len() + 64);
        put_node_start(&mut block, self.len);
        block.extend_from_slice(&self.entries);
        put_node_end(&mut block, self.left.as_ref());
        self.len = 0;
        self.left = None;
        self.entries.clear();
        block
    }

    fn put_last(&mut self) {
        if self.len > 0 {
            // The key before the first entry is one of the node before.
            let previous = if self.len > 1 { &*self.previous } else { &[] };
            let right = self.right.as_ref();
            put_entry(&mut self.entries, previous, &self.key, right, &self.value);
        }
    }
}

fn put_node_start(block: &mut Vec<u8>, len: usize) {
    block.extend_from_slice(&NODE_START);
    put_head(block, ARRAY, len);
}

fn put_entry(
    block: &mut Vec<u8>,
    previous: &[u8],
    key: &[u8],
    right: Option<&[u8; DIGEST_LEN]>,
    value: &[u8],
) {
    let prefix_len = shared_prefix_len(previous, key);
    block.extend_from_slice(&ENTRY_START);
    put_bytes(block, key.get(prefix_len..).unwrap_or_default());
    put_name(block, b'p');
    put_head(block, UNSIGNED, prefix_len);
    put_name(block, b't');
    put_subtree(block, right);
    put_name(block, b'v');
    put_link(block, value);
}

fn put_node_end(block: &mut Vec<u8>, left: Option<&[u8; DIGEST_LEN]>) {
    put_name(block, b'l');
    put_subtree(block, left);
}

/// Appends the head of a CBOR item: its major type and a length or number, in the
/// shortest form.
fn put_head(block: &mut Vec<u8>, major: u8, value: usize) {
    let major = major << 5;
    if let Ok(value) = u8::try_from(value) {
        if value < 24 {
            block.push(major | value);
        } else {
            block.extend_from_slice(&[major | 0x18, value]);
        }
    } else if let Ok(value) = u16::try_from(value) {
        block.push(major | 0x19);
        block.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        block.push(major | 0x1a);
        block.extend_from_slice(&value.to_be_bytes());
    } else {
        block.push(major | 0x1b);
        block.extend_from_slice(&(value as u64).to_be_bytes());
    }
}

fn put_bytes(block: &mut Vec<u8>, bytes: &[u8]) {
    put_head(block, BYTES, bytes.len());
    block.extend_from_slice(bytes);
}

fn put_name(block: &mut Vec<u8>, name: u8) {
    block.extend_from_slice(&[0x61, name]);
}

fn put_subtree(block: &mut Vec<u8>, digest: Option<&[u8; DIGEST_LEN]>) {
    match digest {
        Some(digest) => {
            block.extend_from_slice(&SUBTREE_START);
            block.extend_from_slice(digest);
        }
        None => block.push(NULL),
    }
}

fn put_link(block: &mut Vec<u8>, cid: &[u8]) {
    block.extend_from_slice(&LINK_TAG);
    put_head(block, BYTES, cid.len() + 1);
    block.push(0);
    block.extend_from_slice(cid);
}
