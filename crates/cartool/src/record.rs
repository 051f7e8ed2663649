//! A record as JSON in the atproto data model.
//!
//! Source: <https://atproto.com/specs/data-model>

use std::io::{self, Write};

use data_encoding::BASE64_NOPAD;

use crate::dag_cbor::{Reader, Token, Unreadable};
use crate::json::JsonWriter;

/// A record that was read through once and found to be good, so that writing it can stop at
/// no half.
pub(crate) struct ReadableRecord<'b>(&'b [u8]);

impl<'b> ReadableRecord<'b> {
    /// Reads `block` through.
    pub(crate) fn new(block: &'b [u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(block);
        while reader.next()?.is_some() {}
        Ok(Self(block))
    }

    /// Writes the record: links as `{"$link": "cid"}`, bytes as `{"$bytes": "base64"}`, the
    /// fields of maps in the order of the block.
    pub(crate) fn write(&self, json: &mut JsonWriter<impl Write>) -> io::Result<()> {
        let mut reader = Reader::new(self.0);
        while let Some(token) = reader.next().expect("the record was read through before") {
            match token {
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

#[cfg(test)]
mod tests {
    use atproto_mst::dag_cbor_cid;

    use super::*;
    use crate::json::Layout;

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
