//! A record that is to be put into a repository.

use std::fmt;
use std::path::Path;

use atproto_mst::mst_repo::dag_cbor::{Reader, Token};
use atproto_mst::{Bytes, CarOptions, Cid, MAX_RECORD_LEN, dag_cbor_cid};

use crate::failure::Failure;
use crate::from_json::block_of_json;
use crate::input;
use crate::record::ReadableRecord;

/// The form in which a record is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    DagCbor,
}

/// Reads the record in the file at `path`, or on standard input if that is `-`, and returns
/// its CID and its block.
pub(crate) fn read(path: &Path, form: Form) -> Result<(Cid, Bytes), Failure> {
    let given = input::read_whole(path).map_err(|error| Failure::Input(error.into()).of(path))?;
    let block = block_of(given, form).map_err(|what| Failure::Invalid(what).of(path))?;
    Ok((dag_cbor_cid(&block), block.into()))
}

fn block_of(given: Vec<u8>, form: Form) -> Result<Vec<u8>, String> {
    let block = match form {
        Form::Json => {
            let block = block_of_json(&given).map_err(|error| error.to_string())?;
            if type_of(&block) == Err(Oddity::NoObject) {
                return Err("a record must be an object".to_owned());
            }
            block
        }
        Form::DagCbor => {
            ReadableRecord::new(&given).map_err(|unreadable| unreadable.to_string())?;
            given
        }
    };
    let limit = CarOptions::default().section_len as usize;
    if dag_cbor_cid(&block).encoded_len() + block.len() > limit {
        let len = block.len();
        return Err(format!("a record of {len} bytes, which no CAR can hold"));
    }
    Ok(block)
}

/// What is unusual about a record, if anything. The tool puts it all the same; a server would not.
pub(crate) fn oddity(block: &[u8], collection: &str) -> Option<Oddity> {
    if block.len() > MAX_RECORD_LEN {
        let len = block.len();
        return Some(Oddity::TooLarge { len });
    }
    match type_of(block) {
        Err(oddity) => Some(oddity),
        Ok(kind) if kind == collection => None,
        Ok(kind) => Some(Oddity::OtherType {
            kind: kind.to_owned(),
            collection: collection.to_owned(),
        }),
    }
}

/// The field `$type` of a valid record.
fn type_of(block: &[u8]) -> Result<&str, Oddity> {
    let mut reader = Reader::new(block);
    let Ok(Some(Token::Map)) = reader.next_token() else {
        return Err(Oddity::NoObject);
    };
    let mut depth = 1_usize;
    let mut key = "";
    while let Ok(Some(token)) = reader.next_token() {
        match token {
            Token::Text(kind) if depth == 1 && key == "$type" => return Ok(kind),
            Token::Key(found) if depth == 1 => key = found,
            Token::Map | Token::List => depth += 1,
            Token::EndMap | Token::EndList => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Err(Oddity::NoType)
}

/// What is unusual about a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Oddity {
    NoObject,
    NoType,
    TooLarge { len: usize },
    OtherType { kind: String, collection: String },
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObject => f.write_str("the record is not an object"),
            Self::NoType => f.write_str("the record has no `$type` that is text"),
            Self::TooLarge { len } => write!(
                f,
                "the record has {len} bytes, but the network accepts {MAX_RECORD_LEN}"
            ),
            Self::OtherType { kind, collection } => {
                write!(
                    f,
                    "the record's `$type` is {kind}, its collection is {collection}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oddity_of(json: &str) -> Option<Oddity> {
        oddity(&block_of_json(json.as_bytes()).unwrap(), "a.b.c")
    }

    #[test]
    fn the_type_is_looked_for_where_it_belongs() {
        assert_eq!(oddity_of(r#"{"$type": "a.b.c"}"#), None);
        assert_eq!(oddity_of(r#"{"a": {"b": []}, "$type": "a.b.c"}"#), None);
        let other = |kind: &str| {
            let (kind, collection) = (kind.to_owned(), "a.b.c".to_owned());
            Some(Oddity::OtherType { kind, collection })
        };
        assert_eq!(oddity_of(r#"{"$type": "a.b.d"}"#), other("a.b.d"));
        for text in ["{}", r#"{"a": {"$type": "a.b.c"}}"#] {
            assert_eq!(oddity_of(text), Some(Oddity::NoType), "{text}");
        }
        // Values that reading JSON cannot produce.
        for block in [
            b"\xa2\x65$type\x01\x67aaaaaaa\x65a.b.c".as_slice(),
            b"\xa1\x65$type\x81\x65a.b.c",
        ] {
            assert_eq!(oddity(block, "a.b.c"), Some(Oddity::NoType));
        }
        let large = vec![0x60; MAX_RECORD_LEN + 1];
        assert!(matches!(
            oddity(&large, "a.b.c"),
            Some(Oddity::TooLarge { .. })
        ));
        for text in [
            "[]",
            "1",
            r#"["$type", "a.b.c"]"#,
            r#"[{"$type": "a.b.c"}]"#,
        ] {
            assert_eq!(oddity_of(text), Some(Oddity::NoObject), "{text}");
        }
    }
}
