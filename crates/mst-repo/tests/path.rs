//! The danger: a key of a tree that is not a path, but taken for one. Paths are shown in addresses,
//! used as file names and for routing; `..` in one must never get that far. And a rule that is too
//! strict loses records that the network accepts.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use mst_repo::{
    InvalidNsid, InvalidPath, InvalidRecordKey, RepoPath, Tid, check_nsid, check_record_key, is_did,
};
use proptest::prelude::*;

// ---- Published vectors: `atproto-interop-tests`, `syntax/` (CC0).

#[test]
fn published_nsids_are_told_from_what_is_none() {
    let long_label = format!("com.{}.foo", "o".repeat(63));
    let long_name = format!("com.example.{}", "o".repeat(63));
    let long = format!("com.{}foo", "middle.".repeat(40));
    let valid = [
        &long_label,
        &long_name,
        &long,
        "com.example.fooBar",
        "com.example.fooBarV2",
        "a.b.c",
        "m.xn--masekowski-d0b.pl",
        "one.two.three.four-and.FiVe",
        "one.2.three",
        "a-0.b-1.c",
        "cn.8.lex.stuff",
        "test.12345.record",
        "a.0.c",
        "xn--fiqs8s.xn--fiqa61au8b7zsevnm8ak20mc4a87e.record.two",
        "com.example.f00",
        "onion.g2zyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.lex.deleteThing",
        "org.4chan.lex.getThing",
    ];
    for nsid in valid {
        assert_eq!(check_nsid(nsid.as_bytes()), Ok(nsid));
    }
    let longer_label = format!("com.{}.foo", "o".repeat(64));
    let longer_name = format!("com.example.{}", "o".repeat(64));
    let longer = format!("com.{}foo", "middle.".repeat(50));
    let invalid = [
        (
            longer_label.as_str(),
            InvalidNsid::SegmentLen { index: 1, len: 64 },
        ),
        (&longer_name, InvalidNsid::SegmentLen { index: 2, len: 64 }),
        (&longer, InvalidNsid::TooLong { len: 357 }),
        ("com.example.foo.*", InvalidNsid::Character { index: 3 }),
        ("com.example.foo.blah*", InvalidNsid::Character { index: 3 }),
        ("com.exa💩ple.thing", InvalidNsid::Character { index: 1 }),
        ("a-0.b-1.c-3", InvalidNsid::Character { index: 2 }),
        ("a-0.b-1.c-o", InvalidNsid::Character { index: 2 }),
        ("1.0.0.127.record", InvalidNsid::SegmentEdge { index: 0 }),
        ("0two.example.foo", InvalidNsid::SegmentEdge { index: 0 }),
        ("example.com", InvalidNsid::Segments { found: 2 }),
        ("a.", InvalidNsid::SegmentLen { index: 1, len: 0 }),
        (
            ".one.two.three",
            InvalidNsid::SegmentLen { index: 0, len: 0 },
        ),
        ("one.two.three ", InvalidNsid::Character { index: 2 }),
        (
            "one.two..three",
            InvalidNsid::SegmentLen { index: 2, len: 0 },
        ),
        ("one .two.three", InvalidNsid::Character { index: 0 }),
        (" one.two.three", InvalidNsid::Character { index: 0 }),
        ("com.atproto.feed.p_st", InvalidNsid::Character { index: 3 }),
        ("com.example-.foo", InvalidNsid::SegmentEdge { index: 1 }),
        (
            "com.example.fooBar.2",
            InvalidNsid::SegmentEdge { index: 3 },
        ),
        ("", InvalidNsid::SegmentLen { index: 0, len: 0 }),
    ];
    for (nsid, fault) in invalid {
        assert_eq!(check_nsid(nsid.as_bytes()), Err(fault), "{nsid}");
    }
}

#[test]
fn published_record_keys_are_told_from_what_is_none() {
    let longest = "o".repeat(512);
    let valid = [
        "self",
        "example.com",
        "~1.2-3_",
        "dHJ1ZQ",
        "_",
        "literal:self",
        "pre:fix",
        ":",
        "-",
        "~",
        "...",
        "self.",
        "lang:",
        ":lang",
        &longest,
    ];
    for key in valid {
        assert_eq!(check_record_key(key.as_bytes()), Ok(key));
    }
    let longer = "o".repeat(513);
    let invalid = [
        ("alpha/beta", InvalidRecordKey::Character { at: 5 }),
        (".", InvalidRecordKey::Dots),
        ("..", InvalidRecordKey::Dots),
        ("#extra", InvalidRecordKey::Character { at: 0 }),
        ("@handle", InvalidRecordKey::Character { at: 0 }),
        ("any space", InvalidRecordKey::Character { at: 3 }),
        ("any+space", InvalidRecordKey::Character { at: 3 }),
        ("number[3]", InvalidRecordKey::Character { at: 6 }),
        ("\"quote\"", InvalidRecordKey::Character { at: 0 }),
        ("dHJ1ZQ==", InvalidRecordKey::Character { at: 6 }),
        (&longer, InvalidRecordKey::Len { len: 513 }),
        ("", InvalidRecordKey::Len { len: 0 }),
        ("über", InvalidRecordKey::Character { at: 0 }),
        ("a\0", InvalidRecordKey::Character { at: 1 }),
        ("a%2F", InvalidRecordKey::Character { at: 1 }),
    ];
    for (key, fault) in invalid {
        assert_eq!(check_record_key(key.as_bytes()), Err(fault), "{key}");
    }
}

#[test]
fn published_tids_and_dids_are_told_from_what_is_none() {
    for tid in [
        "3jzfcijpj2z2a",
        "7777777777777",
        "3zzzzzzzzzzzz",
        "2222222222222",
        "j222222222222",
    ] {
        assert!(tid.parse::<Tid>().is_ok(), "{tid}");
    }
    for no_tid in [
        "3jzfcijpj2z21",
        "0000000000000",
        "3JZFCIJPJ2Z2A",
        "3jzfcijpj2z2aa",
        "3jzfcijpj2z2",
        "222",
        "3jzf-cij-pj2z-2a",
        "zzzzzzzzzzzzz",
        "kjzfcijpj2z2a",
        "",
        "3jzfcijpj2zß",
    ] {
        assert!(no_tid.parse::<Tid>().is_err(), "{no_tid}");
    }
    let longest = format!("did:method:{}", "v".repeat(2_037));
    for did in [
        "did:method:val",
        "did:method:VAL",
        "did:method:val%BB",
        "did:m:v",
        "did:method::::val",
        "did:method:-:_:.:%ab",
        "did:method:.",
        "did:method::.",
        "did:web:localhost%3A1234",
        "did:plc:7iza6de2dwap2sbkpav7c6c6",
        &longest,
    ] {
        assert!(is_did(did), "{did}");
    }
    let longer = format!("{longest}v");
    for no_did in [
        "did",
        "didmethodval",
        "method:did:val",
        "did:method:",
        "didmethod:val",
        "did:methodval)",
        ":did:method:val",
        "did.method.val",
        "did:method:val:",
        "did:method:val%",
        "DID:method:val",
        "did:METHOD:val",
        "did:m123:val",
        "did:method:val/two",
        "did:method:val?two",
        "did:method:val#two",
        "did::val",
        "did:method:v\u{e4}l",
        " did:method:val",
        &longer,
    ] {
        assert!(!is_did(no_did), "{no_did}");
    }
}

// ---- Whole paths.

#[test]
fn a_path_has_a_collection_and_a_record_key_and_no_more() {
    for (path, found) in [
        ("", 1),
        ("app.bsky.feed.post", 1),
        ("/app.bsky.feed.post/self", 3),
        ("app.bsky.feed.post/self/", 3),
        ("app.bsky.feed.post//self", 3),
        ("app.bsky.feed.post/a/b/c", 4),
    ] {
        assert_eq!(
            RepoPath::parse(path.as_bytes()),
            Err(InvalidPath::Segments { found }),
            "{path}"
        );
    }
    for (path, fault) in [
        ("/self", InvalidNsid::SegmentLen { index: 0, len: 0 }.into()),
        ("post/self", InvalidNsid::Segments { found: 1 }.into()),
        ("app.bsky/self", InvalidNsid::Segments { found: 2 }.into()),
        (
            "../..",
            InvalidPath::from(InvalidNsid::SegmentLen { index: 0, len: 0 }),
        ),
        (
            "app.bsky.feed.post/",
            InvalidRecordKey::Len { len: 0 }.into(),
        ),
        ("app.bsky.feed.post/.", InvalidRecordKey::Dots.into()),
        ("app.bsky.feed.post/..", InvalidRecordKey::Dots.into()),
        (
            "app.bsky.feed.post/a b",
            InvalidRecordKey::Character { at: 1 }.into(),
        ),
        (
            "app.bsky.feed.p\u{f6}st/self",
            InvalidNsid::Character { index: 3 }.into(),
        ),
        // Keys of the tree's own vectors are not paths of a repository.
        ("k/00", InvalidNsid::Segments { found: 1 }.into()),
        ("A0/374913", InvalidNsid::Segments { found: 1 }.into()),
    ] {
        assert_eq!(RepoPath::parse(path.as_bytes()), Err(fault), "{path}");
    }
    let not_text = RepoPath::parse(b"app.bsky.feed.post/\xff");
    assert_eq!(not_text, Err(InvalidRecordKey::Character { at: 0 }.into()));
}

#[test]
fn paths_are_in_the_order_of_the_tree() {
    let texts = [
        "com.example-a.b/0",
        "com.example.a-b.c/z",
        "com.example.a.b/0",
        "com.example.a/.0",
        "com.example.a/A",
        "com.example.a/a",
        "com.example.a/a0",
        "com.example.ab/0",
    ];
    assert!(texts.is_sorted());
    let paths = texts.map(|text| RepoPath::try_from(text).unwrap());
    assert!(paths.is_sorted_by(|left, right| left < right));
    for (path, text) in paths.iter().zip(texts) {
        let (collection, record_key) = text.split_once('/').unwrap();
        assert_eq!(*path, RepoPath::new(collection, record_key).unwrap());
        assert_eq!(path.to_string(), text);
    }
    let fault = InvalidNsid::Segments { found: 1 }.into();
    assert_eq!(RepoPath::new("a", "self"), Err(fault));
    let fault = InvalidRecordKey::Character { at: 1 }.into();
    assert_eq!(RepoPath::new("com.example.a", "b/c"), Err(fault));
}

#[test]
fn the_longest_path_has_830_bytes() {
    let collection = format!(
        "{}{}",
        format!("{}.", "a".repeat(63)).repeat(4),
        "n".repeat(61)
    );
    assert_eq!(collection.len(), 317);
    let path = format!("{collection}/{}", "r".repeat(512));
    let parsed = RepoPath::parse(path.as_bytes()).unwrap();
    assert_eq!(
        (parsed.collection(), parsed.record_key().len()),
        (collection.as_str(), 512)
    );
    let longer = format!("a{path}");
    assert!(RepoPath::parse(longer.as_bytes()).is_err());
    let longer = format!("{path}r");
    assert_eq!(
        RepoPath::parse(longer.as_bytes()),
        Err(InvalidRecordKey::Len { len: 513 }.into())
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// The specification's own regular expressions, by hand.
    #[test]
    fn a_path_is_accepted_exactly_if_the_specification_accepts_it(
        path in "[a-b0.-]{0,6}\\.?[a-b0-]{0,3}\\.[a-b0-]{0,3}/?[a/.:~_@-]{0,4}",
    ) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let nsid = |nsid: &str| {
            let labels: Vec<&str> = nsid.split('.').collect();
            let name = labels[labels.len() - 1];
            labels.len() >= 3
                && labels.iter().all(|part| label(part))
                && !labels[0].starts_with(|c: char| c.is_ascii_digit())
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && !name.contains('-')
        };
        let record_key = |key: &str| {
            !key.is_empty()
                && key != "."
                && key != ".."
                && key.chars().all(|c| c.is_ascii_alphanumeric() || "._:~-".contains(c))
        };
        let expected = path.split_once('/').is_some_and(|(c, r)| nsid(c) && record_key(r));
        prop_assert_eq!(RepoPath::parse(path.as_bytes()).is_ok(), expected);
    }
}
