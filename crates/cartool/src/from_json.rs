//! A record's block from its JSON, in the atproto data model: the way back of `record.rs`.
//!
//! Source: <https://atproto.com/specs/data-model>

use atproto_mst::Cid;
use data_encoding::{BASE64, BASE64_NOPAD};

use crate::dag_cbor::{BYTES, LINK_TAG, LIST, MAP, NEGATIVE, TAG, TEXT, UNSIGNED};
use crate::json_reader::{InvalidJson, JsonReader, Token};

/// Returns the DAG-CBOR of the value that `text` is: `{"$link": "cid"}` as links,
/// `{"$bytes": "base64"}` as bytes, the fields of maps in the order of DAG-CBOR.
pub(crate) fn block_of_json(text: &str) -> Result<Vec<u8>, InvalidJson> {
    let mut reader = JsonReader::new(text);
    let mut values = Values::default();
    let mut open: Vec<Open> = Vec::new();
    let mut root = 0;
    while let Some((place, token)) = reader.next()? {
        let value = match token {
            Token::Key(key) => {
                if let Some(Open::Map { fields, .. }) = open.last_mut() {
                    let value = 0;
                    fields.push(Field { key, place, value });
                }
                continue;
            }
            Token::List => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Token::Object => {
                let fields = Vec::new();
                open.push(Open::Map { fields, place });
                continue;
            }
            Token::EndList | Token::EndObject => match open.pop() {
                Some(Open::Map { fields, place }) => values
                    .of_fields(fields, place)
                    .map_err(|(place, why)| reader.wrong_at(place, why))?,
                Some(Open::List(items)) => Value::List(items),
                None => continue,
            },
            Token::Text(text) => Value::Text(text),
            Token::Integer(number) => Value::Integer(number),
            Token::Bool(value) => Value::Simple(if value { 0xf5 } else { 0xf4 }),
            Token::Null => Value::Simple(0xf6),
        };
        root = values.add(value);
        match open.last_mut() {
            Some(Open::List(items)) => items.push(root),
            Some(Open::Map { fields, .. }) => {
                if let Some(field) = fields.last_mut() {
                    field.value = root;
                }
            }
            None => {}
        }
    }
    Ok(values.encode(root))
}

/// A list or an object that is not at its end.
enum Open {
    List(Vec<usize>),
    Map { fields: Vec<Field>, place: usize },
}

struct Field {
    key: String,
    /// Where in the text the key is.
    place: usize,
    /// Which of the values it has.
    value: usize,
}

enum Value {
    Integer(i128),
    Text(String),
    Bytes(Vec<u8>),
    Link(Cid),
    List(Vec<usize>),
    /// The fields are in their order.
    Map(Vec<Field>),
    /// One byte that stands for itself.
    Simple(u8),
}

/// The values, each known by its number: so there is no recursion, however deep they nest.
#[derive(Default)]
struct Values(Vec<Value>);

impl Values {
    fn add(&mut self, value: Value) -> usize {
        self.0.push(value);
        self.0.len() - 1
    }

    /// What an object stands for. If it cannot be, the error is where and why.
    fn of_fields(
        &self,
        mut fields: Vec<Field>,
        place: usize,
    ) -> Result<Value, (usize, &'static str)> {
        fields.sort_by(|a, b| (a.key.len(), &a.key).cmp(&(b.key.len(), &b.key)));
        let mut pairs = fields.iter().zip(fields.iter().skip(1));
        if let Some((_, again)) = pairs.find(|(one, other)| one.key == other.key) {
            return Err((again.place, "a key for the second time"));
        }
        let mut keys = fields.iter().map(|field| field.key.as_str());
        let Some(reserved) = keys.find(|key| matches!(*key, "$link" | "$bytes")) else {
            return Ok(Value::Map(fields));
        };
        let [field] = &*fields else {
            return Err((place, "other fields beside `$link` or `$bytes`"));
        };
        let Some(Value::Text(text)) = self.0.get(field.value) else {
            return Err((place, "a `$link` or `$bytes` that is not text"));
        };
        if reserved == "$bytes" {
            let padded = text.ends_with('=');
            let base64 = if padded { BASE64 } else { BASE64_NOPAD };
            let bytes = base64.decode(text.as_bytes()).ok();
            return bytes
                .map(Value::Bytes)
                .ok_or((place, "bytes that are not base64"));
        }
        // Of the many spellings of a CID, the one in which it would be printed.
        let cid = Cid::try_from(text.as_str()).ok();
        let cid = cid.filter(|cid| cid.to_string() == *text);
        cid.map(Value::Link)
            .ok_or((place, "a link that is not a valid CID"))
    }

    /// Encodes the value with this number.
    fn encode(&self, root: usize) -> Vec<u8> {
        enum Piece<'v> {
            Key(&'v str),
            Value(usize),
        }
        let mut block = Vec::new();
        // What is still to come, the next thing last.
        let mut pieces = vec![Piece::Value(root)];
        while let Some(piece) = pieces.pop() {
            let value = match piece {
                Piece::Key(key) => {
                    push_text(&mut block, key);
                    continue;
                }
                Piece::Value(value) => self.0.get(value),
            };
            match value {
                Some(Value::Integer(number)) => push_integer(&mut block, *number),
                Some(Value::Text(text)) => push_text(&mut block, text),
                Some(Value::Bytes(bytes)) => push_bytes(&mut block, bytes),
                Some(Value::Link(cid)) => {
                    push_head(&mut block, TAG, LINK_TAG);
                    push_bytes(&mut block, &[&[0], &*cid.to_bytes()].concat());
                }
                Some(Value::List(items)) => {
                    push_head(&mut block, LIST, items.len() as u64);
                    pieces.extend(items.iter().rev().map(|item| Piece::Value(*item)));
                }
                Some(Value::Map(fields)) => {
                    push_head(&mut block, MAP, fields.len() as u64);
                    for field in fields.iter().rev() {
                        pieces.push(Piece::Value(field.value));
                        pieces.push(Piece::Key(&field.key));
                    }
                }
                Some(Value::Simple(byte)) => block.push(*byte),
                None => {}
            }
        }
        block
    }
}

fn push_integer(block: &mut Vec<u8>, number: i128) {
    let (kind, number) = if number < 0 {
        (NEGATIVE, -1 - number)
    } else {
        (UNSIGNED, number)
    };
    let number = u64::try_from(number);
    push_head(
        block,
        kind,
        number.expect("the reader holds numbers to 64 bits and a sign"),
    );
}

fn push_text(block: &mut Vec<u8>, text: &str) {
    push_head(block, TEXT, text.len() as u64);
    block.extend_from_slice(text.as_bytes());
}

fn push_bytes(block: &mut Vec<u8>, bytes: &[u8]) {
    push_head(block, BYTES, bytes.len() as u64);
    block.extend_from_slice(bytes);
}

/// The type of an item and its length or value, in the shortest form.
fn push_head(block: &mut Vec<u8>, kind: u8, number: u64) {
    let bytes = number.to_be_bytes();
    let (code, skipped) = match number {
        0..24 => {
            // Less than 24, so the last byte is all of it.
            block.extend(bytes.last().map(|short| kind << 5 | short));
            return;
        }
        24..0x100 => (24, 7),
        0x100..0x1_0000 => (25, 6),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 0),
    };
    block.push(kind << 5 | code);
    block.extend(bytes.iter().skip(skipped));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ipld_core::ipld::Ipld;
    use mst_testkit::{Rng, SampleRepository};

    use super::*;
    use crate::json::{JsonWriter, Layout};
    use crate::record::ReadableRecord;

    fn refusal(text: &str) -> (usize, usize, &'static str) {
        let invalid = block_of_json(text).unwrap_err();
        (invalid.line, invalid.column, invalid.why)
    }

    /// Prints a block and reads it back, in both layouts.
    fn comes_back(block: &[u8]) {
        let record = ReadableRecord::new(block).unwrap();
        for layout in [Layout::Indented, Layout::Line] {
            let mut text = Vec::new();
            let mut json = JsonWriter::new(&mut text, layout);
            record.write(&mut json).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert_eq!(block_of_json(&text).as_deref(), Ok(block), "{text}");
        }
    }

    #[test]
    fn fields_are_put_in_the_order_of_dag_cbor() {
        let block = block_of_json(r#"{"aa": 1, "b": 2, "ab": {"": null}}"#);
        let expected = b"\xa3\x61b\x02\x62aa\x01\x62ab\xa1\x60\xf6";
        assert_eq!(block.as_deref(), Ok(expected.as_slice()));
    }

    #[test]
    fn bytes_may_be_padded_and_must_be_base64() {
        for text in [r#"{"$bytes": "+/8"}"#, r#"{"$bytes": "+/8="}"#] {
            assert_eq!(
                block_of_json(text).as_deref(),
                Ok(b"\x42\xfb\xff".as_slice())
            );
        }
        // Bits behind the end, the alphabet of URLs, a space, half a byte.
        for wrong in ["+/9", "-_8", "+/ 8", "+", "+/8=="] {
            let text = format!("[{{\"$bytes\": \"{wrong}\"}}]");
            assert_eq!(
                refusal(&text),
                (1, 2, "bytes that are not base64"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_stands_for_links_and_bytes_stands_for_nothing_else() {
        let no_cid = "a link that is not a valid CID";
        let cid = atproto_mst::raw_cid(b"").to_string();
        assert_eq!(refusal(r#"{"$link": "bafy"}"#), (1, 1, no_cid));
        let shouted = format!("{{\"$link\": \"{}\"}}", cid.to_uppercase());
        assert_eq!(refusal(&shouted), (1, 1, no_cid));
        let not_text = "a `$link` or `$bytes` that is not text";
        assert_eq!(refusal("{\"a\":\n {\"$link\": 1}}"), (2, 2, not_text));
        let others = "other fields beside `$link` or `$bytes`";
        let text = format!(r#"{{"a": 1, "$link": "{cid}"}}"#);
        assert_eq!(refusal(&text), (1, 1, others));
    }

    #[test]
    fn a_key_that_comes_twice_is_pointed_at() {
        let text = "{\"a\": 1, \"b\": {\"a\": 1},\n \"\\u0061\": 2}";
        assert_eq!(refusal(text), (2, 2, "a key for the second time"));
    }

    #[test]
    fn all_records_of_the_samples_come_back() {
        let mut count = 0;
        for seed in 0..5 {
            for block in SampleRepository::generate(seed, 400).records.values() {
                comes_back(block);
                count += 1;
            }
        }
        assert!(count > 1_900, "{count}");
    }

    #[test]
    fn deep_records_come_back() {
        let depth = crate::dag_cbor::MAX_DEPTH;
        let lists = [vec![0x81; depth - 1], vec![0x80]].concat();
        comes_back(&lists);
    }

    #[test]
    fn whatever_the_data_model_has_comes_back() {
        let mut rng = Rng::new(8);
        for _ in 0..2_000 {
            let value = anything(&mut rng, 4);
            comes_back(&serde_ipld_dagcbor::to_vec(&value).unwrap());
        }
    }

    fn anything(rng: &mut Rng, depth: usize) -> Ipld {
        match rng.below(if depth == 0 { 6 } else { 8 }) {
            0 => Ipld::Null,
            1 => Ipld::Bool(rng.below(2) == 0),
            2 => {
                let number = i128::from(rng.next_u64() >> (1 + rng.below(63)));
                Ipld::Integer(if rng.below(2) == 0 {
                    number
                } else {
                    -1 - number
                })
            }
            3 => Ipld::String(any_text(rng)),
            4 => {
                let len = rng.below(300);
                Ipld::Bytes((0..len).map(|_| rng.next_u64().to_le_bytes()[0]).collect())
            }
            5 => Ipld::Link(match rng.below(3) {
                0 => atproto_mst::raw_cid(&rng.next_u64().to_le_bytes()),
                1 => atproto_mst::dag_cbor_cid(&rng.next_u64().to_le_bytes()),
                _ => Cid::new_v0(*atproto_mst::raw_cid(&rng.next_u64().to_le_bytes()).hash())
                    .unwrap(),
            }),
            6 => {
                let len = rng.below(30);
                Ipld::List((0..len).map(|_| anything(rng, depth - 1)).collect())
            }
            _ => {
                let len = rng.below(30);
                let fields = (0..len).map(|_| (any_text(rng), anything(rng, depth - 1)));
                Ipld::Map(fields.collect::<BTreeMap<_, _>>())
            }
        }
    }

    fn any_text(rng: &mut Rng) -> String {
        let len = rng.below(30);
        let mut char = || match rng.below(4) {
            0 => char::from_u32(u32::try_from(rng.below(0x80)).unwrap()),
            1 => char::from_u32(u32::try_from(rng.below(0x11_0000)).unwrap()),
            _ => Some(['"', '\\', '/', 'ü', '🌳', '\u{2028}', 'a', '\u{9b}'][rng.below(8)]),
        };
        (0..len).map(|_| char().unwrap_or(' ')).collect()
    }
}
