//! A tree built the obvious way, to compare the other ways with.

use std::collections::BTreeMap;

use blockstore_core::{Bytes, Cid};
use mst_node::{NodeBuilder, height_of};

/// A whole tree: its root and all its nodes.
#[derive(Debug, Clone)]
pub struct SampleTree {
    /// The CID of the top node.
    pub root: Cid,
    /// All nodes in preorder, the root first.
    pub nodes: Vec<(Cid, Bytes)>,
}

/// Builds the tree of `pairs`.
///
/// The top is as high as the highest key; the keys of that height are its entries; what
/// is between two of them is a tree of its own, one level lower.
pub fn build_tree(pairs: &BTreeMap<String, Cid>) -> SampleTree {
    let pairs: Vec<Pair> = pairs
        .iter()
        .map(|(key, value)| Pair {
            key: key.as_bytes(),
            value,
            height: height_of(key.as_bytes()),
        })
        .collect();
    let top = pairs.iter().map(|pair| pair.height).max().unwrap_or(0);
    let mut nodes = Vec::new();
    let root = build_level(&pairs, top, &mut nodes);
    SampleTree { root, nodes }
}

struct Pair<'p> {
    key: &'p [u8],
    value: &'p Cid,
    height: u8,
}

/// Builds the tree of `pairs` with its top at `height` and appends its nodes in preorder.
fn build_level(pairs: &[Pair<'_>], height: u8, nodes: &mut Vec<(Cid, Bytes)>) -> Cid {
    // The node goes before its subtrees, but is known only after them.
    let place = nodes.len();
    nodes.push(Default::default());

    let mut between = pairs.split(|pair| pair.height == height);
    let mut subtree = |nodes: &mut Vec<_>| {
        let pairs = between.next().filter(|pairs| !pairs.is_empty())?;
        Some(build_level(pairs, height - 1, nodes))
    };
    let left = subtree(nodes);
    let mut builder = NodeBuilder::new(left.as_ref()).expect("a node's CID is a node's CID");
    for pair in pairs.iter().filter(|pair| pair.height == height) {
        let right = subtree(nodes);
        builder
            .push(pair.key, pair.value, right.as_ref())
            .expect("the keys of a map ascend");
    }
    let node = builder.finish();
    let cid = node.cid();
    if let Some(entry) = nodes.get_mut(place) {
        *entry = (cid, node.encode().into());
    }
    cid
}
