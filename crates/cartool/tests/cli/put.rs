//! Records that are put: the same bytes as were printed, in the tree where they belong, under
//! a commit that says no more than is true.

use atproto_mst::{Cid, dag_cbor_cid};
use mst_testkit::SampleRepository;

use crate::support::{
    Folder, Run, at_rev, car_without, commit_of, rebuilt, repository_of, repository_of_key,
};

const PROFILE: &str = "app.bsky.actor.profile/self";
const NOTE: &str = "com.example.note/1";
const NOTE_JSON: &str = r#"{"text": "hi", "$type": "com.example.note"}"#;
/// In the order of DAG-CBOR, in which short keys come first.
const NOTE_BLOCK: &[u8] = b"\xa2\x64text\x62hi\x65$type\x70com.example.note";

fn put(folder: &Folder, path: &str, record: &[u8]) -> Run {
    let (car, out) = (folder.path("in.car"), folder.path("out.car"));
    folder.run(&["put", &car, path, "-", "-o", &out], record)
}

#[test]
fn a_new_record_makes_the_repository_that_would_be_built_with_it() {
    let mut sample = SampleRepository::generate(21, 200);
    let folder = Folder::new();
    folder.write("in.car", sample.shuffled_car(1));
    let run = put(&folder, NOTE, NOTE_JSON.as_bytes());

    let cid = dag_cbor_cid(NOTE_BLOCK);
    let old = commit_of(&sample.car());
    let new = commit_of(&folder.read("out.car"));
    assert_eq!((run.code, &*run.out), (0, ""));
    let expected = format!(
        "cartool: created \"{NOTE}\" -> {cid}\n\
         cartool: commit {}, rev {}, is NOT SIGNED: nobody will accept it as the account's\n",
        new.cid(),
        new.rev
    );
    assert_eq!(run.err, expected);

    sample.paths.insert(NOTE.to_owned(), cid);
    sample.records.insert(cid, NOTE_BLOCK.into());
    assert_eq!(folder.read("out.car"), rebuilt(&sample, &new).car());
    assert_eq!((&new.did, new.version), (&old.did, 3));
    assert!(new.rev > old.rev && new.prev.is_none() && new.extra.is_empty());
    assert!(new.sig.is_empty());
    let verified = folder.run(&["verify", &folder.path("out.car")], b"");
    assert_eq!(verified.code, 0);
    let info = folder.run(&["info", &folder.path("out.car")], b"").out;
    assert!(info.contains("Sig:          none: the commit is not signed\n"));
}

#[test]
fn a_record_is_replaced() {
    let mut sample = SampleRepository::generate(22, 100);
    let folder = Folder::new();
    folder.write("in.car", sample.car());
    let run = put(&folder, PROFILE, NOTE_JSON.as_bytes());

    let (old, new) = (sample.paths[PROFILE], dag_cbor_cid(NOTE_BLOCK));
    let expected = format!("cartool: updated \"{PROFILE}\" -> {new}, which was {old}\n");
    assert!(run.err.contains(&expected), "{}", run.err);
    sample.paths.insert(PROFILE.to_owned(), new);
    sample.records.remove(&old);
    sample.records.insert(new, NOTE_BLOCK.into());
    let commit = commit_of(&folder.read("out.car"));
    assert_eq!(folder.read("out.car"), rebuilt(&sample, &commit).car());
}

#[test]
fn the_same_record_changes_nothing_and_the_commit_stays() {
    let sample = SampleRepository::generate(23, 100);
    let folder = Folder::new();
    folder.write("in.car", sample.car());
    let raw = sample.records[&sample.paths[PROFILE]].to_vec();
    let record = folder.write("record", raw);
    let (car, out) = (folder.path("in.car"), folder.path("out.car"));
    let run = folder.run(&["put", "--cbor", &car, PROFILE, &record, "-o", &out], b"");

    let (commit, rev) = (sample.commit.0, commit_of(&sample.car()).rev);
    let expected = format!(
        "cartool: unchanged \"{PROFILE}\" -> {}\n\
         cartool: commit {commit}, rev {rev}, stays as it was\n",
        sample.paths[PROFILE]
    );
    assert_eq!((run.code, run.err), (0, expected));
    assert_eq!(folder.read("out.car"), sample.car());
}

#[test]
fn what_get_and_dump_print_comes_back_to_the_same_bytes() {
    let sample = SampleRepository::generate(24, 60);
    let folder = Folder::new();
    let car = folder.write("in.car", sample.car());
    let mut count = 0;
    let check = |path: &str, json: &str| {
        let run = put(&folder, path, json.as_bytes());
        assert!(run.err.starts_with("cartool: unchanged "), "{}", run.err);
        assert_eq!(folder.read("out.car"), sample.car());
    };
    let dumped = folder.run(&["dump", "--jsonl", &car], b"").out;
    for (path, line) in sample.paths.keys().zip(dumped.lines()) {
        let (_, value) = line.split_once(r#""value":"#).unwrap();
        check(path, value.strip_suffix('}').unwrap());
        check(path, &folder.run(&["get", &car, path], b"").out);
        count += 1;
    }
    assert_eq!(count, 60);
}

#[test]
fn all_that_the_data_model_has_comes_back_to_the_same_bytes() {
    let mut block = b"\xa4\x61a\x43\xfb\xff\xfe\x61b\xd8\x2a\x58\x25\x00".to_vec();
    block.extend(atproto_mst::raw_cid(b"a blob").to_bytes());
    block.extend(b"\x61c\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff");
    block.extend(b"\x3b\x7f\xff\xff\xff\xff\xff\xff\xff");
    block.extend(b"\x65stype\x84\xf6\xf5\x80\xa0");
    let folder = Folder::new();
    let car = folder.write("in.car", repository_of(&[(NOTE, &block)]).car());
    let json = folder.run(&["get", &car, NOTE], b"").out;
    // An editor may have put a byte order mark before it.
    for json in [&json, &format!("\u{feff}{json}")] {
        let run = put(&folder, NOTE, json.as_bytes());
        assert!(run.err.contains("unchanged"), "{}", run.err);
    }
}

#[test]
fn a_record_that_is_none_is_refused_and_nothing_written() {
    let folder = Folder::new();
    let car = folder.write("in.car", SampleRepository::generate(25, 10).car());
    for (json, why) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        (
            "{\"a\":\n 1.5}",
            "a number must be an integer from -2^63 to 2^63 - 1 at line 2 column 4",
        ),
        (r#"{"a": 1, "a": 1}"#, "a duplicate key at line 1 column 12"),
        (
            r#"{"a": {"$link": "x"}}"#,
            "a link that is not a valid CID at line 1 column 20",
        ),
    ] {
        let run = put(&folder, NOTE, json.as_bytes());
        let expected = format!("cartool: standard input: {why}\n");
        assert_eq!((run.code, run.err), (1, expected));
    }
    let run = put(&folder, NOTE, b"{\"\xff\": 1}");
    let why = "invalid unicode code point at line 1 column 3";
    let expected = format!("cartool: standard input: {why}\n");
    assert_eq!((run.code, run.err), (1, expected));

    let deep = [vec![b'['; 5_000], vec![b']'; 5_000]].concat();
    let run = put(&folder, NOTE, &deep);
    let why = "recursion limit exceeded at line 1 column 128";
    let expected = format!("cartool: standard input: {why}\n");
    assert_eq!((run.code, run.err), (1, expected));

    // Canonical except for one length.
    let record = folder.write("record", b"\xa1\x78\x01a\x01");
    let run = folder.run(&["put", "--cbor", &car, NOTE, &record, "-o", "-"], b"");
    let expected = "cartool: record: byte 1: a number that is not in its shortest form\n";
    assert_eq!((run.code, &*run.err, &*run.out), (1, expected, ""));

    let run = folder.run(&["put", &car, NOTE, &folder.path("no"), "-o", "-"], b"");
    assert_eq!(run.code, 3);
    assert!(run.err.starts_with("cartool: no: "), "{}", run.err);
    assert_eq!(folder.names(), ["in.car", "record"]);
}

#[test]
fn a_record_too_large_for_any_car_is_refused() {
    let folder = Folder::new();
    folder.write("in.car", SampleRepository::generate(25, 10).car());
    // Exactly as many bytes as a section may have; with its CID, too many.
    let text = format!("{{\"a\": \"{}\"}}", "x".repeat((32 << 20) - 8));
    let run = put(&folder, NOTE, text.as_bytes());
    assert_eq!((run.code, folder.names()), (1, vec!["in.car".to_owned()]));
    assert!(run.err.contains("which no CAR can hold"), "{}", run.err);
}

#[test]
fn only_paths_can_be_put_and_only_one_thing_can_be_standard_input() {
    let folder = Folder::new();
    let car = folder.write("in.car", SampleRepository::generate(25, 10).car());
    let record = folder.write("record", NOTE_JSON);
    for args in [
        ["put", &car, "no path", &record, "-o", "-"].as_slice(),
        &["put", &car, "com.example.note/", &record, "-o", "-"],
        &["put", "-", NOTE, "-", "-o", "-"],
        &["put", "--repo", "did:plc:x", &car, NOTE, &record, "-o", "-"],
        &["put", &car, NOTE, &record],
    ] {
        let run = folder.run(args, b"");
        assert_eq!((run.code, &*run.out), (2, ""), "{args:?}");
        assert!(!run.err.is_empty());
    }
}

#[test]
fn a_repository_with_something_missing_is_refused_unless_that_is_what_is_put() {
    let sample = SampleRepository::generate(26, 60);
    let folder = Folder::new();
    let gone = sample.paths[PROFILE];
    folder.write("in.car", car_without(&sample, &gone));
    let run = put(&folder, NOTE, NOTE_JSON.as_bytes());
    let expected = format!(
        "cartool: in.car: missing record {gone} (key \"{PROFILE}\")\n\
         cartool: in.car: the repository is not whole, so nothing was written\n"
    );
    assert_eq!((run.code, run.err), (1, expected));
    assert_eq!(folder.names(), ["in.car"]);

    let json = folder.write("whole.car", sample.car());
    let json = folder.run(&["get", &json, PROFILE], b"").out;
    let run = put(&folder, PROFILE, json.as_bytes());
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(folder.read("out.car"), sample.car());
}

#[test]
fn a_revision_of_the_future_is_followed_by_the_next_and_the_last_by_none() {
    let sample = SampleRepository::generate(27, 10);
    let folder = Folder::new();
    folder.write("in.car", at_rev(&sample, "jyyyyyyyyyy22").car());
    assert_eq!(put(&folder, NOTE, NOTE_JSON.as_bytes()).code, 0);
    // The time, which excludes the last two characters, is a microsecond later.
    let rev = commit_of(&folder.read("out.car")).rev;
    assert!(rev.to_string().starts_with("jyyyyyyyyyz"), "{rev}");

    folder.write("in.car", at_rev(&sample, "jzzzzzzzzzzzz").car());
    let run = put(&folder, NOTE, b"{}");
    let expected = "cartool: in.car: no revision can follow jzzzzzzzzzzzz: ";
    assert!(
        run.code == 1 && run.err.starts_with(expected),
        "{}",
        run.err
    );
}

#[test]
fn a_record_unlike_all_others_is_put_with_a_note() {
    let folder = Folder::new();
    folder.write("in.car", SampleRepository::generate(28, 10).car());
    for (json, note) in [
        ("{}", "note: the record has no `$type` that is text"),
        (
            r#"{"$type": "com.example.other"}"#,
            "note: the record's `$type` is com.example.other, its collection is com.example.note",
        ),
    ] {
        let run = put(&folder, NOTE, json.as_bytes());
        assert_eq!((run.code, run.err.lines().count()), (0, 3));
        assert!(run.err.starts_with(&format!("cartool: {note}\n")));
    }
    for json in ["[1]", "\"text\"", "null"] {
        let run = put(&folder, NOTE, json.as_bytes());
        let expected = "cartool: standard input: a record must be an object\n";
        assert_eq!((run.code, run.err.as_str()), (1, expected));
    }
}

#[test]
fn keys_that_are_no_paths_stay() {
    let folder = Folder::new();
    folder.write("in.car", repository_of_key(b"no path", b"\xa0").car());
    assert_eq!(put(&folder, NOTE, NOTE_JSON.as_bytes()).code, 0);
    let listed = folder.run(&["list", &folder.path("out.car")], b"");
    let cids: [Cid; 2] = [dag_cbor_cid(NOTE_BLOCK), dag_cbor_cid(b"\xa0")];
    let expected = [
        format!("\"{NOTE}\" -> {}", cids[0]),
        format!("\"no path\" -> {}", cids[1]),
    ];
    assert_eq!(listed.lines(), expected);
}
