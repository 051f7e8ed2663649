//! How much there is in some DAG-CBOR, before any of it is decoded.

/// Returns whether there are no more than `limit` items in `bytes`: numbers, texts, links, lists,
/// maps, and the keys of these.
///
/// A decoder that makes a tree of them takes up to 1,400 bytes for three, so what comes from
/// strangers is counted first. What is not DAG-CBOR is left to the decoder.
pub(crate) fn has_at_most(limit: usize, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    for _ in 0..limit {
        match after_head(rest) {
            Some(after) => rest = after,
            None => return true,
        }
    }
    rest.is_empty()
}

/// What comes behind the head of the first item, and behind its text or bytes if it has any.
/// Nothing if there is none, or it is cut off.
fn after_head(bytes: &[u8]) -> Option<&[u8]> {
    const BYTES: u8 = 2;
    const TEXT: u8 = 3;
    let (initial, rest) = bytes.split_first()?;
    let (number, rest) = match initial & 0x1f {
        short @ 0..24 => (u64::from(short), rest),
        long @ 24..28 => {
            let (number, rest) = rest.split_at_checked(1 << (long - 24))?;
            let number = number.iter();
            let number = number.fold(0, |number, byte| number << 8 | u64::from(*byte));
            (number, rest)
        }
        _ => return None,
    };
    match initial >> 5 {
        BYTES | TEXT => rest.get(usize::try_from(number).ok()?..),
        _ => Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::has_at_most;

    #[test]
    fn all_items_count_and_what_is_in_text_and_bytes_does_not() {
        for (bytes, count) in [
            (b"".as_slice(), 0),
            (b"\xf6", 1),
            // {"a": [1, -1, 256, 1.5], "bb": {}}
            (
                b"\xa2\x61a\x84\x01\x20\x19\x01\x00\xfb\x3f\xf8\0\0\0\0\0\0\x62bb\xa0",
                9,
            ),
            // A link, which is a tag and bytes, and a text of 24 bytes.
            (
                b"\x82\xd8\x2a\x43\x00\x01\x02\x78\x18aaaaaaaaaaaaaaaaaaaaaaaa",
                4,
            ),
            (&[b"\x59\x01\x2c".as_slice(), &[0xa0; 300]].concat(), 1),
        ] {
            assert!(has_at_most(count, bytes), "{bytes:?}");
            assert!(count == 0 || !has_at_most(count - 1, bytes), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_no_cbor_is_left_to_the_decoder() {
        for bytes in [
            b"\x61".as_slice(),
            b"\x19\x01",
            b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x9f",
        ] {
            assert!(has_at_most(1, bytes), "{bytes:?}");
        }
    }
}
