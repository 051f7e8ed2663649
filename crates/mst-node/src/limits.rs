//! The limits above which a node is refused.

/// Size limits for nodes from untrusted sources.
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
/// let limits = mst_node::Limits {
///     entries: 200,
///     ..mst_node::Limits::default()
/// };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries in one node; 8,192 by default.
    pub entries: usize,
    /// Bytes of one key; 1 MiB by default. No repository path is longer than 830 bytes: set this to
    /// 830 if you read only repositories, so that a small block cannot expand to huge keys.
    pub key_len: usize,
    /// Bytes of all keys of one node, written out in full; 4 MiB by default. Prefix compression
    /// lets a small block expand to long keys; this bounds them, to some 210 times the block.
    /// Values above [`MAX_KEY_BYTES`](Self::MAX_KEY_BYTES) count as that.
    pub key_bytes: usize,
}

impl Limits {
    /// The maximum of [`key_bytes`](Self::key_bytes): 1 GiB, so that 32 bits hold any position in a
    /// node.
    pub const MAX_KEY_BYTES: usize = 1 << 30;

    /// No limits, for nodes that are built here: whoever reads them sets the limits.
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
