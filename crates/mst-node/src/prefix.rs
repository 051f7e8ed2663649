//! How much of a key its predecessor already says.

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
    left.iter().zip(right).take_while(|(l, r)| l == r).count()
}

#[cfg(test)]
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
}
