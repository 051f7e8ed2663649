//! Salvages what is left of a damaged repository.

use std::fmt;
use std::iter::FusedIterator;

use blockstore_core::{BlockStore, Cid, dag_cbor_cid};
use mst_ops::{EntryRef, NodeStore, NodeWalker, WalkerPosition};

use crate::damaged::RememberingDamage;
use crate::repository::read_block;
use crate::unreachable::Unreachable;
use crate::{Commit, Error, Fault, Place, Record, RepoPath, Repository, Tid};

/// What [`Repository::salvage`] finds.
#[derive(Debug)]
pub enum Salvaged {
    /// A record that is intact.
    Record(Record),
    /// Something missing or wrong, and which records are affected.
    Fault(Fault),
}

/// An iterator over what is left of a damaged repository, from [`Repository::salvage`] and
/// [`Repository::salvage_among`].
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct Salvage<'r, S> {
    nodes: NodeStore<RememberingDamage<&'r S>>,
    /// The current position, until the walk is over.
    position: Option<WalkerPosition>,
    /// Why there is no position, until that is returned.
    failed: Option<Error>,
    /// The entries of nodes that cannot be reached.
    unreachable: Unreachable,
}

impl<S: BlockStore> Repository<S> {
    /// Makes up a commit for a repository of which none is left, so that
    /// [`salvage_among`](Self::salvage_among) can be called for it. There is no root for its tree:
    /// the first fault says so, and the entries of all nodes follow that are among the blocks,
    /// which must be of this repository only. `did` is not checked.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_core::{BlockStoreMut, MemoryBlockStore};
    /// use mst_ops::NodeStore;
    /// use mst_repo::{Repository, Salvaged};
    ///
    /// let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// let blocks = MemoryBlockStore::new();
    /// blocks.put_many(&sample.blocks())?;
    /// blocks.delete(&sample.commit.0)?;
    ///
    /// let nodes = NodeStore::new(&blocks);
    /// let repository = Repository::without_commit(nodes, "did:plc:ewvi7nxzyoun6zhxrhs64oiz");
    /// let items = repository.salvage_among(&blocks.cids())?;
    /// let saved = items.filter(|item| matches!(item, Salvaged::Record(_)));
    /// assert_eq!(saved.count(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn without_commit(nodes: NodeStore<S>, did: impl Into<String>) -> Self {
        // No node has this CID, as none is empty.
        let nowhere = dag_cbor_cid(b"");
        let commit = Commit::unsigned(did, Tid::new(0, 0), nowhere);
        let cid = commit.cid();
        Self::from_parts(nodes, commit, cid)
    }

    /// Reads the whole repository, however damaged, and returns in one pass every record that can
    /// be reached and every fault, in the order of the keys affected.
    ///
    /// If nothing is damaged, these are the [`records`](Self::records); if you want only the
    /// damage, use [`faults`](Self::faults). To get records that cannot be reached as well, use
    /// [`salvage_among`](Self::salvage_among).
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
    ///         Salvaged::Fault(fault) => eprintln!("{fault:#}"),
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
            unreachable: Unreachable::default(),
        }
    }

    /// As [`salvage`](Self::salvage), and where a node is missing or wrong, also looks for the
    /// entries that were below it among the blocks `cids`: in nodes that nothing links to any more.
    ///
    /// Without this, a missing node costs everything below it: if a download that was not in
    /// streamable order is cut off, nearly all. But nothing proves that such a node belongs to this
    /// revision. If there are blocks of earlier ones, records that were deleted since may come
    /// back, and such that were changed; nodes that name different values for a key are a fault
    /// ([`Error::Ambiguous`]).
    ///
    /// All `cids` must be of this repository. Of a store that holds others, leave out what
    /// [`reachable`](crate::reachable) returns for their commits, or their entries are returned as
    /// this one's; so are those of nodes that are no longer part of theirs, which nothing tells
    /// apart.
    ///
    /// Of a `CarBlockStore`, pass the `cids`, but not the `repaired_cids`: some of those may be of
    /// damaged nodes. One that is intact is found if a node among the `cids` links to it.
    ///
    /// The entries found are kept in memory, with their nodes. The nodes of the tree are read once
    /// more for this; if one is missing or wrong, so are all blocks that are not among them.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store fails while it looks for nodes.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_repo::{CarBlockStore, Repository, Salvaged};
    ///
    /// let sample = mst_testkit::SampleRepository::generate(7, 200);
    /// let mut blocks = sample.blocks();
    /// blocks.retain(|(cid, _)| *cid != sample.tree.root);
    /// let car = CarBlockStore::from_bytes(sample.car_of(&blocks))?;
    ///
    /// let repository = Repository::open(&car, &sample.commit.0)?;
    /// let saved = |item: &Salvaged| matches!(item, Salvaged::Record(_));
    /// assert_eq!(repository.salvage().filter(saved).count(), 0);
    ///
    /// let cids = car.cids().collect::<Result<Vec<_>, _>>()?;
    /// let lost = 200 - repository.salvage_among(&cids)?.filter(saved).count();
    /// assert!((1..10).contains(&lost), "only what the root node itself held");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn salvage_among(&self, cids: &[Cid]) -> Result<Salvage<'_, S>, Error> {
        let mut salvage = self.salvage();
        salvage.unreachable = Unreachable::find(&salvage.nodes, &self.commit().data, cids)?;
        Ok(salvage)
    }
}

impl<S: BlockStore> Salvage<'_, S> {
    fn record(&self, entry: EntryRef) -> Salvaged {
        let path = RepoPath::parse(entry.key());
        let path = path.map_err(|fault| Error::invalid_path(entry.key(), fault));
        let block = path.and_then(|_| read_block(self.nodes.blocks(), &entry.value()));
        match block {
            Ok(bytes) => Salvaged::Record(Record::new(entry, bytes)),
            Err(error) => Salvaged::Fault(Fault::of_entry(&entry, error)),
        }
    }
}

impl<S: BlockStore> Iterator for Salvage<'_, S> {
    type Item = Salvaged;

    fn next(&mut self) -> Option<Salvaged> {
        if let Some(error) = self.failed.take() {
            self.unreachable.enter(None);
            let place = Place::everything();
            return Some(Salvaged::Fault(Fault { error, place }));
        }
        match self.unreachable.next() {
            Some(Ok(entry)) => return Some(self.record(entry)),
            Some(Err(fault)) => return Some(Salvaged::Fault(fault)),
            None => {}
        }
        let position = self.position.take()?;
        let mut walker = NodeWalker::at(&self.nodes, position).expect("it is from this store");
        let item = match walker.next_entry() {
            Ok(entry) => self.record(entry?),
            Err(error) => {
                let place = Place::of_subtree(&walker);
                self.unreachable.enter(walker.left_key());
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
