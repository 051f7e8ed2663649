//! The danger: a record that goes in as one thing and comes out as another, or that is encoded so
//! that nobody else takes it.

#![allow(
    clippy::unwrap_used,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::BTreeMap;

use blockstore_core::{Cid, dag_cbor_cid, raw_cid};
use ipld_core::ipld::Ipld;
use mst_repo::{InvalidRecord, decode_record, encode_record, ipld, is_record};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// All that the data model has, its fields in an order that is not the canonical one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Everything {
    text: String,
    #[serde(rename = "$type")]
    kind: String,
    a_number: i64,
    yes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<String>,
    nothing: Option<i8>,
    link: Cid,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    list: Vec<u32>,
    inside: BTreeMap<String, Vec<bool>>,
}

fn everything() -> impl Strategy<Value = Everything> {
    let texts = (any::<String>(), any::<String>(), any::<Option<String>>());
    let numbers = (any::<i64>(), any::<Option<i8>>(), any::<bool>());
    let (bytes, list) = (any::<Vec<u8>>(), any::<Vec<u32>>());
    let inside = any::<BTreeMap<String, Vec<bool>>>();
    (texts, numbers, bytes, list, inside).prop_map(
        |((text, kind, left_out), (a_number, nothing, yes), bytes, list, inside)| Everything {
            link: if yes {
                dag_cbor_cid(&bytes)
            } else {
                raw_cid(&bytes)
            },
            text,
            kind,
            a_number,
            yes,
            left_out,
            nothing,
            bytes,
            list,
            inside,
        },
    )
}

proptest! {
    #[test]
    fn what_is_encoded_is_a_record_and_comes_out_again(record in everything()) {
        let block = encode_record(&record).unwrap();
        prop_assert!(is_record(&block));
        prop_assert_eq!(&decode_record::<Everything>(&block).unwrap(), &record);
        // By way of any value.
        let value: Ipld = decode_record(&block).unwrap();
        prop_assert_eq!(&encode_record(&value).unwrap(), &block);
        let Ipld::Map(fields) = value else { panic!("a record is a map") };
        prop_assert_eq!(fields.get("link"), Some(&Ipld::Link(record.link)));
        prop_assert_eq!(fields.get("bytes"), Some(&Ipld::Bytes(record.bytes)));
        prop_assert_eq!(fields.get("nothing"), Some(&record.nothing.map_or(Ipld::Null, |n| Ipld::Integer(n.into()))));
        prop_assert_eq!(fields.contains_key("leftOut"), record.left_out.is_some());
    }
}

#[test]
fn what_is_no_record_is_not_encoded() {
    assert_eq!(encode_record(&[1, 2]), Err(InvalidRecord::NotAMap));
    assert_eq!(encode_record(&Ipld::Null), Err(InvalidRecord::NotAMap));
    assert_eq!(
        encode_record(&ipld!({ "a": [1.5] })),
        Err(InvalidRecord::Number)
    );
    assert_eq!(
        encode_record(&BTreeMap::from([("a", u64::MAX)])),
        Err(InvalidRecord::Number)
    );
    assert!(matches!(
        encode_record(&BTreeMap::from([("a", f64::NAN)])),
        Err(InvalidRecord::Encode(_))
    ));
    let mut deep = Ipld::Null;
    for _ in 0..200 {
        deep = Ipld::List(vec![deep]);
    }
    assert!(encode_record(&ipld!({ "a": deep })).is_err());
    let many = ipld!({ "a": Ipld::List(vec![Ipld::Null; 131_072]) });
    assert_eq!(
        encode_record(&many),
        Err(InvalidRecord::TooManyItems { limit: 131_072 })
    );
}

#[test]
fn what_is_not_of_the_type_is_an_error() {
    #[derive(Debug, Deserialize)]
    struct Post {
        #[expect(dead_code, reason = "only whether it is there counts")]
        text: String,
    }
    let block = encode_record(&ipld!({ "text": "Hello", "more": [{ "a": 1 }] })).unwrap();
    decode_record::<Post>(&block).unwrap();
    for bad in [
        encode_record(&ipld!({ "text": 1 })).unwrap().to_vec(),
        encode_record(&ipld!({ "txt": "Hello" })).unwrap().to_vec(),
        [&block[..], b"\x00"].concat(),
        block.get(..block.len() - 1).unwrap().to_vec(),
        Vec::new(),
    ] {
        let error = decode_record::<Post>(&bad).unwrap_err();
        assert!(matches!(error, InvalidRecord::Decode(_)), "{bad:?}");
    }
}
