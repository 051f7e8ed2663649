//! One node compared with the hash of its block: `cargo bench -p mst-node`.
//!
//! Decoding a node must cost less than hashing it, which every reader does anyway.

use divan::{Bencher, black_box};
use mst_node::{Node, height_of};
use mst_testkit::SampleRepository;
use sha2::{Digest, Sha256};

fn main() {
    divan::main();
}

/// Nodes of a repository of 5,000 records, each with the length of its block: a small one, the
/// median, a large one.
const RANKS: [(&str, usize); 3] = [("small", 10), ("median", 50), ("large", 90)];

/// The block that is longer than those of `percent` of all nodes.
fn block(percent: usize) -> Vec<u8> {
    let sample = SampleRepository::generate(3, 5_000);
    let mut blocks: Vec<_> = sample.tree.nodes.iter().map(|(_, block)| block).collect();
    blocks.sort_by_key(|block| block.len());
    let rank = blocks.len() * percent / 100;
    blocks
        .get(rank)
        .map(|block| block.to_vec())
        .unwrap_or_default()
}

#[divan::bench(args = RANKS)]
fn decode(bencher: Bencher, (_, percent): (&str, usize)) {
    let block = block(percent);
    bencher.bench_local(|| Node::decode(black_box(&block)));
}

#[divan::bench(args = RANKS)]
fn hash_of_block(bencher: Bencher, (_, percent): (&str, usize)) {
    let block = block(percent);
    bencher.bench_local(|| Sha256::digest(black_box(&block)));
}

#[divan::bench(args = RANKS)]
fn encode(bencher: Bencher, (_, percent): (&str, usize)) {
    let node = Node::decode(&block(percent)).expect("a made-up node is a node");
    bencher.bench_local(|| black_box(&node).encode());
}

#[divan::bench(args = RANKS)]
fn height_of_all_keys(bencher: Bencher, (_, percent): (&str, usize)) {
    let node = Node::decode(&block(percent)).expect("a made-up node is a node");
    bencher.bench_local(|| black_box(&node).key_height());
}

#[divan::bench]
fn height_of_a_key(bencher: Bencher) {
    bencher.bench_local(|| height_of(black_box(b"app.bsky.feed.post/3jzfcijpj2z2a")));
}
