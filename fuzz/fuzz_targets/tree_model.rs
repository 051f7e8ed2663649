//! Any sequence of changes to a tree, some of it in memory and some in a store with gaps: its
//! contents, its root and the blocks it returns are those of a rebuilt tree, and a change
//! for which a block is missing leaves it as it was.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, dag_cbor_cid};
use libfuzzer_sys::fuzz_target;
use mst_ops::{Error, NodeStore, NodeStoreOptions, Tree, TreeBuilder, verify};
use mst_testkit::key_of_height;

/// 64 keys of heights 0 to 5.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let heights = [0, 1, 0, 2, 0, 3, 1, 0, 5, 0, 1, 2, 0, 1, 0, 4];
    let keys = (0..64).map(|n| key_of_height(&format!("k{n:02}/"), heights[n % heights.len()]));
    keys.collect()
});

static VALUES: LazyLock<[Cid; 3]> = LazyLock::new(|| {
    let cid = dag_cbor_cid(b"\xa0");
    [
        cid,
        dag_cbor_cid(b"\x80"),
        Cid::new_v0(*cid.hash()).unwrap(),
    ]
});

type Map = BTreeMap<&'static str, Cid>;

/// A tree as it should be: its root and its blocks.
type Blocks = (Cid, BTreeMap<Cid, Bytes>);

fuzz_target!(|program: &[u8]| {
    let blocks = MemoryBlockStore::new();
    let nodes = NodeStore::with_options(&blocks, NodeStoreOptions::uncached());

    let mut tree = Tree::empty(&nodes);
    let (mut map, mut saved) = (Map::new(), BTreeMap::new());
    let mut missing = None;
    let mut other = (tree.clone(), map.clone(), saved.clone());
    for step in program.chunks_exact(2) {
        let key: &'static str = &KEYS[usize::from(step[1]) % KEYS.len()];
        match step[0] % 16 {
            kind @ 0..=10 => {
                let value = (kind < 6).then(|| VALUES[usize::from(step[1]) / KEYS.len() % 3]);
                let previous = change(&mut tree, key, value, |tree, cid| {
                    // Only what was removed is missing, and nothing has changed.
                    let (of, block): (Cid, Bytes) = missing.take().unwrap();
                    assert_eq!(cid, of);
                    assert_eq!(tree.root(), build(&map).0);
                    blocks.put(&of, block).unwrap();
                });
                let expected = match value {
                    Some(value) => map.insert(key, value),
                    None => map.remove(key),
                };
                assert_eq!(previous, expected);
            }
            11 => assert_eq!(tree.root(), build(&map).0),
            12 => flush(&mut tree, &map, &mut saved, &blocks),
            13 => {
                flush(&mut tree, &map, &mut saved, &blocks);
                if let Some((cid, block)) = missing.take() {
                    blocks.put(&cid, block).unwrap();
                }
                tree = Tree::open(&nodes, &tree.root()).unwrap();
                // Something below the top is missing until it is requested.
                let below = saved.keys().filter(|cid| **cid != tree.root());
                let count = saved.len();
                if let Some(cid) = below.cycle().take(count).nth(usize::from(step[1]) % count) {
                    missing = blocks.get(cid).unwrap().map(|block| (*cid, block));
                    blocks.delete(cid).unwrap();
                }
            }
            14 => match tree.get(key.as_bytes()) {
                Ok(value) => assert_eq!(value, map.get(key).copied()),
                Err(error) => assert_eq!(error.cid(), missing.as_ref().map(|(cid, _)| *cid)),
            },
            _ => {
                // The other tree's turn, or a copy of this one instead.
                if step[1] % 4 == 0 {
                    other = (tree.clone(), map.clone(), saved.clone());
                } else {
                    std::mem::swap(&mut tree, &mut other.0);
                    std::mem::swap(&mut map, &mut other.1);
                    std::mem::swap(&mut saved, &mut other.2);
                }
            }
        }
    }

    if let Some((cid, block)) = missing {
        blocks.put(&cid, block).unwrap();
    }
    let entries = map.iter().map(|(key, value)| (key.as_bytes(), *value));
    assert!(tree.entries().map(Result::unwrap).eq(entries));
    flush(&mut tree, &map, &mut saved, &blocks);
    let summary = tree.verify().unwrap();
    assert_eq!(summary, verify(&nodes, &tree.root()).unwrap());
    assert_eq!(summary.nodes, saved.len() as u64);
});

/// Changes the value of `key`, and makes `fetch` get the block if one is missing.
fn change<'n>(
    tree: &mut Tree<&'n NodeStore<&'n MemoryBlockStore>>,
    key: &str,
    value: Option<Cid>,
    mut fetch: impl FnMut(&Tree<&'n NodeStore<&'n MemoryBlockStore>>, Cid),
) -> Option<Cid> {
    loop {
        let changed = match value {
            Some(value) => tree.insert(key.as_bytes(), &value),
            None => tree.remove(key.as_bytes()),
        };
        match changed {
            Ok(previous) => return previous,
            Err(Error::MissingBlock(cid)) => fetch(tree, cid),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Stores what changed, which must be the difference from what was `saved` before.
fn flush(
    tree: &mut Tree<&NodeStore<&MemoryBlockStore>>,
    map: &Map,
    saved: &mut BTreeMap<Cid, Bytes>,
    blocks: &MemoryBlockStore,
) {
    let changes = tree.flush();
    let (root, now) = build(map);
    assert_eq!(changes.root, root);
    let new: BTreeMap<Cid, Bytes> = changes.new.iter().cloned().collect();
    assert_eq!(new.len(), changes.new.len());
    let expected = now.iter().filter(|(cid, _)| !saved.contains_key(cid));
    assert!(new.iter().eq(expected));
    let removed: BTreeSet<Cid> = changes.removed.iter().copied().collect();
    assert_eq!(removed.len(), changes.removed.len());
    assert!(
        removed
            .iter()
            .eq(saved.keys().filter(|cid| !now.contains_key(cid)))
    );
    blocks.put_many(&changes.new).unwrap();
    *saved = now;
}

fn build(map: &Map) -> Blocks {
    let mut blocks = BTreeMap::new();
    let mut builder = TreeBuilder::new(|cid, block| {
        assert_eq!(blocks.insert(cid, block), None);
        Ok(())
    });
    for (key, value) in map {
        builder.push(key.as_bytes(), value).unwrap();
    }
    (builder.finish().unwrap(), blocks)
}
