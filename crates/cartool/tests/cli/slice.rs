//! Slices and messages of the firehose. The dangers: a message reported as valid that no receiver
//! would accept; untrusted text that acts on the terminal.

use atproto_mst::{
    Action, Bytes, CarBlockStore, CarReader, CarWriter, CommitEvent, Curve, Frame, NewCommit,
    RepoOp, SigningKey, SyncEvent, Write, Writer, dag_cbor_cid,
};
use mst_testkit::SampleRepository;

use crate::keys::new_key;
use crate::support::{Folder, Run, cartool, repository_of_key};

const PROFILE: &str = "app.bsky.actor.profile/self";
const NOTE: &str = "com.example.note/1";
const NOTE_BLOCK: &[u8] = b"\xa1\x65$type\x70com.example.note";
const TIME: &str = "2026-11-21T00:00:00Z";

fn key() -> SigningKey {
    SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap()
}

/// A commit that creates, updates and deletes, in a repository of some size.
fn new_commit() -> NewCommit {
    let sample = SampleRepository::generate(501, 200);
    let car = CarBlockStore::from_bytes(sample.car()).unwrap();
    let mut writer = Writer::open(car, &sample.commit.0).unwrap();
    let (path, record) = (NOTE.to_owned(), Bytes::from_static(NOTE_BLOCK));
    let create = Write::Create { path, record };
    let (path, record) = (PROFILE.to_owned(), Bytes::from_static(b"\xa1\x61a\x01"));
    let update = Write::Update { path, record };
    let path = sample.paths.keys().nth(99).unwrap().clone();
    let delete = Write::Delete { path };
    let key = key();
    let writes = [create, update, delete];
    writer.write_with(&writes, &key, |_, _| Ok(())).unwrap()
}

fn frame_of(event: CommitEvent) -> Vec<u8> {
    Frame::from(event).encode()
}

fn slice(given: &[u8], more: &[&str]) -> Run {
    cartool(&[["slice", "FILE"].as_slice(), more].concat(), given)
}

fn count(run: &Run, start: &str) -> usize {
    run.out
        .lines()
        .filter(|line| line.starts_with(start))
        .count()
}

#[test]
fn a_slice_is_told_block_by_block() {
    let new = new_commit();
    let public = key().public_key().to_string();
    let run = slice(&new.slice, &["--key", &public]);
    assert_eq!((run.code, &*run.err), (0, ""));
    let record = dag_cbor_cid(NOTE_BLOCK);
    let line = format!("record {record} {} bytes, {NOTE:?}", NOTE_BLOCK.len());
    assert!(run.lines().contains(&&*line), "{}", run.out);
    assert_eq!((count(&run, "commit "), count(&run, "record ")), (1, 2));
    let blocks = CarBlockStore::from_bytes(new.slice.clone()).unwrap().len();
    assert_eq!(count(&run, "node "), blocks - 3);
    let root = format!("node {} ", new.commit.data);
    assert_eq!(count(&run, &root), 1);
    assert!(count(&run, "missing node ") > 3 && count(&run, "other ") == 0);
    let missing = format!(" records, {} nodes", count(&run, "missing node "));
    assert!(run.out.contains(&missing), "{}", run.out);
    assert!(
        run.out
            .contains(&format!("Rev:          {}\n", new.commit.rev))
    );
    assert_eq!(run.lines().pop(), Some(&*format!("ok: signed by {public}")));

    let run = slice(&new.slice, &[]);
    let note = "cartool: the signature was NOT CHECKED\n";
    assert_eq!((run.code, &*run.err), (0, note));
    let folder = Folder::new();
    let (_, other) = new_key(&folder, "other", "p256");
    let run = slice(&new.slice, &["--key", &other]);
    let bad = format!("bad signature: the commit is not signed by {other}: ");
    assert!(
        run.code == 1 && run.lines().pop().unwrap().starts_with(&bad),
        "{}",
        run.out
    );
    let piped = folder.run(&["slice", "-"], &new.slice);
    assert_eq!(piped.code, 0);
}

#[test]
fn a_message_is_told_and_checked() {
    let new = new_commit();
    let public = key().public_key().to_string();
    let frame = frame_of(CommitEvent::new(&new, 17, TIME));
    let run = slice(&frame, &["--key", &public]);
    assert_eq!((run.code, &*run.err), (0, ""), "{}", run.out);
    let start = format!(
        "Message:      #commit\nSeq:          17\nTime:         {TIME}\nRepo:         {}\n\
         Commit:       {}\nRev:          {}\nSince:        {}\nPrev data:    {}\nOperations:   3\n",
        new.commit.did,
        new.cid,
        new.commit.rev,
        new.since.unwrap(),
        new.prev_data.unwrap()
    );
    assert!(run.out.starts_with(&start), "{}", run.out);
    let record = dag_cbor_cid(NOTE_BLOCK);
    assert_eq!(count(&run, &format!("+ {NOTE:?} {record}")), 1);
    assert_eq!((count(&run, "~ "), count(&run, "- ")), (1, 1));
    let last = format!(
        "ok: 3 operations led here from the tree {}; signed by {public}",
        new.prev_data.unwrap()
    );
    assert_eq!(run.lines().pop(), Some(&*last));
    // The part about the blocks is what is printed for the slice alone.
    let alone = slice(&new.slice, &[]);
    assert!(run.out.contains(&alone.out));

    let event = SyncEvent::from_parts(&*new.commit.did, new.commit.rev, new.slice.clone());
    let run = slice(&Frame::Sync(event).encode(), &["--key", &public]);
    let last = format!(
        "ok: the repository is at the tree {}; signed by {public}",
        new.commit.data
    );
    assert_eq!((run.code, run.lines().pop()), (0, Some(&*last)));
    // {"did": "did:web:a", "seq": 42}, and {}.
    let account = b"\xa2\x63did\x69did:web:a\x63seq\x18\x2a";
    let told = "Message:      #account\nSeq:          42\nRepo:         did:web:a\n";
    for (message, told) in [
        (account.as_slice(), told),
        (b"\xa0", "Message:      #account\n"),
    ] {
        let run = slice(&other("#account", message), &[]);
        assert_eq!((run.code, &*run.out), (0, told));
    }
}

/// A message of another kind, as a frame.
fn other(kind: &str, message: &'static [u8]) -> Vec<u8> {
    let other = Frame::Other {
        kind: kind.to_owned(),
        seq: None,
        did: None,
        message: message.into(),
    };
    other.encode()
}

#[test]
fn a_message_that_does_not_show_all_neighbours_is_valid_with_a_note() {
    let new = new_commit();
    let blocks: Vec<_> = CarReader::new(&*new.slice)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut valid = 0;
    for (left_out, too_big) in (1..blocks.len()).flat_map(|at| [(at, false), (at, true)]) {
        let mut event = CommitEvent::new(&new, 17, TIME);
        event.too_big = too_big;
        let mut car = CarWriter::new(Vec::new(), &[new.cid]).unwrap();
        for (_, block) in blocks.iter().enumerate().filter(|(at, _)| *at != left_out) {
            car.write_block(&block.cid, &block.bytes).unwrap();
        }
        event.blocks = car.finish().unwrap().into();
        let run = slice(&frame_of(event), &[]);
        if run.code == 0 {
            let cid = blocks[left_out].cid;
            let note = format!("cartool: note: node {cid} is missing, so not all neighbours");
            assert!(run.err.starts_with(&note), "{}", run.err);
            valid += if too_big { 1 } else { 100 };
        }
    }
    // As many with the mark that is not in use any more as without.
    assert!(valid > 0 && valid / 100 == valid % 100, "{valid}");
    let whole = slice(&frame_of(CommitEvent::new(&new, 17, TIME)), &[]);
    assert_eq!(whole.err, "cartool: the signature was NOT CHECKED\n");
}

#[test]
fn a_message_that_its_receiver_must_refuse_is_invalid() {
    let new = new_commit();
    let folder = Folder::new();
    let (_, other) = new_key(&folder, "other", "k256");
    let good = || CommitEvent::new(&new, 17, TIME);
    let changed = |change: &dyn Fn(&mut CommitEvent)| {
        let mut event = good();
        change(&mut event);
        slice(&frame_of(event), &[])
    };
    let half = new.slice.len() / 2;
    for (run, why) in [
        (
            slice(&frame_of(good()), &["--key", &other]),
            "invalid: its signature is not valid",
        ),
        (
            changed(&|event| drop(event.ops.pop())),
            "invalid: its operations lead back to ",
        ),
        (
            changed(&|event| event.prev_data = Some(new.commit.data)),
            "invalid: its operations lead back to ",
        ),
        (
            changed(&|event| event.rev = "3jzfcijpj2z2a".to_owned()),
            "invalid: `rev` is ",
        ),
        (
            changed(&|event| event.commit = new.commit.data),
            "invalid: its blocks are about ",
        ),
        (
            changed(&|event| event.blocks = Bytes::new()),
            "invalid: its blocks are not a valid CAR",
        ),
        (
            changed(&|event| event.blocks = event.blocks.slice(..half)),
            "invalid: its blocks are not a valid CAR",
        ),
        (
            changed(&|event| {
                event.too_big = true;
                event.ops.clear();
            }),
            "out of sync: the message is marked as too big",
        ),
        (
            changed(&|event| {
                event.ops[0].action = Action::Update;
                event.ops[0].prev = None;
            }),
            "invalid: the update of ",
        ),
        (
            changed(&|event| {
                let path = "com.example.note/2".to_owned();
                let (action, cid, prev) = (Action::Create, Some(new.cid), None);
                event.ops.push(RepoOp {
                    action,
                    path,
                    cid,
                    prev,
                });
            }),
            "invalid: its operations do not fit its tree",
        ),
    ] {
        let last = run.lines().pop().unwrap_or_default().to_owned();
        assert!(
            run.code == 1 && last.starts_with(why),
            "{why}: {last} {}",
            run.err
        );
    }
}

#[test]
fn what_is_cut_off_anywhere_is_an_error_and_never_good() {
    let new = new_commit();
    let frame = frame_of(CommitEvent::new(&new, 17, TIME));
    let public = key().public_key().to_string();
    for given in [&*frame, &*new.slice] {
        for at in (0..given.len()).step_by(given.len() / 40) {
            let run = slice(&given[..at], &["--key", &public]);
            // A CAR that ends between two blocks cannot be told from a complete one.
            let ok = run.code == 0 && given == new.slice;
            assert!(run.code == 1 || ok, "{at}: {} {}", run.code, run.out);
        }
    }
    let run = slice(&[frame.as_slice(), b"\0"].concat(), &[]);
    let expected = "cartool: FILE: not a message: bytes after the message: 1\n";
    assert_eq!((run.code, &*run.out, &*run.err), (1, "", expected));
    // Two maps that claim to have 2^64 - 1 fields, and a length as large.
    for given in [
        b"\xa1\x62op\x01\xbb\xff\xff\xff\xff\xff\xff\xff\xff".as_slice(),
        b"\xa2\x61t\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        assert_eq!(slice(given, &[]).code, 1);
    }
    let run = slice(&[b'x'; 10], &[]);
    assert_eq!((run.code, &*run.out), (1, ""));
    let folder = Folder::new();
    assert_eq!(folder.run(&["slice", &folder.path("no")], b"").code, 3);
}

#[test]
fn what_is_bad_or_of_no_use_is_told_of_each_block() {
    let new = new_commit();
    let mut car = new.slice.to_vec();
    // The last byte belongs to the last record.
    *car.last_mut().unwrap() ^= 1;
    car.extend(b"\x25\x01\x71\x12\x20");
    let useless = dag_cbor_cid(b"\xf6");
    car.extend(useless.hash().digest());
    car.extend(b"\xf6");
    let run = slice(&car, &[]);
    assert_eq!((run.code, count(&run, "bad ")), (1, 1), "{}", run.out);
    assert!(run.out.contains(" bytes: does not hash to its CID\n"));
    assert!(
        run.out.contains(&format!("other {useless} 1 byte\n")),
        "{}",
        run.out
    );
}

/// A few bytes can represent many long keys.
#[test]
fn a_key_longer_than_any_path_is_refused_with_its_node() {
    let sample = repository_of_key(&[b'x'; 831], b"\xa0");
    let run = slice(&sample.car(), &[]);
    let bad = format!("bad node {} (all keys): ", sample.tree.root);
    assert_eq!((run.code, count(&run, &bad)), (1, 1), "{}", run.out);
    let run = slice(&repository_of_key(&[b'x'; 830], b"\xa0").car(), &[]);
    assert_eq!((run.code, count(&run, "record ")), (0, 1), "{}", run.out);
}

#[test]
fn nothing_in_a_message_acts_on_the_terminal() {
    let new = new_commit();
    let mut event = CommitEvent::new(&new, 17, "\u{1b}[31m");
    event.repo = "\u{202e}did".to_owned();
    event.rev = "\u{9b}1m".to_owned();
    event.since = Some("\u{7}".to_owned());
    event.ops[0].path = "\u{1b}]0;x\u{7}".to_owned();
    let error = Frame::Error {
        error: "\u{1b}c".to_owned(),
        message: Some("two\nlines".to_owned()),
    };
    for given in [frame_of(event), error.encode(), other("#\u{1b}", b"\xa0")] {
        let run = slice(&given, &[]);
        let text = run.out + &run.err;
        assert!(!text.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'));
        assert!(!text.contains("two\nlines"));
    }
}
