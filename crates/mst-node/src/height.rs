//! The height of a key: which level of the tree it lives on.

use sha2::{Digest, Sha256};

/// Returns the height of `key`: how many levels above the bottom of the tree it lives.
///
/// The height is the number of leading zero bits of `SHA-256(key)`, halved and rounded
/// down, so it lies in `0..=128`. Each level is a quarter as likely as the one below:
/// about 3 keys in 4 have height 0. Any bytes are a key here, none at all included;
/// [`check_key`](crate::check_key) says which of them a tree may hold.
///
/// The published test vectors call this number *height*, the specification *depth*, the
/// TypeScript implementation *layer*.
///
/// Source: <https://atproto.com/specs/repository#mst-structure>
///
/// # Examples
///
/// ```
/// assert_eq!(mst_node::height_of(b"asdf"), 0);
/// assert_eq!(mst_node::height_of(b"blue"), 1);
/// assert_eq!(mst_node::height_of(b"app.bsky.feed.post/9adeb165882c"), 8);
/// ```
pub fn height_of(key: &[u8]) -> u8 {
    let digest = Sha256::digest(key);
    let mut zero_bits = 0;
    for byte in digest {
        // At most 8 a byte and 32 bytes: 256, and half of that fits.
        zero_bits += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    u8::try_from(zero_bits / 2).unwrap_or(128)
}

#[cfg(test)]
mod tests {
    use super::height_of;

    /// Vectors of `atproto-interop-tests`, `mst/key_heights.json`.
    #[test]
    fn published_heights_are_computed() {
        let vectors: [(&str, u8); 9] = [
            ("", 0),
            ("asdf", 0),
            ("blue", 1),
            ("2653ae71", 0),
            ("88bfafc7", 2),
            ("2a92d355", 4),
            ("884976f5", 6),
            ("app.bsky.feed.post/454397e440ec", 4),
            ("app.bsky.feed.post/9adeb165882c", 8),
        ];
        for (key, height) in vectors {
            assert_eq!(height_of(key.as_bytes()), height, "{key:?}");
        }
    }
}
