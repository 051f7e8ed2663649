//! Decodes nodes and refuses all but the canonical encoding. The mirror image of `encode.rs`.
//!
//! The parser works on the block itself: it builds no tree of values, and no number that it reads
//! sizes an allocation before that many bytes are known to be there.

use smallvec::SmallVec;

use crate::encode::{
    ARRAY, BYTES, ENTRY_START, LINK_TAG, NODE_START, NULL, SUBTREE_START, UNSIGNED,
};
use crate::key::check_key_len;
use crate::link::{NODE_CID_START, RAW_CID_START, SHA2_256_CID_LEN, cid_from_bytes};
use crate::prefix::shared_prefix_len;
use crate::span::{Span, position, rows_len};
use crate::{DIGEST_LEN, DecodeError, DecodeFault, Limits, Node};

const MAP: u8 = 5;
const TAG: u8 = 6;

/// A lower bound on the length of an entry: one byte of key, no subtree, the shortest valid CID as
/// its value.
const MIN_ENTRY_LEN: usize = 18;

/// No block may be longer, for the same reason as its keys.
const MAX_LEN: usize = Limits::MAX_KEY_BYTES;

impl Node {
    /// Decodes a node from its block, within the default [`Limits`].
    ///
    /// A node has exactly one encoding, and no other is accepted: canonical DAG-CBOR, both
    /// fields and all four fields of each entry present and no others, prefixes as long as
    /// they can be, keys strictly ascending, subtree links CIDv1, dag-cbor, sha2-256.
    /// Whatever this accepts, [`encode`](Self::encode) gives back byte by byte.
    ///
    /// It does not hash: the caller has to check that the block matches its CID and that all keys
    /// have one [`key_height`](Self::key_height). The `NodeStore` of `mst-ops` does both.
    ///
    /// Source: <https://atproto.com/specs/repository#mst-structure>
    ///
    /// # Errors
    ///
    /// [`DecodeError`] with the offset of the first byte that is wrong, and why.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_node::{DecodeFault, Node};
    ///
    /// assert_eq!(Node::decode(b"\xa2\x61e\x80\x61l\xf6")?, Node::empty());
    ///
    /// let cut_off = Node::decode(b"\xa2\x61e\x80\x61l").unwrap_err();
    /// assert_eq!(cut_off.fault, DecodeFault::UnexpectedEnd { missing: 1 });
    /// # Ok::<(), mst_node::DecodeError>(())
    /// ```
    pub fn decode(block: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_within(block, &Limits::default())
    }

    /// Decodes a node as [`decode`](Self::decode) does, within the caller's limits.
    ///
    /// # Errors
    ///
    /// As for [`decode`](Self::decode).
    pub fn decode_within(block: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let limits = &Limits {
            key_bytes: limits.key_bytes.min(Limits::MAX_KEY_BYTES),
            ..*limits
        };
        if block.len() > MAX_LEN {
            let len = block.len();
            return Err(DecodeError::at(0, DecodeFault::BlockTooLong { len }));
        }
        let mut parser = Parser { block, at: 0 };
        parser.map_start(NODE_START)?;
        let len = parser.entry_count(limits)?;
        // A block can lie about how many entries it has, but not about its own length.
        let room = len.min(block.len() / MIN_ENTRY_LEN + 1);
        let rows_len = rows_len(room);
        // Expanding shared prefixes makes a node's parts longer than its block, dropping the CBOR
        // framing makes them shorter. On balance they are usually a little longer.
        let mut data = Vec::with_capacity(rows_len + block.len() + room * 8);
        data.resize(rows_len, 0);
        let mut entries = SmallVec::<[Parts<'_>; 16]>::new();
        let mut previous = Previous::at(rows_len);
        for index in 0..len {
            entries.push(parser.entry(index, &mut data, &mut previous, limits)?);
        }
        parser.name(b'l')?;
        let left = parser.subtree()?;
        let trailing = block.len() - parser.at;
        if trailing > 0 {
            return Err(parser.fault(DecodeFault::TrailingBytes { len: trailing }));
        }
        let values_start = data.len() - rows_len;
        for entry in &entries {
            match <&[u8; SHA2_256_CID_LEN]>::try_from(entry.links.value) {
                // The length is known at compile time, so the copy is a few moves.
                Ok(value) => data.extend_from_slice(value),
                Err(_) => data.extend_from_slice(entry.links.value),
            }
        }
        let rights_start = data.len() - rows_len;
        for right in entries.iter().filter_map(|entry| entry.links.right) {
            data.extend_from_slice(right);
        }
        if let Some(left) = left {
            data.extend_from_slice(left);
        }
        let mut end = Span::new(0, position(values_start), position(rights_start));
        let (rows, _) = data.split_at_mut(rows_len).0.as_chunks_mut();
        for (entry, row) in entries.iter().zip(rows) {
            end.key += position(entry.key_len);
            end.value += position(entry.links.value.len());
            end.right += position(entry.links.right.map_or(0, |right| right.len()));
            *row = end.to_row();
        }
        // Shrinking takes a second allocation, which is usually not worth it.
        if data.capacity() > data.len() / 4 * 5 + 64 {
            data.shrink_to_fit();
        }
        Ok(Self::from_data(data, len))
    }
}

/// What remains of an entry once its key has been appended to the data.
struct Parts<'b> {
    key_len: usize,
    links: Links<'b>,
}

/// What an entry links to, as it stands in the block.
struct Links<'b> {
    value: &'b [u8],
    right: Option<&'b [u8; DIGEST_LEN]>,
}

/// A key as it stands in the block, and where.
struct CompressedKey<'b> {
    suffix_at: usize,
    suffix: &'b [u8],
    prefix_at: usize,
    prefix_len: u64,
}

/// What comes before a CID of 36 bytes as an entry's value: the field's name, the link's tag,
/// and the head and first byte of a byte string of 37.
const USUAL_VALUE_START: [u8; 7] = [0x61, b'v', LINK_TAG[0], LINK_TAG[1], 0x58, 0x25, 0x00];

/// What an entry's key is checked against: the key before it, as a range of `data`.
struct Previous {
    key_start: usize,
    key_len: usize,
    /// Length of all keys so far.
    keys_len: usize,
}

impl Previous {
    fn at(key_start: usize) -> Self {
        Self {
            key_start,
            key_len: 0,
            keys_len: 0,
        }
    }

    /// Checks a key and appends it to `data`, written out in full. Returns its full length.
    #[inline]
    fn append_key(
        &mut self,
        index: usize,
        key: &CompressedKey<'_>,
        data: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<usize, DecodeError> {
        let key_start = data.len();
        let previous_key = data
            .get(self.key_start..self.key_start + self.key_len)
            .unwrap_or_default();
        let prefix_len = check_prefix(index, previous_key, key.prefix_len, key.suffix)
            .map_err(|fault| DecodeError::at(key.prefix_at, fault))?;
        let key_len = prefix_len + key.suffix.len();
        let keys_len = self.keys_len + key_len;
        check_key_lens(index, key_len, keys_len, limits)
            .map_err(|fault| DecodeError::at(key.suffix_at, fault))?;
        data.extend_from_within(self.key_start..self.key_start + prefix_len);
        data.extend_from_slice(key.suffix);
        *self = Self {
            key_start,
            key_len,
            keys_len,
        };
        Ok(key_len)
    }
}

struct Parser<'b> {
    block: &'b [u8],
    at: usize,
}

impl<'b> Parser<'b> {
    #[inline]
    fn entry(
        &mut self,
        index: usize,
        data: &mut Vec<u8>,
        previous: &mut Previous,
        limits: &Limits,
    ) -> Result<Parts<'b>, DecodeError> {
        if let Some((key, links)) = self.usual_entry() {
            let key_len = previous.append_key(index, &key, data, limits)?;
            return Ok(Parts { key_len, links });
        }
        self.map_start(ENTRY_START)?;
        let suffix_at = self.at;
        let suffix = self.bytes()?;
        self.name(b'p')?;
        let prefix_at = self.at;
        let prefix_len = self.head(UNSIGNED)?;
        let key = CompressedKey {
            suffix_at,
            suffix,
            prefix_at,
            prefix_len,
        };
        let key_len = previous.append_key(index, &key, data, limits)?;
        self.name(b't')?;
        let right = self.subtree()?;
        self.name(b'v')?;
        let value = self.link()?;
        let links = Links { value, right };
        Ok(Parts { key_len, links })
    }

    /// The fast path: skips an entry of the most common form, with lengths below 256 and a value
    /// that is a CID of a usual form. For any other, valid or not, it returns `None`, and the
    /// caller takes the slow path, which reports exactly what is wrong.
    #[inline]
    fn usual_entry(&mut self) -> Option<(CompressedKey<'b>, Links<'b>)> {
        let at = |rest: &[u8]| self.block.len() - rest.len();
        let rest = self.block.get(self.at..)?.strip_prefix(&ENTRY_START)?;
        let suffix_at = at(rest);
        let (suffix_len, rest) = short_head(BYTES, rest)?;
        let (suffix, rest) = rest.split_at_checked(suffix_len)?;
        let rest = rest.strip_prefix(&[0x61, b'p'])?;
        let prefix_at = at(rest);
        let (prefix_len, rest) = short_head(UNSIGNED, rest)?;
        let rest = rest.strip_prefix(&[0x61, b't'])?;
        let (right, rest) = if let Some(rest) = rest.strip_prefix(&[NULL]) {
            (None, rest)
        } else {
            let rest = rest.strip_prefix(&SUBTREE_START)?;
            let (digest, rest) = rest.split_first_chunk()?;
            (Some(digest), rest)
        };
        let rest = rest.strip_prefix(&USUAL_VALUE_START)?;
        let (value, rest) = rest.split_first_chunk::<SHA2_256_CID_LEN>()?;
        if !is_common_cid(value) {
            return None;
        }
        self.at = at(rest);
        let key = CompressedKey {
            suffix_at,
            suffix,
            prefix_at,
            prefix_len: prefix_len as u64,
        };
        Some((key, Links { value, right }))
    }

    /// Skips the head of a map and the name of its first field.
    #[inline]
    fn map_start(&mut self, start: [u8; 3]) -> Result<(), DecodeError> {
        if self.skip(&start) {
            return Ok(());
        }
        let [head, _, name] = start;
        let at = self.at;
        let wanted = u64::from(head & 0x1f);
        let found = self.head(MAP)?;
        if found != wanted {
            return Err(DecodeError::at(
                at,
                DecodeFault::FieldCount { wanted, found },
            ));
        }
        self.name(name)
    }

    #[inline]
    fn name(&mut self, name: u8) -> Result<(), DecodeError> {
        if self.skip(&[0x61, name]) {
            return Ok(());
        }
        self.need(2)?;
        Err(self.fault(DecodeFault::FieldName {
            wanted: char::from(name),
        }))
    }

    fn entry_count(&mut self, limits: &Limits) -> Result<usize, DecodeError> {
        let at = self.at;
        let found = self.head(ARRAY)?;
        match usize::try_from(found) {
            Ok(len) if len <= limits.entries => Ok(len),
            _ => Err(DecodeError::at(
                at,
                DecodeFault::TooManyEntries {
                    found,
                    limit: limits.entries,
                },
            )),
        }
    }

    /// A link to a subtree, or null.
    #[inline]
    fn subtree(&mut self) -> Result<Option<&'b [u8; DIGEST_LEN]>, DecodeError> {
        if self.skip(&SUBTREE_START) {
            let digest = self.take(DIGEST_LEN as u64)?;
            return Ok(digest.try_into().ok());
        }
        if self.skip(&[NULL]) {
            return Ok(None);
        }
        let at = self.at;
        // Nothing valid can follow here; find out what is wrong.
        let fault = match self.link() {
            Ok(_) => DecodeError::at(at, DecodeFault::SubtreeCid),
            Err(error) => error,
        };
        Err(fault)
    }

    /// A link to anything: the binary CID that it holds.
    #[inline]
    fn link(&mut self) -> Result<&'b [u8], DecodeError> {
        let at = self.at;
        if !self.skip(&LINK_TAG) {
            let found = self.head(TAG)?;
            return Err(DecodeError::at(at, DecodeFault::NotALink { found }));
        }
        let at = self.at;
        let Some((0, cid)) = self.bytes()?.split_first() else {
            return Err(DecodeError::at(at, DecodeFault::LinkPrefix));
        };
        if is_common_cid(cid) || cid_from_bytes(cid).is_some() {
            Ok(cid)
        } else {
            Err(DecodeError::at(at, DecodeFault::InvalidCid))
        }
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'b [u8], DecodeError> {
        let len = self.head(BYTES)?;
        self.take(len)
    }

    /// Reads the head of an item that must have the type `major`: its length or number.
    #[inline]
    fn head(&mut self, major: u8) -> Result<u64, DecodeError> {
        let at = self.at;
        let Some(&initial) = self.block.get(at) else {
            return Err(self.fault(DecodeFault::UnexpectedEnd { missing: 1 }));
        };
        if initial >> 5 != major {
            return Err(self.wrong_type(major, initial));
        }
        self.at += 1;
        let (value, least) = match initial & 0x1f {
            short @ 0..=23 => return Ok(u64::from(short)),
            24 => (self.big_endian(1)?, 24),
            25 => (self.big_endian(2)?, 1 << 8),
            26 => (self.big_endian(4)?, 1 << 16),
            27 => (self.big_endian(8)?, 1 << 32),
            31 => return Err(DecodeError::at(at, DecodeFault::IndefiniteLength)),
            _ => return Err(DecodeError::at(at, DecodeFault::ReservedLength { initial })),
        };
        if value < least {
            return Err(DecodeError::at(at, DecodeFault::NotMinimal { value }));
        }
        Ok(value)
    }

    fn big_endian(&mut self, len: u64) -> Result<u64, DecodeError> {
        let bytes = self.take(len)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    #[inline]
    fn take(&mut self, len: u64) -> Result<&'b [u8], DecodeError> {
        self.need(len)?;
        // `need` found that many bytes, so the length is no larger than the block's.
        let end = self.at + usize::try_from(len).unwrap_or(usize::MAX - self.at);
        let bytes = self.block.get(self.at..end).unwrap_or_default();
        self.at = end;
        Ok(bytes)
    }

    #[inline]
    fn need(&self, len: u64) -> Result<(), DecodeError> {
        let rest = (self.block.len() - self.at) as u64;
        match len.checked_sub(rest) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(DecodeError::at(
                self.block.len(),
                DecodeFault::UnexpectedEnd { missing },
            )),
        }
    }

    /// Skips `literal` if it comes next.
    #[inline]
    fn skip(&mut self, literal: &[u8]) -> bool {
        let stands_here = self
            .block
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(literal));
        if stands_here {
            self.at += literal.len();
        }
        stands_here
    }

    fn fault(&self, fault: DecodeFault) -> DecodeError {
        DecodeError::at(self.at, fault)
    }

    #[cold]
    fn wrong_type(&self, wanted: u8, initial: u8) -> DecodeError {
        self.fault(DecodeFault::WrongType {
            wanted: type_name(wanted << 5),
            found: type_name(initial),
        })
    }
}

impl DecodeError {
    #[cold]
    fn at(offset: usize, fault: DecodeFault) -> Self {
        Self { offset, fault }
    }
}

/// Returns the number in the head of an item of type `major`, if it is less than 256 and in its
/// shortest form, and the bytes after the head.
#[inline]
fn short_head(major: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (initial, rest) = bytes.split_first()?;
    match initial ^ (major << 5) {
        short @ 0..24 => Some((short.into(), rest)),
        24 => {
            let (len, rest) = rest.split_first()?;
            (*len >= 24).then_some(((*len).into(), rest))
        }
        _ => None,
    }
}

/// Checks a key that is the first `prefix_len` bytes of the previous key and then `suffix`: that it
/// shares no more than these bytes, and that it comes after the previous key. Returns `prefix_len`.
///
/// If both keys go on after the prefix, the next byte of each decides both: the suffix's must be
/// the greater.
#[inline]
fn check_prefix(
    index: usize,
    previous: &[u8],
    prefix_len: u64,
    suffix: &[u8],
) -> Result<usize, DecodeFault> {
    let too_long = || DecodeFault::PrefixTooLong {
        index,
        prefix_len,
        previous_len: previous.len(),
    };
    let len = usize::try_from(prefix_len).map_err(|_| too_long())?;
    let rest = previous.get(len..).ok_or_else(too_long)?;
    match (rest.first(), suffix.first()) {
        (None, Some(_)) => Ok(len),
        (Some(old), Some(new)) if old < new => Ok(len),
        (Some(old), Some(new)) if old == new => Err(DecodeFault::PrefixTooShort {
            index,
            prefix_len: len,
            shared_len: len + shared_prefix_len(rest, suffix),
        }),
        // An empty key, which the length check reports.
        (_, None) if len == 0 => Ok(0),
        _ => Err(DecodeFault::KeyOrder { index }),
    }
}

/// Whether `bytes` are a CID of one of the two forms that atproto makes.
fn is_common_cid(bytes: &[u8]) -> bool {
    bytes.len() == SHA2_256_CID_LEN
        && (bytes.starts_with(&NODE_CID_START) || bytes.starts_with(&RAW_CID_START))
}

fn check_key_lens(
    index: usize,
    key_len: usize,
    keys_len: usize,
    limits: &Limits,
) -> Result<(), DecodeFault> {
    check_key_len(key_len, limits).map_err(|fault| DecodeFault::InvalidKey { index, fault })?;
    if keys_len > limits.key_bytes {
        return Err(DecodeFault::KeysTooLong {
            index,
            len: keys_len,
            limit: limits.key_bytes,
        });
    }
    Ok(())
}

fn type_name(initial: u8) -> &'static str {
    match (initial >> 5, initial) {
        (0, _) => "a number",
        (1, _) => "a negative number",
        (2, _) => "a byte string",
        (3, _) => "a text string",
        (4, _) => "an array",
        (5, _) => "a map",
        (6, _) => "a tag",
        (_, NULL) => "null",
        (_, 0xf4 | 0xf5) => "a boolean",
        (_, 0xf9..=0xfb) => "a float",
        _ => "a simple value",
    }
}
