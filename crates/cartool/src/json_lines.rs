//! A reader of JSON lines.

use serde::de::DeserializeOwned;
use serde_json::Deserializer;

/// Reads values, one a line or otherwise apart, and makes of each what `convert` says. What is
/// wrong is told with its line.
pub(crate) fn parse<J: DeserializeOwned, T>(
    text: &[u8],
    convert: impl Fn(J) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let mut lines = Deserializer::from_slice(text).into_iter();
    let mut values = Vec::new();
    while let Some(value) = lines.next() {
        let value = convert(value.map_err(|error| error.to_string())?);
        values.push(value.map_err(|why| {
            let before = text.get(..lines.byte_offset()).unwrap_or(text);
            let line = before.split(|byte| *byte == b'\n').count();
            format!("line {line}: {why}")
        })?);
    }
    Ok(values)
}
