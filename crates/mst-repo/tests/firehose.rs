//! The danger: a made-up message that a consumer believes; and an honest one that is refused, or a
//! bad one refused for the wrong reason, so that "fetch it again" and "never listen to them again"
//! are mixed up.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::BTreeMap;

use blockstore_car::{CarReader, CarWriter};
use blockstore_core::{BlockStoreMut, Bytes, MemoryBlockStore, dag_cbor_cid, raw_cid};
use mst_ops::Tree;
use mst_repo::{
    Action, Commit, CommitEvent, Curve, Error, EventCheck, EventError, EventFault, Frame,
    InvalidFrame, Ipld, MAX_FRAME_LEN, MAX_PATH_LEN, MAX_RECORD_LEN, MAX_SLICE_LEN, NewCommit,
    OutOfSync, RepoOp, RepoState, Repository, SignError, SigningKey, SyncEvent, Tid, Write,
    WriteError, Writer,
};
use mst_testkit::{Rng, SampleRepository};

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
        let frame = Frame::from(event.clone()).encode();
        assert_eq!(
            Frame::decode(&frame).unwrap(),
            Frame::Commit(Box::new(event.clone()))
        );
        let of_event = Frame::from(event.clone());
        assert_eq!(
            (of_event.seq(), of_event.did()),
            (Some(event.seq), Some(DID))
        );
        let mut check = EventCheck::default()
            .with_state(state.as_ref())
            .with_now(Tid::now(0))
            .with_cover(true);
        let checked = check.commit(&event).unwrap();
        assert_eq!(checked.operations.len(), event.ops.len());
        assert_eq!(checked.commit.rev.to_string(), event.rev);
        for (change, op) in checked.changes().zip(&event.ops) {
            assert_eq!(
                (change.action, change.path.to_string()),
                (op.action, op.path.clone())
            );
            assert_eq!((change.old, change.new), (op.prev, op.cid));
            let record = change.record.as_deref();
            assert_eq!(record.map(dag_cbor_cid), op.cid);
        }
        // The same again is late, not wrong.
        check.state = Some(&checked.state);
        let again = check.commit(&event).unwrap_err();
        assert!(matches!(again, EventError::Stale { .. }));
        state = Some(checked.state);
    }
}

/// A log of what was refused contains untrusted text.
#[test]
fn what_is_said_about_a_message_is_short() {
    let long = || "\u{e9}".repeat(1_000_000);
    let changes: [fn(&mut CommitEvent, String); 4] = [
        |event, long| event.ops[0].path = long,
        |event, long| event.since = Some(long),
        |event, long| event.repo = long,
        |event, long| event.rev = long,
    ];
    for change in changes {
        let mut event = history(1).remove(1);
        change(&mut event, long());
        let error = EventCheck::default().commit(&event).unwrap_err();
        let (mut text, mut reason) = (error.to_string(), std::error::Error::source(&error));
        while let Some(error) = reason {
            text = format!("{text}: {error}");
            reason = error.source();
        }
        assert!(
            text.len() < 1_000 && text.contains(" bytes more"),
            "{}",
            text.len()
        );
    }
}

/// A few bytes can represent long keys.
#[test]
fn a_tree_with_a_key_that_is_longer_than_a_path_is_refused() {
    let value = dag_cbor_cid(b"\xa0");
    for (len, accepted) in [(MAX_PATH_LEN, true), (MAX_PATH_LEN + 1, false)] {
        let mut tree = Tree::new();
        tree.insert(vec![b'a'; len], &value).unwrap();
        let before = tree.root();
        let path = "com.example.b/1";
        tree.insert(path.as_bytes(), &value).unwrap();
        let changes = tree.flush();
        let mut commit = Commit::unsigned(DID, "3jzfcijpj2z2a".parse().unwrap(), changes.root);
        commit.sig = vec![7; 64];
        let mut car = CarWriter::new(Vec::new(), &[commit.cid()]).unwrap();
        car.write_block(&commit.cid(), &commit.encode()).unwrap();
        for (cid, block) in &changes.new {
            car.write_block(cid, block).unwrap();
        }
        car.write_block(&value, b"\xa0").unwrap();
        let mut event = history(1).remove(1);
        event.commit = commit.cid();
        event.rev = commit.rev.into();
        event.since = Some("3jzfcijpj2z22".to_owned());
        event.prev_data = Some(before);
        event.blocks = car.finish().unwrap().into();
        event.ops = vec![RepoOp {
            action: Action::Create,
            path: path.to_owned(),
            cid: Some(value),
            prev: None,
        }];
        let checked = EventCheck::default().commit(&event);
        assert_eq!(checked.is_ok(), accepted, "{checked:?}");
    }
}

/// As long as allowed, and one byte more.
#[test]
fn limits_are_what_they_say_they_are() {
    // Two records of these lengths.
    let commit = |lens: [usize; 2]| {
        let (mut writer, _) = Writer::create(MemoryBlockStore::new(), DID, &sign).unwrap();
        let writes = ["a", "b"].map(|name| {
            let len = lens[usize::from(name == "b")];
            let bytes = vec![b'x'; len - 8];
            let start = [
                b"\xa1\x61a\x7a".as_slice(),
                &u32::try_from(len - 8).unwrap().to_be_bytes(),
            ];
            Write::Create {
                path: format!("app.bsky.feed.post/{name}"),
                record: [start.concat(), bytes].concat().into(),
            }
        });
        writer.write(&writes, &sign)
    };
    let slice_len = commit([999_990, 900_000]).unwrap().slice.len();
    let rest = 900_000 + MAX_SLICE_LEN - slice_len;
    let longest = commit([999_990, rest]).unwrap();
    assert_eq!(longest.slice.len(), MAX_SLICE_LEN);
    let longer = commit([999_990, rest + 1]);
    assert!(matches!(longer, Err(WriteError::SliceTooLarge { len }) if len == MAX_SLICE_LEN + 1));
    let longer = commit([MAX_RECORD_LEN + 1, 100_000]);
    assert!(
        matches!(longer, Err(WriteError::RecordTooLarge { len, .. }) if len == MAX_RECORD_LEN + 1)
    );

    let mut event = CommitEvent::new(&longest, 1, TIME);
    EventCheck::default().commit(&event).unwrap();
    event.blocks = [&*event.blocks, &[0]].concat().into();
    let refused = EventCheck::default().commit(&event).unwrap_err();
    let EventError::Invalid(fault) = refused else {
        panic!("{refused}");
    };
    assert!(matches!(*fault, EventFault::BlocksTooLarge { len, .. } if len == MAX_SLICE_LEN + 1));

    let largest = commit([MAX_RECORD_LEN, 100_000]).unwrap();
    EventCheck::default()
        .commit(&CommitEvent::new(&largest, 1, TIME))
        .unwrap();

    // And something that long is not printed.
    let event = CommitEvent::new(&largest, 1, TIME);
    for text in [
        format!("{largest:?}"),
        format!("{event:?}"),
        format!("{:?}", Frame::Commit(Box::new(event))),
    ] {
        assert!(
            text.len() < 10_000 && text.contains(" bytes"),
            "{}",
            text.len()
        );
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
    // A mark that is no longer in use, with everything present, and with something missing.
    let mut event = events[3].clone();
    event.too_big = true;
    let known = state(2);
    check.state = Some(&known);
    assert!(check.commit(&event).is_ok());
    event.ops.clear();
    let error = check.commit(&event).unwrap_err();
    assert!(matches!(&error, EventError::OutOfSync(gap) if **gap == OutOfSync::TooBig));
}

#[test]
fn a_server_that_names_no_tree_before_is_not_taken_for_a_forger() {
    let mut event = history(3).pop().unwrap();
    event.prev_data = None;
    for op in &mut event.ops {
        op.prev = None;
    }
    let error = EventCheck::default().commit(&event).unwrap_err();
    assert!(matches!(&error, EventError::OutOfSync(gap) if **gap == OutOfSync::NoPrevData));
    // Its commit still has to be valid.
    event.rev = Tid::new(5, 0).to_string();
    let error = EventCheck::default().commit(&event).unwrap_err();
    assert!(matches!(&error, EventError::Invalid(_)), "{error:?}");
}

#[test]
fn an_answer_to_get_record_shows_the_record_or_that_there_is_none() {
    let sample = SampleRepository::generate(11, 300);
    let (store, commit) = (MemoryBlockStore::new(), sample.commit.0);
    store.put_many(&sample.blocks()).unwrap();
    let repository = Repository::open(&store, &commit).unwrap();
    let did = repository.commit().did.as_str();
    let answer = |path: &str| {
        let mut car = Vec::new();
        let part = repository.export_range(path..=path).unwrap();
        part.write_car(&mut car).unwrap();
        car
    };
    let check = EventCheck::default();
    for record in repository.records().unwrap() {
        let record = record.unwrap();
        let car = answer(record.path());
        assert_eq!(check.record(did, record.path(), car).unwrap(), Some(record));
    }
    let (there, absent) = ("app.bsky.actor.profile/self", "app.bsky.feed.post/none");
    assert_eq!(check.record(did, absent, answer(absent)).unwrap(), None);

    let fault = |result: Result<_, EventError>| match result.unwrap_err() {
        EventError::Invalid(fault) => *fault,
        error => panic!("{error:?}"),
    };
    let other = check.record("did:web:example.com", there, answer(there));
    assert!(matches!(
        fault(other),
        EventFault::Mismatch { field: "did", .. }
    ));
    // Whatever is left out, it is neither the record nor its absence.
    for path in [there, absent] {
        let blocks: Vec<_> = CarReader::new(&*answer(path)).unwrap().collect();
        for gone in &blocks {
            let gone = gone.as_ref().unwrap().cid;
            let mut writer = CarWriter::new(Vec::new(), &[commit]).unwrap();
            for block in &blocks {
                let block = block.as_ref().unwrap();
                if block.cid != gone {
                    writer.write_block(&block.cid, &block.bytes).unwrap();
                }
            }
            let cut = check.record(did, path, writer.finish().unwrap());
            assert!(
                matches!(fault(cut), EventFault::Record(Error::MissingBlock(cid)) if cid == gone)
                    || gone == commit
            );
        }
    }
    let no_path = check.record(did, "nowhere", answer(there));
    assert!(matches!(fault(no_path), EventFault::Path { .. }));
    let mut check = EventCheck::default();
    let known = RepoState {
        rev: Tid::now(0),
        data: repository.commit().data,
    };
    check.state = Some(&known);
    let old = check.record(did, there, answer(there)).unwrap_err();
    assert!(matches!(old, EventError::Stale { .. }));
}

/// The slice of `event` with only the commit.
fn commit_alone(event: &CommitEvent) -> Bytes {
    let mut writer = CarWriter::new(Vec::new(), &[event.commit]).unwrap();
    for block in CarReader::new(&*event.blocks).unwrap() {
        let block = block.unwrap();
        if block.cid == event.commit {
            writer.write_block(&block.cid, &block.bytes).unwrap();
        }
    }
    writer.finish().unwrap().into()
}

#[test]
fn a_commit_that_another_key_has_signed_is_refused() {
    let keys = [(Curve::K256, 1), (Curve::P256, 2), (Curve::K256, 3)]
        .map(|(curve, n)| SigningKey::from_bytes(curve, &[n; 32]).unwrap());
    for key in &keys {
        let (mut writer, _) = Writer::create(MemoryBlockStore::new(), DID, key).unwrap();
        let event = CommitEvent::new(&writer.write(&[create(1)], key).unwrap(), 1, TIME);
        let sync = SyncEvent::from_parts(DID, &event.rev, event.blocks.clone());
        for other in &keys {
            let public_key = other.public_key();
            let check = EventCheck::default().with_key(&public_key);
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
    let of = |event: &CommitEvent| SyncEvent::from_parts(DID, &event.rev, commit_alone(event));
    let states: Vec<_> = events
        .iter()
        .map(|event| EventCheck::default().commit(event).unwrap().state)
        .collect();
    let sync = of(&events[2]);
    let frame = Frame::Sync(sync.clone()).encode();
    let decoded = Frame::decode(&frame).unwrap();
    assert_eq!((decoded.seq(), decoded.did()), (Some(0), Some(DID)));
    assert_eq!(decoded, Frame::Sync(sync.clone()));
    assert_eq!(EventCheck::default().sync(&sync).unwrap(), states[2]);
    let mut check = EventCheck::default().with_state(&states[2]);
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
fn a_frame_may_be_as_long_as_it_may_be() {
    let frame = |len| {
        let event = SyncEvent::from_parts(DID, Tid::new(1, 1), vec![0; len]);
        Frame::Sync(event).encode()
    };
    let other = frame(1 << 20).len() - (1 << 20);
    let longest = frame(MAX_FRAME_LEN - other);
    assert_eq!(longest.len(), MAX_FRAME_LEN);
    assert!(matches!(Frame::decode(&longest), Ok(Frame::Sync(_))));
    let too_long = Frame::decode(&frame(MAX_FRAME_LEN - other + 1)).unwrap_err();
    let len = MAX_FRAME_LEN + 1;
    assert_eq!(too_long, InvalidFrame::TooLong { len });
}

#[test]
fn a_revision_may_be_five_minutes_in_the_future() {
    let (writer, _) = Writer::create(MemoryBlockStore::new(), DID, &sign).unwrap();
    let now = Tid::now(0);
    let check = EventCheck::default().with_now(now);
    for (micros, is_allowed) in [(5 * 60_000_000, true), (5 * 60_000_000 + 1, false)] {
        let mut commit = writer.commit().clone();
        commit.rev = Tid::new(now.micros() + micros, 1);
        commit.sign(&sign).unwrap();
        match check.sync(&SyncEvent::new(&commit, 1, TIME)) {
            Ok(state) => assert!(is_allowed && state.rev == commit.rev),
            Err(EventError::Invalid(fault)) => {
                let is_it = matches!(*fault, EventFault::Future { rev } if rev == commit.rev);
                assert!(!is_allowed && is_it, "{fault}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn frames_that_are_cut_off_or_go_on_are_refused_and_never_panic() {
    let event = history(1).pop().unwrap();
    let frame = Frame::from(event).encode();
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
fn other_messages_are_told_by_their_kind_and_kept_as_they_are() {
    // {"op": 1, "t": "#account"}
    let header = b"\xa2\x61t\x68#account\x62op\x01";
    for (message, seq, did) in [
        (b"\xa0".as_slice(), None, None),
        // {"did": 7}
        (b"\xa1\x63did\x07", None, None),
        // {"did": "did:web:a", "seq": 7}
        (
            b"\xa2\x63did\x69did:web:a\x63seq\x07",
            Some(7),
            Some("did:web:a"),
        ),
    ] {
        let frame = [header, message].concat();
        let other = Frame::Other {
            kind: "#account".into(),
            seq,
            did: did.map(str::to_owned),
            message: message.to_vec().into(),
        };
        assert_eq!(Frame::decode(&frame).unwrap(), other);
        assert_eq!(other.encode(), frame);
        assert_eq!((other.seq(), other.did()), (seq, did));
    }
    let no_number = [header.as_slice(), b"\xa1\x63seq\x61a"].concat();
    assert!(matches!(
        Frame::decode(&no_number),
        Err(InvalidFrame::FieldType { field: "seq", .. })
    ));
    let error = Frame::Error {
        error: "FutureCursor".into(),
        message: Some("Cursor in the future.".into()),
    };
    assert_eq!(Frame::decode(&error.encode()).unwrap(), error);
    assert_eq!((error.seq(), error.did()), (None, None));
    assert_eq!(
        Frame::decode(b"\xa1\x62op\x05\xa0"),
        Err(InvalidFrame::Op { found: 5 })
    );
}

#[test]
fn a_message_with_far_too_much_in_it_is_refused_before_it_is_decoded() {
    let header = b"\xa2\x61t\x68#account\x62op\x01";
    // A key of indefinite length, and what it would hide.
    let hidden = [
        b"\xa1\x7f\x61x\xff\x99\xff\xff".as_slice(),
        &b"\xa1\x60\xf6".repeat(0xffff),
    ];
    let error = Frame::decode(&[header, &*hidden.concat()].concat()).unwrap_err();
    let InvalidFrame::NotDagCbor(fault) = error else {
        panic!("{error}");
    };
    // Counted from the start of the frame.
    assert_eq!(fault.offset, header.len() + 1);
    assert_eq!(fault.why, "an item of indefinite length");
    let frame = |len: u16| {
        let list = [b"\xa1\x61x\x99".as_slice(), &len.to_be_bytes()].concat();
        [header, list.as_slice(), &b"\xa1\x60\xf6".repeat(len.into())].concat()
    };
    assert!(Frame::decode(&frame(5_400)).is_ok());
    let error = Frame::decode(&frame(5_500)).unwrap_err();
    assert!(
        matches!(error, InvalidFrame::TooManyItems { .. }),
        "{error}"
    );
}

/// A `#sync` message has the commit and nothing else.
#[test]
fn a_sync_message_is_short() {
    let sample = SampleRepository::generate(1, 3);
    let commit = Commit::decode(&sample.commit.1).unwrap();
    let mut event = SyncEvent::new(&commit, 1, "2026-11-21T00:00:00Z");
    let check = EventCheck::default();
    assert!(check.sync(&event).is_ok());
    let filler = vec![0; 10_000];
    let blocks = [sample.commit.clone(), (raw_cid(&filler), filler.into())];
    event.blocks = sample.car_of(&blocks).into();
    let len = event.blocks.len();
    let Err(EventError::Invalid(fault)) = check.sync(&event) else {
        panic!("it is too long");
    };
    assert!(
        matches!(*fault, EventFault::BlocksTooLarge { len: found, limit: 10_000 } if found == len),
        "{fault}"
    );
}

#[test]
fn a_first_message_names_neither_a_tree_nor_a_revision_before() {
    let first = history(0).pop().unwrap();
    assert!(first.is_first());
    let mut event = first.clone();
    event.prev_data = Some(event.commit);
    assert!(!event.is_first());
    let error = EventCheck::default().commit(&event).unwrap_err();
    let is_refused = |fault: &EventFault| matches!(fault, EventFault::PrevData { .. });
    assert!(
        matches!(&error, EventError::Invalid(fault) if is_refused(fault)),
        "{error:?}"
    );
    let mut event = first;
    event.since = Some(event.rev.clone());
    assert!(!event.is_first());
}

#[test]
fn a_commit_of_the_same_tree_needs_no_nodes() {
    let (mut writer, first) = Writer::create(MemoryBlockStore::new(), DID, &sign).unwrap();
    let new = writer.write(&[], &sign).unwrap();
    let car_of_commit = |new: &NewCommit| {
        let mut car = CarWriter::new(Vec::new(), &[new.cid]).unwrap();
        let (cid, block) = &new.new_blocks[0];
        car.write_block(cid, block).unwrap();
        Bytes::from(car.finish().unwrap())
    };
    let mut event = CommitEvent::new(&new, 1, TIME);
    event.blocks = car_of_commit(&new);
    let check = EventCheck::default();
    for cover in [false, true] {
        let checked = check.with_cover(cover).commit(&event).unwrap();
        assert_eq!(checked.operations, []);
        assert_eq!(checked.state, RepoState::of(&new.commit));
    }
    // Another tree before it, or none, for which the empty tree would be new.
    event.prev_data = Some(first.cid);
    assert!(check.commit(&event).is_err());
    let mut event = CommitEvent::new(&first, 1, TIME);
    check.commit(&event).unwrap();
    event.blocks = car_of_commit(&first);
    assert!(check.commit(&event).is_err());
}

#[test]
fn without_a_cover_fewer_nodes_are_enough() {
    let (mut writer, _) = Writer::create(MemoryBlockStore::new(), DID, &sign).unwrap();
    let old: Vec<Write> = (0..200).map(|n| create(2 * n)).collect();
    writer.write(&old, &sign).unwrap();
    let mut less = 0;
    for n in 0..20 {
        let new = writer.write(&[create(20 * n + 1)], &sign).unwrap();
        let event = CommitEvent::new(&new, 1, TIME);
        let check = EventCheck::default();
        check.with_cover(true).commit(&event).unwrap();
        let blocks: Vec<_> = CarReader::new(&*event.blocks)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for left_out in 1..blocks.len() {
            let mut car = CarWriter::new(Vec::new(), &[event.commit]).unwrap();
            for (_, block) in blocks.iter().enumerate().filter(|(at, _)| *at != left_out) {
                car.write_block(&block.cid, &block.bytes).unwrap();
            }
            let mut event = event.clone();
            event.blocks = car.finish().unwrap().into();
            if check.commit(&event).is_ok() {
                assert!(check.with_cover(true).commit(&event).is_err());
                less += 1;
            }
        }
    }
    assert!(less > 0);
}

#[test]
fn marks_that_are_not_in_use_any_more_are_not_set() {
    let sample = SampleRepository::generate(2, 3);
    let mut event = CommitEvent::from_parts(DID, sample.commit.0, "3zzzzzzzzzzzz", sample.car());
    assert!(!event.too_big);
    event.time = TIME.to_owned();
    let frame = Frame::from(event).encode();
    // The header is {"op": 1, "t": "#commit"}.
    let (header, message) = frame.split_at(15);
    let mut message: BTreeMap<String, Ipld> = serde_ipld_dagcbor::from_slice(message).unwrap();
    assert_eq!(message["rebase"], Ipld::Bool(false));
    assert_eq!(message.remove("tooBig"), Some(Ipld::Bool(false)));
    let frame = [header, &serde_ipld_dagcbor::to_vec(&message).unwrap()].concat();
    let Frame::Commit(event) = Frame::decode(&frame).unwrap() else {
        panic!("it is a commit");
    };
    assert!(!event.too_big);
}
