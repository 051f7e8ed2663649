//! Records that are removed, and nothing else with them.

use mst_testkit::SampleRepository;

use crate::support::{Folder, car_without, commit_of, rebuilt, repository_of_key};

#[test]
fn without_a_record_the_repository_is_as_if_it_had_never_been_there() {
    let mut sample = SampleRepository::generate(31, 80);
    let folder = Folder::new();
    folder.write("in.car", sample.car());
    let (car, out) = (folder.path("in.car"), folder.path("out.car"));
    for path in sample.paths.clone().into_keys().step_by(9) {
        let run = folder.run(&["rm", &car, &path, "-o", &out], b"");
        let cid = sample.paths.remove(&path).unwrap();
        let commit = commit_of(&folder.read("out.car"));
        let expected = format!(
            "cartool: removed \"{path}\" -> {cid}\n\
             cartool: commit {}, rev {}, is NOT SIGNED: nobody will accept it as the account's\n",
            commit.cid(),
            commit.rev
        );
        assert_eq!((run.code, &*run.out, run.err), (0, "", expected));
        assert_eq!(folder.read("out.car"), rebuilt(&sample, &commit).car());
        assert!(commit.sig.is_empty());
        folder.write("in.car", folder.read("out.car"));
    }
}

#[test]
fn the_last_record_leaves_an_empty_tree() {
    let sample = SampleRepository::generate(32, 1);
    let folder = Folder::new();
    let car = folder.write("in.car", sample.car());
    let path = sample.paths.keys().next().unwrap();
    assert_eq!(folder.run(&["rm", &car, path, "-o", &car], b"").code, 0);
    let verified = folder.run(&["verify", &car], b"");
    assert_eq!(verified.out, "ok: 0 records, 1 node\n");
}

#[test]
fn a_record_that_is_not_there_ends_with_4_and_writes_nothing() {
    let folder = Folder::new();
    let car = folder.write("in.car", SampleRepository::generate(33, 20).car());
    let out = folder.path("out.car");
    let run = folder.run(&["rm", &car, "com.example.note/1", "-o", &out], b"");
    let expected = "cartool: in.car: no record at \"com.example.note/1\"\n";
    assert_eq!((run.code, &*run.err), (4, expected));
    assert_eq!(folder.names(), ["in.car"]);
}

#[test]
fn a_record_that_cannot_be_known_is_told_from_one_that_is_not_there() {
    let sample = SampleRepository::generate(34, 60);
    let folder = Folder::new();
    let car = folder.write("in.car", car_without(&sample, &sample.tree.root));
    let run = folder.run(&["rm", &car, "com.example.note/1", "-o", "-"], b"");
    assert_eq!((run.code, &*run.out), (1, ""));
    assert!(run.err.contains("is unknown: missing node"), "{}", run.err);
}

#[test]
fn a_missing_record_can_be_removed() {
    let sample = SampleRepository::generate(35, 60);
    let folder = Folder::new();
    let path = "app.bsky.actor.profile/self";
    let car = folder.write("in.car", car_without(&sample, &sample.paths[path]));
    assert_eq!(folder.run(&["rm", &car, path, "-o", &car], b"").code, 0);
    assert_eq!(folder.run(&["verify", &car], b"").code, 0);
}

#[test]
fn a_key_that_is_no_path_can_be_removed() {
    let folder = Folder::new();
    let car = folder.write("in.car", repository_of_key(b"no path", b"\xa0").car());
    let run = folder.run(&["rm", &car, "no path", "-o", &car], b"");
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(folder.run(&["verify", &car], b"").code, 0);
}
