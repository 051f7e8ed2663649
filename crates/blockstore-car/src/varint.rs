//! The lengths of a CAR: unsigned LEB128, at most 63 bits, in the shortest form.
//!
//! Source: <https://github.com/multiformats/unsigned-varint>

/// Nine bytes of seven bits.
pub(crate) const MAX_LEN: usize = 9;

/// Why some bytes are not a whole varint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VarintFault {
    /// More bytes must follow.
    Incomplete,
    /// It goes on after nine bytes.
    TooLong,
    /// Its last byte adds nothing.
    NotMinimal,
}

/// Reads the varint that `bytes` begin with: its value and how many bytes it takes.
#[inline]
pub(crate) fn decode(bytes: &[u8]) -> Result<(u64, usize), VarintFault> {
    // Most blocks of a repository have a few hundred bytes.
    if let [low @ 0x80..=0xff, high @ 1..=0x7f, ..] = *bytes {
        return Ok((u64::from(high) << 7 | u64::from(low & 0x7f), 2));
    }
    decode_any(bytes)
}

/// As [`decode`], without the fast path.
fn decode_any(bytes: &[u8]) -> Result<(u64, usize), VarintFault> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(MAX_LEN).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return match byte {
                0 if index > 0 => Err(VarintFault::NotMinimal),
                _ => Ok((value, index + 1)),
            };
        }
    }
    if bytes.len() < MAX_LEN {
        Err(VarintFault::Incomplete)
    } else {
        Err(VarintFault::TooLong)
    }
}

/// Appends `value`, which must have at most 63 bits.
pub(crate) fn encode(value: u64, out: &mut Vec<u8>) {
    let mut rest = value;
    while rest > 0x7f {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::{VarintFault, decode, encode};

    /// Examples of the unsigned-varint specification.
    #[test]
    fn published_varints_are_read_and_written() {
        let vectors: [(u64, &[u8]); 7] = [
            (1, &[0x01]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (255, &[0xff, 0x01]),
            (300, &[0xac, 0x02]),
            (16_384, &[0x80, 0x80, 0x01]),
            (
                (1 << 63) - 1,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            ),
        ];
        for (value, bytes) in vectors {
            assert_eq!(decode(bytes), Ok((value, bytes.len())), "{value}");
            let mut written = Vec::new();
            encode(value, &mut written);
            assert_eq!(written, bytes, "{value}");
            for cut in 0..bytes.len() {
                assert_eq!(
                    decode(&bytes[..cut]),
                    Err(VarintFault::Incomplete),
                    "{value}"
                );
            }
        }
    }

    #[test]
    fn longer_spellings_are_refused() {
        assert_eq!(decode(&[0x80, 0x00]), Err(VarintFault::NotMinimal));
        assert_eq!(decode(&[0x81, 0x80, 0x00]), Err(VarintFault::NotMinimal));
        assert_eq!(decode(&[0xff; 9]), Err(VarintFault::TooLong));
        assert_eq!(decode(&[0xff; 20]), Err(VarintFault::TooLong));
    }
}
