//! The commit object. Source: <https://atproto.com/specs/repository#commit-objects>, and
//! <https://atproto.com/specs/data-model> for its encoding.

use blockstore_core::{Cid, cid_of, raw_cid};
use ipld_core::ipld::Ipld;

use crate::draft::{Draft, encode};
use crate::table::{assert_enforced_by, rule};

#[test]
fn each_rule_about_commits_is_enforced_for_its_own_sake() {
    let mut rules = vec![
        rule(
            "a commit is DAG-CBOR, whole",
            "Invalid Commit NotDagCbor InvalidDagCbor",
            |draft| {
                let mut block = draft.commit.encode();
                let len = draft.rng.below(block.len());
                block.truncate(len);
                draft.pack_block(&block);
                true
            },
        ),
        rule(
            "nothing follows it",
            "Invalid Commit NotDagCbor InvalidDagCbor",
            |draft| {
                let mut block = draft.commit.encode();
                block.push(0xf6);
                draft.pack_block(&block);
                true
            },
        ),
        rule(
            "its map has a length",
            "Invalid Commit NotDagCbor InvalidDagCbor",
            |draft| {
                let mut block = draft.commit.encode();
                block[0] = 0xbf;
                block.push(0xff);
                draft.pack_block(&block);
                true
            },
        ),
        rule(
            "numbers are minimal",
            "Invalid Commit NotDagCbor InvalidDagCbor",
            |draft| {
                let mut block = draft.commit.encode();
                assert_eq!(block.pop(), Some(3));
                block.extend([0x18, 3]);
                draft.pack_block(&block);
                true
            },
        ),
        rule(
            "fields are sorted",
            "Invalid Commit NotDagCbor InvalidDagCbor",
            |draft| {
                let block = draft.commit.encode();
                // "did" comes first; after "rev", which is a text of 13 bytes, it is out of order.
                let rev = block
                    .windows(4)
                    .position(|four| four == b"\x63rev")
                    .unwrap();
                let mut altered = vec![block[0]];
                altered.extend(&block[rev..rev + 4 + 14]);
                altered.extend(&block[1..rev]);
                altered.extend(&block[rev + 4 + 14..]);
                draft.pack_block(&altered);
                true
            },
        ),
        rule(
            "no field comes twice",
            "Invalid Commit NotDagCbor InvalidDagCbor",
            |draft| {
                let mut block = draft.commit.encode();
                block[0] += 1;
                let field = block[1..5].to_vec();
                block.splice(1..1, [field.as_slice(), b"\x60"].concat());
                draft.pack_block(&block);
                true
            },
        ),
        rule(
            "no tag but 42",
            "Invalid Commit NotDagCbor InvalidDagCbor",
            |draft| {
                let mut block = draft.commit.encode();
                let data = block.windows(6).position(|six| six == b"\x64data\xd8");
                block[data.unwrap() + 6] = 43;
                draft.pack_block(&block);
                true
            },
        ),
        rule(
            "no simple value but three",
            "Invalid Commit NotDagCbor InvalidDagCbor",
            |draft| {
                let mut block = draft.commit.encode();
                let prev = block
                    .windows(5)
                    .position(|five| five == b"\x64prev")
                    .unwrap();
                assert_eq!(block[prev + 5], 0xf6);
                block[prev + 5] = 0xf7;
                draft.pack_block(&block);
                true
            },
        ),
        rule(
            "text is UTF-8",
            "Invalid Commit NotDagCbor InvalidDagCbor",
            |draft| {
                let mut block = draft.commit.encode();
                let did = block.windows(4).position(|four| four == b"did:").unwrap();
                block[did] = 0xff;
                draft.pack_block(&block);
                true
            },
        ),
        rule("it is a map", "Invalid Commit NotAMap", |draft| {
            let values = [Ipld::Null, Ipld::List(vec![]), Ipld::String("no".into())];
            let value = &values[draft.rng.below(3)];
            draft.pack_block(&encode(value));
            true
        }),
        rule(
            "no floats, even in fields to come",
            "Invalid Commit Float x",
            |draft| {
                draft.commit.extra.insert("x".into(), Ipld::Float(1.5));
                draft.seal();
                true
            },
        ),
        rule("the version is 3", "Invalid Commit Version", |draft| {
            draft.commit.version = [0, 1, 2, 4, u64::MAX][draft.rng.below(5)];
            draft.seal();
            true
        }),
        rule("the account is a DID", "Invalid Commit Did", |draft| {
            let dids = [
                "",
                "did:plc",
                "did:PLC:abc",
                "at://did:plc:abc",
                "did:plc:a b",
            ];
            draft.commit.did = dids[draft.rng.below(5)].into();
            draft.seal();
            true
        }),
        rule("the revision is a TID", "Invalid Commit Rev", |draft| {
            let revs = ["", "3jzfcijpj2z2", "zzzzzzzzzzzzz", "3JZFCIJPJ2Z2A"];
            let rev = Ipld::String(revs[draft.rng.below(4)].to_owned());
            draft.alter_commit(|fields| drop(fields.insert("rev".to_owned(), rev)))
        }),
    ];
    for field in ["did", "version", "data", "rev", "prev", "sig"] {
        let reason = format!("Invalid Commit MissingField {field}");
        rules.push(rule(format!("it has `{field}`"), reason, move |draft| {
            draft.alter_commit(|fields| drop(fields.remove(field)))
        }));
        let reason = format!("Invalid Commit FieldType {field}");
        rules.push(rule(
            format!("`{field}` has its type"),
            reason,
            move |draft| {
                draft.alter_commit(|fields| drop(fields.insert(field.into(), Ipld::Bool(true))))
            },
        ));
    }
    for field in ["data", "prev"] {
        let reason = format!("Invalid Commit LinkForm {field}");
        let name = format!("`{field}` links by CIDv1, dag-cbor, sha2-256");
        rules.push(rule(name, reason, move |draft| {
            let cid = |start: &[u8], len| {
                let digest: &[u8] = &[7; 64][..len];
                Cid::try_from([start, digest].concat()).unwrap()
            };
            let links = [
                raw_cid(b""),
                cid_of(0x70, b""),
                cid(&[0x12, 32], 32),
                cid(&[1, 0x71, 0x13, 64], 64),
                cid(&[1, 0x71, 0x12, 20], 20),
            ];
            let link = Ipld::Link(links[draft.rng.below(links.len())]);
            draft.alter_commit(|fields| drop(fields.insert(field.into(), link)))
        }));
    }
    assert_enforced_by(&[Draft::check, Draft::check_sync], &rules);
}
