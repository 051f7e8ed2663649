//! The danger: a value that changes on its way through JSON, with its bytes or links turned into
//! text, or a number rounded.

#![allow(
    clippy::unwrap_used,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::BTreeMap;

use blockstore_core::{Cid, dag_cbor_cid, raw_cid};
use ipld_core::ipld::Ipld;
use mst_repo::{Json, ipld};
use proptest::prelude::*;

const NO_INTEGER: &str = "a number must be an integer from -2^63 to 2^63 - 1";

/// The DAG-CBOR of the value of JSON text.
fn block_of(text: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let Json(value) = serde_json::from_slice(text)?;
    Ok(serde_ipld_dagcbor::to_vec(&value).unwrap())
}

/// The line, the column where reading stopped, and why.
fn refusal(text: &str) -> (usize, usize, String) {
    let error = block_of(text.as_bytes()).unwrap_err();
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let place = format!(" at line {line} column {column}");
    (
        line,
        column,
        message.strip_suffix(&place).unwrap().to_owned(),
    )
}

/// It would be read back as a number.
#[test]
fn a_map_that_is_read_as_a_number_is_not_written() {
    let value = ipld!({"a": {"$serde_json::private::Number": "7"}});
    let error = serde_json::to_string(&Json(value)).unwrap_err().to_string();
    assert!(error.ends_with("which is read as a number"), "{error}");
}

#[test]
fn fields_are_put_in_the_order_of_dag_cbor() {
    let block = block_of(br#"{"aa": 1, "b": 2, "ab": {"": null}}"#);
    let expected = b"\xa3\x61b\x02\x62aa\x01\x62ab\xa1\x60\xf6";
    assert_eq!(block.unwrap(), expected);
}

#[test]
fn bytes_may_be_padded_and_must_be_base64() {
    for text in [r#"{"$bytes": "+/8"}"#, r#"{"$bytes": "+/8="}"#] {
        assert_eq!(block_of(text.as_bytes()).unwrap(), b"\x42\xfb\xff");
    }
    // Bits after the end, the alphabet of URLs, a space, half a byte; padding that is too much, too
    // little, or not at the end.
    for wrong in [
        "+/9", "-_8", "+/ 8", "+", "+/8==", "AA=", "AAAA=", "AAAA==", "AAAA====", "=", "====",
        "A===", "AA==AA==", "AAA=AA==", "AAA=AAA=", "AA==AAAA",
    ] {
        let text = format!("[{{\"$bytes\": \"{wrong}\"}}]");
        let end = text.len() - 1;
        let why = "bytes that are not base64".to_owned();
        assert_eq!(refusal(&text), (1, end, why), "{wrong}");
    }
}

#[test]
fn what_stands_for_links_and_bytes_stands_for_nothing_else() {
    let no_cid = "a link that is not a valid CID";
    let not_text = "a `$link` or `$bytes` that is not text";
    let others = "other fields beside `$link` or `$bytes`";
    let cid = raw_cid(b"").to_string();
    let shouted = cid.to_uppercase();
    for (text, why) in [
        (r#"{"$link": "bafy"}"#.to_owned(), no_cid),
        (format!(r#"{{"$link": "{shouted}"}}"#), no_cid),
        (r#"{"$link": 1}"#.to_owned(), not_text),
        (format!(r#"{{"a": 1, "$link": "{cid}"}}"#), others),
        (format!(r#"{{"$bytes": "", "$link": "{cid}"}}"#), others),
    ] {
        assert_eq!(refusal(&text), (1, text.len(), why.to_owned()));
        let (line, column, _) = refusal(&format!("[\n{text}]"));
        assert_eq!((line, column), (2, text.len()));
    }
}

/// The danger: text that takes far more time or memory than it has bytes.
#[test]
fn a_long_link_is_not_decoded_and_items_are_counted_as_they_come() {
    // It would take minutes.
    let long = format!(r#"{{"$link": "z{}"}}"#, "a".repeat(1_000_000));
    assert_eq!(refusal(&long).2, "a link that is not a valid CID");

    let too_many = "more than 131072 items";
    let list = |len: usize| format!("[{}0]", "0,".repeat(len - 1));
    assert!(block_of(list(131_071).as_bytes()).is_ok());
    assert_eq!(refusal(&list(131_072)).2, too_many);
    // The list, and three items for each of these.
    let maps = |len: usize| format!(r#"[{}{{"":0}}]"#, r#"{"":0},"#.repeat(len - 1));
    assert!(block_of(maps(43_690).as_bytes()).is_ok());
    assert_eq!(refusal(&maps(43_691)).2, too_many);
}

/// In JSON each is an object with a key and a text.
#[test]
fn links_and_bytes_are_one_item_each() {
    let link = Ipld::Link(dag_cbor_cid(b"\xa0"));
    for one in [Ipld::Bytes(vec![]), link] {
        for (len, is_allowed) in [(131_071, true), (131_072, false)] {
            let list = Json(Ipld::List(vec![one.clone(); len]));
            let text = serde_json::to_string(&list).unwrap();
            match serde_json::from_str::<Json>(&text) {
                Ok(read) => assert!(is_allowed && read == list),
                Err(error) => assert!(!is_allowed, "{error}"),
            }
        }
    }
}

#[test]
fn a_value_is_read_back_at_any_depth_but_for_the_last() {
    for depth in [1, 125, 126, 127] {
        for (innermost, limit) in [(Ipld::Null, 127), (Ipld::Bytes(vec![1]), 126)] {
            let nested = (0..depth).fold(innermost, |value, _| Ipld::List(vec![value]));
            let text = serde_json::to_string(&Json(nested.clone())).unwrap();
            let read = serde_json::from_str::<Json>(&text).ok();
            assert_eq!(read, (depth <= limit).then_some(Json(nested)), "{depth}");
        }
    }
}

#[test]
fn a_key_that_comes_twice_is_pointed_at() {
    let text = "{\"a\": 1, \"b\": {\"a\": 1},\n \"\\u0061\": 2}";
    let twice = "a duplicate key".to_owned();
    assert_eq!(refusal(text), (2, 9, twice));
}

#[test]
fn integers_reach_from_minus_2_to_the_63_to_2_to_the_63_minus_1() {
    for number in [i64::MIN, -1, 0, 7, i64::MAX] {
        let block = serde_ipld_dagcbor::to_vec(&number).unwrap();
        assert_eq!(block_of(number.to_string().as_bytes()).unwrap(), block);
    }
    let below = (i128::from(i64::MIN) - 1).to_string();
    let above = (i128::from(i64::MAX) + 1).to_string();
    let (far, negative) = ("9".repeat(60), format!("-{}", "9".repeat(60)));
    for text in [&*below, &above, &far, &negative, "1.5", "1e-3", "-0.5"] {
        assert_eq!(refusal(&format!("[{text} ]")).2, NO_INTEGER, "{text}");
    }
}

#[test]
fn a_number_that_is_an_integer_is_one_however_it_is_written() {
    for (text, number) in [
        ("1.0", 1),
        ("-1e3", -1_000),
        ("-0", 0),
        ("1125899906842623.0", (1_i64 << 50) - 1),
        ("123.00000000000000000000000000", 123),
    ] {
        let block = serde_ipld_dagcbor::to_vec(&number).unwrap();
        assert_eq!(block_of(text.as_bytes()).unwrap(), block, "{text}");
    }
    // As `serde_json` hides it, if it has the feature `arbitrary_precision`.
    let hidden = |text: &str| format!(r#"[{{"$serde_json::private::Number": "{text}"}}]"#);
    assert_eq!(block_of(hidden("1e2").as_bytes()).unwrap(), b"\x81\x18\x64");
    for text in ["1.5", "1e999", "9999999999999999999999", "a"] {
        assert_eq!(refusal(&hidden(text)).2, NO_INTEGER, "{text}");
    }
    // It is the only key there.
    for text in [
        r#"[{"a": 1, "$serde_json::private::Number": "5"}]"#,
        r#"[{"$serde_json::private::Number": "5", "a": 1}]"#,
    ] {
        assert!(block_of(text.as_bytes()).is_err(), "{text}");
    }
    // Another integer might have been meant.
    for text in ["1125899906842624.0", "-9007199254740993.0", "1e300"] {
        assert_eq!(refusal(&format!("[{text} ]")).2, NO_INTEGER, "{text}");
    }
}

/// Some of the wrong ones are those of `atproto-interop-tests`, `data-model/data-model-invalid.json`.
#[test]
fn what_an_object_says_that_it_is_it_must_be() {
    let cid = raw_cid(b"").to_string();
    let blob = |fields: &str| format!(r#"{{"$type": "blob"{fields}}}"#);
    let whole = format!(r#", "ref": {{"$link": "{cid}"}}, "mimeType": "image/jpeg", "size": 1"#);
    for right in [
        r#"{"$type": "a.b.c"}"#.to_owned(),
        r#"{"type": null}"#.to_owned(),
        blob(&whole),
    ] {
        assert!(block_of(right.as_bytes()).is_ok(), "{right}");
    }
    let no_type = "a `$type` that is empty or not text";
    let no_blob =
        "a blob without a link `ref` to raw bytes, a text `mimeType` and a `size` above 0";
    let node = dag_cbor_cid(b"").to_string();
    for (wrong, why) in [
        (r#"{"a": 1, "$type": null}"#.to_owned(), no_type),
        (r#"{"$type": 123}"#.to_owned(), no_type),
        (r#"{"$type": ""}"#.to_owned(), no_type),
        (blob(""), no_blob),
        (blob(&whole.replace("ref", "cid")), no_blob),
        (blob(&whole.replace('1', r#""1""#)), no_blob),
        (blob(&whole.replace('1', "0")), no_blob),
        (blob(&whole.replace('1', "-1")), no_blob),
        (blob(&whole.replace(&cid, &node)), no_blob),
        (blob(&whole.replace(r#""image/jpeg""#, "null")), no_blob),
        (blob(&whole.replace("image/jpeg", "")), no_blob),
        (
            blob(r#", "mimeType": "a/b", "size": 1, "ref": "b""#),
            no_blob,
        ),
    ] {
        assert_eq!(refusal(&wrong).2, why, "{wrong}");
    }
}

fn value() -> impl Strategy<Value = Ipld> {
    let key = |key: &String| !matches!(&**key, "$link" | "$bytes");
    let link = (any::<[u8; 4]>(), 0..3).prop_map(|(bytes, kind)| match kind {
        0 => raw_cid(&bytes),
        1 => dag_cbor_cid(&bytes),
        _ => Cid::new_v0(*raw_cid(&bytes).hash()).unwrap(),
    });
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        any::<i64>().prop_map(|number| Ipld::Integer(number.into())),
        any::<String>().prop_map(Ipld::String),
        any::<Vec<u8>>().prop_map(Ipld::Bytes),
        link.prop_map(Ipld::Link),
    ];
    leaf.prop_recursive(5, 60, 10, move |inner| {
        let key = any::<String>().prop_filter("reserved", key);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..10).prop_map(Ipld::List),
            prop::collection::btree_map(key, inner, 0..10).prop_map(Ipld::Map),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_the_data_model_has_comes_back(value in value()) {
        let value = Json(value);
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Json>(&text).unwrap(), &value);
        // Through the values of another crate, which has no links and no bytes.
        let other = serde_json::to_value(&value).unwrap();
        prop_assert_eq!(&other, &serde_json::from_str::<serde_json::Value>(&text).unwrap());
        prop_assert_eq!(serde_json::from_value::<Json>(other).unwrap(), value);
    }
}

/// In some formats of serde, null is an empty option.
#[test]
fn nothing_is_null() {
    let nothing: Json = serde_ipld_dagcbor::from_slice(b"\xf6").unwrap();
    assert_eq!(nothing, Json(Ipld::Null));
}

#[test]
fn what_could_not_come_back_is_not_written() {
    for (value, why) in [
        (ipld!({ "a": 1.5 }), NO_INTEGER),
        (Ipld::Integer(i128::from(u64::MAX)), NO_INTEGER),
        (
            ipld!([{ "$link": "x" }]),
            "a map with the key `$link` or `$bytes`",
        ),
        (
            ipld!({ "$bytes": 1, "a": 2 }),
            "a map with the key `$link` or `$bytes`",
        ),
    ] {
        let error = serde_json::to_string(&Json(value)).unwrap_err();
        assert_eq!(error.to_string(), why);
    }
    let fields = BTreeMap::from([("$type".to_owned(), Ipld::Null)]);
    let text = serde_json::to_string(&Json(Ipld::Map(fields))).unwrap();
    assert_eq!(text, r#"{"$type":null}"#);
}
