//! The framing of a CAR file in straight-line code, for data that this project has generated:
//! the floor reads with this, and it checks the blocks for engines that check none.

use sha2::{Digest as _, Sha256};

use crate::{Result, node::Digest};

/// Splits the whole sections off the front of some bytes of a CAR file.
#[derive(Debug)]
pub(crate) struct Sections<'a> {
    rest: &'a [u8],
}

impl<'a> Sections<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the bytes after the last whole section.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Each item is a section without its length: first the header, then a CID and its block each.
impl<'a> Iterator for Sections<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let mut len = 0;
        let mut rest = self.rest;
        for shift in (0..usize::BITS).step_by(7) {
            let (byte, after) = rest.split_first()?;
            rest = after;
            len |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (section, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(section)
    }
}

/// Splits a section after the header into the digest of its CID (CID version 1, SHA-256) and
/// its block.
#[inline]
pub(crate) fn split(section: &[u8]) -> Option<(&Digest, &[u8])> {
    section.get(CID_PREFIX.len()..)?.split_first_chunk()
}

/// Appends the header of a CAR with one root to `car`.
pub(crate) fn push_start(root: &Digest, car: &mut Vec<u8>) {
    push_len(HEADER_START.len() + root.len() + HEADER_END.len(), car);
    car.extend_from_slice(HEADER_START);
    car.extend_from_slice(root);
    car.extend_from_slice(HEADER_END);
}

/// Appends a section to `car`: its length, a CID, a block.
#[inline]
pub(crate) fn push_section(digest: &Digest, block: &[u8], car: &mut Vec<u8>) {
    push_len(CID_PREFIX.len() + digest.len() + block.len(), car);
    car.extend_from_slice(CID_PREFIX);
    car.extend_from_slice(digest);
    car.extend_from_slice(block);
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "seven bits fit a byte")]
fn push_len(mut len: usize, car: &mut Vec<u8>) {
    while len > 0x7f {
        car.push(len as u8 | 0x80);
        len >>= 7;
    }
    car.push(len as u8);
}

/// Checks that `car` is complete and that each of its blocks hashes to its CID.
///
/// # Errors
///
/// The first fault.
pub(crate) fn verify(car: &[u8]) -> Result<()> {
    let mut sections = Sections::new(car);
    for section in sections.by_ref().skip(1) {
        let (digest, block) = split(section).ok_or("a section of the CAR is too short")?;
        if Sha256::digest(block)[..] != digest[..] {
            return Err("a block of the CAR does not hash to its CID".into());
        }
    }
    if sections.rest().is_empty() {
        Ok(())
    } else {
        Err("the CAR is cut short".into())
    }
}

/// Version 1, DAG-CBOR, SHA-256, 32 bytes.
const CID_PREFIX: &[u8] = b"\x01\x71\x12\x20";
/// A map with `roots`, a list of one link.
const HEADER_START: &[u8] = b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00\x01\x71\x12\x20";
const HEADER_END: &[u8] = b"\x67version\x01";
