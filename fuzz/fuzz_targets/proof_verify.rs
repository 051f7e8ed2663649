//! Any claims with any blocks: what is verified is true of the tree that the root names, what is
//! refuted is not, and a missing block decides nothing. With nodes that make no tree: no panic, no
//! hang, and no two verified claims that contradict each other.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};
use std::sync::LazyLock;

use blockstore_core::{BlockStoreMut, Bytes, Cid, MemoryBlockStore, dag_cbor_cid, raw_cid};
use libfuzzer_sys::fuzz_target;
use mst_node::NodeBuilder;
use mst_ops::{Claim, NodeStore, Proof, ProofError, Prover, verify};
use mst_testkit::{build_tree, key_of_height};

/// 32 keys of heights 0 to 4, in order.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let heights = [0, 1, 0, 2, 0, 3, 1, 0, 4, 0, 1, 2, 0, 1, 0, 0];
    let keys = (0..32).map(|n| key_of_height(&format!("k{n:02}/"), heights[n % heights.len()]));
    keys.collect()
});

static VALUES: LazyLock<[Cid; 3]> =
    LazyLock::new(|| [dag_cbor_cid(b"\xa0"), dag_cbor_cid(b"\x80"), raw_cid(b"")]);

type Map = BTreeMap<Vec<u8>, Cid>;

fuzz_target!(|program: &[u8]| {
    let Some(([kind, len], program)) = program.split_first_chunk() else {
        return;
    };
    let (claims, program) = program.split_at(program.len().min(usize::from(*len)));
    if kind & 1 == 0 {
        of_a_tree(*kind, claims, program);
    } else {
        of_any_nodes(claims, program);
    }
});

/// Proofs about a tree, tampered with.
fn of_a_tree(kind: u8, claims: &[u8], program: &[u8]) {
    let (mut entries, mut tampering) = (BTreeMap::new(), Vec::new());
    for [key, what] in program.as_chunks().0 {
        match VALUES.get(usize::from(what & 3)) {
            Some(value) => drop(entries.insert(key_at(*key).clone(), *value)),
            None => tampering.push((*key, *what)),
        }
    }
    let tree = build_tree(&entries);
    let map: Map = entries
        .into_iter()
        .map(|(key, value)| (key.into_bytes(), value))
        .collect();
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&tree.nodes).unwrap();
    let nodes = NodeStore::new(&blocks);

    let claims = read_claims(claims, &map);
    let mut proof = prove(&nodes, &tree.root, &claims);
    proof.verify(&tree.root).unwrap();
    assert!(proof.claims.iter().all(|claim| is_true(claim, &map)));

    proof.claims = claims;
    let mut altered = false;
    for (which, what) in tampering {
        if proof.blocks.is_empty() {
            break;
        }
        let at = usize::from(which) % proof.blocks.len();
        match what >> 2 & 7 {
            // A block is missing, one too many, or another one under its name.
            0 | 1 => drop(proof.blocks.remove(at)),
            2 => proof.blocks.extend(tree.nodes.get(at).cloned()),
            3 => {
                proof.blocks[at].1 = proof.blocks[0].1.clone();
                altered |= at != 0 && proof.blocks[at].0 != proof.blocks[0].0;
            }
            // Another one under its own name.
            _ => {
                let mut block = proof.blocks[at].1.to_vec();
                let byte = usize::from(which / 7) % block.len();
                block[byte] ^= what;
                let block = Bytes::from(block);
                proof.blocks[at] = (dag_cbor_cid(&block), block);
            }
        }
    }
    if kind & 2 != 0 {
        proof.blocks.reverse();
    }
    let held: BTreeSet<Cid> = proof.blocks.iter().map(|(cid, _)| *cid).collect();
    let first_false = proof.claims.iter().position(|claim| !is_true(claim, &map));
    match proof.verify(&tree.root) {
        Ok(()) => assert_eq!(first_false, None),
        Err(ProofError::Refuted { claim }) => assert_eq!(first_false, Some(claim)),
        Err(ProofError::Incomplete { missing, claim }) => {
            assert!(!held.contains(&missing));
            assert!(tree.nodes.iter().any(|(cid, _)| *cid == *missing));
            assert!(first_false.is_none_or(|first| first >= claim));
        }
        Err(ProofError::Block(_)) => assert!(altered),
        Err(error) => panic!("{error:?}"),
    }
    if !proof.claims.is_empty() {
        let other = dag_cbor_cid(b"\x01");
        assert!(matches!(proof.verify(&other), Err(ProofError::Root { .. })));
    }
}

/// Claims about nodes that need not make a tree.
fn of_any_nodes(claims: &[u8], program: &[u8]) {
    let (root, blocks) = build(program);
    let store = MemoryBlockStore::new();
    store.put_many(&blocks).unwrap();
    let nodes = NodeStore::new(&store);
    let whole = verify(&nodes, &root).is_ok();
    // What can be read of it.
    let mut map = Map::new();
    if let Ok(entries) = nodes.entries(&root) {
        let entries = entries.flatten();
        map.extend(entries.map(|entry| (entry.key().to_vec(), entry.value())));
    }
    let mut proof = Proof {
        root,
        claims: Vec::new(),
        blocks,
    };
    let mut proven: Vec<Claim> = Vec::new();
    for claim in read_claims(claims, &map) {
        proof.claims = vec![claim.clone()];
        match proof.verify(&root) {
            Ok(()) => proven.push(claim),
            Err(_) if !whole => {}
            Err(ProofError::Refuted { claim: 0 }) => assert!(!is_true(&claim, &map)),
            Err(error) => panic!("{error:?}"),
        }
    }
    // Whatever is proven agrees with reading all of it.
    let mut said: Map = Map::new();
    for claim in &proven {
        assert!(!whole || is_true(claim, &map));
        match claim {
            Claim::Key { key, value } => {
                if let Some(value) = value {
                    assert_eq!(*said.entry(key.clone()).or_insert(*value), *value);
                }
            }
            Claim::Range { entries, .. } => {
                assert!(entries.is_sorted_by(|one, two| one.0 < two.0));
                for (key, value) in entries {
                    assert_eq!(*said.entry(key.clone()).or_insert(*value), *value);
                }
            }
        }
    }
    for claim in &proven {
        match claim {
            Claim::Key { key, value } => assert_eq!(said.get(key), value.as_ref()),
            Claim::Range {
                start,
                end,
                entries,
            } => {
                let range = (start.clone(), end.clone());
                let within = said.iter().filter(|(key, _)| range.contains(*key));
                assert_eq!(within.count(), entries.len());
            }
        }
    }
}

fn prove(nodes: &NodeStore<&MemoryBlockStore>, root: &Cid, claims: &[Claim]) -> Proof {
    let mut prover = Prover::new(nodes, root).unwrap();
    for claim in claims {
        match claim {
            Claim::Key { key, .. } => drop(prover.key(key).unwrap()),
            Claim::Range { start, end, .. } => {
                prover
                    .range::<Vec<u8>>((start.as_ref(), end.as_ref()))
                    .unwrap();
            }
        }
    }
    prover.finish()
}

/// Makes claims according to `program`, some of which are true of `map`.
fn read_claims(program: &[u8], map: &Map) -> Vec<Claim> {
    let claims = program.as_chunks().0.iter().map(|[kind, one, two]| {
        if kind & 1 == 0 {
            let key = key_at(*one).as_bytes().to_vec();
            let value = match kind & 2 {
                0 => map.get(&key).copied(),
                _ => VALUES.get(usize::from(two & 3)).copied(),
            };
            return Claim::Key { key, value };
        }
        let bound = |key: u8, kind: u8| {
            let key = key_at(key).as_bytes().to_vec();
            match kind & 3 {
                0 => Bound::Unbounded,
                1 => Bound::Excluded(key),
                _ => Bound::Included(key),
            }
        };
        let (start, end) = (bound(*one, kind >> 1), bound(*two, kind >> 3));
        let range = (start.clone(), end.clone());
        let within = map.iter().filter(|(key, _)| range.contains(*key));
        let mut entries: Vec<_> = within.map(|(key, value)| (key.clone(), *value)).collect();
        match kind >> 5 {
            1 => drop(entries.pop()),
            2 => entries.reverse(),
            3 => entries.extend(entries.first().cloned()),
            4 => entries.push((
                key_at(one.wrapping_add(*two)).as_bytes().to_vec(),
                VALUES[0],
            )),
            _ => {}
        }
        Claim::Range {
            start,
            end,
            entries,
        }
    });
    claims.collect()
}

fn is_true(claim: &Claim, map: &Map) -> bool {
    match claim {
        Claim::Key { key, value } => map.get(key) == value.as_ref(),
        Claim::Range {
            start,
            end,
            entries,
        } => {
            let range = (start.clone(), end.clone());
            let within = map.iter().filter(|(key, _)| range.contains(*key));
            within.eq(entries.iter().map(|(key, value)| (key, value)))
        }
    }
}

fn key_at(n: u8) -> &'static String {
    &KEYS[usize::from(n) % KEYS.len()]
}

/// Makes nodes according to `program`, each of which may link to earlier ones; the last is the
/// root. A few are left out, and one is not a node.
fn build(program: &[u8]) -> (Cid, Vec<(Cid, Bytes)>) {
    let mut bytes = program.iter().copied();
    let garbage = Bytes::from_static(b"\xa0");
    let mut made = vec![dag_cbor_cid(&garbage)];
    let mut blocks = vec![(made[0], garbage)];
    while let Some(kind) = bytes.next() {
        let left = link(&mut bytes, &made);
        let mut builder = NodeBuilder::new(left.as_ref()).unwrap();
        for _ in 0..kind & 7 {
            let pick = bytes.next().unwrap_or(0);
            let right = link(&mut bytes, &made);
            let value = &VALUES[usize::from(pick) / 86];
            // A key out of order is left out.
            let _ = builder.push(key_at(pick).as_bytes(), value, right.as_ref());
        }
        let node = builder.finish();
        if kind & 0xf0 != 0xf0 {
            blocks.push((node.cid(), node.encode().into()));
        }
        made.push(node.cid());
    }
    (made[made.len() - 1], blocks)
}

/// None, or the node this many places back.
fn link(bytes: &mut impl Iterator<Item = u8>, made: &[Cid]) -> Option<Cid> {
    let back = usize::from(bytes.next()?);
    made.get(made.len().checked_sub(back)?).copied()
}
