//! What a message says besides its commit. Source: <https://atproto.com/specs/sync>

use blockstore_car::CarWriter;
use blockstore_core::{Bytes, Cid, dag_cbor_cid, raw_cid};
use ipld_core::ipld::Ipld;
use mst_node::Node;
use mst_repo::{Action, MAX_OPERATIONS, RepoState, SigningKey, Tid};

use crate::draft::{Draft, encode};
use crate::table::{assert_enforced, assert_enforced_by, rule};

#[test]
fn each_rule_about_messages_is_enforced_for_its_own_sake() {
    let mut rules = vec![
        rule(
            "no more than 200 operations",
            "Invalid TooManyOperations",
            |draft| {
                let op = draft.event.ops[0].clone();
                draft.event.ops.resize(201 + draft.rng.below(50), op);
                true
            },
        ),
        rule(
            "no more than 2,000,000 bytes of blocks",
            "Invalid BlocksTooLarge",
            |draft| {
                // Blocks that nothing links to would be fine.
                for n in 0..3 {
                    let block = vec![n; 700_000];
                    draft.blocks.push((raw_cid(&block), block.into()));
                }
                draft.pack();
                true
            },
        ),
        rule(
            "records of no more than 1,000,000 bytes",
            "Invalid RecordTooLarge",
            |draft| {
                let text = Ipld::String("x".repeat(1_000_000));
                let record = Bytes::from(encode(&Ipld::Map([("text".into(), text)].into())));
                let value = dag_cbor_cid(&record);
                let Some(at) = draft.put() else {
                    return false;
                };
                draft.put_record(&value, record);
                draft.event.ops[at].cid = Some(value);
                draft.remake();
                true
            },
        ),
        rule(
            "the message and the commit name one account",
            "Invalid Mismatch repo",
            |draft| {
                draft.event.repo = "did:plc:another".into();
                true
            },
        ),
        rule("and one revision", "Invalid Mismatch rev", |draft| {
            draft.event.rev = Tid::now(1).after(draft.known.rev).unwrap().to_string();
            true
        }),
        rule("and one commit", "Invalid Root", |draft| {
            draft.event.commit = draft.before;
            true
        }),
        rule(
            "the revision is not in the future",
            "Invalid Future",
            |draft| {
                let micros = draft.now.micros() + 6 * 60 * 1_000_000;
                draft.commit.rev = Tid::new(micros, 0);
                draft.event.rev = draft.commit.rev.into();
                draft.seal();
                true
            },
        ),
        rule("it is after the one before", "Invalid Since", |draft| {
            let rev: Tid = draft.event.rev.parse().unwrap();
            let since = [rev, rev.after(rev).unwrap()][draft.rng.below(2)];
            draft.event.since = Some(since.to_string());
            true
        }),
        rule("which is a TID", "Invalid Since", |draft| {
            draft.event.since = Some("2026-11-21".into());
            true
        }),
        rule("what is late is passed over", "Stale", |draft| {
            let rev: Tid = draft.event.rev.parse().unwrap();
            draft.known.rev = [rev, rev.after(rev).unwrap()][draft.rng.below(2)];
            if draft.known.rev == rev {
                draft.known.data = draft.commit.data;
            }
            true
        }),
        rule("a revision is one tree", "OutOfSync Since", |draft| {
            draft.known.rev = draft.event.rev.parse().unwrap();
            true
        }),
        rule("a gap is no fault", "OutOfSync Since", |draft| {
            draft.known.rev = Tid::new(draft.known.rev.micros() - 1, 0);
            true
        }),
        rule("nor is another tree", "OutOfSync PrevData", |draft| {
            draft.known.data = draft.commit.data;
            true
        }),
        rule(
            "nor a message that was too big",
            "OutOfSync TooBig",
            |draft| {
                draft.event.too_big = true;
                draft.event.ops.clear();
                draft.blocks.clear();
                draft.pack();
                true
            },
        ),
        rule(
            "which has to be signed as well",
            "Invalid Signature Mismatch",
            |draft| {
                draft.event.too_big = true;
                let other = SigningKey::from_bytes(draft.curve, &[8; 32]).unwrap();
                draft.commit.sign(&other).unwrap();
                draft.pack();
                true
            },
        ),
        rule(
            "the record is among the blocks",
            "Invalid MissingRecord",
            |draft| {
                let Some(at) = draft.put() else {
                    return false;
                };
                let value = draft.event.ops[at].cid.unwrap();
                draft.blocks.retain(|(cid, _)| *cid != value);
                draft.pack();
                true
            },
        ),
        rule(
            "and is what its CID names",
            "Invalid Car Invalid HashMismatch",
            |draft| {
                let at = draft.rng.below(draft.blocks.len());
                let mut block = draft.blocks[at].1.to_vec();
                let byte = draft.rng.below(block.len());
                block[byte] ^= 1;
                draft.blocks[at].1 = block.into();
                draft.pack();
                true
            },
        ),
        rule(
            "a node that is needed is there",
            "Invalid Inversion Tree MissingBlock",
            |draft| {
                let values: Vec<Option<Cid>> = draft.event.ops.iter().map(|op| op.cid).collect();
                let nodes: Vec<Cid> = draft.blocks.iter().map(|(cid, _)| *cid).collect();
                let nodes: Vec<Cid> = nodes
                    .into_iter()
                    .filter(|cid| !values.contains(&Some(*cid)))
                    .collect();
                let node = nodes[draft.rng.below(nodes.len())];
                draft.blocks.retain(|(cid, _)| *cid != node);
                draft.pack();
                true
            },
        ),
        rule("no operation is missing", "Invalid PrevData", |draft| {
            let at = draft.rng.below(draft.event.ops.len());
            draft.event.ops.remove(at);
            true
        }),
        rule(
            "no operation comes twice",
            "Invalid Inversion Duplicate",
            |draft| {
                if draft.event.ops.len() == MAX_OPERATIONS {
                    return false;
                }
                let op = draft.event.ops[draft.rng.below(draft.event.ops.len())].clone();
                let at = draft.rng.below(draft.event.ops.len() + 1);
                draft.event.ops.insert(at, op);
                true
            },
        ),
        rule(
            "none was never done: a creation",
            "Invalid Inversion Value",
            |draft| {
                if draft.event.ops.len() == MAX_OPERATIONS {
                    return false;
                }
                let Some(at) = draft.put() else {
                    return false;
                };
                let mut op = draft.event.ops[at].clone();
                op.path.push('-');
                (op.action, op.prev) = (Action::Create, None);
                draft.event.ops.push(op);
                true
            },
        ),
        rule("a deletion", "Invalid PrevData", |draft| {
            if draft.event.ops.len() == MAX_OPERATIONS {
                return false;
            }
            let at = draft.rng.below(draft.event.ops.len());
            let mut op = draft.event.ops[at].clone();
            op.path.push('-');
            (op.action, op.cid, op.prev) = (Action::Delete, None, Some(draft.commit.data));
            draft.event.ops.push(op);
            true
        }),
        rule("an update", "Invalid Inversion NoEffect", |draft| {
            let Some(at) = draft.op(Action::Update) else {
                return false;
            };
            draft.event.ops[at].prev = draft.event.ops[at].cid;
            true
        }),
        rule("the path is the one", "Invalid Inversion Value", |draft| {
            let Some(at) = draft.put() else {
                return false;
            };
            draft.event.ops[at].path.push('-');
            true
        }),
        rule("the value is the one", "Invalid Inversion Value", |draft| {
            let Some(at) = draft.put() else {
                return false;
            };
            // The record of another path, or a node, which is present as well.
            draft.event.ops[at].cid = Some(draft.commit.data);
            true
        }),
        rule(
            "what was deleted is gone",
            "Invalid Inversion Value",
            |draft| {
                let Some(at) = draft.op(Action::Update) else {
                    return false;
                };
                let op = &mut draft.event.ops[at];
                (op.action, op.cid) = (Action::Delete, None);
                true
            },
        ),
        rule("the value before is the one", "Invalid PrevData", |draft| {
            let Some(at) = draft.over() else {
                return false;
            };
            draft.event.ops[at].prev = Some(draft.commit.data);
            true
        }),
        rule("an update is no creation", "Invalid PrevData", |draft| {
            let Some(at) = draft.op(Action::Update) else {
                return false;
            };
            let op = &mut draft.event.ops[at];
            (op.action, op.prev) = (Action::Create, None);
            true
        }),
        rule("the tree before is named", "Invalid PrevData", |draft| {
            draft.event.prev_data = Some(draft.commit.data);
            draft.event.prev_data != Some(draft.before)
        }),
        rule("or nobody can tell", "OutOfSync NoPrevData", |draft| {
            draft.event.prev_data = None;
            draft.event.since.is_some()
        }),
        rule("which no first commit is", "Invalid PrevData", |draft| {
            draft.event.prev_data = None;
            draft.event.since = None;
            draft.before != Node::empty().cid()
        }),
        rule(
            "an empty one needs not be, for the first commit",
            "nothing",
            |draft| {
                let empty = Node::empty().cid();
                draft.event.prev_data = None;
                draft.event.since = None;
                draft.known.data = empty;
                // With a state, it would be a gap: this is what a new account looks like.
                draft.stateless = true;
                draft.before == empty
            },
        ),
    ];
    let wrong = [
        (
            Action::Create,
            [(false, false), (false, true), (true, true)],
        ),
        (
            Action::Update,
            [(false, false), (false, true), (true, false)],
        ),
        (
            Action::Delete,
            [(false, false), (true, false), (true, true)],
        ),
    ];
    for (action, values) in wrong {
        for (now, before) in values {
            let name = format!("a {action:?} with a value after: {now}, before: {before}");
            rules.push(rule(name, "Invalid Shape", move |draft| {
                let value = draft.commit.data;
                let Some(at) = draft.op(action) else {
                    return false;
                };
                let op = &mut draft.event.ops[at];
                op.cid = now.then(|| op.cid.unwrap_or(value));
                op.prev = before.then(|| op.prev.unwrap_or(value));
                true
            }));
        }
    }
    assert_enforced(&rules);
}

#[test]
fn each_rule_about_sync_messages_is_enforced_for_its_own_sake() {
    fn state(draft: &Draft) -> RepoState {
        RepoState::of(&draft.commit)
    }
    let rules = [
        rule("what is known may be announced", "nothing", |draft| {
            draft.known_by_sync = Some(state(draft));
            true
        }),
        rule("what is late is passed over", "Stale", |draft| {
            let mut known = state(draft);
            known.rev = known.rev.after(known.rev).unwrap();
            draft.known_by_sync = Some(known);
            true
        }),
        rule("another tree is no fault", "OutOfSync Data", |draft| {
            draft.known_by_sync = Some(draft.known);
            true
        }),
        rule("one account", "Invalid Mismatch did", |draft| {
            draft.event.repo = "did:plc:another".into();
            true
        }),
        rule("one revision", "Invalid Mismatch rev", |draft| {
            draft.event.rev = Tid::now(1).after(draft.known.rev).unwrap().to_string();
            true
        }),
        rule("not in the future", "Invalid Future", |draft| {
            draft.now = Tid::new(draft.now.micros() - 6 * 60 * 1_000_000, 0);
            true
        }),
        rule("a root", "Invalid NoRoot", |draft| {
            let car = CarWriter::new(Vec::new(), &[]).unwrap();
            draft.event.blocks = car.finish().unwrap().into();
            true
        }),
        rule("and its block", "Invalid MissingCommit", |draft| {
            let car = CarWriter::new(Vec::new(), &[draft.event.commit]).unwrap();
            draft.event.blocks = car.finish().unwrap().into();
            true
        }),
    ];
    assert_enforced_by(&[Draft::check_sync], &rules);
}

#[test]
fn each_rule_about_fetched_repositories_is_enforced_for_its_own_sake() {
    let rules = [
        rule("what is known may be fetched", "nothing", |draft| {
            draft.known_by_sync = Some(RepoState::of(&draft.commit));
            true
        }),
        rule("and any that is newer", "nothing", |draft| {
            draft.known_by_sync = Some(draft.known);
            true
        }),
        rule("but none that is older", "Stale", |draft| {
            let mut known = RepoState::of(&draft.commit);
            known.rev = known.rev.after(known.rev).unwrap();
            draft.known_by_sync = Some(known);
            true
        }),
        rule("the account's", "Invalid Mismatch did", |draft| {
            draft.event.repo = "did:plc:another".into();
            true
        }),
        rule("signed by it", "Invalid Signature Mismatch", |draft| {
            let other = SigningKey::from_bytes(draft.curve, &[8; 32]).unwrap();
            draft.commit.sign(&other).unwrap();
            true
        }),
        rule("not in the future", "Invalid Future", |draft| {
            draft.now = Tid::new(draft.now.micros() - 6 * 60 * 1_000_000, 0);
            true
        }),
    ];
    assert_enforced_by(&[Draft::check_repository], &rules);
}
