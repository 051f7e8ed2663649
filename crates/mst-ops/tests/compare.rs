//! The danger: an answer about two trees, or about a partial one, that nobody can check by looking.
//! A diff that reports a node both trees have; a proof that proves something else, or still holds
//! without one of its blocks; operations that pass for complete because their order happened to
//! suit.
//!
//! So all 128 trees over seven keys of several heights are compared with each other, in both
//! directions, the obvious way; and larger random trees with random changes too.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{LazyLock, Mutex};

use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid, raw_cid,
};
use mst_ops::{
    Claim, Diff, Error, InvertError, NodeStore, NodeStoreOptions, Operation, Proof, ProofError,
    Prover, Tree, verify,
};
use mst_testkit::{Rng, SampleTree, build_tree, key_of_height};
use proptest::prelude::*;
use proptest::sample::Index;

type Map = BTreeMap<String, Cid>;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn value(n: usize) -> Cid {
    dag_cbor_cid(&[0x19, 0, u8::try_from(n).unwrap()])
}

/// A tree, its entries, and a store that has it and records which blocks are requested.
struct Input {
    map: Map,
    tree: SampleTree,
    nodes: NodeStore<Watched>,
}

impl Input {
    fn new(map: Map) -> Self {
        let tree = build_tree(&map);
        let blocks = MemoryBlockStore::new();
        blocks.put_many(&tree.nodes).unwrap();
        let options = NodeStoreOptions {
            cache_bytes: 1 << 20,
            ..NodeStoreOptions::default()
        };
        let watched = Watched {
            blocks,
            asked: Mutex::default(),
        };
        let nodes = NodeStore::with_options(watched, options);
        Self { map, tree, nodes }
    }

    fn cids(&self) -> BTreeSet<Cid> {
        self.tree.nodes.iter().map(|(cid, _)| *cid).collect()
    }
}

struct Watched {
    blocks: MemoryBlockStore,
    asked: Mutex<BTreeSet<Cid>>,
}

impl BlockStore for Watched {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.asked.lock().unwrap().insert(*cid);
        self.blocks.get(cid)
    }
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

fn check_diff(old: &Input, new: &Input) {
    let diff = Diff::new(&old.nodes, &old.tree.root, &new.nodes, &new.tree.root).unwrap();
    let (before, after) = (old.cids(), new.cids());
    let created: BTreeSet<Cid> = diff.created().iter().copied().collect();
    let deleted: BTreeSet<Cid> = diff.deleted().iter().copied().collect();
    assert_eq!(
        (created.len(), deleted.len()),
        (diff.created().len(), diff.deleted().len())
    );
    assert!(created.iter().eq(after.difference(&before)));
    assert!(deleted.iter().eq(before.difference(&after)));
    assert_eq!(diff.len(), operations(&old.map, &new.map).len());
    assert!(diff.eq(operations(&old.map, &new.map)));
}

/// The blocks of what is new and of what covers the operations: what a commit contains.
fn slice(old: &Input, new: &Input, operations: &[Operation]) -> Vec<(Cid, Bytes)> {
    let mut prover = Prover::new(&new.nodes, &new.tree.root).unwrap();
    for operation in operations {
        prover.cover(&operation.key).unwrap();
    }
    let mut blocks: BTreeMap<_, _> = prover.finish().blocks.into_iter().collect();
    // The tree in memory covers keys with the same nodes.
    let tree = Tree::open(&new.nodes, &new.tree.root).unwrap();
    let keys = operations.iter().map(|operation| operation.key.as_slice());
    let cover = tree.cover(keys).unwrap();
    assert_eq!(cover.into_iter().collect::<BTreeMap<_, _>>(), blocks);
    let before = old.cids();
    let created = new
        .tree
        .nodes
        .iter()
        .filter(|(cid, _)| !before.contains(cid));
    blocks.extend(created.cloned());
    blocks.into_iter().collect()
}

fn invert(
    blocks: &[(Cid, Bytes)],
    root: &Cid,
    operations: &[Operation],
) -> Result<Cid, InvertError> {
    let store = MemoryBlockStore::new();
    store.put_many(blocks).unwrap();
    let options = NodeStoreOptions::uncached();
    let nodes = NodeStore::with_options(store, options);
    Tree::open(&nodes, root)?.invert(operations)
}

/// The trees of all subsets of seven keys, of heights that the test suite of
/// `DavidBuchanan314/mst-test-suite` has too: 0, 1 and 2, so that there are levels without keys.
static EXHAUSTIVE: LazyLock<Vec<Input>> = LazyLock::new(|| {
    let heights = [0, 1, 0, 2, 0, 1, 0];
    let keys: Vec<String> = (0..7)
        .map(|n| key_of_height(&format!("k{n}/"), heights[n]))
        .collect();
    let subset = |bits: usize| {
        let held = (0..7).filter(|n| bits >> n & 1 == 1);
        Input::new(held.map(|n| (keys[n].clone(), value(n))).collect())
    };
    (0..128).map(subset).collect()
});

#[test]
fn every_two_of_128_trees_differ_by_what_the_obvious_way_finds() {
    for old in EXHAUSTIVE.iter() {
        for new in EXHAUSTIVE.iter() {
            check_diff(old, new);
        }
    }
}

#[test]
fn every_change_between_128_trees_is_taken_back_with_what_covers_it() {
    let mut rng = Rng::new(3);
    for old in EXHAUSTIVE.iter() {
        for new in EXHAUSTIVE.iter() {
            let mut operations = operations(&old.map, &new.map);
            let blocks = slice(old, new, &operations);
            rng.shuffle(&mut operations);
            let root = invert(&blocks, &new.tree.root, &operations).unwrap();
            assert_eq!(root, old.tree.root);
        }
    }
}

/// Opens `input` with no more than its top, and fetches what is missing for `operations`. Each
/// round has to reach one level further.
fn fetched<'b>(
    input: &Input,
    operations: &[Operation],
    near: &'b MemoryBlockStore,
) -> Tree<NodeStore<&'b MemoryBlockStore>> {
    let far: HashMap<Cid, Bytes> = input.tree.nodes.iter().cloned().collect();
    let fetch = |cid: &Cid| near.put(cid, far[cid].clone()).unwrap();
    fetch(&input.tree.root);
    let tree = Tree::open(NodeStore::new(near), &input.tree.root).unwrap();
    let mut rounds = 0;
    loop {
        let keys = operations.iter().map(|operation| operation.key.as_slice());
        let missing = tree.missing_for(keys).unwrap();
        if missing.is_empty() {
            return tree;
        }
        missing.iter().for_each(fetch);
        rounds += 1;
        assert!(rounds <= verify(&input.nodes, &input.tree.root).unwrap().height);
    }
}

/// Makes `operations` in a tree that has only what was missing for them.
fn assert_nothing_else_is_missing(old: &Input, new: &Input, operations: &[Operation]) {
    let near = MemoryBlockStore::new();
    let mut tree = fetched(old, operations, &near);
    let fetched = near.len();
    for operation in operations {
        assert_eq!(tree.get(&operation.key).unwrap(), operation.old);
        match &operation.new {
            Some(value) => tree.insert(&operation.key, value).unwrap(),
            None => tree.remove(&operation.key).unwrap(),
        };
    }
    assert_eq!(tree.flush().root, new.tree.root);
    // Nor was anything fetched in vain.
    let keys = operations.iter().map(|operation| operation.key.as_slice());
    let tree = Tree::open(NodeStore::new(&near), &old.tree.root).unwrap();
    assert_eq!(tree.cover(keys).unwrap().len(), fetched);
}

#[test]
fn every_change_between_128_trees_is_made_with_what_is_missing_for_it() {
    let mut rng = Rng::new(4);
    for old in EXHAUSTIVE.iter() {
        for new in EXHAUSTIVE.iter() {
            let mut operations = operations(&old.map, &new.map);
            rng.shuffle(&mut operations);
            assert_nothing_else_is_missing(old, new, &operations);
        }
    }
}

// ---- Larger trees.

/// Keys of many heights, in an order that is independent of them.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut keys: Vec<String> = (0..600)
        .map(|n| format!("c/{:04}", n * 7919 % 10_007))
        .collect();
    for height in 3..7 {
        keys.extend(
            (0..3)
                .map(|n| key_of_height(&format!("c/{}", (n * 3 + u32::from(height)) % 10), height)),
        );
    }
    keys
});

#[test]
fn trees_of_thousands_and_thousands_of_changes_are_compared_and_taken_back() {
    for seed in 0..6 {
        let mut rng = Rng::new(seed);
        let len = 1_000 + rng.below(4_000);
        let key = |rng: &mut Rng| format!("c{}/{:06}", rng.below(4), rng.below(3 * len));
        let old: Map = (0..len).map(|_| (key(&mut rng), value(0))).collect();
        let mut new = old.clone();
        for _ in 0..rng.below(3_000) {
            let key = key(&mut rng);
            match rng.below(3) {
                0 => new.remove(&key),
                n => new.insert(key, value(n)),
            };
        }
        let (old, new) = (Input::new(old), Input::new(new));
        check_diff(&old, &new);
        let mut operations = operations(&old.map, &new.map);
        let blocks = slice(&old, &new, &operations);
        rng.shuffle(&mut operations);
        let root = invert(&blocks, &new.tree.root, &operations).unwrap();
        assert_eq!(root, old.tree.root);
        // Leaving one out leads elsewhere, or needs what the others do not.
        operations.pop();
        let root = invert(&blocks, &new.tree.root, &operations);
        assert!(root.is_err() || root.is_ok_and(|root| root != old.tree.root));
    }
}

prop_compose! {
    /// A tree, and the same with some changes.
    fn pairs()(
        held in prop::collection::vec(any::<Index>(), 0..300),
        changes in prop::collection::vec((any::<Index>(), 0..4_usize), 0..12),
    ) -> (Map, Map) {
        let old: Map = held.iter().map(|key| (key.get(&KEYS).clone(), value(0))).collect();
        let mut new = old.clone();
        for (key, n) in changes {
            let key = key.get(&KEYS);
            if n == 0 || new.insert(key.clone(), value(n)).is_some() && n == 3 {
                new.remove(key);
            }
        }
        (old, new)
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn a_diff_is_exact_and_reads_only_what_differs((old, new) in pairs()) {
        let (old, new) = (Input::new(old), Input::new(new));
        check_diff(&old, &new);
        let (before, after) = (old.cids(), new.cids());
        let roots = BTreeSet::from([old.tree.root, new.tree.root]);
        for (input, others) in [(&old, &after), (&new, &before)] {
            let asked = input.nodes.blocks().asked.lock().unwrap();
            prop_assert!(asked.iter().all(|cid| !others.contains(cid) || roots.contains(cid)));
        }
    }

    #[test]
    fn operations_are_taken_back_in_any_order((old, new) in pairs(), seed in any::<u64>()) {
        let (old, new) = (Input::new(old), Input::new(new));
        let mut operations = operations(&old.map, &new.map);
        let blocks = slice(&old, &new, &operations);
        Rng::new(seed).shuffle(&mut operations);
        let root = invert(&blocks, &new.tree.root, &operations).unwrap();
        prop_assert_eq!(root, old.tree.root);
        // And without any gaps.
        let root = invert(&new.tree.nodes, &new.tree.root, &operations).unwrap();
        prop_assert_eq!(root, old.tree.root);
    }

    #[test]
    fn changes_are_made_with_what_is_missing_for_them((old, new) in pairs(), seed in any::<u64>()) {
        let (old, new) = (Input::new(old), Input::new(new));
        let mut operations = operations(&old.map, &new.map);
        Rng::new(seed).shuffle(&mut operations);
        assert_nothing_else_is_missing(&old, &new, &operations);
    }

    #[test]
    fn beside_what_is_new_there_is_the_rest_of_a_cover((old, new) in pairs()) {
        let input = Input::new(old.clone());
        let mut tree = Tree::open(&input.nodes, &input.tree.root).unwrap();
        let operations = operations(&old, &new);
        for operation in &operations {
            match &operation.new {
                Some(value) => tree.insert(&operation.key, value).unwrap(),
                None => tree.remove(&operation.key).unwrap(),
            };
        }
        let changes = tree.flush();
        let keys = || operations.iter().rev().map(|operation| operation.key.as_slice());
        let mut cover = tree.cover(keys()).unwrap();
        let beside = tree.cover_beside(&changes.new, keys().chain(keys())).unwrap();
        cover.retain(|node| !changes.new.contains(node));
        prop_assert_eq!(cover, beside);
    }

    /// Without one of its blocks an inversion ends in an error that names a block, or it did not
    /// need that block.
    #[test]
    fn without_a_block_there_is_the_right_root_or_none((old, new) in pairs(), at in any::<Index>()) {
        let (old, new) = (Input::new(old), Input::new(new));
        let operations = operations(&old.map, &new.map);
        let mut blocks = slice(&old, &new, &operations);
        let (removed, _) = blocks.remove(at.index(blocks.len()));
        match invert(&blocks, &new.tree.root, &operations) {
            Ok(root) => prop_assert_eq!(root, old.tree.root),
            Err(InvertError::Tree(Error::MissingBlock(cid))) => prop_assert_eq!(cid, removed),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn operations_that_are_not_those_give_another_root_or_an_error(
        (old, new) in pairs(),
        at in any::<Index>(),
        kind in 0..5_usize,
    ) {
        let (old, new) = (Input::new(old), Input::new(new));
        let mut operations = operations(&old.map, &new.map);
        prop_assume!(!operations.is_empty());
        let at = at.index(operations.len());
        match kind {
            // Missing.
            0 => { operations.remove(at); }
            // Another previous value; for a creation, any.
            1 => operations[at].old = Some(value(9)),
            // Another new value.
            2 => operations[at].new = Some(value(9)),
            // Twice.
            3 => operations.push(operations[at].clone()),
            // One too many.
            _ => operations.push(Operation { key: b"c/".to_vec(), old: Some(value(1)), new: None }),
        }
        match (kind, invert(&new.tree.nodes, &new.tree.root, &operations)) {
            (0 | 1 | 4, Ok(root)) => prop_assert_ne!(root, old.tree.root),
            (2, Err(InvertError::Value { .. })) | (3, Err(InvertError::Duplicate { .. })) => {}
            (kind, other) => prop_assert!(false, "kind {kind}: {other:?}"),
        }
    }

    // ---- Proofs.

    #[test]
    fn a_proof_holds_and_any_other_claim_does_not(
        (map, _) in pairs(),
        asked in prop::collection::vec(any::<Index>(), 1..5),
        prefix in "c/[0-9]{0,2}",
    ) {
        let input = Input::new(map);
        let proof = prove(&input, &asked, &prefix);
        proof.verify(&input.tree.root).unwrap();
        for (index, claim) in proof.claims.iter().enumerate() {
            for wrong in distortions(claim) {
                let mut wrong_proof = proof.clone();
                wrong_proof.claims[index] = wrong;
                let error = wrong_proof.verify(&input.tree.root).unwrap_err();
                let refuted = matches!(error, ProofError::Refuted { claim } if claim == index);
                prop_assert!(refuted, "{}", error);
            }
        }
        // Of two, the first is named.
        for (second, claim) in proof.claims.iter().enumerate() {
            let mut wrong_proof = proof.clone();
            wrong_proof.claims[second] = distortions(claim).remove(0);
            for (first, claim) in proof.claims.iter().enumerate().take(second).rev() {
                wrong_proof.claims[first] = distortions(claim).remove(0);
                let error = wrong_proof.verify(&input.tree.root).unwrap_err();
                let refuted = matches!(error, ProofError::Refuted { claim } if claim == first);
                prop_assert!(refuted, "{}", error);
            }
        }
    }

    /// Every block is needed, or removing it changes nothing; none can be altered.
    #[test]
    fn a_proof_without_a_block_is_incomplete_or_still_true(
        (map, _) in pairs(),
        asked in prop::collection::vec(any::<Index>(), 1..5),
        prefix in "c/[0-9]{0,2}",
    ) {
        let input = Input::new(map);
        let proof = prove(&input, &asked, &prefix);
        for at in 0..proof.blocks.len() {
            let mut less = proof.clone();
            let (removed, _) = less.blocks.remove(at);
            match less.verify(&input.tree.root) {
                Ok(()) => {}
                Err(ProofError::Incomplete { claim, missing }) => {
                    prop_assert_eq!(*missing, removed);
                    let mut alone = less.clone();
                    let needs_it = proof.claims.iter().position(|claim| {
                        alone.claims = vec![claim.clone()];
                        alone.verify(&input.tree.root).is_err()
                    });
                    prop_assert_eq!(needs_it, Some(claim));
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
            let mut altered = proof.clone();
            let mut block = altered.blocks[at].1.to_vec();
            *block.last_mut().unwrap() ^= 1;
            altered.blocks[at].1 = block.into();
            let error = altered.verify(&input.tree.root).unwrap_err();
            prop_assert!(matches!(error, ProofError::Block(_)));
        }
    }
}

fn prove(input: &Input, asked: &[Index], prefix: &str) -> Proof {
    let mut prover = Prover::new(&input.nodes, &input.tree.root).unwrap();
    for key in asked {
        let key = key.get(&KEYS);
        let found = prover.key(key.as_bytes()).unwrap();
        assert_eq!(found, input.map.get(key).copied());
    }
    let found = prover.prefix(prefix.as_bytes()).unwrap();
    let expected = input.map.keys().filter(|key| key.starts_with(prefix));
    assert_eq!(found, expected.count());
    prover.range(asked[0].get(&KEYS).as_bytes()..).unwrap();
    prover.finish()
}

/// Claims that are not quite `claim`.
fn distortions(claim: &Claim) -> Vec<Claim> {
    match claim {
        Claim::Key { key, value: held } => {
            let other = if held.is_some() { None } else { Some(value(0)) };
            let of = |value| Claim::Key {
                key: key.clone(),
                value,
            };
            vec![of(other), of(Some(value(9)))]
        }
        Claim::Range {
            start,
            end,
            entries,
        } => {
            let of = |entries| Claim::Range {
                start: start.clone(),
                end: end.clone(),
                entries,
            };
            let mut wrong = Vec::new();
            for at in (0..entries.len()).step_by(entries.len() / 4 + 1) {
                let mut less = entries.clone();
                less.remove(at);
                let mut other = entries.clone();
                other[at].1 = value(9);
                wrong.extend([of(less), of(other)]);
            }
            let mut more = entries.clone();
            more.push((b"zzz".to_vec(), value(0)));
            wrong.push(of(more));
            wrong
        }
    }
}

/// A range is proven again from the blocks that prove it, and from no others: who has the proof can
/// prove it to others.
#[test]
fn what_proves_a_range_is_all_that_proving_it_takes() {
    let input = Input::new(
        (0..200)
            .map(|n| (format!("c/{n:03}"), value(n % 9)))
            .collect(),
    );
    let root = &input.tree.root;
    for at in 0..200 {
        let key = format!("c/{at:03}");
        let mut prover = Prover::new(&input.nodes, root).unwrap();
        let found = prover.range(key.as_str()..=key.as_str());
        assert_eq!(found.unwrap(), 1);
        let proof = prover.finish();

        let part = MemoryBlockStore::new();
        part.put_many(&proof.blocks).unwrap();
        let nodes = NodeStore::new(part);
        let mut prover = Prover::new(&nodes, root).unwrap();
        prover.range(key.as_str()..=key.as_str()).unwrap();
        assert_eq!(prover.finish(), proof);
        for (gone, _) in &proof.blocks {
            let mut less = proof.clone();
            less.blocks.retain(|(cid, _)| cid != gone);
            let error = less.verify(root).unwrap_err();
            assert!(matches!(error, ProofError::Incomplete { missing, .. } if *missing == *gone));
        }
    }
    // An empty range needs nothing else.
    let mut prover = Prover::new(&input.nodes, root).unwrap();
    assert_eq!(prover.range("d".."c").unwrap(), 0);
    assert_eq!(prover.finish().blocks.len(), 1);
}

#[test]
fn what_cannot_be_a_node_is_passed_over_in_a_proof() {
    let one = &EXHAUSTIVE[0b111_1111];
    let mut proof = Prover::new(&one.nodes, &one.tree.root).unwrap().finish();
    let record = (raw_cid(b"a record"), Bytes::from_static(b"a record"));
    // One whose hash cannot be computed: "hello world" itself instead of a hash.
    let identity: Cid = "bafkqaddimvwgy3zao5xxe3debi".parse().unwrap();
    proof
        .blocks
        .extend([record, (identity, Bytes::from_static(b"hello world\n"))]);
    proof.verify(&one.tree.root).unwrap();
}

#[test]
fn a_proof_about_another_tree_is_refused() {
    let one = &EXHAUSTIVE[0b111_1111];
    let proof = Prover::new(&one.nodes, &one.tree.root).unwrap().finish();
    let error = proof.verify(&EXHAUSTIVE[1].tree.root).unwrap_err();
    assert!(matches!(error, ProofError::Root { .. }));
}

/// An inclusion proof through a node whose keys are outside its parent's range: every peer that
/// was tried accepts it.
#[test]
fn a_key_out_of_range_is_not_proven() {
    let blocks = MemoryBlockStore::new();
    let leaf = Tree::from_entries([(key_of_height("z", 0), value(0))])
        .unwrap()
        .flush();
    let key = key_of_height("m", 1);
    let leaf_digest = mst_node::node_digest(&leaf.root).unwrap();
    let none = mst_node::Node::empty();
    let created = value(1);
    let joint = mst_node::Joint::entry(Some(leaf_digest), key.as_bytes(), &created, None);
    let top = mst_node::Node::join(&none, 0, joint, &none, 0).unwrap();
    blocks.put_many(&leaf.new).unwrap();
    blocks.put(&top.cid(), top.encode().into()).unwrap();
    // The path to this key leads through the leaf, whose key is greater than its parent's.
    let proof = Proof {
        root: top.cid(),
        claims: vec![Claim::Key {
            key: key_of_height("a", 0).into_bytes(),
            value: None,
        }],
        blocks: vec![(top.cid(), top.encode().into()), leaf.new[0].clone()],
    };
    let error = proof.verify(&top.cid()).unwrap_err();
    assert!(
        matches!(error, ProofError::Tree { claim: 0, .. }),
        "{error:?}"
    );
    let nodes = NodeStore::new(&blocks);
    let tree = Tree::open(&nodes, &top.cid()).unwrap();
    let operation = Operation {
        key: key.into_bytes(),
        old: None,
        new: Some(created),
    };
    let error = tree.invert(&[operation]).unwrap_err();
    assert!(matches!(
        error,
        InvertError::Tree(Error::InvalidTree { .. })
    ));
}

#[test]
fn an_operation_without_effect_or_with_a_bad_key_is_refused() {
    let input = &EXHAUSTIVE[0b11];
    let tree = Tree::open(&input.nodes, &input.tree.root).unwrap();
    let of = |key: &[u8], old, new| Operation {
        key: key.to_vec(),
        old,
        new,
    };
    for operation in [
        of(b"a", None, None),
        of(b"a", Some(value(1)), Some(value(1))),
    ] {
        let error = tree.invert(&[operation]).unwrap_err();
        assert!(matches!(error, InvertError::NoEffect { .. }));
    }
    let error = tree.invert(&[of(b"", None, Some(value(1)))]).unwrap_err();
    assert!(matches!(error, InvertError::Tree(Error::InvalidKey(_))));
}
