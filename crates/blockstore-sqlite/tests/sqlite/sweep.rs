//! The danger: a sweep that deletes what is needed, leaves what is not, or uses all the memory.
//! It goes page by page through a table that changes meanwhile.

use std::collections::BTreeSet;

use blockstore_sqlite::{BlockStoreMut, Cid, SqliteBlockStore, StoreError};

use crate::support::{Folder, assert_holds, block, blocks, cids, fault};

/// More than two pages, less than three; a whole page; a page and one; and so on.
const COUNTS: [u64; 7] = [0, 1, 999, 1_000, 1_001, 2_000, 2_345];

#[test]
fn cids_are_all_listed_once_in_order() {
    for count in COUNTS {
        let store = SqliteBlockStore::in_memory().unwrap();
        let blocks = blocks(1, count);
        store.put_many(&blocks).unwrap();
        let listed: Vec<Cid> = store.cids().collect::<Result<_, _>>().unwrap();
        let mut expected = cids(&blocks);
        expected.sort_by_key(Cid::to_bytes);
        assert_eq!(listed, expected);
        assert_eq!(store.len().unwrap(), blocks.len());
        assert_eq!(store.is_empty().unwrap(), blocks.is_empty());
    }
}

#[test]
fn a_sweep_drops_what_is_refused_and_nothing_else() {
    for count in COUNTS {
        for keep_of_ten in [0, 1, 5, 9, 10] {
            let keep = |cid: &Cid| cid.hash().digest()[0] % 10 < keep_of_ten;
            let blocks = blocks(2, count);
            let (kept, refused): (Vec<_>, Vec<_>) =
                blocks.iter().cloned().partition(|(cid, _)| keep(cid));
            let swept = [
                SqliteBlockStore::in_memory().unwrap(),
                SqliteBlockStore::in_memory().unwrap(),
            ];
            for store in &swept {
                store.put_many(&blocks).unwrap();
                store.set_head("main", &block(2, 0).0).unwrap();
            }
            let mut asked = BTreeSet::new();
            let ask = |cid: &Cid| {
                assert!(asked.insert(cid.to_bytes()), "each is asked about once");
                keep(cid)
            };
            assert_eq!(swept[0].retain(ask).unwrap(), refused.len());
            assert_eq!(asked.len(), blocks.len());
            let inside = swept[1].transaction(|transaction| transaction.retain(keep));
            assert_eq!(inside.unwrap(), refused.len());
            for store in &swept {
                assert_holds(store, &kept);
                assert_eq!(store.len().unwrap(), kept.len());
                assert_eq!(
                    store.retain(keep).unwrap(),
                    0,
                    "a second sweep finds nothing"
                );
                assert_eq!(store.heads().unwrap().len(), 1, "heads are not blocks");
            }
        }
    }
}

#[test]
fn whoever_is_asked_may_look_into_the_store() {
    let folder = Folder::new();
    let store = folder.open();
    store.put_many(&blocks(3, 1_500)).unwrap();
    let short = |cid: &Cid, get: &dyn blockstore_sqlite::BlockStore| {
        get.get(cid).unwrap().is_some_and(|block| block.len() < 300)
    };
    let expected = blocks(3, 1_500)
        .iter()
        .filter(|(_, block)| block.len() >= 300)
        .count();
    let undone = store.transaction(|transaction| {
        let swept = transaction.retain(|cid| short(cid, transaction))?;
        assert_eq!(swept, expected);
        Err::<(), _>(StoreError::HashMismatch(block(3, 0).0))
    });
    assert!(undone.is_err());
    assert_eq!(store.len().unwrap(), 1_500);
    assert_eq!(store.retain(|cid| short(cid, &store)).unwrap(), expected);
    // A sweep in a sweep: foolish, but it neither waits for itself nor deletes what is needed.
    let inner = |_: &Cid| store.retain(|_| true).is_ok();
    assert_eq!(store.retain(inner).unwrap(), 0);
}

#[test]
fn a_sweep_that_panics_leaves_what_it_was_not_told_to_drop() {
    let folder = Folder::new();
    let store = folder.open();
    let blocks = blocks(4, 2_500);
    store.put_many(&blocks).unwrap();
    let mut asked = 0;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.retain(|_| {
            asked += 1;
            assert!(asked < 1_500, "this is a test");
            asked % 2 == 0
        })
    }));
    assert!(panicked.is_err());
    // The first page is done; of the second, nothing.
    assert_eq!(store.len().unwrap(), 2_000);
    assert_eq!(store.retain(|_| false).unwrap(), 2_000);
}

#[test]
fn a_sweep_lets_others_write_between_two_pages() {
    let folder = Folder::new();
    let (store, other) = (folder.open(), folder.open());
    let known = blocks(5, 2_500);
    store.put_many(&known).unwrap();
    let new = blocks(6, 100);
    let mut cids = other.cids();
    for cid in cids.by_ref().take(1_000) {
        cid.unwrap();
    }
    store.put_many(&new).unwrap();
    let rest = cids.count();
    assert!((1_500..=1_600).contains(&rest), "{rest}");

    let mut asked = 0;
    let mut others_turn = None;
    let swept = store.retain(|_| {
        asked += 1;
        if asked == 1_001 {
            // In the middle of a page nobody else can write, so a page is of one moment.
            let options = crate::support::impatient();
            let other = SqliteBlockStore::open_with(folder.database(), &options).unwrap();
            others_turn = Some(fault(other.delete_many(&[known[0].0])));
        }
        true
    });
    assert_eq!(swept.unwrap(), 0);
    assert_eq!(others_turn.unwrap(), "Busy");
    other.delete_many(&crate::support::cids(&known)).unwrap();
    assert_eq!(store.len().unwrap(), 100);
}
