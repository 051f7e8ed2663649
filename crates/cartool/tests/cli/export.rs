//! Parts of repositories. The dangers: a part that is not what it says it is, because something
//! was missing and nobody said so; a part that nobody can use.

use mst_testkit::SampleRepository;

use crate::support::{
    Folder, at_rev, car_damaged_at, car_without, commit_of, listing, repository_of,
};

const POSTS: &str = "app.bsky.feed.post";

/// Two revisions of one repository.
fn two() -> (SampleRepository, SampleRepository) {
    let old = SampleRepository::generate(301, 400);
    let mut new = old.clone();
    let paths: Vec<String> = old.paths.keys().step_by(70).cloned().collect();
    for path in &paths {
        new.paths.remove(path);
    }
    let block = b"\xa1\x64text\x65Hello";
    let cid = atproto_mst::dag_cbor_cid(block);
    new.paths.insert("com.example.note/1".to_owned(), cid);
    new.records.insert(cid, block.as_slice().into());
    (old, at_rev(&new, "3zzzzzzzzzzz2"))
}

#[test]
fn a_collection_can_be_listed_whole_and_others_cannot() {
    let sample = SampleRepository::generate(302, 300);
    let folder = Folder::new();
    let (car, database) = (
        folder.write("in.car", sample.shuffled_car(1)),
        folder.path("db"),
    );
    assert_eq!(folder.run(&["import", &car, &database], b"").code, 0);
    let out = folder.path("out.car");
    let did = commit_of(&sample.car()).did;
    let posts: Vec<String> = listing(&sample)
        .into_iter()
        .filter(|line| line.starts_with("\"app.bsky.feed.post/"))
        .collect();
    assert!(posts.len() > 10);
    for file in [
        [car.as_str()].as_slice(),
        &[&database],
        &[&database, "--repo", &did],
    ] {
        let args = [&["export", "--collection", POSTS, "-o", &out], file].concat();
        let run = folder.run(&args, b"");
        assert_eq!((run.code, &*run.out), (0, ""), "{}", run.err);
        let start = format!("cartool: {did}, rev {}", commit_of(&sample.car()).rev);
        let said = format!(", {POSTS}: {} records, shown by ", posts.len());
        assert!(
            run.err.starts_with(&start) && run.err.contains(&said),
            "{}",
            run.err
        );
        for order in [[].as_slice(), &["--reverse"]] {
            let args = [&["list", &out, "--collection", POSTS], order].concat();
            let run = folder.run(&args, b"");
            let mut lines = run.lines();
            if !order.is_empty() {
                lines.reverse();
            }
            assert_eq!(
                (run.code, lines),
                (0, posts.iter().map(String::as_str).collect())
            );
        }
        let run = folder.run(&["dump", "--jsonl", &out, "-c", POSTS], b"");
        assert_eq!((run.code, run.lines().len()), (0, posts.len()));
        let other = ["dump", "--jsonl", &out, "-c", "app.bsky.feed.like"];
        assert_eq!(folder.run(&other, b"").code, 1);
        let prefix = format!("{POSTS}/");
        let run = folder.run(&["proof", "check", &out, "--prefix", &prefix], b"");
        let last = format!("complete \"{prefix}\" {} keys", posts.len());
        assert_eq!((run.code, run.lines().pop()), (0, Some(&*last)));
        assert!(folder.read("out.car").len() < sample.car().len() / 2);
    }
    let piped = ["export", "-", "-c", POSTS, "-o", "-"];
    let piped = folder.run(&piped, &sample.shuffled_car(1));
    assert_eq!((piped.code, piped.raw_out), (0, folder.read("out.car")));

    let none = ["export", &car, "-c", "com.example.none", "-o", &out];
    let run = folder.run(&none, b"");
    assert!(
        run.code == 0 && run.err.contains(": 0 records, shown by "),
        "{}",
        run.err
    );
    let run = folder.run(&["list", &out, "-c", "com.example.none"], b"");
    assert_eq!((run.code, &*run.out), (0, ""));
}

#[test]
fn a_collection_that_is_not_whole_is_not_written_and_what_lies_elsewhere_does_not_matter() {
    let sample = SampleRepository::generate(303, 300);
    let folder = Folder::new();
    let out = folder.write("out.car", "as it was");
    let post = sample
        .paths
        .iter()
        .find(|(path, _)| path.starts_with(POSTS));
    let (path, post) = post.unwrap();
    let bad = folder.write("bad.car", car_damaged_at(&sample, post));
    let gone = folder.write("gone.car", car_without(&sample, post));
    let export = |file: &str, collection: &str| {
        folder.run(&["export", file, "-c", collection, "-o", &out], b"")
    };
    let run = export(&gone, POSTS);
    let expected = format!(
        "cartool: gone.car: missing record {post} (key \"{path}\")\n\
         cartool: gone.car: the collection is not whole, so nothing was written\n"
    );
    assert_eq!((run.code, run.err), (1, expected));
    let run = export(&bad, POSTS);
    assert!(
        run.code == 1 && run.err.contains("does not hash to its CID"),
        "{}",
        run.err
    );
    let nodes = sample.tree.nodes.iter();
    let lost = nodes.filter(|(node, _)| *node != sample.tree.root);
    let lost = lost.filter(|(node, _)| {
        let file = folder.write("part.car", car_without(&sample, node));
        let run = export(&file, POSTS);
        assert!(run.code == 0 || run.err.contains(&format!("missing node {node} ")));
        if run.code == 0 {
            folder.write("out.car", "as it was");
        }
        run.code != 0
    });
    assert!(lost.count() > 3);
    assert_eq!(folder.read("out.car"), b"as it was");
    assert_eq!(export(&gone, "app.bsky.feed.like").code, 0);
    for args in [
        ["export", &gone, "-c", "no nsid", "-o", "-"].as_slice(),
        &[
            "export",
            &gone,
            "--repo",
            "did:plc:x",
            "-c",
            POSTS,
            "-o",
            "-",
        ],
        &["export", &gone, "-c", POSTS, "--since", &bad, "-o", "-"],
        &["export", "-", "--since", "-", "-o", "-"],
    ] {
        assert_eq!(folder.run(args, b"").code, 2, "{args:?}");
    }
}

#[test]
fn the_old_repository_and_what_is_new_are_the_new_one() {
    let (old, new) = two();
    let folder = Folder::new();
    let (a, b) = (
        folder.write("a.car", old.car()),
        folder.write("b.car", new.car()),
    );
    let (database, out) = (folder.path("db"), folder.path("out.car"));
    for file in [&a, &b] {
        assert_eq!(folder.run(&["import", file, &database], b"").code, 0);
    }
    let run = folder.run(&["export", &b, "--since", &a, "-o", &out], b"");
    assert_eq!((run.code, &*run.out), (0, ""), "{}", run.err);
    let part = folder.read("out.car");
    assert!(part.len() < new.car().len() / 3);
    let said = format!("rev 3zzzzzzzzzzz2, since the tree {}: ", old.tree.root);
    assert!(run.err.contains(&said), "{}", run.err);

    // Both in one CAR, of which the first root counts.
    let header_len = usize::from(part[0]) + 1;
    let both = [part.as_slice(), &old.car()[header_len..]].concat();
    let both = folder.write("both.car", both);
    let verified = folder.run(&["verify", &both], b"");
    assert_eq!((verified.code, verified.out.starts_with("ok: ")), (0, true));

    // The same from a database, the old tree named by its root, by its commit, or by a file.
    let (root, commit) = (old.tree.root.to_string(), old.commit.0.to_string());
    for since in [&root, &commit, &a] {
        let args = ["export", &database, "--since", since, "-o", "-"];
        let run = folder.run(&args, b"");
        assert_eq!((run.code, &run.raw_out), (0, &part), "{}", run.err);
    }
    let args = ["export", &b, "--since", "-", "-o", "-"];
    assert_eq!(folder.run(&args, &old.car()).raw_out, part);
    // Since itself, there is only the commit.
    let run = folder.run(&["export", &b, "--since", &b, "-o", &out], b"");
    assert!(
        run.code == 0 && run.err.contains(": 1 block; "),
        "{}",
        run.err
    );
}

#[test]
fn what_is_new_and_not_there_is_told_and_nothing_written() {
    let (old, new) = two();
    let folder = Folder::new();
    let a = folder.write("a.car", old.car());
    let note = new.paths["com.example.note/1"];
    let gone = folder.write("gone.car", car_without(&new, &note));
    let out = folder.path("out.car");
    let run = folder.run(&["export", &gone, "--since", &a, "-o", &out], b"");
    let expected = format!(
        "cartool: gone.car: missing block {note}\n\
         cartool: gone.car: some of what is new is missing or invalid, so nothing was written\n"
    );
    assert_eq!((run.code, run.err), (1, expected));
    let no_top = folder.write("top.car", car_without(&new, &new.tree.root));
    let run = folder.run(&["export", &no_top, "--since", &a, "-o", &out], b"");
    let start = format!(
        "cartool: top.car: cannot tell what {a} does not have: block {} is missing",
        new.tree.root
    );
    let start = start.replace(&folder.path(""), "");
    assert!(run.code == 1 && run.err.starts_with(&start), "{}", run.err);

    let nowhere = note.to_string();
    let run = folder.run(&["export", &a, "--since", &nowhere, "-o", &out], b"");
    assert!(
        run.code == 1 && run.err.contains("to start from, is missing"),
        "{}",
        run.err
    );
    // A record is not a tree.
    let b = folder.write("b.car", new.car());
    let run = folder.run(&["export", &b, "--since", &nowhere, "-o", &out], b"");
    assert!(
        run.code == 1 && run.err.contains(" does not have: "),
        "{}",
        run.err
    );
    let run = folder.run(
        &["export", &b, "--since", &folder.path("no"), "-o", &out],
        b"",
    );
    assert!(
        run.code == 3 && run.err.starts_with("cartool: no: "),
        "{}",
        run.err
    );
    let other = folder.write("other.car", repository_of(&[("a/1", b"\xa0")]).car());
    let run = folder.run(&["export", &b, "--since", &other, "-o", "-"], b"");
    let note = "cartool: note: these are two repositories, did:plc:test and did:plc:";
    assert!(run.code == 0 && run.err.starts_with(note), "{}", run.err);
    // Nothing that the other repository has can be used, so everything comes.
    assert_eq!(run.raw_out, new.car());
    let run = folder.run(&["export", &b, "--since", &other, "-o", "/dev/full"], b"");
    assert!(
        run.code == 3 && run.err.contains("\ncartool: /dev/full: "),
        "{}",
        run.err
    );
    assert!(!folder.names().contains(&"out.car".to_owned()));
}

#[test]
fn a_database_with_the_old_repository_takes_what_is_new() {
    let (old, new) = two();
    let folder = Folder::new();
    let (a, b) = (
        folder.write("a.car", old.car()),
        folder.write("b.car", new.car()),
    );
    let (database, part) = (folder.path("db"), folder.path("part.car"));
    let export = ["export", &b, "--since", &a, "-o", &part];
    assert_eq!(folder.run(&export, b"").code, 0);
    let update = ["import", "--update", &part, &database];
    // Neither without the old repository, nor as if it were complete.
    assert_eq!(folder.run(&update, b"").code, 3);
    assert!(!folder.names().contains(&"db".to_owned()));
    let other = folder.write(
        "other.car",
        repository_of(&[("a.example.a/1", b"\xa0")]).car(),
    );
    assert_eq!(folder.run(&["import", &other, &database], b"").code, 0);
    let run = folder.run(&update, b"");
    let said = format!(
        "has no revision of {} to continue from",
        commit_of(&old.car()).did
    );
    assert!(run.code == 1 && run.err.contains(&said), "{}", run.err);
    assert_eq!(folder.run(&["import", &a, &database], b"").code, 0);
    assert_eq!(folder.run(&["import", &part, &database], b"").code, 1);

    // It says what is missing, and imports nothing.
    let did = commit_of(&old.car()).did;
    let whole = || {
        let run = folder.run(&["export", &database, "--repo", &did, "-o", "-"], b"");
        assert_eq!(run.code, 0, "{}", run.err);
        run.raw_out
    };
    let note = new.paths["com.example.note/1"];
    for cid in [note, new.tree.root] {
        let gone = folder.write("gone.car", car_without(&new, &cid));
        let run = folder.run(&["import", "--update", &gone, &database], b"");
        let said = format!("cartool: gone.car: block {cid} is missing\n");
        assert_eq!((run.code, run.err), (1, said));
        assert_eq!(whole(), old.car());
    }

    let run = folder.run(&update, b"");
    assert_eq!((run.code, &*run.out), (0, ""), "{}", run.err);
    let said = "rev 3zzzzzzzzzzz2: 1 new record, ";
    let was = format!("; was at rev {}\n", commit_of(&old.car()).rev);
    assert!(
        run.err.contains(said) && run.err.ends_with(&was),
        "{}",
        run.err
    );
    assert_eq!(whole(), new.car());
    // Again, there is nothing to do, and no way back.
    let run = folder.run(&update, b"");
    assert!(
        run.code == 0
            && run
                .err
                .contains(": 0 new records, 0 new nodes; was in the database"),
        "{}",
        run.err
    );
    let run = folder.run(&["import", "--update", &a, &database], b"");
    assert!(
        run.code == 1 && run.err.contains("a later revision"),
        "{}",
        run.err
    );
    assert_eq!(whole(), new.car());
}
