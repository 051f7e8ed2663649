//! The danger: a node with two encodings, or one that costs more than its bytes. If a reader
//! accepts a block that no writer writes, two blocks represent one node and a root no longer
//! determines what is below it; if a number from the block sizes memory or a slice before it is
//! checked, forty bytes stop the process.
//!
//! Each test makes one small fault in a valid node and expects the name and place of that fault.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use mst_node::{
    BuildError, Cid, DecodeError, DecodeFault, InvalidKey, Limits, Node, NodeBuilder, height_of,
    node_cid,
};
use mst_testkit::peak_memory;
use std::error::Error;

// ---- Published vectors.

#[test]
fn published_nodes_are_read_and_written() {
    // The empty tree of `@atproto/repo` and `atmst`.
    let empty = Node::decode(b"\xa2\x61e\x80\x61l\xf6").unwrap();
    assert_eq!(
        empty.cid().to_string(),
        "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"
    );
    // The tree of one key, in `@atproto/repo` and indigo (`mst_interop_test.go`).
    let value: Cid = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454"
        .parse()
        .unwrap();
    let block = [
        b"\xa2\x61e\x81\xa4\x61k\x58\x20com.example.record/3jqfcqzm3fo2j\x61p\x00\x61t\xf6\x61v\xd8\x2a\x58\x25\x00".as_slice(),
        &value.to_bytes(),
        b"\x61l\xf6",
    ]
    .concat();
    let node = Node::decode(&block).unwrap();
    assert_eq!(
        node.cid().to_string(),
        "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu"
    );
    assert_eq!(node.encode(), block);
    assert_eq!(node.value(0), Some(value));
    assert_eq!(
        (node.subtree(0), node.subtree(1), node.subtree(2)),
        (None, None, None)
    );
}

// ---- The shape of the maps.

#[test]
fn what_is_no_map_is_refused() {
    for (block, found) in [
        (b"\x00".as_slice(), "a number"),
        (b"\x20", "a negative number"),
        (b"\x42ab", "a byte string"),
        (b"\x61e", "a text string"),
        (b"\x80", "an array"),
        (b"\xc0\xa2", "a tag"),
        (b"\xf6", "null"),
        (b"\xf4", "a boolean"),
        (b"\xf9\x00\x00", "a float"),
        (b"\xf7", "a simple value"),
        (b"\xff", "a simple value"),
    ] {
        let wanted = "a map";
        assert_fault(block, 0, DecodeFault::WrongType { wanted, found });
    }
    assert_fault(b"", 0, DecodeFault::UnexpectedEnd { missing: 1 });
}

#[test]
fn a_field_too_few_or_too_many_is_refused() {
    let parts = Parts::default();
    for found in [0, 1, 3, 23] {
        let head = [0xa0 | u8::try_from(found).unwrap()];
        let block = Parts {
            node_head: head.to_vec(),
            ..parts.clone()
        }
        .block();
        assert_fault(&block, 0, DecodeFault::FieldCount { wanted: 2, found });
        if found != 4 {
            let block = Parts {
                entry_head: head.to_vec(),
                ..parts.clone()
            }
            .block();
            assert_fault(&block, ENTRY, DecodeFault::FieldCount { wanted: 4, found });
        }
    }
    let four = Parts {
        node_head: b"\xa4".to_vec(),
        ..parts.clone()
    }
    .block();
    assert_field_count(&four, 0, 2, 4);
    let lie = Parts {
        node_head: b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        ..parts
    }
    .block();
    assert_field_count(&lie, 0, 2, u64::MAX);
}

#[test]
fn a_missing_field_is_refused_even_if_the_count_says_so() {
    // `l` left out, `e` left out, `t` left out: missing is not the same as null.
    assert_field_count(b"\xa1\x61e\x80", 0, 2, 1);
    assert_field_count(b"\xa1\x61l\xf6", 0, 2, 1);
    assert_fault(
        b"\xa2\x61e\x80",
        4,
        DecodeFault::UnexpectedEnd { missing: 2 },
    );
    assert_wrong_name(b"\xa2\x61l\xf6", 1, 'e');
    let parts = Parts {
        t: Vec::new(),
        ..Parts::default()
    };
    assert_wrong_name(&parts.block(), parts.t_at(), 't');
    let parts = Parts {
        p: Vec::new(),
        ..Parts::default()
    };
    assert_wrong_name(&parts.block(), parts.p_at(), 'p');
    let parts = Parts {
        v: Vec::new(),
        ..Parts::default()
    };
    assert_wrong_name(&parts.block(), parts.v_at(), 'v');
    let parts = Parts {
        k: Vec::new(),
        ..Parts::default()
    };
    assert_wrong_name(&parts.block(), ENTRY + 1, 'k');
}

#[test]
fn fields_in_another_order_are_refused() {
    assert_wrong_name(b"\xa2\x61l\xf6\x61e\x80", 1, 'e');
    let parts = Parts::default();
    let swapped = Parts {
        p: parts.t.clone(),
        t: parts.p.clone(),
        ..parts.clone()
    };
    assert_wrong_name(&swapped.block(), parts.p_at(), 'p');
    let swapped = Parts {
        t: parts.v.clone(),
        v: parts.t.clone(),
        ..parts.clone()
    };
    assert_wrong_name(&swapped.block(), parts.t_at(), 't');
    let twice = Parts {
        p: parts.k.clone(),
        ..parts.clone()
    };
    assert_wrong_name(&twice.block(), parts.p_at(), 'p');
}

#[test]
fn fields_of_another_name_are_refused() {
    for name in [
        b"\x61E".as_slice(),
        b"\x60\x60",
        b"\x62ee",
        b"\x41e",
        b"\x01\x01",
        b"\x78\x01e",
        b"\x7f\x61e\xff",
    ] {
        let block = [b"\xa2", name, b"\x80\x61l\xf6"].concat();
        assert_wrong_name(&block, 1, 'e');
        let block = [b"\xa2\x61e\x80", name, b"\xf6"].concat();
        assert_wrong_name(&block, 4, 'l');
    }
    let parts = Parts::default();
    for (name, at, parts) in [
        (
            'k',
            ENTRY + 1,
            Parts {
                k: renamed(&parts.k),
                ..parts.clone()
            },
        ),
        (
            'p',
            parts.p_at(),
            Parts {
                p: renamed(&parts.p),
                ..parts.clone()
            },
        ),
        (
            't',
            parts.t_at(),
            Parts {
                t: renamed(&parts.t),
                ..parts.clone()
            },
        ),
        (
            'v',
            parts.v_at(),
            Parts {
                v: renamed(&parts.v),
                ..parts.clone()
            },
        ),
    ] {
        assert_wrong_name(&parts.block(), at, name);
    }
}

#[test]
fn an_extra_field_is_refused() {
    let more = [b"\xa3\x61e\x80\x61l\xf6".as_slice(), b"\x61z\x00"].concat();
    assert_field_count(&more, 0, 2, 3);
    // Where it would have to be in canonical order, in an entry.
    let mut parts = Parts {
        entry_head: b"\xa5".to_vec(),
        ..Parts::default()
    };
    parts.v.extend_from_slice(b"\x61w\x00");
    assert_field_count(&parts.block(), ENTRY, 4, 5);
}

// ---- Types.

#[test]
fn fields_of_another_type_are_refused() {
    let values: [(&[u8], &str); 10] = [
        (b"\x05", "a number"),
        (b"\x24", "a negative number"),
        (b"\x41a", "a byte string"),
        (b"\x61a", "a text string"),
        (b"\x80", "an array"),
        (b"\xa0", "a map"),
        (b"\xf6", "null"),
        (b"\xf5", "a boolean"),
        (b"\xfb\x3f\xf0\0\0\0\0\0\0", "a float"),
        (b"\xf7", "a simple value"),
    ];
    let parts = Parts::default();
    for (value, found) in values {
        let wrong = |wanted| DecodeFault::WrongType { wanted, found };
        if found != "an array" {
            let block = [b"\xa2\x61e", value, b"\x61l\xf6"].concat();
            assert_fault(&block, 3, wrong("an array"));
        }
        if found != "a map" {
            let block = [b"\xa2\x61e\x81", value, b"\x61l\xf6"].concat();
            assert_fault(&block, 4, wrong("a map"));
        }
        if found != "null" {
            let block = [b"\xa2\x61e\x80\x61l", value].concat();
            assert_fault(&block, 6, wrong("a tag"));
            let with = Parts {
                t: [b"\x61t", value].concat(),
                ..parts.clone()
            };
            assert_fault(&with.block(), parts.t_at() + 2, wrong("a tag"));
        }
        if found != "a byte string" {
            let with = Parts {
                k: [b"\x61k", value].concat(),
                ..parts.clone()
            };
            assert_fault(&with.block(), ENTRY + 3, wrong("a byte string"));
            let link = [b"\xd8\x2a", value].concat();
            let with = Parts {
                v: [b"\x61v", link.as_slice()].concat(),
                ..parts.clone()
            };
            assert_fault(&with.block(), parts.v_at() + 4, wrong("a byte string"));
        }
        if found != "a number" {
            let with = Parts {
                p: [b"\x61p", value].concat(),
                ..parts.clone()
            };
            assert_fault(&with.block(), parts.p_at() + 2, wrong("a number"));
        }
        let with = Parts {
            v: [b"\x61v", value].concat(),
            ..parts.clone()
        };
        assert_fault(&with.block(), parts.v_at() + 2, wrong("a tag"));
    }
}

#[test]
fn floats_are_refused_in_every_width() {
    for float in [
        b"\xf9\x3c\x00".as_slice(),
        b"\xfa\x3f\x80\0\0",
        b"\xfb\x3f\xf0\0\0\0\0\0\0",
    ] {
        let parts = Parts {
            p: [b"\x61p", float].concat(),
            ..Parts::default()
        };
        let (wanted, found) = ("a number", "a float");
        assert_fault(
            &parts.block(),
            parts.p_at() + 2,
            DecodeFault::WrongType { wanted, found },
        );
    }
}

// ---- Numbers and lengths.

#[allow(
    clippy::too_many_lines,
    reason = "each number of a node in each longer form"
)]
#[test]
fn numbers_and_lengths_in_longer_forms_are_refused() {
    let wider = |major: u8, value: u64| {
        let major = major << 5;
        let mut forms = Vec::new();
        let bytes = value.to_be_bytes();
        if value < 24 {
            forms.push(vec![major | 0x18, bytes[7]]);
        }
        if value < 1 << 8 {
            forms.push([&[major | 0x19], &bytes[6..]].concat());
        }
        if value < 1 << 16 {
            forms.push([&[major | 0x1a], &bytes[4..]].concat());
        }
        forms.push([&[major | 0x1b], bytes.as_slice()].concat());
        forms
    };
    let parts = Parts::default();
    let not_minimal = |value| DecodeFault::NotMinimal { value };
    for head in wider(5, 2) {
        let block = Parts {
            node_head: head,
            ..parts.clone()
        }
        .block();
        assert_fault(&block, 0, not_minimal(2));
    }
    for head in wider(4, 1) {
        let block = Parts {
            array_head: head,
            ..parts.clone()
        }
        .block();
        assert_fault(&block, 3, not_minimal(1));
    }
    for head in wider(5, 4) {
        let block = Parts {
            entry_head: head,
            ..parts.clone()
        }
        .block();
        assert_fault(&block, ENTRY, not_minimal(4));
    }
    for head in wider(2, KEY.len() as u64) {
        let k = [b"\x61k", head.as_slice(), KEY].concat();
        let block = Parts { k, ..parts.clone() }.block();
        assert_fault(&block, ENTRY + 3, not_minimal(KEY.len() as u64));
    }
    for head in wider(0, 0) {
        let p = [b"\x61p", head.as_slice()].concat();
        let block = Parts { p, ..parts.clone() }.block();
        assert_fault(&block, parts.p_at() + 2, not_minimal(0));
    }
    for head in wider(2, 37) {
        for tag in [b"\x61v\xd8\x2a".as_slice(), b"\x61t\xd8\x2a"] {
            let link = [tag, head.as_slice(), b"\0", &cid().to_bytes()].concat();
            let (at, block) = if tag[1] == b'v' {
                (
                    parts.v_at() + 4,
                    Parts {
                        v: link,
                        ..parts.clone()
                    }
                    .block(),
                )
            } else {
                (
                    parts.t_at() + 4,
                    Parts {
                        t: link,
                        ..parts.clone()
                    }
                    .block(),
                )
            };
            assert_fault(&block, at, not_minimal(37));
        }
    }
    for tag in [
        b"\xd9\x00\x2a".as_slice(),
        b"\xda\0\0\0\x2a",
        b"\xdb\0\0\0\0\0\0\0\x2a",
    ] {
        let link = [tag, b"\x58\x25\x00", &cid().to_bytes()].concat();
        let with = Parts {
            v: [b"\x61v", link.as_slice()].concat(),
            ..parts.clone()
        };
        assert_fault(&with.block(), parts.v_at() + 2, not_minimal(42));
        let with = Parts {
            t: [b"\x61t", link.as_slice()].concat(),
            ..parts.clone()
        };
        assert_fault(&with.block(), parts.t_at() + 2, not_minimal(42));
        let block = [b"\xa2\x61e\x80\x61l", link.as_slice()].concat();
        assert_fault(&block, 6, not_minimal(42));
    }
    // Each form's largest number that also fits the next shorter form.
    for (least, form) in [
        (23_u64, b"\x18".as_slice()),
        (255, b"\x19\x00"),
        (65_535, b"\x1a\0\0"),
    ] {
        let tail = &least.to_be_bytes()[8 - (form.len() - 1).max(1)..];
        let p = [b"\x61p", form, tail].concat();
        let block = Parts { p, ..parts.clone() }.block();
        assert_fault(&block, parts.p_at() + 2, not_minimal(least));
    }
    let p = b"\x61p\x1b\0\0\0\0\xff\xff\xff\xff".to_vec();
    let block = Parts { p, ..parts.clone() }.block();
    assert_fault(&block, parts.p_at() + 2, not_minimal(u64::from(u32::MAX)));
}

#[test]
fn indefinite_lengths_are_refused() {
    let parts = Parts::default();
    let block = Parts {
        node_head: b"\xbf".to_vec(),
        ..parts.clone()
    }
    .block();
    assert_fault(
        &[block.as_slice(), b"\xff"].concat(),
        0,
        DecodeFault::IndefiniteLength,
    );
    let block = Parts {
        array_head: b"\x9f".to_vec(),
        ..parts.clone()
    }
    .block();
    assert_fault(&block, 3, DecodeFault::IndefiniteLength);
    let block = Parts {
        entry_head: b"\xbf".to_vec(),
        ..parts.clone()
    }
    .block();
    assert_fault(&block, ENTRY, DecodeFault::IndefiniteLength);
    let k = b"\x61k\x5f\x43key\xff".to_vec();
    assert_fault(
        &Parts { k, ..parts.clone() }.block(),
        ENTRY + 3,
        DecodeFault::IndefiniteLength,
    );
    let v = b"\x61v\xd8\x2a\x5f\x41\0\xff".to_vec();
    assert_fault(
        &Parts { v, ..parts.clone() }.block(),
        parts.v_at() + 4,
        DecodeFault::IndefiniteLength,
    );
}

#[test]
fn reserved_length_codes_are_refused() {
    let parts = Parts::default();
    for code in 28..=30 {
        let reserved = |major: u8| major << 5 | code;
        let fault = |major| DecodeFault::ReservedLength {
            initial: reserved(major),
        };
        let block = Parts {
            node_head: vec![reserved(5)],
            ..parts.clone()
        }
        .block();
        assert_fault(&block, 0, fault(5));
        let block = Parts {
            array_head: vec![reserved(4)],
            ..parts.clone()
        }
        .block();
        assert_fault(&block, 3, fault(4));
        let block = Parts {
            k: vec![0x61, b'k', reserved(2)],
            ..parts.clone()
        }
        .block();
        assert_fault(&block, ENTRY + 3, fault(2));
        let block = Parts {
            p: vec![0x61, b'p', reserved(0)],
            ..parts.clone()
        }
        .block();
        assert_fault(&block, parts.p_at() + 2, fault(0));
        let block = Parts {
            v: vec![0x61, b'v', reserved(6)],
            ..parts.clone()
        }
        .block();
        assert_fault(&block, parts.v_at() + 2, fault(6));
    }
}

#[test]
fn lengths_that_lie_are_refused_before_they_cost_anything() {
    let parts = Parts::default();
    for len in [1 << 16, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, u64::MAX] {
        // The number of entries.
        let array_head = head(4, len);
        let block = Parts {
            array_head: array_head.clone(),
            ..parts.clone()
        }
        .block();
        let fault = DecodeFault::TooManyEntries {
            found: len,
            limit: 8_192,
        };
        assert_fault(&block, 3, fault);
        let no_limit = Limits {
            entries: usize::MAX,
            ..Limits::default()
        };
        let error = Node::decode_within(&block, &no_limit).unwrap_err();
        let wrong = match usize::try_from(len) {
            // The second entry is not there.
            Ok(_) => DecodeFault::WrongType {
                wanted: "a map",
                found: "a text string",
            },
            Err(_) => DecodeFault::TooManyEntries {
                found: len,
                limit: usize::MAX,
            },
        };
        assert_eq!(error.fault, wrong, "{len}");

        // The length of a key, and of a link.
        let k = [b"\x61k", head(2, len).as_slice(), KEY].concat();
        let block = Parts { k, ..parts.clone() }.block();
        let there = (block.len() - ENTRY - 3 - head(2, len).len()) as u64;
        assert_fault(
            &block,
            block.len(),
            DecodeFault::UnexpectedEnd {
                missing: len - there,
            },
        );
        let v = [b"\x61v\xd8\x2a", head(2, len).as_slice()].concat();
        let block = Parts { v, ..parts.clone() }.block();
        // After the length only `l` is left.
        assert_fault(
            &block,
            block.len(),
            DecodeFault::UnexpectedEnd { missing: len - 3 },
        );
    }
}

// ---- Prefixes and keys.

#[test]
fn the_first_entry_has_no_prefix() {
    for prefix_len in [1, 5, 24, 256, u64::MAX] {
        let p = [b"\x61p", head(0, prefix_len).as_slice()].concat();
        let parts = Parts {
            p,
            ..Parts::default()
        };
        let fault = DecodeFault::PrefixTooLong {
            index: 0,
            prefix_len,
            previous_len: 0,
        };
        assert_fault(&parts.block(), parts.p_at() + 2, fault);
    }
}

#[test]
fn a_negative_prefix_is_refused() {
    for negative in [
        b"\x20".as_slice(),
        b"\x38\xff",
        b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let p = [b"\x61p", negative].concat();
        let parts = Parts {
            p,
            ..Parts::default()
        };
        let (wanted, found) = ("a number", "a negative number");
        assert_fault(
            &parts.block(),
            parts.p_at() + 2,
            DecodeFault::WrongType { wanted, found },
        );
    }
}

#[test]
fn a_prefix_longer_than_the_key_before_is_refused() {
    // Numbers that are 3 or 0, both fine, if any of their upper bits is dropped.
    for prefix_len in [
        4,
        5,
        256,
        256 + 3,
        (1 << 16) + 3,
        1 << 32,
        (1 << 32) + 3,
        (1 << 63) + 3,
        u64::MAX,
    ] {
        let block = pair(b"abc", prefix_len, b"d");
        let fault = DecodeFault::PrefixTooLong {
            index: 1,
            prefix_len,
            previous_len: 3,
        };
        assert_fault(&block, second_p_at(b"abc", b"d"), fault);
    }
}

#[test]
fn a_prefix_shorter_than_what_is_shared_is_refused() {
    for (prefix_len, suffix, shared_len) in [
        (0, b"abd".as_slice(), 2),
        (1, b"bd", 2),
        (0, b"abcd", 3),
        (2, b"cd", 3),
    ] {
        let block = pair(b"abc", prefix_len, suffix);
        let prefix_len = usize::try_from(prefix_len).unwrap();
        let fault = DecodeFault::PrefixTooShort {
            index: 1,
            prefix_len,
            shared_len,
        };
        assert_fault(&block, second_p_at(b"abc", suffix), fault);
    }
    let long = [b'a'; 400];
    let suffix = [&long[256..], b"b"].concat();
    let block = pair(&long, 256, &suffix);
    let fault = DecodeFault::PrefixTooShort {
        index: 1,
        prefix_len: 256,
        shared_len: 400,
    };
    assert_fault(&block, second_p_at(&long, &suffix), fault);
}

#[test]
fn keys_that_do_not_ascend_are_refused() {
    for (prefix_len, suffix) in [
        (0, b"a".as_slice()), // less, and a prefix of the key before, though not said so
        (0, b"Z"),
        (2, b"b"),
        (2, b"\0"),
        (1, b""),
        (2, b""),
        (3, b""), // the same key again
    ] {
        let block = pair(b"abc", prefix_len, suffix);
        let at = second_p_at(b"abc", suffix);
        let fault = decode_error(&block);
        if suffix == b"a" {
            // Both the prefix and the order are wrong.
            let shared_len = 1;
            let expected = DecodeFault::PrefixTooShort {
                index: 1,
                prefix_len: 0,
                shared_len,
            };
            assert_eq!(
                fault,
                DecodeError {
                    offset: at,
                    fault: expected
                }
            );
        } else {
            let expected = DecodeFault::KeyOrder { index: 1 };
            assert_eq!(
                fault,
                DecodeError {
                    offset: at,
                    fault: expected
                },
                "{prefix_len} {suffix:?}"
            );
        }
    }
    // Bytes are not signed.
    assert_fault(
        &pair(b"\x80", 0, b"\x7f"),
        second_p_at(b"\x80", b"a"),
        DecodeFault::KeyOrder { index: 1 },
    );
    assert!(Node::decode(&pair(b"\x7f", 0, b"\x80")).is_ok());
}

#[test]
fn an_empty_key_is_refused() {
    let source = InvalidKey::Empty;
    let parts = Parts {
        k: b"\x61k\x40".to_vec(),
        ..Parts::default()
    };
    assert_fault(
        &parts.block(),
        ENTRY + 3,
        DecodeFault::InvalidKey {
            index: 0,
            fault: source,
        },
    );
    let block = pair(b"abc", 0, b"");
    let at = second_p_at(b"abc", b"") - 3;
    assert_fault(
        &block,
        at,
        DecodeFault::InvalidKey {
            index: 1,
            fault: source,
        },
    );
    let mut builder = NodeBuilder::new(None).unwrap();
    let refused = builder.push(b"", &cid(), None);
    assert_eq!(refused, Err(BuildError::InvalidKey { index: 0, source }));
    assert_eq!(builder.finish(), Node::empty());
}

// ---- Links.

#[test]
fn tags_other_than_42_are_refused() {
    let parts = Parts::default();
    for found in [0, 2, 41, 43, 55_799, 1 << 32, u64::MAX] {
        let link = [
            head(6, found).as_slice(),
            b"\x58\x25\x00",
            &cid().to_bytes(),
        ]
        .concat();
        let with = Parts {
            v: [b"\x61v", link.as_slice()].concat(),
            ..parts.clone()
        };
        assert_fault(
            &with.block(),
            parts.v_at() + 2,
            DecodeFault::NotALink { found },
        );
        let with = Parts {
            t: [b"\x61t", link.as_slice()].concat(),
            ..parts.clone()
        };
        assert_fault(
            &with.block(),
            parts.t_at() + 2,
            DecodeFault::NotALink { found },
        );
        let block = [b"\xa2\x61e\x80\x61l", link.as_slice()].concat();
        assert_fault(&block, 6, DecodeFault::NotALink { found });
    }
    let twice = [b"\x61v\xd8\x2a", link(&cid().to_bytes()).as_slice()].concat();
    let (wanted, found) = ("a byte string", "a tag");
    let with = Parts {
        v: twice,
        ..parts.clone()
    };
    assert_fault(
        &with.block(),
        parts.v_at() + 4,
        DecodeFault::WrongType { wanted, found },
    );
}

#[test]
fn a_link_without_its_zero_byte_is_refused() {
    let parts = Parts::default();
    let bytes = cid().to_bytes();
    for content in [
        b"".to_vec(),
        bytes.clone(),
        [b"\x01", bytes.as_slice()].concat(),
    ] {
        let link = [
            b"\xd8\x2a",
            head(2, content.len() as u64).as_slice(),
            &content,
        ]
        .concat();
        let with = Parts {
            v: [b"\x61v", link.as_slice()].concat(),
            ..parts.clone()
        };
        assert_fault(&with.block(), parts.v_at() + 4, DecodeFault::LinkPrefix);
        let with = Parts {
            t: [b"\x61t", link.as_slice()].concat(),
            ..parts.clone()
        };
        assert_fault(&with.block(), parts.t_at() + 4, DecodeFault::LinkPrefix);
    }
}

#[test]
fn links_that_are_no_cid_are_refused() {
    let good = cid().to_bytes();
    let mut longer = good.clone();
    longer.push(0);
    let bad: [Vec<u8>; 11] = [
        vec![],
        good[..35].to_vec(),
        longer,
        // Version 2, version 0 in the form of version 1, no version at all.
        [&[2], &good[1..]].concat(),
        [&[0], &good[1..]].concat(),
        good[1..].to_vec(),
        // A codec and a digest length that are not in their shortest form.
        [b"\x01\xf1\x00", &good[2..]].concat(),
        [b"\x01\x71\x12\xa0\x00", &good[4..]].concat(),
        // A digest of another length than it says.
        [b"\x01\x71\x12\x21", &good[4..]].concat(),
        // A digest longer than any.
        [b"\x01\x55\x00\x41".as_slice(), &[7; 65]].concat(),
        // A version 0 that is cut off.
        [b"\x12\x20", &good[4..35]].concat(),
    ];
    let parts = Parts::default();
    for bytes in bad {
        let v = [b"\x61v", link(&bytes).as_slice()].concat();
        let block = Parts { v, ..parts.clone() }.block();
        assert_fault(&block, parts.v_at() + 4, DecodeFault::InvalidCid);
        let t = [b"\x61t", link(&bytes).as_slice()].concat();
        let block = Parts { t, ..parts.clone() }.block();
        assert_fault(&block, parts.t_at() + 4, DecodeFault::InvalidCid);
    }
}

#[test]
fn subtree_links_of_another_form_are_refused() {
    let parts = Parts::default();
    for (name, bytes) in foreign_cids() {
        let t = [b"\x61t", link(&bytes).as_slice()].concat();
        let block = Parts { t, ..parts.clone() }.block();
        assert_fault_of(name, &block, parts.t_at() + 2, DecodeFault::SubtreeCid);
        let block = [b"\xa2\x61e\x80\x61l", link(&bytes).as_slice()].concat();
        assert_fault_of(name, &block, 6, DecodeFault::SubtreeCid);

        let cid = Cid::try_from(bytes.as_slice()).unwrap();
        assert_eq!(
            NodeBuilder::new(Some(&cid)).unwrap_err(),
            BuildError::SubtreeCid { slot: 0 },
            "{name}"
        );
        let mut builder = NodeBuilder::new(None).unwrap();
        let refused = builder.push(KEY, &self::cid(), Some(&cid));
        assert_eq!(refused, Err(BuildError::SubtreeCid { slot: 1 }), "{name}");
        // The builder is as it was.
        builder.push(KEY, &self::cid(), None).unwrap();
        assert_eq!(builder.finish().encode(), parts.block(), "{name}");
    }
}

// ---- Too short, too long, too much.

#[test]
fn a_block_cut_off_anywhere_is_refused() {
    let mut builder = NodeBuilder::new(Some(&cid())).unwrap();
    builder.push(b"abc", &cid(), None).unwrap();
    builder.push(b"abd", &cid(), Some(&cid())).unwrap();
    let long = [b"abd".as_slice(), &[b'x'; 300]].concat();
    builder
        .push(
            &long,
            &Cid::try_from(foreign_cids()[0].1.as_slice()).unwrap(),
            None,
        )
        .unwrap();
    let block = builder.finish().encode();
    assert!(Node::decode(&block).is_ok());
    for len in 0..block.len() {
        let error = decode_error(&block[..len]);
        assert!(
            matches!(error.fault, DecodeFault::UnexpectedEnd { missing } if missing > 0),
            "{len}: {error}"
        );
        assert_eq!(error.offset, len);
    }
}

#[test]
fn trailing_bytes_are_refused() {
    for block in [Node::empty().encode(), Parts::default().block()] {
        for more in [b"\0".as_slice(), b"\xf6", b"\xff", &block] {
            let longer = [block.as_slice(), more].concat();
            assert_fault(
                &longer,
                block.len(),
                DecodeFault::TrailingBytes { len: more.len() },
            );
        }
    }
}

#[test]
fn deep_nesting_in_place_of_any_field_is_refused() {
    let parts = Parts::default();
    for nest in [b"\x81".as_slice(), b"\xa1\x61a", b"\xd8\x2a", b"\xc6"] {
        let deep = nest.repeat(200_000);
        for with in [
            Parts {
                k: [b"\x61k", deep.as_slice()].concat(),
                ..parts.clone()
            },
            Parts {
                p: [b"\x61p", deep.as_slice()].concat(),
                ..parts.clone()
            },
            Parts {
                t: [b"\x61t", deep.as_slice()].concat(),
                ..parts.clone()
            },
            Parts {
                v: [b"\x61v", deep.as_slice()].concat(),
                ..parts.clone()
            },
            // One field more, which a reader that skips unknown fields would read.
            Parts {
                entry_head: b"\xa5".to_vec(),
                v: [b"\x61z", deep.as_slice()].concat(),
                ..parts.clone()
            },
        ] {
            assert!(Node::decode(&with.block()).is_err());
        }
        assert!(Node::decode(&deep).is_err());
        assert!(Node::decode(&[b"\xa2\x61e", deep.as_slice()].concat()).is_err());
        assert!(Node::decode(&[b"\xa2\x61e\x80\x61l", deep.as_slice()].concat()).is_err());
        assert!(Node::decode(&[b"\xa3\x61e\x80\x61l\xf6\x61z", deep.as_slice()].concat()).is_err());
    }
}

#[test]
fn keys_that_prefixes_blow_up_are_refused_at_the_limit() {
    // 8,000 keys of 500,000 bytes each in a block of a megabyte: 4 GB if written out.
    let first = vec![b'a'; 500_000];
    let mut block = [b"\xa2\x61e\x99\x1f\x40".as_slice()].concat();
    let entry = |block: &mut Vec<u8>, prefix_len: u64, suffix: &[u8]| {
        block.extend_from_slice(b"\xa4\x61k");
        block.extend_from_slice(&head(2, suffix.len() as u64));
        block.extend_from_slice(suffix);
        block.extend_from_slice(b"\x61p");
        block.extend_from_slice(&head(0, prefix_len));
        block.extend_from_slice(b"\x61t\xf6\x61v");
        block.extend_from_slice(&link(&cid().to_bytes()));
    };
    entry(&mut block, 0, &first);
    for n in 1..8_000_u16 {
        // Each differs from the previous one in one of its last two bytes.
        let [high, low] = n.to_be_bytes();
        let (prefix_len, suffix) = if low == 0 {
            (500_000, vec![high, low])
        } else {
            (500_001, vec![low])
        };
        let suffix = if n == 1 { vec![high, low] } else { suffix };
        let prefix_len = if n == 1 { 500_000 } else { prefix_len };
        entry(&mut block, prefix_len, &suffix);
    }
    block.extend_from_slice(b"\x61l\xf6");

    let before = peak_memory();
    let error = decode_error(&block);
    let DecodeFault::KeysTooLong { index, len, limit } = error.fault else {
        panic!("{error}");
    };
    assert_eq!(limit, 4 << 20);
    assert_eq!((index, len), (8, 500_000 + 8 * 500_002));
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        assert!(after - before < 64 << 20, "{before} to {after}");
    }

    let limits = Limits {
        key_bytes: 1_000_000,
        ..Limits::default()
    };
    let error = Node::decode_within(&block, &limits).unwrap_err();
    let fault = DecodeFault::KeysTooLong {
        index: 1,
        len: 1_000_002,
        limit: 1_000_000,
    };
    assert_eq!(error.fault, fault);
}

#[test]
fn keys_up_to_the_limit_are_accepted_and_longer_ones_refused() {
    let mut limits = Limits {
        key_len: 10,
        ..Limits::default()
    };
    let block = pair(b"abcdefghij", 9, b"k");
    assert!(Node::decode_within(&block, &limits).is_ok());
    // The suffix is short; it is the whole key that is too long.
    let block = pair(b"abcdefghij", 10, b"k");
    let source = InvalidKey::TooLong { len: 11, limit: 10 };
    let error = Node::decode_within(&block, &limits).unwrap_err();
    assert_eq!(
        error.fault,
        DecodeFault::InvalidKey {
            index: 1,
            fault: source
        }
    );
    limits.key_len = 9;
    let error = Node::decode_within(&block, &limits).unwrap_err();
    let source = InvalidKey::TooLong { len: 10, limit: 9 };
    assert_eq!(
        error.fault,
        DecodeFault::InvalidKey {
            index: 0,
            fault: source
        }
    );
    assert_eq!(error.offset, ENTRY + 3);
    let expected = format!("byte {}: entry 0: {source}", error.offset);
    assert_eq!(error.to_string(), expected);
    // There is a reason already.
    assert!(Error::source(&error).is_none() && error.fault.source().is_none());
}

#[test]
fn entries_up_to_the_limit_are_accepted_and_more_refused() {
    for len in [0_usize, 1, 2, 23, 24, 255, 256, 8_192] {
        let node = node_of(len);
        let block = node.encode();
        let decoded = Node::decode(&block).unwrap();
        assert_eq!(decoded, node, "{len}");
        assert_eq!(decoded.len(), len);
        assert_eq!(decoded.encode(), block, "{len}");
    }
    let block = node_of(8_193).encode();
    assert_fault(
        &block,
        3,
        DecodeFault::TooManyEntries {
            found: 8_193,
            limit: 8_192,
        },
    );
    let mut limits = Limits {
        entries: 8_193,
        ..Limits::default()
    };
    assert_eq!(Node::decode_within(&block, &limits).unwrap().len(), 8_193);
    limits.entries = 200;
    let block = node_of(201).encode();
    let error = Node::decode_within(&block, &limits).unwrap_err();
    assert_eq!(
        error.fault,
        DecodeFault::TooManyEntries {
            found: 201,
            limit: 200
        }
    );
    // Without a limit, nothing may overflow either.
    limits.entries = usize::MAX;
    limits.key_len = usize::MAX;
    limits.key_bytes = usize::MAX;
    assert!(Node::decode_within(&block, &limits).is_ok());
}

// ---- What must be accepted.

#[test]
fn keys_that_share_hundreds_and_thousands_of_bytes_are_accepted() {
    for shared in [
        0, 1, 22, 23, 24, 25, 254, 255, 256, 257, 300, 829, 65_534, 65_535, 65_536, 65_537, 200_000,
    ] {
        let first = [vec![b'a'; shared], b"b".to_vec()].concat();
        let second = [vec![b'a'; shared], b"c".to_vec()].concat();
        let third = [second.as_slice(), b"d"].concat();
        let node = round_trip(&[&first, &second, &third]);
        assert_eq!(node.key(1), Some(second.as_slice()), "{shared}");
        assert_eq!(node.find(&second), Ok(1));
        // The encoding is the one written by hand here.
        let block = pair(&first, shared as u64, b"c");
        assert_eq!(Node::decode(&block).unwrap().encode(), block, "{shared}");
    }
}

#[test]
fn the_longest_repository_paths_are_accepted() {
    let collection = format!(
        "{}.name{}",
        vec!["a".repeat(62); 4].join("."),
        "n".repeat(61)
    );
    let collection = &collection[..317];
    let first = format!("{collection}/{}a", "r".repeat(511));
    let second = format!("{collection}/{}b", "r".repeat(511));
    assert_eq!(first.len(), 830);
    let node = round_trip(&[first.as_bytes(), second.as_bytes()]);
    assert_eq!(node.key(1), Some(second.as_bytes()));
}

#[test]
fn keys_are_bytes_and_need_not_be_text() {
    // A shared prefix that ends inside a character, as in "ñ" and "ò".
    let (first, second) = ("key/ñ".as_bytes(), "key/ò".as_bytes());
    assert_eq!(first[4], second[4]);
    round_trip(&[first, second]);
    round_trip(&[
        b"\0",
        b"\0\0",
        b"\x01",
        b"\x7f",
        b"\x80",
        b"\xc3",
        b"\xff",
        b"\xff\xff",
    ]);
    // Keys of the interoperability vectors, which are not repository paths.
    round_trip(&[b"2653ae71", b"A0/374913", b"k/00"]);
}

#[test]
fn values_of_any_cid_form_are_accepted_and_kept() {
    for (name, bytes) in foreign_cids() {
        let v = [b"\x61v", link(&bytes).as_slice()].concat();
        let block = Parts {
            v,
            ..Parts::default()
        }
        .block();
        let node = Node::decode(&block).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(node.value_bytes(0), Some(bytes.as_slice()), "{name}");
        let value = Cid::try_from(bytes.as_slice()).unwrap();
        assert_eq!(node.value(0), Some(value), "{name}");
        assert_eq!(node.encode(), block, "{name}");
        let mut builder = NodeBuilder::new(None).unwrap();
        builder.push(KEY, &value, None).unwrap();
        assert_eq!(builder.finish(), node, "{name}");
    }
}

#[test]
fn a_node_without_entries_may_lead_to_a_subtree() {
    let node = NodeBuilder::new(Some(&cid())).unwrap().finish();
    assert_eq!(
        node.encode(),
        [b"\xa2\x61e\x80\x61l", link(&cid().to_bytes()).as_slice()].concat()
    );
    let decoded = Node::decode(&node.encode()).unwrap();
    assert_eq!(decoded, node);
    assert!(decoded.is_empty());
    assert_eq!(
        (decoded.subtree(0), decoded.subtree(1)),
        (Some(cid()), None)
    );
    assert_eq!(decoded.key_height(), Ok(None));
    assert_eq!(decoded.find(b"a"), Err(0));
}

#[test]
fn mixed_heights_are_found_when_asked_for() {
    assert_eq!((height_of(b"asdf"), height_of(b"blue")), (0, 1));
    let node = round_trip(&[b"asdf", b"blue"]);
    let mixed = node.key_height().unwrap_err();
    assert_eq!((mixed.index, mixed.height, mixed.first), (1, 1, 0));
}

// ---- Blocks in parts.

const KEY: &[u8] = b"key";
/// Where the first entry begins.
const ENTRY: usize = 4;

/// A node of one entry in parts, each to be replaced by something wrong.
#[derive(Clone)]
struct Parts {
    node_head: Vec<u8>,
    array_head: Vec<u8>,
    entry_head: Vec<u8>,
    k: Vec<u8>,
    p: Vec<u8>,
    t: Vec<u8>,
    v: Vec<u8>,
}

impl Default for Parts {
    fn default() -> Self {
        let parts = Self {
            node_head: b"\xa2".to_vec(),
            array_head: b"\x81".to_vec(),
            entry_head: b"\xa4".to_vec(),
            k: [b"\x61k\x43", KEY].concat(),
            p: b"\x61p\x00".to_vec(),
            t: b"\x61t\xf6".to_vec(),
            v: [b"\x61v", link(&cid().to_bytes()).as_slice()].concat(),
        };
        assert!(
            Node::decode(&parts.block()).is_ok(),
            "without a fault it is a node"
        );
        parts
    }
}

impl Parts {
    fn block(&self) -> Vec<u8> {
        let node = [&self.node_head, b"\x61e".as_slice(), &self.array_head].concat();
        let entry = [
            &self.entry_head,
            self.k.as_slice(),
            &self.p,
            &self.t,
            &self.v,
        ]
        .concat();
        [node.as_slice(), &entry, b"\x61l\xf6"].concat()
    }

    fn p_at(&self) -> usize {
        ENTRY + 1 + self.k.len()
    }

    fn t_at(&self) -> usize {
        self.p_at() + self.p.len()
    }

    fn v_at(&self) -> usize {
        self.t_at() + self.t.len()
    }
}

/// A node of the key `first` and of one that is its first `prefix_len` bytes and `suffix`.
fn pair(first: &[u8], prefix_len: u64, suffix: &[u8]) -> Vec<u8> {
    let mut block = b"\xa2\x61e\x82".to_vec();
    for (prefix_len, suffix) in [(0, first), (prefix_len, suffix)] {
        block.extend_from_slice(b"\xa4\x61k");
        block.extend_from_slice(&head(2, suffix.len() as u64));
        block.extend_from_slice(suffix);
        block.extend_from_slice(b"\x61p");
        block.extend_from_slice(&head(0, prefix_len));
        block.extend_from_slice(b"\x61t\xf6\x61v");
        block.extend_from_slice(&link(&cid().to_bytes()));
    }
    block.extend_from_slice(b"\x61l\xf6");
    block
}

/// Where the second prefix length is in what [`pair`] returns.
fn second_p_at(first: &[u8], suffix: &[u8]) -> usize {
    let key = |key: &[u8]| 3 + head(2, key.len() as u64).len() + key.len() + 2;
    let rest = 1 + 3 + 2 + link(&cid().to_bytes()).len();
    ENTRY + key(first) + rest + key(suffix)
}

fn renamed(field: &[u8]) -> Vec<u8> {
    [b"\x61x", &field[2..]].concat()
}

/// The head of a CBOR item in its shortest form.
fn head(major: u8, value: u64) -> Vec<u8> {
    let major = major << 5;
    let bytes = value.to_be_bytes();
    match value {
        0..24 => vec![major | bytes[7]],
        24..0x100 => vec![major | 0x18, bytes[7]],
        0x100..0x1_0000 => [&[major | 0x19], &bytes[6..]].concat(),
        0x1_0000..0x1_0000_0000 => [&[major | 0x1a], &bytes[4..]].concat(),
        _ => [&[major | 0x1b], bytes.as_slice()].concat(),
    }
}

fn link(cid: &[u8]) -> Vec<u8> {
    [
        b"\xd8\x2a",
        head(2, cid.len() as u64 + 1).as_slice(),
        b"\0",
        cid,
    ]
    .concat()
}

fn cid() -> Cid {
    node_cid(&[0x5a; 32])
}

/// CIDs that do not name a node, in binary.
fn foreign_cids() -> Vec<(&'static str, Vec<u8>)> {
    let digest = [0x5a; 64];
    vec![
        ("raw", [b"\x01\x55\x12\x20", &digest[..32]].concat()),
        ("dag-pb", [b"\x01\x70\x12\x20", &digest[..32]].concat()),
        (
            "a codec of two bytes",
            [b"\x01\x81\x01\x12\x20", &digest[..32]].concat(),
        ),
        ("CIDv0", [b"\x12\x20", &digest[..32]].concat()),
        ("sha2-512", [b"\x01\x71\x13\x40", &digest[..]].concat()),
        (
            "blake2b-256",
            [b"\x01\x71\xa0\xe4\x02\x20", &digest[..32]].concat(),
        ),
        (
            "sha2-256 cut to 20 bytes",
            [b"\x01\x71\x12\x14", &digest[..20]].concat(),
        ),
        ("sha2-256 of no bytes", b"\x01\x71\x12\x00".to_vec()),
        (
            "sha2-256 of 33 bytes",
            [b"\x01\x71\x12\x21", &digest[..33]].concat(),
        ),
        ("identity", [b"\x01\x71\x00\x04", &digest[..4]].concat()),
        ("identity of no bytes", b"\x01\x71\x00\x00".to_vec()),
        (
            "identity of 32 bytes",
            [b"\x01\x71\x00\x20", &digest[..32]].concat(),
        ),
    ]
}

fn node_of(len: usize) -> Node {
    let mut builder = NodeBuilder::new(None).unwrap();
    for n in 0..len {
        builder
            .push(format!("key/{n:06}").as_bytes(), &cid(), None)
            .unwrap();
    }
    builder.finish()
}

fn round_trip(keys: &[&[u8]]) -> Node {
    let mut builder = NodeBuilder::new(Some(&cid())).unwrap();
    for key in keys {
        builder.push(key, &cid(), Some(&cid())).unwrap();
    }
    let node = builder.finish();
    let decoded = Node::decode(&node.encode()).unwrap();
    assert_eq!(decoded, node);
    let found: Vec<&[u8]> = decoded.entries().map(|entry| entry.key()).collect();
    assert_eq!(found, keys);
    decoded
}

fn decode_error(block: &[u8]) -> DecodeError {
    Node::decode(block).unwrap_err()
}

fn assert_fault(block: &[u8], offset: usize, fault: DecodeFault) {
    assert_eq!(decode_error(block), DecodeError { offset, fault });
}

fn assert_wrong_name(block: &[u8], offset: usize, wanted: char) {
    assert_fault(block, offset, DecodeFault::FieldName { wanted });
}

fn assert_field_count(block: &[u8], offset: usize, wanted: u64, found: u64) {
    assert_fault(block, offset, DecodeFault::FieldCount { wanted, found });
}

fn assert_fault_of(name: &str, block: &[u8], offset: usize, fault: DecodeFault) {
    assert_eq!(decode_error(block), DecodeError { offset, fault }, "{name}");
}

/// As many entries for its length as a block can have, so that nothing that is measured by the
/// length of a block is too short.
#[test]
fn many_entries_of_the_fewest_bytes_are_read_back() {
    // CIDv1, raw, the identity of nothing.
    let value = Cid::try_from([1, 0x55, 0, 0].as_slice()).unwrap();
    let mut builder = NodeBuilder::new(None).unwrap();
    for last in 0..=u8::MAX {
        builder.push(&[b'a', last], &value, None).unwrap();
    }
    let node = builder.finish();
    let block = node.encode();
    assert!(block.len() < 22 * node.len());
    let again = Node::decode(&block).unwrap();
    assert_eq!(again, node);
    assert_eq!(again.entries().len(), 256);
    assert_eq!(again.entries().next_back().unwrap().key(), b"a\xff");
}

#[test]
fn a_key_may_have_a_mebibyte_and_no_more_unless_one_says_so() {
    let of_len = |len: usize| {
        let mut builder = NodeBuilder::new(None).unwrap();
        let key = vec![b'a'; len];
        builder.push(&key, &Node::empty().cid(), None).unwrap();
        builder.finish().encode()
    };
    let limit = 1 << 20;
    assert_eq!(Node::decode(&of_len(limit)).unwrap().keys_len(), limit);
    let fault = Node::decode(&of_len(limit + 1)).unwrap_err().fault;
    let len = limit + 1;
    let fault_expected = DecodeFault::InvalidKey {
        index: 0,
        fault: InvalidKey::TooLong { len, limit },
    };
    assert_eq!(fault, fault_expected);

    let limits = Limits {
        key_bytes: 1_000,
        ..Limits::default()
    };
    assert!(Node::decode_within(&of_len(1_000), &limits).is_ok());
    assert!(Node::decode_within(&of_len(1_001), &limits).is_err());
}

#[test]
#[should_panic(expected = "entries 0..1 of 0")]
fn entries_that_a_node_does_not_have_are_not_taken() {
    mst_node::NodeParts::default().push_entries(&Node::empty(), 0..1);
}
