//! What can be wrong with one node.

use crate::InvalidKey;

/// Why a block is not a node, and at which byte that shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {fault}")]
pub struct DecodeError {
    /// Offset into the block, in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub fault: DecodeFault,
}

/// What is wrong with a block that should be a node. Indexes count entries from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeFault {
    /// The block is longer than 1 GiB, which no node is.
    #[error("a block of {len} bytes")]
    BlockTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The block is cut off.
    #[error("the block ends early; bytes missing: {missing}")]
    UnexpectedEnd {
        /// How many bytes more were needed.
        missing: u64,
    },
    /// The node is complete, but the block goes on.
    #[error("bytes after the end of the node: {len}")]
    TrailingBytes {
        /// How many.
        len: usize,
    },
    /// A length or number is not in its shortest form.
    #[error("{value} is not written in its shortest form")]
    NotMinimal {
        /// The number.
        value: u64,
    },
    /// An item is of indefinite length, which DAG-CBOR does not allow.
    #[error("an item of indefinite length")]
    IndefiniteLength,
    /// The first byte of an item has a length code that CBOR reserves.
    #[error("reserved length code in {initial:#04x}")]
    ReservedLength {
        /// The byte.
        initial: u8,
    },
    /// An item is not of the type that the format requires here.
    #[error("expected {wanted}, found {found}")]
    WrongType {
        /// What should stand there.
        wanted: &'static str,
        /// What does.
        found: &'static str,
    },
    /// A map has too many or too few fields: a node has 2 (`e`, `l`), an entry 4 (`k`, `p`, `t`,
    /// `v`).
    #[error("a map of {found} fields, not {wanted}")]
    FieldCount {
        /// How many there should be.
        wanted: u64,
        /// How many there are.
        found: u64,
    },
    /// A field is missing, unknown or out of order.
    #[error("expected the field `{wanted}`")]
    FieldName {
        /// The name that should stand there.
        wanted: char,
    },
    /// The node has more entries than [`Limits::entries`](crate::Limits::entries).
    #[error("{found} entries, more than the limit of {limit}")]
    TooManyEntries {
        /// How many entries the node says it has.
        found: u64,
        /// How many are allowed.
        limit: usize,
    },
    /// A key is empty or longer than [`Limits::key_len`](crate::Limits::key_len).
    #[error("entry {index}: {fault}")]
    InvalidKey {
        /// The entry.
        index: usize,
        /// What is wrong with its key.
        fault: InvalidKey,
    },
    /// The keys together are longer than [`Limits::key_bytes`](crate::Limits::key_bytes).
    #[error("entry {index}: the keys up to here take {len} bytes, more than the limit of {limit}")]
    KeysTooLong {
        /// The entry.
        index: usize,
        /// Bytes of all keys up to this one, written out in full.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A key claims to share more bytes with the key before it than that key has.
    #[error("entry {index}: a prefix of {prefix_len} bytes, but the key before has {previous_len}")]
    PrefixTooLong {
        /// The entry.
        index: usize,
        /// How many bytes it claims to share.
        prefix_len: u64,
        /// The length of the key before it; 0 for the first.
        previous_len: usize,
    },
    /// A key shares more bytes with the key before it than it claims.
    #[error("entry {index}: a prefix of {prefix_len} bytes, but {shared_len} are shared")]
    PrefixTooShort {
        /// The entry.
        index: usize,
        /// How many bytes it claims to share.
        prefix_len: usize,
        /// How many it does share.
        shared_len: usize,
    },
    /// A key does not come after the key before it.
    #[error("entry {index}: the key is not greater than the one before")]
    KeyOrder {
        /// The entry.
        index: usize,
    },
    /// A tag that is not 42, the tag of a link.
    #[error("tag {found}, where only a link (tag 42) is allowed")]
    NotALink {
        /// The tag.
        found: u64,
    },
    /// The bytes of a link do not begin with a zero byte.
    #[error("a link that does not begin with a zero byte")]
    LinkPrefix,
    /// The bytes of a link are not one whole CID.
    #[error("a link that is not a valid CID")]
    InvalidCid,
    /// A subtree is linked by a CID other than CIDv1, dag-cbor, sha2-256.
    #[error("a subtree link that is not CIDv1, dag-cbor, sha2-256")]
    SubtreeCid,
}

/// Why some parts do not make a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The key is not one that a tree may hold.
    #[error("entry {index}: its key is not valid")]
    InvalidKey {
        /// The entry, counted from 0.
        index: usize,
        /// What is wrong with its key.
        source: InvalidKey,
    },
    /// The key does not come after the one before it.
    #[error("entry {index}: the key is not greater than the one before")]
    KeyOrder {
        /// The entry, counted from 0.
        index: usize,
    },
    /// A subtree is linked by a CID other than CIDv1, dag-cbor, sha2-256.
    #[error("slot {slot}: a subtree link that is not CIDv1, dag-cbor, sha2-256")]
    SubtreeCid {
        /// The slot of the subtree, counted from 0.
        slot: usize,
    },
    /// The node's parts together would exceed 4 GiB.
    #[error("a node of more than 4 GiB")]
    TooLarge,
}

/// Two keys of one node belong on different levels of the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {index}: a key of height {height} beside keys of height {first}")]
pub struct MixedHeights {
    /// The first entry that differs from entry 0.
    pub index: usize,
    /// The height of its key.
    pub height: u8,
    /// The height of the key of entry 0.
    pub first: u8,
}
