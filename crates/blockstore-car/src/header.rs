//! The header of a CAR: `{"roots": [links], "version": 1}` in canonical DAG-CBOR.
//!
//! Source: <https://ipld.io/specs/transport/car/carv1/>

use blockstore_core::{Cid, CidBytes};

use crate::section::{self, CutOff};
use crate::{CarFault, varint};

const ROOTS: &[u8] = b"\xa2\x65roots";
const VERSION: &[u8] = b"\x67version";
/// The whole header of a CARv2.
const CAR_V2_PRAGMA: &[u8] = b"\xa1\x67version\x02";

const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const ARRAY: u8 = 4;
const LINK_TAG: [u8; 2] = [0xd8, 0x2a];

/// Encodes the header, without the length before it.
pub(crate) fn encode(roots: &[Cid]) -> Vec<u8> {
    let mut header = ROOTS.to_vec();
    put_head(&mut header, ARRAY, roots.len() as u64);
    for root in roots {
        let cid = CidBytes::from(root);
        let cid = cid.as_ref();
        header.extend_from_slice(&LINK_TAG);
        put_head(&mut header, BYTES, cid.len() as u64 + 1);
        header.push(0);
        header.extend_from_slice(cid);
    }
    header.extend_from_slice(VERSION);
    put_head(&mut header, UNSIGNED, 1);
    header
}

/// The roots that a header names, and the offset of its end.
type Header = (Vec<Cid>, usize);

/// Splits the header off the front of `bytes`, or says what of it is missing. An error comes with
/// its offset in `bytes`.
pub(crate) fn split(bytes: &[u8], limit: u32) -> Result<Result<Header, CutOff>, (usize, CarFault)> {
    let cut_off = match section::body(bytes, limit)? {
        Ok((start, end)) => {
            let roots = decode(bytes.get(start..end).unwrap_or_default());
            let roots = roots.map_err(|(at, fault)| (start + at, fault))?;
            return Ok(Ok((roots, end)));
        }
        Err(cut_off) => cut_off,
    };
    // If this is something else, perhaps a server's error message, its first byte is not a length.
    if let Ok((_, start)) = varint::decode(bytes)
        && let Some(there) = bytes.get(start..)
        && !(ROOTS.starts_with(there)
            || there.starts_with(ROOTS)
            || CAR_V2_PRAGMA.starts_with(there))
    {
        return Err((start, CarFault::Header { wanted: MAP }));
    }
    Ok(Err(cut_off))
}

/// What a header is.
const MAP: &str = "a map of `roots` and `version`";

/// Decodes the header: returns the roots, or the offset and kind of the first fault.
///
/// The parser accepts numbers in any form; that each was in its shortest is checked at the end, by
/// encoding the header again.
fn decode(header: &[u8]) -> Result<Vec<Cid>, (usize, CarFault)> {
    if header == CAR_V2_PRAGMA {
        return Err((0, CarFault::Version { found: 2 }));
    }
    let mut parser = Parser { header, at: 0 };
    parser.literal(ROOTS, MAP)?;
    let count = parser.head(ARRAY, "the array of roots")?;
    let mut roots = Vec::new();
    for _ in 0..count {
        roots.push(parser.link()?);
    }
    parser.literal(VERSION, "the field `version`")?;
    let version_at = parser.at;
    let version = parser.head(UNSIGNED, "the version number")?;
    if version != 1 {
        return Err((version_at, CarFault::Version { found: version }));
    }
    let canonical = encode(&roots);
    if header != canonical {
        let same = header.iter().zip(&canonical).take_while(|(a, b)| a == b);
        let wanted = if header.len() > parser.at {
            "the end of the header"
        } else {
            "the shortest form of a number"
        };
        return Err((same.count(), CarFault::Header { wanted }));
    }
    Ok(roots)
}

struct Parser<'h> {
    header: &'h [u8],
    at: usize,
}

impl<'h> Parser<'h> {
    fn link(&mut self) -> Result<Cid, (usize, CarFault)> {
        const WANTED: &str = "a link to a root";
        let at = self.at;
        let wrong = || (at, CarFault::Header { wanted: WANTED });
        self.literal(&LINK_TAG, WANTED)?;
        let len = self.head(BYTES, WANTED)?;
        // More than fits is more than there is.
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = self.take(len, WANTED)?;
        let bytes = bytes.strip_prefix(&[0]).ok_or_else(wrong)?;
        let cid = Cid::try_from(bytes).map_err(|_| wrong())?;
        // There are trailing bytes, or another encoding was used.
        if CidBytes::from(&cid).as_ref() != bytes {
            return Err(wrong());
        }
        Ok(cid)
    }

    fn literal(&mut self, literal: &[u8], wanted: &'static str) -> Result<(), (usize, CarFault)> {
        let at = self.at;
        if self.take(literal.len(), wanted)? == literal {
            Ok(())
        } else {
            Err((at, CarFault::Header { wanted }))
        }
    }

    /// The length or number of an item of the type `major`.
    fn head(&mut self, major: u8, wanted: &'static str) -> Result<u64, (usize, CarFault)> {
        let at = self.at;
        let wrong = (at, CarFault::Header { wanted });
        let [initial] = *self.take(1, wanted)? else {
            return Err(wrong);
        };
        let len = match initial & 0x1f {
            _ if initial >> 5 != major => return Err(wrong),
            short @ 0..=23 => return Ok(u64::from(short)),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(wrong),
        };
        let bytes = self.take(len, wanted)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn take(&mut self, len: usize, wanted: &'static str) -> Result<&'h [u8], (usize, CarFault)> {
        let rest = self.header.get(self.at..).unwrap_or_default();
        let taken = rest
            .get(..len)
            .ok_or((self.at, CarFault::Header { wanted }))?;
        self.at += len;
        Ok(taken)
    }
}

fn put_head(out: &mut Vec<u8>, major: u8, value: u64) {
    let major = major << 5;
    match value {
        0..24 => out.push(major | value.to_le_bytes()[0]),
        24..0x100 => out.extend_from_slice(&[major | 0x18, value.to_le_bytes()[0]]),
        0x100..0x1_0000 => {
            out.push(major | 0x19);
            out.extend_from_slice(&value.to_be_bytes()[6..]);
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(major | 0x1a);
            out.extend_from_slice(&value.to_be_bytes()[4..]);
        }
        _ => {
            out.push(major | 0x1b);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}
