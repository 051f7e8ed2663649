//! The danger: a tree that is right after most changes. A split or a merge that goes through
//! empty nodes loses a subtree, a top without keys remains, a change undone leaves a trace; and the
//! blocks returned are not quite those that a reader will need.
//!
//! So random changes are made to a tree and to a `BTreeMap`, and after every step the tree must
//! have the map's contents and the root of a tree built from them the obvious way; and every
//! flush must return exactly what the obvious tree has gained and lost.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use blockstore_core::{BlockStoreMut, Cid, MemoryBlockStore, dag_cbor_cid};
use blockstore_sqlite::{SqliteBlockStore, SqliteOptions, Synchronous};
use mst_ops::{NodeStore, NodeWrangler, Tree, verify};
use mst_testkit::{build_tree, key_of_height};
use proptest::prelude::*;
use proptest::sample::Index;

type Map = BTreeMap<String, Cid>;

/// Keys of many heights, so that small trees have all shapes: neighbours far apart in height,
/// empty nodes in chains, keys that share more than 255 bytes.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let long = "l".repeat(300);
    let mut keys = Vec::new();
    for (height, count) in [(0, 14), (1, 8), (2, 6), (3, 4), (4, 3), (6, 2)] {
        for n in 0..count {
            // Spread over the alphabet in an order that is independent of height.
            let letter = char::from(b'a' + (n * 11 + height * 7) % 26);
            keys.push(key_of_height(&format!("{letter}/{n}"), height));
        }
    }
    for height in [0, 0, 1, 2, 4] {
        let prefix = format!("{long}{}", keys.len());
        keys.push(key_of_height(&prefix, height));
    }
    keys
});

static VALUES: LazyLock<Vec<Cid>> = LazyLock::new(|| {
    let raw = blockstore_core::raw_cid(b"a value that is raw");
    // A value may be any CID at all: here one of version 0, and so of another length.
    let other = "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"
        .parse()
        .unwrap();
    vec![dag_cbor_cid(b"\xa0"), raw, other]
});

#[derive(Debug, Clone)]
enum Step {
    Insert(Index, Index),
    Remove(Index),
    /// Removes all keys but one, so that the tree collapses.
    RemoveAllBut(Index),
    Flush,
    /// Opens the tree from its store again, with the same cache of nodes or without.
    Reopen {
        fresh: bool,
    },
    /// Changes a clone, and forgets it.
    Fork(Vec<(Index, Index)>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => any::<(Index, Index)>().prop_map(|(key, value)| Step::Insert(key, value)),
        6 => any::<Index>().prop_map(Step::Remove),
        1 => any::<Index>().prop_map(Step::RemoveAllBut),
        2 => Just(Step::Flush),
        3 => any::<bool>().prop_map(|fresh| Step::Reopen { fresh }),
        1 => prop::collection::vec(any::<(Index, Index)>(), 1..6).prop_map(Step::Fork),
    ];
    prop::collection::vec(step, 1..60)
}

/// A store that is full of changes, and what it must hold.
struct Model<S> {
    blocks: S,
    nodes: Arc<NodeStore<S>>,
    tree: Tree<Arc<NodeStore<S>>>,
    map: Map,
    /// The nodes of the tree at its last flush; none before the first.
    flushed: Option<BTreeSet<Cid>>,
}

impl<S: BlockStoreMut + Clone> Model<S> {
    fn new(blocks: S) -> Self {
        let nodes = Arc::new(NodeStore::new(blocks.clone()));
        Self {
            tree: Tree::empty(Arc::clone(&nodes)),
            blocks,
            nodes,
            map: Map::new(),
            flushed: None,
        }
    }

    /// Takes `step` and checks the tree: as a whole, or, where that would load all of it
    /// and hide that a change has not loaded what it needs, only its root.
    fn take(&mut self, step: &Step, whole: bool) {
        match step {
            Step::Insert(key, value) => {
                let (key, value) = (key.get(&KEYS), value.get(&VALUES));
                let previous = self.tree.insert(key.as_bytes(), value).unwrap();
                assert_eq!(previous, self.map.insert(key.clone(), *value));
            }
            Step::Remove(key) => self.remove(key.get::<String>(&KEYS)),
            Step::RemoveAllBut(kept) => {
                let kept = kept.get(&KEYS);
                let keys: Vec<_> = self
                    .map
                    .keys()
                    .filter(|key| *key != kept)
                    .cloned()
                    .collect();
                for key in keys {
                    self.remove(&key);
                }
            }
            Step::Flush => self.flush(),
            Step::Reopen { fresh } => {
                self.flush();
                if *fresh {
                    self.nodes = Arc::new(NodeStore::new(self.blocks.clone()));
                }
                let root = self.tree.root();
                self.tree = Tree::open(Arc::clone(&self.nodes), &root).unwrap();
            }
            Step::Fork(changes) => {
                let mut fork = self.tree.clone();
                for (key, value) in changes {
                    let key = key.get(&KEYS).as_bytes();
                    if fork.remove(key).unwrap().is_none() {
                        fork.insert(key, value.get(&VALUES)).unwrap();
                    }
                }
                let _ = fork.flush();
                if whole {
                    fork.verify().unwrap();
                }
            }
        }
        assert_eq!(self.tree.root(), build_tree(&self.map).root);
        if whole {
            self.check();
        }
    }

    /// Continues with the same blocks through another handle on them.
    fn reopen_on(&mut self, blocks: S) {
        let root = self.tree.root();
        self.blocks = blocks;
        self.nodes = Arc::new(NodeStore::new(self.blocks.clone()));
        self.tree = Tree::open(Arc::clone(&self.nodes), &root).unwrap();
    }

    fn remove(&mut self, key: &str) {
        let removed = self.tree.remove(key.as_bytes()).unwrap();
        assert_eq!(removed, self.map.remove(key));
    }

    fn check(&self) {
        let expected = build_tree(&self.map);
        let found = self.tree.to_map().unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(key, value)| (key.as_slice(), value))
            .collect();
        let pairs = self.map.iter().map(|(key, value)| (key.as_bytes(), value));
        assert_eq!(found, pairs.collect::<Vec<_>>());
        assert_eq!(self.tree.is_empty(), self.map.is_empty());
        for key in KEYS.iter() {
            let value = self.tree.get(key.as_bytes()).unwrap();
            assert_eq!(value, self.map.get(key).copied());
        }
        let summary = self.tree.verify().unwrap();
        assert_eq!(summary.nodes, expected.nodes.len() as u64);
        assert_eq!(summary.entries, self.map.len() as u64);
    }

    /// Flushes into the store, and checks what is returned.
    fn flush(&mut self) {
        let changes = self.tree.flush();
        let expected = build_tree(&self.map);
        assert_eq!(changes.root, expected.root);
        let now: BTreeMap<_, _> = expected.nodes.into_iter().collect();
        let cids: BTreeSet<Cid> = now.keys().copied().collect();
        let before = self.flushed.take().unwrap_or_default();

        let new: BTreeMap<_, _> = changes.new.iter().cloned().collect();
        assert_eq!(new.len(), changes.new.len(), "each once");
        assert!(new.keys().eq(cids.difference(&before)));
        assert!(new.iter().all(|(cid, block)| now[cid] == *block));
        let removed: BTreeSet<Cid> = changes.removed.iter().copied().collect();
        assert_eq!(removed.len(), changes.removed.len(), "each once");
        assert!(removed.iter().eq(before.difference(&cids)));

        self.blocks.put_many(&changes.new).unwrap();
        for cid in &changes.removed {
            self.blocks.delete(cid).unwrap();
        }
        let nodes = NodeStore::new(self.blocks.clone());
        let summary = verify(&nodes, &changes.root).unwrap();
        assert_eq!(summary.entries, self.map.len() as u64);
        self.flushed = Some(cids);
        assert!(self.tree.flush().new.is_empty());
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_tree_is_that_of_its_entries_after_every_step(steps in steps(), whole in any::<bool>()) {
        let mut model = Model::new(Arc::new(MemoryBlockStore::new()));
        for step in &steps {
            model.take(step, whole);
        }
        model.flush();
        model.check();
    }

    #[test]
    fn the_order_of_inserts_does_not_matter(pairs in prop::collection::vec(any::<(Index, Index)>(), 0..40)) {
        let pairs: Map = pairs
            .iter()
            .map(|(key, value)| (key.get(&KEYS).clone(), *value.get(&VALUES)))
            .collect();
        let mut back_to_front = Tree::new();
        for (key, value) in pairs.iter().rev() {
            back_to_front.insert(key.as_bytes(), value).unwrap();
        }
        let front_to_back = Tree::from_entries(pairs).unwrap();
        prop_assert_eq!(front_to_back.root(), back_to_front.root());
    }

    #[test]
    fn a_wrangler_goes_from_root_to_root(steps in prop::collection::vec(any::<(Index, Option<Index>)>(), 1..40)) {
        let wrangler = NodeWrangler::new(NodeStore::new(MemoryBlockStore::new()));
        let mut map = Map::new();
        let mut root = wrangler.empty().unwrap();
        for (key, value) in steps {
            let key = key.get(&KEYS);
            root = if let Some(value) = value {
                let value = value.get(&VALUES);
                map.insert(key.clone(), *value);
                wrangler.put_record(&root, key.as_bytes(), value).unwrap()
            } else {
                map.remove(key);
                wrangler.del_record(&root, key.as_bytes()).unwrap()
            };
            prop_assert_eq!(root, build_tree(&map).root);
        }
    }
}

/// A key of height 12, found by trying 38 million.
const HIGH_KEY: &str = "m/38012014";

#[test]
fn a_key_of_height_12_comes_over_keys_of_height_0_and_goes_again() {
    assert_eq!(mst_node::height_of(HIGH_KEY.as_bytes()), 12);
    let low: Map = ["a", "l", "n", "z"]
        .map(|prefix| (key_of_height(prefix, 0), VALUES[0]))
        .into();
    let mut high = low.clone();
    high.insert(HIGH_KEY.to_owned(), VALUES[1]);
    let (low_root, expected) = (build_tree(&low).root, build_tree(&high));
    // One chain of nodes without keys on each side.
    assert_eq!(expected.nodes.len(), 1 + 2 * 12);

    let mut tree = Tree::from_entries(low).unwrap();
    let _ = tree.flush();
    tree.insert(HIGH_KEY.as_bytes(), &VALUES[1]).unwrap();
    let changes = tree.flush();
    assert_eq!(changes.root, expected.root);
    assert_eq!((changes.new.len(), changes.removed.len()), (25, 1));
    tree.remove(HIGH_KEY.as_bytes()).unwrap();
    let changes = tree.flush();
    assert_eq!(changes.root, low_root);
    assert_eq!((changes.new.len(), changes.removed.len()), (1, 25));
}

proptest! {
    #![proptest_config(cases(24))]

    /// The same on disk, opened again at every other step.
    #[test]
    fn a_tree_in_sqlite_is_that_of_its_entries_after_every_step(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blocks.sqlite");
        let open = || {
            let options = SqliteOptions {
                // Power cuts are not tested here.
                synchronous: Synchronous::Normal,
                ..SqliteOptions::default()
            };
            Arc::new(SqliteBlockStore::open_with(&path, &options).unwrap())
        };
        let mut model = Model::new(open());
        for (at, step) in steps.iter().take(20).enumerate() {
            model.take(step, false);
            if at % 2 == 1 {
                model.flush();
                model.reopen_on(open());
            }
        }
        model.flush();
        model.check();
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
