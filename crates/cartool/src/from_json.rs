//! A record's block from its JSON, in the atproto data model: the way back of `record.rs`.
//!
//! Source: <https://atproto.com/specs/data-model>

use std::collections::BTreeMap;
use std::fmt;

use atproto_mst::Cid;
use data_encoding::{BASE64, BASE64_NOPAD};
use ipld_core::ipld::Ipld;
use serde::de::{self, Deserialize, Deserializer, Error, MapAccess, SeqAccess};

/// Returns the DAG-CBOR of the value that `text` is: `{"$link": "cid"}` as links,
/// `{"$bytes": "base64"}` as bytes, the fields of maps in the order of DAG-CBOR.
pub(crate) fn block_of_json(text: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::from_slice(text).map(|value: JsonValue| value.block())
}

/// A value of the data model, as JSON has it.
#[derive(Debug)]
pub(crate) struct JsonValue(Ipld);

impl JsonValue {
    pub(crate) fn is_object(&self) -> bool {
        matches!(self.0, Ipld::Map(_))
    }

    /// The DAG-CBOR of the value.
    pub(crate) fn block(&self) -> Vec<u8> {
        serde_ipld_dagcbor::to_vec(&self.0).expect("all that JSON can be read as can be encoded")
    }
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = JsonValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the data model")
    }

    fn visit_unit<E>(self) -> Result<JsonValue, E> {
        Ok(JsonValue(Ipld::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<JsonValue, E> {
        Ok(JsonValue(Ipld::Bool(value)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<JsonValue, E> {
        Ok(JsonValue(Ipld::Integer(number.into())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<JsonValue, E> {
        let number = i64::try_from(number).map_err(|_| E::custom(NO_INTEGER))?;
        self.visit_i64(number)
    }

    /// What `serde_json` reads so: numbers with a point or an exponent, those of more than 64
    /// bits, and minus zero.
    fn visit_f64<E: Error>(self, _: f64) -> Result<JsonValue, E> {
        Err(E::custom(NO_INTEGER))
    }

    fn visit_str<E>(self, text: &str) -> Result<JsonValue, E> {
        Ok(JsonValue(Ipld::String(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<JsonValue, A::Error> {
        let mut items = Vec::new();
        while let Some(JsonValue(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(JsonValue(Ipld::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<JsonValue, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some(key) = object.next_key()? {
            if fields.contains_key(&key) {
                return Err(A::Error::custom("a key for the second time"));
            }
            let JsonValue(value) = object.next_value()?;
            fields.insert(key, value);
        }
        of_fields(fields).map(JsonValue).map_err(A::Error::custom)
    }
}

const NO_INTEGER: &str =
    "the data model has no numbers but integers, from -2^63 to 2^63 - 1 and without minus zero";

/// What an object stands for.
fn of_fields(fields: BTreeMap<String, Ipld>) -> Result<Ipld, &'static str> {
    let mut keys = fields.keys().map(String::as_str);
    let Some(reserved) = keys.find(|key| matches!(*key, "$link" | "$bytes")) else {
        return Ok(Ipld::Map(fields));
    };
    if fields.len() > 1 {
        return Err("other fields beside `$link` or `$bytes`");
    }
    let Some(Ipld::String(text)) = fields.get(reserved) else {
        return Err("a `$link` or `$bytes` that is not text");
    };
    if reserved == "$bytes" {
        let padded = text.ends_with('=');
        let base64 = if padded { BASE64 } else { BASE64_NOPAD };
        let bytes = base64.decode(text.as_bytes());
        return bytes
            .map(Ipld::Bytes)
            .map_err(|_| "bytes that are not base64");
    }
    // Of the many spellings of a CID, the one in which it would be printed.
    let cid = Cid::try_from(text.as_str()).ok();
    let cid = cid.filter(|cid| cid.to_string() == *text);
    cid.map(Ipld::Link).ok_or("a link that is not a valid CID")
}

#[cfg(test)]
mod tests {
    use mst_testkit::{Rng, SampleRepository};

    use super::*;
    use crate::json::{JsonWriter, Layout};
    use crate::record::ReadableRecord;

    /// The line, the column where reading stopped, and why.
    fn refusal(text: &str) -> (usize, usize, String) {
        let error = block_of_json(text.as_bytes()).unwrap_err();
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let place = format!(" at line {line} column {column}");
        (
            line,
            column,
            message.strip_suffix(&place).unwrap().to_owned(),
        )
    }

    /// Prints a block and reads it back, in both layouts.
    fn comes_back(block: &[u8]) {
        let record = ReadableRecord::new(block).unwrap();
        for layout in [Layout::Indented, Layout::Line] {
            let mut text = Vec::new();
            let mut json = JsonWriter::new(&mut text, layout);
            record.write(&mut json).unwrap();
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(block_of_json(&text).unwrap(), block, "{shown}");
        }
    }

    #[test]
    fn fields_are_put_in_the_order_of_dag_cbor() {
        let block = block_of_json(br#"{"aa": 1, "b": 2, "ab": {"": null}}"#);
        let expected = b"\xa3\x61b\x02\x62aa\x01\x62ab\xa1\x60\xf6";
        assert_eq!(block.unwrap(), expected);
    }

    #[test]
    fn bytes_may_be_padded_and_must_be_base64() {
        for text in [r#"{"$bytes": "+/8"}"#, r#"{"$bytes": "+/8="}"#] {
            assert_eq!(block_of_json(text.as_bytes()).unwrap(), b"\x42\xfb\xff");
        }
        // Bits behind the end, the alphabet of URLs, a space, half a byte.
        for wrong in ["+/9", "-_8", "+/ 8", "+", "+/8=="] {
            let text = format!("[{{\"$bytes\": \"{wrong}\"}}]");
            let end = text.len() - 1;
            let why = "bytes that are not base64".to_owned();
            assert_eq!(refusal(&text), (1, end, why), "{wrong}");
        }
    }

    #[test]
    fn what_stands_for_links_and_bytes_stands_for_nothing_else() {
        let no_cid = "a link that is not a valid CID";
        let not_text = "a `$link` or `$bytes` that is not text";
        let others = "other fields beside `$link` or `$bytes`";
        let cid = atproto_mst::raw_cid(b"").to_string();
        let shouted = cid.to_uppercase();
        for (text, why) in [
            (r#"{"$link": "bafy"}"#.to_owned(), no_cid),
            (format!(r#"{{"$link": "{shouted}"}}"#), no_cid),
            (r#"{"$link": 1}"#.to_owned(), not_text),
            (format!(r#"{{"a": 1, "$link": "{cid}"}}"#), others),
            (format!(r#"{{"$bytes": "", "$link": "{cid}"}}"#), others),
        ] {
            assert_eq!(refusal(&text), (1, text.len(), why.to_owned()));
            let (line, column, _) = refusal(&format!("[\n{text}]"));
            assert_eq!((line, column), (2, text.len()));
        }
    }

    #[test]
    fn a_key_that_comes_twice_is_pointed_at() {
        let text = "{\"a\": 1, \"b\": {\"a\": 1},\n \"\\u0061\": 2}";
        let twice = "a key for the second time".to_owned();
        assert_eq!(refusal(text), (2, 9, twice));
    }

    #[test]
    fn integers_reach_from_minus_2_to_the_63_to_2_to_the_63_minus_1() {
        for number in [i64::MIN, -1, 0, 7, i64::MAX] {
            let block = serde_ipld_dagcbor::to_vec(&number).unwrap();
            assert_eq!(block_of_json(number.to_string().as_bytes()).unwrap(), block);
        }
        let below = (i128::from(i64::MIN) - 1).to_string();
        let above = (i128::from(i64::MAX) + 1).to_string();
        let (far, negative) = ("9".repeat(60), format!("-{}", "9".repeat(60)));
        for text in [&*below, &above, &far, &negative, "1.0", "1e3", "-0.5", "-0"] {
            assert_eq!(refusal(&format!("[{text} ]")).2, NO_INTEGER, "{text}");
        }
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
    fn what_is_too_deep_is_refused() {
        let lists = |depth: usize| [vec![0x81; depth - 1], vec![0x80]].concat();
        comes_back(&lists(127));
        let deep = [vec![b'['; 1_000_000], vec![b']'; 1_000_000]].concat();
        let deep = String::from_utf8(deep).unwrap();
        assert_eq!(refusal(&deep).2, "recursion limit exceeded");
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
