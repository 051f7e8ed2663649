//! What a node may cost before it is refused.

/// The sizes up to which a node is accepted, for nodes that come from strangers.
///
/// The specification sets no numbers, but asks for some. These defaults are far above
/// what honest trees reach: a node of 50 entries appears in repositories of millions of
/// records, one of 100 practically never, and the longest repository path has 830 bytes.
///
/// Source: <https://atproto.com/specs/repository#security-considerations>
///
/// # Examples
///
/// ```
/// let mut limits = mst_node::Limits::default();
/// limits.entries = 200;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Entries in one node; 8,192 by default.
    pub entries: usize,
    /// Bytes of one key; 1 MiB by default. No repository path is longer than 830 bytes: set this to
    /// 830 if you read only repositories, and a small block cannot stand for huge keys.
    pub key_len: usize,
    /// Bytes of all keys of one node, written out in full; 4 MiB by default. Prefix
    /// compression lets a small block stand for long keys, and this bounds how long: to some 210
    /// times the block. No value above 1 GiB has an effect.
    pub key_bytes: usize,
}

impl Limits {
    /// For nodes that are made here: what they may cost says whoever reads them.
    pub(crate) const NONE: Self = Self {
        entries: usize::MAX,
        key_len: usize::MAX,
        key_bytes: usize::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 8_192,
            key_len: 1 << 20,
            key_bytes: 4 << 20,
        }
    }
}
