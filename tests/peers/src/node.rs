//! Nodes of a tree in straight-line code: the floor writes and reads with this, and it checks the
//! blocks that an engine returns. It decodes what this project has generated, and what hashes to
//! the same; it is not strict.

use cid::{Cid, multihash::Multihash};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a block: all that distinguishes the CIDs here.
pub(crate) type Digest = [u8; DIGEST_LEN];

/// One key with its value and the subtree to the right of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) prefix_len: usize,
    pub(crate) suffix: &'a [u8],
    pub(crate) value: &'a Digest,
    pub(crate) right: Option<&'a Digest>,
}

/// A node whose entries are decoded one by one.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) left: Option<&'a Digest>,
    /// How many entries the node claims to have.
    pub(crate) len: usize,
    rest: &'a [u8],
    left_to_read: usize,
}

impl<'a> Node<'a> {
    /// Starts to decode a node; `None` if the block is not one.
    pub(crate) fn decode(block: &'a [u8]) -> Option<Self> {
        let mut rest = block;
        take(&mut rest, START)?;
        let len = take_head(&mut rest, ARRAY)?;
        // The link to the left comes last, after all entries.
        let left = match block.strip_suffix(NO_LEFT) {
            Some(_) => None,
            None => Some(block.last_chunk()?),
        };
        Some(Self {
            left,
            len,
            rest,
            left_to_read: len,
        })
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        let rest = &mut self.rest;
        take(rest, b"\xa4\x61k")?;
        let len = take_head(rest, BYTES)?;
        let (suffix, after) = rest.split_at_checked(len)?;
        *rest = after;
        take(rest, b"\x61p")?;
        let prefix_len = take_head(rest, UNSIGNED)?;
        take(rest, b"\x61t")?;
        let right = if take(rest, NULL).is_some() {
            None
        } else {
            Some(take_link(rest)?)
        };
        take(rest, b"\x61v")?;
        let value = take_link(rest)?;
        Some(Entry {
            prefix_len,
            suffix,
            value,
            right,
        })
    }
}

/// Ends at the first invalid entry.
impl<'a> Iterator for Node<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        self.left_to_read = self.left_to_read.checked_sub(1)?;
        self.entry()
    }
}

/// Returns the block of a node of `len` already encoded entries.
pub(crate) fn encode(left: Option<&Digest>, len: usize, entries: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(entries.len() + ENDS_LEN);
    block.extend_from_slice(START);
    push_head(&mut block, ARRAY, len);
    block.extend_from_slice(entries);
    block.extend_from_slice(b"\x61l");
    push_link(&mut block, left);
    block
}

/// Appends an entry to the encoded entries of a node.
#[inline]
pub(crate) fn encode_entry(entry: &Entry<'_>, entries: &mut Vec<u8>) {
    entries.extend_from_slice(b"\xa4\x61k");
    push_head(entries, BYTES, entry.suffix.len());
    entries.extend_from_slice(entry.suffix);
    entries.extend_from_slice(b"\x61p");
    push_head(entries, UNSIGNED, entry.prefix_len);
    entries.extend_from_slice(b"\x61t");
    push_link(entries, entry.right);
    entries.extend_from_slice(b"\x61v");
    push_link(entries, Some(entry.value));
}

/// Returns the height of a key: the leading zero bits of its hash, halved.
#[inline]
pub(crate) fn height_of(key: &[u8]) -> u8 {
    let hash = Sha256::digest(key);
    let (zeros, next) = match hash.iter().position(|byte| *byte != 0) {
        Some(zeros) => (zeros, hash[zeros]),
        None => (DIGEST_LEN, 0x80),
    };
    u8::try_from(zeros * 4).expect("at most 128")
        + u8::try_from(next.leading_zeros() / 2).expect("at most 3")
}

/// Returns the digest in a CID of this project's data.
///
/// # Panics
///
/// With a CID that is not SHA-256, which no tree here has.
pub(crate) fn digest_of(cid: &Cid) -> Digest {
    let digest = cid.hash().digest().try_into();
    digest.expect("all CIDs here are SHA-256")
}

/// Returns the CID of a block of DAG-CBOR with this digest.
///
/// # Panics
///
/// Never: a digest of 32 bytes fits.
pub(crate) fn cid_of(digest: &Digest) -> Cid {
    let hash = Multihash::wrap(SHA2_256, digest);
    Cid::new_v1(DAG_CBOR, hash.expect("32 bytes fit"))
}

/// Returns the first link after `label` in a block of DAG-CBOR.
pub(crate) fn link_behind<'a>(block: &'a [u8], label: &[u8]) -> Option<&'a Digest> {
    let at = block
        .windows(label.len())
        .position(|bytes| bytes == label)?;
    take_link(&mut &block[at + label.len()..])
}

fn take(rest: &mut &[u8], expected: &[u8]) -> Option<()> {
    *rest = rest.strip_prefix(expected)?;
    Some(())
}

fn take_link<'a>(rest: &mut &'a [u8]) -> Option<&'a Digest> {
    take(rest, LINK)?;
    let (digest, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(digest)
}

/// Takes the head of a CBOR item of one of the major types below, with a number under 65,536.
fn take_head(rest: &mut &[u8], major: u8) -> Option<usize> {
    let (&first, after) = rest.split_first()?;
    let (number, after) = match first.checked_sub(major)? {
        number @ 0..0x18 => (usize::from(number), after),
        0x18 => {
            let (&number, after) = after.split_first()?;
            (usize::from(number), after)
        }
        0x19 => {
            let (number, after) = after.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*number)), after)
        }
        _ => return None,
    };
    *rest = after;
    Some(number)
}

#[expect(clippy::cast_possible_truncation, reason = "each arm's range fits")]
fn push_head(block: &mut Vec<u8>, major: u8, number: usize) {
    match number {
        0..0x18 => block.push(major | number as u8),
        0x18..0x100 => block.extend([major | 0x18, number as u8]),
        _ => {
            block.push(major | 0x19);
            block.extend((number as u16).to_be_bytes());
        }
    }
}

fn push_link(block: &mut Vec<u8>, digest: Option<&Digest>) {
    match digest {
        Some(digest) => {
            block.extend_from_slice(LINK);
            block.extend_from_slice(digest);
        }
        None => block.extend_from_slice(NULL),
    }
}

/// How every node begins: a map of two, whose first field is `e`.
pub(crate) const START: &[u8] = b"\xa2\x61e";
/// What follows the field name in a link: tag 42, 37 bytes, the byte that says that it is binary,
/// and the 4 before the digest of a CID of DAG-CBOR.
const LINK: &[u8] = b"\xd8\x2a\x58\x25\x00\x01\x71\x12\x20";
const NULL: &[u8] = b"\xf6";
const NO_LEFT: &[u8] = b"\x61l\xf6";
const UNSIGNED: u8 = 0x00;
const BYTES: u8 = 0x40;
const ARRAY: u8 = 0x80;
const DIGEST_LEN: usize = 32;
/// A node without its entries, and the most that a number takes.
const ENDS_LEN: usize = START.len() + 3 + 2 + LINK.len() + DIGEST_LEN;
const DAG_CBOR: u64 = 0x71;
const SHA2_256: u64 = 0x12;

/// What checks the others must be right itself.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_node_is_that_of_every_implementation() {
        let block = encode(None, 0, &[]);
        let cid = cid_of(&Sha256::digest(&block).into());
        assert_eq!(
            cid.to_string(),
            "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"
        );
    }

    #[test]
    fn heights_are_those_of_the_published_vectors() {
        let heights = [("", 0), ("blue", 1), ("app.bsky.feed.post/454397e440ec", 4)];
        for (key, height) in heights {
            assert_eq!(height_of(key.as_bytes()), height, "{key}");
        }
        assert_eq!(height_of(b"app.bsky.feed.post/9adeb165882c"), 8);
    }

    #[test]
    fn what_is_encoded_decodes() {
        let (left, value, right) = ([1; 32], [2; 32], [3; 32]);
        let long = [b'x'; 300];
        let entries = [
            Entry {
                prefix_len: 0,
                suffix: b"key",
                value: &value,
                right: None,
            },
            Entry {
                prefix_len: 3,
                suffix: &long,
                value: &right,
                right: Some(&right),
            },
            Entry {
                prefix_len: 303,
                suffix: &long[..30],
                value: &left,
                right: None,
            },
        ];
        let mut encoded = Vec::new();
        for entry in &entries {
            encode_entry(entry, &mut encoded);
        }
        for left in [None, Some(&left)] {
            let block = encode(left, entries.len(), &encoded);
            let node = Node::decode(&block).unwrap();
            assert_eq!((node.left, node.len), (left, 3));
            assert_eq!(node.collect::<Vec<_>>(), entries);
            let cut = Node::decode(&block[..60]).unwrap();
            assert!(cut.count() < 3, "an entry that is cut short is none");
        }
    }
}
