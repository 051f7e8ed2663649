//! Any blocks, linked in any way that honest hashes allow: no panic, no hang, the same from
//! either end, and a tree is found valid exactly if rebuilding it leads to its root.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use blockstore_core::{BlockStoreMut, Bytes, Cid, MemoryBlockStore, dag_cbor_cid};
use libfuzzer_sys::fuzz_target;
use mst_node::NodeBuilder;
use mst_ops::{NodeStore, NodeWalker, verify};
use mst_testkit::{build_tree, key_of_height};

/// 64 keys of heights 0 to 3, in order.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let keys =
        (0..64).map(|n| key_of_height(&format!("k{n:02}/"), [0, 1, 0, 2, 1, 0, 3, 1][n % 8]));
    keys.collect()
});

fuzz_target!(|program: &[u8]| {
    let blocks = MemoryBlockStore::new();
    let root = build(program, &blocks);
    let nodes = NodeStore::new(&blocks);
    let verified = verify(&nodes, &root);
    let Ok(walker) = NodeWalker::new(&nodes, &root) else {
        assert!(verified.is_err());
        return;
    };

    let forward: Vec<_> = walker.entries().collect();
    let mut backward: Vec<_> = walker.entries().rev().collect();
    backward.reverse();
    assert_eq!(format!("{forward:?}"), format!("{backward:?}"));
    let errors = walker.nodes().filter(Result::is_err).count();
    assert_eq!(errors, forward.iter().filter(|item| item.is_err()).count());

    let entries: BTreeMap<String, Cid> = forward
        .iter()
        .flatten()
        .map(|entry| (entry.key_str().unwrap().to_owned(), entry.value()))
        .collect();
    assert_eq!(entries.len(), forward.iter().flatten().count());
    let canonical = errors == 0 && build_tree(&entries).root == root;
    assert_eq!(verified.is_ok(), canonical);
    for (key, value) in &entries {
        let found = walker.clone().find(key.as_bytes());
        assert_eq!(found.unwrap(), Some(*value));
    }
});

/// Makes nodes according to `program`, each of which may link to earlier ones; the last is the
/// root. A few are not put into the store, a few blocks are not nodes.
fn build(program: &[u8], blocks: &MemoryBlockStore) -> Cid {
    let mut bytes = program.iter().copied();
    let garbage = Bytes::from_static(b"\xa0");
    let mut made = vec![dag_cbor_cid(&garbage)];
    blocks.put(&made[0], garbage).unwrap();
    while let Some(kind) = bytes.next() {
        let left = link(&mut bytes, &made);
        let mut builder = NodeBuilder::new(left.as_ref()).unwrap();
        for _ in 0..kind & 7 {
            let key = &KEYS[usize::from(bytes.next().unwrap_or(0)) % KEYS.len()];
            let right = link(&mut bytes, &made);
            // A key out of order is left out.
            let _ = builder.push(key.as_bytes(), &made[0], right.as_ref());
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
