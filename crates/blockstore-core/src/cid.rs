//! Makes CIDs of bytes, and checks bytes against CIDs.

use std::fmt;

use cid::Cid;
use multihash_codetable::{Code, MultihashDigest};
use sha2::block_api::compress256;

use crate::StoreError;

/// Multicodec of DAG-CBOR: commits, nodes and records.
pub const DAG_CBOR: u64 = 0x71;
/// Multicodec of raw bytes: blobs.
pub const RAW: u64 = 0x55;
/// Multihash code of SHA-256, the only hash function of atproto.
pub const SHA2_256: u64 = SHA2_256_BYTE as u64;
const SHA2_256_BYTE: u8 = 0x12;

/// Length of a SHA-256 digest, in bytes.
const SHA2_256_LEN: u8 = 32;

/// Returns the CID of `block` as DAG-CBOR: CIDv1, dag-cbor, sha2-256.
///
/// # Examples
///
/// ```
/// // The empty map.
/// assert_eq!(
///     blockstore_core::dag_cbor_cid(b"\xa0").to_string(),
///     "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua",
/// );
/// ```
pub fn dag_cbor_cid(block: &[u8]) -> Cid {
    cid_of(DAG_CBOR, block)
}

/// Returns the CID of `block` as raw bytes: CIDv1, raw, sha2-256.
pub fn raw_cid(block: &[u8]) -> Cid {
    cid_of(RAW, block)
}

/// Returns the CID of `block` as bytes of multicodec `codec`: CIDv1, `codec`, sha2-256.
pub fn cid_of(codec: u64, block: &[u8]) -> Cid {
    let hash = Code::Sha2_256.wrap(&sha2_256(block));
    Cid::new_v1(codec, hash.expect("SHA-256 returns 32 bytes"))
}

/// Returns the SHA-256 of `block`: the digest in each of the CIDs above.
pub fn sha2_256(block: &[u8]) -> [u8; 32] {
    // Blocks are short. The buffer of `Sha256`, for messages that come in pieces, would take more
    // than a twentieth of the time.
    let (whole, rest) = block.as_chunks();
    let mut state = INITIAL_STATE;
    compress256(&mut state, whole);
    compress256(&mut state, pad(&mut [0; 128], rest, block.len()));
    let mut digest = [0; 32];
    let (words, _) = digest.as_chunks_mut();
    for (bytes, word) in words.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// Fills `end`, which is all zeros, with the end of a message of `len` bytes: `rest`, which is its
/// last, incomplete block, then a one bit, zeros, the length in bits.
///
/// Source: FIPS 180-4, section 5.1.1
fn pad<'e>(end: &'e mut [u8; 128], rest: &[u8], len: usize) -> &'e [[u8; 64]] {
    let one_block = rest.len() < 64 - size_of::<u64>();
    let (end, _) = end.split_at_mut(if one_block { 64 } else { 128 });
    let (start, padding) = end.split_at_mut(rest.len());
    start.copy_from_slice(rest);
    if let Some(first) = padding.first_mut() {
        *first = 0x80;
    }
    if let Some(last) = padding.last_chunk_mut() {
        *last = (len as u64 * 8).to_be_bytes();
    }
    end.as_chunks().0
}

/// The state of SHA-256 before the first block.
///
/// Source: FIPS 180-4, section 5.3.3
const INITIAL_STATE: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Returns whether [`check_block`] can verify blocks of this CID: its hash is sha2-256, with the
/// whole digest.
pub fn is_verifiable(cid: &Cid) -> bool {
    cid.hash().code() == SHA2_256 && cid.hash().size() == SHA2_256_LEN
}

/// Checks that `block` is what `cid` names.
///
/// # Errors
///
/// [`StoreError::HashMismatch`] if it is not; [`StoreError::Unverifiable`] if the CID's hash is not
/// a whole sha2-256, so that the block can be neither confirmed nor refuted.
pub fn check_block(cid: &Cid, block: &[u8]) -> Result<(), StoreError> {
    if !is_verifiable(cid) {
        return Err(StoreError::Unverifiable(*cid));
    }
    if sha2_256(block) != cid.hash().digest() {
        return Err(StoreError::HashMismatch(*cid));
    }
    Ok(())
}

/// The binary form of a CID, on the stack.
///
/// `Cid::to_bytes` allocates a vector each time; an index or a database key does not need
/// one.
///
/// # Examples
///
/// ```
/// use blockstore_core::{CidBytes, dag_cbor_cid};
///
/// let cid = dag_cbor_cid(b"\xa0");
/// assert_eq!(CidBytes::from(&cid).as_ref(), cid.to_bytes());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CidBytes {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl CidBytes {
    /// The longest that a [`Cid`] can get: a version, three varints, a digest of 64 bytes.
    pub const MAX_LEN: usize = 1 + 10 + 10 + 1 + 64;
}

impl fmt::Debug for CidBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CidBytes").field(&self.as_ref()).finish()
    }
}

impl From<&Cid> for CidBytes {
    #[inline]
    fn from(cid: &Cid) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        let len = write_common_form(cid, &mut bytes).unwrap_or_else(|| {
            let len = cid.write_bytes(bytes.as_mut_slice());
            let len = len.expect("MAX_LEN is long enough for any CID");
            u8::try_from(len).expect("MAX_LEN is less than 256")
        });
        Self { bytes, len }
    }
}

impl AsRef<[u8]> for CidBytes {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Writes the form that nearly every CID has, without the loops of varint encoding.
#[inline]
fn write_common_form(cid: &Cid, out: &mut [u8; CidBytes::MAX_LEN]) -> Option<u8> {
    const START_LEN: u8 = 4;
    let codec = u8::try_from(cid.codec()).ok().filter(|byte| *byte < 0x80)?;
    if cid.version() != cid::Version::V1 || !is_verifiable(cid) {
        return None;
    }
    let (start, rest) = out.split_first_chunk_mut()?;
    *start = [1, codec, SHA2_256_BYTE, SHA2_256_LEN];
    let digest: &[u8; SHA2_256_LEN as usize] = cid.hash().digest().try_into().ok()?;
    *rest.first_chunk_mut()? = *digest;
    Some(START_LEN + SHA2_256_LEN)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic in a test is the report")]
mod tests {
    use cid::Cid;
    use cid::multihash::Multihash;
    use sha2::{Digest, Sha256};

    use super::{CidBytes, DAG_CBOR, RAW, SHA2_256, check_block, is_verifiable, sha2_256};
    use crate::StoreError;

    #[test]
    fn cids_of_all_forms_are_written_as_the_library_does() {
        let (sha2_512, identity) = (0x13, 0);
        for codec in [RAW, DAG_CBOR, 0x7f, 0x80, 0x0129, u64::MAX] {
            for (code, len) in [
                (SHA2_256, 32),
                (SHA2_256, 20),
                (sha2_512, 64),
                (sha2_512, 32),
                (identity, 0),
            ] {
                let hash = Multihash::wrap(code, &vec![7; len]).unwrap();
                let cid = Cid::new_v1(codec, hash);
                assert_eq!(CidBytes::from(&cid).as_ref(), cid.to_bytes(), "{cid}");
            }
        }
        let cid = Cid::new_v0(Multihash::wrap(SHA2_256, &[7; 32]).unwrap()).unwrap();
        assert_eq!(CidBytes::from(&cid).as_ref(), cid.to_bytes());
    }

    #[test]
    fn what_cannot_be_computed_is_told_from_what_is_wrong() {
        let cid_of = |code, digest: &[u8]| Cid::new_v1(RAW, Multihash::wrap(code, digest).unwrap());
        let digest = sha2_256(b"block");
        let right = cid_of(SHA2_256, &digest);
        assert!(is_verifiable(&right) && check_block(&right, b"block").is_ok());
        let refused = check_block(&right, b"other").unwrap_err();
        assert!(matches!(refused, StoreError::HashMismatch(_)));
        assert_eq!(refused.cid(), Some(right));
        for unverifiable in [cid_of(SHA2_256, &digest[..20]), cid_of(0x13, &digest)] {
            let refused = check_block(&unverifiable, b"block").unwrap_err();
            assert!(matches!(refused, StoreError::Unverifiable(_)));
            assert_eq!(refused.cid(), Some(unverifiable));
        }
    }

    #[test]
    fn the_hash_is_that_of_the_library_whatever_the_length() {
        for len in 0..400 {
            for start in 0..3 {
                let block: Vec<u8> = (start..=u8::MAX).cycle().take(len).collect();
                assert_eq!(sha2_256(&block)[..], Sha256::digest(&block)[..], "{len}");
            }
        }
    }
}
