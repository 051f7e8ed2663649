//! Changes of records, as lines of text or of JSON.

use std::io::{self, Write};

use atproto_mst::{Cid, Operation};

use crate::json::{JsonWriter, Layout};
use crate::json_reader::{InvalidJson, JsonReader, Token};
use crate::quote::Quoted;

/// Writes an operation as a line: `+ "path" new`, `- "path" old` or `~ "path" old new`.
pub(crate) fn write_text(operation: &Operation, out: &mut impl Write) -> io::Result<()> {
    let path = Quoted(&operation.key);
    match (&operation.old, &operation.new) {
        (None, Some(new)) => writeln!(out, "+ {path} {new}"),
        (Some(old), None) => writeln!(out, "- {path} {old}"),
        (Some(old), Some(new)) => writeln!(out, "~ {path} {old} {new}"),
        (None, None) => Ok(()),
    }
}

/// Writes an operation as a line of JSON, which [`parse`] reads.
pub(crate) fn write_json(operation: &Operation, mut out: &mut impl Write) -> io::Result<()> {
    let mut json = JsonWriter::new(&mut out, Layout::Line);
    json.open("{")?;
    json.key(PATH)?;
    json.text(&String::from_utf8_lossy(&operation.key))?;
    for (name, value) in [(OLD, &operation.old), (NEW, &operation.new)] {
        json.key(name)?;
        match value {
            Some(cid) => json.text(&cid.to_string())?,
            None => json.literal("null")?,
        }
    }
    json.close("}")?;
    writeln!(out)
}

/// Writes a node that only one side has as a line of JSON.
pub(crate) fn write_node_json(side: &str, cid: &Cid, mut out: &mut impl Write) -> io::Result<()> {
    let mut json = JsonWriter::new(&mut out, Layout::Line);
    json.open("{")?;
    json.key(NODE)?;
    json.text(&cid.to_string())?;
    json.key("in")?;
    json.text(side)?;
    json.close("}")?;
    writeln!(out)
}

/// Reads operations, one a line. Lines about nodes are passed over, and so are empty ones.
pub(crate) fn parse(text: &str) -> Result<Vec<Operation>, InvalidJson> {
    let mut operations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let parsed = parse_line(line).map_err(|wrong| InvalidJson {
            line: index + 1,
            ..wrong
        })?;
        operations.extend(parsed);
    }
    Ok(operations)
}

fn parse_line(line: &str) -> Result<Option<Operation>, InvalidJson> {
    let mut json = JsonReader::new(line);
    let (mut path, mut old, mut new) = (None, None, None);
    let mut is_node = false;
    match json.next()? {
        Some((_, Token::Object)) => {}
        _ => return Err(json.wrong_at(0, "not an object")),
    }
    while let Some((place, token)) = json.next()? {
        let Token::Key(name) = token else {
            continue;
        };
        let value = json.next()?;
        let twice = match (&*name, value) {
            (PATH, Some((_, Token::Text(text)))) => path.replace(text).is_some(),
            (PATH, _) => return Err(json.wrong_at(place, "the path must be text")),
            (OLD, value) => old.replace(cid(&json, place, value)?).is_some(),
            (NEW, value) => new.replace(cid(&json, place, value)?).is_some(),
            (NODE | "in", Some((_, Token::Text(_)))) => {
                is_node |= name == NODE;
                false
            }
            _ => return Err(json.wrong_at(place, "an operation has path, old and new")),
        };
        if twice {
            return Err(json.wrong_at(place, "a key for the second time"));
        }
    }
    match (path, old, new) {
        (Some(path), Some(old), Some(new)) => Ok(Some(Operation {
            key: path.into_bytes(),
            old,
            new,
        })),
        (None, None, None) if is_node => Ok(None),
        _ => Err(json.wrong_at(0, "an operation has path, old and new")),
    }
}

/// A CID, or `None` for null.
fn cid(
    json: &JsonReader<'_>,
    place: usize,
    value: Option<(usize, Token)>,
) -> Result<Option<Cid>, InvalidJson> {
    match value {
        Some((_, Token::Null)) => Ok(None),
        Some((place, Token::Text(text))) => match Cid::try_from(text.as_str()) {
            Ok(cid) => Ok(Some(cid)),
            Err(_) => Err(json.wrong_at(place, "not a CID")),
        },
        _ => Err(json.wrong_at(place, "must be a CID, as text, or null")),
    }
}

const PATH: &str = "path";
const OLD: &str = "old";
const NEW: &str = "new";
const NODE: &str = "node";

#[cfg(test)]
mod tests {
    use atproto_mst::raw_cid;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (one, two) = (raw_cid(b"1"), raw_cid(b"2"));
        let operations =
            [(None, Some(one)), (Some(one), Some(two)), (Some(two), None)].map(|(old, new)| {
                Operation {
                    key: "a/\"ü\n".into(),
                    old,
                    new,
                }
            });
        let mut text = Vec::new();
        for operation in &operations {
            write_json(operation, &mut text).unwrap();
            write_node_json("old", &one, &mut text).unwrap();
        }
        let text = String::from_utf8(text).unwrap();
        assert_eq!(parse(&text).unwrap(), operations);
    }

    #[test]
    fn each_fault_is_told_with_its_line() {
        for (line, column, why) in [
            ("[]", 1, "not an object"),
            (r#"{"path":1}"#, 2, "the path must be text"),
            (
                r#"{"path":"a","old":null}"#,
                1,
                "an operation has path, old and new",
            ),
            (r#"{"path":"a","old":"b","new":null}"#, 19, "not a CID"),
            (
                r#"{"path":"a","old":1,"new":null}"#,
                13,
                "must be a CID, as text, or null",
            ),
            (
                r#"{"path":"a","path":"a"}"#,
                13,
                "a key for the second time",
            ),
            (r#"{"cid":"a"}"#, 2, "an operation has path, old and new"),
        ] {
            let wrong = parse(&format!("\n{line}\n")).unwrap_err();
            let expected = InvalidJson {
                line: 2,
                column,
                why,
            };
            assert_eq!(wrong, expected, "{line}");
        }
    }
}
