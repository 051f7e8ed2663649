//! One section of a CAR: a length, a CID, a block.

use blockstore_core::SHA2_256;

use crate::CarFault;
use crate::varint::{self, VarintFault};

/// Where the parts of a section are, counted from its first byte, where its length begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    /// Where the CID begins.
    pub(crate) cid_start: usize,
    /// Where the block begins.
    pub(crate) block_start: usize,
    /// Where the section ends.
    pub(crate) end: usize,
    /// Whether the CID's hash is sha2-256 with the whole digest, so that the CID's last 32
    /// bytes are what the block must hash to.
    pub(crate) verifiable: bool,
}

impl Section {
    /// The CID, in the bytes that the section was split from.
    #[inline]
    pub(crate) fn cid<'c>(&self, bytes: &'c [u8]) -> &'c [u8] {
        let cid = bytes.get(self.cid_start..self.block_start);
        cid.expect("a section lies inside the bytes it was split from")
    }

    /// The block, in the bytes that the section was split from.
    #[inline]
    pub(crate) fn block<'c>(&self, bytes: &'c [u8]) -> &'c [u8] {
        let block = bytes.get(self.block_start..self.end);
        block.expect("a section lies inside the bytes it was split from")
    }
}

/// What some bytes of a CAR begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    /// Nothing: there are no bytes.
    End,
    /// A part whose last bytes are missing.
    Incomplete(CutOff),
    /// A whole section.
    Section(Section),
}

/// The part that is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CutOff {
    Length,
    Body { len: u64, missing: u64 },
}

impl CutOff {
    /// The fault that this is if no more bytes come.
    pub(crate) fn fault(self) -> CarFault {
        match self {
            Self::Length => CarFault::LengthCutOff,
            Self::Body { len, missing } => CarFault::CutOff { len, missing },
        }
    }
}

/// Splits one section off the front of `bytes`. An error comes with its offset in `bytes`.
#[inline]
pub(crate) fn split(bytes: &[u8], limit: u32) -> Result<Split, (usize, CarFault)> {
    if bytes.is_empty() {
        return Ok(Split::End);
    }
    let (start, end) = match body(bytes, limit)? {
        Ok(range) => range,
        Err(cut_off) => return Ok(Split::Incomplete(cut_off)),
    };
    let body = bytes.get(start..end).unwrap_or_default();
    let (cid_len, verifiable) = cid_len(body).map_err(|fault| (start, fault))?;
    Ok(Split::Section(Section {
        cid_start: start,
        block_start: start + cid_len,
        end,
        verifiable,
    }))
}

/// Returns the CID of the section that `bytes` begin with, if all of the CID is there.
pub(crate) fn cid(bytes: &[u8]) -> Option<&[u8]> {
    let (_, start) = varint::decode(bytes).ok()?;
    let body = bytes.get(start..)?;
    let (len, _) = cid_len(body).ok()?;
    body.get(..len)
}

/// Reads the length that `bytes` begin with. Returns where the part after it begins and ends, if
/// all of it is there.
#[inline]
pub(crate) fn body(
    bytes: &[u8],
    limit: u32,
) -> Result<Result<(usize, usize), CutOff>, (usize, CarFault)> {
    let (len, start) = match varint::decode(bytes) {
        Ok(decoded) => decoded,
        Err(VarintFault::Incomplete) => return Ok(Err(CutOff::Length)),
        Err(VarintFault::TooLong) => return Err((0, CarFault::LengthTooLong)),
        Err(VarintFault::NotMinimal) => return Err((0, CarFault::LengthNotMinimal)),
    };
    if len == 0 {
        return Err((0, CarFault::LengthZero));
    }
    let limit = u64::from(limit);
    if len > limit {
        return Err((0, CarFault::TooLong { len, limit }));
    }
    let there = (bytes.len() - start) as u64;
    if len > there {
        let missing = len - there;
        return Ok(Err(CutOff::Body { len, missing }));
    }
    // That many bytes are there, so it fits.
    let end = start + usize::try_from(len).unwrap_or_default();
    Ok(Ok((start, end)))
}

/// Returns the length of the CID that a section's body begins with, and whether its hash
/// is sha2-256 with the whole digest.
#[inline]
fn cid_len(body: &[u8]) -> Result<(usize, bool), CarFault> {
    const DIGEST_LEN: usize = 32;
    let start = match body {
        // A CIDv1 whose codec takes one byte, and sha2-256: nearly every one.
        [0x01, 0x00..=0x7f, 0x12, 0x20, ..] => 4,
        // A CIDv0, which is nothing but a sha2-256 multihash.
        [0x12, 0x20, ..] => 2,
        _ => return rare_cid_len(body),
    };
    if body.len() < start + DIGEST_LEN {
        return Err(too_short(body));
    }
    Ok((start + DIGEST_LEN, true))
}

#[cold]
fn rare_cid_len(body: &[u8]) -> Result<(usize, bool), CarFault> {
    /// The longest digest that a `Cid` holds.
    const MAX_DIGEST_LEN: u64 = 64;
    let mut at = 0;
    let mut number = || {
        let rest = body.get(at..).unwrap_or_default();
        let (value, len) = varint::decode(rest).map_err(|fault| match fault {
            VarintFault::Incomplete => too_short(body),
            VarintFault::TooLong | VarintFault::NotMinimal => CarFault::InvalidCid,
        })?;
        at += len;
        Ok(value)
    };
    if number()? != 1 {
        return Err(CarFault::InvalidCid);
    }
    let _codec = number()?;
    let hash = number()?;
    let digest_len = number()?;
    if digest_len > MAX_DIGEST_LEN {
        return Err(CarFault::InvalidCid);
    }
    let end = at + usize::try_from(digest_len).unwrap_or_default();
    if end > body.len() {
        return Err(too_short(body));
    }
    Ok((end, hash == SHA2_256 && digest_len == 32))
}

#[cold]
fn too_short(body: &[u8]) -> CarFault {
    CarFault::SectionTooShort {
        len: body.len() as u64,
    }
}
