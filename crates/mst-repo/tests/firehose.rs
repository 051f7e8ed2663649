//! The danger: a message that a stranger made up and a consumer believes; and one that is
//! honest and is refused, or refused for the wrong reason, so that "fetch it again" and "never
//! listen to them again" are mixed up.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a panic in a helper of a test is the report"
)]

use blockstore_car::{CarBlockStore, CarReader, CarWriter};
use blockstore_core::{BlockStore, Bytes, Cid, MemoryBlockStore, dag_cbor_cid};
use mst_repo::{
    Action, Commit, CommitEvent, Curve, EventCheck, EventError, EventFault, Frame, InvalidFrame,
    OutOfSync, RepoState, SignError, SigningKey, SyncEvent, Tid, Write, Writer,
};
use mst_testkit::Rng;

const DID: &str = "did:plc:z72i7hdynmk6r22z27h6tvur";
const TIME: &str = "2026-11-21T00:00:00Z";

#[allow(clippy::unnecessary_wraps, reason = "the shape of a signer")]
fn sign(_: &[u8]) -> Result<[u8; 64], SignError> {
    Ok([7; 64])
}

fn record(n: u32) -> Bytes {
    [b"\xa1\x61n\x1a".as_slice(), &(0x10_0000 + n).to_be_bytes()]
        .concat()
        .into()
}

fn create(n: u32) -> Write {
    Write::Create {
        path: format!("app.bsky.feed.post/{n:05}"),
        record: record(n),
    }
}

/// The messages about a repository of `len` commits of some creations, updates and deletions.
fn history(len: usize) -> Vec<CommitEvent> {
    let (mut writer, first) = Writer::create(MemoryBlockStore::new(), DID, &sign).unwrap();
    let mut events = vec![CommitEvent::new(&first, 0, TIME)];
    let mut rng = Rng::new(5);
    for n in 0..len {
        let n = u32::try_from(n).unwrap();
        let mut writes = vec![create(2 * n), create(2 * n + 1)];
        if n > 0 {
            let old = u32::try_from(rng.below(2 * n as usize)).unwrap();
            let path = format!("app.bsky.feed.post/{old:05}");
            let held = writer.tree().contains(path.as_bytes()).unwrap();
            writes.extend(held.then_some(if n % 3 == 0 {
                Write::Update {
                    path,
                    record: record(90_000 + n),
                }
            } else {
                Write::Delete { path }
            }));
        }
        let new = writer.write(&writes, &sign).unwrap();
        events.push(CommitEvent::new(&new, i64::from(n) + 1, TIME));
    }
    events
}

#[test]
fn a_history_goes_through_frames_and_checks_and_ends_in_the_right_state() {
    let mut state: Option<RepoState> = None;
    for event in history(300) {
        let frame = Frame::Commit(Box::new(event.clone())).encode();
        assert_eq!(
            Frame::decode(&frame).unwrap(),
            Frame::Commit(Box::new(event.clone()))
        );
        let mut check = EventCheck::default();
        check.state = state.as_ref();
        check.now = Some(Tid::now(0));
        check.cover = true;
        let checked = check.commit(&event).unwrap();
        assert_eq!(checked.operations.len(), event.ops.len());
        assert_eq!(checked.commit.rev, event.rev);
        // The same again is late, not wrong.
        check.state = Some(&checked.state);
        let again = check.commit(&event).unwrap_err();
        assert!(matches!(again, EventError::Stale { .. }));
        state = Some(checked.state);
    }
}

#[test]
fn a_gap_is_out_of_sync_and_not_invalid() {
    let events = history(4);
    let state = |n: usize| EventCheck::default().commit(&events[n]).unwrap().state;
    let mut check = EventCheck::default();
    let known = state(1);
    check.state = Some(&known);
    let error = check.commit(&events[3]).unwrap_err();
    assert!(
        matches!(&error, EventError::OutOfSync(gap) if matches!(**gap, OutOfSync::Since { .. }))
    );
    // The right revision, but another tree under it.
    let known = RepoState {
        rev: state(2).rev,
        data: state(1).data,
    };
    check.state = Some(&known);
    let error = check.commit(&events[3]).unwrap_err();
    assert!(
        matches!(&error, EventError::OutOfSync(gap) if matches!(**gap, OutOfSync::PrevData { .. }))
    );
    let mut event = events[3].clone();
    event.too_big = true;
    let error = check.commit(&event).unwrap_err();
    assert!(matches!(&error, EventError::OutOfSync(gap) if **gap == OutOfSync::TooBig));
}

/// The slice of `event` with some blocks left out and others put in.
fn reslice(event: &CommitEvent, keep: impl Fn(&Cid) -> bool, more: &[Bytes]) -> Bytes {
    let mut writer = CarWriter::new(Vec::new(), &[event.commit]).unwrap();
    for block in CarReader::new(&*event.blocks).unwrap() {
        let block = block.unwrap();
        if keep(&block.cid) {
            writer.write_block(&block.cid, &block.bytes).unwrap();
        }
    }
    for block in more {
        writer.write_block(&dag_cbor_cid(block), block).unwrap();
    }
    writer.finish().unwrap().into()
}

fn fault(event: &CommitEvent) -> EventFault {
    match EventCheck::default().commit(event).unwrap_err() {
        EventError::Invalid(fault) => *fault,
        other => panic!("{other:?}"),
    }
}

macro_rules! assert_fault {
    ($event:expr, $pattern:pat) => {
        let found = fault(&$event);
        assert!(matches!(found, $pattern), "{found:?}");
    };
}

#[test]
fn each_rule_that_is_broken_is_named() {
    let events = history(6);
    let good = events
        .iter()
        .find(|event| event.ops.iter().any(|op| op.action == Action::Delete))
        .unwrap();
    EventCheck::default().commit(good).unwrap();
    let with = |change: &dyn Fn(&mut CommitEvent)| {
        let mut event = good.clone();
        change(&mut event);
        event
    };
    let op_of =
        |event: &CommitEvent, action| event.ops.iter().position(|op| op.action == action).unwrap();
    let (created, deleted) = (op_of(good, Action::Create), op_of(good, Action::Delete));

    assert_fault!(
        with(&|e| e.repo = "did:plc:another".into()),
        EventFault::Mismatch { field: "repo", .. }
    );
    assert_fault!(
        with(&|e| e.rev = "3jzfcijpj2z2a".into()),
        EventFault::Mismatch { field: "rev", .. }
    );
    assert_fault!(
        with(&|e| e.commit = events[0].commit),
        EventFault::Root { .. }
    );
    assert_fault!(with(&|e| e.blocks = Bytes::new()), EventFault::Car(_));
    assert_fault!(
        with(&|e| e.blocks = e.blocks.slice(..e.blocks.len() - 1)),
        EventFault::Car(_)
    );
    assert_fault!(
        with(&|e| e.blocks = vec![0; 2_000_001].into()),
        EventFault::BlocksTooLarge { .. }
    );
    assert_fault!(
        with(&|e| e.blocks = CarWriter::new(Vec::new(), &[])
            .unwrap()
            .finish()
            .unwrap()
            .into()),
        EventFault::NoRoot
    );
    assert_fault!(
        with(&|e| e.blocks = reslice(e, |cid| *cid != e.commit, &[])),
        EventFault::MissingCommit(_)
    );
    assert_fault!(
        with(&|e| e.ops = vec![e.ops[created].clone(); 201]),
        EventFault::TooManyOperations { found: 201 }
    );
    assert_fault!(
        with(&|e| e.ops[created].path = "no path".into()),
        EventFault::Path { .. }
    );
    assert_fault!(
        with(&|e| e.ops[created].prev = e.ops[created].cid),
        EventFault::Shape { .. }
    );
    assert_fault!(
        with(&|e| e.ops[created].action = Action::Update),
        EventFault::Shape { .. }
    );
    assert_fault!(
        with(&|e| e.ops[deleted].cid = e.ops[created].cid),
        EventFault::Shape { .. }
    );
    assert_fault!(
        with(&|e| e.ops[deleted].prev = None),
        EventFault::Shape { .. }
    );
    let new_record = good.ops[created].cid.unwrap();
    assert_fault!(
        with(&|e| e.blocks = reslice(e, |cid| *cid != new_record, &[])),
        EventFault::MissingRecord { .. }
    );
    assert_fault!(
        with(&|e| {
            e.ops.remove(created);
        }),
        EventFault::PrevData { .. }
    );
    assert_fault!(
        with(&|e| {
            e.ops.remove(deleted);
        }),
        EventFault::PrevData { .. }
    );
    assert_fault!(
        with(&|e| e.ops[deleted].prev = Some(new_record)),
        EventFault::PrevData { .. }
    );
    assert_fault!(
        with(&|e| e.ops.push(e.ops[created].clone())),
        EventFault::Inversion(_)
    );
    let absent = "app.bsky.feed.post/99999";
    assert_fault!(
        with(&|e| e.ops[created].path = absent.into()),
        EventFault::Inversion(_)
    );
    assert_fault!(
        with(&|e| e.prev_data = Some(new_record)),
        EventFault::PrevData { .. }
    );
    assert_fault!(with(&|e| e.prev_data = None), EventFault::PrevData { .. });
    // Not the first commit, though it says that nothing was before.
    assert_fault!(
        with(&|e| {
            e.prev_data = None;
            e.since = None;
        }),
        EventFault::PrevData { .. }
    );
    // The tree's top is missing.
    let slice = CarBlockStore::from_bytes(good.blocks.clone()).unwrap();
    let commit = Commit::decode(&slice.get(&good.commit).unwrap().unwrap()).unwrap();
    assert_fault!(
        with(&|e| e.blocks = reslice(e, |cid| *cid != commit.data, &[])),
        EventFault::Inversion(_)
    );
    // Blocks that nothing links to are fine.
    EventCheck::default()
        .commit(&with(&|e| e.blocks = reslice(e, |_| true, &[record(7)])))
        .unwrap();
    // A revision from the future.
    let mut check = EventCheck::default();
    check.now = Some(Tid::new(1_000_000, 0));
    let error = check.commit(good).unwrap_err();
    assert!(
        matches!(&error, EventError::Invalid(fault) if matches!(**fault, EventFault::Future { .. }))
    );
}

#[test]
fn a_commit_that_another_key_has_signed_is_refused() {
    let keys = [(Curve::K256, 1), (Curve::P256, 2), (Curve::K256, 3)]
        .map(|(curve, n)| SigningKey::from_bytes(curve, &[n; 32]).unwrap());
    for key in &keys {
        let (mut writer, _) = Writer::create(MemoryBlockStore::new(), DID, key).unwrap();
        let event = CommitEvent::new(&writer.write(&[create(1)], key).unwrap(), 1, TIME);
        let sync = SyncEvent::new(DID, &event.rev, 2, TIME, event.blocks.clone());
        for other in &keys {
            let public_key = other.public_key();
            let mut check = EventCheck::default();
            check.key = Some(&public_key);
            let results = [check.commit(&event).err(), check.sync(&sync).err()];
            for error in results {
                let refused = match &error {
                    Some(EventError::Invalid(fault)) => matches!(**fault, EventFault::Signature(_)),
                    _ => false,
                };
                assert_eq!(refused, public_key != key.public_key(), "{error:?}");
            }
        }
    }
}

#[test]
fn a_sync_message_tells_where_the_repository_is() {
    let events = history(3);
    let of = |event: &CommitEvent| {
        SyncEvent::new(
            DID,
            &event.rev,
            9,
            TIME,
            reslice(event, |cid| *cid == event.commit, &[]),
        )
    };
    let states: Vec<_> = events
        .iter()
        .map(|event| EventCheck::default().commit(event).unwrap().state)
        .collect();
    let sync = of(&events[2]);
    let frame = Frame::Sync(sync.clone()).encode();
    assert_eq!(Frame::decode(&frame).unwrap(), Frame::Sync(sync.clone()));
    assert_eq!(EventCheck::default().sync(&sync).unwrap(), states[2]);
    let mut check = EventCheck::default();
    check.state = Some(&states[2]);
    assert_eq!(check.sync(&sync).unwrap(), states[2]);
    check.state = Some(&states[1]);
    assert!(matches!(check.sync(&sync), Err(EventError::OutOfSync(_))));
    check.state = Some(&states[3]);
    assert!(matches!(check.sync(&sync), Err(EventError::Stale { .. })));
    let mut wrong = sync;
    wrong.did = "did:plc:another".into();
    assert!(matches!(check.sync(&wrong), Err(EventError::Invalid(_))));
}

#[test]
fn frames_that_are_cut_off_or_go_on_are_refused_and_never_panic() {
    let event = history(1).pop().unwrap();
    let frame = Frame::Commit(Box::new(event)).encode();
    for len in 0..frame.len() {
        assert!(Frame::decode(&frame[..len]).is_err(), "{len} bytes");
    }
    let longer = [frame.as_slice(), b"\xa0"].concat();
    let error = Frame::decode(&longer).unwrap_err();
    assert_eq!(error, InvalidFrame::TrailingBytes { len: 1 });
    let error = Frame::decode(&vec![0; 5_000_001]).unwrap_err();
    assert_eq!(error, InvalidFrame::TooLong { len: 5_000_001 });
    // Lengths that lie: text, bytes, arrays and maps of 2^63 items.
    for head in [0x7b, 0x5b, 0x9b, 0xbb] {
        let lie = [
            &[0xa1, 0x62, b'o', b'p', head],
            1_u64.rotate_right(1).to_be_bytes().as_slice(),
        ]
        .concat();
        assert!(matches!(
            Frame::decode(&lie),
            Err(InvalidFrame::NotDagCbor(_))
        ));
    }
    let mut rng = Rng::new(6);
    for _ in 0..3_000 {
        let mut altered = frame.clone();
        let at = rng.below(altered.len());
        altered[at] ^= 1 << rng.below(8);
        let _ = Frame::decode(&altered);
    }
}

#[test]
fn other_messages_are_told_by_their_kind() {
    // {"op": 1, "t": "#account"}, {}
    let frame = b"\xa2\x61t\x68#account\x62op\x01\xa0";
    let other = Frame::Other {
        kind: "#account".into(),
    };
    assert_eq!(Frame::decode(frame).unwrap(), other);
    assert_eq!(other.encode(), frame);
    let error = Frame::Error {
        error: "FutureCursor".into(),
        message: Some("Cursor in the future.".into()),
    };
    assert_eq!(Frame::decode(&error.encode()).unwrap(), error);
    assert_eq!(
        Frame::decode(b"\xa1\x62op\x05\xa0"),
        Err(InvalidFrame::Op { found: 5 })
    );
}
