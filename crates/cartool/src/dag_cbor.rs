//! A strict reader of DAG-CBOR, item by item.
//!
//! Why not a value from `serde_ipld_dagcbor`: its maps lose the order of the block, it stops
//! at 128 levels, and its errors do not say at which byte. Here nothing is copied, nothing
//! recurses, and memory is bounded by the depth; the tests hold both against each other.
//!
//! Source: <https://ipld.io/specs/codecs/dag-cbor/spec/#strictness>

use atproto_mst::Cid;

/// How many lists and maps may lie inside each other.
///
/// Indented output grows with the square of the depth: this much is 32 MB of spaces, and
/// all the depth that 1 MiB allows would be a terabyte.
pub(crate) const MAX_DEPTH: usize = 4_096;

/// A piece of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token<'b> {
    Null,
    Bool(bool),
    /// From -2^64 to 2^64 - 1.
    Integer(i128),
    Text(&'b str),
    Bytes(&'b [u8]),
    Link(Cid),
    List,
    Map,
    /// The key of the value that follows, in a map.
    Key(&'b str),
    /// The end of the innermost list or map.
    EndList,
    EndMap,
}

/// Why a block cannot be read, and from which byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) offset: usize,
    pub(crate) why: &'static str,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "byte {}: {}", self.offset, self.why)
    }
}

/// Reads a block from front to back.
pub(crate) struct Reader<'b> {
    block: &'b [u8],
    at: usize,
    /// The lists and maps that are not at their end, the innermost last.
    open: Vec<Open<'b>>,
    started: bool,
}

struct Open<'b> {
    /// How many items are still to come; a key and its value are two.
    left: u64,
    kind: Kind<'b>,
}

#[derive(Clone, Copy)]
enum Kind<'b> {
    List,
    Map {
        /// The key before.
        previous: Option<&'b str>,
    },
}

impl<'b> Reader<'b> {
    pub(crate) fn new(block: &'b [u8]) -> Self {
        Self {
            block,
            at: 0,
            open: Vec::new(),
            started: false,
        }
    }

    /// Returns the next piece, or `None` behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<Token<'b>>, Unreadable> {
        let Some(open) = self.open.last_mut() else {
            if self.started {
                return self.end();
            }
            self.started = true;
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

    fn end(&self) -> Result<Option<Token<'b>>, Unreadable> {
        if self.at == self.block.len() {
            return Ok(None);
        }
        Err(self.wrong("something follows the end of the record"))
    }

    fn key(&mut self, previous: Option<&'b str>) -> Result<Token<'b>, Unreadable> {
        let start = self.at;
        let wrong = |why| Err(Unreadable { offset: start, why });
        let (TEXT, len) = self.head()? else {
            return wrong("a key that is not text");
        };
        let key = self.text(len)?;
        let rank = |key: &'b str| (key.len(), key);
        if let Some(previous) = previous {
            if rank(key) == rank(previous) {
                return wrong("a key for the second time");
            }
            if rank(key) < rank(previous) {
                return wrong("a key that is out of order");
            }
        }
        // They are what links and bytes are in JSON, so the data model reserves them.
        if matches!(key, "$link" | "$bytes") {
            return wrong("a key that is reserved for JSON");
        }
        if let Some(open) = self.open.last_mut() {
            let previous = Some(key);
            open.kind = Kind::Map { previous };
        }
        Ok(Token::Key(key))
    }

    fn item(&mut self) -> Result<Token<'b>, Unreadable> {
        let start = self.at;
        let wrong = |why| Err(Unreadable { offset: start, why });
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
            _ if number != LINK_TAG => return wrong("a tag that is not 42, that of a link"),
            _ => Token::Link(self.link()?),
        })
    }

    /// What stands for itself, and what looks so but has no place in the data model.
    fn simple(&mut self) -> Option<Result<Token<'b>, Unreadable>> {
        let token = match *self.block.get(self.at)? {
            0xf4 => Token::Bool(false),
            0xf5 => Token::Bool(true),
            0xf6 => Token::Null,
            0xf9..=0xfb => {
                let why = "a floating-point number, which the data model does not have";
                return Some(Err(self.wrong(why)));
            }
            0xe0.. => return Some(Err(self.wrong("a value that the data model does not have"))),
            _ => return None,
        };
        self.at += 1;
        Some(Ok(token))
    }

    fn enter(&mut self, offset: usize, left: u64, kind: Kind<'b>) -> Result<(), Unreadable> {
        if self.open.len() == MAX_DEPTH {
            let why = "more than 4,096 lists and maps inside each other";
            return Err(Unreadable { offset, why });
        }
        self.open.push(Open { left, kind });
        Ok(())
    }

    fn link(&mut self) -> Result<Cid, Unreadable> {
        let start = self.at;
        let wrong = |why| Unreadable { offset: start, why };
        let (BYTES, len) = self.head()? else {
            return Err(wrong("a link that is not bytes"));
        };
        let link = self.take(len)?;
        let bytes = link.strip_prefix(&[0]);
        let bytes = bytes.ok_or_else(|| wrong("a link that does not begin with a zero byte"))?;
        // Not every form of a CID that can be read is the one that would be written.
        let cid = Cid::try_from(bytes).ok();
        let cid = cid.filter(|cid| cid.to_bytes() == bytes);
        cid.ok_or_else(|| wrong("a link that is not a valid CID"))
    }

    fn text(&mut self, len: u64) -> Result<&'b str, Unreadable> {
        let start = self.at;
        str::from_utf8(self.take(len)?).map_err(|error| Unreadable {
            offset: start + error.valid_up_to(),
            why: "text that is not UTF-8",
        })
    }

    /// The type of an item and its length or value, which must be in its shortest form.
    fn head(&mut self) -> Result<(u8, u64), Unreadable> {
        let start = self.at;
        let wrong = |why| Unreadable { offset: start, why };
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

    fn take(&mut self, len: u64) -> Result<&'b [u8], Unreadable> {
        let rest = self.block.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let taken = taken.ok_or(Unreadable {
            offset: self.block.len(),
            why: "the block ends too early",
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn wrong(&self, why: &'static str) -> Unreadable {
        let offset = self.at;
        Unreadable { offset, why }
    }
}

// The types of items.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
/// The number of the one tag there is.
const LINK_TAG: u64 = 42;

#[cfg(test)]
mod tests {
    use atproto_mst::Ipld;
    use mst_testkit::{Rng, SampleRepository};

    use super::*;

    fn read(block: &[u8]) -> Result<Vec<Token<'_>>, Unreadable> {
        let mut reader = Reader::new(block);
        let mut tokens = Vec::new();
        while let Some(token) = reader.next()? {
            tokens.push(token);
        }
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
            (b"\x01\x02", 1, "something follows the end of the record"),
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
            (b"\xa2\x61a\x01\x61a\x02", 4, "a key for the second time"),
            (b"\xa1\x65$link\x61a", 1, "a key that is reserved for JSON"),
            (b"\xc1\x01", 0, "a tag that is not 42, that of a link"),
            (b"\xd8\x2a\x61a", 2, "a link that is not bytes"),
            (
                b"\xd8\x2a\x41\x01",
                2,
                "a link that does not begin with a zero byte",
            ),
            (b"\xd8\x2a\x42\x00\x01", 2, "a link that is not a valid CID"),
            (b"\xf7", 0, "a value that the data model does not have"),
        ];
        for (block, offset, why) in cases {
            assert_eq!(refusal(block), (*offset, *why), "{block:x?}");
        }
        assert_eq!(
            refusal(b"\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
            (
                0,
                "a floating-point number, which the data model does not have"
            )
        );
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
            read(&nested(MAX_DEPTH)).map(|tokens| tokens.len()),
            Ok(2 * MAX_DEPTH)
        );
        assert_eq!(refusal(&nested(1_000_000)).0, MAX_DEPTH);
    }

    /// An oracle: what this reader accepts is what `serde_ipld_dagcbor` decodes and encodes
    /// to the same bytes. It takes more: floats, reserved keys.
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
                    Err(unreadable) => {
                        let stricter = unreadable.why.contains("data model")
                            || unreadable.why.contains("reserved for JSON");
                        assert!(!canonical || stricter, "{unreadable}: {block:x?}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(accepted > 1_000 && refused > 1_000, "{accepted} {refused}");
    }
}
