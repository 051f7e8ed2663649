//! The height of a key: which level of the tree it lives on.

use std::slice;

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

/// Returns the height of `key`: how many levels above the bottom of the tree it lives.
///
/// The height is the number of leading zero bits of `SHA-256(key)`, halved and rounded down, so it
/// lies in `0..=128`. Each level is a quarter as likely as the one below: about 3 keys in 4 have
/// height 0. Any bytes are accepted here, even none; `check_key` says whether a tree may hold
/// them.
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
    let mut block = [0; 64];
    // A walk hashes every key that it passes, and nearly all are short enough for SHA-256 to be one
    // call of its compression function.
    let zero_bits = if fill_one_block(&mut block, key).is_some() {
        let mut state = INITIAL_STATE;
        compress256(&mut state, slice::from_ref(&block));
        leading_zero_bits(state)
    } else {
        let digest = Sha256::digest(key);
        let (words, _) = digest.as_chunks();
        leading_zero_bits(words.iter().copied().map(u32::from_be_bytes))
    };
    // At most 256 bits, and half of that fits.
    u8::try_from(zero_bits / 2).unwrap_or(128)
}

fn leading_zero_bits(words: impl IntoIterator<Item = u32>) -> u32 {
    let mut zeros = 0;
    for word in words {
        zeros += word.leading_zeros();
        if word != 0 {
            break;
        }
    }
    zeros
}

/// Fills `block`, which is all zeros, with the padded message of a short key: the key, a one bit,
/// zeros, the key's length in bits. `None` if the key does not fit.
///
/// Source: FIPS 180-4, section 5.1.1
#[inline]
fn fill_one_block(block: &mut [u8; 64], key: &[u8]) -> Option<()> {
    let (message, length) = block.split_last_chunk_mut::<8>()?;
    let (place, padding) = message.split_at_mut_checked(key.len())?;
    place.copy_from_slice(key);
    *padding.first_mut()? = 0x80;
    *length = (key.len() as u64 * 8).to_be_bytes();
    Some(())
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

    /// Covers the fast path for keys of one block and the general one.
    #[test]
    fn heights_are_those_of_the_whole_hash_whatever_the_length() {
        for len in 0..200 {
            for start in 0..20 {
                let key: Vec<u8> = (start..).take(len).collect();
                let digest = Sha256::digest(&key);
                let bits = digest
                    .iter()
                    .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
                let zeros = bits.take_while(|bit| *bit == 0).count();
                assert_eq!(usize::from(height_of(&key)), zeros / 2, "{key:?}");
            }
        }
    }
}
