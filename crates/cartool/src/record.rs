//! A record as JSON in the atproto data model.
//!
//! Source: <https://atproto.com/specs/data-model>

use std::fmt;
use std::io::{self, Write};

use data_encoding::BASE64_NOPAD;

use crate::json::JsonWriter;
use atproto_mst::mst_repo::dag_cbor::{InvalidDagCbor, Reader, Token};

/// A record that was checked as a whole, so that writing it cannot fail half way.
pub(crate) struct ReadableRecord<'b>(&'b [u8]);

impl<'b> ReadableRecord<'b> {
    /// Checks `block`. Its lists and maps may be nested [`Reader::MAX_DEPTH`] deep: the length of
    /// indented output is quadratic in that, and at this depth it is 32 MB of spaces.
    pub(crate) fn new(block: &'b [u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(block);
        loop {
            let offset = reader.offset();
            let Some(token) = reader.next_token()? else {
                break;
            };
            let why = match token {
                Token::Float(_) => "a floating-point number, which the data model does not have",
                // JSON uses these for links and bytes.
                Token::Key("$link" | "$bytes") => "a key that is reserved for JSON",
                _ => continue,
            };
            return Err(Unreadable { offset, why });
        }
        reader.end()?;
        Ok(Self(block))
    }

    /// Writes the record: links as `{"$link": "cid"}`, bytes as `{"$bytes": "base64"}`, the
    /// fields of maps in the order of the block.
    pub(crate) fn write(&self, json: &mut JsonWriter<impl Write>) -> io::Result<()> {
        let mut reader = Reader::new(self.0);
        while let Some(token) = reader.next_token().expect(READ_BEFORE) {
            match token {
                Token::Float(_) => unreachable!("{READ_BEFORE}"),
                Token::Null => json.literal("null")?,
                Token::Bool(value) => json.literal(value)?,
                Token::Integer(value) => json.literal(value)?,
                Token::Text(text) => json.text(text)?,
                Token::Bytes(bytes) => json.object_of("$bytes", &BASE64_NOPAD.encode(bytes))?,
                Token::Link(cid) => json.object_of("$link", &cid.to_string())?,
                Token::List => json.open("[")?,
                Token::Map => json.open("{")?,
                Token::Key(key) => json.key(key)?,
                Token::EndList => json.close("]")?,
                Token::EndMap => json.close("}")?,
            }
        }
        Ok(())
    }
}

/// Why a record cannot be printed, and from which byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) offset: usize,
    pub(crate) why: &'static str,
}

impl From<InvalidDagCbor> for Unreadable {
    fn from(invalid: InvalidDagCbor) -> Self {
        let InvalidDagCbor { offset, why, .. } = invalid;
        Self { offset, why }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.offset, self.why)
    }
}

const READ_BEFORE: &str = "the record was read through before";

#[cfg(test)]
mod tests {
    use atproto_mst::dag_cbor_cid;

    use super::*;
    use crate::json::Layout;

    #[test]
    fn what_json_would_not_give_back_is_no_record() {
        for (block, offset, why) in [
            (
                b"\x81\xfb\x3f\xf0\0\0\0\0\0\0".as_slice(),
                1,
                "a floating-point number, which the data model does not have",
            ),
            (b"\xa1\x65$link\x61a", 1, "a key that is reserved for JSON"),
            (b"\x80\x80", 1, "something follows the end"),
        ] {
            let invalid = ReadableRecord::new(block).map(drop).unwrap_err();
            assert_eq!((invalid.offset, invalid.why), (offset, why));
        }
    }

    #[test]
    fn links_and_bytes_have_their_forms() {
        let cid = dag_cbor_cid(b"\xa0");
        let link = [b"\xd8\x2a\x58\x25\x00".as_slice(), &cid.to_bytes()].concat();
        let block = [b"\x83\x43\xfb\xff\xfe\x40".as_slice(), &link].concat();
        let mut out = Vec::new();
        let mut json = JsonWriter::new(&mut out, Layout::Line);
        let record = ReadableRecord::new(&block).unwrap();
        record.write(&mut json).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(r#"[{{"$bytes":"+//+"}},{{"$bytes":""}},{{"$link":"{cid}"}}]"#)
        );
    }
}
