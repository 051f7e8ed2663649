//! Proofs. The dangers: a block that is missing, taken for a record that is; a proof about one
//! tree, taken for one about another; a signature that nobody checked, taken for a good one.

use atproto_mst::{BlockStore, CarBlockStore, NodeBuilder, height_of, raw_cid};
use mst_testkit::SampleRepository;

use crate::support::{Folder, Run, at_rev, car_damaged_at, car_without, commit_of, repository_of};

const PROFILE: &str = "app.bsky.actor.profile/self";
const ABSENT: &str = "app.bsky.feed.post/zzz";
const POSTS: &str = "app.bsky.feed.post/";

fn make(folder: &Folder, sample: &SampleRepository, args: &[&str]) -> Run {
    let out = folder.path("proof.car");
    let args = [["proof", "make", "-", "-o", &out].as_slice(), args].concat();
    folder.run(&args, &sample.car())
}

fn check(folder: &Folder, args: &[&str]) -> Run {
    let proof = folder.path("proof.car");
    folder.run(&[["proof", "check", &proof].as_slice(), args].concat(), b"")
}

#[test]
fn presence_and_absence_are_proven() {
    let sample = SampleRepository::generate(81, 500);
    let (folder, cid) = (Folder::new(), sample.paths[PROFILE]);
    let made = make(&folder, &sample, &[PROFILE, ABSENT]);
    assert_eq!((made.code, &*made.out), (0, ""));
    let car = CarBlockStore::from_bytes(folder.read("proof.car")).unwrap();
    assert_eq!(car.roots(), [sample.commit.0]);
    assert!(car.has(&cid).unwrap(), "the record is there");
    assert!(car.len() < 20, "few nodes: {}", car.len());

    let present = format!("present \"{PROFILE}\" {cid}");
    let run = check(&folder, &[PROFILE]);
    assert_eq!((run.code, run.lines()), (0, vec![&*present]));
    assert!(
        run.err.contains("its signature was NOT CHECKED"),
        "{}",
        run.err
    );
    let absent = format!("absent \"{ABSENT}\"");
    let run = check(&folder, &[PROFILE, ABSENT]);
    assert_eq!((run.code, run.lines()), (4, vec![&*present, &absent]));
}

#[test]
fn what_a_proof_does_not_show_is_unproven_and_never_absent() {
    let sample = SampleRepository::generate(82, 500);
    let folder = Folder::new();
    make(&folder, &sample, &[PROFILE]);
    let mut unproven = 0;
    for (path, cid) in &sample.paths {
        let run = check(&folder, &[path, ABSENT]);
        if run.out.starts_with(&format!("present \"{path}\" {cid}\n")) {
            continue;
        }
        unproven += 1;
        let start = format!("unproven \"{path}\": missing node bafyrei");
        assert!(run.out.starts_with(&start), "{}", run.out);
        assert_eq!(run.code, 6);
        if unproven == 40 {
            return;
        }
    }
    panic!("of 500 records, most are not shown by a proof of one");
}

#[test]
fn a_complete_listing_is_proven() {
    let sample = SampleRepository::generate(83, 500);
    let folder = Folder::new();
    let made = make(&folder, &sample, &["--prefix", POSTS]);
    assert_eq!(made.code, 0);
    let posts = sample
        .paths
        .iter()
        .filter(|(path, _)| path.starts_with(POSTS));
    let mut lines: Vec<String> = posts
        .map(|(path, cid)| format!("present \"{path}\" {cid}"))
        .collect();
    lines.push(format!("complete \"{POSTS}\" {} keys", lines.len()));
    assert!(lines.len() > 10);
    let run = check(&folder, &["--prefix", POSTS]);
    assert_eq!(
        (run.code, run.lines()),
        (0, lines.iter().map(|line| &**line).collect())
    );
    let nothing = check(&folder, &["--prefix", "app.bsky.feed.post/zz"]);
    assert_eq!(
        (nothing.code, &*nothing.out),
        (0, "complete \"app.bsky.feed.post/zz\" 0 keys\n")
    );

    let car = CarBlockStore::from_bytes(folder.read("proof.car")).unwrap();
    let with_records = make(&folder, &sample, &["--prefix", POSTS, "--records"]);
    assert_eq!(with_records.code, 0);
    let more = CarBlockStore::from_bytes(folder.read("proof.car")).unwrap();
    assert_eq!(more.len(), car.len() + lines.len() - 1);

    // All of it, from a proof of one post.
    make(&folder, &sample, &[PROFILE]);
    let run = check(&folder, &["--prefix", POSTS]);
    assert_eq!(run.code, 6);
    let last = run.lines().pop().unwrap_or_default();
    assert!(
        last.starts_with(&format!("incomplete \"{POSTS}\"")),
        "{last}"
    );
}

#[test]
fn a_proof_is_about_its_commit_and_no_other() {
    let sample = SampleRepository::generate(84, 300);
    let other = at_rev(&sample, "3zzzzzzzzzzz2");
    let folder = Folder::new();
    make(&folder, &sample, &[PROFILE]);
    let (commit, wrong) = (sample.commit.0.to_string(), other.commit.0.to_string());
    let run = check(&folder, &[PROFILE, "--commit", &commit]);
    assert_eq!(run.code, 0);
    assert!(
        run.err
            .contains("as you say; its signature was NOT CHECKED"),
        "{}",
        run.err
    );
    let run = check(&folder, &[PROFILE, "--commit", &wrong]);
    let expected =
        format!("cartool: proof.car: the proof is about the commit {commit}, not {wrong}\n");
    assert_eq!((run.code, &*run.out, run.err), (1, "", expected));

    let root = commit_of(&sample.car()).data.to_string();
    let run = check(&folder, &[PROFILE, "--root", &root]);
    assert_eq!(run.code, 0);
    assert!(run.err.contains("no signature checked"), "{}", run.err);
    let run = check(&folder, &[PROFILE, "--root", &wrong]);
    let expected = format!("unproven \"{PROFILE}\": missing node {wrong} (all keys)\n");
    assert_eq!((run.code, run.out), (6, expected));
    let hash = raw_cid(b"x").to_string();
    assert_eq!(check(&folder, &[PROFILE, "--root", &hash]).code, 1);
}

#[test]
fn a_damaged_proof_proves_nothing() {
    let sample = SampleRepository::generate(85, 300);
    let folder = Folder::new();
    let (top, record) = (sample.tree.root, sample.paths[PROFILE]);
    folder.write("proof.car", car_damaged_at(&sample, &top));
    let run = check(&folder, &[PROFILE]);
    let expected =
        format!("unproven \"{PROFILE}\": bad node {top} (all keys): does not hash to its CID\n");
    assert_eq!((run.code, run.out), (1, expected));
    folder.write("proof.car", car_damaged_at(&sample, &record));
    let run = check(&folder, &[PROFILE]);
    assert_eq!(run.code, 1);
    assert!(
        run.err.contains(&format!("bad record {record}")),
        "{}",
        run.err
    );
}

#[test]
fn what_cannot_be_proven_is_not_written() {
    let sample = SampleRepository::generate(86, 300);
    let folder = Folder::new();
    let out = folder.write("proof.car", "as it was");
    let (top, record) = (sample.tree.root, sample.paths[PROFILE]);
    for (car, what) in [
        (car_without(&sample, &top), "missing node"),
        (car_without(&sample, &record), "missing record"),
        (car_damaged_at(&sample, &record), "bad record"),
    ] {
        let run = folder.run(
            &["proof", "make", "-", PROFILE, "--cover", "-o", &out],
            &car,
        );
        assert_eq!(run.code, 1, "{}", run.err);
        assert!(run.err.contains(what), "{}", run.err);
    }
    assert_eq!(folder.read("proof.car"), b"as it was");
}

#[test]
fn a_tree_that_goes_on_below_its_bottom_proves_nothing() {
    // What is asked for is in a node that may be here, but links to one below the bottom.
    let sample = repository_of(&[("a.b.c/1", b"\xa0")]);
    let path = (0..).map(|n| format!("a.b.c/x{n}"));
    let path = path
        .into_iter()
        .find(|path| height_of(path.as_bytes()) == 0);
    let path = path.unwrap();
    let mut builder = NodeBuilder::new(Some(&sample.tree.root)).unwrap();
    let value = raw_cid(b"x");
    builder.push(path.as_bytes(), &value, None).unwrap();
    let node = builder.finish();
    let mut blocks = sample.blocks();
    blocks.push((node.cid(), node.encode().into()));
    let folder = Folder::new();
    folder.write("proof.car", sample.car_of(&blocks));
    let root = node.cid().to_string();
    for asked in [&*path, "a.b.c/0", "--prefix=a.b.c/0"] {
        let run = check(&folder, &[asked, "--root", &root]);
        let mut lines = run.lines().into_iter();
        let unproven = lines.find(|line| line.starts_with("unproven "));
        assert!(unproven.unwrap().contains("bad node"), "{}", run.out);
        assert_eq!(run.code, 1, "{}", run.out);
    }
}
