//! Checks whether a repository is complete and valid.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt;
use std::iter::FusedIterator;

use blockstore_core::{BlockStore, Cid};
use mst_ops::{EntryRef, NodeStore, NodeWalker, WalkerPosition};

#[cfg(any(feature = "k256", feature = "p256"))]
use crate::PublicKey;
use crate::batch::Batch;
use crate::damaged::RememberingDamage;
use crate::large::LargeRecords;
use crate::record::PathCheck;
use crate::repository::read_block;
use crate::turn::{Turn, Turned};
use crate::{Error, Repository};

/// What was counted in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RepositorySummary {
    /// The number of nodes that are present.
    pub nodes: u64,
    /// The number of records that are present. If two paths lead to the same block, they are two
    /// records.
    pub records: u64,
}

/// Something that is missing or wrong in a repository, and where.
///
/// Its text says where, and the [`error`](Self::error); `{:#}` adds all of its causes. If a
/// function returns [`Error`], `?` keeps that alone.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fault {
    /// What it is.
    pub error: Error,
    /// Which records are affected.
    pub place: Place,
}

/// Which records a [`Fault`] affects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// All records below a node that is missing or wrong: those whose keys lie between the two, or
    /// all on that side if one is `None`.
    Subtree {
        /// The greatest key left of the subtree.
        left: Option<Vec<u8>>,
        /// The least key right of the subtree.
        right: Option<Vec<u8>>,
    },
    /// One record.
    Record {
        /// Its key in the tree: its path, if it is one.
        key: Vec<u8>,
        /// The CID that the key maps to.
        value: Cid,
    },
}

impl Fault {
    /// What is wrong with the record of `entry`.
    pub(crate) fn of_entry(entry: &EntryRef, error: Error) -> Self {
        let place = Place::Record {
            key: entry.key().to_vec(),
            value: entry.value(),
        };
        Self { error, place }
    }
}

impl StdError for Fault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault.error
    }
}

impl From<Box<Fault>> for Error {
    fn from(fault: Box<Fault>) -> Self {
        fault.error
    }
}

impl Place {
    /// Returns the place of the top node: all records.
    pub fn everything() -> Self {
        Self::Subtree {
            left: None,
            right: None,
        }
    }

    /// Returns the place of the subtree that `walker` stands before.
    pub fn of_subtree<S: BlockStore>(walker: &NodeWalker<'_, S>) -> Self {
        let owned = |key: Option<&[u8]>| key.map(<[u8]>::to_vec);
        Self::Subtree {
            left: owned(walker.left_key()),
            right: owned(walker.right_key()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.error)?;
        let mut reason = self.error.source().filter(|_| f.alternate());
        while let Some(error) = reason {
            write!(f, ": {error}")?;
            reason = error.source();
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, right) = match self {
            Self::Record { key, .. } => return write!(f, "key {:?}", lossy(key)),
            Self::Subtree { left, right } => (left, right),
        };
        match (left, right) {
            (None, None) => f.write_str("all keys"),
            (Some(left), None) => write!(f, "keys after {:?}", lossy(left)),
            (None, Some(right)) => write!(f, "keys before {:?}", lossy(right)),
            (Some(left), Some(right)) => {
                let (left, right) = (lossy(left), lossy(right));
                write!(f, "keys after {left:?} and before {right:?}")
            }
        }
    }
}

/// A key as text, with invalid UTF-8 replaced.
fn lossy(key: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(key)
}

impl<S: BlockStore> Repository<S> {
    /// Reads the whole repository and returns counts of it, if nothing is missing or wrong: the
    /// tree is complete and canonical, each key is a repository path, each record is present. That
    /// blocks hash to their CIDs is for the block store to ensure.
    ///
    /// The signature is not checked; with the feature `k256` or `p256`, `verify_signed` does that
    /// too. Records may hold any bytes, and their CIDs may have any codec.
    ///
    /// # Errors
    ///
    /// The first fault, in key order. For all of them see [`faults`](Self::faults).
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_car::CarBlockStore;
    /// use mst_repo::Repository;
    ///
    /// let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// let car = CarBlockStore::from_bytes(sample.car())?;
    /// let repository = Repository::open(car, &sample.commit.0)?;
    /// assert_eq!(repository.verify()?.records, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self) -> Result<RepositorySummary, Error> {
        let mut faults = self.faults();
        match faults.next() {
            Some(fault) => Err(fault.error),
            None => Ok(faults.summary()),
        }
    }

    /// Checks that the commit is signed by `key`, which should be the account's
    /// ([`Commit::verify_signature`](crate::Commit::verify_signature)), and then the whole
    /// repository, as [`verify`](Self::verify) does.
    ///
    /// # Errors
    ///
    /// [`Error::Signature`], and those of `verify`.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_core::MemoryBlockStore;
    /// use mst_repo::{Curve, Error, Repository, SigningKey, Writer};
    ///
    /// let key = SigningKey::from_bytes(Curve::K256, &[7; 32])?;
    /// let other = SigningKey::from_bytes(Curve::K256, &[8; 32])?;
    /// let blocks = MemoryBlockStore::new();
    /// let (_, new) = Writer::create(&blocks, "did:plc:z72i7hdynmk6r22z27h6tvur", &key)?;
    /// let repository = Repository::open(&blocks, &new.cid)?;
    /// assert_eq!(repository.verify_signed(&key.public_key())?.records, 0);
    /// let refused = repository.verify_signed(&other.public_key());
    /// assert!(matches!(refused, Err(Error::Signature { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(any(feature = "k256", feature = "p256"))]
    pub fn verify_signed(&self, key: &PublicKey) -> Result<RepositorySummary, Error> {
        let signed = self.commit().verify_signature(key);
        let cid = self.commit_cid();
        signed.map_err(|source| Error::Signature { cid, source })?;
        self.verify()
    }

    /// Reads the whole repository and returns everything that is missing or wrong, in the order of
    /// the keys affected. What is below a node that cannot be read is unknown; everything else is
    /// checked.
    ///
    /// Nothing is taken from the cache of nodes: a cached node may be gone from the store since.
    pub fn faults(&self) -> Faults<'_, S> {
        let nodes = RememberingDamage::nodes_of(self);
        let mut found = VecDeque::new();
        let position = match NodeWalker::new(&nodes, &self.commit().data) {
            Ok(walker) => Some(walker.into_position()),
            Err(error) => {
                found.push_back(Fault {
                    error: error.into(),
                    place: Place::everything(),
                });
                None
            }
        };
        Faults {
            nodes,
            position,
            turn: Turn::Node,
            found,
            batch: Batch::default(),
            large: LargeRecords::default(),
            paths: PathCheck::default(),
            summary: RepositorySummary::default(),
        }
    }
}

/// An iterator over what is missing or wrong in a repository, from [`Repository::faults`].
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct Faults<'r, S> {
    nodes: NodeStore<RememberingDamage<&'r S>>,
    /// The current position, until the walk is over.
    position: Option<WalkerPosition>,
    turn: Turn,
    /// What was found there.
    found: VecDeque<Fault>,
    batch: Batch,
    /// The large records that are present.
    large: LargeRecords,
    paths: PathCheck,
    summary: RepositorySummary,
}

impl<S: BlockStore> Faults<'_, S> {
    /// Returns the counts so far; at the end of the iterator, the totals.
    pub fn summary(&self) -> RepositorySummary {
        self.summary
    }

    /// Goes on until there are enough records to read at once, or to the next node that cannot be
    /// read, and checks everything up to there. `None` if there is no more.
    fn go_on(&mut self) -> Option<()> {
        let position = self.position.take()?;
        let mut walker = NodeWalker::at(&self.nodes, position).expect("it is from this store");
        let mut entries = Vec::with_capacity(self.batch.len());
        let mut failed = None;
        let mut is_over = false;
        while entries.len() < self.batch.len() && failed.is_none() && !is_over {
            match self.turn.take(&mut walker) {
                Ok(Some(Turned::IntoNode)) => self.summary.nodes += 1,
                Ok(Some(Turned::OverRecord)) => entries.extend(walker.left_entry()),
                Ok(None) => is_over = true,
                Err(error) => {
                    failed = Some(Fault {
                        error: error.into(),
                        place: Place::of_subtree(&walker),
                    });
                }
            }
        }
        if !is_over {
            self.position = Some(walker.into_position());
        }
        self.check(&entries);
        self.found.extend(failed);
        Some(())
    }

    /// Checks records: the path of each, and whether its block is present.
    fn check(&mut self, entries: &[EntryRef]) {
        // Many paths may lead to the same large block.
        let wanted: Vec<Cid> = entries
            .iter()
            .map(EntryRef::value)
            .filter(|value| !self.large.has(value) && !self.nodes.blocks().is_damaged(value))
            .collect();
        let blocks = self.batch.read(self.nodes.blocks(), &wanted);
        let mut read = wanted.into_iter().zip(blocks).peekable();
        for entry in entries {
            let value = entry.value();
            let block = read.next_if(|(cid, _)| *cid == value);
            let missing = match block {
                Some((_, Some(block))) => {
                    self.large.note(&value, &block);
                    None
                }
                _ if self.large.has(&value) => None,
                _ => self.read_alone(&value).err(),
            };
            self.summary.records += u64::from(missing.is_none());
            let path = self.paths.check(entry.key()).err();
            let faults = path.into_iter().chain(missing);
            let faults = faults.map(|error| Fault::of_entry(entry, error));
            self.found.extend(faults);
        }
    }

    fn read_alone(&mut self, value: &Cid) -> Result<(), Error> {
        let block = read_block(self.nodes.blocks(), value)?;
        self.large.note(value, &block);
        Ok(())
    }
}

impl<S: BlockStore> Iterator for Faults<'_, S> {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        loop {
            if let Some(fault) = self.found.pop_front() {
                return Some(fault);
            }
            self.go_on()?;
        }
    }
}

impl<S: BlockStore> FusedIterator for Faults<'_, S> {}

impl<S: BlockStore> fmt::Debug for Faults<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}
