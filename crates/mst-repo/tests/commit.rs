//! The danger: the one signed object is read differently than it was signed. If a field is dropped,
//! or a second encoding accepted, a signature covers something else than what is believed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use ipld_core::ipld::Ipld;
use mst_repo::{Cid, Commit, InvalidCommit};
use mst_testkit::SampleRepository;
use proptest::prelude::*;
use std::collections::BTreeMap;

const DID: &str = "did:plc:z72i7hdynmk6r22z27h6tvur";
const REV: &str = "3jzfcijpj2z2a";
/// The root of the empty tree, according to `@atproto/repo` and `atmst`.
const DATA: &str = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm";

#[test]
fn the_bytes_are_those_of_the_specification() {
    // By hand: the fields in the order of DAG-CBOR, shorter names first.
    let data: Cid = DATA.parse().unwrap();
    let block = [
        b"\xa6\x63did\x78\x20".as_slice(),
        DID.as_bytes(),
        b"\x63rev\x6d",
        REV.as_bytes(),
        b"\x63sig\x58\x40",
        &[7; 64],
        b"\x64data\xd8\x2a\x58\x25\x00",
        &data.to_bytes(),
        b"\x64prev\xf6\x67version\x03",
    ]
    .concat();
    let commit = Commit::decode(&block).unwrap();
    assert_eq!((&*commit.did, &*commit.rev.to_string()), (DID, REV));
    assert_eq!((commit.version, commit.data, commit.prev), (3, data, None));
    assert_eq!(commit.sig, [7; 64]);
    assert!(commit.extra.is_empty());
    assert_eq!(commit.encode(), block);
    assert_eq!(commit.cid(), blockstore_core::dag_cbor_cid(&block));

    let sig = b"\x63sig\x58\x40";
    let at = block
        .windows(sig.len())
        .position(|part| part == sig)
        .unwrap();
    let mut unsigned = block.clone();
    unsigned.drain(at..at + sig.len() + 64);
    unsigned[0] = 0xa5;
    assert_eq!(commit.unsigned_bytes(), unsigned);
}

// ---- Fields.

#[test]
fn each_missing_field_is_named() {
    for field in ["did", "rev", "sig", "data", "prev", "version"] {
        let mut fields = fields();
        fields.remove(field);
        assert_refused(&fields, &InvalidCommit::MissingField { field });
    }
    assert_refused(
        &BTreeMap::new(),
        &InvalidCommit::MissingField { field: "version" },
    );
}

#[test]
fn each_field_of_another_type_is_named() {
    let data = Ipld::Link(DATA.parse().unwrap());
    let values = [
        Ipld::Null,
        Ipld::Bool(true),
        Ipld::Integer(-3),
        Ipld::Integer(3),
        Ipld::Float(3.0),
        Ipld::String("did:plc:text".to_owned()),
        Ipld::Bytes(vec![1]),
        Ipld::List(vec![]),
        Ipld::Map(BTreeMap::new()),
        data,
    ];
    for (field, wanted, fits) in [
        ("did", "text", [5].as_slice()),
        ("rev", "text", &[5]),
        ("sig", "a byte string", &[6]),
        ("data", "a link", &[9]),
        ("prev", "a link or null", &[0, 9]),
        // Of numbers, the version is what is wrong.
        ("version", "a number", &[2, 3]),
    ] {
        for (n, value) in values.iter().enumerate() {
            if !fits.contains(&n) {
                let fault = InvalidCommit::FieldType { field, wanted };
                assert_refused(&with(field, value.clone()), &fault);
            }
        }
    }
    assert_eq!(Commit::decode(b"\x80"), Err(InvalidCommit::NotAMap));
    assert_eq!(Commit::decode(b"\xf6"), Err(InvalidCommit::NotAMap));
    assert_eq!(Commit::decode(b"\x63did"), Err(InvalidCommit::NotAMap));
}

#[test]
fn other_versions_are_refused_unless_asked_for() {
    let most = i128::from(u64::MAX);
    for found in [0, 1, 4, 256 + 3, (1 << 32) + 3, most, -1, -2, -3, -1 - most] {
        let fields = with("version", Ipld::Integer(found));
        assert_refused(&fields, &InvalidCommit::Version { found });
        let refused = Commit::decode_version_2_or_3(&encoded(&fields));
        assert_eq!(refused, Err(InvalidCommit::Version { found }));
    }
    let two = encoded(&with("version", Ipld::Integer(2)));
    assert_eq!(
        Commit::decode(&two),
        Err(InvalidCommit::Version { found: 2 })
    );
    let commit = Commit::decode_version_2_or_3(&two).unwrap();
    assert_eq!((commit.version, commit.encode()), (2, two));
    // Version 1 had other fields; the version is what matters.
    let one = BTreeMap::from([("version".to_owned(), Ipld::Integer(1))]);
    assert_refused(&one, &InvalidCommit::Version { found: 1 });
}

#[test]
fn links_of_another_form_are_refused() {
    let digest = [7; 64];
    for cid in [
        [b"\x01\x55\x12\x20", &digest[..32]].concat(),
        [b"\x12\x20", &digest[..32]].concat(),
        [b"\x01\x71\x13\x40", &digest[..]].concat(),
        [b"\x01\x71\x12\x14", &digest[..20]].concat(),
        b"\x01\x71\x00\x04four".to_vec(),
    ] {
        let found = Cid::try_from(cid.as_slice()).unwrap();
        for field in ["data", "prev"] {
            let fields = with(field, Ipld::Link(found));
            assert_refused(&fields, &InvalidCommit::LinkForm { field, found });
        }
    }
    let prev = with("prev", Ipld::Link(DATA.parse().unwrap()));
    assert_eq!(
        Commit::decode(&encoded(&prev)).unwrap().prev,
        Some(DATA.parse().unwrap())
    );
}

#[test]
fn what_is_no_did_and_no_tid_is_refused() {
    for found in [
        "",
        "did",
        "did:plc:",
        "did:PLC:abc",
        "at://did:plc:abc",
        "did:plc:abc/",
    ] {
        let fault = InvalidCommit::Did {
            found: found.to_owned(),
        };
        assert_refused(&with("did", Ipld::String(found.to_owned())), &fault);
    }
    for found in [
        "",
        "3jzfcijpj2z2",
        "3JZFCIJPJ2Z2A",
        "zzzzzzzzzzzzz",
        "3jzfcijpj2z2a ",
    ] {
        let fault = InvalidCommit::Rev {
            found: found.to_owned(),
        };
        assert_refused(&with("rev", Ipld::String(found.to_owned())), &fault);
    }
}

#[test]
fn unknown_fields_are_kept_and_signed() {
    let nested = Ipld::Map(BTreeMap::from([
        (
            "$type".to_owned(),
            Ipld::String("com.example.thing".to_owned()),
        ),
        (
            "list".to_owned(),
            Ipld::List(vec![Ipld::Integer(-1), Ipld::Null, Ipld::Bool(false)]),
        ),
        ("link".to_owned(), Ipld::Link(DATA.parse().unwrap())),
        ("raw".to_owned(), Ipld::Bytes(vec![0; 300])),
    ]));
    for (name, value) in [
        ("", Ipld::Integer(i128::from(u64::MAX))),
        ("a", Ipld::Integer(-(1 << 64))),
        ("sigs", Ipld::Null),
        ("z", nested),
        ("über", Ipld::String("\u{1f333}".to_owned())),
    ] {
        let fields = with(name, value.clone());
        let block = encoded(&fields);
        let commit = Commit::decode(&block).unwrap();
        assert_eq!(commit.extra, BTreeMap::from([(name.to_owned(), value)]));
        assert_eq!(commit.encode(), block, "{name}");
        let mut unsigned = fields.clone();
        unsigned.remove("sig");
        assert_eq!(commit.unsigned_bytes(), encoded(&unsigned), "{name}");
    }
}

#[test]
fn a_known_field_among_the_unknown_ones_changes_nothing() {
    let commit = Commit::decode(&encoded(&fields())).unwrap();
    let mut other = commit.clone();
    for name in fields().into_keys() {
        other.extra.insert(name, Ipld::Bool(true));
    }
    assert_eq!(other.unsigned_bytes(), commit.unsigned_bytes());
    assert_eq!(other.encode(), commit.encode());
}

#[test]
fn floats_are_refused_wherever_they_are() {
    let float = Ipld::Float(1.5);
    for value in [
        float.clone(),
        Ipld::List(vec![Ipld::Null, float.clone()]),
        Ipld::Map(BTreeMap::from([
            ("a".to_owned(), Ipld::List(vec![float])),
            ("b".to_owned(), Ipld::Null),
        ])),
    ] {
        let fault = InvalidCommit::Float {
            field: "extra".to_owned(),
        };
        assert_refused(&with("extra", value), &fault);
    }
    // Not a number, infinite, and in the shorter forms: not DAG-CBOR at all.
    for float in [
        b"\xfb\x7f\xf8\0\0\0\0\0\0".as_slice(),
        b"\xfb\x7f\xf0\0\0\0\0\0\0",
        b"\xfb\xff\xf0\0\0\0\0\0\0",
        b"\xf9\x3c\x00",
        b"\xf9\x7e\x00",
        b"\xfa\x3f\xc0\0\0",
    ] {
        assert_not_canonical(&with_raw(float));
    }
}

// ---- Bytes.

#[test]
fn other_spellings_of_a_value_are_refused() {
    for value in [
        // Longer forms.
        b"\x18\x01".as_slice(),
        b"\x19\x00\x01",
        b"\x1a\0\0\0\x01",
        b"\x1b\0\0\0\0\0\0\0\x01",
        b"\x38\x00",
        b"\x78\x01a",
        b"\x58\x01a",
        b"\x98\x01\x00",
        b"\xb8\x01\x61a\x00",
        b"\x79\x00\x01a",
        // Without an end.
        b"\x5f\x41a\xff",
        b"\x7f\x61a\xff",
        b"\x9f\xff",
        b"\xbf\xff",
        // Reserved, undefined and simple values, a break.
        b"\x1c",
        b"\xf7",
        b"\xe0",
        b"\xf8\x20",
        b"\xf8\x14",
        b"\xff",
        // Map keys out of order, twice, not text.
        b"\xa2\x61b\x00\x61a\x00",
        b"\xa2\x62aa\x00\x61b\x00",
        b"\xa2\x61a\x00\x61a\x00",
        b"\xa1\x01\x00",
        b"\xa1\x41a\x00",
        // Text that is not UTF-8.
        b"\x61\xff",
        b"\x62\xc0\x80",
        // Tags that are not links, links that are not CIDs.
        b"\xc0\x61a",
        b"\xc2\x41\x01",
        b"\xd8\x2b\x41\x00",
        b"\xd9\x00\x2a\x41\x00",
        b"\xd8\x2a\x41\x00",
        b"\xd8\x2a\x61\x00",
        b"\xd8\x2a\x45\x00\x01\x71\x00\x00\x00",
        b"\xd8\x2a\x46\x00\x01\xf1\x00\x00\x00",
        // Lengths that lie.
        b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x7b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert_not_canonical(&with_raw(value));
    }
    assert!(
        Commit::decode(&with_raw(b"\x01")).is_ok(),
        "without a fault it is a commit"
    );
}

#[test]
fn the_fields_in_another_order_or_twice_are_refused() {
    let version = b"\x67version\x03";
    let rest = encoded(&fields());
    let rest = &rest[1..rest.len() - version.len()];
    assert!(Commit::decode(&[b"\xa6", rest, version].concat()).is_ok());
    assert_not_canonical(&[b"\xa6", version.as_slice(), rest].concat());
    assert_not_canonical(&[b"\xa7", rest, version, version].concat());
    assert_not_canonical(&[b"\xb8\x06", rest, version].concat());
    assert_not_canonical(&[b"\xbf", rest, version, b"\xff"].concat());
    assert_not_canonical(&[b"\xa7", rest, version].concat());
    assert_not_canonical(&[b"\xa5", rest, version].concat());
}

#[test]
fn a_commit_cut_off_or_with_bytes_behind_it_is_refused() {
    let block = encoded(&fields());
    for len in 0..block.len() {
        assert_not_canonical(&block[..len]);
    }
    for more in [b"\0".as_slice(), b"\xf6", b"\xff", &block] {
        assert_not_canonical(&[block.as_slice(), more].concat());
    }
}

#[test]
fn deep_nesting_in_an_unknown_field_does_not_overflow_the_stack() {
    for nest in [b"\x81".as_slice(), b"\xa1\x61a", b"\xd8\x2a", b"\x82\x00"] {
        let deep = [nest.repeat(1_000).as_slice(), b"\x00"].concat();
        assert_not_canonical(&with_raw(&deep));
        assert!(Commit::decode(&deep).is_err());
        let deep = [nest.repeat(200_000).as_slice(), b"\x00"].concat();
        let error = Commit::decode(&with_raw(&deep)).unwrap_err();
        assert!(matches!(error, InvalidCommit::NotDagCbor(_)), "{error}");
    }
    // A little depth is fine.
    let deep = [[0x81; 32].as_slice(), b"\x00"].concat();
    let commit = Commit::decode(&with_raw(&deep)).unwrap();
    assert_eq!(commit.encode(), with_raw(&deep));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_changed_commit_is_refused_or_is_the_spelling_of_what_it_says(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
    ) {
        let mut block = with_raw(b"\x82\xa1\x61a\xf5\x20");
        for (at, byte, change) in changes {
            let at = at.index(block.len());
            match change {
                0 => block[at] = byte,
                1 => block.insert(at, byte),
                _ => drop(block.remove(at)),
            }
        }
        if let Ok(commit) = Commit::decode_version_2_or_3(&block) {
            prop_assert_eq!(commit.encode(), block);
        }
    }
}

// ---- Commits in parts.

fn fields() -> BTreeMap<String, Ipld> {
    let fields = [
        ("did", Ipld::String(DID.to_owned())),
        ("rev", Ipld::String(REV.to_owned())),
        ("sig", Ipld::Bytes(vec![7; 64])),
        ("data", Ipld::Link(DATA.parse().unwrap())),
        ("prev", Ipld::Null),
        ("version", Ipld::Integer(3)),
    ];
    fields.map(|(name, value)| (name.to_owned(), value)).into()
}

fn with(field: &str, value: Ipld) -> BTreeMap<String, Ipld> {
    let mut fields = fields();
    fields.insert(field.to_owned(), value);
    fields
}

fn encoded(fields: &BTreeMap<String, Ipld>) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(&Ipld::Map(fields.clone())).unwrap()
}

/// A commit with one more field, the last, whose value is `value` byte for byte.
fn with_raw(value: &[u8]) -> Vec<u8> {
    let mut block = encoded(&fields());
    block[0] += 1;
    block.extend_from_slice(b"\x68whatever");
    block.extend_from_slice(value);
    block
}

fn assert_refused(fields: &BTreeMap<String, Ipld>, fault: &InvalidCommit) {
    assert_eq!(Commit::decode(&encoded(fields)).as_ref(), Err(fault));
}

fn assert_not_canonical(block: &[u8]) {
    let fault = Commit::decode(block).unwrap_err();
    assert!(
        matches!(fault, InvalidCommit::NotDagCbor(_)),
        "{:02x?}: {fault:?}",
        &block[..block.len().min(400)]
    );
}

/// A few bytes of DAG-CBOR may take much memory.
#[test]
fn a_commit_with_far_too_much_in_it_is_refused_before_it_is_decoded() {
    let commit = SampleRepository::generate(1, 3).commit.1;
    let mut commit = Commit::decode(&commit).unwrap();
    let field = |len| Ipld::List(vec![Ipld::Map([(String::new(), Ipld::Null)].into()); len]);
    commit.extra.insert("much".into(), field(1_300));
    assert_eq!(Commit::decode(&commit.encode()).as_ref(), Ok(&commit));
    commit.extra.insert("much".into(), field(1_400));
    let error = Commit::decode(&commit.encode()).unwrap_err();
    assert!(
        matches!(error, InvalidCommit::TooManyItems { .. }),
        "{error}"
    );
}
