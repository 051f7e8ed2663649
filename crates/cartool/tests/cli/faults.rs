//! What is missing, damaged or hostile.

use atproto_mst::{Bytes, Cid, Node, dag_cbor_cid};
use mst_testkit::SampleRepository;

use crate::support::{
    Folder, car_damaged_at, car_without, cartool, listing, repository_of, repository_of_key, run,
};

fn sample() -> SampleRepository {
    SampleRepository::generate(11, 60)
}

/// The nodes below the top that have no subtrees, and their keys.
fn leaves(sample: &SampleRepository) -> Vec<(Cid, Vec<String>)> {
    let mut leaves = Vec::new();
    for (cid, block) in sample.tree.nodes.iter().skip(1) {
        let node = Node::decode(block).unwrap();
        if (0..=node.len()).all(|slot| node.subtree(slot).is_none()) {
            let keys = node.entries().map(|entry| entry.key().to_vec());
            let keys = keys.map(|key| String::from_utf8(key).unwrap());
            leaves.push((*cid, keys.collect()));
        }
    }
    assert!(leaves.len() > 5);
    leaves
}

fn a_leaf(sample: &SampleRepository) -> (Cid, Vec<String>) {
    leaves(sample).swap_remove(3)
}

/// The keys next to those of a node.
fn neighbours(sample: &SampleRepository, keys: &[String]) -> (Option<String>, Option<String>) {
    let (first, last) = (&keys[0], keys.last().unwrap());
    let left = sample.paths.range::<String, _>(..first).next_back();
    let mut right = sample.paths.range::<String, _>(last..);
    let name = |(key, _): (&String, &Cid)| key.clone();
    (left.map(name), right.nth(1).map(name))
}

fn range(left: Option<&str>, right: Option<&str>) -> String {
    match (left, right) {
        (Some(left), Some(right)) => format!("(keys after \"{left}\" and before \"{right}\")"),
        (Some(left), None) => format!("(keys after \"{left}\")"),
        (None, Some(right)) => format!("(keys before \"{right}\")"),
        (None, None) => "(all keys)".to_owned(),
    }
}

#[test]
fn a_missing_node_is_named_with_its_keys_and_hides_no_others() {
    let sample = sample();
    let (cid, keys) = a_leaf(&sample);
    let (left, right) = neighbours(&sample, &keys);
    let fault = format!(
        "missing node {cid} {}",
        range(left.as_deref(), right.as_deref())
    );
    let car = car_without(&sample, &cid);

    let verified = cartool(&["verify", "FILE"], &car);
    let counts = format!(
        "incomplete: {} records, {} nodes; missing: 0 records, 1 node",
        60 - keys.len(),
        sample.tree.nodes.len() - 1
    );
    assert_eq!(
        (verified.code, verified.lines()),
        (1, vec![&*fault, &counts])
    );
    assert_eq!(verified.err, "");

    let mut expected = listing(&sample);
    expected.retain(|line| {
        !keys
            .iter()
            .any(|key| line.starts_with(&format!("\"{key}\"")))
    });
    let listed = cartool(&["list", "FILE"], &car);
    assert_eq!((listed.code, listed.lines().len()), (1, expected.len()));
    assert_eq!(listed.lines(), expected);
    assert_eq!(listed.err, format!("cartool: FILE: {fault}\n"));

    expected.reverse();
    let listed = cartool(&["list", "--reverse", "FILE"], &car);
    assert_eq!((listed.code, listed.lines().len()), (1, expected.len()));
    assert_eq!(listed.lines(), expected);
    assert_eq!(listed.err, format!("cartool: FILE: {fault}\n"));
}

#[test]
fn a_missing_node_matters_only_to_the_collections_that_it_may_hold() {
    let sample = sample();
    let mut unconcerned = 0;
    for (cid, keys) in leaves(&sample) {
        let car = car_without(&sample, &cid);
        let (left, right) = neighbours(&sample, &keys);
        for collection in [
            "app.bsky.actor.profile",
            "app.bsky.feed.like",
            "app.bsky.feed.post",
            "app.bsky.graph.follow",
        ] {
            // Whether some key with the prefix may lie between the neighbours.
            let (prefix, end) = (format!("{collection}/"), format!("{collection}0"));
            let concerned = left.as_ref().is_none_or(|left| *left < end)
                && right.as_ref().is_none_or(|right| *right > prefix);
            unconcerned += u32::from(!concerned);
            let there = sample.paths.keys().filter(|path| path.starts_with(&prefix));
            let there = there.filter(|path| !keys.contains(path)).count();
            for order in ["--quiet", "--reverse"] {
                let run = cartool(&["list", "FILE", order, "-c", collection], &car);
                let faults = run.err.lines().count();
                assert_eq!(
                    (run.code, faults),
                    (i32::from(concerned), usize::from(concerned))
                );
                assert_eq!(run.lines().len(), there);
            }
        }
    }
    assert!(unconcerned > 5);
}

#[test]
fn a_missing_record_is_named_with_its_path() {
    let sample = sample();
    let (path, cid) = sample.paths.iter().nth(30).unwrap();
    let car = car_without(&sample, cid);
    let fault = format!("missing record {cid} (key \"{path}\")");

    let verified = cartool(&["verify", "FILE"], &car);
    assert_eq!((verified.code, verified.lines()[0]), (1, &*fault));
    assert_eq!(cartool(&["list", "FILE"], &car).code, 0);

    let dumped = cartool(&["dump", "--jsonl", "FILE"], &car);
    assert_eq!((dumped.code, dumped.lines().len()), (1, 59));
    assert_eq!(dumped.err, format!("cartool: FILE: {fault}\n"));

    let got = cartool(&["get", "FILE", path], &car);
    assert_eq!(
        (got.code, got.err),
        (1, format!("cartool: FILE: {fault}\n"))
    );
}

#[test]
fn a_damaged_record_is_named_and_hides_no_others() {
    let sample = sample();
    let (path, cid) = sample.paths.iter().nth(20).unwrap();
    let car = car_damaged_at(&sample, cid);
    let fault = format!("bad record {cid} (key \"{path}\"): does not hash to its CID");

    let verified = cartool(&["verify", "FILE"], &car);
    assert_eq!((verified.code, verified.lines()[0]), (1, &*fault));
    let nodes = sample.tree.nodes.len();
    assert_eq!(
        verified.lines()[1],
        format!("invalid: 59 records, {nodes} nodes; bad: 1")
    );

    // The same through standard input, where blocks are in memory.
    for run in [
        cartool(&["dump", "--jsonl", "FILE"], &car),
        run(&["dump", "--jsonl", "-"], &car),
    ] {
        assert_eq!((run.code, run.lines().len()), (1, 59));
        assert!(run.err.trim_end().ends_with(&fault), "{}", run.err);
    }
}

#[test]
fn a_damaged_node_is_named_with_its_keys() {
    let sample = sample();
    let (cid, keys) = a_leaf(&sample);
    let (left, right) = neighbours(&sample, &keys);
    let keys_text = range(left.as_deref(), right.as_deref());
    let fault = format!("bad node {cid} {keys_text}: does not hash to its CID");
    let car = car_damaged_at(&sample, &cid);
    for command in ["list", "dump", "info"] {
        let run = cartool(&[command, "FILE"], &car);
        assert_eq!(
            (run.code, run.err),
            (1, format!("cartool: FILE: {fault}\n")),
            "{command}"
        );
    }
    assert_eq!(cartool(&["verify", "FILE"], &car).lines()[0], fault);
}

#[test]
fn a_missing_top_node_leaves_all_keys_unknown() {
    let sample = sample();
    let root = sample.tree.root;
    let car = car_without(&sample, &root);
    let fault = format!("missing node {root} (all keys)");
    let verified = cartool(&["verify", "FILE"], &car);
    let counts = "incomplete: 0 records, 0 nodes; missing: 0 records, 1 node";
    assert_eq!(
        (verified.code, verified.lines()),
        (1, vec![&*fault, counts])
    );
    let listed = cartool(&["list", "FILE"], &car);
    assert_eq!(
        (listed.code, listed.err),
        (1, format!("cartool: FILE: {fault}\n"))
    );
    let info = cartool(&["info", "FILE"], &car);
    assert!(info.code == 0 && info.out.contains("MST height:   unknown\n"));
}

#[test]
fn a_record_that_is_not_there_is_told_from_one_that_cannot_be_known() {
    let sample = sample();
    let absent = "app.bsky.feed.post/2222222222222";
    let got = cartool(&["get", "FILE", absent], &sample.car());
    assert_eq!(
        (got.code, &*got.out, got.err),
        (4, "", format!("cartool: FILE: no record at \"{absent}\"\n"))
    );
    let got = cartool(&["get", "FILE", "nothing"], &sample.car());
    assert_eq!(got.code, 4);
    assert!(got.err.contains("not a repository path"), "{}", got.err);

    let (cid, keys) = a_leaf(&sample);
    let got = cartool(&["get", "FILE", &keys[0]], &car_without(&sample, &cid));
    let unknown = format!(
        "whether there is a record at \"{}\" is unknown: missing node {cid}",
        keys[0]
    );
    assert_eq!((got.code, &*got.out), (1, ""));
    assert!(got.err.contains(&unknown), "{}", got.err);
}

#[test]
fn a_record_outside_the_data_model_is_reported_and_left_out() {
    let float = b"\xa1\x61x\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00";
    let not_cbor = b"\xff";
    let car = repository_of(&[
        ("com.example.thing/1", b"\xa1\x61x\x01"),
        ("com.example.thing/2", float),
        ("com.example.thing/3", not_cbor),
        ("com.example.thing/4", b"\xa1\x61x\x02"),
    ])
    .car();
    let run = cartool(&["dump", "--jsonl", "FILE"], &car);
    let faults: Vec<&str> = run.err.lines().collect();
    assert_eq!((run.code, run.lines().len(), faults.len()), (1, 2, 2));
    assert!(faults[0].contains("(key \"com.example.thing/2\"): byte 3: a floating-point number"));
    assert!(faults[1].contains("(key \"com.example.thing/3\"): byte 0: "));

    // They are still records.
    assert_eq!(cartool(&["verify", "FILE"], &car).code, 0);
    let got = cartool(&["get", "FILE", "com.example.thing/2"], &car);
    assert_eq!((got.code, &*got.out), (1, ""));
    let raw = cartool(&["get", "FILE", "com.example.thing/2", "--raw"], &car);
    assert_eq!((raw.code, &*raw.raw_out), (0, float.as_slice()));
}

#[test]
fn deep_records_meet_a_limit_and_not_the_end_of_the_stack() {
    let nested = |depth: usize| [vec![0x81; depth - 1], vec![0x80]].concat();
    let car = repository_of(&[
        ("com.example.thing/1", &nested(4_096)),
        ("com.example.thing/2", &nested(1_000_000)),
        ("com.example.thing/3", b"\xa0"),
    ])
    .car();
    for format in ["--jsonl", "--quiet"] {
        let run = cartool(&["dump", "FILE", format], &car);
        assert_eq!((run.code, run.err.lines().count()), (1, 1));
        assert!(run.out.contains("com.example.thing/1") && run.out.contains("com.example.thing/3"));
        assert!(
            run.err
                .contains("byte 4096: lists and maps that are nested"),
            "{}",
            run.err
        );
    }
}

#[test]
fn nothing_from_the_file_acts_on_the_terminal() {
    let escape = "\u{1b}]0;owned\u{7}/\u{9b}31m\u{202e}";
    let text = format!(
        "\x78{}{escape}",
        char::from(u8::try_from(escape.len()).unwrap())
    );
    let car = repository_of_key(escape.as_bytes(), text.as_bytes()).car();
    for args in [
        ["info", "FILE"].as_slice(),
        &["info", "--json", "FILE"],
        &["list", "FILE"],
        &["dump", "FILE"],
        &["dump", "--jsonl", "FILE"],
        &["verify", "FILE"],
        &["get", "FILE", escape],
        &["get", "FILE", "\u{1b}[31m"],
    ] {
        let run = cartool(args, &car);
        assert!(!run.out.is_empty() || !run.err.is_empty());
        for c in run.out.chars().chain(run.err.chars()) {
            assert!(
                (!c.is_control() || c == '\n') && c != '\u{202e}',
                "{args:?}"
            );
        }
    }
}

#[test]
fn a_key_that_is_no_path_is_listed_and_not_verified() {
    let repository = repository_of_key(b"no path", b"\xa0");
    let cid = atproto_mst::dag_cbor_cid(b"\xa0");
    let listed = cartool(&["list", "FILE"], &repository.car());
    assert_eq!(
        (listed.code, listed.out),
        (0, format!("\"no path\" -> {cid}\n"))
    );
    let verified = cartool(&["verify", "FILE"], &repository.car());
    let fault = format!("bad key {cid} (key \"no path\"): not a repository path: ");
    assert_eq!(verified.code, 1);
    assert!(verified.out.starts_with(&fault), "{}", verified.out);
    let info = cartool(&["info", "FILE"], &repository.car());
    assert!(
        info.out.contains("Bad:          0 nodes, 1 key\n"),
        "{}",
        info.out
    );
    assert!(info.out.ends_with("Collections:  0\n"), "{}", info.out);
}

#[test]
fn a_key_that_is_not_utf_8_is_listed_and_reported() {
    let car = repository_of_key(b"a\xffb", b"\xa0").car();
    for command in ["list", "dump"] {
        let run = cartool(&[command, "FILE"], &car);
        assert!(run.out.starts_with("\"a\\ufffdb\" -> "), "{}", run.out);
        assert_eq!((run.code, run.err.lines().count()), (1, 1));
        assert!(
            run.err.starts_with("cartool: FILE: bad key "),
            "{}",
            run.err
        );
    }
}

#[test]
fn what_cannot_be_opened_is_one_line() {
    let sample = sample();
    let mut cut_off = sample.car();
    cut_off.pop();
    let no_root = b"\x11\xa2\x65roots\x80\x67version\x01";
    let (commit, block) = &sample.commit;
    let not_a_commit = {
        let mut other = sample.clone();
        other.commit = sample.tree.nodes[0].clone();
        other.car_of(std::slice::from_ref(&other.commit))
    };
    assert!(sample.car_of(&[(*commit, block.clone())]).len() > block.len());
    let cases: [(&[u8], &str); 6] = [
        (b"", "byte 0 of the CAR: no header: the CAR is empty"),
        (
            b"This is no CAR.",
            "byte 1 of the CAR: the header is not that of a CAR: ",
        ),
        (&cut_off, "; bytes missing: 1; `cartool salvage`"),
        (no_root, "the CAR names no root, so no commit"),
        (&sample.car_of(&[]), "is missing"),
        (&not_a_commit, "is not a valid commit: "),
    ];
    for command in ["info", "list", "dump", "verify"] {
        for (car, what) in cases {
            let run = cartool(&[command, "FILE"], car);
            assert_eq!(
                (run.code, run.err.lines().count()),
                (1, 1),
                "{command}: {}",
                run.err
            );
            assert!(run.err.starts_with("cartool: FILE: "), "{}", run.err);
            assert!(run.err.contains(what), "{}", run.err);
        }
        for path in ["no/such/file", env!("CARGO_MANIFEST_DIR")] {
            let run = run(&[command, path], b"");
            assert_eq!((run.code, &*run.out), (3, ""), "{}", run.err);
            assert!(
                run.err.starts_with(&format!("cartool: {path}: ")),
                "{}",
                run.err
            );
            assert_eq!(run.err.lines().count(), 1);
        }
    }
}

#[test]
fn info_tells_of_a_car_without_a_commit_what_it_can() {
    let run = cartool(&["info", "FILE"], b"\x11\xa2\x65roots\x80\x67version\x01");
    assert_eq!((run.code, run.lines()[1]), (1, "Size:         18 bytes"));
}

#[test]
fn what_is_no_car_at_all_is_told_by_its_start() {
    for (file, what) in [
        (
            b" {\"error\":\"RepoNotFound\"}".as_slice(),
            "text, such as a server's error message, not a CAR",
        ),
        (
            b"\x1f\x8b\x08\0",
            "compressed with gzip; its contents may be a CAR",
        ),
        (
            b"\x28\xb5\x2f\xfd\0",
            "compressed with zstd; its contents may be a CAR",
        ),
    ] {
        for run in [cartool(&["info", "FILE"], file), run(&["info", "-"], file)] {
            assert_eq!((run.code, &*run.out), (1, ""));
            assert!(run.err.ends_with(&format!("{what}\n")), "{}", run.err);
        }
    }
}

/// A damaged block that nothing refers to, or another one for the CID of a good block.
#[test]
fn a_bad_block_that_is_not_read_is_a_fault_of_the_car() {
    let sample = SampleRepository::generate(12, 40);
    let folder = Folder::new();
    let unlinked = dag_cbor_cid(b"\xa0");
    let (record, _) = sample.blocks()[3].clone();
    let start = "bad block";
    for (cid, block, line) in [
        (unlinked, &b"\xa0"[..], String::new()),
        (
            unlinked,
            &b"\xa1"[..],
            format!(
                "{start} {unlinked} (nothing that was read refers to it): does not hash to its CID"
            ),
        ),
        (record, &b"\xa1"[..], format!("{start}: byte ")),
    ] {
        let mut blocks = sample.blocks();
        blocks.push((cid, Bytes::copy_from_slice(block)));
        let car = sample.car_of(&blocks);
        let file = folder.write("more.car", &car);
        for (name, input) in [(&*file, &[][..]), ("-", &*car)] {
            let run = folder.run(&["verify", name], input);
            let is_bad = !line.is_empty();
            assert_eq!(run.code, i32::from(is_bad), "{}", run.out);
            assert!(run.out.starts_with(&line), "{}", run.out);
            let counts = run.out.lines().last().unwrap();
            assert_eq!(counts.ends_with("; bad: 1"), is_bad, "{}", run.out);
        }
    }
}
