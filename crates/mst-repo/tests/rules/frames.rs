//! The frame, and the fields of the message in it. Source: <https://atproto.com/specs/event-stream>
//! and the lexicon `com.atproto.sync.subscribeRepos`.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use mst_repo::{Curve, Frame};

use crate::draft::{Draft, decode, encode};
use crate::table::reason;

#[test]
fn each_rule_about_frames_is_enforced_for_its_own_sake() {
    type Fields = BTreeMap<String, Ipld>;
    type AlterOp = fn(&mut Fields);
    type Alter = Box<dyn Fn(&mut Fields, &mut Fields)>;
    fn alter(alter: impl Fn(&mut Fields, &mut Fields) + 'static) -> Alter {
        Box::new(alter)
    }
    let mut table: Vec<(String, Alter)> = Vec::new();
    for op in [0, 2, -2] {
        let set = alter(move |header, _| drop(header.insert("op".into(), Ipld::Integer(op))));
        table.push(("Op".into(), set));
    }
    for field in ["op", "t"] {
        let reason = format!("MissingField {field}");
        table.push((reason, alter(move |header, _| drop(header.remove(field)))));
        let set = alter(move |header, _| drop(header.insert(field.into(), Ipld::Bool(true))));
        table.push((format!("FieldType {field}"), set));
    }
    for field in ["seq", "repo", "commit", "rev", "blocks", "ops", "time"] {
        let reason = format!("MissingField {field}");
        table.push((reason, alter(move |_, message| drop(message.remove(field)))));
    }
    for field in [
        "seq", "repo", "commit", "rev", "since", "blocks", "ops", "prevData", "time", "tooBig",
    ] {
        let set = alter(move |_, message| drop(message.insert(field.into(), Ipld::Float(0.5))));
        table.push((format!("FieldType {field}"), set));
    }
    let op = |alter: AlterOp| {
        Box::new(move |_: &mut Fields, message: &mut Fields| {
            let Some(Ipld::List(ops)) = message.get_mut("ops") else {
                panic!("there are operations");
            };
            let Some(Ipld::Map(op)) = ops.last_mut() else {
                panic!("there is one");
            };
            alter(op);
        }) as Alter
    };
    let ops: [(&str, AlterOp); 6] = [
        ("MissingField action", |op| drop(op.remove("action"))),
        ("MissingField path", |op| drop(op.remove("path"))),
        ("FieldType path", |op| {
            drop(op.insert("path".into(), Ipld::Bytes(vec![])));
        }),
        ("FieldType cid", |op| {
            drop(op.insert("cid".into(), Ipld::String("bafy".into())));
        }),
        ("FieldType prev", |op| {
            drop(op.insert("prev".into(), Ipld::Bool(false)));
        }),
        ("Action", |op| {
            drop(op.insert("action".into(), Ipld::String("upsert".into())));
        }),
    ];
    table.extend(ops.map(|(reason, alter)| (reason.to_owned(), op(alter))));

    for seed in 0..8 {
        let draft = Draft::new(seed, 3, Curve::K256);
        let frame = Frame::from(draft.event.clone()).encode();
        let header_len = encode(&Ipld::Map(
            [
                ("op".into(), Ipld::Integer(1)),
                ("t".into(), Ipld::String("#commit".into())),
            ]
            .into(),
        ))
        .len();
        let fields = |bytes: &[u8]| match decode(bytes) {
            Ipld::Map(fields) => fields,
            other => panic!("{other:?}"),
        };
        let (header, message) = (fields(&frame[..header_len]), fields(&frame[header_len..]));
        for (expected, alter) in &table {
            let (mut header, mut message) = (header.clone(), message.clone());
            alter(&mut header, &mut message);
            let frame = [encode(&Ipld::Map(header)), encode(&Ipld::Map(message))].concat();
            assert_eq!(reason(&Frame::decode(&frame).unwrap_err()), *expected);
        }
        for (expected, frame) in [
            ("TooLong", vec![0; 5_000_001]),
            ("TrailingBytes", [frame.as_slice(), b"\xf6"].concat()),
            (
                "NotDagCbor InvalidDagCbor",
                frame[..frame.len() - 1].to_vec(),
            ),
            ("NotDagCbor InvalidDagCbor", frame[..header_len].to_vec()),
            ("NotAMap", [&[0x80], &frame[header_len..]].concat()),
            ("NotAMap", [&frame[..header_len], &[0xf6]].concat()),
        ] {
            assert_eq!(reason(&Frame::decode(&frame).unwrap_err()), expected);
        }
        // Unknown fields are ignored.
        let mut message = message;
        message.insert("later".into(), Ipld::Null);
        let frame = [encode(&Ipld::Map(header)), encode(&Ipld::Map(message))].concat();
        assert_eq!(
            Frame::decode(&frame),
            Ok(Frame::Commit(Box::new(draft.event)))
        );
    }
}
