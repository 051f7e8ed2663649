//! The values that a block of DAG-CBOR may hold in atproto: records, and parts of commits.

use std::collections::BTreeMap;

use blockstore_core::Bytes;
use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use crate::dag_cbor_error::{decode_fault, encode_fault};
use crate::items;

/// Decodes the block of a record, into a type that its lexicon asks for or into [`Ipld`].
///
/// That the block is all that a record must be, [`is_record`] says; here it has to be of the type.
///
/// # Errors
///
/// [`InvalidRecord::Decode`] and [`InvalidRecord::TooManyItems`].
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
    if !items::has_at_most(MAX_RECORD_ITEMS, block) {
        let limit = MAX_RECORD_ITEMS;
        return Err(InvalidRecord::TooManyItems { limit });
    }
    serde_ipld_dagcbor::from_slice(block)
        .map_err(|error| InvalidRecord::Decode(decode_fault(&error)))
}

/// Encodes a record: its block, canonical DAG-CBOR, whose CID is
/// [`dag_cbor_cid`](blockstore_core::dag_cbor_cid) of it. Fields of a `struct` may stand in any order;
/// of bytes, `serde_bytes` makes what the data model calls so.
///
/// # Errors
///
/// [`InvalidRecord`] if it would not be a record, as [`is_record`] says.
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
    record_fields(&block)?;
    Ok(block.into())
}

/// Returns whether `block` is what a record must be: a map in canonical DAG-CBOR, without
/// floating-point numbers, integers of 64 bits with a sign, nothing more than 128 levels deep, and
/// no more than 131,072 items in all. Whether it fits its lexicon is another question.
///
/// Source: <https://atproto.com/specs/data-model>
///
/// # Examples
///
/// ```
/// // {"text": "Hello"}, and an array.
/// assert!(mst_repo::is_record(b"\xa1\x64text\x65Hello"));
/// assert!(!mst_repo::is_record(b"\x80"));
/// ```
pub fn is_record(block: &[u8]) -> bool {
    record_fields(block).is_ok()
}

/// Returns the fields of a record.
pub(crate) fn record_fields(block: &[u8]) -> Result<BTreeMap<String, Ipld>, InvalidRecord> {
    let value: Ipld = decode_record(block)?;
    if !holds_integers_only(&value) {
        return Err(InvalidRecord::Number);
    }
    // The decoder takes some spellings that are not canonical; the encoder writes none.
    if encode(&value) != block {
        return Err(InvalidRecord::NotCanonical);
    }
    match value {
        Ipld::Map(fields) => Ok(fields),
        _ => Err(InvalidRecord::NotAMap),
    }
}

/// The most items of a record.
///
/// Source: <https://atproto.com/guides/data-validation>, where it is the most elements of one list
/// or map
const MAX_RECORD_ITEMS: usize = 131_072;

/// Why a block is not a record, or not the one that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// It is not DAG-CBOR of at most 128 levels, or not of the type that was asked for, for
    /// the reason that the text gives.
    #[error("it cannot be decoded: {0}")]
    Decode(String),
    /// The value cannot be encoded, for the reason that the text gives.
    #[error("it cannot be encoded: {0}")]
    Encode(String),
    /// There is more in it than a record may have.
    #[error("more than {limit} items")]
    TooManyItems {
        /// How many items it may have.
        limit: usize,
    },
    /// A number is not an integer of 64 bits with a sign.
    #[error("a number that is not an integer of 64 bits with a sign")]
    Number,
    /// It is DAG-CBOR in another spelling than the canonical one.
    #[error("not canonical DAG-CBOR")]
    NotCanonical,
    /// It is no map.
    #[error("not a map")]
    NotAMap,
}

/// Whether all numbers in `value` are of the data model, which has integers of 64 bits, signed.
fn holds_integers_only(value: &Ipld) -> bool {
    every(value, |part| match part {
        Ipld::Float(_) => false,
        Ipld::Integer(number) => i64::try_from(*number).is_ok(),
        _ => true,
    })
}

pub(crate) fn holds_float(value: &Ipld) -> bool {
    !every(value, |part| !matches!(part, Ipld::Float(_)))
}

/// Whether `holds` of `value` and of all that is in it. The decoder bounds how deep it nests.
fn every(value: &Ipld, holds: fn(&Ipld) -> bool) -> bool {
    holds(value)
        && match value {
            Ipld::List(items) => items.iter().all(|item| every(item, holds)),
            Ipld::Map(fields) => fields.values().all(|field| every(field, holds)),
            _ => true,
        }
}

/// Encodes `value` as canonical DAG-CBOR.
pub(crate) fn encode(value: &Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("a vector takes every write")
}
