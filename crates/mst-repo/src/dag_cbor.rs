//! A strict reader of DAG-CBOR, item by item.
//!
//! `serde_ipld_dagcbor` decodes into types, and is not strict everywhere: it accepts indefinite
//! lengths in keys and links, and anything in fields that a type does not have. So commits,
//! messages and records from untrusted sources are checked with this reader first. It also serves
//! to print a record as it is, with its fields in the order of the block, at any depth.
//!
//! Nothing is copied, nothing recurses, and memory is bounded by the depth.
//!
//! Source: <https://ipld.io/specs/codecs/dag-cbor/spec/#strictness>

use blockstore_core::{Cid, CidBytes};

/// A piece of a block.
#[derive(Debug, Clone, PartialEq)]
pub enum Token<'b> {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// From -2^64 to 2^64 - 1.
    Integer(i128),
    /// A finite number of 64 bits, not minus zero. The data model of atproto does not have these.
    Float(f64),
    /// Text, UTF-8.
    Text(&'b str),
    /// Bytes.
    Bytes(&'b [u8]),
    /// A link.
    Link(Cid),
    /// The beginning of a list.
    List,
    /// The beginning of a map.
    Map,
    /// The key of the value that follows, in a map.
    Key(&'b str),
    /// The end of the innermost open list.
    EndList,
    /// The end of the innermost open map.
    EndMap,
}

impl Token<'_> {
    /// Whether it is a value or a key, rather than an end.
    pub(crate) fn is_item(&self) -> bool {
        !matches!(self, Self::EndList | Self::EndMap)
    }
}

/// Why a block cannot be read, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {why}")]
#[non_exhaustive]
pub struct InvalidDagCbor {
    /// The offset of the fault, counted from 0.
    pub offset: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// Reads a block from front to back.
///
/// # Examples
///
/// ```
/// use mst_repo::dag_cbor::{Reader, Token};
///
/// let mut reader = Reader::new(b"\xa1\x64text\x65Hello");
/// let mut texts = Vec::new();
/// while let Some(token) = reader.next_token()? {
///     if let Token::Key(text) | Token::Text(text) = token {
///         texts.push(text);
///     }
/// }
/// reader.end()?;
/// assert_eq!(texts, ["text", "Hello"]);
/// # Ok::<(), mst_repo::dag_cbor::InvalidDagCbor>(())
/// ```
#[derive(Debug, Clone)]
pub struct Reader<'b> {
    block: &'b [u8],
    at: usize,
    /// The lists and maps that are still open, the innermost last.
    open: Vec<Open<'b>>,
    max_depth: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    NotBegun,
    Begun,
    Failed(InvalidDagCbor),
}

#[derive(Debug, Clone)]
struct Open<'b> {
    /// How many items are left; a key and its value are two.
    left: u64,
    kind: Kind<'b>,
}

#[derive(Debug, Clone, Copy)]
enum Kind<'b> {
    List,
    Map {
        /// The previous key.
        previous: Option<&'b str>,
    },
}

impl<'b> Reader<'b> {
    /// How deep lists and maps may be nested, unless the caller sets another limit.
    pub const MAX_DEPTH: usize = 4_096;

    /// Reads `block`, in which lists and maps may be nested [`MAX_DEPTH`](Self::MAX_DEPTH) deep.
    pub fn new(block: &'b [u8]) -> Self {
        Self::with_depth(block, Self::MAX_DEPTH)
    }

    /// Reads `block`, in which lists and maps may be nested `max_depth` deep.
    pub fn with_depth(block: &'b [u8], max_depth: usize) -> Self {
        Self {
            block,
            at: 0,
            open: Vec::new(),
            max_depth,
            state: State::NotBegun,
        }
    }

    /// Returns how many bytes have been read so far, which is where the next piece begins.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Returns the next piece of the item at the start of the block, or `None` after its last.
    ///
    /// # Errors
    ///
    /// [`InvalidDagCbor`]; every later call returns it again.
    pub fn next_token(&mut self) -> Result<Option<Token<'b>>, InvalidDagCbor> {
        if let State::Failed(invalid) = self.state {
            return Err(invalid);
        }
        let token = self.read_token();
        if let Err(invalid) = token {
            self.state = State::Failed(invalid);
        }
        token
    }

    fn read_token(&mut self) -> Result<Option<Token<'b>>, InvalidDagCbor> {
        let Some(open) = self.open.last_mut() else {
            if self.state == State::Begun {
                return Ok(None);
            }
            self.state = State::Begun;
            return self.item().map(Some);
        };
        let Some(left) = open.left.checked_sub(1) else {
            let end = match open.kind {
                Kind::Map { .. } => Token::EndMap,
                Kind::List => Token::EndList,
            };
            self.open.pop();
            return Ok(Some(end));
        };
        open.left = left;
        match open.kind {
            Kind::Map { previous } if left % 2 == 1 => self.key(previous).map(Some),
            _ => self.item().map(Some),
        }
    }

    /// Reads to the end, and checks that nothing follows it.
    ///
    /// # Errors
    ///
    /// [`InvalidDagCbor`], if the rest is not DAG-CBOR, or something follows it.
    pub fn end(mut self) -> Result<(), InvalidDagCbor> {
        while self.next_token()?.is_some() {}
        if self.at == self.block.len() {
            return Ok(());
        }
        Err(self.wrong("something follows the end"))
    }

    fn key(&mut self, previous: Option<&'b str>) -> Result<Token<'b>, InvalidDagCbor> {
        let start = self.at;
        let wrong = |why| Err(InvalidDagCbor { offset: start, why });
        let (TEXT, len) = self.head()? else {
            return wrong("a key that is not text");
        };
        let key = self.text(len)?;
        let rank = |key: &'b str| (key.len(), key);
        if let Some(previous) = previous {
            if rank(key) == rank(previous) {
                return wrong("a duplicate key");
            }
            if rank(key) < rank(previous) {
                return wrong("a key that is out of order");
            }
        }
        if let Some(open) = self.open.last_mut() {
            let previous = Some(key);
            open.kind = Kind::Map { previous };
        }
        Ok(Token::Key(key))
    }

    fn item(&mut self) -> Result<Token<'b>, InvalidDagCbor> {
        let start = self.at;
        let wrong = |why| Err(InvalidDagCbor { offset: start, why });
        if let Some(simple) = self.simple() {
            return simple;
        }
        let (kind, number) = self.head()?;
        Ok(match kind {
            UNSIGNED => Token::Integer(number.into()),
            NEGATIVE => Token::Integer(-1 - i128::from(number)),
            BYTES => Token::Bytes(self.take(number)?),
            TEXT => Token::Text(self.text(number)?),
            LIST => {
                self.enter(start, number, Kind::List)?;
                Token::List
            }
            MAP => {
                let Some(items) = number.checked_mul(2) else {
                    return wrong("a map with more fields than the block has bytes");
                };
                self.enter(start, items, Kind::Map { previous: None })?;
                Token::Map
            }
            _ if number != LINK_TAG => return wrong("a tag other than 42, the tag of a link"),
            _ => Token::Link(self.link()?),
        })
    }

    /// Simple values, and what looks like one but is not allowed in DAG-CBOR.
    fn simple(&mut self) -> Option<Result<Token<'b>, InvalidDagCbor>> {
        let token = match *self.block.get(self.at)? {
            0xf4 => Token::Bool(false),
            0xf5 => Token::Bool(true),
            0xf6 => Token::Null,
            0xfb => return Some(self.float()),
            0xf9 | 0xfa => {
                return Some(Err(
                    self.wrong("a floating-point number of fewer than 64 bits")
                ));
            }
            0xe0.. => return Some(Err(self.wrong("a value that DAG-CBOR does not have"))),
            _ => return None,
        };
        self.at += 1;
        Some(Ok(token))
    }

    fn float(&mut self) -> Result<Token<'b>, InvalidDagCbor> {
        let start = self.at;
        let bytes = self.take(9)?.last_chunk();
        let number = f64::from_be_bytes(bytes.copied().unwrap_or_default());
        if !number.is_finite() || number == 0.0 && number.is_sign_negative() {
            let why = "a floating-point number that is NaN, infinite or minus zero";
            return Err(InvalidDagCbor { offset: start, why });
        }
        Ok(Token::Float(number))
    }

    fn enter(&mut self, offset: usize, left: u64, kind: Kind<'b>) -> Result<(), InvalidDagCbor> {
        if self.open.len() == self.max_depth {
            let why = "lists and maps that are nested too deeply";
            return Err(InvalidDagCbor { offset, why });
        }
        self.open.push(Open { left, kind });
        Ok(())
    }

    fn link(&mut self) -> Result<Cid, InvalidDagCbor> {
        let start = self.at;
        let wrong = |why| InvalidDagCbor { offset: start, why };
        let (BYTES, len) = self.head()? else {
            return Err(wrong("a link that is not bytes"));
        };
        let link = self.take(len)?;
        let bytes = link.strip_prefix(&[0]);
        let bytes = bytes.ok_or_else(|| wrong("a link that does not begin with a zero byte"))?;
        // A CID may be valid and still not encoded as it would be written.
        let cid = Cid::try_from(bytes).ok();
        let cid = cid.filter(|cid| CidBytes::from(cid).as_ref() == bytes);
        cid.ok_or_else(|| wrong("a link that is not a valid CID"))
    }

    fn text(&mut self, len: u64) -> Result<&'b str, InvalidDagCbor> {
        let start = self.at;
        str::from_utf8(self.take(len)?).map_err(|error| InvalidDagCbor {
            offset: start + error.valid_up_to(),
            why: "text that is not UTF-8",
        })
    }

    /// The type of an item and its length or value, which must be in its shortest form.
    fn head(&mut self) -> Result<(u8, u64), InvalidDagCbor> {
        let start = self.at;
        let wrong = |why| InvalidDagCbor { offset: start, why };
        let [initial] = *self.take(1)? else {
            return Err(wrong("the block ends too early"));
        };
        let (len, least) = match initial & 0x1f {
            short @ 0..24 => return Ok((initial >> 5, short.into())),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            31 => return Err(wrong("an item of indefinite length")),
            _ => return Err(wrong("a reserved length code")),
        };
        let bytes = self.take(len)?.iter();
        let number = bytes.fold(0, |number, byte| number << 8 | u64::from(*byte));
        if number < least {
            return Err(wrong("a number that is not in its shortest form"));
        }
        Ok((initial >> 5, number))
    }

    fn take(&mut self, len: u64) -> Result<&'b [u8], InvalidDagCbor> {
        let rest = self.block.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let taken = taken.ok_or(InvalidDagCbor {
            offset: self.block.len(),
            why: "the block ends too early",
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn wrong(&self, why: &'static str) -> InvalidDagCbor {
        let offset = self.at;
        InvalidDagCbor { offset, why }
    }
}

// The types of items.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
/// The number of the only tag that is allowed.
const LINK_TAG: u64 = 42;

/// Why bytes are not decoded.
pub(crate) enum Refusal {
    TooManyItems { limit: usize },
    Invalid(InvalidDagCbor),
}

impl From<InvalidDagCbor> for Refusal {
    fn from(invalid: InvalidDagCbor) -> Self {
        Self::Invalid(invalid)
    }
}

/// The depth limit of `serde_ipld_dagcbor`.
pub(crate) const DECODED_DEPTH: usize = 127;

/// Checks that `block` is DAG-CBOR, of no more than `max_items` items: values, and the keys of
/// maps.
///
/// A decoder that builds values of them takes up to 1,400 bytes of memory for three bytes of input,
/// so the items of an untrusted block are counted first.
pub(crate) fn check(block: &[u8], max_items: usize) -> Result<(), Refusal> {
    check_each(block, max_items, |_| Ok(()))
}

/// Checks `block` as [`check`] does, and passes each of its tokens to `each`.
pub(crate) fn check_each<E: From<Refusal>>(
    block: &[u8],
    max_items: usize,
    each: impl FnMut(&Token<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::with_depth(block, DECODED_DEPTH);
    read_item(&mut reader, max_items, each)?;
    Ok(reader.end().map_err(Refusal::from)?)
}

/// Checks the item at `start` in `bytes` as [`check`] does, and returns where it ends.
pub(crate) fn item_end(bytes: &[u8], start: usize, max_items: usize) -> Result<usize, Refusal> {
    let mut reader = Reader::with_depth(bytes, DECODED_DEPTH);
    reader.at = start;
    read_item(&mut reader, max_items, |_| Ok::<_, Refusal>(()))?;
    Ok(reader.at)
}

fn read_item<E: From<Refusal>>(
    reader: &mut Reader<'_>,
    max_items: usize,
    mut each: impl FnMut(&Token<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut items = 0;
    while let Some(token) = reader.next_token().map_err(Refusal::from)? {
        each(&token)?;
        items += usize::from(token.is_item());
        if items > max_items {
            let limit = max_items;
            return Err(Refusal::TooManyItems { limit }.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ipld_core::ipld::Ipld;
    use mst_testkit::{Rng, SampleRepository};

    use super::*;

    fn read(block: &[u8]) -> Result<Vec<Token<'_>>, InvalidDagCbor> {
        let mut reader = Reader::new(block);
        let mut tokens = Vec::new();
        while let Some(token) = reader.next_token()? {
            tokens.push(token);
        }
        reader.end()?;
        Ok(tokens)
    }

    fn refusal(block: &[u8]) -> (usize, &'static str) {
        let unreadable = read(block).unwrap_err();
        (unreadable.offset, unreadable.why)
    }

    #[test]
    fn items_come_in_the_order_of_the_block() {
        let block = b"\xa2\x61b\x82\x01\x20\x62aa\xf6";
        let tokens = [
            Token::Map,
            Token::Key("b"),
            Token::List,
            Token::Integer(1),
            Token::Integer(-1),
            Token::EndList,
            Token::Key("aa"),
            Token::Null,
            Token::EndMap,
        ];
        assert_eq!(read(block), Ok(tokens.to_vec()));
    }

    #[test]
    fn integers_reach_from_minus_2_to_the_64_to_2_to_the_64_minus_1() {
        let most = i128::from(u64::MAX);
        assert_eq!(
            read(b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
            Ok(vec![Token::Integer(most)])
        );
        assert_eq!(
            read(b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff"),
            Ok(vec![Token::Integer(-1 - most)])
        );
    }

    #[test]
    fn each_fault_is_told_with_its_byte() {
        let cases: &[(&[u8], usize, &str)] = &[
            (b"", 0, "the block ends too early"),
            (b"\x62a", 2, "the block ends too early"),
            (b"\x81", 1, "the block ends too early"),
            (b"\x01\x02", 1, "something follows the end"),
            (b"\x18\x17", 0, "a number that is not in its shortest form"),
            (b"\x78\x01a", 0, "a number that is not in its shortest form"),
            (
                b"\x81\x98\x00",
                1,
                "a number that is not in its shortest form",
            ),
            (b"\x9f\xff", 0, "an item of indefinite length"),
            (b"\x1c", 0, "a reserved length code"),
            (b"\x62a\xff", 2, "text that is not UTF-8"),
            (b"\xa1\x01\x01", 1, "a key that is not text"),
            (b"\xa2\x61b\x01\x61a\x02", 4, "a key that is out of order"),
            (b"\xa2\x61a\x01\x61a\x02", 4, "a duplicate key"),
            (b"\xc1\x01", 0, "a tag other than 42, the tag of a link"),
            (b"\xd8\x2a\x61a", 2, "a link that is not bytes"),
            (
                b"\xd8\x2a\x41\x01",
                2,
                "a link that does not begin with a zero byte",
            ),
            (b"\xd8\x2a\x42\x00\x01", 2, "a link that is not a valid CID"),
            (b"\xf7", 0, "a value that DAG-CBOR does not have"),
            (
                b"\xfa\x3f\x80\0\0",
                0,
                "a floating-point number of fewer than 64 bits",
            ),
            (
                b"\xfb\x80\0\0\0\0\0\0\0",
                0,
                "a floating-point number that is NaN, infinite or minus zero",
            ),
            (
                b"\xfb\x7f\xf0\0\0\0\0\0\0",
                0,
                "a floating-point number that is NaN, infinite or minus zero",
            ),
        ];
        for (block, offset, why) in cases {
            assert_eq!(refusal(block), (*offset, *why), "{block:x?}");
        }
        assert_eq!(
            read(b"\xfb\x3f\xf8\0\0\0\0\0\0"),
            Ok(vec![Token::Float(1.5)])
        );
    }

    #[test]
    fn what_is_not_read_to_its_end_is_not_taken_for_read() {
        for (block, tokens) in [(b"".as_slice(), 0), (b"\x82\x01", 1), (b"\x18", 1)] {
            let mut reader = Reader::new(block);
            for _ in 0..tokens {
                let _ = reader.next_token();
            }
            let invalid = reader.clone().end().unwrap_err();
            assert_eq!(invalid.why, "the block ends too early");
            assert_eq!(reader.end(), Err(invalid));
        }
        // `end` reads the remaining tokens itself.
        let mut reader = Reader::new(b"\x82\x01\x02");
        reader.next_token().unwrap();
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        assert_eq!(refusal(b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff").0, 9);
        assert_eq!(refusal(b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff").0, 0);
        assert_eq!(refusal(b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff").0, 9);
    }

    #[test]
    fn depth_ends_at_its_limit_and_not_at_the_stack() {
        let nested = |depth: usize| [vec![0x81; depth - 1], vec![0x80]].concat();
        assert_eq!(
            read(&nested(Reader::MAX_DEPTH)).map(|tokens| tokens.len()),
            Ok(2 * Reader::MAX_DEPTH)
        );
        assert_eq!(refusal(&nested(1_000_000)).0, Reader::MAX_DEPTH);
    }

    /// The oracle: `serde_ipld_dagcbor` decodes what this reader accepts, and encodes it to the
    /// same bytes.
    #[test]
    fn what_is_accepted_another_decoder_reads_and_writes_the_same() {
        let sample = SampleRepository::generate(5, 300);
        let mut rng = Rng::new(6);
        let (mut accepted, mut refused) = (0, 0);
        for block in sample.records.values() {
            assert!(read(block).is_ok());
            for _ in 0..200 {
                let mut block = block.to_vec();
                let at = rng.below(block.len());
                block[at] = u8::try_from(rng.below(256)).unwrap();
                let canonical = serde_ipld_dagcbor::from_slice::<Ipld>(&block)
                    .is_ok_and(|value| serde_ipld_dagcbor::to_vec(&value).unwrap() == block);
                match read(&block) {
                    Ok(_) => {
                        assert!(canonical, "{block:x?}");
                        accepted += 1;
                    }
                    Err(invalid) => {
                        assert!(!canonical, "{invalid}: {block:x?}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(accepted > 1_000 && refused > 1_000, "{accepted} {refused}");
    }
}
