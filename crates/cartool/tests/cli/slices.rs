//! Parts of repositories: what is present is checked by the rules, and what is missing is not a
//! fault; but nothing that is wrong passes for missing.

use mst_testkit::SampleRepository;

use crate::support::{Folder, at_rev, car_damaged_at, car_without, cartool, commit_of};

const PROFILE: &str = "app.bsky.actor.profile/self";

#[test]
fn what_is_missing_of_a_part_is_information() {
    let sample = SampleRepository::generate(101, 200);
    let (node, _) = sample.tree.nodes.last().unwrap();
    let record = sample.paths[PROFILE];
    let car = car_without(&sample, node);
    let whole = cartool(&["verify", "FILE"], &car);
    let part = cartool(&["verify", "--partial", "FILE"], &car);
    assert_eq!((whole.code, part.code), (1, 0));
    let gaps = |lines: Vec<&str>| {
        lines
            .into_iter()
            .filter(|line| line.starts_with("missing node"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(gaps(part.lines()), gaps(whole.lines()));
    assert_eq!(gaps(part.lines()).len(), 1);

    let part = cartool(
        &["verify", "--partial", "FILE"],
        &car_without(&sample, &record),
    );
    let nodes = sample.tree.nodes.len();
    let expected = format!("ok, in part: 199 records, {nodes} nodes; missing: 1 record, 0 nodes\n");
    assert_eq!((part.code, part.out), (0, expected));

    let commit_only = sample.car_of(std::slice::from_ref(&sample.commit));
    let part = cartool(&["verify", "--partial", "FILE"], &commit_only);
    let expected = format!(
        "missing node {} (all keys)\nok, in part: 0 records, 0 nodes; missing: 0 records, 1 node\n",
        sample.tree.root
    );
    assert_eq!((part.code, part.out), (0, expected));
    let part = cartool(&["verify", "--partial", "FILE"], &sample.car());
    assert_eq!(
        (part.code, part.out),
        (0, format!("ok: 200 records, {nodes} nodes\n"))
    );
}

#[test]
fn what_is_wrong_in_a_part_is_wrong() {
    let sample = SampleRepository::generate(102, 200);
    let (node, _) = sample.tree.nodes.last().unwrap();
    for cid in [*node, sample.paths[PROFILE]] {
        let run = cartool(
            &["verify", "--partial", "FILE"],
            &car_damaged_at(&sample, &cid),
        );
        assert_eq!(run.code, 1, "{}", run.out);
        assert!(run.out.contains("does not hash to its CID"), "{}", run.out);
    }
    let run = cartool(
        &["verify", "--partial", "FILE"],
        &car_without(&sample, &sample.commit.0),
    );
    assert_eq!((run.code, &*run.out), (1, ""));
}

#[test]
fn operations_lead_back_to_where_they_came_from() {
    let old = SampleRepository::generate(103, 400);
    let mut new = old.clone();
    let paths: Vec<String> = old.paths.keys().step_by(50).cloned().collect();
    for path in &paths {
        new.paths.remove(path);
    }
    let other = new.paths[new.paths.keys().next().unwrap()];
    new.paths.insert("com.example.note/1".to_owned(), other);
    let new = at_rev(&new, "3zzzzzzzzzzz2");

    let folder = Folder::new();
    let (a, b) = (
        folder.write("a.car", old.car()),
        folder.write("b.car", new.car()),
    );
    let ops = folder.run(&["diff", &a, &b, "--jsonl", "--nodes"], b"").out;
    let ops_file = folder.write("ops", &ops);
    let slice = folder.path("slice.car");
    let mut make = vec![
        "proof",
        "make",
        &b,
        "--cover",
        "-o",
        &slice,
        "com.example.note/1",
    ];
    make.extend(paths.iter().map(String::as_str));
    assert_eq!(folder.run(&make, b"").code, 0);

    let (before, after) = (
        commit_of(&old.car()).data.to_string(),
        commit_of(&new.car()).data.to_string(),
    );
    let count = paths.len() + 1;
    let verify = |file: &str, root: &str, ops: &str| {
        let run = folder.run(
            &[
                "verify",
                "--partial",
                file,
                "--ops",
                "-",
                "--since-root",
                root,
            ],
            ops.as_bytes(),
        );
        (
            run.code,
            run.out.lines().last().unwrap_or_default().to_owned(),
            run.err,
        )
    };
    let ok = format!("ok: {count} operations led here from the tree {before}");
    for file in [&b, &slice] {
        assert_eq!(verify(file, &before, &ops), (0, ok.clone(), String::new()));
        let (code, line, _) = verify(file, &after, &ops);
        let expected = format!(
            "bad operations: {count} operations led here from the tree {before}, not {after}"
        );
        assert_eq!((code, line), (1, expected));
        // One kept secret.
        let (_, fewer) = ops.split_once('\n').unwrap();
        let (code, line, _) = verify(file, &before, fewer);
        assert_eq!(code, 1);
        assert!(line.starts_with("bad operations: "), "{line}");
        // One that did not happen.
        let (code, line, _) = verify(
            file,
            &before,
            &ops.replace("com.example.note/1", "com.example.note/2"),
        );
        assert_eq!(code, 1);
        assert!(
            line.starts_with("bad operations: after the operation on"),
            "{line}"
        );
    }
    let run = folder.run(&["verify", &b, "--ops", &ops_file], b"");
    let expected = format!("{count} operations led here from the tree {before}");
    assert_eq!((run.code, run.lines().pop()), (0, Some(&*expected)));

    // What is needed is missing, which does not mean that it is wrong.
    let first = paths.first().unwrap();
    let args = ["proof", "make", &b, "-o", &slice, first];
    assert_eq!(folder.run(&args, b"").code, 0);
    let (code, line, _) = verify(&slice, &before, &ops);
    assert_eq!(code, 6, "{line}");
    assert!(
        line.starts_with("unproven operations: missing node bafyrei"),
        "{line}"
    );

    let (code, _, err) = verify(&b, &before, "{\"path\": 1}");
    assert_eq!(
        (code, &*err),
        (
            1,
            "cartool: standard input: invalid type: integer `1`, expected a string at line 1 column 10\n"
        )
    );
}
