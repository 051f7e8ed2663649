//! The values that a block of DAG-CBOR may hold in atproto.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;

use crate::items;

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
    decode_record(block).is_some()
}

/// Returns the fields of a record.
pub(crate) fn decode_record(block: &[u8]) -> Option<BTreeMap<String, Ipld>> {
    if !items::has_at_most(MAX_RECORD_ITEMS, block) {
        return None;
    }
    let value: Ipld = serde_ipld_dagcbor::from_slice(block).ok()?;
    if !holds_integers_only(&value) || encode(&value) != block {
        return None;
    }
    match value {
        Ipld::Map(fields) => Some(fields),
        _ => None,
    }
}

/// The most items of a record.
///
/// Source: <https://atproto.com/guides/data-validation>, where it is the most elements of one list
/// or map
const MAX_RECORD_ITEMS: usize = 131_072;

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
