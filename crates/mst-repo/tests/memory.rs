//! The danger: a small file that takes all the memory there is. Keys may share a value, so a
//! node of some hundred kilobytes can name one large block thousands of times; fetching all the
//! records of a node at once holds as many copies of it.
//!
//! It is in a file of its own, because it measures the peak memory of the process.

#![allow(
    clippy::unwrap_used,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::BTreeMap;

use blockstore_car::{CarBlockStore, CarWriter};
use blockstore_core::{Cid, dag_cbor_cid};
use mst_repo::{Commit, Repository};
use mst_testkit::{build_tree, key_of_height, peak_memory};

#[test]
fn many_paths_to_one_large_record_take_no_more_memory_than_one() {
    let Some(before) = peak_memory() else {
        return;
    };
    let record = vec![0x40; 1 << 20];
    let record_cid = dag_cbor_cid(&record);
    let path = |n| key_of_height(&format!("com.a.b/{n:03}-"), 0);
    let map: BTreeMap<String, Cid> = (0..400).map(|n| (path(n), record_cid)).collect();
    let tree = build_tree(&map);
    assert_eq!(tree.nodes.len(), 1);
    let mut commit = Commit::unsigned("did:plc:abc", "3jzfcijpj2z2a".parse().unwrap(), tree.root);
    commit.sig = vec![0; 64];

    let mut writer = CarWriter::new(Vec::new(), &[commit.cid()]).unwrap();
    writer.write_block(&commit.cid(), &commit.encode()).unwrap();
    writer
        .write_block(&tree.root, &tree.nodes.first().unwrap().1)
        .unwrap();
    writer.write_block(&record_cid, &record).unwrap();
    let path = std::env::temp_dir().join(format!("mst-repo-memory-{}.car", std::process::id()));
    std::fs::write(&path, writer.finish().unwrap()).unwrap();

    let car = CarBlockStore::open(&path).unwrap();
    let repository = Repository::open(car, &commit.cid()).unwrap();
    assert_eq!(repository.records().unwrap().flatten().count(), 400);
    let records = peak_memory().unwrap();
    assert_eq!(repository.verify().unwrap().records, 400);
    let verified = peak_memory().unwrap();
    std::fs::remove_file(&path).unwrap();
    // 400 MiB if all were held at once.
    let (records, verified) = ((records - before) >> 20, (verified - before) >> 20);
    assert!(
        records < 32 && verified < 32,
        "{records} MiB, then {verified} MiB"
    );
}
