//! Checks the paths of records.

use std::cmp::Ordering;
use std::fmt;

/// The maximum length of a repository path: an NSID, a slash, a record key.
pub const MAX_PATH_LEN: usize = MAX_NSID_LEN + 1 + MAX_RECORD_KEY_LEN;

/// Source: <https://atproto.com/specs/nsid>
const MAX_NSID_LEN: usize = 317;

/// Source: <https://atproto.com/specs/record-key>
const MAX_RECORD_KEY_LEN: usize = 512;

/// The path of a record in its repository: `collection/record-key`.
///
/// # Examples
///
/// ```
/// use mst_repo::{InvalidPath, RepoPath};
///
/// let path = RepoPath::parse("app.bsky.feed.post/3jzfcijpj2z2a")?;
/// assert_eq!(path.collection(), "app.bsky.feed.post");
/// assert_eq!(path.record_key(), "3jzfcijpj2z2a");
/// assert_eq!(path, RepoPath::new("app.bsky.feed.post", "3jzfcijpj2z2a")?);
///
/// let no_slash = RepoPath::parse("app.bsky.feed.post");
/// assert_eq!(no_slash, Err(InvalidPath::Segments { found: 1 }));
/// # Ok::<(), InvalidPath>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RepoPath<'p> {
    collection: &'p str,
    record_key: &'p str,
}

impl<'p> RepoPath<'p> {
    /// Makes the path of a record from its collection, an NSID, and its record key.
    ///
    /// # Errors
    ///
    /// [`InvalidPath`] with the part that is wrong and why.
    pub fn new(collection: &'p str, record_key: &'p str) -> Result<Self, InvalidPath> {
        Ok(Self {
            collection: check_nsid(collection)?,
            record_key: check_record_key(record_key)?,
        })
    }

    /// Reads a path, which has at most 830 bytes: an NSID, a slash, a record key.
    ///
    /// Source: <https://atproto.com/specs/repository#repository-paths>
    ///
    /// # Errors
    ///
    /// [`InvalidPath`] with the part that is wrong and why.
    pub fn parse(path: &'p (impl AsRef<[u8]> + ?Sized)) -> Result<Self, InvalidPath> {
        let path = path.as_ref();
        let mut segments = path.split(|byte| *byte == b'/');
        let (Some(collection), Some(record_key), None) =
            (segments.next(), segments.next(), segments.next())
        else {
            let found = path.split(|byte| *byte == b'/').count();
            return Err(InvalidPath::Segments { found });
        };
        Ok(Self {
            collection: check_nsid(collection)?,
            record_key: check_record_key(record_key)?,
        })
    }

    /// Returns the collection, an NSID: the type of the record.
    pub fn collection(&self) -> &'p str {
        self.collection
    }

    /// Returns the record key: the name of the record in its collection.
    pub fn record_key(&self) -> &'p str {
        self.record_key
    }
}

/// The order in a repository: that of the bytes of the whole paths.
impl Ord for RepoPath<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let bytes = |path: &Self| {
            let (collection, record_key) = (path.collection.bytes(), path.record_key.bytes());
            collection.chain(*b"/").chain(record_key)
        };
        bytes(self).cmp(bytes(other))
    }
}

impl PartialOrd for RepoPath<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'p> TryFrom<&'p str> for RepoPath<'p> {
    type Error = InvalidPath;

    fn try_from(path: &'p str) -> Result<Self, InvalidPath> {
        Self::parse(path)
    }
}

impl fmt::Display for RepoPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.record_key)
    }
}

/// Checks that `name` is an NSID, and returns it as text.
///
/// The specification's text caps the authority (all but the last segment) at 253
/// characters; the published vectors and all implementations cap the whole at 317 only, and
/// so does this.
///
/// Source: <https://atproto.com/specs/nsid>
///
/// # Errors
///
/// [`InvalidNsid`].
pub fn check_nsid(name: &(impl AsRef<[u8]> + ?Sized)) -> Result<&str, InvalidNsid> {
    const MAX_SEGMENT_LEN: usize = 63;
    let bytes = name.as_ref();
    if bytes.len() > MAX_NSID_LEN {
        return Err(InvalidNsid::TooLong { len: bytes.len() });
    }
    let segments = || bytes.split(|byte| *byte == b'.');
    let last = segments().count() - 1;
    for (index, segment) in segments().enumerate() {
        let (Some(start), Some(end)) = (segment.first(), segment.last()) else {
            return Err(InvalidNsid::SegmentLen { index, len: 0 });
        };
        let len = segment.len();
        if len > MAX_SEGMENT_LEN {
            return Err(InvalidNsid::SegmentLen { index, len });
        }
        let hyphens = index < last;
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || (hyphens && *b == b'-');
        if !segment.iter().all(allowed) {
            return Err(InvalidNsid::Character { index });
        }
        let starts_well = start.is_ascii_alphabetic() || (index > 0 && index < last);
        if !starts_well || *start == b'-' || *end == b'-' {
            return Err(InvalidNsid::SegmentEdge { index });
        }
    }
    if last < 2 {
        return Err(InvalidNsid::Segments { found: last + 1 });
    }
    // All bytes have been checked to be ASCII.
    str::from_utf8(bytes).map_err(|_| InvalidNsid::Character { index: 0 })
}

/// Checks that `name` is a record key, and returns it as text.
///
/// Source: <https://atproto.com/specs/record-key>
///
/// # Errors
///
/// [`InvalidRecordKey`].
pub fn check_record_key(name: &(impl AsRef<[u8]> + ?Sized)) -> Result<&str, InvalidRecordKey> {
    let bytes = name.as_ref();
    check_record_key_bytes(bytes)?;
    // All bytes have been checked to be ASCII.
    str::from_utf8(bytes).map_err(|error| InvalidRecordKey::Character {
        at: error.valid_up_to(),
    })
}

/// [`check_record_key`] for a caller who does not need the text.
pub(crate) fn check_record_key_bytes(bytes: &[u8]) -> Result<(), InvalidRecordKey> {
    let len = bytes.len();
    if len == 0 || len > MAX_RECORD_KEY_LEN {
        return Err(InvalidRecordKey::Len { len });
    }
    let allowed = |b: &u8| IN_RECORD_KEYS.get(usize::from(*b)) == Some(&true);
    if let Some(at) = bytes.iter().position(|b| !allowed(b)) {
        return Err(InvalidRecordKey::Character { at });
    }
    if matches!(bytes, b"." | b"..") {
        return Err(InvalidRecordKey::Dots);
    }
    Ok(())
}

/// Whether a byte may be in a record key. A table, as every key that is read is checked.
#[allow(clippy::indexing_slicing, reason = "it is indexed when it is compiled")]
static IN_RECORD_KEYS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'~' | b'-');
        byte += 1;
    }
    table
};

/// Why a key of a tree is not the path of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPath {
    /// A path has two segments, separated by a slash.
    #[error("segments: {found}, but a path has two, `collection/record-key`")]
    Segments {
        /// How many segments it has.
        found: usize,
    },
    /// The first segment is not an NSID.
    #[error("the collection is not an NSID")]
    Collection(#[from] InvalidNsid),
    /// The second segment is not a record key.
    #[error("the record key is not valid")]
    RecordKey(#[from] InvalidRecordKey),
}

/// Why some bytes are not an NSID. Segments are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNsid {
    /// It has more than 317 characters.
    #[error("{len} characters, more than 317")]
    TooLong {
        /// How many it has.
        len: usize,
    },
    /// It has fewer than three segments.
    #[error("segments: {found}, fewer than 3")]
    Segments {
        /// How many it has.
        found: usize,
    },
    /// A segment is empty or has more than 63 characters.
    #[error("segment {index} has {len} characters, not 1 to 63")]
    SegmentLen {
        /// The segment.
        index: usize,
        /// Its length.
        len: usize,
    },
    /// A segment has a character that it must not have.
    #[error("segment {index} has a character that is not allowed there")]
    Character {
        /// The segment.
        index: usize,
    },
    /// A segment begins or ends with a hyphen, or the first or last begins with a digit.
    #[error("segment {index} begins or ends with a character that is not allowed there")]
    SegmentEdge {
        /// The segment.
        index: usize,
    },
}

/// Why some bytes are not a record key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecordKey {
    /// It is empty or has more than 512 characters.
    #[error("{len} characters, not 1 to 512")]
    Len {
        /// How many it has.
        len: usize,
    },
    /// It has a character other than `A`-`Z`, `a`-`z`, `0`-`9`, `.`, `_`, `:`, `~`, `-`.
    #[error("the character at {at} is not allowed")]
    Character {
        /// Where, counted from 0.
        at: usize,
    },
    /// It is `.` or `..`.
    #[error("`.` and `..` are not allowed")]
    Dots,
}
