//! Files that are written: whatever happens, the old file is intact, or the new one is complete.

use atproto_mst::{Node, SqliteBlockStore};
use mst_testkit::SampleRepository;

use crate::keys::new_key;
use crate::support::{Folder, command, commit_of};

const PROFILE: &str = "app.bsky.actor.profile/self";

/// A CAR far longer than what may be written below, and its compact form.
fn large() -> (Vec<u8>, Vec<u8>) {
    let sample = SampleRepository::generate(51, 3_000);
    (sample.shuffled_car(1), sample.car())
}

/// Runs the tool so that no file may get longer than 32 KiB.
#[cfg(target_os = "linux")]
pub(crate) fn run_limited(args: &[&str], before: &str) -> std::process::Output {
    // Some shells count in units of 512 bytes, others in 1,024.
    let script = format!("ulimit -c 0; ulimit -f 64; {before} exec \"$0\" \"$@\"");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_cartool")]);
    shell.args(args).output().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn killed_half_way_the_old_file_is_there_and_nothing_else() {
    use std::os::unix::process::ExitStatusExt;
    let folder = Folder::new();
    let (car, out) = (
        folder.write("in.car", large().0),
        folder.write("out.car", "as it was"),
    );
    let (key, _) = new_key(&folder, "key", "k256");
    for args in [
        ["compact", &car, "-o", &out].as_slice(),
        &["compact", &car, "-o", &car],
        &["sign", &car, "-k", &key, "-o", &out],
        &["sign", &car, "-k", &key, "-o", &car],
        &["export", &car, "-c", "app.bsky.feed.like", "-o", &out],
    ] {
        // By default, a file that gets too long kills its writer.
        let output = run_limited(args, "");
        assert!(output.status.signal().is_some(), "{output:?}");
    }
    assert_eq!(folder.read("out.car"), b"as it was");
    assert_eq!(folder.read("in.car"), large().0);
    let left: Vec<_> = folder.names();
    // On a file system without nameless files, one with a name is left.
    let left = left.iter().filter(|name| !name.starts_with(".cartool-"));
    assert_eq!(left.collect::<Vec<_>>(), ["in.car", "key", "out.car"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else() {
    let folder = Folder::new();
    let (car, out) = (
        folder.write("in.car", large().0),
        folder.write("out.car", "as it was"),
    );
    for name in [&out, &car, &folder.path("new.car")] {
        let output = run_limited(&["compact", &car, "-o", name], "trap '' XFSZ;");
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{err}");
        assert!(
            err.starts_with(&format!("cartool: {name}: File too large")),
            "{err}"
        );
    }
    assert_eq!(folder.read("out.car"), b"as it was");
    assert_eq!(folder.read("in.car"), large().0);
    assert_eq!(folder.names(), ["in.car", "out.car"]);
}

#[test]
fn what_cannot_be_written_is_named() {
    let folder = Folder::new();
    let car = folder.write("in.car", SampleRepository::generate(52, 10).car());
    for name in ["no/such/folder.car", ""] {
        let run = folder.run(&["compact", &car, "-o", &folder.path(name)], b"");
        assert_eq!(run.code, 3);
        assert!(
            run.err.starts_with(&format!("cartool: {name}: ")),
            "{}",
            run.err
        );
    }
    assert_eq!(folder.names(), ["in.car"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_written_to_and_stays_what_it_is() {
    let sample = SampleRepository::generate(53, 10);
    let folder = Folder::new();
    let car = folder.write("in.car", sample.shuffled_car(1));
    let run = folder.run(&["compact", &car, "-o", "/dev/stdout"], b"");
    assert_eq!((run.code, run.raw_out), (0, sample.car()), "{}", run.err);
    assert_eq!(
        folder.run(&["compact", &car, "-o", "/dev/null"], b"").code,
        0
    );
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_by_the_name_of_the_output() {
    let folder = Folder::new();
    let car = folder.write("in.car", SampleRepository::generate(54, 10).car());
    let (key, _) = new_key(&folder, "key", "p256");
    let path = "app.bsky.actor.profile/self";
    for args in [
        ["compact", &car, "-o", "/dev/full"].as_slice(),
        &["rm", &car, path, "-o", "/dev/full"],
        &["put", &car, path, "-", "-o", "/dev/full"],
        &["sign", &car, "-k", &key, "-o", "/dev/full"],
        &[
            "export",
            &car,
            "-c",
            "app.bsky.feed.post",
            "-o",
            "/dev/full",
        ],
        &["export", &car, "--since", &car, "-o", "/dev/full"],
    ] {
        let run = folder.run(args, b"{}");
        let start = "cartool: /dev/full: No space left";
        assert!(run.code == 3 && run.err.starts_with(start), "{}", run.err);
    }
    let full = std::fs::File::options().write(true).open("/dev/full");
    let output = command(&["compact", &car, "-o", "-"])
        .stdout(full.unwrap())
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        err.starts_with("cartool: standard output: No space left"),
        "{err}"
    );
}

/// Whatever its name, it gets the output of the tool, after what came before.
#[cfg(unix)]
#[test]
fn standard_output_that_goes_to_a_file_is_written_on() {
    let folder = Folder::new();
    let sample = SampleRepository::generate(58, 5);
    let car = folder.write("in.car", sample.car());
    let script = "(printf before; \"$0\" compact \"$1\" -o /dev/stdout; printf after) > \"$2\"";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_cartool"), &car]);
    let output = shell.arg(folder.path("out")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let expected = [b"before", &*sample.car(), b"after"].concat();
    assert_eq!(folder.read("out"), expected);

    // The file that the shell has created is not one that existed.
    let (key, _) = new_key(&folder, "key", "k256");
    let script = "\"$0\" init did:web:example.com -k \"$1\" -o /dev/stdout > \"$2\"";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_cartool"), &key]);
    let output = shell.arg(folder.path("new.car")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        commit_of(&folder.read("new.car")).did,
        "did:web:example.com"
    );
}

/// The key, the record to be put, a database, the whole from which a part is made: each stays.
#[test]
fn what_is_read_is_not_written_over_by_something_else() {
    let folder = Folder::new();
    let sample = SampleRepository::generate(56, 40);
    let car = folder.write("in.car", sample.car());
    let record = folder.write("note.json", "{}");
    let writes = format!("{{\"action\":\"delete\",\"path\":\"{PROFILE}\"}}");
    let writes = folder.write("writes", writes);
    let database = folder.path("db");
    let (key, _) = new_key(&folder, "key", "k256");
    assert_eq!(folder.run(&["import", &car, &database], b"").code, 0);
    // It has files beside it as long as it is open.
    let open = SqliteBlockStore::open(&database).unwrap();
    let [log, index] = ["db-wal", "db-shm"].map(|name| folder.path(name));
    let names = ["in.car", "note.json", "writes", "db", "db-wal", "key"];
    let before = names.map(|name| folder.read(name));
    let path = PROFILE;
    let did = commit_of(&sample.car()).did;
    for args in [
        ["sign", &car, "-k", &key, "-o", &key].as_slice(),
        &["init", &did, "-k", &key, "-o", &key],
        &["init", &did, "-k", &key, "-o", &database],
        &["put", &car, path, &record, "-o", &record],
        &["put", &database, path, &record, "-o", &database],
        &["rm", &database, path, "-o", &database],
        &["salvage", &car, "-o", &database],
        &["compact", &car, "-o", &database],
        &["commit", &car, &writes, "-k", &key, "-o", &writes],
        &["commit", &database, &writes, "-k", &key, "-o", &database],
        &[
            "commit", &car, &writes, "-k", &key, "-o", "-", "--slice", &writes,
        ],
        &["export", &database, "-o", &database],
        &["export", &database, "-o", &log],
        &["commit", &database, &writes, "-k", &key, "--slice", &index],
        &["export", &car, "-c", "app.bsky.feed.post", "-o", &car],
        &["export", &database, "--since", &car, "-o", &car],
        &["proof", "make", &car, path, "-o", &car],
    ] {
        let run = folder.run(args, b"");
        assert_eq!((run.code, &*run.out), (2, ""), "{args:?} {}", run.err);
        assert!(run.err.contains("would replace"), "{}", run.err);
        assert_eq!(names.map(|name| folder.read(name)), before, "{args:?}");
    }
    // Even when nobody has the database open, and they do not exist.
    drop(open);
    for args in [
        ["export", &database, "-o", &log].as_slice(),
        &["commit", &database, &writes, "-k", &key, "--slice", &index],
    ] {
        let run = folder.run(args, b"");
        assert_eq!(run.code, 2, "{args:?} {}", run.err);
    }
    // Nor is standard output for both, whatever its names.
    let both = [
        "commit",
        &car,
        &writes,
        "-k",
        &key,
        "-o",
        "-",
        "--slice",
        "/dev/stdout",
    ];
    assert_eq!(folder.run(&both, b"").code, 2);

    // A CAR may be replaced by a whole one made from it.
    assert_eq!(
        folder
            .run(&["sign", &car, "-k", &key, "-o", &car], b"")
            .code,
        0
    );
}

/// Under the name `-`.
#[cfg(unix)]
#[test]
fn what_is_read_from_standard_input_is_not_written_over_either() {
    let folder = Folder::new();
    let sample = SampleRepository::generate(56, 40);
    let car = folder.write("in.car", sample.car());
    let (key, _) = new_key(&folder, "key", "k256");
    let writes = format!("{{\"action\":\"delete\",\"path\":\"{PROFILE}\"}}");
    let writes = folder.write("writes", writes);
    let record = folder.write("note.json", "{}");
    let run_from = |input: &str, args: &[&str]| {
        let mut command = command(args);
        command.stdin(std::fs::File::open(input).unwrap());
        command.output().unwrap().status.code()
    };
    for (input, args) in [
        (&car, ["salvage", "-", "-o", &car].as_slice()),
        (&car, &["proof", "make", "-", PROFILE, "-o", &car]),
        (
            &car,
            &["export", "-", "-c", "app.bsky.feed.post", "-o", &car],
        ),
        (&key, &["sign", &car, "-k", "-", "-o", &key]),
        (
            &key,
            &["init", "did:web:example.com", "-k", "-", "-o", &key],
        ),
        (&writes, &["commit", &car, "-", "-k", &key, "-o", &writes]),
        (&record, &["put", &car, PROFILE, "-", "-o", &record]),
    ] {
        let before = std::fs::read(input).unwrap();
        assert_eq!(run_from(input, args), Some(2), "{args:?}");
        assert_eq!(std::fs::read(input).unwrap(), before, "{args:?}");
    }
    // Nor if standard output goes there.
    for args in [
        ["export", "-", "-c", "app.bsky.feed.post", "-o", "-"].as_slice(),
        &["salvage", "-", "-o", "-"],
    ] {
        let mut command = command(args);
        command.stdin(std::fs::File::open(&car).unwrap());
        command.stdout(std::fs::File::options().append(true).open(&car).unwrap());
        assert_eq!(command.output().unwrap().status.code(), Some(2), "{args:?}");
        assert_eq!(folder.read("in.car"), sample.car());
    }
    // A CAR may be replaced by a whole one made from it.
    assert_eq!(
        run_from(&car, &["sign", "-", "-k", &key, "-o", &car]),
        Some(0)
    );
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_stays_one() {
    let folder = Folder::new();
    let car = folder.write("in.car", SampleRepository::generate(57, 5).car());
    let link = folder.path("link");
    std::os::unix::fs::symlink(folder.path("nothing"), &link).unwrap();
    let run = folder.run(&["compact", &car, "-o", &link], b"");
    assert_eq!(run.code, 3, "{}", run.err);
    assert!(std::path::Path::new(&link).is_symlink());
}

#[test]
fn what_an_exit_code_says_does_not_depend_on_who_reads_the_output() {
    let folder = Folder::new();
    let whole = folder.write("whole.car", large().0);
    let small = folder.write("small.car", SampleRepository::generate(55, 10).car());
    let sample = SampleRepository::generate(51, 3_000);
    let mut nodes = sample.blocks();
    nodes.retain(|(cid, _)| !sample.records.contains_key(cid));
    let upper: Vec<_> = nodes
        .iter()
        .filter(|(_, block)| is_upper(block))
        .cloned()
        .collect();
    let upper = folder.write("upper.car", sample.car_of(&upper));
    let (_, key) = new_key(&folder, "key", "k256");
    for (args, code) in [
        // What the exit code is about comes at the very end.
        (["diff", &small, &whole].as_slice(), 5),
        (&["verify", "--partial", &upper, "--key", &key], 1),
        (&["slice", &whole, "--key", &key], 1),
        (&["proof", "check", &whole, "a.b.c/d", "--prefix", ""], 4),
    ] {
        let output = closed_early(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}

/// Whether it is the commit, or a node above others.
fn is_upper(block: &[u8]) -> bool {
    !Node::decode(block).is_ok_and(|node| !node.has_subtrees())
}

/// Runs the tool, and closes its output after the first bytes.
fn closed_early(args: &[&str]) -> std::process::Output {
    use std::io::Read;
    let mut child = command(args).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 10]).unwrap();
    drop(out);
    child.wait_with_output().unwrap()
}

/// It cannot be made again.
#[test]
fn a_slice_that_is_lost_through_a_closed_pipe_is_an_error() {
    let folder = Folder::new();
    let car = folder.write("in.car", SampleRepository::generate(60, 20).car());
    let database = folder.path("database");
    assert_eq!(folder.run(&["import", &car, &database], b"").code, 0);
    let (key, _) = new_key(&folder, "key", "k256");
    let text = "x".repeat(500_000);
    let value = format!("{{\"$type\":\"com.example.note\",\"text\":\"{text}\"}}");
    let writes =
        format!("{{\"action\":\"create\",\"path\":\"com.example.note/1\",\"value\":{value}}}");
    let writes = folder.write("writes", writes);
    let output = closed_early(&["commit", &database, &writes, "-k", &key, "--slice", "-"]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(
        err.contains("the commit is made, but its slice is lost"),
        "{err}"
    );
}

#[test]
fn a_copy_that_nobody_reads_to_its_end_has_no_slice() {
    let folder = Folder::new();
    let car = folder.write("in.car", large().0);
    let (key, _) = new_key(&folder, "key", "k256");
    let writes = format!("{{\"action\":\"delete\",\"path\":\"{PROFILE}\"}}");
    let writes = folder.write("writes", writes);
    let slice = folder.path("slice.car");
    let mut args = vec!["commit", &car, &writes, "-k", &key, "-o", "-"];
    args.extend(["--slice", &slice]);
    let output = closed_early(&args);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("so there is no slice"), "{err}");
    assert_eq!(folder.names(), ["in.car", "key", "writes"]);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = Folder::new();
    let car = folder.write("in.car", large().0);
    let small = folder.write("small.car", SampleRepository::generate(55, 10).car());
    let (key, _) = new_key(&folder, "key", "k256");
    let path = "app.bsky.actor.profile/self";
    for args in [
        ["compact", &car, "-o", "-"].as_slice(),
        &["rm", &car, path, "-o", "-"],
        &["sign", &car, "-k", &key, "-o", "-"],
        &["export", &car, "-c", "app.bsky.feed.like", "-o", "-"],
        &["export", &car, "--since", &small, "-o", "-"],
    ] {
        let output = closed_early(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
