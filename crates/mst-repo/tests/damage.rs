//! The danger: one bad block costs more than itself. An export that skips what is beside it, a
//! salvage that takes any key for a path or a misplaced node for a valid one, a sweep that deletes
//! what is named in a way it does not know; or all of it correct, but read far more than once or
//! held in memory at the same time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid, raw_cid,
};
use mst_node::{Node, NodeBuilder};
use mst_ops::{NodeStore, NodeStoreOptions, Tree, TreeFault};
use mst_repo::{Commit, Error, Fault, MAX_PATH_LEN, Record, Repository, Salvaged, Tid, reachable};
use mst_testkit::{Rng, SampleRepository, key_of_height};

#[test]
fn a_missing_node_hides_what_is_below_it_and_nothing_beside_it() {
    let sample = SampleRepository::generate(31, 300);
    let whole: BTreeMap<Cid, Bytes> = sample.blocks().into_iter().collect();
    for (missing, _) in &sample.tree.nodes[1..] {
        let mut below = BTreeSet::new();
        collect(&whole, *missing, &mut below);
        let store = MemoryBlockStore::new();
        let blocks = whole.iter().filter(|(cid, _)| *cid != missing);
        for (cid, block) in blocks {
            store.put(cid, block.clone()).unwrap();
        }
        let repository = Repository::open(&store, &sample.commit.0).unwrap();
        let found = repository.export().unwrap().flatten();
        let found: BTreeSet<Cid> = found.map(|(cid, _)| cid).collect();
        // A record of which there are several copies may be found elsewhere.
        let lost: BTreeSet<Cid> = whole
            .keys()
            .copied()
            .filter(|cid| !found.contains(cid))
            .collect();
        assert!(lost.is_subset(&below));
        assert!(
            sample
                .tree
                .nodes
                .iter()
                .all(|(cid, _)| lost.contains(cid) == below.contains(cid))
        );
    }
}

/// Whoever asks in whatever way is told the same faults in the same places, in key order.
#[test]
fn records_faults_and_what_is_salvaged_agree() {
    let mut faults = 0;
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let sample = SampleRepository::generate(seed, 1 + rng.below(120));
        let store = MemoryBlockStore::new();
        for (cid, block) in sample.blocks() {
            let is_needed = cid == sample.commit.0 || cid == sample.tree.root;
            if is_needed || rng.below(12) > 0 {
                store.put(&cid, block).unwrap();
            }
        }
        let repository = Repository::open(&store, &sample.commit.0).unwrap();
        let path_or_error = |record: Result<Record, Box<Fault>>| match record {
            Ok(record) => Ok(record.path().to_owned()),
            Err(fault) => Err(format!("{fault:#}")),
        };
        let records = || repository.records().unwrap().map(path_or_error);
        let all: Vec<_> = records().collect();
        let mut reversed: Vec<_> = records().rev().collect();
        reversed.reverse();
        assert_eq!(reversed, all);
        let salvaged = repository.salvage().map(|item| match item {
            Salvaged::Record(record) => Ok(record.path().to_owned()),
            Salvaged::Fault(fault) => Err(format!("{fault:#}")),
        });
        assert_eq!(salvaged.collect::<Vec<_>>(), all);
        let errors: Vec<_> = all.into_iter().filter_map(Result::err).collect();
        let found: Vec<_> = repository
            .faults()
            .map(|fault| format!("{fault:#}"))
            .collect();
        assert_eq!(found, errors);
        let verified = repository.verify().err().map(|error| error.to_string());
        let first = repository.records().unwrap().find_map(Result::err);
        assert_eq!(verified, first.map(|fault| Error::from(fault).to_string()));
        faults += errors.len();
    }
    assert!(faults > 100, "{faults}");
}

/// Whoever gets it as any error finds the reason, to tell a busy store from damage.
#[test]
fn a_fault_leads_to_its_reason() {
    struct Busy(MemoryBlockStore, Cid);
    impl BlockStore for Busy {
        fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
            if *cid == self.1 {
                let busy = std::io::Error::from(std::io::ErrorKind::TimedOut);
                return Err(StoreError::backend(busy));
            }
            self.0.get(cid)
        }
    }
    let sample = SampleRepository::generate(9, 20);
    let store = MemoryBlockStore::new();
    store.put_many(&sample.blocks()).unwrap();
    let (path, cid) = sample.paths.iter().nth(5).unwrap();
    let repository = Repository::open(Busy(store, *cid), &sample.commit.0).unwrap();
    let fault = repository.records().unwrap().find_map(Result::err).unwrap();
    assert!(fault.to_string().starts_with(&format!("key {path:?}: ")));
    let mut reason: Option<&dyn std::error::Error> = Some(&*fault);
    let mut timed_out = false;
    while let Some(error) = reason {
        let io = error.downcast_ref::<std::io::Error>();
        timed_out |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut);
        reason = error.source();
    }
    assert!(timed_out);
}

/// The blocks of a subtree, the obvious way.
fn collect(blocks: &BTreeMap<Cid, Bytes>, top: Cid, found: &mut BTreeSet<Cid>) {
    found.insert(top);
    let node = Node::decode(&blocks[&top]).unwrap();
    found.extend(node.entries().map(|entry| entry.value()));
    for below in (0..=node.len()).filter_map(|slot| node.subtree(slot)) {
        collect(blocks, below, found);
    }
}

#[test]
fn large_records_are_not_read_far_ahead() {
    let store = MemoryBlockStore::new();
    let mut values = Vec::new();
    for n in 0..24_u8 {
        let block = Bytes::from(vec![n; 300 << 10]);
        values.push(raw_cid(&block));
        store.put(&values[usize::from(n)], block).unwrap();
    }
    let paths = (0..24).map(|n| format!("com.example.large/{n:02}"));
    let commit = commit(&store, paths.zip(values.iter().copied()));
    let watched = Watched::new(&store);
    let repository = Repository::open(&watched, &commit).unwrap();
    let mut given = 0;
    for item in repository.export().unwrap() {
        given += usize::from(values.contains(&item.unwrap().0));
        let read = values.iter().filter(|cid| watched.reads(cid) > 0).count();
        assert!(read <= given + 1, "{read} of which {given} were given");
    }
    assert_eq!(given, values.len());
}

/// Many small records before them must not make a store copy many large ones at once.
#[test]
fn large_records_behind_small_ones_are_not_read_far_ahead() {
    const LEN: usize = 300 << 10;
    const SMALL: usize = 300;
    const LARGE: usize = 100;
    let store = MemoryBlockStore::new();
    let put = |block: Vec<u8>| {
        let cid = raw_cid(&block);
        store.put(&cid, block.into()).unwrap();
        cid
    };
    let small = put(vec![0; 8]);
    let one = put(vec![1; LEN]);
    let mut paths: Vec<_> = (0..SMALL)
        .map(|n| (format!("com.example.a/{n:03}"), small))
        .collect();
    paths.extend((0..LARGE).map(|n| (format!("com.example.b/{n:03}"), one)));
    paths.extend((0..LARGE).map(|n| {
        let n = u8::try_from(n).unwrap();
        (format!("com.example.c/{n:03}"), put(vec![n + 2; LEN]))
    }));
    let large: BTreeSet<Cid> = paths[SMALL..].iter().map(|(_, cid)| *cid).collect();
    let commit = commit(&store, paths);

    let watched = Watched::new(&store);
    let repository = Repository::open(&watched, &commit).unwrap();
    let is_ahead = |given: usize| {
        let read: usize = large.iter().map(|cid| watched.reads(cid)).sum();
        assert!(read <= given + 16, "{read} of which {given} were given");
    };
    let (mut given, mut all) = (0, 0);
    for block in repository.export().unwrap() {
        given += usize::from(large.contains(&block.unwrap().0));
        is_ahead(given);
    }
    assert_eq!(given, 2 * LARGE);
    for record in repository.records().unwrap() {
        given += usize::from(large.contains(&record.unwrap().cid()));
        all += 1;
        is_ahead(given);
    }
    assert_eq!((given, all), (4 * LARGE, SMALL + 2 * LARGE));

    // A store takes each once, however many of them come in a batch.
    let mut of_store = BTreeMap::<Cid, usize>::new();
    for block in repository.export().unwrap().for_store() {
        *of_store.entry(block.unwrap().0).or_default() += 1;
    }
    assert!(large.iter().all(|cid| of_store[cid] == 1));
    assert_eq!(of_store[&small], SMALL);
}

/// What was read once may be missing since.
#[test]
fn a_node_that_is_only_in_the_cache_is_missing() {
    let sample = SampleRepository::generate(34, 200);
    let store = MemoryBlockStore::new();
    store.put_many(&sample.blocks()).unwrap();
    let repository = Repository::open(&store, &sample.commit.0).unwrap();
    for path in sample.paths.keys() {
        assert!(repository.find(path).unwrap().is_some());
    }
    for (missing, block) in &sample.tree.nodes {
        store.delete(missing).unwrap();
        let error = repository.verify().unwrap_err();
        assert!(matches!(error, Error::MissingBlock(cid) if cid == *missing));
        let error = mst_ops::verify(repository.nodes(), &sample.tree.root).unwrap_err();
        assert!(matches!(error, mst_ops::Error::MissingBlock(cid) if cid == *missing));
        store.put(missing, block.clone()).unwrap();
    }
    repository.verify().unwrap();
}

#[test]
fn what_several_roots_share_is_read_once() {
    let sample = SampleRepository::generate(32, 500);
    let store = MemoryBlockStore::new();
    store.put_many(&sample.blocks()).unwrap();
    let nodes = mst_ops::NodeStore::new(&store);
    let mut tree = Tree::open(&nodes, &sample.tree.root).unwrap();
    tree.remove(sample.paths.keys().next().unwrap().as_bytes())
        .unwrap();
    let changes = tree.flush();
    store.put_many(&changes.new).unwrap();
    let watched = Watched::new(&store);
    reachable(&watched, &[sample.commit.0, changes.root]).unwrap();
    let created: BTreeSet<&Cid> = changes.new.iter().map(|(cid, _)| cid).collect();
    let children = |(_, block): &(Cid, Bytes)| Node::decode(block).unwrap().len() + 1;
    let most: usize = changes.new.iter().map(children).sum();
    let again = sample
        .tree
        .nodes
        .iter()
        .filter(|(cid, _)| watched.reads(cid) > 1)
        .count();
    // Where the trees diverge, a node is read to check that it is in its place.
    assert!(!created.is_empty() && again <= most && again * 2 < sample.tree.nodes.len());
}

/// A value may be named in any way; what a sweep does not understand it must keep.
#[test]
fn a_value_with_a_digest_of_another_length_is_in_use() {
    let store = MemoryBlockStore::new();
    // The identity hash: the content itself.
    let odd = Cid::try_from(b"\x01\x55\x00\x03abc".as_slice()).unwrap();
    let root = commit(&store, [("com.example.odd/1".to_owned(), odd)]);
    let used = reachable(&store, &[root]).unwrap();
    assert!(used.contains(&odd));
    assert!(!used.contains(&Cid::try_from(b"\x01\x55\x00\x03abd".as_slice()).unwrap()));
    assert_eq!(used.len(), 3);
}

#[test]
fn a_tree_that_links_to_a_node_twice_is_in_no_use() {
    let store = MemoryBlockStore::new();
    let key = |name: &str, height| key_of_height(&format!("com.example.{name}/"), height);
    let value = raw_cid(b"x");
    let leaf = put(&store, None, &key("a", 0), &value);
    let keyless = NodeBuilder::new(Some(&leaf)).unwrap().finish();
    store.put(&keyless.cid(), keyless.encode().into()).unwrap();
    let mut builder = NodeBuilder::new(Some(&keyless.cid())).unwrap();
    let top = key("b", 2);
    builder
        .push(top.as_bytes(), &value, Some(&keyless.cid()))
        .unwrap();
    let root = builder.finish();
    store.put(&root.cid(), root.encode().into()).unwrap();
    let error = reachable(&store, &[root.cid()]).unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Tree(mst_ops::Error::InvalidTree { cid, fault: TreeFault::Repeated })
                if *cid == keyless.cid()
        ),
        "{error:?}"
    );
    // There are two trees that share it.
    let once = put(&store, Some(keyless.cid()), &top, &value);
    let also = put(&store, Some(keyless.cid()), &key("c", 2), &value);
    assert_eq!(reachable(&store, &[once, also]).unwrap().len(), 5);
}

/// The keys of a block that cannot be a repository's may take far more memory than it has bytes.
#[test]
fn a_node_is_refused_for_a_key_that_is_longer_than_a_path() {
    let store = MemoryBlockStore::new();
    let value = put_record(&store);
    let empty = Node::empty();
    store.put(&empty.cid(), empty.encode().into()).unwrap();
    let too_long = format!("com.example.long/{}", "k".repeat(MAX_PATH_LEN));
    let commit = commit(&store, [(too_long, value)]);
    let mut options = NodeStoreOptions::default();
    options.limits.key_len = 1 << 20;
    let repository = Repository::open_with(&store, &commit, options).unwrap();
    let errors = [
        repository.verify().unwrap_err(),
        repository.copy_since_to(&empty.cid(), &store).unwrap_err(),
        repository
            .export_since(repository.nodes(), &empty.cid())
            .unwrap_err(),
    ];
    for error in errors {
        let is_node = matches!(error, Error::Tree(mst_ops::Error::InvalidNode { .. }));
        assert!(is_node, "{error:?}");
    }
    // A stricter limit holds.
    options.limits.key_len = 20;
    let path = "com.example.note/12345".to_owned();
    let usual = self::commit(&store, [(path, value)]);
    let repository = Repository::open_with(&store, &usual, options).unwrap();
    assert!(repository.verify().is_err());
    // The nodes may be any tree's.
    let decoded = Commit::decode(&store.get(&commit).unwrap().unwrap()).unwrap();
    let repository = Repository::from_parts(NodeStore::new(&store), decoded, commit);
    let since = repository.export_since(repository.nodes(), &empty.cid());
    assert_eq!(since.unwrap().count(), 3);
}

#[test]
fn a_record_under_a_key_that_is_no_path_is_a_fault() {
    let store = MemoryBlockStore::new();
    let value = put_record(&store);
    let keys = ["a/1", "com.example.good/1"].map(|key| (key.to_owned(), value));
    let commit = commit(&store, keys);
    let repository = Repository::open(&store, &commit).unwrap();
    let items: Vec<_> = repository.salvage().collect();
    assert!(matches!(
        items.as_slice(),
        [Salvaged::Fault(fault), Salvaged::Record(record)]
            if matches!(fault.error, Error::InvalidPath { .. })
                && record.path() == "com.example.good/1"
    ));
}

/// Trust is for speed: what looks for damage still finds it.
#[test]
fn what_is_out_of_place_is_a_fault_also_where_trees_are_trusted() {
    let store = MemoryBlockStore::new();
    let value = put_record(&store);
    let key = |name: &str, height| key_of_height(&format!("com.example.{name}/"), height);
    let leaf = put(&store, None, &key("z", 0), &value);
    let root = put(&store, Some(leaf), &key("m", 1), &value);
    let commit = commit_of(&store, root);
    let mut options = NodeStoreOptions::default();
    for trusted in [false, true] {
        options.trusted = trusted;
        let repository = Repository::open_with(&store, &commit, options).unwrap();
        let items: Vec<_> = repository.salvage().collect();
        assert!(
            matches!(items.as_slice(), [Salvaged::Fault(fault), Salvaged::Record(_)]
                if fault.error.cid() == Some(leaf)),
            "trusted: {trusted}"
        );
    }
}

#[test]
fn a_revision_after_another_keeps_its_own_clock() {
    let next = Tid::new(5, 7).after(Tid::new(9, 3)).unwrap();
    assert_eq!((next.micros(), next.clock()), (10, 7));
    // The same is not after itself.
    let next = Tid::new(5, 7).after(Tid::new(5, 7)).unwrap();
    assert_eq!((next.micros(), next.clock()), (6, 7));
}

// ---- Helpers.

/// Stores a commit of the tree of `entries`.
fn commit(store: &MemoryBlockStore, entries: impl IntoIterator<Item = (String, Cid)>) -> Cid {
    let changes = Tree::from_entries(entries).unwrap().flush();
    store.put_many(&changes.new).unwrap();
    commit_of(store, changes.root)
}

fn commit_of(store: &MemoryBlockStore, root: Cid) -> Cid {
    let sample = SampleRepository::generate(33, 0);
    let mut commit = Commit::decode(&sample.commit.1).unwrap();
    commit.data = root;
    let block = Bytes::from(commit.encode());
    let cid = dag_cbor_cid(&block);
    store.put(&cid, block).unwrap();
    cid
}

/// Stores the empty map.
fn put_record(store: &MemoryBlockStore) -> Cid {
    let block = Bytes::from_static(b"\xa0");
    let cid = dag_cbor_cid(&block);
    store.put(&cid, block).unwrap();
    cid
}

/// Stores a node of one entry.
fn put(store: &MemoryBlockStore, left: Option<Cid>, key: &str, value: &Cid) -> Cid {
    let mut builder = NodeBuilder::new(left.as_ref()).unwrap();
    builder.push(key.as_bytes(), value, None).unwrap();
    let node = builder.finish();
    store.put(&node.cid(), node.encode().into()).unwrap();
    node.cid()
}

/// Counts how often it is asked for each block.
struct Watched<'b> {
    blocks: &'b MemoryBlockStore,
    asked: RefCell<BTreeMap<Cid, usize>>,
}

impl<'b> Watched<'b> {
    fn new(blocks: &'b MemoryBlockStore) -> Self {
        Self {
            blocks,
            asked: RefCell::default(),
        }
    }

    fn reads(&self, cid: &Cid) -> usize {
        self.asked.borrow().get(cid).copied().unwrap_or(0)
    }
}

impl BlockStore for Watched<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        *self.asked.borrow_mut().entry(*cid).or_default() += 1;
        self.blocks.get(cid)
    }
}

// ---- What is wrong once is wrong wherever it is linked to.

/// A repository whose top node has 40 keys, and in each slot a link to `child`.
fn everywhere(store: &MemoryBlockStore, child: Cid) -> Cid {
    let value = put_record(store);
    let mut top = NodeBuilder::new(Some(&child)).unwrap();
    for n in 10..50 {
        let key = key_of_height(&format!("com.example.note/{n}"), 1);
        top.push(key.as_bytes(), &value, Some(&child)).unwrap();
    }
    let top = top.finish();
    store.put(&top.cid(), top.encode().into()).unwrap();
    commit_of(store, top.cid())
}

#[test]
fn a_bad_node_is_read_once_however_many_links_lead_to_it() {
    let store = MemoryBlockStore::new();
    let no_node = b"\xa1\x61a\x01".as_slice();
    store.put(&dag_cbor_cid(no_node), no_node.into()).unwrap();
    // Right after the last key only, for which it is read again.
    let behind = put(
        &store,
        None,
        &key_of_height("com.example.note/a", 0),
        &put_record(&store),
    );
    // On no level.
    let high = put(
        &store,
        None,
        &key_of_height("com.example.note/a", 3),
        &put_record(&store),
    );
    for (child, faults, reads) in [
        (dag_cbor_cid(no_node), 41, 1),
        (behind, 40, 2),
        (high, 41, 1),
    ] {
        let commit = everywhere(&store, child);
        let watched = Watched::new(&store);
        let repository = Repository::open(&watched, &commit).unwrap();
        assert_eq!(repository.faults().count(), faults);
        assert_eq!(watched.reads(&child), reads);

        let watched = Watched::new(&store);
        let repository = Repository::open(&watched, &commit).unwrap();
        let found = repository.salvage();
        let found = found.filter(|found| matches!(found, Salvaged::Fault(_)));
        assert_eq!(found.count(), faults);
        assert_eq!(watched.reads(&child), reads);
    }
}

/// A store in which one block has changed.
struct Rotten<'b> {
    watched: Watched<'b>,
    rotten: Cid,
}

impl BlockStore for Rotten<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let block = self.watched.get(cid)?;
        if *cid == self.rotten {
            return Err(StoreError::HashMismatch(*cid));
        }
        Ok(block)
    }
}

#[test]
fn a_damaged_record_is_read_once_however_many_paths_lead_to_it() {
    let store = MemoryBlockStore::new();
    let rotten = put_record(&store);
    let paths = (0..300).map(|n| (format!("com.example.note/{n:03}"), rotten));
    let commit = commit(&store, paths);
    let rotten = Rotten {
        watched: Watched::new(&store),
        rotten,
    };
    let repository = Repository::open(&rotten, &commit).unwrap();
    assert_eq!(repository.faults().count(), 300);
    // Together with others, and by itself.
    assert_eq!(rotten.watched.reads(&rotten.rotten), 2);
    assert_eq!(repository.salvage().count(), 300);
    assert_eq!(rotten.watched.reads(&rotten.rotten), 3);
}

/// All paths lead to one record, which is returned once, so almost all that is read is nodes.
#[test]
fn large_nodes_are_not_read_far_ahead() {
    const KEY_LEN: usize = 20_000;
    let store = MemoryBlockStore::new();
    let record = Bytes::from(vec![7; 20_000]);
    let value = raw_cid(&record);
    store.put(&value, record).unwrap();
    let keys = (0..200).map(|n| format!("{n:03}{}", "k".repeat(KEY_LEN)));
    let mut tree = Tree::from_entries(keys.map(|key| (key, value))).unwrap();
    let changes = tree.flush();
    let len_of = |cid: &Cid| store.get(cid).unwrap().unwrap().len();
    let longest = changes.new.iter().map(|(_, block)| block.len()).max();
    store.put_many(&changes.new).unwrap();
    let cid = commit_of(&store, changes.root);

    let watched = Watched::new(&store);
    let commit = Commit::decode(&store.get(&cid).unwrap().unwrap()).unwrap();
    // Opened as a repository, it could not have such keys.
    let repository = Repository::from_parts(NodeStore::new(&watched), commit, cid);
    let (mut given, mut most) = (0, 0);
    for block in repository.export().unwrap().for_store() {
        let (_, block) = block.unwrap();
        let asked = watched.asked.borrow();
        let read: usize = asked.keys().map(len_of).sum();
        most = most.max(read - given);
        given += block.len();
    }
    assert!(given > 4_000_000, "{given}");
    // Once the next node is read, and once what is read ahead of it.
    assert!(most < (300 << 10) + 2 * longest.unwrap(), "{most}");
}

#[test]
fn a_root_that_is_named_again_is_not_read_again() {
    let sample = SampleRepository::generate(40, 20);
    let store = MemoryBlockStore::new();
    store.put_many(&sample.blocks()).unwrap();
    let watched = Watched::new(&store);
    let (commit, root) = (sample.commit.0, sample.tree.root);
    // Of the same tree, also through another commit.
    let other = commit_of(&store, root);
    let roots = [commit, other, root].repeat(50);
    let used = reachable(&watched, &roots).unwrap();
    assert_eq!(used.len(), sample.blocks().len() + 1);
    assert_eq!((watched.reads(&commit), watched.reads(&other)), (1, 1));
    assert!(watched.reads(&root) <= 3, "{}", watched.reads(&root));
}
