//! Repositories that go into a database and come out of it, completely or not at all.

use std::fs;

use atproto_mst::SqliteBlockStore;
use atproto_mst::blockstore_sqlite::rusqlite::Connection;
use atproto_mst::{BlockStoreMut, raw_cid};
use mst_testkit::SampleRepository;

use crate::support::{Folder, at_rev, car_damaged_at, car_without, commit_of, listing, rebuilt};

/// A second repository, of another account.
fn another(seed: u64) -> SampleRepository {
    let sample = SampleRepository::generate(seed, 30);
    let mut commit = commit_of(&sample.car());
    "did:plc:another".clone_into(&mut commit.did);
    rebuilt(&sample, &commit)
}

/// `sample` without its first record, at a later revision.
fn next(sample: &SampleRepository) -> SampleRepository {
    let mut sample = sample.clone();
    let (_, gone) = sample.paths.pop_first().unwrap();
    sample.records.remove(&gone);
    at_rev(&sample, "3zzzzzzzzzzzz")
}

/// Imports repositories, one after the other, each successfully.
fn import(folder: &Folder, database: &str, samples: &[&SampleRepository]) {
    for sample in samples {
        assert_eq!(
            folder.run(&["import", "-", database], &sample.car()).code,
            0
        );
    }
}

const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

#[test]
fn a_repository_comes_out_as_it_went_in_but_in_order() {
    let sample = SampleRepository::generate(61, 2_000);
    let folder = Folder::new();
    let mut blocks = sample.blocks();
    blocks.reverse();
    blocks.push((raw_cid(b"alone"), b"alone".as_slice().into()));
    let (car, database) = (
        folder.write("in.car", sample.car_of(&blocks)),
        folder.path("database"),
    );
    let run = folder.run(&["import", &car, &database], b"");
    let (rev, nodes) = (commit_of(&sample.car()).rev, sample.tree.nodes.len());
    let about = format!("cartool: {DID}, rev {rev}: 2000 records, {nodes} nodes; ");
    assert_eq!((run.code, &*run.out), (0, ""));
    assert_eq!(run.err, format!("{about}new in the database\n"));

    let out = folder.path("out.car");
    let run = folder.run(&["export", &database, "-o", &out], b"");
    assert_eq!(run.code, 0);
    assert_eq!(run.err, format!("{about}{} bytes\n", sample.car().len()));
    assert_eq!(folder.read("out.car"), sample.car());
    let run = folder.run(&["export", &database, "--repo", DID, "-o", "-"], b"");
    assert_eq!(run.raw_out, sample.car());

    let again = folder.run(&["import", "-", &database], &sample.car());
    assert_eq!(again.err, format!("{about}was in the database already\n"));
    // The unreferenced block is not in it.
    let dropped = folder.run(&["compact", &database], b"").err;
    assert!(dropped.contains("dropped 0 blocks"), "{dropped}");
}

#[test]
fn several_repositories_live_side_by_side() {
    let (one, other) = (SampleRepository::generate(62, 50), another(63));
    let folder = Folder::new();
    let database = folder.path("database");
    import(&folder, &database, &[&one, &other]);
    let out = |did: &str| {
        folder
            .run(&["export", &database, "--repo", did, "-o", "-"], b"")
            .raw_out
    };
    assert_eq!((out(DID), out("did:plc:another")), (one.car(), other.car()));

    let run = folder.run(&["export", &database, "-o", "-"], b"");
    let expected = format!(
        "cartool: database: the database holds 2 repositories; say which with --repo: \
         did:plc:another {DID}\n"
    );
    assert_eq!((run.code, run.err, &*run.out), (2, expected, ""));
    let run = folder.run(
        &["export", &database, "--repo", "did:plc:none", "-o", "-"],
        b"",
    );
    let expected = format!(
        "cartool: database: no repository of did:plc:none in the database, \
         only: did:plc:another {DID}\n"
    );
    assert_eq!((run.code, run.err, &*run.out), (4, expected, ""));

    let info = folder.run(&["info", &database], b"").out;
    let [(one_cid, one_rev), (other_cid, other_rev)] =
        [&one, &other].map(|sample| (sample.commit.0, commit_of(&sample.car()).rev));
    let end = format!(
        "Repositories: 2\n  did:plc:another {other_cid} {other_rev}\n  {DID} {one_cid} {one_rev}\n"
    );
    assert!(info.ends_with(&end), "{info}");
    // A missing commit hides no other.
    let store = SqliteBlockStore::open(&database).unwrap();
    store.delete(&one_cid).unwrap();
    let run = folder.run(&["info", "--json", &database], b"");
    let info: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    let expected = serde_json::json!([
        { "did": "did:plc:another", "commit": other_cid.to_string(), "rev": other_rev.to_string() },
        { "did": DID, "commit": one_cid.to_string(), "rev": null },
    ]);
    assert_eq!((run.code, &info["repositories"]), (1, &expected));
    let line = format!("cartool: database: {DID}: block {one_cid} is missing\n");
    assert_eq!(run.err, line);
}

#[test]
fn all_repositories_of_a_database_are_verified_and_what_is_wrong_with_one_hides_no_other() {
    let (one, other) = (SampleRepository::generate(66, 50), another(67));
    let folder = Folder::new();
    let database = folder.path("database");
    import(&folder, &database, &[&one, &other]);
    let counts = |sample: &SampleRepository| {
        let (records, nodes) = (sample.paths.len(), sample.tree.nodes.len());
        format!("{records} records, {nodes} nodes")
    };
    let run = folder.run(&["verify", "--all", &database], b"");
    let expected = format!(
        "did:plc:another: ok: {}\n{DID}: ok: {}\n",
        counts(&other),
        counts(&one)
    );
    assert_eq!((run.code, run.out, &*run.err), (0, expected, ""));

    // A record of the first is missing, the commit of a third, and a fourth has a wrong name.
    let store = SqliteBlockStore::open(&database).unwrap();
    let (path, gone) = other.paths.last_key_value().unwrap();
    store.delete(gone).unwrap();
    let nothing = raw_cid(b"nothing");
    store.set_head("did:plc:none", &nothing).unwrap();
    store.set_head("did:plc:wrong", &one.commit.0).unwrap();
    drop(store);
    let run = folder.run(&["verify", "--all", &database], b"");
    let lines: Vec<_> = run.out.lines().collect();
    assert_eq!(run.code, 1);
    assert_eq!(lines.len(), 5, "{}", run.out);
    assert_eq!(
        lines[0],
        format!("did:plc:another: missing record {gone} (key \"{path}\")")
    );
    assert!(lines[1].starts_with("did:plc:another: incomplete: 29 records, "));
    assert_eq!(lines[2], format!("{DID}: ok: {}", counts(&one)));
    assert!(
        lines[3].starts_with("did:plc:none: invalid: "),
        "{}",
        lines[3]
    );
    assert_eq!(
        lines[4],
        format!(
            "did:plc:wrong: invalid: it is the repository of {DID}; ok: {}",
            counts(&one)
        )
    );

    let car = folder.write("in.car", one.car());
    assert_eq!(folder.run(&["verify", "--all", &car], b"").code, 2);
    let both = ["verify", "--all", &database, "--repo", DID];
    assert_eq!(folder.run(&both, b"").code, 2);
}

#[test]
fn every_command_reads_a_database_too() {
    let (one, other) = (SampleRepository::generate(64, 50), another(65));
    let folder = Folder::new();
    let (car, database) = (folder.write("in.car", one.car()), folder.path("database"));
    import(&folder, &database, &[&one, &other]);
    let path = "app.bsky.actor.profile/self";
    for (command, rest) in [
        ("list", ["--reverse"].as_slice()),
        ("dump", &["--jsonl"]),
        ("get", &[path]),
        ("verify", &[]),
        ("compact", &["-o", "-"]),
    ] {
        let of_car = folder.run(&[&[command, &car], rest].concat(), b"");
        // A database is compacted in another way.
        let command = if command == "compact" {
            "export"
        } else {
            command
        };
        let repo = ["--repo", DID];
        let of_database = folder.run(&[&[command, &database], &repo[..], rest].concat(), b"");
        assert_eq!(of_database.code, 0, "{}", of_database.err);
        assert_eq!(of_database.raw_out, of_car.raw_out, "{command}");
        assert!(!of_car.out.is_empty());
    }
    let listed = folder.run(&["list", &database, "--repo", "did:plc:another"], b"");
    assert_eq!(listed.lines(), listing(&other));
    let info = folder.run(&["info", &database, "--repo", DID], b"");
    assert!(info.code == 0 && info.out.contains("Records:      50\n"));
    let info = folder.run(&["info", "--json", &database, "--repo", DID], b"");
    let info: serde_json::Value = serde_json::from_str(&info.out).unwrap();
    assert_eq!(info["roots"][0], one.commit.0.to_string());
    assert!(info["sections"].is_null() && info["unreferenced"].is_null());

    let out = folder.path("out.car");
    let args = ["rm", &database, "--repo", DID, path, "-o", &out];
    assert_eq!(folder.run(&args, b"").code, 0);
    assert_eq!(commit_of(&folder.read("out.car")).did, DID);
}

#[test]
fn a_later_revision_takes_the_place_of_the_earlier_and_never_the_other_way_round() {
    let old = SampleRepository::generate(66, 200);
    let new = next(&old);
    let rev = commit_of(&old.car()).rev;
    let folder = Folder::new();
    let database = folder.path("database");
    let import = |car: &[u8]| folder.run(&["import", "-", &database], car);
    let exported = || folder.run(&["export", &database, "-o", "-"], b"").raw_out;
    import(&old.car());
    let run = import(&new.car());
    assert!(
        run.err.ends_with(&format!("; was at rev {rev}\n")),
        "{}",
        run.err
    );
    assert_eq!(exported(), new.car());

    let run = import(&old.car());
    let expected = format!(
        "cartool: database: has a later revision of {DID}, 3zzzzzzzzzzzz; \
         --force imports {rev} anyway\n"
    );
    assert_eq!((run.code, run.err), (1, expected));
    let mut fork = commit_of(&new.car());
    fork.sig = vec![1; 64];
    let run = import(&rebuilt(&new, &fork).car());
    assert_eq!(run.code, 1);
    assert!(
        run.err.contains("another commit of the same revision"),
        "{}",
        run.err
    );
    assert_eq!(exported(), new.car());

    let run = folder.run(&["import", "--force", "-", &database], &old.car());
    assert_eq!((run.code, exported()), (0, old.car()));
}

#[test]
fn a_head_that_is_damaged_may_be_later_than_what_is_imported() {
    let old = SampleRepository::generate(66, 200);
    let new = next(&old);
    let folder = Folder::new();
    let database = folder.path("database");
    let import = |car: &[u8]| folder.run(&["import", "-", &database], car);
    assert_eq!(import(&new.car()).code, 0);
    // A wrong byte in the commit, which is a row of a page.
    let mut file = folder.read("database");
    let (commit, block) = &new.commit;
    let at = file.windows(block.len()).position(|bytes| bytes == block);
    file[at.unwrap() + 10] ^= 1;
    folder.write("database", &file);

    let run = import(&old.car());
    assert_eq!(run.code, 1, "{}", run.err);
    let why = format!("the last commit of {DID}, {commit}, is missing or damaged");
    assert!(run.err.contains(&why), "{}", run.err);
    let update = ["import", "--update", "--force", "-", &database];
    let run = folder.run(&update, &old.car());
    assert_eq!(run.code, 1, "{}", run.err);
    assert!(
        run.err.contains("import all of the repository"),
        "{}",
        run.err
    );
    // The same commit again repairs it.
    let run = import(&new.car());
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(
        run.err.ends_with("; was in the database, damaged\n"),
        "{}",
        run.err
    );
    let run = folder.run(&["export", &database, "-o", "-"], b"");
    assert_eq!((run.code, run.raw_out), (0, new.car()));
}

#[test]
fn compacting_a_database_drops_what_no_repository_needs() {
    let (old, other) = (SampleRepository::generate(67, 2_000), another(68));
    let mut new = old.clone();
    // What is left fits into a small part of the file.
    new.paths = old.paths.clone().into_iter().take(100).collect();
    let new = at_rev(&new, "3zzzzzzzzzzzz");
    let folder = Folder::new();
    let database = folder.path("database");
    import(&folder, &database, &[&old, &other, &new]);
    let before = folder.read("database").len();
    let run = folder.run(&["compact", &database], b"");
    let after = folder.read("database").len();
    let start = "cartool: dropped ";
    let end = format!(" blocks; {before} bytes became {after}\n");
    assert!(
        run.err.starts_with(start) && run.err.ends_with(&end),
        "{}",
        run.err
    );
    assert!(after < before / 4, "{before} {after}");
    for (did, sample) in [(DID, &new), ("did:plc:another", &other)] {
        let run = folder.run(&["export", &database, "--repo", did, "-o", "-"], b"");
        let commit = commit_of(&sample.car());
        assert_eq!(run.raw_out, rebuilt(sample, &commit).car());
    }
    let run = folder.run(&["compact", &database, "-o", &folder.path("out.car")], b"");
    assert_eq!(run.code, 2);
}

#[test]
fn nothing_is_dropped_from_a_database_whose_index_is_damaged() {
    let sample = SampleRepository::generate(73, 100);
    let folder = Folder::new();
    let database = folder.path("database");
    import(&folder, &database, &[&sample]);
    let mut file = folder.read("database");
    let (path, record) = sample.paths.iter().nth(50).unwrap();
    // An entry of the index: the length of its header, the types of the key and of the number of the
    // row, and those two.
    let key = record.to_bytes();
    let in_index =
        |at: &usize| file[*at..].starts_with(&key) && matches!(file[at - 3..*at], [3, 84, 1..=9]);
    // All of them, as what was moved is also still where it was.
    let places: Vec<usize> = (3..file.len()).filter(in_index).collect();
    for at in places {
        file[at + key.len() - 1] ^= 1;
    }
    fs::write(&database, &file).unwrap();

    assert_eq!(folder.run(&["get", &database, path], b"").code, 1);
    let run = folder.run(&["compact", &database], b"");
    let start = "cartool: database: the database is damaged, so nothing is dropped from it: ";
    assert!(run.code == 3 && run.err.starts_with(start), "{}", run.err);
    let connection = Connection::open(&database).unwrap();
    connection.execute_batch("REINDEX").unwrap();
    drop(connection);
    assert_eq!(folder.run(&["get", &database, path], b"").code, 0);
    assert_eq!(folder.run(&["compact", &database], b"").code, 0);
    assert_eq!(folder.run(&["verify", &database], b"").code, 0);
}

#[test]
fn a_head_that_is_none_costs_no_other_repository() {
    let sample = SampleRepository::generate(74, 30);
    let folder = Folder::new();
    let database = folder.path("database");
    import(&folder, &database, &[&sample]);
    let connection = Connection::open(&database).unwrap();
    let bad = "INSERT INTO blocks_heads (name, cid) VALUES ('did:plc:bad', x'00')";
    connection.execute_batch(bad).unwrap();
    drop(connection);
    assert_eq!(folder.run(&["verify", &database], b"").code, 3);
    let run = folder.run(&["export", &database, "--repo", DID, "-o", "-"], b"");
    assert_eq!((run.code, run.raw_out), (0, sample.car()), "{}", run.err);
}

#[test]
fn a_repository_is_dropped_and_the_others_stay() {
    let (one, other) = (SampleRepository::generate(71, 300), another(72));
    let folder = Folder::new();
    let database = folder.path("database");
    import(&folder, &database, &[&one, &other]);
    let run = folder.run(&["compact", &database, "--drop", "did:plc:nobody"], b"");
    assert_eq!(run.code, 4, "{}", run.err);
    let run = folder.run(&["compact", &database, "--drop", DID], b"");
    assert_eq!(run.code, 0, "{}", run.err);
    let own: std::collections::BTreeSet<_> = one.blocks().into_iter().collect();
    let shared = other.blocks().into_iter().filter(|one| own.contains(one));
    let dropped = own.len() - shared.count();
    let start = format!("cartool: dropped {dropped} blocks; ");
    assert!(run.err.starts_with(&start), "{}", run.err);
    // The one that is left need not be named.
    let run = folder.run(&["export", &database, "-o", "-"], b"");
    assert_eq!(run.raw_out, other.car());

    // The last can be dropped too. A CAR has only one.
    let run = folder.run(&["compact", &database, "--drop", "did:plc:another"], b"");
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(folder.run(&["list", &database], b"").code, 4);
    let car = folder.write("in.car", one.car());
    let run = folder.run(&["compact", &car, "--drop", DID], b"");
    assert_eq!(run.code, 2, "{}", run.err);
}

#[test]
fn a_repository_that_is_not_whole_is_refused_and_no_database_made() {
    let sample = SampleRepository::generate(69, 100);
    let folder = Folder::new();
    let database = folder.path("database");
    let record = sample.paths.values().next_back().unwrap();
    let (node, _) = sample.tree.nodes.last().unwrap();
    for car in [
        car_without(&sample, record),
        car_without(&sample, node),
        car_damaged_at(&sample, record),
        car_damaged_at(&sample, node),
        crate::support::repository_of_key(b"no path", b"\xa0").car(),
    ] {
        let run = folder.run(&["import", "-", &database], &car);
        assert_eq!((run.code, run.err.lines().count()), (1, 2), "{}", run.err);
        assert!(folder.names().is_empty());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_import_that_is_killed_or_fails_leaves_the_database_as_it_was() {
    use std::os::unix::process::ExitStatusExt;

    use crate::replacement::run_limited;

    let small = another(70);
    let large = SampleRepository::generate(71, 3_000);
    let folder = Folder::new();
    let (car, database) = (folder.write("in.car", large.car()), folder.path("database"));
    assert_eq!(
        folder.run(&["import", "-", &database], &small.car()).code,
        0
    );
    for before in ["", "trap '' XFSZ;"] {
        let output = run_limited(&["import", &car, &database], before);
        let status = output.status;
        assert_eq!(status.signal().is_some(), before.is_empty(), "{output:?}");
        assert_ne!(status.code(), Some(0));
        let run = folder.run(&["export", &database, "-o", "-"], b"");
        assert_eq!((run.code, run.raw_out), (0, small.car()));
    }
    let run = folder.run(&["import", &car, &database], b"");
    assert_eq!(run.code, 0, "{}", run.err);
}

/// SQLite would consider it its own, and delete it.
#[test]
fn what_belongs_to_a_database_is_no_place_for_another() {
    let folder = Folder::new();
    let car = folder.write("in.car", SampleRepository::generate(73, 10).car());
    let database = folder.path("database");
    for end in ["-wal", "-shm", "-journal"] {
        let beside = format!("{database}{end}");
        assert_eq!(folder.run(&["import", &car, &database], b"").code, 0);
        for args in [
            &["import", &car, &beside][..],
            &["compact", &car, "-o", &beside],
            &["keygen", &beside],
        ] {
            let run = folder.run(args, b"");
            assert!(run.code == 2, "{args:?}: {}", run.err);
            let why = "the output would replace a file that belongs to a database";
            assert!(run.err.contains(why), "{args:?}: {}", run.err);
        }
    }
}

#[test]
fn a_damaged_page_costs_what_is_on_it() {
    let sample = SampleRepository::generate(75, 3_000);
    let folder = Folder::new();
    let (database, out) = (folder.path("database"), folder.path("out.car"));
    import(&folder, &database, &[&sample]);
    let connection = Connection::open(&database).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = DELETE")
        .unwrap();
    drop(connection);
    // Of the pages that hold records, one in the middle of the file.
    let mut file = folder.read("database");
    let record = sample.paths.values().nth(1_500).unwrap().to_bytes();
    let place = file.windows(record.len()).rposition(|part| part == record);
    let page = place.unwrap() / 4_096 * 4_096;
    file[page..page + 8].fill(0xff);
    fs::write(&database, &file).unwrap();

    let run = folder.run(&["verify", &database], b"");
    let lines = run.lines();
    assert!(run.code == 1 && lines.len() > 1, "{}", run.err);
    let damage = "the database is damaged: database disk image is malformed";
    for line in &lines[..lines.len() - 1] {
        assert!(line.starts_with("bad ") && line.ends_with(damage), "{line}");
    }
    let run = folder.run(&["salvage", &database, "-o", &out], b"");
    assert_eq!(run.code, 1, "{}", run.err);
    let saved = folder.run(&["list", &out], b"").lines().len();
    assert!((2_000..3_000).contains(&saved), "{saved}");
}

/// It keeps what somebody may still need.
#[test]
fn a_head_that_is_no_repository_is_not_dropped_as_one() {
    let sample = SampleRepository::generate(76, 30);
    let folder = Folder::new();
    let database = folder.path("database");
    import(&folder, &database, &[&sample]);
    let connection = Connection::open(&database).unwrap();
    let keeper = "INSERT INTO blocks_heads SELECT 'latest', cid FROM blocks_heads";
    connection.execute_batch(keeper).unwrap();
    let run = folder.run(&["compact", &database, "--drop", "latest"], b"");
    assert_eq!(run.code, 4, "{}", run.err);
    let count = "SELECT count(*) FROM blocks_heads";
    let count: i64 = connection.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2);
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let folder = Folder::new();
    let car = folder.write("in.car", SampleRepository::generate(73, 10).car());
    let database = folder.path("others");
    let other = Connection::open(&database).unwrap();
    other.execute_batch("CREATE TABLE users (name)").unwrap();
    let before = folder.read("others");
    let run = folder.run(&["import", &car, &database], b"");
    let expected = "cartool: others: the database belongs to another program: none of its tables are cartool's\n";
    assert_eq!((run.code, &*run.err), (1, expected));
    assert_eq!(folder.read("others"), before);
    // One without tables is anybody's.
    other.execute_batch("DROP TABLE users").unwrap();
    let run = folder.run(&["import", &car, &database], b"");
    assert_eq!(run.code, 0, "{}", run.err);

    let run = folder.run(&["import", &car, "-"], b"");
    assert_eq!(run.code, 2, "{}", run.err);
}

#[test]
fn tables_of_others_beside_a_repository_change_nothing() {
    let folder = Folder::new();
    let database = folder.path("database");
    import(&folder, &database, &[&SampleRepository::generate(74, 10)]);
    let connection = Connection::open(&database).unwrap();
    let tables = "CREATE TABLE pragma_page_count (page_count);
        CREATE TABLE pragma_page_size (page_size);
        INSERT INTO pragma_page_count VALUES (1000000000)";
    connection.execute_batch(tables).unwrap();
    let info = folder.run(&["info", "--json", &database], b"");
    let info: serde_json::Value = serde_json::from_str(&info.out).unwrap();
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let size = pragma("page_count").unwrap() * pragma("page_size").unwrap();
    assert_eq!(info["size"], size);
    assert_eq!(folder.run(&["list", &database], b"").lines().len(), 10);
}

/// Runs `script` with the tool as `$0`, in a folder with a database of `sample` on a disk that is
/// full: reading takes files beside the database, for which there is no space. Returns what it
/// printed, its errors, and the exit code; `None` where no disk can be mounted.
#[cfg(target_os = "linux")]
fn on_full_disk(sample: &SampleRepository, script: &str) -> Option<(String, String, i32)> {
    let folder = Folder::new();
    import(&folder, &folder.path("database"), &[sample]);
    std::fs::create_dir(folder.path("disk")).unwrap();
    let start = "cd \"$1\" && mount -t tmpfs -o size=8m none disk && cp database disk/ || exit 9
        dd if=/dev/zero of=disk/fill bs=4k 2>/dev/null\n";
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .args([&[start, script].concat(), env!("CARGO_BIN_EXE_cartool")])
        .arg(folder.path(""))
        .output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output {
        Ok(output) if output.status.code() != Some(9) && !output.stderr.starts_with(b"unshare") => {
            let code = output.status.code().unwrap();
            Some((text(&output.stdout), text(&output.stderr), code))
        }
        cannot => {
            println!("left out, as no disk can be mounted here: {cannot:?}");
            None
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_database_on_a_full_disk_can_be_read() {
    let sample = SampleRepository::generate(75, 50);
    let script = "for again in once twice; do \"$0\" list disk/database || exit; done";
    if let Some((out, err, code)) = on_full_disk(&sample, script) {
        assert_eq!(code, 0, "{err}");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines, [listing(&sample), listing(&sample)].concat());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_database_that_changes_while_it_is_read_without_a_lock_is_not_called_damaged() {
    let sample = SampleRepository::generate(76, 5_000);
    // The pipe holds less than is listed, so the change is made before the end.
    let script = "(\"$0\" list disk/database; echo \"code $?\" >&2) | (
        read -r first
        dd if=/dev/zero of=disk/database bs=4k seek=50 count=200 conv=notrunc 2>/dev/null
        cat)
        \"$0\" list disk/database > /dev/null; echo \"then $?\" >&2";
    if let Some((out, err, _)) = on_full_disk(&sample, script) {
        let lines = out.lines().count();
        assert!((100..4_999).contains(&lines), "{lines} lines; {err}");
        assert!(
            err.contains("the database was changed while it was read"),
            "{err}"
        );
        assert!(err.contains("code 7\n"), "{err}");
        // It stays damaged, and is called so when it does not change.
        assert!(
            err.contains("then 1\n") || err.contains("then 3\n"),
            "{err}"
        );
    }
}

#[test]
fn what_is_no_database_is_refused_and_stays() {
    let sample = SampleRepository::generate(72, 10);
    let folder = Folder::new();
    let car = folder.write("in.car", sample.car());
    let run = folder.run(&["import", &car, &car], b"");
    assert_eq!(run.code, 2, "{}", run.err);
    let other = folder.write("other.car", sample.car());
    let run = folder.run(&["import", &car, &other], b"");
    assert_eq!(run.code, 3, "{}", run.err);
    fs::remove_file(other).unwrap();
    let run = folder.run(&["export", &car, "-o", "-"], b"");
    assert_eq!((run.code, &*run.out), (2, ""));
    assert!(run.err.contains("cartool compact"), "{}", run.err);
    let run = folder.run(&["export", &folder.path("none"), "-o", "-"], b"");
    assert_eq!(run.code, 3);
    assert_eq!(
        (folder.names(), folder.read("in.car")),
        (vec!["in.car".to_owned()], sample.car())
    );
}
