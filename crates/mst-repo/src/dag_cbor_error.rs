//! Describes errors of `serde_ipld_dagcbor` in plain text, as its own messages are debug output.

use std::fmt::Debug;

use serde_ipld_dagcbor::error::{DecodeError, EncodeError};

/// Why bytes cannot be decoded that the strict reader has accepted as DAG-CBOR.
pub(crate) fn decode_fault<E: Debug>(error: &DecodeError<E>) -> String {
    match error {
        // It may quote an entire text.
        DecodeError::Msg(what) => what.chars().take(MAX_CHARS).collect(),
        DecodeError::Mismatch { name, found } => {
            let found = KINDS
                .get(usize::from(found >> 5))
                .copied()
                .unwrap_or_default();
            format!("{found} where {name} was expected")
        }
        rare => format!("{rare:?}"),
    }
}

/// The type of an item, by its first three bits.
const KINDS: [&str; 8] = [
    "a number",
    "a negative number",
    "bytes",
    "text",
    "a list",
    "a map",
    "a link",
    "null, a boolean or a floating-point number",
];

const MAX_CHARS: usize = 200;

/// Why a value cannot be encoded.
pub(crate) fn encode_fault<E: Debug>(error: &EncodeError<E>) -> String {
    match error {
        EncodeError::Msg(what) => what.clone(),
        EncodeError::Write(rare) => format!("{rare:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    enum Nothing {}

    #[test]
    fn what_is_wrong_is_said_in_words_and_not_too_many() {
        let error = serde_ipld_dagcbor::from_slice::<u8>(b"\x61a").unwrap_err();
        assert!(decode_fault(&error).starts_with("text where "), "{error}");

        let text = serde_ipld_dagcbor::to_vec(&"x".repeat(10_000)).unwrap();
        let error = serde_ipld_dagcbor::from_slice::<Nothing>(&text).unwrap_err();
        let fault = decode_fault(&error);
        assert!(fault.starts_with("unknown variant"), "{fault}");
        assert_eq!(fault.len(), MAX_CHARS);
    }
}
