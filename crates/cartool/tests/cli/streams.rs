//! Standard input and output, and arguments.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use mst_testkit::SampleRepository;

use crate::support::{Folder, TemporaryFile, command, listing, run};

#[test]
fn a_dash_is_standard_input() {
    let sample = SampleRepository::generate(1, 50);
    for command in ["info", "list", "dump", "verify"] {
        assert_eq!(run(&[command, "-"], &sample.car()).code, 0, "{command}");
    }
    let listed = run(&["list", "-"], &sample.car());
    assert_eq!(listed.lines(), listing(&sample));
    let nothing = run(&["list", "-"], b"");
    assert_eq!(
        (nothing.code, &*nothing.err),
        (
            1,
            "cartool: standard input: byte 0 of the CAR: no header: the CAR is empty\n"
        )
    );
}

#[test]
fn what_is_no_car_is_called_what_it_is() {
    let database = [b"SQLite format 3\0".as_slice(), &[b'a'; 48]].concat();
    // {"op": -1}, {"error": "FutureCursor"}
    let message = b"\xa1\x62op\x20\xa1\x65error\x6cFutureCursor";
    for (input, what) in [
        (database.as_slice(), "an SQLite database, not a CAR"),
        (message, "a message of the firehose"),
        (
            b"{\"error\": \"RepoNotFound\"}",
            "text, such as a server's error message",
        ),
        (b"\x1f\x8b\x08\0", "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    ] {
        let run = run(&["list", "-"], input);
        assert!(run.code == 1 && run.err.contains(what), "{}", run.err);
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_by_its_path_is_read_like_standard_input() {
    let sample = SampleRepository::generate(1, 50);
    let listed = run(&["list", "/dev/stdin"], &sample.car());
    assert_eq!((listed.code, listed.lines().len()), (0, 50));
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_named_pipe_gives_it_gives_once() {
    let sample = SampleRepository::generate(1, 50);
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let listed = std::thread::scope(|scope| {
        scope.spawn(|| std::fs::write(&pipe, sample.car()).unwrap());
        run(&["list", &pipe], b"")
    });
    assert_eq!(listed.lines(), listing(&sample));
}

#[test]
fn a_closed_pipe_is_no_error() {
    // Far more output than a pipe holds.
    let file = TemporaryFile::of(&SampleRepository::generate(2, 5_000).car());
    let path = file.0.to_str().unwrap();
    for args in [
        ["list", path].as_slice(),
        &["dump", path],
        &["dump", "--jsonl", path],
        &["tree", path],
    ] {
        let mut child = command(args).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        drop(out);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let file = TemporaryFile::of(&SampleRepository::generate(3, 10).car());
    let path = file.0.to_str().unwrap();
    let other = TemporaryFile::of(&SampleRepository::generate(4, 10).car());
    let other = other.0.to_str().unwrap();
    for args in [
        ["info", path].as_slice(),
        &["info", "--json", path],
        &["list", path],
        &["dump", path],
        &["get", path, "app.bsky.actor.profile/self"],
        &["verify", path],
        &["tree", path],
        &["tree", path, "--format", "svg"],
        &["tree", path, "--format", "dot"],
        &["diff", path, other],
        &["proof", "check", path, "--prefix", ""],
        &["proof", "make", path, "--prefix", "", "-o", "-"],
        &["salvage", path, "-o", "-"],
        &["compact", path, "-o", "-"],
        &["--help"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let output = command(args).stdout(full.unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            err.starts_with("cartool: standard output: No space left"),
            "{err}"
        );
    }
}

/// It would grow as it is read, or be overwritten.
#[cfg(unix)]
#[test]
fn standard_output_is_never_the_file_that_is_read() {
    let car = SampleRepository::generate(3, 10).car();
    let file = TemporaryFile::of(&car);
    let path = file.0.to_str().unwrap();
    for args in [&["compact", path, "-o", "-"][..], &["dump", path]] {
        for append in [true, false] {
            let mut options = std::fs::File::options();
            let output = options.write(true).append(append).open(&file.0).unwrap();
            let output = command(args).stdout(output).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{args:?}");
            assert_eq!(std::fs::read(&file.0).unwrap(), car);
        }
    }
}

#[test]
fn nobody_on_standard_error_changes_nothing() {
    let mut list = command(&["list", "no/such/file"]);
    let mut child = list.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in [
        [].as_slice(),
        &["list"],
        &["lists", "-"],
        &["list", "-", "--collection", "not an nsid"],
        &["get", "-"],
        &["diff", "-"],
        &["tree", "-", "--format", "png"],
        &["proof", "make", "-", "-o", "-"],
        &["proof", "check", "-"],
        &["proof", "check", "-", "a", "--commit", "no-cid"],
        &["verify", "-", "--since-root", "bafkqaaa"],
        &["salvage", "-"],
    ] {
        let run = run(args, b"");
        assert_eq!((run.code, &*run.out), (2, ""), "{args:?}");
        assert!(run.err.contains("--help"), "{args:?}: {}", run.err);
    }
}

#[test]
fn help_names_the_exit_codes_and_what_is_not_checked() {
    let help = run(&["--help"], b"");
    assert_eq!((help.code, &*help.err), (0, ""));
    assert!(help.out.contains("Exit codes:"));
    let help = run(&["verify", "--help"], b"");
    assert!(help.out.contains("signature"));
}
