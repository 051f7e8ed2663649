//! The danger: a download that was interrupted, or tampered with, and reads like a smaller
//! repository. Records are returned before the rest has arrived, so each must be proven by what
//! came before it, and only the right end may come without an error.

#![cfg(feature = "car")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, Read};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use blockstore_car::{CarBlockStore, CarError, CarFault};
use blockstore_core::{
    BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, StoreError, dag_cbor_cid,
};
use mst_repo::{
    AsyncRepositoryStream, Decoded, Error, Record, Repository, RepositoryDecoder, RepositoryStream,
    StreamError, StreamOptions,
};
use mst_testkit::{Rng, SampleRepository};
use tokio::io::ReadBuf;

const REV: &str = "3jzfcijpj2z2a";

type Records = Vec<(String, Bytes)>;

/// What is returned, and what ends it: the same in whatever pieces the CAR arrives.
fn read(car: &[u8], memory_bytes: usize) -> (Records, Result<(), StreamError>) {
    let options = StreamOptions {
        memory_bytes,
        ..StreamOptions::default()
    };
    let mut given = Vec::new();
    let ended = RepositoryStream::open_with(car, options).and_then(|mut repository| {
        let mut records = repository.records();
        let ended = records.try_for_each(|record| {
            given.push(plain(&record?));
            Ok(())
        });
        assert!(records.next().is_none());
        ended
    });
    let in_pieces = decode(car, options, |decoder| {
        let record = decoder.next_record()?;
        Ok(record.map(|record| plain(&record)))
    });
    assert_same((&given, &ended), &in_pieces);
    assert_same((&given, &ended), &read_async(car, options));
    (given, ended)
}

fn read_async(car: &[u8], options: StreamOptions) -> (Records, Result<(), StreamError>) {
    let mut given = Vec::new();
    let reading = async {
        let mut repository = AsyncRepositoryStream::open_with(car, options).await?;
        let ended = loop {
            match repository.next_record().await {
                Ok(Some(record)) => given.push(plain(&record)),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        match (&ended, repository.next_record().await) {
            (Ok(()), Ok(None)) | (Err(_), Err(StreamError::AfterError)) => {}
            (_, after) => panic!("{after:?} after {ended:?}"),
        }
        ended
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    let ended = { runtime }.build().unwrap().block_on(reading);
    (given, ended)
}

/// What can be spawned on a runtime of many threads.
#[test]
fn reading_may_go_on_in_another_thread() {
    fn assert_send<T: Send>(_: &T) {}
    async fn check<R>(repository: &AsyncRepositoryStream<R>) {
        tokio::task::yield_now().await;
        assert_eq!(repository.commit().version, 3);
    }

    let car = SampleRepository::generate(2, 10).car();
    assert_send(&RepositoryDecoder::new());
    assert_send(&RepositoryStream::open(car.as_slice()).unwrap().records());
    assert_send(&async {
        let mut repository = AsyncRepositoryStream::open(car.as_slice()).await.unwrap();
        check(&repository).await;
        repository.next_record().await.unwrap();
    });
}

/// A stream that never has to wait, and a CAR of which nothing can be returned before all of it has
/// arrived: other tasks still have their turn.
#[test]
fn other_tasks_have_their_turn_whatever_comes() {
    let sample = SampleRepository::generate(12, 6_000);
    for car in [sample.car(), sample.shuffled_car(3)] {
        let (turn, given) = (Cell::new(0), RefCell::new(vec![0]));
        let mut reading = pin!(async {
            let mut repository = AsyncRepositoryStream::open(car.as_slice()).await.unwrap();
            while let Some(record) = repository.next_record().await.unwrap() {
                given.borrow_mut()[turn.get()] += record.bytes().len();
            }
        });
        let mut context = Context::from_waker(Waker::noop());
        while reading.as_mut().poll(&mut context).is_pending() {
            turn.set(turn.get() + 1);
            given.borrow_mut().push(0);
        }
        let given = given.borrow();
        assert!(given.iter().all(|bytes| *bytes < 70_000), "{given:?}");
        assert!(given.len() > car.len() / 70_000, "{given:?}");
    }
}

/// What a decoder returns that gets a CAR in pieces of all lengths, and what ends it.
fn decode<T>(
    car: &[u8],
    options: StreamOptions,
    mut next: impl FnMut(&mut RepositoryDecoder) -> Result<Decoded<T>, StreamError>,
) -> (Vec<T>, Result<(), StreamError>) {
    let mut decoder = RepositoryDecoder::with_options(options);
    let mut rng = Rng::new(car.len() as u64);
    let mut ahead = car;
    let mut given = Vec::new();
    let ended = loop {
        match next(&mut decoder) {
            Ok(Decoded::Item(item)) => given.push(item),
            Ok(Decoded::NeedsBytes) if ahead.is_empty() => decoder.end(),
            Ok(Decoded::NeedsBytes) => {
                let most = if rng.below(2) == 0 { 10 } else { 2_000 };
                let len = 1 + rng.below(most);
                let (piece, behind) = ahead.split_at(len.min(ahead.len()));
                decoder.push(piece);
                ahead = behind;
            }
            Ok(Decoded::End) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    decoder.push(b"more");
    match (&ended, next(&mut decoder).map(|after| after.map(drop))) {
        (Ok(()), Ok(Decoded::End)) | (Err(_), Err(StreamError::AfterError)) => {}
        (_, after) => panic!("{after:?} after {ended:?}"),
    }
    (given, ended)
}

fn assert_same<T: PartialEq>(
    one: (&Vec<T>, &Result<(), StreamError>),
    other: &(Vec<T>, Result<(), StreamError>),
) {
    assert!(*one.0 == other.0, "{} and {}", one.0.len(), other.0.len());
    assert_eq!(format!("{:?}", one.1), format!("{:?}", other.1));
}

fn plain(record: &Record) -> (String, Bytes) {
    (record.path().to_owned(), record.bytes().clone())
}

/// What the repository holds, as read in the other way.
fn expected(sample: &SampleRepository) -> Records {
    let car = CarBlockStore::from_bytes(sample.car()).unwrap();
    let repository = Repository::open(car, &sample.commit.0).unwrap();
    let records = repository.records().unwrap();
    records.map(|record| plain(&record.unwrap())).collect()
}

#[test]
fn a_streamable_car_is_read_with_nothing_laid_aside() {
    for len in [0, 1, 2, 30, 1_000] {
        let sample = SampleRepository::generate(len as u64, len);
        let (given, ended) = read(&sample.car(), 0);
        assert_eq!(given, expected(&sample));
        ended.unwrap();
    }
}

#[test]
fn what_this_crate_exports_is_streamable_and_is_read_once() {
    let sample = SampleRepository::generate(3, 200);
    let car = CarBlockStore::from_bytes(sample.shuffled_car(5)).unwrap();
    let repository = Repository::open(car, &sample.commit.0).unwrap();
    let blocks: Vec<_> = repository.export().unwrap().map(Result::unwrap).collect();
    let (given, ended) = read(&sample.car_of(&blocks), 0);
    assert_eq!(given, expected(&sample));
    ended.unwrap();

    let car = sample.car();
    let mut stream = RepositoryStream::open(car.as_slice()).unwrap();
    assert_eq!(stream.commit(), repository.commit());
    assert_eq!(stream.commit_cid(), sample.commit.0);
    assert_eq!(stream.records().count(), sample.paths.len());
    assert!(stream.records().next().is_none());
}

#[test]
fn a_car_in_another_order_is_read_if_what_comes_early_may_be_laid_aside() {
    let sample = SampleRepository::generate(4, 500);
    for seed in 0..5 {
        let car = sample.shuffled_car(seed);
        let (given, ended) = read(&car, 1 << 20);
        assert_eq!(given, expected(&sample));
        ended.unwrap();

        let (given, ended) = read(&car, 20_000);
        assert!(matches!(
            ended,
            Err(StreamError::TooMuchAside { limit: 20_000 })
        ));
        assert!(expected(&sample).starts_with(&given));
    }
}

/// Many blocks with hardly any bytes take memory too.
/// What was laid aside and is returned no longer counts.
#[test]
fn a_car_slightly_out_of_order_is_read_in_little_memory() {
    const MEMORY: usize = 20_000;
    let sample = SampleRepository::generate(3, 2_000);
    let mut blocks = sample.blocks();
    let mut laid_aside = 0;
    for pair in blocks.chunks_exact_mut(2) {
        if pair.iter().all(|(cid, _)| sample.records.contains_key(cid)) {
            pair.swap(0, 1);
            laid_aside += pair[0].1.len();
        }
    }
    assert!(laid_aside > 5 * MEMORY, "{laid_aside}");
    let (given, ended) = read(&sample.car_of(&blocks), MEMORY);
    ended.unwrap();
    assert_eq!(given, expected(&sample));
}

#[test]
fn a_key_too_long_for_a_path_is_refused_with_its_node() {
    let record = Bytes::from_static(b"\xa0");
    let cid = dag_cbor_cid(&record);
    let long = format!("com.example.note/{}", "x".repeat(900));
    let sample = SampleRepository::of([(long, cid)].into(), [(cid, record)].into(), REV);
    let (given, ended) = read(&sample.car(), 1 << 20);
    assert!(given.is_empty());
    assert!(
        matches!(ended, Err(StreamError::Repository(Error::Tree(_)))),
        "{ended:?}"
    );
}

/// Input that fails once, and then looks as if it were at its end.
#[derive(Clone)]
struct FailsOnce<'c> {
    rest: &'c [u8],
    has_failed: bool,
}

impl Read for FailsOnce<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && !self.has_failed {
            self.has_failed = true;
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.rest.read(into)
    }
}

impl tokio::io::AsyncRead for FailsOnce<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.read(into.initialize_unfilled())?;
        into.advance(len);
        Poll::Ready(Ok(()))
    }
}

#[test]
fn after_an_error_of_the_input_nothing_is_returned() {
    let car = SampleRepository::generate(3, 50).car();
    let input = FailsOnce {
        rest: &car[..car.len() / 2],
        has_failed: false,
    };
    let mut repository = RepositoryStream::open(input.clone()).unwrap();
    let mut records = repository.records();
    let error = records.by_ref().find_map(Result::err).unwrap();
    assert!(
        matches!(error, StreamError::Car(CarError::Io(_))),
        "{error:?}"
    );
    assert!(records.next().is_none());

    let given = records_before_the_error(
        &mut RepositoryStream::open(input.clone())
            .unwrap()
            .into_records(),
    );
    let mut repository = RepositoryStream::open(input.clone()).unwrap();
    let is_send = |_: &(dyn Send + '_)| ();
    is_send(
        &RepositoryStream::open(car.as_slice())
            .unwrap()
            .into_records(),
    );
    assert!(!given.is_empty());
    assert_eq!(given, records_before_the_error(&mut repository.records()));

    let reading = async {
        let mut repository = AsyncRepositoryStream::open(input).await.unwrap();
        let error = loop {
            match repository.next_record().await {
                Ok(record) => assert!(record.is_some()),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, StreamError::Car(CarError::Io(_))),
            "{error:?}"
        );
        let after = repository.next_record().await;
        assert!(matches!(after, Err(StreamError::AfterError)), "{after:?}");
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.build().unwrap().block_on(reading);
}

#[test]
fn empty_blocks_laid_aside_are_not_free() {
    let sample = SampleRepository::generate(4, 10);
    let mut blocks = sample.blocks();
    let tiny = (0..10_000_u32).map(|n| {
        let block = Bytes::copy_from_slice(&n.to_be_bytes());
        (dag_cbor_cid(&block), block)
    });
    blocks.splice(1..1, tiny);
    let (_, ended) = read(&sample.car_of(&blocks), 1 << 20);
    assert!(matches!(ended, Err(StreamError::TooMuchAside { .. })));
    let (given, ended) = read(&sample.car_of(&blocks), 16 << 20);
    assert_eq!(given, expected(&sample));
    ended.unwrap();
}

#[test]
fn a_block_that_is_taken_out_is_an_error_in_its_place() {
    let sample = SampleRepository::generate(5, 60);
    let expected = expected(&sample);
    let blocks = sample.blocks();
    for at in 0..blocks.len() {
        let mut rest = blocks.clone();
        let (cid, _) = rest.remove(at);
        let (given, ended) = read(&sample.car_of(&rest), 1 << 20);
        assert!(matches!(ended, Err(StreamError::NotAhead(missing)) if missing == cid));
        assert_eq!(ended.unwrap_err().cid(), Some(cid));
        // Everything before it, and nothing after it.
        let before = blocks[..at].iter().map(|(cid, _)| cid);
        let records = before
            .filter(|cid| sample.records.contains_key(cid))
            .count();
        assert_eq!(given, expected[..records]);
    }
}

#[test]
fn a_car_that_is_cut_off_anywhere_is_no_smaller_repository() {
    let sample = SampleRepository::generate(6, 40);
    let (car, expected) = (sample.car(), expected(&sample));
    for len in 0..car.len() {
        let (given, ended) = read(&car[..len], 0);
        assert!(ended.is_err(), "{len}");
        assert!(expected.starts_with(&given));
        assert!(given.len() < expected.len() || len > car.len() - 400);
    }
}

#[test]
fn a_bit_flipped_anywhere_is_an_error_before_what_it_changes_is_given() {
    let sample = SampleRepository::generate(7, 40);
    let (car, expected) = (sample.car(), expected(&sample));
    let mut rng = Rng::new(7);
    for _ in 0..2_000 {
        let mut damaged = car.clone();
        let bit = rng.below(8 * damaged.len());
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (given, ended) = read(&damaged, 1 << 20);
        assert!(ended.is_err(), "{bit}");
        assert!(expected.starts_with(&given));
    }
}

#[test]
fn what_nothing_refers_to_is_passed_over_but_not_if_it_is_damaged() {
    let sample = SampleRepository::generate(8, 40);
    let block = Bytes::from_static(b"\x63old");
    let blocks = sample.blocks();
    for at in 0..=blocks.len() {
        let mut more = blocks.clone();
        more.insert(at, (dag_cbor_cid(&block), block.clone()));
        let (given, ended) = read(&sample.car_of(&more), 1_000);
        assert_eq!(given, expected(&sample));
        ended.unwrap();

        more[at].1 = Bytes::from_static(b"\x63new");
        let (_, ended) = read(&sample.car_of(&more), 1_000);
        let error = ended.unwrap_err();
        assert_eq!(error.cid(), Some(dag_cbor_cid(&block)));
        let StreamError::Car(CarError::Invalid { fault, .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(fault, CarFault::HashMismatch(dag_cbor_cid(&block)));
    }
}

#[test]
fn whatever_blocks_come_in_whatever_order_no_record_is_wrong_or_left_out() {
    let mut rng = Rng::new(11);
    let (mut whole, mut broken) = (0, 0);
    for round in 0..500 {
        let sample = SampleRepository::generate(round, 1 + rng.below(40));
        let mut blocks = sample.blocks();
        for _ in 0..rng.below(6) {
            let (one, other) = (rng.below(blocks.len()), rng.below(blocks.len()));
            match rng.below(8) {
                0 => drop(blocks.remove(one)),
                1..4 => blocks.insert(one, blocks[other].clone()),
                _ => blocks.swap(one, other),
            }
            if blocks.is_empty() {
                break;
            }
        }
        let (given, ended) = read(&sample.car_of(&blocks), rng.below(20_000));
        let expected = expected(&sample);
        assert!(expected.starts_with(&given));
        assert_eq!(ended.is_ok(), given.len() == expected.len(), "{ended:?}");
        *if ended.is_ok() {
            &mut whole
        } else {
            &mut broken
        } += 1;
    }
    assert!(whole > 100 && broken > 100, "{whole} {broken}");
}

/// Two paths, one record: written once, it needs readers that remember it.
#[test]
fn a_record_of_two_paths_is_wanted_twice() {
    let sample = SampleRepository::generate(9, 30);
    let (first, last) = (
        sample.paths.values().next().unwrap(),
        sample.paths.values().next_back().unwrap(),
    );
    let mut paths = sample.paths.clone();
    *paths.values_mut().next_back().unwrap() = *first;
    let mut records = sample.records.clone();
    records.remove(last);
    let twice = SampleRepository::of(paths, records, REV);
    let (given, ended) = read(&twice.car(), 0);
    assert_eq!((given.len(), &given[0].1), (30, &given[29].1));
    ended.unwrap();

    let mut blocks = twice.blocks();
    let again = blocks.iter().rposition(|(cid, _)| cid == first).unwrap();
    blocks.remove(again);
    let (given, ended) = read(&twice.car_of(&blocks), 0);
    assert_eq!(given.len(), 29);
    assert!(matches!(ended, Err(StreamError::NotAhead(cid)) if cid == *first));
    let (given, ended) = read(&twice.car_of(&blocks), 1 << 20);
    assert_eq!((given.len(), &given[0].1), (30, &given[29].1));
    ended.unwrap();
}

#[test]
fn keys_that_are_no_paths_and_blocks_that_cannot_be_verified_are_errors_in_their_places() {
    let sample = SampleRepository::generate(10, 30);
    let mut paths = sample.paths.clone();
    let any = *sample.records.keys().next().unwrap();
    paths.insert("no-path".to_owned(), any);
    let odd = SampleRepository::of(paths, sample.records.clone(), REV);
    let before = odd.paths.range(..="no-path".to_owned()).count() - 1;
    let (given, ended) = read(&odd.car(), 0);
    assert_eq!(given, expected(&sample)[..before]);
    let invalid = |error| matches!(error, StreamError::Repository(Error::InvalidPath { .. }));
    assert!(ended.is_err_and(invalid));

    // A SHA-512 that may be right, and may not.
    let sha2_512 = [&[1, 0x71, 0x13, 64][..], &[7; 64]].concat();
    let sha2_512 = Cid::try_from(sha2_512).unwrap();
    let (mut paths, mut records) = (sample.paths.clone(), sample.records.clone());
    *paths.values_mut().nth(20).unwrap() = sha2_512;
    records.insert(sha2_512, Bytes::from_static(b"\xa0"));
    let odd = SampleRepository::of(paths, records, REV);
    for car in [odd.car(), odd.shuffled_car(2)] {
        let (given, ended) = read(&car, 1 << 20);
        assert_eq!(given, expected(&sample)[..20]);
        assert!(matches!(
            ended,
            Err(StreamError::Repository(Error::Store(StoreError::Unverifiable(cid))))
                if cid == sha2_512
        ));
    }
}

/// A repository with one record at many paths, each block once.
fn shared(paths: usize, record_len: usize) -> SampleRepository {
    let len = u32::try_from(record_len).unwrap();
    let head = [b"\xa1\x61a\x5a".as_slice(), &len.to_be_bytes()].concat();
    let record = Bytes::from([head, vec![7; record_len]].concat());
    let cid = dag_cbor_cid(&record);
    let paths = (0..paths).map(|n| (format!("com.example.record/{n}"), cid));
    SampleRepository::of(paths.collect(), [(cid, record)].into(), REV)
}

#[test]
fn a_record_given_just_before_is_there_however_often_it_is_wanted() {
    for (paths, record_len, memory_bytes) in [
        (1_000, 300, 256 << 10),
        (3_000, 2_000, 1 << 20),
        (400, 100_000, 16 << 20),
        (100, 300_000, 16 << 20),
        (20, 1_000_000, 2 << 20),
    ] {
        let sample = shared(paths, record_len);
        let mut blocks = sample.blocks();
        let mut seen = std::collections::HashSet::new();
        blocks.retain(|(cid, _)| seen.insert(*cid));
        let (given, ended) = read(&sample.car_of(&blocks), memory_bytes);
        ended.unwrap();
        assert_eq!(given.len(), paths);
    }
    // Whatever the form of its CID.
    let record = Bytes::from_static(b"\xa0");
    let version_0 = Cid::new_v0(*dag_cbor_cid(&record).hash()).unwrap();
    let paths = (0..50).map(|n| (format!("com.example.record/{n}"), version_0));
    let records = [(version_0, record)].into();
    let sample = SampleRepository::of(paths.collect(), records, REV);
    let mut blocks = sample.blocks();
    let mut seen = std::collections::HashSet::new();
    blocks.retain(|(cid, _)| seen.insert(*cid));
    let (given, ended) = read(&sample.car_of(&blocks), 16 << 20);
    ended.unwrap();
    assert_eq!(given.len(), 50);
}

/// The blocks of a CID that cannot be checked may differ.
#[test]
fn of_a_cid_that_comes_twice_the_first_block_counts_and_is_counted() {
    // Of sha2-512.
    let unknown = [&[1, 0x55, 0x13, 64][..], &[7; 64]].concat();
    let unknown = Cid::try_from(unknown).unwrap();
    let path = "com.example.record/1".to_owned();
    let record = Bytes::from_static(b"\xa1\x61a\x00");
    let mut sample = SampleRepository::of([(path, unknown)].into(), [].into(), REV);
    sample.records.insert(unknown, record.clone());
    let (commit, tree) = (sample.commit.clone(), sample.tree.nodes[0].clone());
    let car = |twice: &[&[u8]]| {
        let twice = twice.iter();
        let twice = twice.map(|block| (unknown, Bytes::copy_from_slice(block)));
        let blocks: Vec<_> = [commit.clone()].into_iter().chain(twice).collect();
        sample.car_of(&[blocks.as_slice(), std::slice::from_ref(&tree)].concat())
    };
    let (given, ended) = read(&car(&[b"", &record]), 1 << 20);
    assert!(given.is_empty());
    assert!(
        matches!(ended, Err(StreamError::Repository(_))),
        "{ended:?}"
    );
    let large = vec![0; 1 << 20];
    let (_, ended) = read(&car(&[b"", &large]), 1 << 19);
    assert!(
        matches!(ended, Err(StreamError::Repository(_))),
        "{ended:?}"
    );
    let (_, ended) = read(&car(&[&large]), 1 << 19);
    assert!(matches!(ended, Err(StreamError::TooMuchAside { .. })));
}

/// Two CIDs with one digest are two blocks, as in every other way of reading.
#[test]
fn a_record_is_not_given_for_one_of_another_codec() {
    let record = Bytes::from_static(b"\xa1\x61a\x00");
    let (cbor, raw) = (dag_cbor_cid(&record), blockstore_core::raw_cid(&record));
    let paths = [
        ("com.example.record/1", cbor),
        ("com.example.record/2", raw),
    ];
    let paths = paths.map(|(path, cid)| (path.to_owned(), cid)).into();
    let sample = SampleRepository::of(paths, [(cbor, record.clone()), (raw, record)].into(), REV);
    let mut blocks = sample.blocks();
    let (given, ended) = read(&sample.car_of(&blocks), 1 << 20);
    ended.unwrap();
    assert_eq!(given.len(), 2);
    blocks.retain(|(cid, _)| *cid != raw);
    let (given, ended) = read(&sample.car_of(&blocks), 1 << 20);
    assert!(matches!(ended, Err(StreamError::NotAhead(cid)) if cid == raw));
    assert_eq!(given.len(), 1);
}

/// What `blocks` returns, and what ends it.
fn read_blocks(car: &[u8], memory_bytes: usize) -> (Vec<(Cid, Bytes)>, Result<(), StreamError>) {
    let options = StreamOptions {
        memory_bytes,
        ..StreamOptions::default()
    };
    let mut given = Vec::new();
    let ended = RepositoryStream::open_with(car, options).and_then(|mut repository| {
        repository.blocks().try_for_each(|block| {
            given.push(block?);
            Ok(())
        })
    });
    let in_pieces = decode(car, options, RepositoryDecoder::next_block);
    assert_same((&given, &ended), &in_pieces);
    (given, ended)
}

#[test]
fn all_blocks_come_as_an_export_gives_them_in_whatever_order_they_lie() {
    for len in [0, 1, 30, 600] {
        let sample = SampleRepository::generate(len as u64, len);
        let store = CarBlockStore::from_bytes(sample.car()).unwrap();
        let repository = Repository::open(store, &sample.commit.0).unwrap();
        let export: Vec<_> = repository.export().unwrap().map(Result::unwrap).collect();
        let (given, ended) = read_blocks(&sample.car(), 0);
        ended.unwrap();
        assert!(given == export, "{len}");
        for seed in 0..3 {
            let car = sample.shuffled_car(seed);
            let (given, ended) = read_blocks(&car, 4 << 20);
            ended.unwrap();
            assert!(given == export, "{len}");

            let store = MemoryBlockStore::new();
            let mut stream = RepositoryStream::open(car.as_slice()).unwrap();
            let copied = stream.copy_to(&store).unwrap();
            let copy = Repository::open(&store, &sample.commit.0).unwrap();
            assert_eq!(copy.verify().unwrap(), copied);
            assert_eq!(copied.records, sample.paths.len() as u64);
            // Nothing else of it, and each once.
            let all: std::collections::HashSet<_> = export.iter().map(|(cid, _)| cid).collect();
            assert_eq!(store.len(), all.len());
            assert!(stream.blocks().next().is_none());
            let again = stream.copy_to(&store);
            assert!(matches!(again, Err(StreamError::AlreadyRead)));
        }
    }
}

/// A part of a repository must not pass for the whole because something was requested again, or in
/// another way.
#[test]
fn what_was_passed_does_not_come_again_and_that_is_said() {
    /// Fails once, in the middle.
    struct Failing<'c>(&'c [u8], bool);

    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if !self.1 && self.0.len() < 3_000 {
                self.1 = true;
                return Err(io::ErrorKind::TimedOut.into());
            }
            let len = buffer.len().min(500);
            self.0.read(&mut buffer[..len])
        }
    }

    let sample = SampleRepository::generate(11, 60);
    let car = sample.car();
    let store = MemoryBlockStore::new();
    let mut stream = RepositoryStream::open(Failing(&car, false)).unwrap();
    let copied = stream.copy_to(&store);
    assert!(matches!(copied, Err(StreamError::Car(CarError::Io(_)))));
    let copied = stream.copy_to(&store);
    assert!(matches!(copied, Err(StreamError::AfterError)));
    let mut records = stream.records();
    let record = records.next().unwrap();
    assert!(matches!(record, Err(StreamError::AfterError)));
    assert!(records.next().is_none());

    let mut stream = RepositoryStream::open(car.as_slice()).unwrap();
    stream.records().next().unwrap().unwrap();
    let copied = stream.copy_to(&store);
    assert!(matches!(copied, Err(StreamError::AlreadyRead)));
    // That was a question, not a fault.
    assert_eq!(stream.records().count(), 59);

    let mut stream = RepositoryStream::open(car.as_slice()).unwrap();
    stream.records().next().unwrap().unwrap();
    let block = stream.blocks().next().unwrap();
    assert!(matches!(block, Err(StreamError::AlreadyRead)));
    assert_eq!(stream.records().map(Result::unwrap).count(), 59);
    // Also after the end: it is the end of the records, not of the blocks.
    let block = stream.blocks().next().unwrap();
    assert!(matches!(block, Err(StreamError::AlreadyRead)));
    let mut stream = RepositoryStream::open(car.as_slice()).unwrap();
    stream.copy_to(&store).unwrap();
    let record = stream.records().next().unwrap();
    assert!(matches!(record, Err(StreamError::AlreadyRead)));

    // What was requested before anything had arrived decides nothing.
    let mut decoder = RepositoryDecoder::new();
    assert!(matches!(decoder.next_record(), Ok(Decoded::NeedsBytes)));
    decoder.push(&car);
    assert!(matches!(decoder.next_block(), Ok(Decoded::Item(_))));
}

#[test]
fn what_is_exported_for_a_store_goes_into_one() {
    let records =
        [text(30_000), text(40_000), text(50_000)].map(|text| (dag_cbor_cid(&text), text));
    let paths = (0..30).map(|n| (format!("com.example.record/{n:02}"), records[n % 3].0));
    let sample = SampleRepository::of(paths.collect(), records.into(), REV);
    let car = CarBlockStore::from_bytes(sample.car()).unwrap();
    let repository = Repository::open(car, &sample.commit.0).unwrap();
    let export = repository.export().unwrap();
    let short = export.for_store().write_car(Vec::new()).unwrap();
    assert!(short.len() < 130_000);
    for car in [short, sample.car()] {
        let options = StreamOptions {
            memory_bytes: 20_000,
            ..StreamOptions::default()
        };
        let mut stream = RepositoryStream::open_with(car.as_slice(), options).unwrap();
        let store = MemoryBlockStore::new();
        assert_eq!(stream.copy_to(&store).unwrap().records, 30);
        let copy = Repository::open(&store, &sample.commit.0).unwrap();
        assert_eq!(copy.verify().unwrap().records, 30);
    }
}

#[test]
fn a_record_that_all_paths_lead_to_may_be_there_once() {
    let record = text(200);
    let cid = dag_cbor_cid(&record);
    let paths = (0..5_000).map(|n| (format!("com.example.record/{n:04}"), cid));
    let sample = SampleRepository::of(paths.collect(), [(cid, record)].into(), REV);
    let mut seen = std::collections::HashSet::new();
    let mut blocks = sample.blocks();
    blocks.retain(|(cid, _)| seen.insert(*cid));
    let (given, ended) = read(&sample.car_of(&blocks), 100_000);
    ended.unwrap();
    assert_eq!(given.len(), 5_000);
}

#[test]
fn a_decoder_for_a_store_gives_a_large_record_once() {
    let (record, small) = (text(20_000), text(100));
    let (large, other) = (dag_cbor_cid(&record), dag_cbor_cid(&small));
    let cid = |n: u32| if n.is_multiple_of(2) { large } else { other };
    let paths = (0..40).map(|n| (format!("com.example.record/{n:02}"), cid(n)));
    let records = [(large, record), (other, small)].into();
    let sample = SampleRepository::of(paths.collect(), records, REV);
    let car = sample.car();
    let blocks = |mut decoder: RepositoryDecoder| {
        decoder.push(&car);
        decoder.end();
        let mut blocks = Vec::new();
        while let Decoded::Item((cid, _)) = decoder.next_block().unwrap() {
            blocks.push(cid);
        }
        assert_eq!(decoder.summary().records, 40);
        let of = |wanted: Cid| blocks.iter().filter(|cid| **cid == wanted).count();
        (of(large), of(other))
    };
    assert_eq!(blocks(RepositoryDecoder::new()), (20, 20));
    assert_eq!(blocks(RepositoryDecoder::new().for_store()), (1, 20));
}

/// A record of slightly more than `len` bytes.
fn text(len: u16) -> Bytes {
    let head = [0xa1, 0x61, b't', 0x79];
    let text = vec![b'x'; usize::from(len)];
    [head.as_slice(), &len.to_be_bytes(), &text].concat().into()
}

#[test]
fn a_download_that_lacks_anything_is_not_imported() {
    let sample = SampleRepository::generate(5, 60);
    let (car, blocks) = (sample.car(), sample.blocks());
    let copied = |car: &[u8]| {
        let store = MemoryBlockStore::new();
        RepositoryStream::open(car)?.copy_to(&store)
    };
    assert_eq!(copied(&car).unwrap().records, 60);
    for at in 0..blocks.len() {
        let mut rest = blocks.clone();
        let (cid, _) = rest.remove(at);
        let error = copied(&sample.car_of(&rest)).unwrap_err();
        assert!(matches!(error, StreamError::NotAhead(missing) if missing == cid));
    }
    for len in (0..car.len()).step_by(7) {
        assert!(copied(&car[..len]).is_err(), "{len}");
    }
    let paths = [(
        "app.bsky.feed.post/.".to_owned(),
        *sample.paths.values().next().unwrap(),
    )];
    let named = SampleRepository::of(paths.into(), sample.records.clone(), REV);
    let error = copied(&named.car()).unwrap_err();
    assert!(
        matches!(error, StreamError::Repository(Error::InvalidPath { .. })),
        "{error}"
    );
    // The store's error is not lost.
    let full = Full(MemoryBlockStore::new());
    let error = RepositoryStream::open(car.as_slice())
        .unwrap()
        .copy_to(&full);
    assert!(
        matches!(error, Err(StreamError::Repository(Error::Store(_)))),
        "{error:?}"
    );
}

/// Accepts no block.
struct Full(MemoryBlockStore);

impl BlockStore for Full {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.0.get(cid)
    }
}

impl BlockStoreMut for Full {
    fn put(&self, _: &Cid, _: Bytes) -> Result<(), StoreError> {
        Err(StoreError::backend("full"))
    }

    fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
        self.0.delete(cid)
    }
}

/// The paths of the records up to the error, after which there must be nothing.
fn records_before_the_error(
    records: &mut impl Iterator<Item = Result<Record, StreamError>>,
) -> Vec<String> {
    let mut paths = Vec::new();
    for record in records.by_ref() {
        match record {
            Ok(record) => paths.push(record.path().to_owned()),
            Err(_) => break,
        }
    }
    assert!(records.next().is_none());
    paths
}

#[test]
fn the_commit_stays_available_after_the_end_and_after_an_error() {
    let sample = SampleRepository::generate(3, 50);
    let car = sample.car();
    for (len, ends_well) in [(car.len(), true), (car.len() - 1, false)] {
        let mut decoder = RepositoryDecoder::new();
        decoder.push(&car[..len]);
        decoder.end();
        let ended = loop {
            match decoder.next_record() {
                Ok(Decoded::Item(_)) => {}
                Ok(Decoded::NeedsBytes) => panic!("all were pushed"),
                Ok(Decoded::End) => break true,
                Err(_) => break false,
            }
        };
        assert_eq!(ended, ends_well);
        let (cid, _) = decoder.commit().unwrap().unwrap();
        assert_eq!(*cid, sample.commit.0);
    }
}
