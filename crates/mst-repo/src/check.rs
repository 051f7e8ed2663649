//! Whether a repository is whole and valid.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;

use blockstore_core::{BlockStore, Cid};
use mst_node::Node;
use mst_ops::{NodeWalker, Nodes};

use crate::large::LargeRecords;
use crate::{Error, RepoPath, Repository};

/// What was counted on the way through a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RepositorySummary {
    /// The number of nodes that are there.
    pub nodes: u64,
    /// The number of records that are there. Two paths may lead to the same block; they
    /// are two records.
    pub records: u64,
}

/// Something that is missing or wrong in a repository, and where.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fault {
    /// What it is.
    pub error: Error,
    /// Which records that concerns.
    pub place: Place,
}

/// Which records a [`Fault`] concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// All records below a node that is missing or wrong: those whose keys lie between the
    /// two, or that go on without end where there is none.
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

impl Place {
    pub(crate) fn everything() -> Self {
        Self::Subtree {
            left: None,
            right: None,
        }
    }

    /// The subtree that `walker` stands before.
    pub(crate) fn of_subtree<S: BlockStore>(walker: &NodeWalker<'_, S>) -> Self {
        let owned = |key: Option<&[u8]>| key.map(<[u8]>::to_vec);
        Self::Subtree {
            left: owned(walker.left_key()),
            right: owned(walker.right_key()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.error)
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

/// A key as text, with what is not UTF-8 replaced.
fn lossy(key: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(key)
}

impl<S: BlockStore> Repository<S> {
    /// Reads the whole repository and returns what it counted, if nothing is missing or
    /// wrong: the tree complete and canonical, each key a repository path, each record
    /// there. Blocks hash to their CIDs as the block store promises.
    ///
    /// The signature is not checked; records may hold any bytes, and their CIDs be of any codec.
    ///
    /// # Errors
    ///
    /// The first fault in preorder. For all of them see [`faults`](Self::faults).
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

    /// Reads the whole repository and returns all that is missing or wrong, in the order of
    /// the tree. What is below a node that cannot be read is unknown; all else is looked at.
    pub fn faults(&self) -> Faults<'_, S> {
        let nodes = self
            .walker()
            .and_then(|walker| Ok(walker.checked()?.nodes()));
        let mut faults = Faults {
            blocks: self.blocks(),
            nodes: None,
            found: VecDeque::new(),
            large: LargeRecords::default(),
            summary: RepositorySummary::default(),
        };
        match nodes {
            Ok(nodes) => faults.nodes = Some(nodes),
            Err(error) => faults.found.push_back(Fault {
                error,
                place: Place::everything(),
            }),
        }
        faults
    }
}

/// An iterator over what is missing or wrong in a repository, from [`Repository::faults`].
pub struct Faults<'r, S> {
    blocks: &'r S,
    /// The nodes still to be looked at; none if the top node is at fault.
    nodes: Option<Nodes<'r, S>>,
    /// The faults among the entries of the node before.
    found: VecDeque<Fault>,
    /// The large records that are there.
    large: LargeRecords,
    summary: RepositorySummary,
}

impl<S: BlockStore> Faults<'_, S> {
    /// Returns what was counted so far; at the end of the iterator, in all.
    pub fn summary(&self) -> RepositorySummary {
        self.summary
    }

    /// Looks at the records of a node: the path of each, and whether its block is there.
    fn check(&mut self, node: &Node) {
        for entry in node.entries() {
            let value = entry.value();
            // One at a time: many paths may lead to one large block.
            let fault = if self.large.has(&value) {
                None
            } else {
                match self.blocks.get(&value) {
                    Ok(Some(record)) => {
                        self.large.note(&value, &record);
                        None
                    }
                    Ok(None) => Some(Error::MissingBlock(value)),
                    Err(error) => Some(Error::Store(error)),
                }
            };
            let path = RepoPath::parse(entry.key());
            let path = path
                .err()
                .map(|fault| Error::invalid_path(entry.key(), fault));
            self.summary.records += u64::from(fault.is_none());
            let faults = path.into_iter().chain(fault).map(|error| Fault {
                error,
                place: Place::Record {
                    key: entry.key().to_vec(),
                    value,
                },
            });
            self.found.extend(faults);
        }
    }
}

impl<S: BlockStore> Iterator for Faults<'_, S> {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        loop {
            if let Some(fault) = self.found.pop_front() {
                return Some(fault);
            }
            let nodes = self.nodes.as_mut()?;
            match nodes.next()? {
                Ok(node) => {
                    self.summary.nodes += 1;
                    self.check(&node);
                }
                Err(error) => {
                    return Some(Fault {
                        error: error.into(),
                        place: Place::of_subtree(nodes.walker()),
                    });
                }
            }
        }
    }
}

impl<S: BlockStore> fmt::Debug for Faults<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}
