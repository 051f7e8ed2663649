//! The danger: CARs that only this crate can read, or that only others can. `iroh-car`, with
//! which most Rust programs of the network read and write CARs, is the witness.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use blockstore_car::{
    AsyncCarReader, AsyncCarWriter, BlockStore, CarBlockStore, CarReader, CarWriter, Cid,
};
use blockstore_core::{cid_of, dag_cbor_cid};
use futures_util::TryStreamExt;
use iroh_car::CarHeader;
use proptest::prelude::*;

#[test]
fn a_repository_is_written_the_same_by_both() {
    let repository = mst_testkit::SampleRepository::generate(3, 50);
    let blocks: Vec<_> = repository
        .blocks()
        .into_iter()
        .map(|(cid, block)| (cid, block.to_vec()))
        .collect();
    assert_eq!(
        repository.car(),
        written_by_iroh(&[repository.commit.0], &blocks)
    );
    let (roots, read) = read_by_iroh(&repository.car());
    assert_eq!((roots, read), (vec![repository.commit.0], blocks));
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn what_one_writes_the_other_reads(roots in prop::collection::vec(cids(), 1..4), blocks in blocks()) {
        let ours = written(&roots, &blocks);
        prop_assert_eq!(&ours, &written_by_iroh(&roots, &blocks));
        prop_assert_eq!(&ours, &written_async(&roots, &blocks));
        prop_assert_eq!(read_by_iroh(&ours), (roots.clone(), blocks.clone()));

        let reader = CarReader::new(ours.as_slice()).unwrap();
        prop_assert_eq!(reader.roots(), &roots);
        let read: Vec<(Cid, Vec<u8>)> = reader
            .map(|block| block.map(|block| (block.cid, block.bytes.to_vec())))
            .collect::<Result<_, _>>()
            .unwrap();
        prop_assert_eq!(&read, &blocks);
        prop_assert_eq!(read_async(&ours), (roots.clone(), blocks.clone()));

        let store = CarBlockStore::from_bytes(ours).unwrap();
        prop_assert_eq!(store.roots(), &roots);
        for (cid, block) in &blocks {
            if let Ok(found) = store.get(cid) {
                prop_assert_eq!(found.as_deref(), Some(block.as_slice()));
            } else {
                prop_assert!(!blockstore_core::is_verifiable(cid));
            }
        }
    }
}

fn written(roots: &[Cid], blocks: &[(Cid, Vec<u8>)]) -> Vec<u8> {
    let mut writer = CarWriter::new(Vec::new(), roots).unwrap();
    for (cid, block) in blocks {
        writer.write_block(cid, block).unwrap();
    }
    writer.finish().unwrap()
}

fn written_async(roots: &[Cid], blocks: &[(Cid, Vec<u8>)]) -> Vec<u8> {
    run(async {
        let mut writer = AsyncCarWriter::new(Vec::new(), roots).await.unwrap();
        for (cid, block) in blocks {
            writer.write_block(cid, block).await.unwrap();
        }
        writer.finish().await.unwrap()
    })
}

fn read_async(car: &[u8]) -> (Vec<Cid>, Vec<(Cid, Vec<u8>)>) {
    run(async {
        let mut reader = AsyncCarReader::new(car).await.unwrap();
        let mut blocks = Vec::new();
        while let Some(block) = reader.read_block().await.unwrap() {
            blocks.push((block.cid(), block.bytes().to_vec()));
        }
        (reader.roots().to_vec(), blocks)
    })
}

fn written_by_iroh(roots: &[Cid], blocks: &[(Cid, Vec<u8>)]) -> Vec<u8> {
    run(async {
        let mut car = Vec::new();
        let mut writer = iroh_car::CarWriter::new(CarHeader::new_v1(roots.to_vec()), &mut car);
        writer.write_header().await.unwrap();
        for (cid, block) in blocks {
            writer.write(*cid, block).await.unwrap();
        }
        writer.finish().await.unwrap();
        car
    })
}

fn read_by_iroh(car: &[u8]) -> (Vec<Cid>, Vec<(Cid, Vec<u8>)>) {
    run(async {
        let reader = iroh_car::CarReader::new(car).await.unwrap();
        let roots = reader.header().roots().to_vec();
        (roots, reader.stream().try_collect().await.unwrap())
    })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.build().unwrap().block_on(future)
}

/// Blocks under honest CIDs of several codecs, some twice, some that cannot be verified.
fn blocks() -> impl Strategy<Value = Vec<(Cid, Vec<u8>)>> {
    let block = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (0..70_000_usize).prop_map(|len| vec![0x40; len]),
    ];
    let codec = prop::sample::select(vec![0x71, 0x55, 0x70, 0x0129]);
    let block = (block, codec, 0..10_u8).prop_map(|(block, codec, kind)| {
        let cid = cid_of(codec, &block);
        let cid = match kind {
            0 => Cid::new_v0(*cid.hash()).unwrap(),
            1 => odd_cid(),
            _ => cid,
        };
        (cid, block)
    });
    prop::collection::vec(block, 0..12)
        .prop_map(|blocks| [blocks.clone(), blocks.into_iter().take(2).collect()].concat())
}

fn cids() -> impl Strategy<Value = Cid> {
    prop_oneof![
        any::<u64>().prop_map(|n| dag_cbor_cid(&n.to_be_bytes())),
        any::<u64>().prop_map(|n| cid_of(0x55, &n.to_be_bytes())),
        Just(odd_cid()),
    ]
}

/// An identity CID.
fn odd_cid() -> Cid {
    Cid::try_from(b"\x01\x55\x00\x04four".as_slice()).unwrap()
}

/// This many cases, and no file for one that fails: the seed is in the report.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
