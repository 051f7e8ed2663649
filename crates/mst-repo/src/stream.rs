//! Reads a repository in one pass, from the first byte of a CAR to the last.

use std::fmt;
use std::io::Read;
use std::iter::{self, FusedIterator};

use blockstore_car::{CarError, Decoded};
use blockstore_core::{BlockStoreMut, Bytes, Cid, put_all};

use crate::{Commit, Record, RepositoryDecoder, RepositorySummary, StreamError, StreamOptions};

/// A repository in a CAR from any [`Read`]: a download, a pipe, a file.
///
/// It is read once, and its records are returned as they come, in path order. Everything that
/// [`Repository::records`](crate::Repository::records) checks is checked: the framing of the CAR,
/// the hash of each block, the form of each node and its place in the tree, each path.
///
/// In a CAR in streamable order, as [`Repository::export`](crate::Repository::export) writes it,
/// each block is the one that is wanted next. In another order, blocks that come too early are put
/// aside. And as a CAR may have only one copy of what two paths refer to, the most recent records
/// are kept. Both together take no more memory than [`StreamOptions::memory_bytes`].
///
/// Many servers send another order, such as that of the blocks' CIDs. Then nearly all of the CAR is
/// put aside before the first record, and one of more than 23 to 40 MB (by default) ends with
/// [`StreamError::TooMuchAside`]; so may one with a record far from its first path. If the order is
/// unknown, put the CAR into a file first: [`CarBlockStore`](blockstore_car::CarBlockStore) reads
/// any order.
///
/// After an error of its input it returns nothing more, even if that was only a socket timeout. If
/// you want to go on then, read into a [`RepositoryDecoder`](crate::RepositoryDecoder)
/// ([`read_from`](crate::RepositoryDecoder::read_from)).
///
/// Source: <https://atproto.com/specs/repository#car-file-serialization>, "Streamable CAR Block
/// Ordering"
///
/// # Examples
///
/// ```
/// use mst_repo::RepositoryStream;
/// # let download = mst_testkit::SampleRepository::generate(7, 10).car();
///
/// let mut repository = RepositoryStream::open(download.as_slice())?;
/// println!("{} at {}", repository.commit().did, repository.commit().rev);
/// for record in repository.records() {
///     let record = record?;
///     println!("{}: {} bytes", record.path(), record.bytes().len());
/// }
/// # Ok::<(), mst_repo::StreamError>(())
/// ```
pub struct RepositoryStream<R> {
    input: R,
    decoder: RepositoryDecoder,
}

impl<R: Read> RepositoryStream<R> {
    /// Reads the commit.
    ///
    /// # Errors
    ///
    /// As for [`open_with`](Self::open_with).
    pub fn open(car: R) -> Result<Self, StreamError> {
        Self::open_with(car, StreamOptions::default())
    }

    /// Reads the commit, and prepares to read the rest, with the given options.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; if the commit comes late in the CAR, [`StreamError::TooMuchAside`] too.
    /// `car` is then dropped: pass `&mut car` to go on with it, for example to write the rest of a
    /// download to a file, which a [`CarBlockStore`](crate::CarBlockStore) can read in any order.
    pub fn open_with(car: R, options: StreamOptions) -> Result<Self, StreamError> {
        let decoder = RepositoryDecoder::with_options(options);
        let mut stream = Self {
            input: car,
            decoder,
        };
        while stream.decoder.commit()?.is_none() {
            stream.read_on()?;
        }
        Ok(stream)
    }

    /// Makes [`blocks`](Self::blocks) leave out large records that it has returned for another
    /// path, as [`RepositoryDecoder::for_store`] does.
    #[must_use]
    pub fn for_store(mut self) -> Self {
        self.decoder.leave_out_large();
        self
    }

    /// Returns the records, in path order. This is a single pass: what was returned does not come
    /// again.
    ///
    /// A record is returned for each path that leads to it, so a small CAR from an untrusted source
    /// can expand to a great many bytes of records: bound what you keep.
    pub fn records(&mut self) -> StreamedRecords<'_, R> {
        StreamedRecords {
            stream: self,
            failed: false,
        }
    }

    /// As [`records`](Self::records), but takes the stream, so that the iterator can be returned or
    /// sent to another thread.
    pub fn into_records(
        mut self,
    ) -> impl FusedIterator<Item = Result<Record, StreamError>> + use<R> {
        let mut failed = false;
        let records = iter::from_fn(move || self.next(&mut failed, RepositoryDecoder::next_record));
        records.fuse()
    }

    /// Returns all blocks, the commit, the nodes and the records, in streamable order, checked as
    /// [`records`](Self::records) checks them. This is a single pass: read either records or
    /// blocks.
    ///
    /// A record is returned for each path that leads to it, unless this is
    /// [`for_store`](Self::for_store).
    pub fn blocks(&mut self) -> StreamedBlocks<'_, R> {
        StreamedBlocks {
            stream: self,
            failed: false,
        }
    }

    /// Puts all blocks into `store` as they come: an import in one pass, of a download that is
    /// never stored as a whole. Blocks that the repository does not need are left out.
    ///
    /// After an error, the blocks put before it stay in the store; if the store is a transaction,
    /// it is all or nothing. But a transaction is then held as long as the download takes, which
    /// its sender may draw out. It is better to put a CAR from an untrusted source, or in an
    /// unknown order, into a file first: [`CarBlockStore`](blockstore_car::CarBlockStore) reads any
    /// order, and [`Repository::copy_to`](crate::Repository::copy_to) checks everything before it
    /// puts anything.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; if `store` fails to take a block, [`Error::Store`](crate::Error::Store) in
    /// it.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_core::MemoryBlockStore;
    /// use mst_repo::{Repository, RepositoryStream};
    /// # let download = mst_testkit::SampleRepository::generate(7, 10).car();
    ///
    /// let mut stream = RepositoryStream::open(download.as_slice())?;
    /// let commit = stream.commit_cid();
    /// let store = MemoryBlockStore::new();
    /// assert_eq!(stream.copy_to(&store)?.records, 10);
    /// assert_eq!(Repository::open(store, &commit)?.verify()?.records, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn copy_to<T: BlockStoreMut + ?Sized>(
        &mut self,
        store: &T,
    ) -> Result<RepositorySummary, StreamError> {
        self.decoder.check_new()?;
        self.decoder.leave_out_large();
        put_all(self.blocks(), store)?;
        Ok(self.summary())
    }

    fn read_on(&mut self) -> Result<(), StreamError> {
        let read = self.decoder.read_from(&mut self.input);
        read.map_err(CarError::from)?;
        Ok(())
    }

    /// The next item, which `decode` returns as soon as there are enough bytes. After an error,
    /// which `failed` records, there is none.
    #[inline]
    fn next<T>(
        &mut self,
        failed: &mut bool,
        mut decode: impl FnMut(&mut RepositoryDecoder) -> Result<Decoded<T>, StreamError>,
    ) -> Option<Result<T, StreamError>> {
        if *failed {
            return None;
        }
        let error = loop {
            match decode(&mut self.decoder) {
                Ok(Decoded::Item(item)) => return Some(Ok(item)),
                Ok(Decoded::NeedsBytes) => {
                    if let Err(error) = self.read_on() {
                        self.decoder.fail();
                        break error;
                    }
                }
                Ok(Decoded::End) => return None,
                Err(error) => break error,
            }
        };
        *failed = true;
        Some(Err(error))
    }
}

impl<R> RepositoryStream<R> {
    /// Returns the commit. Its signature is not checked.
    pub fn commit(&self) -> &Commit {
        self.decoder.opened().1
    }

    /// Returns the CID of the commit.
    pub fn commit_cid(&self) -> Cid {
        *self.decoder.opened().0
    }

    /// Returns how many nodes and records have been read so far; at the end, the totals.
    pub fn summary(&self) -> RepositorySummary {
        self.decoder.summary()
    }

    /// Returns the input. It is after the end of the CAR, if everything was read.
    pub fn into_inner(self) -> R {
        self.input
    }
}

impl<R> fmt::Debug for RepositoryStream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryStream")
            .field("decoder", &self.decoder)
            .finish_non_exhaustive()
    }
}

/// An iterator over the records of a [`RepositoryStream`].
///
/// The first error ends it; without one, all records were returned, and the CAR was read to its
/// end. Blocks that no record needs are skipped, but they too must match their CIDs, if these can
/// be checked.
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct StreamedRecords<'s, R> {
    stream: &'s mut RepositoryStream<R>,
    /// Whether there was an error.
    failed: bool,
}

impl<R: Read> Iterator for StreamedRecords<'_, R> {
    type Item = Result<Record, StreamError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stream
            .next(&mut self.failed, RepositoryDecoder::next_record)
    }
}

impl<R: Read> FusedIterator for StreamedRecords<'_, R> {}

impl<R> fmt::Debug for StreamedRecords<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedRecords")
            .field("stream", &self.stream)
            .field("failed", &self.failed)
            .finish()
    }
}

/// An iterator over the blocks of a [`RepositoryStream`].
///
/// The first error ends it; without one, all blocks were returned, and the CAR was read to its end.
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct StreamedBlocks<'s, R> {
    stream: &'s mut RepositoryStream<R>,
    /// Whether there was an error.
    failed: bool,
}

impl<R: Read> Iterator for StreamedBlocks<'_, R> {
    type Item = Result<(Cid, Bytes), StreamError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stream
            .next(&mut self.failed, RepositoryDecoder::next_block)
    }
}

impl<R: Read> FusedIterator for StreamedBlocks<'_, R> {}

impl<R> fmt::Debug for StreamedBlocks<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedBlocks")
            .field("stream", &self.stream)
            .field("failed", &self.failed)
            .finish()
    }
}
