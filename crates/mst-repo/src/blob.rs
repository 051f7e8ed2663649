//! References from records to blobs.

use std::collections::BTreeMap;

use blockstore_core::{Cid, RAW};
use ipld_core::ipld::Ipld;

use crate::json::cid_from_text;
use crate::{InvalidRecord, decode_record};

/// A reference from a record to a blob, such as an image. Blobs are not blocks of a repository: a
/// server keeps them beside it, as long as a record refers to them.
///
/// Source: <https://atproto.com/specs/data-model#blob-type>
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct BlobRef {
    /// The CID of the blob.
    pub cid: Cid,
    /// The media type, such as `image/jpeg`.
    pub mime_type: String,
    /// The length in bytes. `None` in the form of early records, which had only the other two.
    pub size: Option<u64>,
}

impl BlobRef {
    /// The reference that a map of a record is, if it is a whole one.
    pub(crate) fn of(fields: &BTreeMap<String, Ipld>) -> Option<Self> {
        let [
            Some(Ipld::Link(cid)),
            Some(Ipld::String(mime_type)),
            Some(Ipld::Integer(size)),
        ] = ["ref", "mimeType", "size"].map(|name| fields.get(name))
        else {
            return None;
        };
        let size = u64::try_from(*size).ok().filter(|size| *size > 0)?;
        (cid.codec() == RAW && !mime_type.is_empty()).then(|| Self {
            cid: *cid,
            mime_type: mime_type.clone(),
            size: Some(size),
        })
    }

    /// The same in the form of early records, which had no type.
    fn of_early(fields: &BTreeMap<String, Ipld>) -> Option<Self> {
        if fields.len() != 2 {
            return None;
        }
        let [Some(Ipld::String(cid)), Some(Ipld::String(mime_type))] =
            ["cid", "mimeType"].map(|name| fields.get(name))
        else {
            return None;
        };
        Some(Self {
            cid: cid_from_text(cid)?,
            mime_type: mime_type.clone(),
            size: None,
        })
    }
}

/// Returns the blobs that the block of a record refers to, each as often as it does: maps of the
/// `$type` `blob` with all that this needs, and those of early records, which have a `cid` and a
/// `mimeType` as text and nothing else.
///
/// # Errors
///
/// As for [`decode_record`].
///
/// # Examples
///
/// ```
/// use mst_repo::{Json, encode_record, record_blobs};
///
/// let record: Json = serde_json::from_str(
///     r#"{
///         "$type": "app.bsky.actor.profile",
///         "avatar": {
///             "$type": "blob",
///             "ref": {"$link": "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"},
///             "mimeType": "image/jpeg",
///             "size": 48213
///         }
///     }"#,
/// )?;
/// let blobs = record_blobs(&encode_record(&record)?)?;
/// assert_eq!((blobs.len(), &*blobs[0].mime_type), (1, "image/jpeg"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn record_blobs(block: &[u8]) -> Result<Vec<BlobRef>, InvalidRecord> {
    let mut blobs = Vec::new();
    collect(&decode_record(block)?, &mut blobs);
    Ok(blobs)
}

/// Adds the blobs in `value`, whose depth is bounded by the decoder.
fn collect(value: &Ipld, blobs: &mut Vec<BlobRef>) {
    match value {
        Ipld::List(items) => items.iter().for_each(|item| collect(item, blobs)),
        Ipld::Map(fields) => {
            let blob = match fields.get("$type") {
                Some(Ipld::String(kind)) if kind == "blob" => BlobRef::of(fields),
                _ => BlobRef::of_early(fields),
            };
            blobs.extend(blob);
            // A blob may have fields of its own.
            for field in fields.values() {
                collect(field, blobs);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic in a test is the report")]
mod tests {
    use blockstore_core::{Bytes, dag_cbor_cid, raw_cid};
    use ipld_core::ipld;

    use super::*;
    use crate::encode_record;

    fn blobs(record: &Ipld) -> Vec<BlobRef> {
        record_blobs(&encode_record(record).unwrap()).unwrap()
    }

    #[test]
    fn blobs_are_found_wherever_they_are() {
        let (one, two, early) = (raw_cid(b"one"), raw_cid(b"two"), raw_cid(b"early"));
        let blob = |cid: Cid| ipld!({"$type": "blob", "ref": cid, "mimeType": "a/b", "size": 3});
        let record = ipld!({
            "$type": "app.bsky.feed.post",
            "embed": {
                "images": [{ "image": blob(one) }, { "image": blob(two) }, { "image": blob(one) }],
                "early": { "cid": early.to_string(), "mimeType": "c/d" },
            },
        });
        let found: Vec<(Cid, String, Option<u64>)> = blobs(&record)
            .into_iter()
            .map(|blob| (blob.cid, blob.mime_type, blob.size))
            .collect();
        let of = |cid, size| (cid, "a/b".to_owned(), Some(size));
        assert_eq!(
            found,
            [
                (early, "c/d".to_owned(), None),
                of(one, 3),
                of(two, 3),
                of(one, 3)
            ]
        );
    }

    #[test]
    fn a_blob_in_a_field_of_a_blob_is_one_too() {
        let (one, two) = (raw_cid(b"one"), raw_cid(b"two"));
        let inner = ipld!({"$type": "blob", "ref": two, "mimeType": "a/b", "size": 3});
        let outer = ipld!({
            "$type": "blob", "ref": one, "mimeType": "a/b", "size": 3, "more": [inner],
        });
        let found = blobs(&ipld!({ "image": outer }));
        let cids: Vec<Cid> = found.into_iter().map(|blob| blob.cid).collect();
        assert_eq!(cids, [one, two]);
    }

    #[test]
    fn what_only_resembles_a_blob_is_none() {
        let (raw, other) = (raw_cid(b"one"), dag_cbor_cid(b"one"));
        let text = raw.to_string();
        for blob in [
            ipld!({"ref": raw, "mimeType": "a/b", "size": 3}),
            ipld!({"$type": "blob", "ref": other, "mimeType": "a/b", "size": 3}),
            ipld!({"$type": "blob", "ref": text.clone(), "mimeType": "a/b", "size": 3}),
            ipld!({"$type": "blob", "ref": raw, "mimeType": "", "size": 3}),
            ipld!({"$type": "blob", "ref": raw, "mimeType": "a/b", "size": 0}),
            ipld!({"$type": "blob", "ref": raw, "mimeType": "a/b"}),
            ipld!({"$type": "blob", "cid": text.clone(), "mimeType": "a/b"}),
            ipld!({"cid": text.clone(), "mimeType": "a/b", "size": 3}),
            ipld!({"cid": text.to_uppercase(), "mimeType": "a/b"}),
            ipld!({"cid": "no CID", "mimeType": "a/b"}),
            ipld!({"cid": raw, "mimeType": "a/b"}),
        ] {
            assert_eq!(blobs(&ipld!({ "image": blob.clone() })), [], "{blob:?}");
        }
        assert!(record_blobs(&Bytes::from_static(b"\xa0\xa0")).is_err());
    }
}
