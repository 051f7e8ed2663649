//! What `serde_ipld_dagcbor` has against some bytes or a value, in words: its own are those of a
//! debugger.

use std::fmt::Debug;

use serde_ipld_dagcbor::error::{DecodeError, EncodeError};

/// Why bytes cannot be decoded.
pub(crate) fn decode_fault<E: Debug>(error: &DecodeError<E>) -> String {
    match error {
        DecodeError::Msg(what) => what.clone(),
        DecodeError::Eof { .. } => "the bytes end too early".to_owned(),
        DecodeError::Mismatch { found, .. } | DecodeError::Unsupported { found, .. } => {
            format!("byte {found:#04x} stands where it must not")
        }
        DecodeError::RequireUtf8 { .. } => "a text that is not UTF-8".to_owned(),
        DecodeError::DepthOverflow { .. } => "it nests too deeply".to_owned(),
        DecodeError::TrailingData => "something comes behind its end".to_owned(),
        DecodeError::IndefiniteSize => "an indefinite length".to_owned(),
        DecodeError::NonMinimal { .. } => "a number or length not in its shortest form".to_owned(),
        DecodeError::UnorderedKey => "keys out of order".to_owned(),
        rare => format!("{rare:?}"),
    }
}

/// Why a value cannot be encoded.
pub(crate) fn encode_fault<E: Debug>(error: &EncodeError<E>) -> String {
    match error {
        EncodeError::Msg(what) => what.clone(),
        EncodeError::Write(rare) => format!("{rare:?}"),
    }
}

#[cfg(test)]
mod tests {
    use ipld_core::ipld::Ipld;

    use super::decode_fault;

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let deep = vec![0x81; 10_000];
        for (bytes, words) in [
            (b"\x62a".as_slice(), "the bytes end too early"),
            (b"", "the bytes end too early"),
            (b"\xc1\x00", "byte 0xc1 stands where it must not"),
            (b"\x61\xff", "a text that is not UTF-8"),
            (&deep, "it nests too deeply"),
            (b"\x80\x80", "something comes behind its end"),
            (b"\x9f\xff", "an indefinite length"),
            (b"\x18\x01", "a number or length not in its shortest form"),
            (b"\xa2\x61b\x01\x61a\x01", "keys out of order"),
        ] {
            let error = serde_ipld_dagcbor::from_slice::<Ipld>(bytes).unwrap_err();
            assert_eq!(decode_fault(&error), words, "{bytes:02x?}");
        }
        let error = serde_ipld_dagcbor::from_slice::<u8>(b"\x61a").unwrap_err();
        let words = decode_fault(&error);
        assert!(!words.contains("Msg"), "{words}");
    }
}
