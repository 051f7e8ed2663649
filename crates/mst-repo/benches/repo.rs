//! A repository of 100,000 records from a CAR in memory: `cargo bench -p mst-repo`.

use blockstore_car::{Bytes, CarBlockStore, CarWriter};
use blockstore_core::{BlockStoreMut, MemoryBlockStore};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use mst_ops::NodeStoreOptions;
use mst_repo::{Commit, Repository};
use mst_testkit::{BENCH_RECORDS, BENCH_SEED, SampleRepository};

fn main() {
    divan::main();
}

/// From the CAR's bytes to all records in order: hashes, tree and paths checked.
fn read(car: &Bytes) -> usize {
    let car = CarBlockStore::from_bytes(car.clone()).expect("a made-up CAR is a CAR");
    let commit = car.root().expect("it has a root");
    let options = NodeStoreOptions::uncached();
    let repository = Repository::open_with(car, &commit, options);
    let repository = repository.expect("it has a commit");
    let records = repository.records().expect("it has a tree");
    records
        .map(|record| record.expect("it is whole").bytes().len())
        .sum()
}

#[divan::bench]
fn read_preorder_car(bencher: Bencher) {
    let car = SampleRepository::generate(BENCH_SEED, BENCH_RECORDS).car();
    let car = Bytes::from(car);
    bencher
        .counter(ItemsCount::new(BENCH_RECORDS))
        .bench(|| read(&car));
}

#[divan::bench]
fn read_shuffled_car(bencher: Bencher) {
    let car = SampleRepository::generate(BENCH_SEED, BENCH_RECORDS).shuffled_car(BENCH_SEED);
    let car = Bytes::from(car);
    bencher
        .counter(ItemsCount::new(BENCH_RECORDS))
        .bench(|| read(&car));
}

/// From a store in memory to the bytes of a CAR.
#[divan::bench]
fn export(bencher: Bencher) {
    let sample = SampleRepository::generate(BENCH_SEED, BENCH_RECORDS);
    let blocks = MemoryBlockStore::new();
    let put = blocks.put_many(&sample.blocks());
    put.expect("a made-up repository has the right CIDs");
    let commit = sample.commit.0;
    let len = sample.car().len();
    drop(sample);
    let options = NodeStoreOptions::uncached();
    bencher.counter(ItemsCount::new(BENCH_RECORDS)).bench(|| {
        let repository = Repository::open_with(&blocks, &commit, options);
        let repository = repository.expect("it has a commit");
        let writer = CarWriter::new(Vec::with_capacity(len), &[commit]);
        let mut writer = writer.expect("a vector takes every write");
        for block in repository.export().expect("it has a tree") {
            let (cid, block) = block.expect("it is whole");
            let written = writer.write_block(&cid, &block);
            written.expect("a vector takes every write");
        }
        writer.finish().expect("a vector takes every write")
    });
}

#[divan::bench]
fn decode_commit(bencher: Bencher) {
    let (_, block) = SampleRepository::generate(BENCH_SEED, 1).commit;
    bencher.bench_local(|| Commit::decode(black_box(&block)));
}
