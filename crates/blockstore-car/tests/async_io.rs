//! The danger: a download that is awaited with a time limit, or together with something else, loses
//! what had arrived by then; or one that was interrupted passes for a shorter CAR.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use blockstore_car::{AsyncCarReader, AsyncCarWriter, CarDecoder, CarError, CarReader};
use blockstore_core::raw_cid;
use futures_util::FutureExt;
use mst_testkit::SampleRepository;
use tokio::io::{AsyncRead, ReadBuf};

/// Returns bytes only every third time that it is polled, and only a few; just before, it is
/// interrupted once, as a `Read` may be. At the end of the bytes it fails, if it should.
struct Slow<'c> {
    bytes: &'c [u8],
    asked: usize,
    fails: bool,
}

impl AsyncRead for Slow<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.asked += 1;
        match self.asked % 3 {
            1 => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            2 => return Poll::Ready(Err(io::ErrorKind::Interrupted.into())),
            _ => {}
        }
        if self.bytes.is_empty() && self.fails {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let len = self.bytes.len().min(buffer.remaining()).min(700);
        let (given, left) = self.bytes.split_at(len);
        buffer.put_slice(given);
        self.bytes = left;
        Poll::Ready(Ok(()))
    }
}

/// How many blocks are read, and what ends it. A future that is not ready at once is dropped.
fn read(car: &[u8], fails: bool) -> (usize, Result<(), CarError>) {
    let slow = Slow {
        bytes: car,
        asked: 0,
        fails,
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    let mut reader = match { runtime }
        .build()
        .unwrap()
        .block_on(AsyncCarReader::new(slow))
    {
        Ok(reader) => reader,
        Err(error) => return (0, Err(error)),
    };
    let mut count = 0;
    loop {
        match reader.read_block().now_or_never() {
            None => {}
            Some(Ok(Some(_))) => count += 1,
            Some(Ok(None)) => return (count, Ok(())),
            Some(Err(error)) => {
                let after = reader.read_block().now_or_never();
                assert!(matches!(after, Some(Err(CarError::AfterError))));
                return (count, Err(error));
            }
        }
    }
}

#[test]
fn nothing_is_lost_where_a_future_is_dropped() {
    let sample = SampleRepository::generate(8, 300);
    let (count, ended) = read(&sample.car(), false);
    ended.unwrap();
    assert_eq!(count, sample.blocks().len());
}

#[test]
fn a_stream_that_fails_or_is_cut_off_is_no_end() {
    let car = SampleRepository::generate(8, 5).car();
    for len in 0..car.len() {
        let cut_off = &car[..len];
        let whole = CarReader::new(cut_off).map(|reader| reader.take_while(Result::is_ok).count());
        let (count, ended) = read(cut_off, true);
        assert!(matches!(ended, Err(CarError::Io(_))), "{len}: {ended:?}");
        assert_eq!(count, whole.unwrap_or(0), "{len}");

        let sync =
            CarReader::new(cut_off).and_then(|mut reader| reader.try_for_each(|b| b.map(drop)));
        let (again, ended) = read(cut_off, false);
        assert_eq!(
            (again, format!("{ended:?}")),
            (count, format!("{sync:?}")),
            "{len}"
        );
    }
}

#[test]
fn a_block_that_was_begun_and_not_written_to_its_end_spoils_the_rest() {
    let (cid, block) = (raw_cid(&[7; 100]), [7; 100]);
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.build().unwrap().block_on(async {
        // Nobody reads, so there is only room for the header and part of a block.
        let (output, _input) = tokio::io::duplex(80);
        let mut writer = AsyncCarWriter::new(output, &[cid]).await.unwrap();
        assert!(writer.write_block(&cid, &block).now_or_never().is_none());
        let again = writer.write_block(&cid, &block).await;
        assert!(matches!(again, Err(CarError::AfterError)));
        assert!(matches!(writer.finish().await, Err(CarError::AfterError)));
    });
}

#[test]
fn a_block_that_was_given_up_before_it_was_begun_is_not_left_out() {
    let block = vec![7; 128 << 10];
    let cid = raw_cid(&block);
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.build().unwrap().block_on(async {
        let mut writer = AsyncCarWriter::new(Vec::new(), &[cid]).await.unwrap();
        // There is room, but it lets others have their turn first.
        assert!(writer.write_block(&cid, &block).now_or_never().is_none());
        assert!(matches!(writer.finish().await, Err(CarError::AfterError)));
    });
}

#[test]
fn after_an_error_nothing_is_read() {
    let mut decoder = CarDecoder::new();
    decoder.push(b"\x00");
    assert!(decoder.next_block().is_err());
    let mut input = b"more".as_slice();
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.build().unwrap().block_on(async {
        assert_eq!(decoder.read_from_async(&mut input).await.unwrap(), 0);
    });
    assert_eq!(input, b"more");
}

/// How often a task yields to others before it is done, if it never has to wait.
fn turns(task: impl Future<Output = ()>) -> usize {
    let mut task = pin!(task);
    let mut context = Context::from_waker(Waker::noop());
    let mut turns = 0;
    while task.as_mut().poll(&mut context).is_pending() {
        turns += 1;
    }
    turns
}

#[test]
fn other_tasks_have_their_turn_also_where_nothing_is_waited_for() {
    let sample = SampleRepository::generate(12, 6_000);
    let car = sample.car();
    let wanted = car.len() / (128 << 10) - 1..=car.len() / (64 << 10);

    let reading = turns(async {
        let mut reader = AsyncCarReader::new(car.as_slice()).await.unwrap();
        while reader.read_block().await.unwrap().is_some() {}
    });
    assert!(wanted.contains(&reading), "{reading}, not {wanted:?}");

    let writing = turns(async {
        let mut writer = AsyncCarWriter::new(Vec::new(), &[]).await.unwrap();
        for (cid, block) in sample.blocks() {
            writer.write_block(&cid, &block).await.unwrap();
        }
        writer.finish().await.unwrap();
    });
    assert!(wanted.contains(&writing), "{writing}, not {wanted:?}");
}

#[test]
fn what_is_finished_is_flushed() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let output = { runtime }.build().unwrap().block_on(async {
        let buffered = tokio::io::BufWriter::new(Vec::new());
        let mut writer = AsyncCarWriter::new(buffered, &[]).await.unwrap();
        writer.write_block(&raw_cid(b"a"), b"a").await.unwrap();
        writer.finish().await.unwrap()
    });
    let mut reader = CarReader::new(output.get_ref().as_slice()).unwrap();
    assert_eq!(reader.read_block().unwrap().unwrap().bytes(), b"a");
}
