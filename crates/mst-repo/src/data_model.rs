//! The values that a DAG-CBOR block may hold in atproto: records, and parts of commits.

use std::mem;

use blockstore_core::Bytes;
use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use crate::dag_cbor::{self, InvalidDagCbor, Refusal, Token};
use crate::dag_cbor_error::{decode_fault, encode_fault};

/// Decodes the block of a record, into a type made for its lexicon or into [`Ipld`].
///
/// This checks that the whole block is DAG-CBOR of this type; [`check_record`] checks everything
/// that a record must be.
///
/// Enums should be internally tagged, `#[serde(tag = "$type")]`, as the unions of lexicons are. For
/// externally tagged ones, which are serde's default, the underlying decoder (`serde_ipld_dagcbor`
/// 0.7) takes some maps for variants that they are not. Fields that hold links have the type
/// [`Cid`](crate::Cid), which types for JSON only, such as `serde_json::Value`, do not support: for
/// JSON there is [`Json`](crate::Json).
///
/// # Errors
///
/// [`InvalidRecord::NotDagCbor`], [`InvalidRecord::TooManyItems`], and [`InvalidRecord::Decode`] if
/// it is not a `T`.
///
/// # Examples
///
/// ```
/// use mst_repo::{decode_record, encode_record};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Post {
///     #[serde(rename = "$type")]
///     kind: String,
///     text: String,
/// }
///
/// let post = Post { kind: "app.bsky.feed.post".into(), text: "Hello".into() };
/// let block = encode_record(&post)?;
/// assert_eq!(decode_record::<Post>(&block)?.text, "Hello");
/// # Ok::<(), mst_repo::InvalidRecord>(())
/// ```
pub fn decode_record<'b, T: Deserialize<'b>>(block: &'b [u8]) -> Result<T, InvalidRecord> {
    dag_cbor::check(block, MAX_RECORD_ITEMS)?;
    serde_ipld_dagcbor::from_slice(block)
        .map_err(|error| InvalidRecord::Decode(decode_fault(&error)))
}

/// Encodes a record: returns its block, canonical DAG-CBOR, of which
/// [`dag_cbor_cid`](blockstore_core::dag_cbor_cid) is the CID. The fields of a `struct` may be in
/// any order; use `serde_bytes` for bytes of the data model.
///
/// A value that came as JSON should be read as [`Json`](crate::Json), which can be encoded. A
/// `serde_json::Value` would be encoded with the maps that represent links and bytes in JSON, so a
/// map with the key `$link` or `$bytes` is refused. A field that is `None` is encoded as null,
/// which few lexicons allow, unless it is left out:
/// `#[serde(skip_serializing_if = "Option::is_none")]`.
///
/// # Errors
///
/// [`InvalidRecord`] if the result would not be a record ([`check_record`]), and
/// [`InvalidRecord::ReservedKey`].
///
/// # Examples
///
/// ```
/// use mst_repo::{encode_record, ipld};
///
/// let block = encode_record(&ipld!({ "text": "Hello" }))?;
/// assert_eq!(*block, *b"\xa1\x64text\x65Hello");
/// assert!(encode_record("no map").is_err());
/// # Ok::<(), mst_repo::InvalidRecord>(())
/// ```
pub fn encode_record(record: &(impl Serialize + ?Sized)) -> Result<Bytes, InvalidRecord> {
    let block = serde_ipld_dagcbor::to_vec(record)
        .map_err(|error| InvalidRecord::Encode(encode_fault(&error)))?;
    let mut is_first = true;
    dag_cbor::check_each(&block, MAX_RECORD_ITEMS, |token| {
        check_token(token, &mut is_first)?;
        match token {
            Token::Key("$link" | "$bytes") => Err(InvalidRecord::ReservedKey),
            _ => Ok(()),
        }
    })?;
    Ok(block.into())
}

/// Checks that `block` is what a record must be: a map in canonical DAG-CBOR, without
/// floating-point numbers, with only signed 64-bit integers, at most 127 levels deep, and with no
/// more than 131,072 items in all. Whether it fits its lexicon is not checked, nor whether it has a
/// `$type` and its blobs are valid.
///
/// Source: <https://atproto.com/specs/data-model>
///
/// # Errors
///
/// [`InvalidRecord`].
///
/// # Examples
///
/// ```
/// use mst_repo::{InvalidRecord, check_record};
///
/// // {"text": "Hello"}, and an array.
/// assert_eq!(check_record(b"\xa1\x64text\x65Hello"), Ok(()));
/// assert_eq!(check_record(b"\x80"), Err(InvalidRecord::NotAMap));
/// ```
pub fn check_record(block: &[u8]) -> Result<(), InvalidRecord> {
    let mut is_first = true;
    dag_cbor::check_each(block, MAX_RECORD_ITEMS, |token| {
        check_token(token, &mut is_first)
    })
}

/// Checks that `token` may be part of a record; `is_first` says whether it is the first.
fn check_token(token: &Token<'_>, is_first: &mut bool) -> Result<(), InvalidRecord> {
    if mem::take(is_first) && *token != Token::Map {
        return Err(InvalidRecord::NotAMap);
    }
    match token {
        Token::Float(_) => Err(InvalidRecord::Number),
        Token::Integer(number) if i64::try_from(*number).is_err() => Err(InvalidRecord::Number),
        _ => Ok(()),
    }
}

impl From<Refusal> for InvalidRecord {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooManyItems { limit } => Self::TooManyItems { limit },
            Refusal::Invalid(invalid) => Self::NotDagCbor(invalid),
        }
    }
}

/// The maximum number of items in a record.
///
/// Source: <https://atproto.com/guides/data-validation>, where it is the most elements of one list
/// or map
pub(crate) const MAX_RECORD_ITEMS: usize = 131_072;

/// Why a block is not a record, or not the one that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// It is not strict DAG-CBOR of at most 127 levels.
    #[error("not DAG-CBOR")]
    NotDagCbor(#[source] InvalidDagCbor),
    /// It is not of the type that was asked for, for the reason in the text.
    #[error("it cannot be decoded: {0}")]
    Decode(String),
    /// The value cannot be encoded, for the reason in the text.
    #[error("it cannot be encoded: {0}")]
    Encode(String),
    /// It has more items than a record may have.
    #[error("more than {limit} items")]
    TooManyItems {
        /// How many items it may have.
        limit: usize,
    },
    /// A number is not a signed 64-bit integer.
    #[error("a number that is not a signed 64-bit integer")]
    Number,
    /// It is not a map.
    #[error("not a map")]
    NotAMap,
    /// A map in it has the key `$link` or `$bytes`: the value to be encoded is the JSON form of a
    /// record and not the record itself.
    #[error(
        "a map with the key `$link` or `$bytes`, which are reserved for links and bytes in JSON"
    )]
    ReservedKey,
}

/// Whether `value` contains a floating-point number. Its depth is bounded by the decoder.
pub(crate) fn holds_float(value: &Ipld) -> bool {
    match value {
        Ipld::Float(_) => true,
        Ipld::List(items) => items.iter().any(holds_float),
        Ipld::Map(fields) => fields.values().any(holds_float),
        _ => false,
    }
}

/// Encodes `value` as canonical DAG-CBOR. Its only numbers must be 64-bit integers.
pub(crate) fn encode(value: &Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("every value of the data model can be encoded")
}
