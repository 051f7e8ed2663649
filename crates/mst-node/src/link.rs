//! CIDs as a node holds them.
//!
//! A subtree link is always `CIDv1, dag-cbor, sha2-256`, so its 32-byte digest is enough to store;
//! the other bytes of the link are the same in every node.

use cid::Cid;
use cid::multihash::Multihash;
use sha2::{Digest, Sha256};

/// Length of the SHA-256 digest that names a node, in bytes.
pub const DIGEST_LEN: usize = 32;

/// What a CIDv1 with codec dag-cbor and a sha2-256 digest of 32 bytes begins with.
pub(crate) const NODE_CID_START: [u8; 4] = [0x01, 0x71, SHA2_256_BYTE, 0x20];
/// The same with codec raw.
pub(crate) const RAW_CID_START: [u8; 4] = [0x01, 0x55, SHA2_256_BYTE, 0x20];
/// Length of both in bytes, digest included.
pub(crate) const SHA2_256_CID_LEN: usize = 4 + DIGEST_LEN;

const DAG_CBOR: u64 = 0x71;
const SHA2_256: u64 = 0x12;
const SHA2_256_BYTE: u8 = 0x12;

/// Returns the CID of the node whose SHA-256 is `digest`: CIDv1, dag-cbor, sha2-256.
///
/// Source: <https://atproto.com/specs/repository#cid-formats>
#[inline]
pub fn node_cid(digest: &[u8; DIGEST_LEN]) -> Cid {
    sha2_256_cid(DAG_CBOR, digest)
}

/// Returns the digest of a CID that may name a node, which is CIDv1, dag-cbor, sha2-256
/// with the whole digest; `None` for every other form.
///
/// Source: <https://atproto.com/specs/repository#cid-formats>
#[inline]
pub fn node_digest(cid: &Cid) -> Option<&[u8; DIGEST_LEN]> {
    let hash = cid.hash();
    if cid.version() != cid::Version::V1 || cid.codec() != DAG_CBOR || hash.code() != SHA2_256 {
        return None;
    }
    hash.digest().try_into().ok()
}

/// Returns the CID of a node's bytes.
pub(crate) fn cid_of_block(block: &[u8]) -> Cid {
    node_cid(&Sha256::digest(block).into())
}

/// Returns the CID whose binary form is exactly `bytes`, if there is one.
#[inline]
pub(crate) fn cid_from_bytes(bytes: &[u8]) -> Option<Cid> {
    if let Some((start, digest)) = bytes.split_first_chunk::<4>()
        && let Ok(digest) = digest.try_into()
    {
        match *start {
            NODE_CID_START => return Some(node_cid(digest)),
            RAW_CID_START => return Some(sha2_256_cid(RAW, digest)),
            _ => {}
        }
    }
    let cid = Cid::try_from(bytes).ok()?;
    (cid.to_bytes() == bytes).then_some(cid)
}

/// Returns the length of `cid` in its binary form.
#[inline]
pub(crate) fn cid_len(cid: &Cid) -> usize {
    if common_start(cid).is_some() {
        SHA2_256_CID_LEN
    } else {
        cid.encoded_len()
    }
}

/// Appends the binary form of `cid`, [`cid_len`] bytes.
#[inline]
pub(crate) fn push_cid(bytes: &mut Vec<u8>, cid: &Cid) {
    if let Some(start) = common_start(cid) {
        bytes.extend_from_slice(start);
        bytes.extend_from_slice(cid.hash().digest());
    } else {
        cid.write_bytes(bytes)
            .expect("writing to a vector does not fail");
    }
}

/// What the binary form of `cid` begins with, before its digest, if it has one of the two forms
/// that nearly every value has.
#[inline]
fn common_start(cid: &Cid) -> Option<&'static [u8; 4]> {
    let hash = cid.hash();
    let common = cid.version() == cid::Version::V1
        && hash.code() == SHA2_256
        && hash.digest().len() == DIGEST_LEN;
    match cid.codec() {
        DAG_CBOR if common => Some(&NODE_CID_START),
        RAW if common => Some(&RAW_CID_START),
        _ => None,
    }
}

const RAW: u64 = 0x55;

#[inline]
fn sha2_256_cid(codec: u64, digest: &[u8; DIGEST_LEN]) -> Cid {
    let hash = Multihash::wrap(SHA2_256, digest);
    hash.map_or_else(
        |_| unreachable!("32 bytes fit a multihash of 64"),
        |hash| Cid::new_v1(codec, hash),
    )
}
