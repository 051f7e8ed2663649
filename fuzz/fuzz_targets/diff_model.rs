//! Any two trees over some keys, in one store or two: their difference is what the obvious way
//! finds, no node is read that both have, and if a node is missing, an error names it, or it was
//! not needed.
#![no_main]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid, raw_cid,
};
use libfuzzer_sys::fuzz_target;
use mst_ops::{Diff, Error, NodeStore, NodeStoreOptions, Operation};
use mst_testkit::{SampleTree, build_tree, key_of_height};

/// 64 keys of heights 0 to 5, so that there are levels without keys too.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let heights = [0, 1, 0, 2, 0, 3, 1, 0, 5, 0, 1, 2, 0, 1, 0, 4];
    let keys = (0..64).map(|n| key_of_height(&format!("k{n:02}/"), heights[n % heights.len()]));
    keys.collect()
});

static VALUES: LazyLock<[Cid; 3]> = LazyLock::new(|| {
    let cid = dag_cbor_cid(b"\xa0");
    [cid, raw_cid(b"\xa0"), Cid::new_v0(*cid.hash()).unwrap()]
});

type Map = BTreeMap<String, Cid>;

fuzz_target!(|program: &[u8]| {
    let Some(([kind, which], steps)) = program.split_first_chunk() else {
        return;
    };
    let (mut old, mut new) = (Map::new(), Map::new());
    for [key, values] in steps.as_chunks().0 {
        let key = &KEYS[usize::from(*key) % KEYS.len()];
        for (map, value) in [(&mut old, values & 3), (&mut new, values >> 2 & 3)] {
            match VALUES.get(usize::from(value)) {
                Some(value) => map.insert(key.clone(), *value),
                None => map.remove(key),
            };
        }
    }
    let (old_tree, new_tree) = (build_tree(&old), build_tree(&new));
    let (before, after) = (cids(&old_tree), cids(&new_tree));
    let expected = Expected {
        created: after.difference(&before).copied().collect(),
        deleted: before.difference(&after).copied().collect(),
        operations: operations(&old, &new),
    };

    let options = NodeStoreOptions {
        cache_bytes: [0, 2_000, 1 << 20, 1 << 20][usize::from(kind & 3)],
        trusted: kind & 4 != 0,
        ..NodeStoreOptions::default()
    };
    let blocks = [Watched::new(&old_tree), Watched::new(&new_tree)];
    if kind & 8 == 0 {
        let old_nodes = NodeStore::with_options(&blocks[0], options);
        let new_nodes = NodeStore::with_options(&blocks[1], options);
        let found = compare(&old_nodes, &old_tree.root, &new_nodes, &new_tree.root);
        assert_eq!(found.unwrap(), expected);
        let roots = [old_tree.root, new_tree.root];
        for (blocks, own) in [
            (&blocks[0], &expected.deleted),
            (&blocks[1], &expected.created),
        ] {
            let asked = blocks.asked.borrow();
            assert!(
                asked
                    .iter()
                    .all(|cid| own.contains(cid) || roots.contains(cid))
            );
            assert!(own.iter().all(|cid| asked.contains(cid)));
        }
    } else {
        let both = &blocks[0].blocks;
        both.put_many(&new_tree.nodes).unwrap();
        // One node is missing: of those that differ, or of those that both have.
        let all: Vec<Cid> = before.union(&after).copied().collect();
        let gone = all[usize::from(*which) % all.len()];
        both.delete(&gone).unwrap();
        let nodes = NodeStore::with_options(both, options);
        match compare(&nodes, &old_tree.root, &nodes, &new_tree.root) {
            Ok(found) => {
                assert_eq!(found, expected);
                assert!(!expected.created.contains(&gone) && !expected.deleted.contains(&gone));
            }
            Err(Error::MissingBlock(cid)) => assert_eq!(cid, gone),
            Err(error) => panic!("{error}"),
        }
    }
});

#[derive(Debug, PartialEq)]
struct Expected {
    created: BTreeSet<Cid>,
    deleted: BTreeSet<Cid>,
    operations: Vec<Operation>,
}

fn compare<A: BlockStore, B: BlockStore>(
    old_nodes: &NodeStore<A>,
    old: &Cid,
    new_nodes: &NodeStore<B>,
    new: &Cid,
) -> Result<Expected, Error> {
    let diff = Diff::new(old_nodes, old, new_nodes, new)?;
    let [created, deleted] = [diff.created(), diff.deleted()].map(|cids| {
        let set: BTreeSet<Cid> = cids.iter().copied().collect();
        assert_eq!(set.len(), cids.len());
        set
    });
    Ok(Expected {
        created,
        deleted,
        operations: diff.collect(),
    })
}

/// The operations from one map to another, the obvious way.
fn operations(old: &Map, new: &Map) -> Vec<Operation> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let operations = keys.into_iter().map(|key| Operation {
        key: key.as_bytes().to_vec(),
        old: old.get(key).copied(),
        new: new.get(key).copied(),
    });
    operations
        .filter(|operation| operation.old != operation.new)
        .collect()
}

fn cids(tree: &SampleTree) -> BTreeSet<Cid> {
    tree.nodes.iter().map(|(cid, _)| *cid).collect()
}

/// Records what is requested.
struct Watched {
    blocks: MemoryBlockStore,
    asked: RefCell<BTreeSet<Cid>>,
}

impl Watched {
    fn new(tree: &SampleTree) -> Self {
        let blocks = MemoryBlockStore::new();
        blocks.put_many(&tree.nodes).unwrap();
        Self {
            blocks,
            asked: RefCell::default(),
        }
    }
}

impl BlockStore for Watched {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.asked.borrow_mut().insert(*cid);
        self.blocks.get(cid)
    }
}
