//! Values of the data model as JSON.

use std::collections::BTreeMap;
use std::fmt;

use blockstore_core::{Cid, CidBytes};
use data_encoding::BASE64_NOPAD;
use ipld_core::ipld::Ipld;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess};
use serde::ser::{self, Serialize, Serializer};

use crate::data_model::MAX_RECORD_ITEMS;
use crate::{BlobRef, InvalidRecord};

/// A value in the JSON form of atproto: links as `{"$link": "cid"}`, bytes as
/// `{"$bytes": "base64"}`, and no numbers but integers. In DAG-CBOR it is the value itself, so this
/// converts between the two. Which one is used depends on the format, by whether it is
/// human-readable, as `serde_json` is.
///
/// Both directions are strict: what could not be read back unchanged is an error, such as a map
/// with one of these two keys, or a duplicate key. Reading also refuses some values that the data
/// model forbids, and that are written all the same so that they can be looked at: a `$type` that
/// is empty or not text, an incomplete `blob`, more than 131,072 items in all. It accepts base64
/// with and without padding, and numbers such as `1.0` as integers, if they are integers of at most
/// 50 bits as far as an `f64` can tell. An object with the one key under which `serde_json` hides
/// numbers is read as a number, and no such map is written. A link or bytes nested 127 levels deep
/// are written and not read back, as `serde_json` stops at 127 levels, of which they take one.
///
/// Source: <https://atproto.com/specs/data-model>
///
/// # Examples
///
/// ```
/// use mst_repo::{Json, decode_record, encode_record};
///
/// let text = r#"{"$type":"com.example.note","raw":{"$bytes":"+/8"}}"#;
/// let record: Json = serde_json::from_str(text)?;
/// let block = encode_record(&record)?;
/// assert_eq!(block[..6], *b"\xa2\x63raw\x42");
/// let record: Json = decode_record(&block)?;
/// assert_eq!(serde_json::to_string(&record)?, text);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Json(pub Ipld);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            Part(&self.0).serialize(serializer)
        } else {
            self.0.serialize(serializer)
        }
    }
}

/// A part of a value, as JSON.
struct Part<'v>(&'v Ipld);

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = |number: &i128| i64::try_from(*number).map_err(|_| no_integer());
        match self.0 {
            Ipld::Null => serializer.serialize_unit(),
            Ipld::Bool(value) => serializer.serialize_bool(*value),
            Ipld::Integer(value) => serializer.serialize_i64(number(value)?),
            Ipld::Float(_) => Err(no_integer()),
            Ipld::String(text) => serializer.serialize_str(text),
            Ipld::Bytes(bytes) => serializer.collect_map([(BYTES, BASE64_NOPAD.encode(bytes))]),
            Ipld::Link(cid) => serializer.collect_map([(LINK, cid.to_string())]),
            Ipld::List(items) => serializer.collect_seq(items.iter().map(Part)),
            Ipld::Map(fields) => {
                if fields.contains_key(LINK) || fields.contains_key(BYTES) {
                    return Err(ser::Error::custom("a map with the key `$link` or `$bytes`"));
                }
                if fields.contains_key(NUMBER) {
                    return Err(ser::Error::custom(format_args!(
                        "a map with the key `{NUMBER}`, which is read as a number"
                    )));
                }
                serializer.collect_map(fields.iter().map(|(key, value)| (key, Part(value))))
            }
        }
    }
}

fn no_integer<E: ser::Error>() -> E {
    E::custom(NO_INTEGER)
}

const LINK: &str = "$link";
const BYTES: &str = "$bytes";

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let mut left = MAX_RECORD_ITEMS;
            Visitor { left: &mut left }.deserialize(deserializer)
        } else {
            Ipld::deserialize(deserializer).map(Self)
        }
    }
}

/// Reads JSON.
struct Visitor<'l> {
    /// How many more items are allowed. Each can take a thousand times the memory of its text.
    left: &'l mut usize,
}

impl Visitor<'_> {
    fn count_item<E: de::Error>(&mut self) -> Result<(), E> {
        let left = self.left.checked_sub(1);
        *self.left = left.ok_or_else(|| {
            let limit = MAX_RECORD_ITEMS;
            E::custom(InvalidRecord::TooManyItems { limit })
        })?;
        Ok(())
    }

    /// For a value nested in this one.
    fn inner(&mut self) -> Visitor<'_> {
        Visitor { left: self.left }
    }
}

impl<'de> DeserializeSeed<'de> for Visitor<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Json, D::Error> {
        self.count_item()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Visitor<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the data model")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json(Ipld::Null))
    }

    fn visit_none<E>(self) -> Result<Json, E> {
        Ok(Json(Ipld::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json(Ipld::Bool(value)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json(Ipld::Integer(number.into())))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Json, E> {
        let number = i64::try_from(number).map_err(|_| E::custom(NO_INTEGER))?;
        self.visit_i64(number)
    }

    /// How `serde_json` passes numbers with a point or an exponent, those of more than 64 bits, and
    /// minus zero.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Json, E> {
        /// 2^50: below this there are eight values of an `f64` per integer, and `serde_json` may
        /// have taken the neighbour of the one that was written.
        const INEXACT: f64 = 1_125_899_906_842_624.0;
        if number.fract() != 0.0 || number.abs() >= INEXACT {
            return Err(E::custom(NO_INTEGER));
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "it is an integer of 50 bits"
        )]
        self.visit_i64(number as i64)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json(Ipld::String(text.to_owned())))
    }

    /// Bytes from a format other than JSON. Serde has buffered the value, as it does for tagged
    /// enums and for `flatten`, and passes its buffer off as human-readable.
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Json, E> {
        Ok(Json(Ipld::Bytes(bytes.to_vec())))
    }

    /// Likewise: a link.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, link: D) -> Result<Json, D::Error> {
        let Ipld::Bytes(bytes) = Ipld::deserialize(link)? else {
            return Err(de::Error::custom("a link that is not bytes"));
        };
        let cid = Cid::try_from(bytes).map_err(de::Error::custom)?;
        Ok(Json(Ipld::Link(cid)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(Json(item)) = list.next_element_seed(self.inner())? {
            items.push(item);
        }
        Ok(Json(Ipld::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Json, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some(key) = object.next_key::<String>()? {
            if fields.is_empty() && [LINK, BYTES].contains(&key.as_str()) {
                // A link or bytes is one item: neither its key nor its text counts.
                *self.left += 1;
            } else {
                self.count_item()?;
            }
            if key == NUMBER {
                let number: String = object.next_value()?;
                let is_alone = fields.is_empty() && object.next_key::<String>()?.is_none();
                let number = number.parse().ok().filter(|_| is_alone);
                return self.visit_f64(number.unwrap_or(f64::NAN));
            }
            if fields.contains_key(&key) {
                return Err(de::Error::custom("a duplicate key"));
            }
            let Json(value) = object.next_value_seed(self.inner())?;
            fields.insert(key, value);
        }
        of_fields(fields).map(Json).map_err(de::Error::custom)
    }
}

/// The only key of the map in which `serde_json` hides numbers that do not fit 64 bits, if any
/// crate in the program enables its feature `arbitrary_precision`.
const NUMBER: &str = "$serde_json::private::Number";

const NO_INTEGER: &str = "a number must be an integer from -2^63 to 2^63 - 1";

/// Converts an object to the value that it represents.
fn of_fields(fields: BTreeMap<String, Ipld>) -> Result<Ipld, &'static str> {
    let mut keys = fields.keys().map(String::as_str);
    let Some(reserved) = keys.find(|key| [LINK, BYTES].contains(key)) else {
        check_type(&fields)?;
        return Ok(Ipld::Map(fields));
    };
    if fields.len() > 1 {
        return Err("other fields beside `$link` or `$bytes`");
    }
    let Some(Ipld::String(text)) = fields.get(reserved) else {
        return Err("a `$link` or `$bytes` that is not text");
    };
    if reserved == BYTES {
        let bytes = from_base64(text).map(Ipld::Bytes);
        bytes.ok_or("bytes that are not base64")
    } else {
        let link = cid_from_text(text).map(Ipld::Link);
        link.ok_or("a link that is not a valid CID")
    }
}

/// Decodes base64, padded or not.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = if text.len().is_multiple_of(4) {
        // `BASE64` would accept padding after every four digits, with more digits behind it.
        let one_less = text.strip_suffix('=').unwrap_or(text);
        one_less.strip_suffix('=').unwrap_or(one_less)
    } else {
        text
    };
    BASE64_NOPAD.decode(digits.as_bytes()).ok()
}

/// Accepts a CID only in the spelling in which it is printed, out of many.
pub(crate) fn cid_from_text(text: &str) -> Option<Cid> {
    /// Longer than any. Decoding the base of some spellings takes quadratic time.
    const TOO_LONG: usize = 2 * CidBytes::MAX_LEN;
    let cid = (text.len() < TOO_LONG).then(|| Cid::try_from(text).ok())??;
    (cid.to_string() == text).then_some(cid)
}

/// Checks an object against its `$type`.
fn check_type(fields: &BTreeMap<String, Ipld>) -> Result<(), &'static str> {
    match fields.get("$type") {
        None => Ok(()),
        Some(Ipld::String(kind)) if kind == "blob" && BlobRef::of(fields).is_none() => {
            Err("a blob without a link `ref` to raw bytes, a text `mimeType` and a `size` above 0")
        }
        Some(Ipld::String(kind)) if !kind.is_empty() => Ok(()),
        Some(_) => Err("a `$type` that is empty or not text"),
    }
}
