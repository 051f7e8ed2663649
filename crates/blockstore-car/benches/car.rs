//! A CAR of 10,000 records: `cargo bench -p blockstore-car`.

use std::sync::LazyLock;

use blockstore_car::{
    BlockStore, Bytes, CarBlockStore, CarOptions, CarReader, CarWriter, Cid, Verify,
};
use divan::Bencher;
use divan::counter::BytesCount;
use mst_testkit::{BENCH_SEED, SampleRepository};

fn main() {
    divan::main();
}

struct Car {
    bytes: Bytes,
    blocks: Vec<(Cid, Bytes)>,
    root: Cid,
}

static CAR: LazyLock<Car> = LazyLock::new(|| {
    let sample = SampleRepository::generate(BENCH_SEED, 10_000);
    Car {
        bytes: sample.car().into(),
        blocks: sample.blocks(),
        root: sample.commit.0,
    }
});

/// Opens the CAR and gets all its blocks in the order of the CAR.
fn open_and_get(verify: Verify) -> usize {
    let options = CarOptions {
        verify: Some(verify),
        ..CarOptions::default()
    };
    let car = CarBlockStore::from_bytes_with(CAR.bytes.clone(), options);
    let car = car.expect("a made-up CAR is a CAR");
    CAR.blocks
        .iter()
        .filter(|(cid, _)| car.get(cid).is_ok())
        .count()
}

#[divan::bench(args = [Verify::OnOpen, Verify::OnRead, Verify::Never])]
fn open_and_get_all(bencher: Bencher, verify: Verify) {
    bencher
        .counter(BytesCount::new(CAR.bytes.len()))
        .bench(|| open_and_get(verify));
}

#[divan::bench]
fn read_as_a_stream(bencher: Bencher) {
    bencher.counter(BytesCount::new(CAR.bytes.len())).bench(|| {
        let mut reader = CarReader::new(&*CAR.bytes).expect("a made-up CAR is a CAR");
        let mut len = 0;
        while let Some(block) = reader.read_block().expect("a made-up CAR is a CAR") {
            len += block.bytes().len();
        }
        len
    });
}

#[divan::bench]
fn write(bencher: Bencher) {
    bencher.counter(BytesCount::new(CAR.bytes.len())).bench(|| {
        let output = Vec::with_capacity(CAR.bytes.len());
        let mut writer = CarWriter::new(output, &[CAR.root])?;
        for (cid, block) in &CAR.blocks {
            writer.write_block(cid, block)?;
        }
        writer.finish()
    });
}
