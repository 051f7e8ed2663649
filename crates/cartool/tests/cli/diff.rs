//! How two repositories differ. The dangers: a change that is not seen; a part that cannot be
//! read, taken for one that does not differ; an exit code that says "the same".

use std::collections::BTreeMap;

use atproto_mst::{Cid, dag_cbor_cid};
use mst_testkit::SampleRepository;

use crate::support::{Folder, at_rev, car_damaged_at, car_without, commit_of, repository_of};

const NEW_BLOCK: &[u8] = b"\xa1\x64text\x63new";

/// Two revisions: some records of the first deleted, some updated, some created.
fn revisions(seed: u64) -> (SampleRepository, SampleRepository) {
    let old = SampleRepository::generate(seed, 400);
    let mut new = old.clone();
    let cid = dag_cbor_cid(NEW_BLOCK);
    let paths: Vec<&String> = old.paths.keys().collect();
    for path in paths.iter().skip(5).step_by(90) {
        new.paths.remove(*path);
    }
    for path in paths.iter().skip(10).step_by(90) {
        new.paths.insert((*path).clone(), cid);
    }
    new.paths.insert("a.b.first/1".to_owned(), cid);
    new.paths.insert("z.b.last/1".to_owned(), cid);
    new.records.insert(cid, NEW_BLOCK.into());
    let new = at_rev(&new, "3zzzzzzzzzzz2");
    (old, new)
}

/// What should be printed, from the contents of both.
fn expected(old: &BTreeMap<String, Cid>, new: &BTreeMap<String, Cid>) -> Vec<String> {
    let all: BTreeMap<_, _> = old.iter().chain(new).collect();
    let line = |path: &String| match (old.get(path), new.get(path)) {
        (None, Some(new)) => Some(format!("+ \"{path}\" {new}")),
        (Some(old), None) => Some(format!("- \"{path}\" {old}")),
        (Some(old), Some(new)) if old != new => Some(format!("~ \"{path}\" {old} {new}")),
        _ => None,
    };
    all.keys().filter_map(|path| line(path)).collect()
}

#[test]
fn each_record_that_differs_is_a_line_and_both_ways_agree() {
    let (old, new) = revisions(71);
    let folder = Folder::new();
    let (a, b) = (
        folder.write("a.car", old.car()),
        folder.write("b.car", new.car()),
    );
    let run = folder.run(&["diff", &a, &b], b"");
    assert_eq!(run.lines(), expected(&old.paths, &new.paths));
    assert_eq!(run.lines().len(), 12);
    assert_eq!(run.code, 5);
    let counts = "cartool: 12 records: 2 created, 5 updated, 5 deleted; nodes: ";
    assert!(run.err.starts_with(counts), "{}", run.err);
    let back = folder.run(&["diff", &b, "-"], &old.car());
    assert_eq!(back.lines(), expected(&new.paths, &old.paths));
}

#[test]
fn the_same_is_0_even_under_another_commit() {
    let old = SampleRepository::generate(72, 100);
    let folder = Folder::new();
    let a = folder.write("a.car", old.car());
    let same = folder.run(&["diff", &a, "-", "--nodes"], &old.shuffled_car(3));
    assert_eq!((same.code, &*same.out, &*same.err), (0, "", ""));
    let later = at_rev(&old, "3zzzzzzzzzzz2");
    let same = folder.run(&["diff", &a, "-", "--nodes"], &later.car());
    let note = "cartool: no record differs; the commits do\n";
    assert_eq!((same.code, &*same.out, &*same.err), (0, "", note));
}

#[test]
fn nodes_are_those_that_only_one_has() {
    let (old, new) = revisions(73);
    let folder = Folder::new();
    let (a, b) = (
        folder.write("a.car", old.car()),
        folder.write("b.car", new.car()),
    );
    let run = folder.run(&["diff", &a, &b, "--nodes"], b"");
    let own = |sign, one: &SampleRepository, other: &SampleRepository| {
        let others: Vec<Cid> = other.tree.nodes.iter().map(|(cid, _)| *cid).collect();
        let own = one
            .tree
            .nodes
            .iter()
            .filter(|(cid, _)| !others.contains(cid));
        own.map(|(cid, _)| format!("{sign} node {cid}"))
            .collect::<Vec<_>>()
    };
    let mut wanted = [own("-", &old, &new), own("+", &new, &old)].concat();
    let mut found: Vec<&str> = run.lines();
    found.retain(|line| line.contains(" node "));
    wanted.sort();
    found.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn json_has_the_same_in_lines() {
    let (old, new) = revisions(74);
    let folder = Folder::new();
    let (a, b) = (
        folder.write("a.car", old.car()),
        folder.write("b.car", new.car()),
    );
    let text = folder.run(&["diff", &a, &b, "--nodes"], b"");
    let json = folder.run(&["diff", &a, &b, "--nodes", "--jsonl"], b"");
    assert_eq!(json.code, 5);
    let lines = json.lines().into_iter().map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(node) = value["node"].as_str() {
            let sign = if value["in"] == "old" { "-" } else { "+" };
            return format!("{sign} node {node}");
        }
        let path = &value["path"];
        match (value["old"].as_str(), value["new"].as_str()) {
            (None, Some(new)) => format!("+ {path} {new}"),
            (Some(old), None) => format!("- {path} {old}"),
            (Some(old), Some(new)) => format!("~ {path} {old} {new}"),
            (None, None) => panic!("{line}"),
        }
    });
    assert_eq!(lines.collect::<Vec<_>>(), text.lines());
}

#[test]
fn what_both_have_need_not_be_there() {
    let (old, new) = revisions(75);
    let folder = Folder::new();
    let a = folder.write("a.car", old.car());
    let mut blocks = vec![new.commit.clone()];
    let is_new = |cid: &Cid| !old.tree.nodes.iter().any(|(other, _)| other == cid);
    blocks.extend(
        new.tree
            .nodes
            .iter()
            .filter(|(cid, _)| is_new(cid))
            .cloned(),
    );
    let slice = new.car_of(&blocks);
    let run = folder.run(&["diff", &a, "-"], &slice);
    assert_eq!(
        (run.code, run.lines()),
        (
            5,
            expected(&old.paths, &new.paths)
                .iter()
                .map(|s| &**s)
                .collect()
        )
    );

    // Nothing that only one has may be missing: it is not taken for the same.
    let (needed, _) = blocks.last().unwrap();
    for (what, slice) in [
        ("missing", car_without(&new, needed)),
        ("bad", car_damaged_at(&new, needed)),
    ] {
        for (old, new) in [(&*a, "-"), ("-", &*a)] {
            let run = folder.run(&["diff", old, new], &slice);
            let start =
                format!("cartool: standard input: the comparison ends here: {what} node {needed}");
            assert!(run.err.starts_with(&start), "{}", run.err);
            assert_eq!(run.code, 1);
        }
    }
}

#[test]
fn databases_are_compared_and_chosen_from() {
    let (old, new) = revisions(76);
    let folder = Folder::new();
    let (a, db) = (folder.write("a.car", old.car()), folder.path("db"));
    assert_eq!(folder.run(&["import", "-", &db], &new.car()).code, 0);
    let did = commit_of(&new.car()).did;
    for more in [[].as_slice(), &["--repo", &did]] {
        let args = [["diff", &a, &db].as_slice(), more].concat();
        let run = folder.run(&args, b"");
        assert_eq!((run.code, run.lines().len()), (5, 12));
    }
    assert_eq!(
        folder
            .run(&["diff", &a, &db, "--repo", "did:web:x"], b"")
            .code,
        4
    );
    assert_eq!(folder.run(&["diff", &a, &a, "--repo", &did], b"").code, 2);
    assert_eq!(folder.run(&["diff", "-", "-"], b"").code, 2);
    let none = folder.run(&["diff", &a, &folder.path("none")], b"");
    assert_eq!(none.code, 3);
    assert!(none.err.starts_with("cartool: none: "), "{}", none.err);
}

#[test]
fn two_accounts_are_told() {
    let folder = Folder::new();
    let a = folder.write("a.car", SampleRepository::generate(77, 5).car());
    let run = folder.run(
        &["diff", &a, "-"],
        &repository_of(&[("a.b/c", b"\xa0")]).car(),
    );
    assert_eq!(run.code, 5);
    assert!(
        run.err.contains("note: these are two repositories, did:"),
        "{}",
        run.err
    );
}
