//! The danger: a record that goes in as one thing and comes out as another, or that is encoded so
//! that nobody else accepts it.

#![allow(
    clippy::unwrap_used,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::BTreeMap;

use blockstore_core::{Cid, dag_cbor_cid, raw_cid};
use ipld_core::ipld::Ipld;
use mst_repo::{InvalidRecord, Json, check_record, decode_record, encode_record, ipld};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// Everything that the data model has, with fields in an order that is not the canonical one.
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
        prop_assert_eq!(check_record(&block), Ok(()));
        prop_assert_eq!(&decode_record::<Everything>(&block).unwrap(), &record);
        // Through any value.
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

/// Where the decoder beneath would not look, or would accept it: keys, links, fields that the type
/// does not have.
#[test]
fn what_is_not_dag_cbor_is_refused_wherever_it_stands() {
    #[derive(Debug, Deserialize)]
    struct Text {
        #[expect(dead_code, reason = "only whether it is there counts")]
        v: String,
    }
    let cid = raw_cid(b"").to_bytes();
    let text = |rest: &[u8]| [b"\xa2\x61v\x61a\x61x".as_slice(), rest].concat();
    let link = |len: u8, end: &[u8]| {
        let link = [b"\xd8\x2a\x58".as_slice(), &[len, 0], &cid, end].concat();
        [b"\xa1\x61v\x81".as_slice(), &link].concat()
    };
    let chunks = [
        b"\xa1\x61v\xd8\x2a\x5f\x58\x25\x00".as_slice(),
        &cid,
        b"\xff",
    ]
    .concat();
    decode_record::<Text>(&text(b"\xf6")).unwrap();
    decode_record::<Ipld>(&link(37, b"")).unwrap();
    for block in [
        text(b"\xf7"),
        text(b"\x9f\xff"),
        text(b"\xc1\x00"),
        text(b"\xf9\x00\x00"),
        text(b"\x61\xff"),
        text(b"\xa2\x61b\x00\x61a\x00"),
        b"\xa1\x61v\x7f\x61a\xff".to_vec(),
        b"\xa1\x7f\x61v\xff\x61a".to_vec(),
        chunks,
        link(38, b"\x09"),
    ] {
        let text = decode_record::<Text>(&block).unwrap_err();
        assert!(matches!(text, InvalidRecord::NotDagCbor(_)), "{block:02x?}");
        let any = decode_record::<Ipld>(&block).unwrap_err();
        assert!(matches!(any, InvalidRecord::NotDagCbor(_)), "{block:02x?}");
        assert!(check_record(&block).is_err(), "{block:02x?}");
    }
}

/// The map, its key, the list, and what is in that.
#[test]
fn a_record_may_have_131_072_items() {
    for (len, is_allowed) in [(131_069_u32, true), (131_070, false)] {
        let start = [b"\xa1\x61a\x9a".as_slice(), &len.to_be_bytes()].concat();
        let block = [start, vec![0; len as usize]].concat();
        assert_eq!(check_record(&block).is_ok(), is_allowed);
        assert_eq!(decode_record::<Ipld>(&block).is_ok(), is_allowed);
    }
}

/// No byte can hide how much there is.
#[test]
fn what_is_far_too_much_is_refused_behind_whatever_it_stands() {
    let many = [
        b"\x9a\x00\x05\x00\x00".as_slice(),
        &b"\xa1\x60\xf6".repeat(0x5_0000),
    ]
    .concat();
    for (start, expected) in [
        (b"\xa1\x61a".as_slice(), "more than 131072 items"),
        (b"\xa1\x7f\x61a\xff", "byte 1: an item of indefinite length"),
        (
            b"\xa2\x61a\x9f\xff\x61b",
            "byte 3: an item of indefinite length",
        ),
    ] {
        let block = [start, &many].concat();
        let error = decode_record::<Ipld>(&block).unwrap_err();
        let why = match &error {
            InvalidRecord::NotDagCbor(fault) => fault.to_string(),
            other => other.to_string(),
        };
        assert_eq!(why, expected);
    }
}

/// The JSON of a record is not a record, though nothing keeps serde from encoding it.
#[test]
fn json_is_not_taken_for_what_it_stands_for() {
    #[derive(Debug, serde::Serialize, Deserialize, PartialEq)]
    struct Around {
        a: Json,
    }
    let json = r#"{"a":[{"$link":"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"}]}"#;
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(encode_record(&value), Err(InvalidRecord::ReservedKey));
    let value: serde_json::Value = serde_json::from_str(r#"{"a": {"$bytes": ""}}"#).unwrap();
    assert_eq!(encode_record(&value), Err(InvalidRecord::ReservedKey));

    let record: Json = serde_json::from_str(json).unwrap();
    let block = encode_record(&record).unwrap();
    assert_eq!(check_record(&block), Ok(()));
    assert_eq!(block, encode_record(&record.0).unwrap());
    let decoded: Json = decode_record(&block).unwrap();
    assert_eq!(decoded, record);
    assert_eq!(serde_json::to_string(&decoded).unwrap(), json);
    // Part of a type of one's own too.
    let around: Around = decode_record(&block).unwrap();
    assert_eq!(serde_json::to_string(&around).unwrap(), json);
    assert_eq!(encode_record(&around).unwrap(), block);
}

/// Serde buffers such values before it knows their type, and then says that they are JSON.
#[test]
fn json_can_be_part_of_what_serde_looks_at_twice() {
    #[derive(Debug, serde::Serialize, Deserialize, PartialEq)]
    struct Flat {
        kind: String,
        #[serde(flatten)]
        rest: BTreeMap<String, Json>,
    }
    #[derive(Debug, serde::Serialize, Deserialize, PartialEq)]
    #[serde(tag = "kind")]
    enum Tagged {
        Note { raw: Json, link: Json, list: Json },
    }
    let link = Ipld::Link(dag_cbor_cid(b"\xa0"));
    let block = encode_record(&ipld!({
        "kind": "Note",
        "raw": Ipld::Bytes(vec![1, 2]),
        "link": link.clone(),
        "list": [1, null, { "a": link.clone() }],
    }));
    let block = block.unwrap();
    let flat: Flat = decode_record(&block).unwrap();
    assert_eq!(flat.rest["link"], Json(link.clone()));
    assert_eq!(flat.rest["raw"], Json(Ipld::Bytes(vec![1, 2])));
    assert_eq!(encode_record(&flat).unwrap(), block);
    let Tagged::Note { list, .. } = decode_record(&block).unwrap();
    assert_eq!(list, Json(ipld!([1, null, { "a": link }])));
}

#[test]
fn what_is_a_record_can_be_decoded_however_deep_it_is() {
    for inner in [
        b"\x80".as_slice(),
        b"\x81\x01",
        b"\xa0",
        b"\xa1\x61a\x61b",
        b"\x81\x41a",
    ] {
        for (depth, accepted) in [(126, true), (127, true), (128, false), (129, false)] {
            let block = [b"\xa1\x61a".as_slice(), &vec![0x81; depth - 2], inner].concat();
            assert_eq!(check_record(&block).is_ok(), accepted, "{inner:?} {depth}");
            let decoded = decode_record::<Ipld>(&block);
            let json = decode_record::<Json>(&block);
            assert_eq!(
                (decoded.is_ok(), json.is_ok()),
                (accepted, accepted),
                "{inner:?} {depth}"
            );
        }
    }
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
    for bad in [ipld!({ "text": 1 }), ipld!({ "txt": "Hello" })] {
        let error = decode_record::<Post>(&encode_record(&bad).unwrap()).unwrap_err();
        assert!(matches!(error, InvalidRecord::Decode(_)), "{bad:?}");
    }
    for (bad, offset) in [
        ([&block[..], b"\x00"].concat(), block.len()),
        (
            block.get(..block.len() - 1).unwrap().to_vec(),
            block.len() - 1,
        ),
        (Vec::new(), 0),
    ] {
        match decode_record::<Post>(&bad).unwrap_err() {
            InvalidRecord::NotDagCbor(fault) => assert_eq!(fault.offset, offset, "{bad:?}"),
            other => panic!("{other}: {bad:?}"),
        }
    }
}

#[test]
fn zero_and_negative_floats_are_dag_cbor() {
    for number in [0.0_f64, -1.5, 1.5] {
        let block = [b"\xa1\x61v\xfb".as_slice(), &number.to_be_bytes()].concat();
        decode_record::<Ipld>(&block).unwrap();
    }
}
