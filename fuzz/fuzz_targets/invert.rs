//! Any operations inverted on any tree, some of it missing, or on any nodes that honest hashes
//! allow: no panic, no hang; if the tree is valid, the previous root or the right error; and a
//! missing block is never reported as anything else.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use blockstore_core::{BlockStoreMut, Cid, MemoryBlockStore, dag_cbor_cid, raw_cid};
use libfuzzer_sys::fuzz_target;
use mst_node::NodeBuilder;
use mst_ops::{
    Error, InvertError, NodeStore, NodeStoreOptions, Operation, Prover, Tree, TreeFault, verify,
};
use mst_testkit::{build_tree, key_of_height};

/// 32 keys of heights 0 to 4, in order.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let heights = [0, 1, 0, 2, 0, 3, 1, 0, 4, 0, 1, 2, 0, 1, 0, 0];
    let keys = (0..32).map(|n| key_of_height(&format!("k{n:02}/"), heights[n % heights.len()]));
    keys.collect()
});

static VALUES: LazyLock<[Cid; 3]> =
    LazyLock::new(|| [dag_cbor_cid(b"\xa0"), dag_cbor_cid(b"\x80"), raw_cid(b"")]);

type Map = BTreeMap<String, Cid>;

fuzz_target!(|program: &[u8]| {
    let Some(([kind, gaps], program)) = program.split_first_chunk() else {
        return;
    };
    if kind & 1 == 0 {
        of_a_tree(*kind, *gaps, program);
    } else {
        of_any_nodes(*kind, program);
    }
});

/// Two maps, and the operations between them or not quite those.
fn of_a_tree(kind: u8, gaps: u8, program: &[u8]) {
    let (mut old, mut new) = (Map::new(), Map::new());
    let mut wrong = Vec::new();
    for [key, values] in program.as_chunks().0 {
        let key = &KEYS[usize::from(*key) % KEYS.len()];
        match (values >> 6, VALUES.get(usize::from(values >> 4 & 3))) {
            (3, value) => wrong.push((key.clone(), value.copied(), *values)),
            _ => {
                set(&mut old, key, value_of(*values));
                set(&mut new, key, value_of(values >> 2));
            }
        }
    }
    let tree = build_tree(&new);
    let before = build_tree(&old);
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut operations: Vec<Operation> = keys
        .into_iter()
        .map(|key| operation(key, old.get(key).copied(), new.get(key).copied()))
        .filter(|operation| operation.old != operation.new)
        .collect();
    // What covers the operations is enough, together with the new nodes.
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&tree.nodes).unwrap();
    let nodes = uncached(&blocks);
    let cover = cover(&nodes, &tree.root, &operations).unwrap();
    let known: BTreeSet<Cid> = before.nodes.iter().map(|(cid, _)| *cid).collect();
    blocks.retain(|cid| cover.contains(cid) || !known.contains(cid) || *cid == tree.root);
    let opened = Tree::open(&nodes, &tree.root).unwrap();
    rotate(&mut operations, kind);
    assert_eq!(opened.invert(&operations).unwrap(), before.root);

    for (key, value, how) in wrong {
        match how & 3 {
            0 => drop(operations.pop()),
            1 => operations.push(operation(&key, value, new.get(&key).copied())),
            2 => operations.push(operation(&key, value, value_of(how >> 2))),
            _ => {
                if let Some(operation) = operations.last_mut() {
                    operation.old = value;
                }
            }
        }
    }
    let expected = oracle(&new, &operations);
    blocks.put_many(&tree.nodes).unwrap();
    assert_same(&opened.invert(&operations), &expected, &BTreeSet::new());
    let gone: BTreeSet<Cid> = (tree.nodes.iter().skip(1).enumerate())
        .filter(|(at, _)| gaps >> (at % 8) & 1 == 1)
        .map(|(_, (cid, _))| *cid)
        .collect();
    blocks.retain(|cid| !gone.contains(cid));
    let opened = Tree::open(&nodes, &tree.root).unwrap();
    assert_same(&opened.invert(&operations), &expected, &gone);
}

/// Nodes that need not make a tree.
fn of_any_nodes(kind: u8, program: &[u8]) {
    let blocks = MemoryBlockStore::new();
    let (count, program) = program.split_at(program.len().min(usize::from(kind >> 4)));
    let operations: Vec<Operation> = count
        .as_chunks()
        .0
        .iter()
        .map(|[key, values]| {
            let key = &KEYS[usize::from(*key) % KEYS.len()];
            operation(key, value_of(*values), value_of(values >> 2))
        })
        .collect();
    let root = build(program, &blocks);
    let options = NodeStoreOptions {
        cache_bytes: u64::from(kind & 2) << 16,
        ..NodeStoreOptions::default()
    };
    let nodes = NodeStore::with_options(&blocks, options);
    let Ok(tree) = Tree::open(&nodes, &root) else {
        assert!(verify(&nodes, &root).is_err());
        return;
    };
    let result = tree.invert(&operations);
    // What covers the keys is the same in both ways, except that a tree in memory accepts no
    // nodes that have subtrees below the bottom.
    let keys = operations.iter().map(|operation| operation.key.as_slice());
    let found = tree
        .cover(keys)
        .map(|nodes| nodes.into_iter().map(|(cid, _)| cid));
    match (found, cover(&nodes, &root, &operations)) {
        (Ok(found), Ok(expected)) => {
            let found: BTreeSet<Cid> = found.collect();
            assert!(found == expected || operations.is_empty());
        }
        (Ok(_), Err(error)) => panic!("{error}"),
        (Err(error), Ok(_)) => {
            let fault = TreeFault::BelowBottom;
            assert!(matches!(error, Error::InvalidTree { fault: found, .. } if found == fault));
        }
        (Err(_), Err(_)) => {}
    }
    // And if they make a tree it is as with any tree.
    if verify(&nodes, &root).is_ok() {
        let entries = nodes.entries(&root).unwrap().map(Result::unwrap);
        let map = entries.map(|entry| (entry.key_str().unwrap().to_owned(), entry.value()));
        assert_same(
            &result,
            &oracle(&map.collect(), &operations),
            &BTreeSet::new(),
        );
    }
}

/// The result of inverting `operations`, the obvious way; `None` if they cannot have led to
/// `new`.
fn oracle(new: &Map, operations: &[Operation]) -> Option<Cid> {
    let mut map = new.clone();
    let mut seen = BTreeSet::new();
    for operation in operations {
        let key = str::from_utf8(&operation.key).unwrap();
        let possible = seen.insert(key)
            && operation.old != operation.new
            && new.get(key).copied() == operation.new;
        if !possible {
            return None;
        }
        set(&mut map, key, operation.old);
    }
    Some(build_tree(&map).root)
}

fn assert_same(found: &Result<Cid, InvertError>, expected: &Option<Cid>, gone: &BTreeSet<Cid>) {
    match found {
        Ok(root) => assert_eq!(Some(*root), *expected),
        Err(InvertError::Tree(Error::MissingBlock(cid))) => assert!(gone.contains(cid)),
        Err(InvertError::Tree(error)) => panic!("{error}"),
        Err(_) => assert_eq!(*expected, None),
    }
}

/// The nodes that cover the keys of `operations`, by a walker.
fn cover(
    nodes: &NodeStore<&MemoryBlockStore>,
    root: &Cid,
    operations: &[Operation],
) -> Result<BTreeSet<Cid>, Error> {
    let mut prover = Prover::new(nodes, root)?;
    for operation in operations {
        prover.cover(&operation.key)?;
    }
    let proof = prover.finish();
    Ok(proof.blocks.into_iter().map(|(cid, _)| cid).collect())
}

fn operation(key: &str, old: Option<Cid>, new: Option<Cid>) -> Operation {
    Operation {
        key: key.as_bytes().to_vec(),
        old,
        new,
    }
}

fn value_of(bits: u8) -> Option<Cid> {
    VALUES.get(usize::from(bits & 3)).copied()
}

fn set(map: &mut Map, key: &str, value: Option<Cid>) {
    match value {
        Some(value) => map.insert(key.to_owned(), value),
        None => map.remove(key),
    };
}

fn rotate(operations: &mut [Operation], by: u8) {
    let by = usize::from(by).checked_rem(operations.len()).unwrap_or(0);
    operations.rotate_left(by);
    if by % 2 == 1 {
        operations.reverse();
    }
}

fn uncached(blocks: &MemoryBlockStore) -> NodeStore<&MemoryBlockStore> {
    NodeStore::with_options(blocks, NodeStoreOptions::uncached())
}

/// Makes nodes as `program` says, each of which may link to those before it; the last is
/// the root. A few are not put into the store.
fn build(program: &[u8], blocks: &MemoryBlockStore) -> Cid {
    let mut bytes = program.iter().copied();
    let mut made = vec![dag_cbor_cid(b"\xa0")];
    while let Some(kind) = bytes.next() {
        let left = link(&mut bytes, &made);
        let mut builder = NodeBuilder::new(left.as_ref()).unwrap();
        for _ in 0..kind & 7 {
            let pick = bytes.next().unwrap_or(0);
            let key = &KEYS[usize::from(pick) % KEYS.len()];
            let right = link(&mut bytes, &made);
            // A key out of order is left out.
            let _ = builder.push(
                key.as_bytes(),
                &VALUES[usize::from(pick) / 86],
                right.as_ref(),
            );
        }
        let node = builder.finish();
        if kind & 0xf0 != 0xf0 {
            blocks.put(&node.cid(), node.encode().into()).unwrap();
        }
        made.push(node.cid());
    }
    made[made.len() - 1]
}

/// None, or the node this many places back.
fn link(bytes: &mut impl Iterator<Item = u8>, made: &[Cid]) -> Option<Cid> {
    let back = usize::from(bytes.next()?);
    made.get(made.len().checked_sub(back)?).copied()
}
