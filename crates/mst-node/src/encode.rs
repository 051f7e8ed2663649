//! A node's one spelling. The mirror image of `decode.rs`.

use crate::link::NODE_CID_START;
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
        block.extend_from_slice(&NODE_START);
        put_head(&mut block, ARRAY, self.len());
        let mut previous: &[u8] = &[];
        for (index, entry) in self.entries().enumerate() {
            let key = entry.key();
            let prefix_len = shared_prefix_len(previous, key);
            block.extend_from_slice(&ENTRY_START);
            put_bytes(&mut block, key.get(prefix_len..).unwrap_or_default());
            put_name(&mut block, b'p');
            put_head(&mut block, UNSIGNED, prefix_len);
            put_name(&mut block, b't');
            put_subtree(&mut block, self.subtree_digest(index + 1));
            put_name(&mut block, b'v');
            put_link(&mut block, self.value_bytes(index).unwrap_or_default());
            previous = key;
        }
        put_name(&mut block, b'l');
        put_subtree(&mut block, self.subtree_digest(0));
        block
    }
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
