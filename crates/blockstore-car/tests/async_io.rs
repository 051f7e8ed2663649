//! The danger: a download that is waited for with a time limit, or beside something else, loses
//! what had come in by then; or one that broke off passes for a shorter CAR.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use blockstore_car::{AsyncCarReader, AsyncCarWriter, CarError, CarReader};
use blockstore_core::raw_cid;
use futures_util::FutureExt;
use mst_testkit::SampleRepository;
use tokio::io::{AsyncRead, ReadBuf};

/// Gives bytes only every other time that it is asked, and not many. Where they end it fails, if it
/// is to.
struct Slow<'c> {
    bytes: &'c [u8],
    ready: bool,
    fails: bool,
}

impl AsyncRead for Slow<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.ready = !self.ready;
        if !self.ready {
            context.waker().wake_by_ref();
            return Poll::Pending;
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
        ready: false,
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
        // Nobody reads, so there is room for the header and part of a block.
        let (output, _input) = tokio::io::duplex(80);
        let mut writer = AsyncCarWriter::new(output, &[cid]).await.unwrap();
        assert!(writer.write_block(&cid, &block).now_or_never().is_none());
        let again = writer.write_block(&cid, &block).await;
        assert!(matches!(again, Err(CarError::AfterError)));
        assert!(matches!(writer.finish().await, Err(CarError::AfterError)));
    });
}
