//! Repositories without records. The dangers: a first commit that nobody accepts, or that no
//! other can follow.

use atproto_mst::{CarBlockStore, Repository};

use crate::keys::new_key;
use crate::support::Folder;

const DID: &str = "did:web:example.com";

#[test]
fn a_repository_starts_empty_and_takes_commits() {
    let folder = Folder::new();
    let (key, public) = new_key(&folder, "key", "p256");
    let car = folder.path("new.car");
    let run = folder.run(&["init", DID, "--key-file", &key, "-o", &car], b"");
    assert_eq!((run.code, &*run.out), (0, ""), "{}", run.err);
    assert!(run.err.contains(&public), "{}", run.err);

    let verified = folder.run(&["verify", &car, "--key", &public], b"");
    assert_eq!(verified.code, 0, "{}", verified.err);
    let store = CarBlockStore::from_bytes(folder.read("new.car")).unwrap();
    let root = store.roots()[0];
    let repository = Repository::open(store, &root).unwrap();
    assert_eq!(repository.commit().did, DID);
    assert_eq!(repository.verify().unwrap().records, 0);

    let writes = folder.write(
        "writes",
        r#"{"action":"create","path":"com.example.note/1","value":{"$type":"com.example.note"}}"#,
    );
    let commit = |file: &str, more: &[&str]| {
        let args = ["commit", file, &writes, "--key-file", &key];
        let run = folder.run(&[args.as_slice(), more].concat(), b"");
        assert_eq!(run.code, 0, "{}", run.err);
    };
    let next = folder.path("next.car");
    commit(&car, &["-o", &next]);
    let database = folder.path("db");
    assert_eq!(folder.run(&["import", &car, &database], b"").code, 0);
    commit(&database, &[]);
    for file in [&next, &database] {
        let list = folder.run(&["list", file], b"");
        assert!(
            list.out.starts_with("\"com.example.note/1\" "),
            "{}",
            list.out
        );
        let verified = folder.run(&["verify", file, "--key", &public], b"");
        assert_eq!(verified.code, 0, "{}", verified.err);
    }
}

#[test]
fn what_is_no_did_or_would_take_the_place_of_the_key_is_refused() {
    let folder = Folder::new();
    let (key, _) = new_key(&folder, "key", "k256");
    let before = folder.read("key");
    let out = folder.path("new.car");
    for did in ["", "example.com", "did:", "did:PLC:a", "did:web:"] {
        let run = folder.run(&["init", did, "-k", &key, "-o", &out], b"");
        assert_eq!((run.code, &*run.out), (2, ""), "{did:?} {}", run.err);
    }
    let run = folder.run(&["init", DID, "-k", &key, "-o", &key], b"");
    assert_eq!((run.code, &*run.out), (2, ""), "{}", run.err);
    let signed = folder.run(&["init", DID, "-k", &key, "-o", &out], b"");
    assert_eq!(signed.code, 0, "{}", signed.err);
    let run = folder.run(&["sign", &out, "-k", &key, "-o", &key], b"");
    assert_eq!((run.code, &*run.out), (2, ""), "{}", run.err);
    assert_eq!(folder.read("key"), before);
    let made = folder.read("new.car");
    let run = folder.run(&["init", DID, "-k", &key, "-o", &out], b"");
    assert_eq!((run.code, &*run.out), (2, ""), "{}", run.err);
    assert_eq!(folder.read("new.car"), made);
    // On standard output, with the key on standard input.
    let run = folder.run(&["init", DID, "-k", "-", "-o", "-"], &before);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(CarBlockStore::from_bytes(run.raw_out).is_ok());
}

#[test]
fn a_folder_that_is_not_there_is_not_taken_for_a_file_that_is() {
    let folder = Folder::new();
    let (key, _) = new_key(&folder, "key", "k256");
    let out = folder.path("none/new.car");
    let run = folder.run(&["init", DID, "-k", &key, "-o", &out], b"");
    assert_eq!((run.code, &*run.out), (3, ""), "{}", run.err);
    assert!(!run.err.contains("would replace"), "{}", run.err);
}
