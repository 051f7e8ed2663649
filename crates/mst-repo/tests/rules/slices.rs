//! The CAR. Source: <https://atproto.com/specs/repository#car-file-serialization>, and
//! <https://ipld.io/specs/transport/car/carv1/>

use blockstore_car::CarWriter;
use blockstore_core::{Bytes, Cid, dag_cbor_cid, raw_cid};
use ipld_core::ipld::Ipld;

use crate::draft::{Draft, encode, key};
use crate::table::{assert_enforced, rule};

#[test]
fn each_rule_about_slices_is_enforced_for_its_own_sake() {
    /// A CAR of this header, which is DAG-CBOR, and of the sections of another.
    fn with_header(draft: &mut Draft, header: &[u8]) -> bool {
        draft.alter_car(|car| {
            let len = usize::from(car[0]);
            let head = [&[u8::try_from(header.len()).unwrap()], header].concat();
            drop(car.splice(..=len, head));
        })
    }
    fn header(roots: Ipld, version: Ipld) -> Vec<u8> {
        encode(&Ipld::Map(
            [("roots".into(), roots), ("version".into(), version)].into(),
        ))
    }
    let roots = |draft: &Draft| Ipld::List(vec![Ipld::Link(draft.event.commit)]);
    let rules = [
        rule("there is a header", "Invalid Car Invalid Empty", |draft| {
            draft.event.blocks = Bytes::new();
            true
        }),
        rule(
            "of version 1",
            "Invalid Car Invalid Version",
            move |draft| {
                let version = [0, 2, 3][draft.rng.below(3)];
                let header = header(roots(draft), Ipld::Integer(version));
                with_header(draft, &header)
            },
        ),
        rule("that names roots", "Invalid Car Invalid Header", |draft| {
            let header = header(Ipld::Null, Ipld::Integer(1));
            with_header(draft, &header)
        }),
        rule(
            "and its version",
            "Invalid Car Invalid Header",
            move |draft| {
                let header = encode(&Ipld::Map([("roots".into(), roots(draft))].into()));
                with_header(draft, &header)
            },
        ),
        rule("and no more", "Invalid Car Invalid Header", move |draft| {
            let fields = [
                ("roots".into(), roots(draft)),
                ("version".into(), Ipld::Integer(1)),
                ("x".into(), Ipld::Null),
            ];
            with_header(draft, &encode(&Ipld::Map(fields.into())))
        }),
        rule(
            "in canonical DAG-CBOR",
            "Invalid Car Invalid Header",
            move |draft| {
                let mut header = header(roots(draft), Ipld::Integer(1));
                assert_eq!(header.pop(), Some(1));
                header.extend([0x18, 1]);
                with_header(draft, &header)
            },
        ),
        rule("one root at least", "Invalid NoRoot", |draft| {
            let header = header(Ipld::List(vec![]), Ipld::Integer(1));
            with_header(draft, &header)
        }),
        rule("the first is the commit", "Invalid Root", |draft| {
            let mut other = draft.commit.clone();
            other.extra.insert("other".into(), Ipld::Null);
            other.sign(&key(draft.curve)).unwrap();
            let other = Bytes::from(other.encode());
            let cid = dag_cbor_cid(&other);
            draft.blocks.push((cid, other));
            draft.pack();
            let roots = [cid, draft.event.commit].map(Ipld::Link).to_vec();
            let header = header(Ipld::List(roots), Ipld::Integer(1));
            with_header(draft, &header)
        }),
        rule("others do not count", "nothing", |draft| {
            let roots = [draft.event.commit, draft.before].map(Ipld::Link).to_vec();
            let header = header(Ipld::List(roots), Ipld::Integer(1));
            with_header(draft, &header)
        }),
        rule(
            "which is named as atproto names commits",
            "Invalid Commit LinkForm root",
            |draft| {
                let block = draft.commit.encode();
                let hash = *dag_cbor_cid(&block).hash();
                let names = [
                    raw_cid(&block),
                    Cid::new_v0(hash).unwrap(),
                    // The identity hash: its first bytes themselves.
                    Cid::try_from([b"\x01\x71\x00\x14", &block[..20]].concat()).unwrap(),
                ];
                let name = names[draft.rng.below(names.len())];
                draft.pack_block_as(name, &block);
                true
            },
        ),
        rule(
            "the commit is among the blocks",
            "Invalid MissingCommit",
            |draft| {
                let car = CarWriter::new(Vec::new(), &[draft.event.commit]).unwrap();
                draft.event.blocks = car.finish().unwrap().into();
                true
            },
        ),
        rule(
            "a section is all there",
            "Invalid Car Invalid CutOff",
            |draft| draft.alter_car(|car| car.truncate(car.len() - 1)),
        ),
        rule(
            "so is a length",
            "Invalid Car Invalid LengthCutOff",
            |draft| draft.alter_car(|car| car.push(0x80)),
        ),
        rule(
            "which is minimal",
            "Invalid Car Invalid LengthNotMinimal",
            |draft| {
                let first = usize::from(draft.event.blocks[0]) + 1;
                draft.alter_car(|car| drop(car.splice(first..first, [0x80, 0])))
            },
        ),
        rule(
            "and of nine bytes at most",
            "Invalid Car Invalid LengthTooLong",
            |draft| draft.alter_car(|car| car.extend([0xff; 10])),
        ),
        rule("and not zero", "Invalid Car Invalid LengthZero", |draft| {
            draft.alter_car(|car| car.push(0))
        }),
        rule(
            "a section holds a CID",
            "Invalid Car Invalid SectionTooShort",
            |draft| {
                let cid = draft.event.commit.to_bytes();
                draft.alter_car(|car| {
                    car.push(30);
                    car.extend(&cid[..30]);
                })
            },
        ),
        rule("that is one", "Invalid Car Invalid InvalidCid", |draft| {
            draft.alter_car(|car| {
                car.push(40);
                car.extend([0xff; 40]);
            })
        }),
        rule(
            "order does not matter, nor what nothing links to",
            "nothing",
            |draft| {
                let Draft { rng, blocks, .. } = draft;
                blocks.push((raw_cid(b"x"), Bytes::from_static(b"x")));
                blocks.push(blocks[0].clone());
                rng.shuffle(blocks);
                draft.pack();
                true
            },
        ),
    ];
    assert_enforced(&rules);
}
