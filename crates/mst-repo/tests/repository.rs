//! The danger: a repository with something missing or wrong in it that reads like a smaller
//! one without. Whatever is missing must be an error that says which block and which keys,
//! and everything else must still be returned.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::{BTreeMap, BTreeSet};

use blockstore_car::CarBlockStore;
use blockstore_core::{BlockStoreMut, Bytes, Cid, MemoryBlockStore, dag_cbor_cid, raw_cid};
use mst_node::{Node, height_of};
use mst_repo::{
    Commit, Error, Fault, InvalidCommit, InvalidPath, InvalidRecordKey, Place, Record, Repository,
    Salvaged,
};
use mst_testkit::{SampleRepository, build_tree};
use proptest::prelude::*;
use proptest::sample::Index;

#[test]
fn the_published_empty_tree_is_a_repository_without_records() {
    let repository = opened(&BTreeMap::new());
    assert_eq!(
        repository.commit().data.to_string(),
        "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"
    );
    assert_eq!(repository.records().unwrap().count(), 0);
    assert_eq!(repository.collections().unwrap().count(), 0);
    let summary = repository.verify().unwrap();
    assert_eq!((summary.nodes, summary.records), (1, 0));
    assert_eq!(repository.get("com.example.record/self").unwrap(), None);
}

#[test]
fn what_is_missing_is_told_once_to_who_reads_from_both_ends() {
    let sample = SampleRepository::generate(3, 400);
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&sample.blocks()).unwrap();
    let (gone, _) = &sample.tree.nodes[sample.tree.nodes.len() / 3];
    blocks.delete(gone).unwrap();
    let repository = Repository::open(&blocks, &sample.commit.0).unwrap();
    let all = repository.records().unwrap().count();
    for from_front in 0..=all {
        let mut records = repository.records().unwrap();
        let front = records.by_ref().take(from_front).collect::<Vec<_>>();
        let items = front.into_iter().chain(records.rev());
        let (found, faults): (Vec<_>, Vec<_>) = items.partition(Result::is_ok);
        assert_eq!(
            (found.len() + faults.len(), faults.len()),
            (all, 1),
            "{from_front}"
        );
    }
}

#[test]
fn a_fault_says_where_and_why_to_the_last_reason() {
    let sample = SampleRepository::generate(7, 10);
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&sample.blocks()).unwrap();
    let mut commit = Commit::decode(&sample.commit.1).unwrap();
    let no_node = dag_cbor_cid(b"\xa0");
    commit.data = no_node;
    blocks.put(&no_node, b"\xa0".as_slice().into()).unwrap();
    blocks.put(&commit.cid(), commit.encode().into()).unwrap();
    let repository = Repository::open(&blocks, &commit.cid()).unwrap();
    let faults: Vec<_> = repository.faults().collect();
    assert_eq!(faults.len(), 1);
    let short = format!("all keys: block {no_node} is not a valid node");
    assert_eq!(faults[0].to_string(), short);
    let reason = "byte 0: a map of 0 fields, not 2";
    assert_eq!(format!("{:#}", faults[0]), format!("{short}: {reason}"));
}

#[test]
fn a_whole_repository_gives_what_was_put_into_it_in_any_order_of_blocks() {
    let sample = SampleRepository::generate(11, 400);
    for car in [sample.car(), sample.shuffled_car(1), sample.shuffled_car(2)] {
        let car = CarBlockStore::from_bytes(car).unwrap();
        let repository = Repository::open(car, &sample.commit.0).unwrap();
        let records = || repository.records().unwrap().map(Result::unwrap);
        let found: Vec<(String, Cid)> = records().map(|r| (r.path().to_owned(), r.cid())).collect();
        let expected: Vec<(String, Cid)> = sample.paths.clone().into_iter().collect();
        assert_eq!(found, expected);
        for record in records() {
            assert_eq!(record.bytes(), &sample.records[&record.cid()]);
            let path = format!("{}/{}", record.collection(), record.record_key());
            assert_eq!(record.path(), path);
            let got = repository.get(&path).unwrap();
            assert_eq!(got, Some(record));
        }
        let mut back: Vec<String> = repository
            .records()
            .unwrap()
            .rev()
            .map(|record| record.unwrap().path().to_owned())
            .collect();
        back.reverse();
        assert!(back.iter().eq(sample.paths.keys()));

        let collections: Vec<String> = repository
            .collections()
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut expected: Vec<&str> = sample
            .paths
            .keys()
            .map(|path| path.split('/').next().unwrap())
            .collect();
        expected.dedup();
        assert_eq!(collections, expected);
        for collection in &collections {
            let prefix = format!("{collection}/");
            let records = repository
                .collection(collection)
                .unwrap()
                .map(Result::unwrap);
            let found: Vec<String> = records.map(|record| record.path().to_owned()).collect();
            let expected = sample.paths.keys().filter(|path| path.starts_with(&prefix));
            assert!(found.iter().eq(expected));
        }
        let summary = repository.verify().unwrap();
        assert_eq!(
            (summary.nodes, summary.records),
            (sample.tree.nodes.len() as u64, 400)
        );
    }
}

#[test]
fn collections_whose_names_begin_with_each_other_are_told_apart() {
    let paths = [
        "com.a.b.c/1",
        "com.a.b-x.c/1",
        "com.a.b/1",
        "com.a.b/2",
        "com.a.b0/1",
        "com.a.bb/1",
    ];
    let repository = opened(&records_of(&paths));
    let found: Vec<String> = repository
        .collections()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    // In the order of their paths: '-' and '.' come before '/'.
    assert_eq!(
        found,
        [
            "com.a.b-x.c",
            "com.a.b.c",
            "com.a.b",
            "com.a.b0",
            "com.a.bb"
        ]
    );
    let in_collection = |name: &str| repository.collection(name).unwrap().count();
    assert_eq!(in_collection("com.a.b"), 2);
    assert_eq!(in_collection("com.a.x"), 0);
    let with_prefix = |prefix: &str| repository.prefix(prefix).unwrap().count();
    assert_eq!((with_prefix("com.a.b"), with_prefix("com.a.b/")), (6, 2));
    assert_eq!((with_prefix(""), with_prefix("com.a.c")), (6, 0));
    // What cannot be a collection is not an empty one.
    for name in ["com.a", "", "com.a.b/", "com.a.b/1"] {
        let error = repository.collection(name).unwrap_err();
        assert!(
            matches!(&error, Error::InvalidCollection { collection, .. } if collection == name),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_path_leads_to_its_cid_whether_the_record_is_there_or_not() {
    let blocks = records_of(&["com.a.b/1"]);
    let repository = opened(&blocks);
    let cid = repository.get("com.a.b/1").unwrap().unwrap().cid();
    assert_eq!(repository.find("com.a.b/1").unwrap(), Some(cid));
    assert_eq!(repository.find("com.a.b/2").unwrap(), None);
    repository.blocks().delete(&cid).unwrap();
    assert_eq!(repository.find("com.a.b/1").unwrap(), Some(cid));
    let error = repository.get("com.a.b/1").unwrap_err();
    assert!(matches!(error, Error::MissingBlock(missing) if missing == cid));
}

// ---- Commits that are not valid.

#[test]
fn a_commit_that_is_missing_is_named() {
    let missing = dag_cbor_cid(b"missing");
    let error = Repository::open(MemoryBlockStore::new(), &missing).unwrap_err();
    assert!(matches!(error, Error::MissingBlock(cid) if cid == missing));
}

#[test]
fn a_commit_under_a_cid_of_another_form_is_refused() {
    let (blocks, commit) = stored(&BTreeMap::new());
    let block = commit.encode();
    let raw = raw_cid(&block);
    let v0 = Cid::new_v0(*raw.hash()).unwrap();
    for cid in [raw, v0] {
        blocks.put(&cid, block.clone().into()).unwrap();
        let error = Repository::open(&blocks, &cid).unwrap_err();
        let Error::InvalidCommit { cid: of, source } = error else {
            panic!("{error}");
        };
        assert_eq!(of, cid);
        assert_eq!(
            *source,
            InvalidCommit::LinkForm {
                field: "root",
                found: cid
            }
        );
    }
}

#[test]
fn a_block_that_is_no_commit_is_refused() {
    let (blocks, commit) = stored(&records_of(&["com.example.record/1"]));
    // The tree's root, a record, garbage.
    let garbage = Bytes::from_static(b"\xff");
    blocks
        .put(&dag_cbor_cid(&garbage), garbage.clone())
        .unwrap();
    for cid in [
        commit.data,
        record("com.example.record/1").0,
        dag_cbor_cid(&garbage),
    ] {
        let error = Repository::open(&blocks, &cid).unwrap_err();
        assert!(
            matches!(&error, Error::InvalidCommit { cid: of, .. } if *of == cid),
            "{error}"
        );
    }
}

#[test]
fn a_commit_whose_tree_is_missing_or_none_opens_and_says_so_when_asked() {
    let no_tree = dag_cbor_cid(b"no tree");
    let (blocks, _) = stored(&BTreeMap::new());
    let garbage = Bytes::from_static(b"\xa0");
    blocks
        .put(&dag_cbor_cid(&garbage), garbage.clone())
        .unwrap();
    for (data, missing) in [(no_tree, true), (dag_cbor_cid(&garbage), false)] {
        let commit = Commit::unsigned("did:plc:abc", "3jzfcijpj2z2a".parse().unwrap(), data);
        blocks.put(&commit.cid(), commit.encode().into()).unwrap();
        let repository = Repository::open(&blocks, &commit.cid()).unwrap();
        let is_it = |error: &Error| match error {
            Error::MissingBlock(cid) => missing && *cid == data,
            Error::Tree(mst_ops::Error::InvalidNode { cid, .. }) => !missing && *cid == data,
            _ => false,
        };
        assert!(is_it(&repository.records().unwrap_err()));
        assert!(is_it(&repository.collections().unwrap_err()));
        assert!(is_it(&repository.get("com.example.record/1").unwrap_err()));
        assert!(is_it(&repository.verify().unwrap_err()));
        let faults: Vec<_> = repository.faults().collect();
        assert!(faults.len() == 1 && is_it(&faults[0].error));
        let (left, right) = (None, None);
        assert_eq!(faults[0].place, Place::Subtree { left, right });
    }
}

// ---- Records and nodes that are missing.

#[test]
fn a_missing_record_is_an_error_in_its_place() {
    let paths = ["com.a.b/1", "com.a.b/2", "com.a.b/3", "com.a.c/1"];
    let (blocks, commit) = stored(&records_of(&paths));
    let gone = record(paths[1]).0;
    blocks.delete(&gone).unwrap();
    let repository = Repository::open(&blocks, &commit.cid()).unwrap();
    for collection in [None, Some("com.a.b")] {
        let records = match collection {
            None => repository.records().unwrap(),
            Some(collection) => repository.collection(collection).unwrap(),
        };
        let found: Vec<_> = records.map(|r| r.map(|r| r.path().to_owned())).collect();
        let fault = found[1].as_ref().unwrap_err();
        assert!(matches!(fault.error, Error::MissingBlock(cid) if cid == gone));
        let rest: Vec<&str> = found.iter().flatten().map(String::as_str).collect();
        let in_it = paths
            .iter()
            .filter(|path| collection.is_none_or(|c| path.starts_with(c)));
        assert_eq!(
            rest,
            in_it
                .filter(|path| **path != paths[1])
                .copied()
                .collect::<Vec<_>>()
        );
    }
    assert!(matches!(repository.get(paths[1]), Err(Error::MissingBlock(cid)) if cid == gone));
    assert!(repository.get(paths[2]).unwrap().is_some());
    assert!(matches!(repository.verify(), Err(Error::MissingBlock(cid)) if cid == gone));

    let mut faults = repository.faults();
    let fault = faults.next().unwrap();
    assert!(matches!(fault.error, Error::MissingBlock(cid) if cid == gone));
    let key = paths[1].as_bytes().to_vec();
    assert_eq!(fault.place, Place::Record { key, value: gone });
    assert!(faults.next().is_none());
    assert_eq!(faults.summary().records, 3);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn all_that_is_missing_is_listed_and_all_else_is_given(
        seed in 0..1_000_u64,
        gone in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let sample = SampleRepository::generate(seed, 120);
        let all: Vec<(Cid, Bytes)> =
            sample.blocks().into_iter().filter(|(cid, _)| *cid != sample.commit.0 && *cid != sample.tree.root).collect();
        let gone: BTreeSet<Cid> = gone.iter().map(|index| index.get(&all).0).collect();
        let blocks = MemoryBlockStore::new();
        for (cid, block) in sample.blocks() {
            if !gone.contains(&cid) {
                blocks.put(&cid, block).unwrap();
            }
        }
        let repository = Repository::open(&blocks, &sample.commit.0).unwrap();

        // What is below a missing node is unknown.
        let mut hidden: Vec<(Option<String>, Option<String>)> = Vec::new();
        let mut listed = BTreeSet::new();
        for fault in repository.faults() {
            let Error::MissingBlock(cid) = fault.error else { panic!("{}", fault.error) };
            prop_assert!(gone.contains(&cid));
            listed.insert(cid);
            let text = |key: Vec<u8>| String::from_utf8(key).unwrap();
            match fault.place {
                Place::Record { key, value } => {
                    prop_assert_eq!(value, cid);
                    prop_assert_eq!(sample.paths.get(&text(key)), Some(&cid));
                }
                Place::Subtree { left, right } => {
                    prop_assert!(!sample.records.contains_key(&cid));
                    hidden.push((left.map(text), right.map(text)));
                }
            }
        }
        let is_hidden = |path: &String| {
            hidden.iter().any(|(left, right)| {
                left.as_ref().is_none_or(|left| left < path) && right.as_ref().is_none_or(|right| path < right)
            })
        };
        let expected: Vec<&String> = sample
            .paths
            .iter()
            .filter(|(path, cid)| !is_hidden(path) && !gone.contains(cid))
            .map(|(path, _)| path)
            .collect();
        let found = |reverse: bool| -> (Vec<String>, usize) {
            let records = repository.records().unwrap();
            let items: Vec<_> = if reverse { records.rev().collect() } else { records.collect() };
            let mut paths: Vec<String> = items.iter().flatten().map(|r| r.path().to_owned()).collect();
            if reverse {
                paths.reverse();
            }
            (paths, items.iter().filter(|item| item.is_err()).count())
        };
        let (paths, errors) = found(false);
        prop_assert_eq!(paths.iter().collect::<Vec<_>>(), expected);
        prop_assert_eq!(errors, repository.faults().count());
        prop_assert_eq!((paths, errors), found(true));
        prop_assert_eq!(repository.verify().is_ok(), gone.is_empty());
        let mut records = repository.records().unwrap();
        let (mut front, mut back) = (Vec::new(), Vec::new());
        for turn in 0.. {
            let from_front = seed >> (turn % 10) & 1 == 0;
            let next = if from_front { records.next() } else { records.next_back() };
            let given = if from_front { &mut front } else { &mut back };
            match next {
                Some(Ok(record)) => given.push(record.path().to_owned()),
                Some(Err(_)) => {}
                None => break,
            }
        }
        front.extend(back.into_iter().rev());
        prop_assert_eq!(front, found(false).0);
        let mut faults = repository.faults();
        faults.by_ref().for_each(drop);
        prop_assert_eq!(faults.summary().records, found(false).0.len() as u64);

        // Each missing block that is linked from something known is listed.
        for cid in &gone {
            let known = sample.paths.iter().any(|(path, of)| of == cid && !is_hidden(path));
            prop_assert!(!known || listed.contains(cid));
        }
        for (path, cid) in &sample.paths {
            match repository.get(path) {
                Ok(Some(found)) => prop_assert_eq!(found.cid(), *cid),
                Ok(None) => prop_assert!(false, "{} is there, with height {}", path, height_of(path.as_bytes())),
                Err(Error::MissingBlock(missing)) => prop_assert!(gone.contains(&missing)),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

// ---- Keys that are not paths.

#[test]
fn keys_that_are_no_paths_are_errors_in_their_places() {
    let bad = [
        "com.a.b",
        "com.a.b/",
        "com.a.b/.",
        "com.a.b/..",
        "com.a.b/a b",
        "com.a.b/x/y",
        "com.a/1",
        "k/00",
        "über.a.b/1",
        "/com.a.b/1",
    ];
    let good = ["com.a.b/0", "com.a.b/zz", "com.a.c/1", "zzz.a.b/1"];
    let (blocks, commit) = stored(&records_of(&[bad.as_slice(), &good].concat()));
    let repository = Repository::open(&blocks, &commit.cid()).unwrap();
    for reverse in [false, true] {
        let records = repository.records().unwrap();
        let items: Vec<_> = if reverse {
            records.rev().collect()
        } else {
            records.collect()
        };
        let mut found: Vec<&str> = items.iter().flatten().map(Record::path).collect();
        found.sort_unstable();
        assert_eq!(found, good);
        let mut refused: Vec<&str> = items
            .iter()
            .filter_map(|item| match &item.as_ref().err()?.error {
                Error::InvalidPath { key, .. } => Some(key.as_str()),
                _ => None,
            })
            .collect();
        refused.sort_unstable();
        let mut expected = bad;
        expected.sort_unstable();
        assert_eq!(refused, expected);
    }
    for path in bad {
        assert!(
            matches!(repository.get(path), Err(Error::InvalidPath { .. })),
            "{path}"
        );
    }
    for path in good {
        assert!(repository.get(path).unwrap().is_some());
    }
    assert!(matches!(
        repository.verify(),
        Err(Error::InvalidPath { .. })
    ));
    let mut faults = repository.faults();
    let key_of = |fault: Fault| match fault.place {
        Place::Record { key, .. } => String::from_utf8(key).unwrap(),
        place @ Place::Subtree { .. } => panic!("{place:?}"),
    };
    let listed: BTreeSet<String> = faults.by_ref().map(key_of).collect();
    assert_eq!(listed, bad.map(str::to_owned).into());
    // Whatever the paths, the blocks are present.
    assert_eq!(faults.summary().records, 14);
}

#[test]
fn what_is_wrong_with_a_key_does_not_depend_on_what_came_before_it() {
    let paths = [
        "com.a.b/1",
        "com.a.b/2/3",
        "com.a.b/x y",
        "com.a.b/x/y",
        "com.a.b/z",
    ];
    let repository = opened(&records_of(&paths));
    let fault_of = |error: Error| match error {
        Error::InvalidPath { key, source } => (key, *source),
        error => panic!("{error}"),
    };
    let expected = [
        (paths[1].to_owned(), InvalidPath::Segments { found: 3 }),
        (
            paths[2].to_owned(),
            InvalidRecordKey::Character { at: 1 }.into(),
        ),
        (paths[3].to_owned(), InvalidPath::Segments { found: 3 }),
    ];
    let mut listed: Vec<_> = repository
        .faults()
        .map(|fault| fault_of(fault.error))
        .collect();
    listed.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(listed, expected);
    let got = paths.map(|path| repository.get(path).err().map(fault_of));
    assert_eq!(got.into_iter().flatten().collect::<Vec<_>>(), expected);
    let walked: Vec<_> = repository
        .records()
        .unwrap()
        .filter_map(Result::err)
        .map(|fault| fault_of(fault.error))
        .collect();
    assert_eq!(walked, expected);
}

#[test]
fn records_of_any_bytes_and_values_of_any_form_do_not_stop_the_tree() {
    // Not CBOR; raw; a value that cannot be verified, which a memory store does not accept.
    let not_cbor = Bytes::from_static(b"\xff\xff");
    let raw = Bytes::from_static(b"raw");
    let identity = Cid::try_from(b"\x01\x55\x00\x04four".as_slice()).unwrap();
    let map = BTreeMap::from([
        ("com.a.b/1".to_owned(), dag_cbor_cid(&not_cbor)),
        ("com.a.b/2".to_owned(), raw_cid(&raw)),
        ("com.a.b/3".to_owned(), identity),
        // Two paths to one block, and a path to a node.
        ("com.a.b/4".to_owned(), raw_cid(&raw)),
        ("com.a.b/5".to_owned(), Node::empty().cid()),
    ]);
    let (blocks, commit) = stored_tree(&map);
    blocks
        .put(&dag_cbor_cid(&not_cbor), not_cbor.clone())
        .unwrap();
    blocks.put(&raw_cid(&raw), raw.clone()).unwrap();
    blocks
        .put(&Node::empty().cid(), Node::empty().encode().into())
        .unwrap();
    let repository = Repository::open(&blocks, &commit.cid()).unwrap();
    let items: Vec<_> = repository.records().unwrap().collect();
    assert_eq!(items.iter().flatten().count(), 4);
    assert!(items[2].is_err());
    let got = repository.get("com.a.b/2").unwrap().unwrap();
    assert_eq!(*got.bytes(), raw);
    assert!(repository.get("com.a.b/3").is_err());
    let mut faults = repository.faults();
    assert_eq!(faults.by_ref().count(), 1);
    assert_eq!(faults.summary().records, 4);
}

// ---- Making repositories.

fn record(path: &str) -> (Cid, Bytes) {
    let block = Bytes::from([&[0x78, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat());
    (dag_cbor_cid(&block), block)
}

fn records_of(paths: &[&str]) -> BTreeMap<String, (Cid, Bytes)> {
    paths
        .iter()
        .map(|path| ((*path).to_owned(), record(path)))
        .collect()
}

fn stored(records: &BTreeMap<String, (Cid, Bytes)>) -> (MemoryBlockStore, Commit) {
    let map = records
        .iter()
        .map(|(path, (cid, _))| (path.clone(), *cid))
        .collect();
    let (blocks, commit) = stored_tree(&map);
    for (cid, block) in records.values() {
        blocks.put(cid, block.clone()).unwrap();
    }
    (blocks, commit)
}

fn stored_tree(map: &BTreeMap<String, Cid>) -> (MemoryBlockStore, Commit) {
    let blocks = MemoryBlockStore::new();
    let tree = build_tree(map);
    blocks.put_many(&tree.nodes).unwrap();
    let mut commit = Commit::unsigned(
        "did:plc:z72i7hdynmk6r22z27h6tvur",
        "3jzfcijpj2z2a".parse().unwrap(),
        tree.root,
    );
    commit.sig = vec![0; 64];
    blocks.put(&commit.cid(), commit.encode().into()).unwrap();
    (blocks, commit)
}

fn opened(records: &BTreeMap<String, (Cid, Bytes)>) -> Repository<MemoryBlockStore> {
    let (blocks, commit) = stored(records);
    Repository::open(blocks, &commit.cid()).unwrap()
}

// ---- Salvage.

#[test]
fn salvage_gives_every_record_that_can_be_reached_and_every_fault() {
    let sample = SampleRepository::generate(23, 80);
    let whole = sample.blocks();
    for missing in 2..whole.len() {
        let store = MemoryBlockStore::new();
        for (at, (cid, block)) in whole.iter().enumerate() {
            if at != missing {
                store.put(cid, block.clone()).unwrap();
            }
        }
        let repository = Repository::open(&store, &sample.commit.0).unwrap();
        let (mut paths, mut faults) = (Vec::new(), Vec::new());
        for item in repository.salvage() {
            match item {
                Salvaged::Record(record) => paths.push(record.path().to_owned()),
                Salvaged::Fault(fault) => faults.push(format!("{fault:#}")),
            }
        }
        let expected: Vec<String> = repository
            .faults()
            .map(|fault| format!("{fault:#}"))
            .collect();
        assert_eq!(faults, expected, "block {missing}");
        let records = repository.records().unwrap().flatten();
        let expected: Vec<String> = records.map(|record| record.path().to_owned()).collect();
        assert_eq!(paths, expected, "block {missing}");
    }
}

#[test]
fn salvage_without_a_tree_is_one_fault() {
    let sample = SampleRepository::generate(24, 5);
    let store = MemoryBlockStore::new();
    let (cid, block) = &sample.commit;
    store.put(cid, block.clone()).unwrap();
    let repository = Repository::open(&store, cid).unwrap();
    let items: Vec<_> = repository.salvage().collect();
    assert!(matches!(items.as_slice(), [Salvaged::Fault(_)]));
}

#[test]
fn the_collections_end_after_an_error() {
    let value = dag_cbor_cid(b"\xa0");
    let paths = ["com.a.b/0", "com.a.b.c"].map(|key| (key.to_owned(), value));
    let (blocks, commit) = stored_tree(&paths.into());
    let repository = Repository::open(&blocks, &commit.cid()).unwrap();
    let mut collections = repository.collections().unwrap();
    let errors = collections.by_ref().take(5).filter(Result::is_err).count();
    assert_eq!(errors, 1);
    assert!(collections.next().is_none());
}

#[test]
fn records_that_differ_in_anything_are_not_equal() {
    let record = |path: &str, block: &'static [u8]| {
        let value = dag_cbor_cid(block);
        let records = [(path.to_owned(), (value, Bytes::from_static(block)))];
        opened(&records.into()).get(path).unwrap().unwrap()
    };
    let one = record("com.a.b/1", b"\xa0");
    assert_eq!(one, record("com.a.b/1", b"\xa0"));
    assert_ne!(one, record("com.a.b/2", b"\xa0"));
    assert_ne!(one, record("com.a.b/1", b"\xa1\x61a\xf6"));
}
