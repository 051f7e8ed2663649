//! Changes of records, as lines of text or of JSON.

use std::io::{self, Write};

use atproto_mst::{Cid, Operation};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::cli::parse_cid;
use crate::json::{JsonWriter, Layout};
use crate::json_lines;
use crate::quote::Quoted;
use crate::report::Report;

/// Says that a node is missing that operations can be inverted without.
pub(crate) fn note_not_covered(missing: &Cid, report: &Report) {
    report.note(&format_args!(
        "note: node {missing} is missing, so not all neighbours of the changed keys were seen"
    ));
}

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
    json.text_field("path", String::from_utf8_lossy(&operation.key))?;
    json.optional_text_field("old", operation.old)?;
    json.optional_text_field("new", operation.new)?;
    json.close("}")?;
    writeln!(out)
}

/// Writes a node that only one side has as a line of JSON.
pub(crate) fn write_node_json(side: &str, cid: &Cid, mut out: &mut impl Write) -> io::Result<()> {
    let mut json = JsonWriter::new(&mut out, Layout::Line);
    json.open("{")?;
    json.text_field("node", cid)?;
    json.text_field("in", side)?;
    json.close("}")?;
    writeln!(out)
}

/// Reads operations as [`write_json`] writes them. Nodes between them are skipped.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Operation>, String> {
    let lines = json_lines::parse(text, |fields: Fields| match fields {
        Fields {
            path: Some(path),
            old: Value::Given(old),
            new: Value::Given(new),
            ..
        } => {
            let key = path.into_bytes();
            Ok(Some(Operation { key, old, new }))
        }
        Fields {
            path: None,
            node: Some(_),
            side: Some(_),
            ..
        } => Ok(None),
        _ => Err("an operation needs path, old and new".to_owned()),
    })?;
    Ok(lines.into_iter().flatten().collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    path: Option<String>,
    #[serde(default)]
    old: Value,
    #[serde(default)]
    new: Value,
    node: Option<String>,
    #[serde(rename = "in")]
    side: Option<String>,
}

/// What a key maps to: a CID as text, or null.
#[derive(Default)]
enum Value {
    #[default]
    Missing,
    Given(Option<Cid>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        let text: Option<String> = Deserialize::deserialize(field)?;
        let cid = text.map(|text| parse_cid(&text)).transpose();
        cid.map(Self::Given).map_err(D::Error::custom)
    }
}

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
        assert_eq!(parse(&text).unwrap(), operations);
    }

    #[test]
    fn each_fault_is_told_with_its_line() {
        for (line, why) in [
            (
                "[]",
                "invalid type: sequence, expected an object on each line",
            ),
            (
                r#"{"path":1}"#,
                "invalid type: integer `1`, expected a string",
            ),
            (
                r#"{"path":"a","old":null}"#,
                "an operation needs path, old and new",
            ),
            (r#"{"node":"a"}"#, "an operation needs path, old and new"),
            (r#"{"path":"a","old":"b","new":null}"#, "not a CID"),
            (
                r#"{"path":"a","old":1,"new":null}"#,
                "invalid type: integer `1`, expected a string",
            ),
            (r#"{"path":"a","path":"a"}"#, "duplicate field `path`"),
            (r#"{"cid":"a"}"#, "unknown field `cid`, expected one of"),
        ] {
            let wrong = parse(format!("\n{line}\n").as_bytes()).unwrap_err();
            assert!(wrong.contains(why), "{line}: {wrong}");
            assert!(wrong.contains("line 2"), "{line}: {wrong}");
        }
    }
}
