//! The blocks of a repository, all or some, in the order that suits a reader.

#[cfg(feature = "car")]
mod car;
#[cfg(feature = "car")]
mod pieces;
mod range;
mod since;
mod steps;

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::ops::RangeBounds;

use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, put_all};

use crate::batch::{Batch, LARGE};
use crate::large::LargeRecords;
use crate::repository::{keys_of, read_block};
use crate::{Error, Repository, RepositorySummary};
use range::KeyRange;
use steps::{Step, Steps};

#[cfg(feature = "car")]
pub use car::ExportError;
#[cfg(feature = "car")]
pub use pieces::CarPieces;
pub use since::ExportSince;

impl<S: BlockStore> Repository<S> {
    /// Returns all blocks of the repository, which are the commit, the nodes and the records, in
    /// the specification's streamable order: the commit, then each node followed by, from left to
    /// right, the blocks of its subtrees and its records. A CAR in this order can be read in one
    /// pass, with almost nothing kept in memory.
    ///
    /// A record to which several paths lead is returned for each of them: to leave it out, both
    /// sides would have to remember all records. So the export of a repository from an untrusted
    /// source can be far longer than what was received; [`Export::for_store`] bounds that. Nodes
    /// are encoded again, which gives the same bytes.
    ///
    /// What is missing or wrong is an item, an error that stands for one record or for all blocks
    /// below one node, as with [`records`](Self::records). Stop at the first with `?`: the reader
    /// of a CAR cannot know what it lacks. Whether keys are paths is not checked:
    /// [`verify`](Self::verify) does that, and whoever reads the records.
    ///
    /// `Export::write_car` makes a CAR of them (feature `car`).
    ///
    /// Each node is needed only once here, so this is fastest for a repository opened without a
    /// cache ([`NodeStoreOptions::uncached`](mst_ops::NodeStoreOptions::uncached)).
    ///
    /// Source: <https://atproto.com/specs/repository#car-file-serialization>, "Streamable CAR
    /// Block Ordering"
    ///
    /// # Errors
    ///
    /// Those of [`walker`](Self::walker); what goes wrong later is an item of the iterator.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_core::{BlockStoreMut, MemoryBlockStore};
    /// use mst_repo::Repository;
    /// # let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// # let blocks = MemoryBlockStore::new();
    /// # blocks.put_many(&sample.blocks())?;
    /// # let commit = sample.commit.0;
    ///
    /// let repository = Repository::open(blocks, &commit)?;
    /// let mut bytes = 0;
    /// for block in repository.export()? {
    ///     let (cid, block) = block?;
    ///     bytes += block.len();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn export(&self) -> Result<Export<'_, S>, Error> {
        self.export_within(KeyRange::ALL)
    }

    /// Returns the blocks of one collection: the commit, its records, and the nodes that lead to
    /// them and show that there are no others, in streamable order. In a store with only these
    /// blocks, [`collection`](Self::collection) returns all of it, from either end, as it is proven
    /// by the tree that the commit names.
    ///
    /// The nodes hold some keys of other collections too, but none of their records are included.
    /// For a collection without records, the commit and the nodes that prove this are returned.
    ///
    /// Nothing else is read, so this works even if the rest is missing. What is missing or wrong is
    /// an item, as for [`export`](Self::export). So a mirror of one collection can follow the
    /// commits of the firehose: what it needs of each is this export, of a repository opened over
    /// the message's blocks on top of the mirror
    /// ([`OverlayBlockStore`](blockstore_core::OverlayBlockStore)).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidCollection`] if `collection` is not an NSID, otherwise as for
    /// [`export`](Self::export).
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_core::{BlockStoreMut, MemoryBlockStore};
    /// use mst_repo::Repository;
    /// # let sample = mst_testkit::SampleRepository::generate(7, 100);
    /// # let blocks = MemoryBlockStore::new();
    /// # blocks.put_many(&sample.blocks())?;
    /// # let commit = sample.commit.0;
    ///
    /// let repository = Repository::open(blocks, &commit)?;
    /// let part = MemoryBlockStore::new();
    /// for block in repository.export_collection("app.bsky.feed.post")? {
    ///     let (cid, bytes) = block?;
    ///     part.put(&cid, bytes)?;
    /// }
    ///
    /// let part = Repository::open(part, &commit)?;
    /// let posts = part.collection("app.bsky.feed.post")?.collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(posts.len(), repository.collection("app.bsky.feed.post")?.count());
    /// assert!(part.get("app.bsky.actor.profile/self").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn export_collection(&self, collection: &str) -> Result<Export<'_, S>, Error> {
        self.export_within(KeyRange::of::<Vec<u8>>(&keys_of(collection)?))
    }

    /// Returns the blocks of a range of keys, in streamable order: the commit, the records whose
    /// keys lie in `bounds`, and the nodes that lead to them and show that there are no others, as
    /// for [`export_collection`](Self::export_collection). Keys need not be paths. If the start is
    /// after the end there are no records, and nothing is proven.
    ///
    /// For the range of a single path, `path..=path`, it is what `com.atproto.sync.getRecord`
    /// returns: one record and its proof, or the proof that there is none.
    ///
    /// # Errors
    ///
    /// As for [`export`](Self::export).
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_repo::Repository;
    /// # use blockstore_core::{BlockStoreMut, MemoryBlockStore};
    /// # let sample = mst_testkit::SampleRepository::generate(7, 100);
    /// # let blocks = MemoryBlockStore::new();
    /// # blocks.put_many(&sample.blocks())?;
    /// # let commit = sample.commit.0;
    ///
    /// let repository = Repository::open(blocks, &commit)?;
    /// // One record, its proof, and that there is none before it.
    /// let blocks = repository.export_range(..="app.bsky.actor.profile/self")?;
    /// assert!(blocks.count() < 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn export_range<'k>(
        &self,
        bounds: impl RangeBounds<&'k str>,
    ) -> Result<Export<'_, S>, Error> {
        self.export_within(KeyRange::of(&bounds))
    }

    fn export_within(&self, range: KeyRange) -> Result<Export<'_, S>, Error> {
        Ok(Export {
            blocks: self.blocks(),
            steps: Steps::new(self.walker()?.uncached()),
            state: State {
                commit: self.commit_cid(),
                first: Some(self.commit().encode().into()),
                range,
                ready: VecDeque::new(),
                batch: Batch::default(),
                given: None,
            },
        })
    }
}

impl<S: BlockStore> Repository<S> {
    /// Checks the whole repository, as [`verify`](Self::verify) does, and then puts all its blocks
    /// into `store`, and no others: an import, if this repository is in a CAR.
    ///
    /// Nothing is written unless the repository is complete. If the store fails on the way, what
    /// was put before may stay; if the store is a transaction, it is all or nothing.
    ///
    /// # Errors
    ///
    /// Those of `verify`, and [`Error::Store`] if `store` fails to take a block.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_car::CarBlockStore;
    /// use blockstore_core::MemoryBlockStore;
    /// use mst_repo::Repository;
    ///
    /// let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// let car = CarBlockStore::from_bytes(sample.car())?;
    /// let store = MemoryBlockStore::new();
    /// let summary = Repository::open(car, &sample.commit.0)?.copy_to(&store)?;
    /// assert_eq!(summary.records, 10);
    /// # assert_eq!(Repository::open(store, &sample.commit.0)?.verify()?.records, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn copy_to<T: BlockStoreMut + ?Sized>(
        &self,
        store: &T,
    ) -> Result<RepositorySummary, Error> {
        let summary = self.verify()?;
        put_all(self.export()?.for_store(), store)?;
        Ok(summary)
    }
}

/// An iterator over the blocks of a repository, or of a range of its keys, from
/// [`Repository::export`], [`export_collection`](Repository::export_collection) or
/// [`export_range`](Repository::export_range).
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct Export<'r, S> {
    blocks: &'r S,
    steps: Steps<'r, S>,
    state: State,
}

/// The state of an export, apart from where it stands in the tree.
struct State {
    commit: Cid,
    /// The commit's block, until it is returned.
    first: Option<Bytes>,
    range: KeyRange,
    /// Steps that were read ahead, as many blocks at once cost a store less than one by one.
    ready: VecDeque<Step>,
    batch: Batch,
    /// The large records that were returned, if they are not to be returned again.
    given: Option<LargeRecords>,
}

/// The maximum number of nodes and records that are passed to read some records at once.
const MAX_AHEAD: usize = 128;

impl<S> Export<'_, S> {
    /// Leaves out records of 16 KiB and more that it has returned for another path: for putting the
    /// blocks into a store, which keeps each once, or sending them to someone who does, without
    /// reading megabytes for every path that leads to them. A reader who keeps nothing needs them
    /// every time.
    pub fn for_store(mut self) -> Self {
        self.state.given = Some(LargeRecords::default());
        self
    }
}

impl<S: BlockStore> Export<'_, S> {
    /// Takes a step through the nodes that the range overlaps, and its records.
    fn step_within(&mut self) -> Option<Step> {
        loop {
            let range = &self.state.range;
            if !range.is_all() {
                self.steps.pass_unless(|walker| {
                    range.reaches_between(walker.left_key(), walker.right_key())
                });
            }
            let step = self.steps.step()?;
            let Step::Record(cid, _) = &step else {
                return Some(step);
            };
            let key = self.steps.walker().left_key();
            let wanted = range.is_all() || key.is_none_or(|key| range.holds(key));
            if wanted && !self.was_given(cid) {
                return Some(step);
            }
        }
    }

    /// Whether a record was returned before and is not to be returned again.
    pub(super) fn was_given(&self, record: &Cid) -> bool {
        let given = self.state.given.as_ref();
        given.is_some_and(|given| given.has(record))
    }

    /// Records that a record is about to be returned. Returns whether it is.
    fn give(&mut self, cid: &Cid, block: &[u8]) -> bool {
        let given = self.state.given.as_mut();
        given.is_none_or(|given| given.note(cid, block))
    }

    /// Takes steps until there are enough records to read at once, and reads them.
    fn read_ahead(&mut self, mut next: impl FnMut(&mut Self) -> Option<Step>) {
        let mut cids = Vec::with_capacity(self.state.batch.len());
        let mut nodes_len = 0;
        while cids.len() < self.state.batch.len()
            && self.state.ready.len() < MAX_AHEAD
            && nodes_len < LARGE
        {
            let Some(step) = next(self) else {
                break;
            };
            match &step {
                Step::Record(cid, _) => cids.push(*cid),
                Step::Node(_, block) => nodes_len += block.len(),
                Step::Failed(_) => {}
            }
            self.state.ready.push_back(step);
        }
        let mut read = self.state.batch.read(self.blocks, &cids).into_iter();
        for step in &mut self.state.ready {
            if let Step::Record(_, block) = step {
                *block = read.next().flatten();
            }
        }
    }

    /// The commit, and then the blocks of the steps that `next` takes.
    fn next_of(
        &mut self,
        mut next: impl FnMut(&mut Self) -> Option<Step>,
    ) -> Option<Result<(Cid, Bytes), Error>> {
        if let Some(block) = self.state.first.take() {
            return Some(Ok((self.state.commit, block)));
        }
        loop {
            if self.state.ready.is_empty() {
                self.read_ahead(&mut next);
            }
            let (cid, block) = match self.state.ready.pop_front()? {
                Step::Node(cid, block) => return Some(Ok((cid, block))),
                Step::Failed(error) => return Some(Err((*error).into())),
                Step::Record(cid, Some(block)) => (cid, block),
                Step::Record(cid, None) if self.was_given(&cid) => continue,
                Step::Record(cid, None) => match read_block(self.blocks, &cid) {
                    Ok(block) => (cid, block),
                    Err(error) => return Some(Err(error)),
                },
            };
            if self.give(&cid, &block) {
                return Some(Ok((cid, block)));
            }
        }
    }
}

impl<S: BlockStore> Iterator for Export<'_, S> {
    type Item = Result<(Cid, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_of(Self::step_within)
    }
}

impl<S: BlockStore> FusedIterator for Export<'_, S> {}

impl<S: BlockStore> fmt::Debug for Export<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("walker", self.steps.walker())
            .finish_non_exhaustive()
    }
}
