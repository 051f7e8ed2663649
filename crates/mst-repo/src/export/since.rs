//! The blocks of a repository that an older tree does not have.

use std::collections::HashSet;
use std::fmt;
use std::iter::FusedIterator;

use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, put_all};
use mst_node::{DIGEST_LEN, node_digest};
use mst_ops::{Diff, NodeStore, NodeStoreOptions, NodeWalker, Operation};

use super::{Export, Step};
use crate::record::PathCheck;
use crate::repository::of_paths;
use crate::{Error, Repository, RepositorySummary};

impl<S: BlockStore> Repository<S> {
    /// Returns the blocks that lead from the tree of `old_root` in `old` to this repository: the
    /// commit, the nodes that the old tree does not have, and the records that were created or
    /// updated, in streamable order. A store that holds the old repository holds this one once
    /// these are added: it is what `com.atproto.sync.getRepo` returns for `since`.
    ///
    /// `old_root` is the root of a tree, a commit's [`data`](crate::Commit::data). `old` may be the
    /// store of this repository, [`nodes`](Self::nodes), or another that has the old tree. Its
    /// records are not needed. The protocol's `since` is a revision: to answer it, keep the root of
    /// each revision, for example as heads of a SQLite store, and also pass them to
    /// [`reachable`](crate::reachable). If nodes of the old tree have been swept away, the error is
    /// [`Error::MissingBlock`], and [`export`](Self::export) is the way to answer.
    ///
    /// A record that replaced another is included even if the old tree had it at another path. So
    /// is a record that has gained a path; one that has only lost a path is not.
    ///
    /// Only nodes that the trees do not share are read, as by a [`Diff`], whose memory this takes:
    /// the CIDs of all these nodes, and the nodes with entries that differ. Whether the shared
    /// parts are present and sound is not checked.
    ///
    /// A record that is missing is an item, an error, as for [`export`](Self::export). A node that
    /// is gone by the time its turn comes is one, too, and the last.
    ///
    /// # Errors
    ///
    /// Those of [`Diff::new`]: a node that only one of the trees has is missing, invalid, or out of
    /// place.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_core::{BlockStoreMut, MemoryBlockStore};
    /// use mst_repo::{Repository, Write, Writer};
    ///
    /// # let key = |_: &[u8]| Ok([1; 64]);
    /// # let did = "did:plc:z72i7hdynmk6r22z27h6tvur";
    /// # let record = |text: &[u8; 5]| [b"\xa1\x64text\x65".as_slice(), text].concat();
    /// # let path = |rkey: &str| format!("app.bsky.feed.post/{rkey}");
    /// # let write = |rkey: &str, text| [Write::create(path(rkey), record(text))];
    /// let store = MemoryBlockStore::new();
    /// let (mut writer, _) = Writer::create(&store, did, &key)?;
    /// let old = writer.write(&write("1", b"Hello"), &key)?;
    /// let new = writer.write(&write("2", b"World"), &key)?;
    ///
    /// let repository = Repository::open(&store, &new.cid)?;
    /// let blocks = repository.export_since(repository.nodes(), &old.commit.data)?;
    /// let blocks: Vec<_> = blocks.collect::<Result<_, _>>()?;
    /// // The commit, the only node, the new post.
    /// assert_eq!(blocks.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn export_since<A: BlockStore>(
        &self,
        old: &NodeStore<A>,
        old_root: &Cid,
    ) -> Result<ExportSince<'_, S>, Error> {
        let diff = Diff::new(old, old_root, self.nodes(), &self.commit().data)?;
        self.difference(diff)
    }

    fn difference(&self, diff: Diff) -> Result<ExportSince<'_, S>, Error> {
        let root = self.commit().data;
        let digests = diff.created().iter().filter_map(node_digest);
        let new: HashSet<_> = digests.copied().collect();
        // If the top is an old node, so is everything below it.
        let ended = node_digest(&root).is_none_or(|digest| !new.contains(digest));
        Ok(ExportSince {
            export: self.export()?,
            difference: Difference {
                diff,
                new,
                next: None,
                ended,
            },
        })
    }

    /// Puts the blocks that [`export_since`](Self::export_since) returns into `store`, which has
    /// the tree of `old_root` and its records: the store then has this repository too. This is how
    /// to import a CAR that leaves out what its receiver has; open it as a repository over an
    /// [`OverlayBlockStore`](blockstore_core::OverlayBlockStore) of the CAR and the store, since
    /// its sender may leave out anything that the store has.
    ///
    /// Nothing is written unless everything new is present and sound: the nodes are in place, as
    /// are the old subtrees below them, the new keys are paths, and their records are present. What
    /// was old is assumed to be complete, and no more of it is read than the edges of those
    /// subtrees; [`verify`](Self::verify) reads everything. If the store fails on the way, what was
    /// put before may stay; if the store is a transaction, it is all or nothing.
    ///
    /// Returns how many nodes and records are new.
    ///
    /// # Errors
    ///
    /// Those of `export_since` and its items, [`Error::InvalidPath`], and [`Error::Store`] if
    /// `store` fails to take a block.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_car::CarBlockStore;
    /// use blockstore_core::{MemoryBlockStore, OverlayBlockStore};
    /// use mst_repo::{Repository, Write, Writer};
    ///
    /// # let key = |_: &[u8]| Ok([1; 64]);
    /// # let did = "did:plc:z72i7hdynmk6r22z27h6tvur";
    /// # let record = b"\xa1\x64text\x65Hello".as_slice();
    /// # let write = |rkey: &str| [Write::create(format!("app.bsky.feed.post/{rkey}"), record)];
    /// let origin = MemoryBlockStore::new();
    /// let (mut writer, _) = Writer::create(&origin, did, &key)?;
    /// let old = writer.write(&write("1"), &key)?;
    /// let mirror = MemoryBlockStore::new();
    /// Repository::open(&origin, &old.cid)?.copy_to(&mirror)?;
    ///
    /// // What the origin sends for the time since then.
    /// let new = writer.write(&write("2"), &key)?;
    /// let repository = Repository::open(&origin, &new.cid)?;
    /// let new_blocks = repository.export_since(repository.nodes(), &old.commit.data)?;
    /// let car = CarBlockStore::from_bytes(new_blocks.write_car(Vec::new())?)?;
    ///
    /// let repository = Repository::open(OverlayBlockStore::new(car, &mirror), &new.cid)?;
    /// let copied = repository.copy_since_to(&old.commit.data, &mirror)?;
    /// assert_eq!((copied.nodes, copied.records), (1, 1));
    /// assert_eq!(Repository::open(&mirror, &new.cid)?.verify()?.records, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn copy_since_to<T: BlockStoreMut + ?Sized>(
        &self,
        old_root: &Cid,
        store: &T,
    ) -> Result<RepositorySummary, Error> {
        let options = NodeStoreOptions {
            // Even if the repository is trusted: what is new is checked here.
            trusted: false,
            ..of_paths(*self.nodes().options())
        };
        let old = NodeStore::with_options(store, options);
        let new = NodeStore::with_options(self.blocks(), options);
        let diff = Diff::new(&old, old_root, &new, &self.commit().data)?;
        let mut copied = RepositorySummary {
            nodes: diff.created().len() as u64,
            records: 0,
        };
        let mut paths = PathCheck::default();
        for operation in diff.clone().filter(|operation| operation.new.is_some()) {
            paths.check(&operation.key)?;
            copied.records += 1;
        }
        let difference = self.difference(diff.clone())?.for_store();
        check_edges(&new, &self.commit().data, &difference.difference.new)?;
        for block in difference {
            block?;
        }
        put_all(self.difference(diff)?.for_store(), store)?;
        Ok(copied)
    }
}

/// Checks that the subtrees below nodes of `new` which are not new themselves lie between the keys
/// beside them, where they may not have been before. If they are sound in themselves, reading their
/// outermost nodes is enough.
fn check_edges<S: BlockStore>(
    nodes: &NodeStore<S>,
    root: &Cid,
    new: &HashSet<[u8; DIGEST_LEN]>,
) -> Result<(), Error> {
    if node_digest(root).is_none_or(|root| !new.contains(root)) {
        return Ok(());
    }
    let mut walker = NodeWalker::new(nodes, root)?;
    loop {
        if has_subtree_of(new, &walker) {
            walker.go_down()?;
            continue;
        }
        // Going down, the walker checks each node.
        let mut edge = walker.clone();
        while edge.go_down()? {}
        let mut edge = walker.clone();
        while edge.go_down()? {
            while edge.go_right() {}
        }
        while !walker.go_right() {
            if !walker.go_up() {
                return Ok(());
            }
        }
    }
}

/// An iterator over the blocks of a repository that an older tree does not have, from
/// [`Repository::export_since`].
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct ExportSince<'r, S> {
    pub(super) export: Export<'r, S>,
    pub(super) difference: Difference,
}

impl<S> ExportSince<'_, S> {
    /// Leaves out large records that it has returned for another path, as [`Export::for_store`]
    /// does.
    pub fn for_store(mut self) -> Self {
        self.export = self.export.for_store();
        self
    }
}

/// Distinguishes new from old, on a walk through the new tree.
pub(super) struct Difference {
    diff: Diff,
    /// The nodes that the old tree does not have.
    new: HashSet<[u8; DIGEST_LEN]>,
    /// The first operation that the walk has not passed.
    next: Option<Operation>,
    /// Whether this is at its end, or after an error that nothing follows.
    ended: bool,
}

impl Difference {
    /// Takes a step of `export` through the new nodes and the new records.
    pub(super) fn step<S: BlockStore>(&mut self, export: &mut Export<'_, S>) -> Option<Step> {
        while !self.ended {
            let new = &self.new;
            export
                .steps
                .pass_unless(|walker| has_subtree_of(new, walker));
            let step = export.steps.step();
            match &step {
                Some(Step::Record(cid, _)) => {
                    let is_new = self.is_new_at(export.steps.walker().left_key());
                    if !is_new || export.was_given(cid) {
                        continue;
                    }
                }
                Some(Step::Node(..)) => {}
                Some(Step::Failed(_)) | None => self.ended = true,
            }
            return step;
        }
        None
    }

    /// Whether the record at `key` was created or updated. Keys come in order, as in the diff.
    fn is_new_at(&mut self, key: Option<&[u8]>) -> bool {
        // The walk never comes to the key of a deleted record.
        while self.next.as_ref().map(|next| next.key.as_slice()) < key {
            self.next = self.diff.next();
            if self.next.is_none() {
                return false;
            }
        }
        self.next.as_ref().map(|next| next.key.as_slice()) == key
    }
}

/// Whether the walker stands before a subtree whose top is one of `nodes`.
fn has_subtree_of<S: BlockStore>(
    nodes: &HashSet<[u8; DIGEST_LEN]>,
    walker: &NodeWalker<'_, S>,
) -> bool {
    let digest = walker.node().subtree_digest(walker.slot());
    digest.is_some_and(|digest| nodes.contains(digest))
}

impl<S: BlockStore> Iterator for ExportSince<'_, S> {
    type Item = Result<(Cid, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let difference = &mut self.difference;
        self.export.next_of(|export| difference.step(export))
    }
}

impl<S: BlockStore> FusedIterator for ExportSince<'_, S> {}

impl<S: BlockStore> fmt::Debug for ExportSince<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportSince")
            .field("export", &self.export)
            .field("diff", &self.difference.diff)
            .finish_non_exhaustive()
    }
}
