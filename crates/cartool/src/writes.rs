//! Writes for one commit, as JSON lines.

use std::path::Path;

use atproto_mst::{Ipld, Json, Write};
use serde::Deserialize;

use crate::failure::Failure;
use crate::from_json::block_of;
use crate::{input, json_lines, look_up};

/// Reads the writes in the file at `path`, or on standard input if that is `-`. There must be at
/// least one.
pub(crate) fn read(path: &Path) -> Result<Vec<Write>, Failure> {
    let given = input::read_whole(path);
    let given = given.map_err(|error| Failure::Input(error.into()).of(path))?;
    parse(&given).map_err(|wrong| Failure::Invalid(wrong).of(path))
}

fn parse(text: &[u8]) -> Result<Vec<Write>, String> {
    let writes = json_lines::parse(text, Fields::into_write)?;
    if writes.is_empty() {
        return Err("no writes, so nothing to commit".to_owned());
    }
    Ok(writes)
}

/// The fields of a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    action: Action,
    path: String,
    value: Option<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Create,
    Update,
    Delete,
}

impl Fields {
    fn into_write(self) -> Result<Write, String> {
        let Self {
            action,
            path,
            value,
        } = self;
        if let Some(why) = look_up::no_path(path.as_bytes()) {
            return Err(why);
        }
        let record = match value {
            Some(Json(value @ Ipld::Map(_))) => Some(block_of(&value).into()),
            Some(_) => return Err("a record must be an object".to_owned()),
            None => None,
        };
        match (action, record) {
            (Action::Create, Some(record)) => Ok(Write::Create { path, record }),
            (Action::Update, Some(record)) => Ok(Write::Update { path, record }),
            (Action::Delete, None) => Ok(Write::Delete { path }),
            (Action::Create | Action::Update, None) => Err("no value to write".to_owned()),
            (Action::Delete, Some(_)) => Err("a delete has no value".to_owned()),
        }
    }
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
        assert_eq!(parse(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn each_fault_is_told_with_its_line() {
        for (line, why) in [
            ("[]", "invalid type: sequence, expected an object"),
            (r#"["delete","a.b.c/1"]"#, "expected an object on each line"),
            ("{", "EOF while parsing an object"),
            (r#"{"action":1}"#, "expected value"),
            (r#"{"cid":"a"}"#, "unknown field `cid`"),
            (r#"{"path":"a","path":"a"}"#, "duplicate field `path`"),
            (r#"{"action":"delete"}"#, "missing field `path`"),
            (r#"{"path":"a.b.c/1","value":{}}"#, "missing field `action`"),
            (
                r#"{"action":"delete","path":"a"}"#,
                "not a repository path: ",
            ),
            (
                r#"{"action":"create","path":"a.b.c/1","value":[1]}"#,
                "a record must be an object",
            ),
            (
                r#"{"action":"create","path":"a.b.c/1"}"#,
                "no value to write",
            ),
            (
                r#"{"action":"delete","path":"a.b.c/1","value":{}}"#,
                "a delete has no value",
            ),
            (
                r#"{"action":"put","path":"a.b.c/1","value":{}}"#,
                "unknown variant `put`, expected one of `create`, `update`, `delete`",
            ),
            (
                r#"{"path":"a.b.c/1","value":{"ü":0,"ü":1},"action":"create"}"#,
                "a duplicate key",
            ),
            (
                r#"{"path":"a.b.c/1","value":{"a":1.5},"action":"create"}"#,
                "a number must be an integer",
            ),
            (
                r#"{"path":"a.b.c/1","value":{"a":"#,
                "EOF while parsing a value",
            ),
        ] {
            let text = format!("{{\"action\":\"delete\",\"path\":\"a.b.c/0\"}}\n{line}");
            let wrong = parse(text.as_bytes()).unwrap_err();
            assert!(wrong.contains(why), "{line}: {wrong}");
            assert!(wrong.contains("line 2"), "{line}: {wrong}");
        }
        assert_eq!(
            parse(b"\n \n").unwrap_err(),
            "no writes, so nothing to commit"
        );
    }
}
