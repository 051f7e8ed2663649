//! The height of a key: which level of the tree it lives on.

use sha2::block_api::compress256;
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
    // A walk hashes every key that it passes, and nearly all are so short that SHA-256 is one
    // call of its compression function.
    let zero_bits = match one_block(key) {
        Some(block) => {
            let mut state = INITIAL_STATE;
            compress256(&mut state, &[block]);
            leading_zero_bits(state.into_iter().flat_map(u32::to_be_bytes))
        }
        None => leading_zero_bits(Sha256::digest(key)),
    };
    // At most 256 bits, and half of that fits.
    u8::try_from(zero_bits / 2).unwrap_or(128)
}

fn leading_zero_bits(bytes: impl IntoIterator<Item = u8>) -> u32 {
    let mut zeros = 0;
    for byte in bytes {
        zeros += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    zeros
}

/// The message block of a short key: the key, a one bit, zeros, the key's length in bits.
///
/// Source: FIPS 180-4, section 5.1.1
fn one_block(key: &[u8]) -> Option<[u8; 64]> {
    let mut block = [0; 64];
    let (message, length) = block.split_last_chunk_mut::<8>()?;
    let (place, padding) = message.split_at_mut_checked(key.len())?;
    place.copy_from_slice(key);
    *padding.first_mut()? = 0x80;
    *length = (key.len() as u64 * 8).to_be_bytes();
    Some(block)
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

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::{height_of, leading_zero_bits};

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

    /// The shortcut for keys of one block, and the way of all others.
    #[test]
    fn heights_are_those_of_the_whole_hash_whatever_the_length() {
        for len in 0..200 {
            for start in 0..20 {
                let key: Vec<u8> = (start..).take(len).collect();
                let zeros = leading_zero_bits(Sha256::digest(&key));
                assert_eq!(u32::from(height_of(&key)), zeros / 2, "{key:?}");
            }
        }
    }
}
