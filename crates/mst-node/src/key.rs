//! Which bytes may be a key.

use crate::Limits;

/// Checks that `key` may stand in a tree: it has at least one byte and at most
/// [`Limits::key_len`].
///
/// Any such byte string is a key of the tree; it need not be UTF-8. Whether it is a repository path
/// (`collection/rkey`) is for the repository layer to check.
///
/// Source: <https://atproto.com/specs/repository#mst-structure>
///
/// # Errors
///
/// [`InvalidKey::Empty`] and [`InvalidKey::TooLong`].
///
/// # Examples
///
/// ```
/// use mst_node::{InvalidKey, Limits, check_key};
///
/// let limits = Limits::default();
/// assert_eq!(check_key(b"app.bsky.feed.post/3jqfcqzm3fo2j", &limits), Ok(()));
/// assert_eq!(check_key(b"", &limits), Err(InvalidKey::Empty));
/// ```
pub fn check_key(key: &[u8], limits: &Limits) -> Result<(), InvalidKey> {
    check_key_len(key.len(), limits)
}

/// [`check_key`] for a key whose parts are not joined yet.
pub(crate) fn check_key_len(len: usize, limits: &Limits) -> Result<(), InvalidKey> {
    let limit = limits.key_len;
    match len {
        0 => Err(InvalidKey::Empty),
        _ if len > limit => Err(InvalidKey::TooLong { len, limit }),
        _ => Ok(()),
    }
}

/// Why some bytes are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// A key has at least one byte.
    #[error("a key is empty")]
    Empty,
    /// The key is longer than the limit that the caller set.
    #[error("a key of {len} bytes is longer than the limit of {limit}")]
    TooLong {
        /// The key's length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
}
