//! Commits of several writes. The dangers: some of the writes and not the others; a commit that
//! nobody can check; a database that names a missing commit, or a slice of a commit that never
//! existed.

use std::fs;

use atproto_mst::blockstore_sqlite::rusqlite::Connection;
use atproto_mst::{CarBlockStore, NewCommit, Repository, dag_cbor_cid};
use mst_testkit::SampleRepository;

use crate::keys::new_key;
use crate::replacement::run_limited;
use crate::support::{Folder, Run, at_rev, car_without, command, commit_of, rebuilt};

const PROFILE: &str = "app.bsky.actor.profile/self";
const NOTE: &str = "com.example.note/1";
const NOTE_BLOCK: &[u8] = b"\xa1\x65$type\x70com.example.note";

/// A folder with a repository as a CAR, the same in a database, a key, and writes of each kind.
struct Place {
    folder: Folder,
    sample: SampleRepository,
    car: String,
    database: String,
    key: String,
    public: String,
    /// The path of the record that is deleted.
    gone: String,
    writes: String,
}

impl Place {
    fn new(seed: u64) -> Self {
        let sample = SampleRepository::generate(seed, 150);
        let folder = Folder::new();
        let car = folder.write("in.car", sample.shuffled_car(1));
        let database = folder.path("db");
        assert_eq!(folder.run(&["import", &car, &database], b"").code, 0);
        let (key, public) = new_key(&folder, "key", "k256");
        let gone = sample.paths.keys().nth(70).unwrap().clone();
        let record = r#"{"$type":"com.example.note"}"#;
        let writes = format!(
            "{{\"action\":\"update\",\"path\":\"{PROFILE}\",\"value\":{record}}}\n\
             {{\"action\":\"create\",\"path\":\"{NOTE}\",\"value\":{record}}}\n\
             {{\"action\":\"delete\",\"path\":\"{gone}\"}}\n"
        );
        let writes = folder.write("writes", writes);
        Self {
            folder,
            sample,
            car,
            database,
            key,
            public,
            gone,
            writes,
        }
    }

    fn commit(&self, file: &str, more: &[&str]) -> Run {
        let args = ["commit", file, &self.writes, "--key-file", &self.key];
        self.folder.run(&[args.as_slice(), more].concat(), b"")
    }

    /// The repository after the writes, at the commit that `car` has.
    fn expected(&self, car: &[u8]) -> SampleRepository {
        let mut sample = self.sample.clone();
        let cid = dag_cbor_cid(NOTE_BLOCK);
        sample.paths.insert(PROFILE.to_owned(), cid);
        sample.paths.insert(NOTE.to_owned(), cid);
        sample.paths.remove(&self.gone);
        sample.records.insert(cid, NOTE_BLOCK.into());
        rebuilt(&sample, &commit_of(car))
    }

    /// The names of all files, except those that are part of the database.
    fn names(&self) -> Vec<String> {
        let mut names = self.folder.names();
        names.retain(|name| !name.starts_with("db-"));
        names
    }

    /// What the database has, as a CAR.
    fn in_database(&self) -> Vec<u8> {
        let run = self.folder.run(&["export", &self.database, "-o", "-"], b"");
        assert_eq!(run.code, 0, "{}", run.err);
        run.raw_out
    }

    /// Asserts that the slice is complete, and leads from the previous tree to that of `new`.
    fn assert_slice(&self, slice: &str, operations: usize) {
        let folder = &self.folder;
        let diff = ["diff", &self.car, slice, "--jsonl"];
        let diff = folder.run(&diff, b"");
        assert_eq!(
            (diff.code, diff.lines().len()),
            (5, operations),
            "{}",
            diff.err
        );
        let root = self.sample.tree.root.to_string();
        let args = [
            "verify",
            "--partial",
            slice,
            "--ops",
            "-",
            "--since-root",
            &root,
        ];
        let args = [args.as_slice(), &["--key", &self.public]].concat();
        let verified = folder.run(&args, diff.out.as_bytes());
        assert_eq!(verified.code, 0, "{} {}", verified.out, verified.err);
        // Silence means that all neighbours of the keys are present too.
        assert_eq!(verified.err, "");
    }
}

#[test]
fn several_writes_are_one_signed_commit_in_a_copy_and_in_a_database() {
    let place = Place::new(401);
    let (out, slice) = (place.folder.path("out.car"), place.folder.path("slice.car"));
    let run = place.commit(&place.car, &["-o", &out, "--slice", &slice]);
    assert_eq!((run.code, &*run.out), (0, ""), "{}", run.err);
    let car = place.folder.read("out.car");
    assert_eq!(car, place.expected(&car).car());
    let (new, old) = (commit_of(&car), commit_of(&place.sample.car()));
    assert!(new.rev > old.rev && new.did == old.did);
    new.verify_signature(&place.public.parse().unwrap())
        .unwrap();
    assert_eq!(commit_of(&place.folder.read("slice.car")), new);
    place.assert_slice(&slice, 3);
    let cid = dag_cbor_cid(NOTE_BLOCK);
    let expected = format!(
        "cartool: note: \"{PROFILE}\": the record's `$type` is com.example.note, its collection is \
         app.bsky.actor.profile\n\
         cartool: updated \"{PROFILE}\" -> {cid}, which was {}\n\
         cartool: removed \"{}\" -> {}\n\
         cartool: created \"{NOTE}\" -> {cid}\n\
         cartool: commit {}, rev {}, is signed by {}\n\
         cartool: 3 operations since the tree {}\n",
        place.sample.paths[PROFILE],
        place.gone,
        place.sample.paths[&place.gone],
        new.cid(),
        new.rev,
        place.public,
        place.sample.tree.root
    );
    assert_eq!(run.err, expected);
    let key = String::from_utf8(place.folder.read("key")).unwrap();
    assert!(!run.err.contains(key.trim_end()));

    // In place, and the slice to standard output.
    let run = place.commit(&place.database, &["--slice", "-"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let slice = place.folder.write("second.car", &run.raw_out);
    place.assert_slice(&slice, 3);
    let car = place.in_database();
    assert_eq!(car, place.expected(&car).car());
    assert_eq!(commit_of(&car), commit_of(&run.raw_out));
    let verified = place
        .folder
        .run(&["verify", &place.database, "--key", &place.public], b"");
    assert_eq!(verified.code, 0, "{}", verified.out);

    // A second commit fails: the note exists.
    let again = place.commit(&place.database, &[]);
    let expected = format!("cartool: db: there is a record at {NOTE:?}\n");
    assert_eq!((again.code, again.err), (1, expected));
    assert_eq!(place.in_database(), car);
}

#[test]
fn what_a_damaged_database_does_not_keep_is_not_said_to_be_there() {
    let place = Place::new(404);
    let whole = place.folder.read("db");
    let mut refused = 0;
    for cut in (0..40).map(|n| n * 300 + 40) {
        fs::write(&place.database, &whole[..whole.len() - cut]).unwrap();
        let run = place.commit(&place.database, &[]);
        if run.code == 0 {
            let found = place.folder.run(&["get", &place.database, NOTE], b"");
            assert_eq!(found.code, 0, "{cut}: {}", found.err);
        } else {
            refused += 1;
        }
        for end in ["-wal", "-shm"] {
            // They belong to this file, and the next is another.
            let _ = fs::remove_file(format!("{}{end}", place.database));
        }
    }
    assert!(refused > 0);

    fs::write(&place.database, &whole).unwrap();
    let ignore = "CREATE TRIGGER ignore BEFORE INSERT ON blocks BEGIN SELECT raise(IGNORE); END";
    let connection = Connection::open(&place.database).unwrap();
    connection.execute_batch(ignore).unwrap();
    drop(connection);
    let run = place.commit(&place.database, &[]);
    let expected = "cartool: db: the database does not keep what is written to it; it is damaged, \
                    or has triggers\n";
    assert_eq!((run.code, &*run.err), (3, expected));
    assert_eq!(place.in_database(), place.sample.car());
}

#[test]
fn no_commit_is_made_of_another_repository_than_is_named() {
    let place = Place::new(405);
    let connection = Connection::open(&place.database).unwrap();
    let moved = connection.execute("UPDATE blocks_heads SET name = 'did:plc:other'", []);
    assert_eq!(moved.unwrap(), 1);
    drop(connection);
    let expected = format!(
        "cartool: db: the head of did:plc:other is a commit of {}\n",
        commit_of(&place.sample.car()).did
    );
    let run = place.commit(&place.database, &["--repo", "did:plc:other"]);
    assert_eq!((run.code, &run.err), (1, &expected));
    for command in ["verify", "list", "dump"] {
        let run = place.folder.run(&[command, &place.database], b"");
        assert_eq!((run.code, &run.err), (1, &expected), "{command}");
    }
}

#[test]
fn all_writes_are_made_or_none() {
    let place = Place::new(402);
    let before = place.in_database();
    let (out, slice) = (place.folder.path("out.car"), place.folder.path("slice.car"));
    let line = |action: &str, path: &str| {
        let value = if action == "delete" {
            ""
        } else {
            r#","value":{}"#
        };
        format!(r#"{{"action":"{action}","path":"{path}"{value}}}"#)
    };
    let good = line("create", NOTE);
    let large = format!(
        r#"{{"action":"create","path":"a.b.c/1","value":{{"a":"{}"}}}}"#,
        "x".repeat(1_000_000)
    );
    let many: Vec<String> = (0..201)
        .map(|n| line("create", &format!("a.b.c/{n}")))
        .collect();
    let wide: Vec<String> = (0..3)
        .map(|n| {
            large
                .replace("a.b.c/1", &format!("a.b.c/{n}"))
                .replace("xxxxx", &format!("xxx{n}"))
        })
        .collect();
    for (last, code, why) in [
        (line("create", PROFILE), 1, "there is a record at"),
        (line("update", "a.b.c/1"), 4, "there is no record at"),
        (line("delete", "a.b.c/1"), 4, "there is no record at"),
        (line("delete", NOTE), 1, "two writes to"),
        (line("create", "a.b.c/"), 1, "line 2: not a repository path"),
        (
            "{".to_owned(),
            1,
            "EOF while parsing an object at line 3 column 0",
        ),
        (large, 1, "more than the limit of 1000000"),
        (
            many.join("\n"),
            1,
            "202 operations, more than the limit of 200",
        ),
        (wide.join("\n"), 1, "more than the limit of 2000000"),
    ] {
        place.folder.write("writes", format!("{good}\n{last}\n"));
        for (file, more) in [
            (&place.database, ["--slice", &slice].as_slice()),
            (&place.car, &["--slice", &slice, "-o", &out]),
        ] {
            let run = place.commit(file, more);
            assert_eq!((run.code, &*run.out), (code, ""), "{why}: {}", run.err);
            assert!(run.err.contains(why), "{why}: {}", run.err);
            assert_eq!(run.err.lines().count(), 1, "{}", run.err);
        }
    }
    place.folder.write("writes", " \n");
    let run = place.commit(&place.database, &[]);
    let expected = "cartool: writes: no writes, so nothing to commit\n";
    assert_eq!((run.code, &*run.err), (1, expected));
    place.folder.write("writes", b"\xff");
    assert_eq!(place.commit(&place.database, &[]).code, 1);
    assert_eq!(place.in_database(), before);
    assert_eq!(place.names(), ["db", "in.car", "key", "writes"]);
}

#[test]
fn a_slice_and_a_repository_never_go_to_one_place() {
    let place = Place::new(406);
    let new = place.folder.path("new.car");
    let again = place.folder.path("./new.car");
    for (output, slice) in [(&new, &again), (&again, &new), (&new, &new)] {
        let run = place.commit(&place.car, &["-o", output, "--slice", slice]);
        assert_eq!((run.code, &*run.out), (2, ""), "{}", run.err);
    }
    assert_eq!(place.names(), ["db", "in.car", "key", "writes"]);
}

/// Standard output cannot be tested in advance.
#[cfg(target_os = "linux")]
#[test]
fn a_slice_that_is_lost_hides_no_commit() {
    let place = Place::new(405);
    let args = ["commit", &place.database, &place.writes, "-k", &place.key];
    let full = std::fs::File::options().write(true).open("/dev/full");
    let mut command = command(&[args.as_slice(), &["--slice", "-"]].concat());
    let output = command.stdout(full.unwrap()).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{err}");
    let lines: Vec<_> = err.lines().collect();
    assert_eq!(lines.len(), 8, "{err}");
    assert!(lines[4].starts_with("cartool: commit "), "{err}");
    assert_eq!(
        lines[6],
        "cartool: the commit is made, but its slice is lost"
    );
    assert!(lines[7].contains("No space left"), "{err}");
    // The same for anything else that is not a file.
    let new = place.folder.path("new.car");
    let run = place.commit(&place.car, &["-o", &new, "--slice", "/dev/full"]);
    let lost = run
        .err
        .contains("the commit is made, but its slice is lost");
    assert!(run.code == 3 && lost, "{}", run.err);
    let after = place.folder.read("new.car");
    assert_eq!(after, place.expected(&after).car());
    let after = place.in_database();
    assert_eq!(after, place.expected(&after).car());
}

#[test]
fn what_cannot_be_written_leaves_all_as_it_was() {
    let place = Place::new(403);
    let before = place.in_database();
    let out = place.folder.write("out.car", "as it was");
    for more in [
        ["--slice", &place.folder.path("no/slice")].as_slice(),
        &["--slice", &place.folder.path("")],
        &["--slice", &place.folder.path("slice"), "-o", "/dev/full"],
        &[
            "--slice",
            &place.folder.path("slice"),
            "-o",
            &place.folder.path("no/out"),
        ],
    ] {
        let run = place.commit(&place.database, more);
        assert_eq!((run.code, &*run.out), (3, ""), "{more:?}: {}", run.err);
    }
    assert_eq!(place.in_database(), before);
    assert_eq!(place.folder.read("out.car"), b"as it was");
    assert_eq!(place.names(), ["db", "in.car", "key", "out.car", "writes"]);

    // A copy of a repository of which something is missing; and a node on the path, anywhere.
    let lost = place.sample.paths.iter().nth(3).unwrap().1;
    let car = place
        .folder
        .write("lost.car", car_without(&place.sample, lost));
    // Nor is anything sent to a reader who would think that it was made.
    for more in [&["-o", &out][..], &["-o", &out, "--slice", "/dev/full"]] {
        let run = place.commit(&car, more);
        assert!(
            run.code == 1 && run.err.contains("so nothing was written"),
            "{}",
            run.err
        );
    }
    let top = place.sample.tree.root;
    let car = place
        .folder
        .write("lost.car", car_without(&place.sample, &top));
    let run = place.commit(&car, &["-o", &out]);
    let expected = format!("cartool: lost.car: block {top} is missing\n");
    assert_eq!((run.code, run.err), (1, expected));
    let last = place
        .folder
        .write("last.car", at_rev(&place.sample, "jzzzzzzzzzzzz").car());
    let run = place.commit(&last, &["-o", &out]);
    assert!(
        run.code == 1 && run.err.contains("no revision can follow"),
        "{}",
        run.err
    );
    assert_eq!(place.folder.read("out.car"), b"as it was");
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_leaves_the_database_and_no_slice() {
    let place = Place::new(404);
    let before = place.in_database();
    // More than the limit, in the log of the database.
    let writes: Vec<String> = (0..100)
        .map(|n| {
            let text = "x".repeat(1_000);
            format!(r#"{{"action":"create","path":"a.b.c/{n}","value":{{"n":{n},"a":"{text}"}}}}"#)
        })
        .collect();
    place.folder.write("writes", writes.join("\n"));
    let slice = place.folder.path("slice");
    let args = [
        "commit",
        &place.database,
        &place.writes,
        "-k",
        &place.key,
        "--slice",
        &slice,
    ];
    for before_it in ["", "trap '' XFSZ;"] {
        let output = run_limited(&args, before_it);
        assert!(!output.status.success());
        assert!(output.stdout.is_empty());
    }
    assert_eq!(place.in_database(), before);
    assert!(!place.names().contains(&"slice".to_owned()));
    let run = place.commit(&place.database, &["--slice", &slice]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert_ne!(place.in_database(), before);
}

#[test]
fn one_file_is_not_two_things() {
    let place = Place::new(405);
    let (car, key, writes) = (&*place.car, &*place.key, &*place.writes);
    let database = &*place.database;
    let key_before = place.folder.read("key");
    for args in [
        // A CAR is not changed in place.
        ["commit", car, writes, "-k", key].as_slice(),
        &["commit", "-", "-", "-k", key, "-o", "-"],
        &["commit", "-", writes, "-k", "-", "-o", "-"],
        &["commit", car, writes, "-k", key, "-o", "-", "--slice", "-"],
        &["commit", car, writes, "-k", key, "-o", car, "--slice", car],
        &["commit", car, writes, "-k", key, "-o", key],
        &["commit", database, writes, "-k", key, "--slice", database],
        &["commit", database, writes, "-k", key, "--slice", key],
        &["commit", database, writes, "-k", key, "--slice", writes],
        &["commit", database, writes],
        &[
            "commit",
            car,
            writes,
            "-k",
            key,
            "-o",
            "-",
            "--repo",
            "did:plc:x",
        ],
    ] {
        let run = place.folder.run(args, b"");
        assert_eq!((run.code, &*run.out), (2, ""), "{args:?}: {}", run.err);
    }
    assert_eq!(place.folder.read("key"), key_before);
    let args = ["commit", database, writes, "-k", key, "--repo", "did:plc:x"];
    assert_eq!(place.folder.run(&args, b"").code, 4);

    // OUT may be FILE, and each input may come through a pipe.
    let writes_text = place.folder.read("writes");
    let out = place.folder.path("out.car");
    let args = ["commit", car, "-", "-k", key, "-o", &out];
    assert_eq!(place.folder.run(&args, &writes_text).code, 0);
    let args = ["commit", car, writes, "-k", "-", "-o", car];
    assert_eq!(place.folder.run(&args, &key_before).code, 0);
    let (one, other) = (place.folder.read("out.car"), place.folder.read("in.car"));
    assert_eq!(commit_of(&one).data, commit_of(&other).data);
}

#[test]
fn a_write_that_changes_nothing_is_no_operation_and_two_repositories_do_not_meet() {
    let place = Place::new(406);
    let json = place.folder.run(&["get", &place.car, PROFILE], b"").out;
    let json = json.replace('\n', " ");
    let line = format!(r#"{{"action":"update","path":"{PROFILE}","value":{json}}}"#);
    place.folder.write("writes", line);
    let run = place.commit(&place.database, &[]);
    let end = format!(
        "cartool: 0 operations since the tree {}\n",
        place.sample.tree.root
    );
    assert!(run.code == 0 && run.err.ends_with(&end), "{}", run.err);
    assert_eq!(commit_of(&place.in_database()).data, place.sample.tree.root);

    let mut commit = commit_of(&place.sample.car());
    commit.did = "did:plc:another".to_owned();
    let other = rebuilt(&place.sample, &commit);
    let other = place.folder.write("other.car", other.car());
    let run = place.folder.run(&["import", &other, &place.database], b"");
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(place.commit(&place.database, &[]).code, 2);
    let run = place.commit(&place.database, &["--repo", "did:plc:another"]);
    assert_eq!(run.code, 0, "{}", run.err);
    for did in ["did:plc:another", &commit_of(&place.sample.car()).did] {
        let run = place
            .folder
            .run(&["verify", &place.database, "--repo", did], b"");
        assert_eq!(run.code, 0, "{}", run.out);
    }
}

/// What the tool calls a slice is what the library does.
#[test]
fn a_slice_is_what_the_library_makes() {
    let place = Place::new(407);
    let slice = place.folder.path("slice.car");
    let run = place.commit(&place.database, &["--slice", &slice]);
    assert_eq!(run.code, 0);
    let key = atproto_mst::SigningKey::from_bytes(atproto_mst::Curve::K256, &[7; 32]).unwrap();
    let car = CarBlockStore::from_bytes(place.sample.car()).unwrap();
    let root = car.roots()[0];
    let mut writer = atproto_mst::Writer::open(car, &root).unwrap();
    let record = || atproto_mst::Bytes::from_static(NOTE_BLOCK);
    let writes = [
        atproto_mst::Write::Update {
            path: PROFILE.to_owned(),
            record: record(),
        },
        atproto_mst::Write::Create {
            path: NOTE.to_owned(),
            record: record(),
        },
        atproto_mst::Write::Delete {
            path: place.gone.clone(),
        },
    ];
    let new: NewCommit = writer.write_with(&writes, &key, |_, _| Ok(())).unwrap();
    let made = CarBlockStore::from_bytes(place.folder.read("slice.car")).unwrap();
    let expected = CarBlockStore::from_bytes(new.slice).unwrap();
    // Everything but the commit, which has another revision and signature.
    assert_eq!(made.len(), expected.len());
    let commit = made.roots()[0];
    let repository = Repository::open(made, &commit).unwrap();
    assert_eq!(repository.commit().data, new.commit.data);
}
