//! Blocks of a repository in any order, some of them missing, repeated or damaged: a stream returns
//! the beginning of what the index returns, and ends without an error only if it has returned
//! everything. What is salvaged is as it was, and no less than what a stream returns.
#![no_main]

use std::sync::LazyLock;

use blockstore_car::CarBlockStore;
use blockstore_core::MemoryBlockStore;
use libfuzzer_sys::fuzz_target;
use mst_repo::{
    Cid, Decoded, Record, Repository, RepositoryDecoder, RepositoryStream, Salvaged, StreamError,
    StreamOptions,
};
use mst_testkit::SampleRepository;

static SAMPLES: LazyLock<[SampleRepository; 4]> =
    LazyLock::new(|| [0, 1, 8, 40].map(|len| SampleRepository::generate(len as u64, len)));

type Given = Vec<(String, Vec<u8>)>;

fuzz_target!(|program: &[u8]| {
    let Some(([kind, aside, damaged], order)) = program.split_first_chunk() else {
        return;
    };
    let sample = &SAMPLES[usize::from(kind & 3)];
    let all = sample.blocks();
    // In order except for what the program says, so that a few bytes are enough for a whole one.
    let mut blocks = all.clone();
    for [what, at, to] in order.as_chunks().0 {
        let at = usize::from(*at) % blocks.len();
        match what & 3 {
            0 if blocks.len() > 1 => drop(blocks.remove(at)),
            1 => {
                let block = blocks.remove(at);
                blocks.insert(usize::from(*to) % (blocks.len() + 1), block);
            }
            _ => blocks.insert(at, all[usize::from(*to) % all.len()].clone()),
        }
    }
    let mut car = sample.car_of(&blocks);
    if kind & 4 != 0 {
        let at = car.len() * usize::from(*damaged) / 256;
        car[at] ^= 1 << (kind >> 5);
    }
    if kind & 8 != 0 {
        car.truncate(car.len() * usize::from(*damaged) / 256);
    }

    let options = StreamOptions {
        memory_bytes: usize::from(*aside) * 64,
        ..StreamOptions::default()
    };
    let (streamed, ended) = stream(&car, options);
    let most = 1 + usize::from(*aside);
    let (in_pieces, ended_so) = decode(&car, options, most);
    assert_eq!(in_pieces, streamed);
    assert_eq!(format!("{ended_so:?}"), format!("{ended:?}"));
    let (indexed, whole) = index(&car);
    assert!(indexed.starts_with(&streamed) || !opens(&car));
    if ended.is_ok() {
        assert!(whole && streamed == indexed);
        assert_eq!(streamed.len(), sample.paths.len());
    }
    let (copied, store) = copy(&car, options);
    assert_eq!(copied.is_ok(), ended.is_ok());
    if copied.is_ok() {
        let copy = Repository::open(&store, &sample.commit.0).unwrap();
        assert_eq!(copy.verify().unwrap().records, streamed.len() as u64);
    }
    let saved = salvage(&car, &sample.commit.0);
    assert!(saved.is_sorted_by(|one, next| one.0 < next.0));
    assert!(streamed.iter().all(|record| saved.contains(record)));
    for (path, record) in &saved {
        let value = &sample.paths[path];
        assert_eq!(*record, sample.records[value]);
    }
});

fn stream(car: &[u8], options: StreamOptions) -> (Given, Result<(), StreamError>) {
    let mut given = Vec::new();
    let ended = RepositoryStream::open_with(car, options).and_then(|mut repository| {
        repository.records().try_for_each(|record| {
            given.push(plain(&record?));
            Ok(())
        })
    });
    (given, ended)
}

/// The same in pieces of up to `most` bytes.
fn decode(car: &[u8], options: StreamOptions, most: usize) -> (Given, Result<(), StreamError>) {
    let mut given = Vec::new();
    let mut decoder = RepositoryDecoder::with_options(options);
    let mut pieces = car.chunks(most);
    loop {
        match decoder.next_record() {
            Ok(Decoded::Item(record)) => given.push(plain(&record)),
            Ok(Decoded::NeedsBytes) => match pieces.next() {
                Some(piece) => decoder.push(piece),
                None => decoder.end(),
            },
            Ok(Decoded::End) => return (given, Ok(())),
            Err(error) => return (given, Err(error)),
        }
    }
}

/// Puts the blocks into a store.
fn copy(car: &[u8], options: StreamOptions) -> (Result<(), StreamError>, MemoryBlockStore) {
    let store = MemoryBlockStore::new();
    let copied = RepositoryStream::open_with(car, options)
        .and_then(|mut repository| repository.copy_to(&store).map(drop));
    (copied, store)
}

/// What is left if the CAR is taken for damaged.
fn salvage(car: &[u8], commit: &Cid) -> Given {
    let (car, _) = CarBlockStore::from_damaged_bytes(car.to_vec());
    let Ok(repository) = Repository::open(&car, commit) else {
        return Vec::new();
    };
    let cids: Vec<Cid> = car.cids().map(Result::unwrap).collect();
    let salvaged = repository.salvage_among(&cids).unwrap();
    let record = |item| match item {
        Salvaged::Record(record) => Some(plain(&record)),
        Salvaged::Fault(_) => None,
    };
    salvaged.filter_map(record).collect()
}

/// Whether the CAR is valid to its end, which a stream sees when it gets there.
fn opens(car: &[u8]) -> bool {
    CarBlockStore::from_bytes(car.to_vec()).is_ok()
}

/// What the index returns up to the first error, and whether that is everything.
fn index(car: &[u8]) -> (Given, bool) {
    let mut given = Vec::new();
    let Ok(store) = CarBlockStore::from_bytes(car.to_vec()) else {
        return (given, false);
    };
    let root = store.roots()[0];
    let Ok(repository) = Repository::open(store, &root) else {
        return (given, false);
    };
    let Ok(records) = repository.records() else {
        return (given, false);
    };
    for record in records {
        match record {
            Ok(record) => given.push(plain(&record)),
            Err(_) => return (given, false),
        }
    }
    (given, true)
}

fn plain(record: &Record) -> (String, Vec<u8>) {
    (record.path().to_owned(), record.bytes().to_vec())
}
