//! The prefix that two keys share.

/// Returns how many bytes `left` and `right` have in common at their start.
///
/// The unit is bytes, not characters: the shared prefix may end inside a UTF-8 code point.
///
/// Source: <https://atproto.com/specs/repository#mst-structure>
///
/// # Examples
///
/// ```
/// use mst_node::shared_prefix_len;
///
/// assert_eq!(shared_prefix_len(b"abc", b"abde"), 2);
/// assert_eq!(shared_prefix_len("jalapeño".as_bytes(), "jalapeno".as_bytes()), 6);
/// ```
pub fn shared_prefix_len(left: &[u8], right: &[u8]) -> usize {
    // Eight bytes at a time: keys of a repository share about twenty.
    let (left_words, _) = left.as_chunks::<8>();
    let (right_words, _) = right.as_chunks::<8>();
    let mut len = 0;
    for (left, right) in left_words.iter().zip(right_words) {
        let difference = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        if difference != 0 {
            return len + difference.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    let (left, right) = (left.iter().skip(len), right.iter().skip(len));
    len + left.zip(right).take_while(|(l, r)| l == r).count()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a panic in a test is the report")]
mod tests {
    use super::shared_prefix_len;

    /// Vectors of `atproto-interop-tests`, `mst/common_prefix.json`.
    #[test]
    fn published_prefixes_are_computed() {
        let vectors = [
            ("", "", 0),
            ("abc", "abc", 3),
            ("", "abc", 0),
            ("abc", "", 0),
            ("ab", "abc", 2),
            ("abcde", "abc1", 3),
            ("abcde", "qbb", 0),
            ("abc", "abc\0", 3),
            ("jalape\u{f1}o", "jalapen\u{303}o", 6),
        ];
        for (left, right, len) in vectors {
            let shared = shared_prefix_len(left.as_bytes(), right.as_bytes());
            assert_eq!(shared, len, "{left:?} and {right:?}");
        }
    }

    #[test]
    fn the_first_difference_is_found_wherever_it_is() {
        let left: Vec<u8> = (0..40).collect();
        for right_len in 0..40 {
            for at in 0..right_len {
                let mut right = left[..right_len].to_vec();
                assert_eq!(shared_prefix_len(&left, &right), right_len);
                right[at] ^= 0x80;
                assert_eq!(shared_prefix_len(&left, &right), at);
                assert_eq!(shared_prefix_len(&right, &left), at);
            }
        }
    }
}
