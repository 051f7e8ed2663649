//! All blocks of a repository, in the order in which a reader wants them.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;

use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid};
use mst_ops::NodeWalker;

use crate::{Error, Repository, RepositorySummary};

impl<S: BlockStore> Repository<S> {
    /// Returns all blocks of the repository, which are the commit, the nodes and the records,
    /// in the specification's streamable order: the commit, then each node followed by, from
    /// left to right, the blocks of its subtrees and its records. A reader of a CAR in this
    /// order can take it in one pass and keep next to nothing.
    ///
    /// A record to which several paths lead comes as often: to know that it came before, both
    /// sides would have to remember all of them. Nodes are encoded anew, which gives the same
    /// bytes.
    ///
    /// What is missing or wrong is an item, an error that stands for one record or all blocks
    /// below one node, as with [`records`](Self::records). Stop at the first with `?`: what a
    /// CAR lacks, its reader cannot know.
    ///
    /// Nodes are needed just once here, so it is fastest over a repository opened without a
    /// cache ([`NodeStoreOptions::cache_bytes`](mst_ops::NodeStoreOptions::cache_bytes)).
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
    /// use blockstore_car::{CarBlockStore, CarWriter};
    /// use mst_repo::Repository;
    /// # let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// # let bytes = sample.shuffled_car(1);
    ///
    /// let car = CarBlockStore::from_bytes(bytes)?;
    /// let commit = car.roots()[0];
    /// let repository = Repository::open(car, &commit)?;
    ///
    /// let mut writer = CarWriter::new(Vec::new(), &[commit])?;
    /// for block in repository.export()? {
    ///     let (cid, bytes) = block?;
    ///     writer.write_block(&cid, &bytes)?;
    /// }
    /// let in_order = writer.finish()?;
    /// # assert_eq!(in_order, sample.car());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn export(&self) -> Result<Export<'_, S>, Error> {
        Ok(Export {
            commit: Some((self.commit_cid(), self.commit().encode().into())),
            blocks: self.blocks(),
            walker: self.walker()?,
            at: At::Start,
            ready: VecDeque::new(),
            batch: 1,
        })
    }
}

impl<S: BlockStore> Repository<S> {
    /// Checks the whole repository, as [`verify`](Self::verify) does, and then puts all its
    /// blocks into `store`, and no others: an import, where this repository lies in a CAR.
    ///
    /// Nothing is written unless the repository is whole. If the store fails on the way, what
    /// was put before may stay; with a transaction for a store it is all or nothing.
    ///
    /// # Errors
    ///
    /// Those of `verify`, and [`Error::Store`] if `store` does not take a block.
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
    pub fn copy_to<T: BlockStoreMut>(&self, store: &T) -> Result<RepositorySummary, Error> {
        /// How many bytes to put at once.
        const BATCH_LEN: usize = 1 << 20;
        let summary = self.verify()?;
        let (mut batch, mut len) = (Vec::new(), 0);
        for block in self.export()? {
            let (cid, block) = block?;
            len += block.len();
            batch.push((cid, block));
            if len >= BATCH_LEN {
                store.put_many(&batch)?;
                batch.clear();
                len = 0;
            }
        }
        store.put_many(&batch)?;
        Ok(summary)
    }
}

/// An iterator over the blocks of a repository, from [`Repository::export`].
pub struct Export<'r, S> {
    /// The first block, until it is given.
    commit: Option<(Cid, Bytes)>,
    blocks: &'r S,
    walker: NodeWalker<'r, S>,
    at: At,
    /// What was read ahead, since a store gives many blocks at once for less.
    ready: VecDeque<Result<(Cid, Bytes), Box<Error>>>,
    /// How many records to read ahead: few at first, for who wants no more.
    batch: usize,
}

/// Where in its slot the walker is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the first of all, with even the node that it is in still to come.
    Start,
    /// Left of the slot's subtree.
    Left,
    /// Right of it.
    Right,
}

/// A step of the walk through a tree.
enum Step {
    Node(Cid, Bytes),
    /// A record, still to be read.
    Record(Cid),
    Failed(Box<Error>),
}

/// The most records that are read ahead.
const MAX_BATCH: usize = 64;

/// Where as many bytes as this were read ahead, the next record is read alone.
const LARGE_BATCH: usize = 256 << 10;

impl<S: BlockStore> Export<'_, S> {
    fn step(&mut self) -> Option<Step> {
        loop {
            let entered = match self.at {
                At::Start => Ok(true),
                At::Left => self.walker.go_down(),
                At::Right => Ok(false),
            };
            self.at = At::Right;
            match entered {
                Ok(true) => {
                    self.at = At::Left;
                    let node = self.walker.node();
                    return Some(Step::Node(node.cid(), node.encode().into()));
                }
                Ok(false) => {}
                Err(error) => return Some(Step::Failed(Box::new(error.into()))),
            }
            let slot = self.walker.slot();
            if self.walker.go_right() {
                self.at = At::Left;
                let value = self.walker.node().value(slot);
                return Some(Step::Record(value.expect("the walker went over an entry")));
            }
            if !self.walker.go_up() {
                return None;
            }
        }
    }

    /// Takes steps until there are records enough to be read at once, and reads them.
    fn read_ahead(&mut self) {
        let (mut steps, mut records) = (Vec::new(), Vec::new());
        while records.len() < self.batch && steps.len() < 2 * MAX_BATCH {
            let Some(step) = self.step() else {
                break;
            };
            if let Step::Record(cid) = step {
                records.push(cid);
            }
            steps.push(step);
        }
        // Which record fails, and that the others do not, takes asking for each.
        let blocks = self.blocks.get_many(&records).ok();
        let mut blocks = blocks.map(Vec::into_iter);
        let mut read = 0;
        for step in steps {
            let block = match step {
                Step::Node(cid, block) => Ok((cid, block)),
                Step::Failed(error) => Err(error),
                Step::Record(cid) => {
                    let block = match &mut blocks {
                        Some(blocks) => Ok(blocks.next().flatten()),
                        None => self.blocks.get(&cid).map_err(Error::from),
                    };
                    let block = block.and_then(|block| block.ok_or(Error::MissingBlock(cid)));
                    block.map(|block| (cid, block)).map_err(Box::new)
                }
            };
            read += block.as_ref().map_or(0, |(_, block)| block.len());
            self.ready.push_back(block);
        }
        self.batch = match read {
            0..LARGE_BATCH => (self.batch * 2).min(MAX_BATCH),
            _ => 1,
        };
    }
}

impl<S: BlockStore> Iterator for Export<'_, S> {
    type Item = Result<(Cid, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(commit) = self.commit.take() {
            return Some(Ok(commit));
        }
        if self.ready.is_empty() {
            self.read_ahead();
        }
        Some(self.ready.pop_front()?.map_err(|error| *error))
    }
}

impl<S: BlockStore> FusedIterator for Export<'_, S> {}

impl<S: BlockStore> fmt::Debug for Export<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("walker", &self.walker)
            .finish_non_exhaustive()
    }
}
