//! What is accepted as a node has one encoding, and its parts make the same node.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mst_node::{Node, NodeBuilder};

fuzz_target!(|block: &[u8]| {
    let Ok(node) = Node::decode(block) else {
        return;
    };
    assert_eq!(node.encode(), block);
    let mut builder = NodeBuilder::new(node.subtree(0).as_ref()).unwrap();
    for entry in node.entries() {
        let right = entry.right();
        builder
            .push(entry.key(), &entry.value(), right.as_ref())
            .unwrap();
    }
    assert_eq!(builder.finish(), node);
});
