//! Reading a tree of 100,000 entries: `cargo bench -p mst-ops`.

use std::sync::LazyLock;

use blockstore_core::{BlockStoreMut, Cid, MemoryBlockStore};
use divan::Bencher;
use divan::counter::ItemsCount;
use mst_ops::{NodeStore, NodeStoreOptions, NodeWalker, verify};
use mst_testkit::{BENCH_RECORDS, BENCH_SEED, Rng, SampleRepository};

fn main() {
    divan::main();
}

struct Tree {
    blocks: MemoryBlockStore,
    root: Cid,
    /// Some of the keys, in random order.
    keys: Vec<String>,
}

static TREE: LazyLock<Tree> = LazyLock::new(|| {
    let sample = SampleRepository::generate(BENCH_SEED, BENCH_RECORDS);
    let blocks = MemoryBlockStore::new();
    let put = blocks.put_many(&sample.tree.nodes);
    put.expect("a made-up tree has the right CIDs");
    let mut keys: Vec<String> = sample.paths.into_keys().collect();
    Rng::new(BENCH_SEED).shuffle(&mut keys);
    keys.truncate(20_000);
    Tree {
        blocks,
        root: sample.tree.root,
        keys,
    }
});

fn options(cache_bytes: u64, trusted: bool) -> NodeStoreOptions {
    let mut options = NodeStoreOptions::default();
    options.cache_bytes = cache_bytes;
    options.trusted = trusted;
    options
}

fn walk_all(nodes: &NodeStore<&MemoryBlockStore>) -> usize {
    let entries = nodes.entries(&TREE.root);
    let entries = entries.expect("the tree has a root");
    entries
        .map(|entry| entry.expect("the tree is whole").key().len())
        .sum()
}

/// All entries, every node decoded and checked.
#[divan::bench]
fn walk(bencher: Bencher) {
    let tree = &*TREE;
    bencher
        .counter(ItemsCount::new(BENCH_RECORDS))
        .bench(|| walk_all(&NodeStore::with_options(&tree.blocks, options(0, false))));
}

/// All entries, every node decoded, none checked.
#[divan::bench]
fn walk_trusted(bencher: Bencher) {
    let tree = &*TREE;
    bencher
        .counter(ItemsCount::new(BENCH_RECORDS))
        .bench(|| walk_all(&NodeStore::with_options(&tree.blocks, options(0, true))));
}

/// All entries, all nodes in the cache.
#[divan::bench]
fn walk_cached(bencher: Bencher) {
    let nodes = NodeStore::new(&TREE.blocks);
    walk_all(&nodes);
    bencher
        .counter(ItemsCount::new(BENCH_RECORDS))
        .bench_local(|| walk_all(&nodes));
}

#[divan::bench]
fn verify_all(bencher: Bencher) {
    let tree = &*TREE;
    bencher.counter(ItemsCount::new(BENCH_RECORDS)).bench(|| {
        let nodes = NodeStore::with_options(&tree.blocks, options(0, false));
        verify(&nodes, &tree.root).expect("the tree is canonical")
    });
}

/// 20,000 keys in random order, all nodes in the cache.
#[divan::bench]
fn get_cached(bencher: Bencher) {
    let tree = &*TREE;
    let nodes = NodeStore::new(&tree.blocks);
    walk_all(&nodes);
    bencher
        .counter(ItemsCount::new(tree.keys.len()))
        .bench_local(|| {
            for key in &tree.keys {
                let value = nodes.get(&tree.root, key.as_bytes());
                assert!(value.expect("the tree is whole").is_some());
            }
        });
}

/// One collection of the four, from its first record to its last.
#[divan::bench]
fn list_collection(bencher: Bencher) {
    let nodes = NodeStore::new(&TREE.blocks);
    walk_all(&nodes);
    bencher.bench_local(|| {
        let walker = NodeWalker::new(&nodes, &TREE.root).expect("the tree has a root");
        walker.prefix(b"app.bsky.feed.repost/").count()
    });
}
