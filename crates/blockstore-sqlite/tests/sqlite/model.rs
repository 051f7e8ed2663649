//! The danger: a store that agrees with itself. Whatever is done to it, in transactions that
//! are committed and in others that are not, it must hold what a map would.

use std::collections::{BTreeMap, HashMap};

use blockstore_sqlite::{BlockStore, BlockStoreMut, Bytes, Cid, SqliteBlockStore, StoreError};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::{Folder, block, blocks};

#[derive(Debug, Clone)]
enum Change {
    Put(u64),
    PutMany(Vec<u64>),
    PutWrong(u64),
    Delete(u64),
    DeleteMany(Vec<u64>),
    Retain(u8),
    SetHead(u8, u64),
    DeleteHead(u8),
}

#[derive(Debug, Clone)]
enum Step {
    Change(Change),
    /// A transaction of these, and whether it is committed.
    Transaction(Vec<Change>, bool),
    Get(Vec<Index>),
    Reopen,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    blocks: HashMap<Cid, Bytes>,
    heads: BTreeMap<String, Cid>,
}

/// So few that they collide.
const BLOCKS: u64 = 40;

fn change() -> impl Strategy<Value = Change> {
    let many = || prop::collection::vec(0..BLOCKS, 0..12);
    prop_oneof![
        4 => (0..BLOCKS).prop_map(Change::Put),
        4 => many().prop_map(Change::PutMany),
        1 => (0..BLOCKS).prop_map(Change::PutWrong),
        2 => (0..BLOCKS).prop_map(Change::Delete),
        1 => many().prop_map(Change::DeleteMany),
        1 => any::<u8>().prop_map(Change::Retain),
        2 => (0..3u8, 0..BLOCKS).prop_map(|(name, cid)| Change::SetHead(name, cid)),
        1 => (0..3u8).prop_map(Change::DeleteHead),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => change().prop_map(Step::Change),
        2 => (prop::collection::vec(change(), 0..8), any::<bool>())
            .prop_map(|(changes, commit)| Step::Transaction(changes, commit)),
        2 => prop::collection::vec(any::<Index>(), 0..20).prop_map(Step::Get),
        1 => Just(Step::Reopen),
    ]
}

/// What can be done both to a store and to a transaction.
trait Target: BlockStoreMut {
    fn retain(&self, keep: impl FnMut(&Cid) -> bool) -> Result<usize, StoreError>;
    fn set_head(&self, name: &str, cid: &Cid) -> Result<(), StoreError>;
    fn delete_head(&self, name: &str) -> Result<(), StoreError>;
}

macro_rules! target {
    ($($store:ty),*) => {$(
        impl Target for $store {
            fn retain(&self, keep: impl FnMut(&Cid) -> bool) -> Result<usize, StoreError> {
                self.retain(keep)
            }
            fn set_head(&self, name: &str, cid: &Cid) -> Result<(), StoreError> {
                self.set_head(name, cid)
            }
            fn delete_head(&self, name: &str) -> Result<(), StoreError> {
                self.delete_head(name)
            }
        }
    )*};
}

target!(SqliteBlockStore, blockstore_sqlite::SqliteTransaction<'_>);

fn numbered(number: u64) -> (Cid, Bytes) {
    block(77, number)
}

fn apply(change: &Change, store: &impl Target, model: &mut Model) {
    match change {
        Change::Put(number) => {
            let (cid, block) = numbered(*number);
            store.put(&cid, block.clone()).unwrap();
            model.blocks.insert(cid, block);
        }
        Change::PutMany(numbers) => {
            let blocks: Vec<_> = numbers.iter().copied().map(numbered).collect();
            store.put_many(&blocks).unwrap();
            model.blocks.extend(blocks);
        }
        Change::PutWrong(number) => {
            let (cid, _) = numbered(*number);
            let (good, block) = numbered(number + 1);
            let refused = store.put_many(&[(good, block.clone()), (cid, block)]);
            assert!(matches!(refused, Err(StoreError::HashMismatch(of)) if of == cid));
        }
        Change::Delete(number) => {
            let (cid, _) = numbered(*number);
            store.delete(&cid).unwrap();
            model.blocks.remove(&cid);
        }
        Change::DeleteMany(numbers) => {
            let cids: Vec<Cid> = numbers.iter().map(|n| numbered(*n).0).collect();
            store.delete_many(&cids).unwrap();
            model.blocks.retain(|cid, _| !cids.contains(cid));
        }
        Change::Retain(below) => {
            let keep = |cid: &Cid| cid.hash().digest()[0] <= *below;
            let before = model.blocks.len();
            model.blocks.retain(|cid, _| keep(cid));
            let swept = store.retain(keep).unwrap();
            assert_eq!(swept, before - model.blocks.len());
        }
        Change::SetHead(name, number) => {
            let (cid, _) = numbered(*number);
            store.set_head(&name.to_string(), &cid).unwrap();
            model.heads.insert(name.to_string(), cid);
        }
        Change::DeleteHead(name) => {
            store.delete_head(&name.to_string()).unwrap();
            model.heads.remove(&name.to_string());
        }
    }
}

fn assert_same(store: &SqliteBlockStore, model: &Model) {
    let cids: Vec<Cid> = store.cids().collect::<Result<_, _>>().unwrap();
    let blocks = store.get_many(&cids).unwrap();
    let found = cids.into_iter().zip(blocks.into_iter().map(Option::unwrap));
    let heads = store.heads().unwrap().into_iter();
    let found = Model {
        blocks: found.collect(),
        heads: heads.collect(),
    };
    assert_eq!(&found, model);
    assert_eq!(store.len().unwrap(), model.blocks.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_store_holds_what_a_map_would(steps in prop::collection::vec(step(), 1..40)) {
        let folder = Folder::new();
        let mut store = folder.open();
        let mut model = Model::default();
        let all = blocks(77, BLOCKS);
        for step in steps {
            match step {
                Step::Change(change) => apply(&change, &store, &mut model),
                Step::Transaction(changes, commit) => {
                    let mut changed = model.clone();
                    let result = store.transaction(|transaction| {
                        for change in &changes {
                            apply(change, transaction, &mut changed);
                        }
                        if commit {
                            return Ok(());
                        }
                        Err(StoreError::HashMismatch(all[0].0))
                    });
                    prop_assert_eq!(result.is_ok(), commit);
                    if commit {
                        model = changed;
                    }
                }
                Step::Get(which) => {
                    let cids: Vec<Cid> = which.iter().map(|index| index.get(&all).0).collect();
                    let expected: Vec<Option<Bytes>> =
                        cids.iter().map(|cid| model.blocks.get(cid).cloned()).collect();
                    prop_assert_eq!(&store.get_many(&cids).unwrap(), &expected);
                    for (cid, expected) in cids.iter().zip(expected) {
                        prop_assert_eq!(store.has(cid).unwrap(), expected.is_some());
                        prop_assert_eq!(store.get(cid).unwrap(), expected);
                    }
                }
                Step::Reopen => {
                    drop(store);
                    store = folder.open();
                }
            }
            assert_same(&store, &model);
        }
    }
}
