//! Putting and getting blocks of 250 bytes: `cargo bench -p blockstore-core`.

use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, OverlayBlockStore, dag_cbor_cid,
};
use divan::Bencher;
use divan::counter::ItemsCount;

const COUNT: u32 = 10_000;

fn main() {
    divan::main();
}

fn blocks() -> Vec<(Cid, Bytes)> {
    (0..COUNT)
        .map(|n| {
            let block: Bytes = n.to_be_bytes().into_iter().cycle().take(250).collect();
            (dag_cbor_cid(&block), block)
        })
        .collect()
}

#[divan::bench]
fn memory_put_many(bencher: Bencher) {
    let blocks = blocks();
    bencher
        .counter(ItemsCount::new(COUNT))
        .with_inputs(MemoryBlockStore::new)
        .bench_local_refs(|store| store.put_many(&blocks));
}

#[divan::bench]
fn memory_get(bencher: Bencher) {
    let blocks = blocks();
    let store = MemoryBlockStore::new();
    store
        .put_many(&blocks)
        .expect("the blocks have the right CIDs");
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        blocks
            .iter()
            .filter(|(cid, _)| store.get(cid).is_ok())
            .count()
    });
}

/// All blocks are in the lower store.
#[divan::bench]
fn overlay_get(bencher: Bencher) {
    let blocks = blocks();
    let store = OverlayBlockStore::new(MemoryBlockStore::new(), MemoryBlockStore::new());
    let put = store.lower().put_many(&blocks);
    put.expect("the blocks have the right CIDs");
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        blocks
            .iter()
            .filter(|(cid, _)| store.get(cid).is_ok())
            .count()
    });
}
