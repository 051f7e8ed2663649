//! A reader of JSON lines.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};

/// Reads values, one per line or otherwise separated, and converts each with `convert`. Errors name
/// the line.
pub(crate) fn parse<J: DeserializeOwned, T>(
    text: &[u8],
    convert: impl Fn(J) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let text = without_mark(text);
    let mut lines = serde_json::Deserializer::from_slice(text).into_iter();
    let mut values = Vec::new();
    while let Some(value) = lines.next() {
        let Object(value) = value.map_err(|error| error.to_string())?;
        let value = convert(value);
        values.push(value.map_err(|why| {
            let before = text.get(..lines.byte_offset()).unwrap_or(text);
            let line = before.split(|byte| *byte == b'\n').count();
            format!("line {line}: {why}")
        })?);
    }
    Ok(values)
}

/// The text without the byte order mark that some editors put at the beginning of a file.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

/// A value that must be an object: by default, serde also accepts an array of its fields.
struct Object<J>(J);

impl<'de, J: Deserialize<'de>> Deserialize<'de> for Object<J> {
    fn deserialize<D: Deserializer<'de>>(line: D) -> Result<Self, D::Error> {
        line.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<J>(PhantomData<J>);

impl<'de, J: Deserialize<'de>> Visitor<'de> for ObjectVisitor<J> {
    type Value = Object<J>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object on each line")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<J>, A::Error> {
        J::deserialize(MapAccessDeserializer::new(fields)).map(Object)
    }
}
