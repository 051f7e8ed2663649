//! Salvages what is left of a damaged repository.

use std::fmt;
use std::iter::FusedIterator;

use blockstore_core::BlockStore;
use mst_ops::{EntryRef, NodeStore, NodeWalker, WalkerPosition};

use crate::damaged::RememberingDamage;
use crate::repository::read_block;
use crate::{Error, Fault, Place, Record, RepoPath, Repository};

/// What [`Repository::salvage`] finds.
#[derive(Debug)]
pub enum Salvaged {
    /// A record that is intact.
    Record(Record),
    /// Something missing or wrong, and which records are affected.
    Fault(Fault),
}

/// An iterator over what is left of a damaged repository, from [`Repository::salvage`].
pub struct Salvage<'r, S> {
    nodes: NodeStore<RememberingDamage<&'r S>>,
    /// The current position, until the walk is over.
    position: Option<WalkerPosition>,
    /// Why there is no position, until that is returned.
    failed: Option<Error>,
}

impl<S: BlockStore> Repository<S> {
    /// Reads the whole repository, however damaged, and returns in one pass every record that can
    /// be reached and every fault, in the order of the keys affected.
    ///
    /// If nothing is damaged, these are the [`records`](Self::records); if you want only the
    /// damage, use [`faults`](Self::faults).
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_core::{BlockStoreMut, MemoryBlockStore};
    /// use mst_repo::{Repository, Salvaged};
    ///
    /// let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// let blocks = MemoryBlockStore::new();
    /// blocks.put_many(&sample.blocks())?;
    /// blocks.delete(&sample.paths["app.bsky.actor.profile/self"])?;
    ///
    /// let repository = Repository::open(&blocks, &sample.commit.0)?;
    /// let mut saved = 0;
    /// for item in repository.salvage() {
    ///     match item {
    ///         Salvaged::Record(record) => saved += usize::from(!record.bytes().is_empty()),
    ///         Salvaged::Fault(fault) => eprintln!("{fault}"),
    ///     }
    /// }
    /// assert_eq!(saved, 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn salvage(&self) -> Salvage<'_, S> {
        let nodes = RememberingDamage::nodes_of(self);
        let (position, failed) = match NodeWalker::new(&nodes, &self.commit().data) {
            Ok(walker) => (Some(walker.into_position()), None),
            Err(error) => (None, Some(error.into())),
        };
        Salvage {
            nodes,
            position,
            failed,
        }
    }
}

impl<S: BlockStore> Salvage<'_, S> {
    fn record(&self, entry: EntryRef) -> Salvaged {
        let value = entry.value();
        let path = RepoPath::parse(entry.key());
        let path = path.map_err(|fault| Error::invalid_path(entry.key(), fault));
        let block = path.and_then(|_| read_block(self.nodes.blocks(), &value));
        match block {
            Ok(bytes) => Salvaged::Record(Record::new(entry, bytes)),
            Err(error) => Salvaged::Fault(Fault {
                error,
                place: Place::Record {
                    key: entry.key().to_vec(),
                    value,
                },
            }),
        }
    }
}

impl<S: BlockStore> Iterator for Salvage<'_, S> {
    type Item = Salvaged;

    fn next(&mut self) -> Option<Salvaged> {
        if let Some(error) = self.failed.take() {
            return Some(Salvaged::Fault(Fault {
                error,
                place: Place::everything(),
            }));
        }
        let position = self.position.take()?;
        let mut walker = NodeWalker::at(&self.nodes, position).expect("it is from this store");
        let item = match walker.next_entry() {
            Ok(entry) => self.record(entry?),
            Err(error) => {
                let place = Place::of_subtree(&walker);
                walker.skip_subtree();
                let error = error.into();
                Salvaged::Fault(Fault { error, place })
            }
        };
        self.position = Some(walker.into_position());
        Some(item)
    }
}

impl<S: BlockStore> FusedIterator for Salvage<'_, S> {}

impl<S: BlockStore> fmt::Debug for Salvage<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salvage")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
