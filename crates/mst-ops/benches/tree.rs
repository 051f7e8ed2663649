//! Reading, changing and building a tree of 100,000 entries: `cargo bench -p mst-ops`.

#![allow(
    clippy::indexing_slicing,
    reason = "the input is made up, and a panic in a benchmark is the report"
)]

use std::sync::LazyLock;

use blockstore_core::{BlockStoreMut, Bytes, Cid, MemoryBlockStore};
use divan::Bencher;
use divan::counter::ItemsCount;
use mst_ops::{
    Diff, NodeStore, NodeStoreOptions, NodeWalker, Operation, Prover, Tree, TreeBuilder, verify,
};
use mst_testkit::{BENCH_RECORDS, BENCH_SEED, Rng, SampleRepository};

fn main() {
    divan::main();
}

struct Input {
    blocks: MemoryBlockStore,
    root: Cid,
    /// Some of the keys, in random order.
    keys: Vec<String>,
    /// All entries, in random order.
    pairs: Vec<(String, Cid)>,
}

static TREE: LazyLock<Input> = LazyLock::new(|| {
    let sample = SampleRepository::generate(BENCH_SEED, BENCH_RECORDS);
    let blocks = MemoryBlockStore::new();
    let put = blocks.put_many(&sample.tree.nodes);
    put.expect("a made-up tree has the right CIDs");
    let mut keys: Vec<String> = sample.paths.keys().cloned().collect();
    Rng::new(BENCH_SEED).shuffle(&mut keys);
    let pairs = keys
        .iter()
        .map(|key| (key.clone(), sample.paths[key]))
        .collect();
    keys.truncate(20_000);
    Input {
        blocks,
        root: sample.tree.root,
        keys,
        pairs,
    }
});

fn options(cache_bytes: u64, trusted: bool) -> NodeStoreOptions {
    NodeStoreOptions {
        cache_bytes,
        trusted,
        ..NodeStoreOptions::default()
    }
}

fn walk_all(nodes: &NodeStore<&MemoryBlockStore>) -> usize {
    let entries = nodes.entries(&TREE.root);
    let entries = entries.expect("the tree has a root");
    entries
        .map(|entry| entry.expect("the tree is whole").key().len())
        .sum()
}

/// A node store whose cache has all nodes.
fn filled() -> NodeStore<&'static MemoryBlockStore> {
    let nodes = NodeStore::new(&TREE.blocks);
    // Step by step: an iterator over all entries adds nothing to the cache.
    let mut walker = NodeWalker::new(&nodes, &TREE.root).expect("the tree has a root");
    while walker.next_entry().expect("the tree is whole").is_some() {}
    nodes
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
    let nodes = filled();
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
    let nodes = filled();
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
    let nodes = filled();
    bencher.bench_local(|| {
        let walker = NodeWalker::new(&nodes, &TREE.root).expect("the tree has a root");
        walker.prefix(b"app.bsky.feed.repost/").count()
    });
}

/// 20,000 keys in random order, in a tree that was loaded.
#[divan::bench]
fn get_in_tree(bencher: Bencher) {
    let input = &*TREE;
    let nodes = NodeStore::new(&input.blocks);
    let tree = Tree::open(&nodes, &input.root).expect("the tree has a root");
    tree.verify().expect("the tree is whole");
    bencher
        .counter(ItemsCount::new(input.keys.len()))
        .bench_local(|| {
            for key in &input.keys {
                let value = tree.get(key.as_bytes());
                assert!(value.expect("the tree is whole").is_some());
            }
        });
}

/// All entries in random order into an empty tree, and the root.
#[divan::bench]
fn insert(bencher: Bencher) {
    let input = &*TREE;
    bencher.counter(ItemsCount::new(BENCH_RECORDS)).bench(|| {
        let mut tree = Tree::new();
        for (key, value) in &input.pairs {
            let previous = tree.insert(key.as_bytes(), value);
            assert!(previous.expect("nothing has to be loaded").is_none());
        }
        assert_eq!(tree.root(), input.root);
    });
}

/// 2,000 keys removed from a loaded tree and inserted again, with a flush each time: two commits
/// per key.
#[divan::bench]
fn commit(bencher: Bencher) {
    let input = &*TREE;
    let nodes = NodeStore::new(&input.blocks);
    let mut tree = Tree::open(&nodes, &input.root).expect("the tree has a root");
    tree.verify().expect("the tree is whole");
    let pairs = &input.pairs[..2_000];
    bencher
        .counter(ItemsCount::new(2 * pairs.len()))
        .bench_local(|| {
            for (key, value) in pairs {
                tree.remove(key.as_bytes()).expect("the tree is whole");
                let _ = divan::black_box(tree.flush());
                tree.insert(key.as_bytes(), value)
                    .expect("the tree is whole");
                let _ = divan::black_box(tree.flush());
            }
        });
}

/// The tree from its entries in key order.
#[divan::bench]
fn build(bencher: Bencher) {
    let input = &*TREE;
    let mut pairs = input.pairs.clone();
    pairs.sort();
    bencher.counter(ItemsCount::new(pairs.len())).bench(|| {
        let mut builder = TreeBuilder::new(|_, block| {
            divan::black_box(block);
            Ok(())
        });
        for (key, value) in &pairs {
            let pushed = builder.push(key.as_bytes(), value);
            pushed.expect("the keys ascend");
        }
        assert_eq!(
            builder.finish().expect("the sink does not fail"),
            input.root
        );
    });
}

/// Two trees that differ in 100 records, all nodes in the cache.
#[divan::bench]
fn diff(bencher: Bencher) {
    let input = &*TREE;
    let nodes = NodeStore::new(&input.blocks);
    let mut tree = Tree::open(&nodes, &input.root).expect("the tree has a root");
    for (key, value) in &input.pairs[..100] {
        let key = key.as_bytes();
        tree.remove(key).expect("the tree is whole");
        if key.len() % 2 == 0 {
            let key = [key, b"a"].concat();
            tree.insert(&key, value).expect("the tree is whole");
        }
    }
    let changes = tree.flush();
    let put = input.blocks.put_many(&changes.new);
    put.expect("a tree has the right CIDs");
    bencher.bench_local(|| {
        let diff = Diff::new(&nodes, &input.root, &nodes, &changes.root);
        diff.expect("both trees are whole").count()
    });
}

/// The same, with no node in a cache.
#[divan::bench]
fn diff_cold(bencher: Bencher) {
    let input = &*TREE;
    let nodes = NodeStore::new(&input.blocks);
    let mut tree = Tree::open(&nodes, &input.root).expect("the tree has a root");
    for (key, _) in &input.pairs[..100] {
        tree.remove(key.as_bytes()).expect("the tree is whole");
    }
    let changes = tree.flush();
    let put = input.blocks.put_many(&changes.new);
    put.expect("a tree has the right CIDs");
    bencher.bench_local(|| {
        let nodes = NodeStore::new(&input.blocks);
        let diff = Diff::new(&nodes, &input.root, &nodes, &changes.root);
        diff.expect("both trees are whole").count()
    });
}

/// A commit of 1 to 5 operations on the tree, as a producer and a receiver of the firehose see
/// it.
struct Commit {
    root: Cid,
    operations: Vec<Operation>,
    /// The new nodes, and those that cover the operations.
    blocks: Vec<(Cid, Bytes)>,
}

/// 200 commits, each on the same tree.
static COMMITS: LazyLock<Vec<Commit>> = LazyLock::new(|| {
    let input = &*TREE;
    let nodes = NodeStore::new(&input.blocks);
    let tree = Tree::open(&nodes, &input.root).expect("the tree has a root");
    let mut rng = Rng::new(BENCH_SEED);
    let mut pairs = input.pairs.iter().cycle();
    let commits = (0..200).map(|_| {
        let mut tree = tree.clone();
        let mut operations = Vec::new();
        for (path, value) in pairs.by_ref().take(1 + rng.below(5)) {
            // Mostly a new key beside an old one, now and then a deletion.
            let (key, new) = match rng.below(4) {
                0 => (path.clone(), None),
                _ => (format!("{path}a"), Some(*value)),
            };
            let old = match new {
                Some(value) => tree.insert(key.as_bytes(), &value),
                None => tree.remove(key.as_bytes()),
            };
            operations.push(Operation {
                key: key.into_bytes(),
                old: old.expect("the tree is whole"),
                new,
            });
        }
        let changes = tree.flush();
        let put = input.blocks.put_many(&changes.new);
        put.expect("a tree has the right CIDs");
        let mut commit = Commit {
            root: changes.root,
            operations,
            blocks: changes.new,
        };
        let cover = cover(&nodes, &commit);
        let new = commit.blocks.len();
        for (cid, block) in cover {
            if commit.blocks[..new].iter().all(|(other, _)| *other != cid) {
                commit.blocks.push((cid, block));
            }
        }
        commit
    });
    commits.collect()
});

fn cover(nodes: &NodeStore<&MemoryBlockStore>, commit: &Commit) -> Vec<(Cid, Bytes)> {
    let mut prover = Prover::new(nodes, &commit.root).expect("the tree is whole");
    for operation in &commit.operations {
        let covered = prover.cover(&operation.key);
        covered.expect("the tree is whole");
    }
    prover.finish().blocks
}

/// The blocks that cover the operations of 200 commits, all nodes in the cache.
#[divan::bench]
fn prove_commits(bencher: Bencher) {
    let nodes = NodeStore::new(&TREE.blocks);
    let commits = &*COMMITS;
    bencher
        .counter(ItemsCount::new(commits.len()))
        .bench_local(|| {
            for commit in commits {
                divan::black_box(cover(&nodes, commit));
            }
        });
}

/// 200 commits checked by inversion: from blocks, each hashed, to the previous root.
#[divan::bench]
fn invert_commits(bencher: Bencher) {
    let commits = &*COMMITS;
    bencher
        .counter(ItemsCount::new(commits.len()))
        .bench_local(|| {
            for commit in commits {
                let blocks = MemoryBlockStore::new();
                let put = blocks.put_many(&commit.blocks);
                put.expect("a tree has the right CIDs");
                let nodes = NodeStore::with_options(blocks, options(0, false));
                let tree = Tree::open(&nodes, &commit.root).expect("the root is there");
                let root = tree.invert(&commit.operations);
                assert_eq!(root.expect("no node is missing"), TREE.root);
            }
        });
}

/// The same from a tree in memory.
#[divan::bench]
fn cover_commits(bencher: Bencher) {
    let nodes = NodeStore::new(&TREE.blocks);
    let trees: Vec<_> = COMMITS
        .iter()
        .map(|commit| Tree::open(&nodes, &commit.root).expect("the tree has a root"))
        .collect();
    let cover = |(tree, commit): (&Tree<_>, &Commit)| {
        let keys = commit.operations.iter();
        let cover = tree.cover(keys.map(|operation| operation.key.as_slice()));
        cover.expect("the tree is whole")
    };
    bencher
        .counter(ItemsCount::new(trees.len()))
        .bench_local(|| {
            for commit in trees.iter().zip(&*COMMITS) {
                divan::black_box(cover(commit));
            }
        });
}
