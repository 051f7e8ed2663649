//! Writes to be made in one commit, as JSON lines.

use std::path::Path;

use atproto_mst::{Bytes, RepoPath, Write};

use crate::failure::{Failure, chain};
use crate::from_json::block_of_json;
use crate::input;
use crate::json_reader::{InvalidJson, JsonReader, Token};
use crate::record::ReadableRecord;

/// Reads the writes in the file at `path`, or on standard input if that is `-`. There is at least
/// one.
pub(crate) fn read(path: &Path) -> Result<Vec<Write>, Failure> {
    let given = input::read_whole(path);
    let given = given.map_err(|error| Failure::Input(error.into()).of(path))?;
    let writes = match String::from_utf8(given) {
        Ok(text) => parse(&text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(format!("byte {at}: text that is not UTF-8"))
        }
    };
    writes.map_err(|wrong| Failure::Invalid(wrong).of(path))
}

fn parse(text: &str) -> Result<Vec<Write>, String> {
    let mut writes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        let fields = Fields::parse(line).map_err(|wrong| in_line(number, wrong))?;
        let write = fields.into_write(line);
        writes.push(write.map_err(|wrong| format!("line {number}{wrong}"))?);
    }
    if writes.is_empty() {
        return Err("no writes, so nothing to commit".to_owned());
    }
    Ok(writes)
}

fn in_line(line: usize, wrong: InvalidJson) -> String {
    InvalidJson { line, ..wrong }.to_string()
}

/// The fields of a line.
#[derive(Default)]
struct Fields {
    action: Option<String>,
    path: Option<String>,
    /// Where in the line the record begins, and its last byte.
    value: Option<(usize, usize)>,
}

impl Fields {
    fn parse(line: &str) -> Result<Self, InvalidJson> {
        let mut json = JsonReader::new(line);
        let mut fields = Self::default();
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
                ("action", Some((_, Token::Text(text)))) => fields.action.replace(text).is_some(),
                ("path", Some((_, Token::Text(text)))) => fields.path.replace(text).is_some(),
                ("value", Some((start, Token::Object))) => {
                    let end = end_of_object(&mut json)?;
                    fields.value.replace((start, end)).is_some()
                }
                ("action" | "path", _) => return Err(json.wrong_at(place, "must be text")),
                ("value", _) => return Err(json.wrong_at(place, "a record is an object")),
                _ => return Err(json.wrong_at(place, "a write has action, path and value")),
            };
            if twice {
                return Err(json.wrong_at(place, "a key for the second time"));
            }
        }
        Ok(fields)
    }

    /// The write, or how the message goes on that begins with the number of its line.
    fn into_write(self, line: &str) -> Result<Write, String> {
        let path = self.path.ok_or(": no path")?;
        let parsed = RepoPath::parse(path.as_bytes());
        parsed.map_err(|error| format!(": not a repository path: {}", chain(&error)))?;
        let record = match self.value {
            Some((start, end)) => Some(record_of(line, start, end)?),
            None => None,
        };
        match (self.action.as_deref(), record) {
            (Some("create"), Some(record)) => Ok(Write::Create { path, record }),
            (Some("update"), Some(record)) => Ok(Write::Update { path, record }),
            (Some("delete"), None) => Ok(Write::Delete { path }),
            (Some("create" | "update"), None) => Err(": no value to write".to_owned()),
            (Some("delete"), Some(_)) => Err(": a delete has no value".to_owned()),
            (Some(_), _) => Err(": the action is not create, update or delete".to_owned()),
            (None, _) => Err(": no action".to_owned()),
        }
    }
}

/// Goes to the end of the object that was just begun, and returns where it is.
fn end_of_object(json: &mut JsonReader<'_>) -> Result<usize, InvalidJson> {
    let (mut depth, mut last) = (1_usize, 0);
    while depth > 0
        && let Some((place, token)) = json.next()?
    {
        last = place;
        match token {
            Token::Object | Token::List => depth += 1,
            Token::EndObject | Token::EndList => depth -= 1,
            _ => {}
        }
    }
    Ok(last)
}

fn record_of(line: &str, start: usize, end: usize) -> Result<Bytes, String> {
    let text = line.get(start..=end).unwrap_or_default();
    let block = block_of_json(text).map_err(|wrong| {
        let before = line.get(..start).unwrap_or_default().chars().count();
        let (column, why) = (before + wrong.column, wrong.why);
        format!(", column {column}: {why}")
    })?;
    if let Err(unreadable) = ReadableRecord::new(&block) {
        return Err(format!(": {}", unreadable.why));
    }
    Ok(block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_write_is_read_in_any_order_of_its_fields() {
        let text = concat!(
            r#"{"action":"create","path":"a.b.c/1","value":{"a":[{}],"b":"}"}}"#,
            "\n\n",
            r#" {"value": {"n": 1}, "path": "a.b.c/2", "action": "update"} "#,
            "\r\n",
            r#"{"path":"a.b.c/3","action":"delete"}"#,
        );
        let path = |n| format!("a.b.c/{n}");
        let expected = [
            Write::Create {
                path: path(1),
                record: b"\xa2\x61a\x81\xa0\x61b\x61}".as_slice().into(),
            },
            Write::Update {
                path: path(2),
                record: b"\xa1\x61n\x01".as_slice().into(),
            },
            Write::Delete { path: path(3) },
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn each_fault_is_told_with_its_line() {
        for (line, why) in [
            ("[]", ", column 1: not an object"),
            ("{", ", column 2: the text ends too early"),
            (r#"{"action":1}"#, ", column 2: must be text"),
            (
                r#"{"cid":"a"}"#,
                ", column 2: a write has action, path and value",
            ),
            (
                r#"{"path":"a","path":"a"}"#,
                ", column 13: a key for the second time",
            ),
            (r#"{"value":[1]}"#, ", column 2: a record is an object"),
            (r#"{"action":"delete"}"#, ": no path"),
            (
                r#"{"action":"delete","path":"a"}"#,
                ": not a repository path: ",
            ),
            (
                r#"{"action":"create","path":"a.b.c/1"}"#,
                ": no value to write",
            ),
            (
                r#"{"action":"delete","path":"a.b.c/1","value":{}}"#,
                ": a delete has no value",
            ),
            (
                r#"{"action":"put","path":"a.b.c/1","value":{}}"#,
                ": the action is not create, update or delete",
            ),
            (r#"{"path":"a.b.c/1","value":{}}"#, ": no action"),
            (
                r#"{"path":"a.b.c/1","value":{"ü":0,"ü":1},"action":"create"}"#,
                ", column 34: a key for the second time",
            ),
            (
                r#"{"path":"a.b.c/1","value":{"a":1.5},"action":"create"}"#,
                ", column 32: a floating-point number",
            ),
            (
                r#"{"path":"a.b.c/1","value":{"a":"#,
                ", column 32: the text ends too early",
            ),
            (
                r#"{"path":"a.b.c/1"} {}"#,
                ", column 20: something follows the value",
            ),
        ] {
            let wrong = parse(&format!("\n{line}\n")).unwrap_err();
            assert!(
                wrong.starts_with(&format!("line 2{why}")),
                "{line}: {wrong}"
            );
        }
        assert_eq!(
            parse("\n \n").unwrap_err(),
            "no writes, so nothing to commit"
        );
        let deep = format!(
            r#"{{"action":"create","path":"a.b.c/1","value":{{"a":{}{}}}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(
            parse(&deep)
                .unwrap_err()
                .contains("lists and maps inside each other")
        );
    }
}
