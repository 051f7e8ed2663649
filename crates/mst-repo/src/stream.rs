//! A repository read once, from the first byte of a CAR to the last.

mod given;

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io::Read;
use std::iter::FusedIterator;

use blockstore_car::{CarError, CarOptions, CarReader, Verify};
use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, CidBytes, StoreError, put_all};
use mst_ops::{NodeStore, NodeStoreOptions, NodeWalker};

use self::given::Given;
use crate::export::{Step, Steps};
use crate::large::LargeRecords;
use crate::record::PathCheck;
use crate::repository::read_commit;
use crate::{Commit, Error, Record, RepositorySummary};

/// A repository in a CAR that comes from any [`Read`]: a download, a pipe, a file.
///
/// It is read once, and its records are given as they come, in the order of their paths. All
/// that [`Repository::records`](crate::Repository::records) checks is checked: the framing of the
/// CAR, the hash of each block, the form of each node and its place in the tree, each path.
///
/// In a CAR in the streamable order, as [`Repository::export`](crate::Repository::export) writes
/// it, each block is the one that is wanted next. In another order, what comes too early is laid
/// aside. And as a CAR may have but once what two paths refer to, the records given last are kept.
/// Both together take no more memory than [`StreamOptions::memory_bytes`]. For a large CAR in
/// random order, or with such a record far from its first path, that may not do, and the error
/// says so; there is [`CarBlockStore`](blockstore_car::CarBlockStore) for these.
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
/// for record in repository.records()? {
///     let record = record?;
///     println!("{}: {} bytes", record.path(), record.bytes().len());
/// }
/// # Ok::<(), mst_repo::StreamError>(())
/// ```
pub struct RepositoryStream<R> {
    nodes: NodeStore<Incoming<R>>,
    cid: Cid,
    commit: Commit,
}

/// How a [`RepositoryStream`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamOptions {
    /// How the CAR is read.
    pub car: CarOptions,
    /// How nodes are checked. There is no use for a cache, as no node comes twice.
    pub nodes: NodeStoreOptions,
    /// How many bytes of memory may be taken by blocks that came before they were wanted, and by
    /// records that may be wanted again; 16 MiB by default. As long as the CAR is in the
    /// streamable order, a sixteenth of it is used, and what the last large record takes.
    pub memory_bytes: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        let mut nodes = NodeStoreOptions::default();
        nodes.cache_bytes = 0;
        Self {
            car: CarOptions::default(),
            nodes,
            memory_bytes: 16 << 20,
        }
    }
}

/// Why a repository cannot be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The stream failed, or is no CAR, or one of its blocks is not what its CID names.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The CAR names no root, so no commit.
    #[error("the CAR names no root")]
    NoRoot,
    /// A block is not in the rest of the CAR, nor among the records that were given last: it is
    /// missing, or was given too long ago ([`StreamOptions::memory_bytes`]).
    #[error("block {0} is neither in the rest of the CAR nor among the records read last")]
    NotAhead(Cid),
    /// Too much came before it was wanted: the CAR is in another order.
    #[error(
        "blocks that came before they were wanted take more than {limit} bytes: the CAR is not in \
         streamable order, and must be read with a higher limit or from a file or memory"
    )]
    TooMuchAside {
        /// [`StreamOptions::memory_bytes`].
        limit: usize,
    },
    /// What came is not a repository.
    #[error(transparent)]
    Repository(#[from] Error),
}

impl From<StoreError> for StreamError {
    fn from(error: StoreError) -> Self {
        Self::Repository(error.into())
    }
}

impl<R: Read> RepositoryStream<R> {
    /// Reads the commit.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    pub fn open(car: R) -> Result<Self, StreamError> {
        Self::open_with(car, StreamOptions::default())
    }

    /// Reads the commit, and will read the rest as `options` say.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    pub fn open_with(car: R, options: StreamOptions) -> Result<Self, StreamError> {
        let car = CarReader::with_options(car, options.car)?;
        let cid = *car.roots().first().ok_or(StreamError::NoRoot)?;
        let mut state = State {
            car,
            options,
            aside: HashMap::new(),
            aside_len: 0,
            out_of_order: false,
            given: Given::default(),
            large: None,
            fault: None,
        };
        let bytes = CidBytes::from(&cid);
        let commit = read_commit(&cid, || {
            let (block, _) = state.read_up_to(bytes.as_ref(), || cid)?;
            Ok::<_, StreamError>(block)
        })?;
        Ok(Self {
            nodes: NodeStore::with_options(Incoming(RefCell::new(state)), options.nodes),
            cid,
            commit,
        })
    }

    /// Returns the commit. Its signature is not checked.
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// Returns the CID of the commit.
    pub fn commit_cid(&self) -> Cid {
        self.cid
    }

    /// Returns the records, in the order of their paths. There is one time only: what was read
    /// cannot be read again.
    ///
    /// A record comes once for each path that leads to it, so a small CAR of a stranger can be a
    /// great many bytes of records: bound what you keep.
    ///
    /// # Errors
    ///
    /// [`StreamError`], of the tree's top node.
    pub fn records(&mut self) -> Result<StreamedRecords<'_, R>, StreamError> {
        Ok(StreamedRecords {
            reading: Reading::of(self.nodes.blocks()),
            walker: self.walker()?,
        })
    }

    /// Returns all blocks, the commit, the nodes and the records, in the streamable order, checked
    /// as [`records`](Self::records) checks them. There is one time only, for the one or the other.
    ///
    /// A record comes for each path that leads to it.
    ///
    /// # Errors
    ///
    /// As for [`records`](Self::records).
    pub fn blocks(&mut self) -> Result<StreamedBlocks<'_, R>, StreamError> {
        Ok(StreamedBlocks {
            reading: Reading::of(self.nodes.blocks()),
            commit: Some((self.cid, self.commit.encode().into())),
            steps: Steps::new(self.walker()?),
            summary: RepositorySummary::default(),
        })
    }

    /// Puts all blocks into `store` as they come: an import in one pass, of a download that is
    /// nowhere kept as a whole. Blocks that the repository does not need stay out.
    ///
    /// What was put before an error is in the store then; with a transaction for a store it is all
    /// or nothing. But a transaction is held as long as the download takes, which its sender may
    /// draw out. What comes from strangers, or in an order of their own, rather goes into a file
    /// first: [`CarBlockStore`](blockstore_car::CarBlockStore) takes any order, and
    /// [`Repository::copy_to`](crate::Repository::copy_to) checks all before it puts any.
    ///
    /// # Errors
    ///
    /// [`StreamError`], and as [`Error::Store`] in it what keeps `store` from taking a block.
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
    pub fn copy_to<T: BlockStoreMut>(
        &mut self,
        store: &T,
    ) -> Result<RepositorySummary, StreamError> {
        let mut blocks = self.blocks()?;
        let mut large = LargeRecords::default();
        let new = blocks.by_ref().filter(|block| match block {
            Ok((cid, block)) => large.note(cid, block),
            Err(_) => true,
        });
        put_all(new, store)?;
        Ok(blocks.summary)
    }

    fn walker(&self) -> Result<NodeWalker<'_, Incoming<R>>, StreamError> {
        let walker = NodeWalker::new(&self.nodes, &self.commit.data);
        walker.map_err(|error| self.nodes.blocks().error(error))
    }
}

impl<R> fmt::Debug for RepositoryStream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryStream")
            .field("cid", &self.cid)
            .field("commit", &self.commit)
            .finish_non_exhaustive()
    }
}

/// An iterator over the records of a [`RepositoryStream`].
///
/// The first error ends it; without one, all records were given, and the CAR was read to its
/// end. Blocks that no record needs are passed over, but they too must be what their CIDs name.
pub struct StreamedRecords<'s, R> {
    reading: Reading<'s, R>,
    walker: NodeWalker<'s, Incoming<R>>,
}

impl<R: Read> Iterator for StreamedRecords<'_, R> {
    type Item = Result<Record, StreamError>;

    fn next(&mut self) -> Option<Self::Item> {
        let walker = &mut self.walker;
        self.reading.next(|reading| {
            let entry = walker.next_entry();
            let Some(entry) = entry.map_err(|error| reading.incoming.error(error))? else {
                return reading.end();
            };
            let record = reading.record(entry.key(), entry.value_bytes(), || entry.value())?;
            Ok(Some(Record::new(entry, record)))
        })
    }
}

impl<R: Read> FusedIterator for StreamedRecords<'_, R> {}

impl<R> fmt::Debug for StreamedRecords<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedRecords").finish_non_exhaustive()
    }
}

/// An iterator over the blocks of a [`RepositoryStream`].
///
/// The first error ends it; without one, all blocks were given, and the CAR was read to its end.
pub struct StreamedBlocks<'s, R> {
    reading: Reading<'s, R>,
    /// The first block, until it is given.
    commit: Option<(Cid, Bytes)>,
    steps: Steps<'s, Incoming<R>>,
    summary: RepositorySummary,
}

impl<R> StreamedBlocks<'_, R> {
    /// Returns what was counted so far; at the end, in all.
    pub fn summary(&self) -> RepositorySummary {
        self.summary
    }
}

impl<R: Read> Iterator for StreamedBlocks<'_, R> {
    type Item = Result<(Cid, Bytes), StreamError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(commit) = self.commit.take() {
            return Some(Ok(commit));
        }
        let (steps, summary) = (&mut self.steps, &mut self.summary);
        self.reading.next(|reading| match steps.step() {
            Some(Step::Block(cid, node)) => {
                summary.nodes += 1;
                Ok(Some((cid, node)))
            }
            Some(Step::Record(cid)) => {
                let key = steps.walker().left_key().unwrap_or_default();
                let record = reading.record(key, CidBytes::from(&cid).as_ref(), || cid)?;
                summary.records += 1;
                Ok(Some((cid, record)))
            }
            Some(Step::Failed(error)) => Err(reading.incoming.error(*error)),
            None => reading.end(),
        })
    }
}

impl<R: Read> FusedIterator for StreamedBlocks<'_, R> {}

impl<R> fmt::Debug for StreamedBlocks<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedBlocks").finish_non_exhaustive()
    }
}

/// What both iterators do alike: records, and coming to an end.
struct Reading<'s, R> {
    incoming: &'s Incoming<R>,
    paths: PathCheck,
    done: bool,
}

impl<'s, R> Reading<'s, R> {
    fn of(incoming: &'s Incoming<R>) -> Self {
        Self {
            incoming,
            paths: PathCheck::default(),
            done: false,
        }
    }

    /// The next item, which `advance` finds; none after the last or an error.
    fn next<T>(
        &mut self,
        advance: impl FnOnce(&mut Self) -> Result<Option<T>, StreamError>,
    ) -> Option<Result<T, StreamError>> {
        if self.done {
            return None;
        }
        let item = advance(self).transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<R: Read> Reading<'_, R> {
    /// Reads the record at `key`: its CID, in binary and as `cid` makes it.
    fn record(
        &mut self,
        key: &[u8],
        wanted: &[u8],
        cid: impl Fn() -> Cid,
    ) -> Result<Bytes, StreamError> {
        self.paths.check(key)?;
        self.incoming.0.borrow_mut().read_record(wanted, cid)
    }

    /// Reads what comes behind all that was wanted.
    fn end<T>(&self) -> Result<Option<T>, StreamError> {
        self.incoming.read_to_end()?;
        Ok(None)
    }
}

/// The blocks still to come, as a store that gives each of them once.
struct Incoming<R>(RefCell<State<R>>);

struct State<R> {
    car: CarReader<R>,
    options: StreamOptions,
    /// What came before it was wanted.
    aside: HashMap<Box<[u8]>, ReadBlock>,
    aside_len: usize,
    /// Whether any block came that was not the one wanted.
    out_of_order: bool,
    given: Given,
    /// The last record that was too large to be kept among those.
    large: Option<(Box<[u8]>, Bytes)>,
    /// What ended the reading, on its way past the errors of a store.
    fault: Option<StreamError>,
}

/// Where a block was that is wanted.
#[derive(PartialEq, Eq)]
enum Source {
    Car,
    /// Among the records that were given before.
    Given,
}

struct ReadBlock {
    bytes: Bytes,
    /// Whether they hash to the CID.
    verified: bool,
}

impl ReadBlock {
    fn memory_len(&self) -> usize {
        /// What one takes beside its bytes: its CID, its place in the table, allocations.
        const OVERHEAD: usize = 192;
        self.bytes.len() + OVERHEAD
    }
}

impl<R: Read> Incoming<R> {
    fn read_to_end(&self) -> Result<(), CarError> {
        let mut state = self.0.borrow_mut();
        while state.car.read_block()?.is_some() {}
        Ok(())
    }
}

impl<R> Incoming<R> {
    /// What is behind an error: what ended the reading, if that did.
    fn error(&self, error: mst_ops::Error) -> StreamError {
        let fault = self.0.borrow_mut().fault.take();
        fault.unwrap_or_else(|| StreamError::Repository(error.into()))
    }
}

impl<R: Read> State<R> {
    /// Reads on to the record that is wanted: its CID, in binary and as `cid` makes it.
    fn read_record(&mut self, wanted: &[u8], cid: impl Fn() -> Cid) -> Result<Bytes, StreamError> {
        let (record, from) = self.read_up_to(wanted, cid)?;
        if from == Source::Car {
            let room = self.room_for_given();
            let half = self.options.memory_bytes / 2;
            if !self.given.push(wanted, &record, room) && record.len() <= half {
                self.large = Some((wanted.into(), record.clone()));
                self.make_room();
            }
        }
        Ok(record)
    }

    /// Reads on to the block that is wanted.
    fn read_up_to(
        &mut self,
        wanted: &[u8],
        cid: impl Fn() -> Cid,
    ) -> Result<(Bytes, Source), StreamError> {
        if !self.aside.is_empty()
            && let Some(block) = self.aside.remove(wanted)
        {
            self.aside_len -= block.memory_len();
            return self.give(block, cid);
        }
        let mut is_next = true;
        while let Some(block) = self.car.read_block()? {
            let read = ReadBlock {
                bytes: Bytes::copy_from_slice(block.bytes()),
                verified: block.verified(),
            };
            if block.cid_bytes() == wanted {
                return self.give(read, cid);
            }
            let block_cid = block.cid_bytes().into();
            self.lay_aside(block_cid, read)?;
            if is_next && let Some(given) = self.find_given(wanted) {
                return Ok((given, Source::Given));
            }
            is_next = false;
        }
        match self.find_given(wanted) {
            Some(given) => Ok((given, Source::Given)),
            None => Err(StreamError::NotAhead(cid())),
        }
    }

    fn find_given(&mut self, wanted: &[u8]) -> Option<Bytes> {
        if let Some((cid, record)) = &self.large
            && **cid == *wanted
        {
            return Some(record.clone());
        }
        let room = self.room_for_given();
        self.given.find(wanted, room)
    }

    /// How many bytes of memory records may take that were given.
    fn room_for_given(&self) -> usize {
        let room = self.options.memory_bytes;
        if self.out_of_order {
            room.saturating_sub(self.aside_len + self.large_len())
        } else {
            room / 16
        }
    }

    fn large_len(&self) -> usize {
        self.large.as_ref().map_or(0, |(_, record)| record.len())
    }

    /// Drops of the records that were given what there is no room for.
    fn make_room(&mut self) {
        if self.aside_len + self.large_len() > self.options.memory_bytes {
            self.large = None;
        }
        let room = self.room_for_given();
        self.given.shrink_to(room);
    }

    fn give(
        &self,
        block: ReadBlock,
        cid: impl Fn() -> Cid,
    ) -> Result<(Bytes, Source), StreamError> {
        if block.verified || self.options.car.verify == Some(Verify::Never) {
            return Ok((block.bytes, Source::Car));
        }
        Err(Error::Store(StoreError::Unverifiable(cid())).into())
    }

    fn lay_aside(&mut self, cid: Box<[u8]>, block: ReadBlock) -> Result<(), StreamError> {
        self.out_of_order = true;
        // Of a CID that comes twice the first block counts.
        if let Entry::Vacant(place) = self.aside.entry(cid) {
            self.aside_len += block.memory_len();
            place.insert(block);
        }
        let limit = self.options.memory_bytes;
        if self.aside_len > limit {
            return Err(StreamError::TooMuchAside { limit });
        }
        self.make_room();
        Ok(())
    }
}

impl<R: Read> BlockStore for Incoming<R> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let mut state = self.0.borrow_mut();
        match state.read_up_to(CidBytes::from(cid).as_ref(), || *cid) {
            Ok((block, _)) => Ok(Some(block)),
            Err(fault) => {
                let error = StoreError::backend(fault.to_string());
                state.fault = Some(fault);
                Err(error)
            }
        }
    }
}
