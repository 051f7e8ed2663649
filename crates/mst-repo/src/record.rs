//! Records in path order.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;

use blockstore_core::{BlockStore, Bytes, Cid};
use mst_ops::{Entries, EntryRef};
use serde::Deserialize;

use crate::batch::Batch;
use crate::path::check_record_key_bytes;
use crate::repository::read_block;
use crate::{BlobRef, Error, Fault, InvalidRecord, Place, RepoPath, decode_record, record_blobs};

/// A record: its path, its CID, its block.
#[derive(Clone)]
pub struct Record {
    entry: EntryRef,
    bytes: Bytes,
}

impl Record {
    /// The record of `entry`, whose key is a path.
    pub(crate) fn new(entry: EntryRef, bytes: Bytes) -> Self {
        Self { entry, bytes }
    }

    /// Returns the record's path: `collection/record-key`.
    pub fn path(&self) -> &str {
        let path = self.entry.key_str();
        path.expect("a record's path was checked, and is ASCII")
    }

    /// Returns the collection, the part of the path before the slash.
    pub fn collection(&self) -> &str {
        self.halves().0
    }

    /// Returns the record key, the part of the path after the slash.
    pub fn record_key(&self) -> &str {
        self.halves().1
    }

    /// Returns the record's CID.
    pub fn cid(&self) -> Cid {
        self.entry.value()
    }

    /// Returns the record's block as its author encoded it. It should be DAG-CBOR, which
    /// [`decode`](Self::decode) checks.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Decodes the record; see [`decode_record`]. For its JSON, decode it as [`Json`](crate::Json),
    /// which has the forms of atproto for links and bytes; `serde_json::Value` has none for links.
    ///
    /// # Errors
    ///
    /// As for [`decode_record`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let bytes = mst_testkit::SampleRepository::generate(7, 30).car();
    /// # let car = blockstore_car::CarBlockStore::from_bytes(bytes)?;
    /// # let commit = car.root()?;
    /// # let repository = mst_repo::Repository::open(car, &commit)?;
    /// #[derive(serde::Deserialize)]
    /// struct Post<'r> {
    ///     text: &'r str,
    /// }
    ///
    /// for record in repository.collection("app.bsky.feed.post")? {
    ///     let record = record?;
    ///     println!("{}", record.decode::<Post>()?.text);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode<'b, T: Deserialize<'b>>(&'b self) -> Result<T, InvalidRecord> {
        decode_record(&self.bytes)
    }

    /// Returns the blobs that the record refers to; see [`record_blobs`].
    ///
    /// # Errors
    ///
    /// As for [`record_blobs`].
    pub fn blobs(&self) -> Result<Vec<BlobRef>, InvalidRecord> {
        record_blobs(&self.bytes)
    }

    fn halves(&self) -> (&str, &str) {
        let halves = self.path().split_once('/');
        halves.expect("a record's path was checked, and has a slash")
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        (self.path(), self.entry.value_bytes(), &self.bytes)
            == (other.path(), other.entry.value_bytes(), &other.bytes)
    }
}

impl Eq for Record {}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("path", &self.path())
            .field("cid", &self.cid())
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// An iterator over records in path order, from
/// [`Repository::records`](crate::Repository::records).
///
/// It never ends early. What is missing or wrong is an item, a [`Fault`] (in a box) that says which
/// record is affected, or that all below one node are, and the iterator continues past it. So if
/// you stop at the first error (`?`), you never mistake a part for the whole. It cannot repeat a
/// step; to fetch what is missing and go on, use the walker, or start again after the last record.
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct Records<'r, S> {
    blocks: &'r S,
    entries: Entries<'r, S>,
    /// Entries with their blocks, read ahead as many blocks at once cost a store less than one by
    /// one. Blocks that could not be read this way are `None`.
    ready: VecDeque<(EntryRef, Option<Bytes>)>,
    /// What ended reading ahead, and comes after these.
    failed: Option<Box<Fault>>,
    batch: Batch,
    paths: PathCheck,
}

impl<'r, S: BlockStore> Records<'r, S> {
    pub(crate) fn new(blocks: &'r S, entries: Entries<'r, S>) -> Self {
        Self {
            blocks,
            entries,
            ready: VecDeque::new(),
            failed: None,
            batch: Batch::default(),
            paths: PathCheck::default(),
        }
    }

    /// Reads records ahead, up to the first entry that cannot be read.
    fn read_ahead(&mut self) {
        let mut cids = Vec::with_capacity(self.batch.len());
        while cids.len() < self.batch.len() {
            match self.entries.next() {
                Some(Ok(entry)) => {
                    cids.push(entry.value());
                    self.ready.push_back((entry, None));
                }
                Some(Err(error)) => {
                    self.failed = Some(self.unreadable(error));
                    break;
                }
                None => break,
            }
        }
        let blocks = self.batch.read(self.blocks, &cids);
        for ((_, ready), block) in self.ready.iter_mut().zip(blocks) {
            *ready = block;
        }
    }

    fn record(&mut self, entry: EntryRef, read: Option<Bytes>) -> Result<Record, Box<Fault>> {
        let path = self.paths.check(entry.key());
        let bytes = path.and_then(|()| match read {
            Some(bytes) => Ok(bytes),
            None => read_block(self.blocks, &entry.value()),
        });
        match bytes {
            Ok(bytes) => Ok(Record::new(entry, bytes)),
            Err(error) => Err(Box::new(Fault::of_entry(&entry, error))),
        }
    }

    /// The subtree that the last step could not enter.
    fn unreadable(&self, error: mst_ops::Error) -> Box<Fault> {
        Box::new(Fault {
            error: error.into(),
            place: Place::of_subtree(self.entries.walker()),
        })
    }
}

impl<S: BlockStore> Iterator for Records<'_, S> {
    type Item = Result<Record, Box<Fault>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && self.failed.is_none() {
            self.read_ahead();
        }
        match self.ready.pop_front() {
            Some((entry, read)) => Some(self.record(entry, read)),
            None => Some(Err(self.failed.take()?)),
        }
    }
}

impl<S: BlockStore> DoubleEndedIterator for Records<'_, S> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self.entries.next_back() {
            Some(Ok(entry)) => Some(self.record(entry, None)),
            Some(Err(error)) => Some(Err(self.unreadable(error))),
            // What is left was read ahead from the front.
            None if self.failed.is_some() => self.failed.take().map(Err),
            None => {
                let (entry, read) = self.ready.pop_back()?;
                Some(self.record(entry, read))
            }
        }
    }
}

impl<S: BlockStore> FusedIterator for Records<'_, S> {}

impl<S: BlockStore> fmt::Debug for Records<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

/// Checks that keys are paths, one after the other.
#[derive(Debug, Default)]
pub(crate) struct PathCheck {
    /// The collection of the previous record and its slash, as many records share one.
    checked: Vec<u8>,
}

impl PathCheck {
    pub(crate) fn check(&mut self, key: &[u8]) -> Result<(), Error> {
        if !self.checked.is_empty()
            && let Some(record_key) = key.strip_prefix(&*self.checked)
            && check_record_key_bytes(record_key).is_ok()
        {
            return Ok(());
        }
        let path = RepoPath::parse(key).map_err(|fault| Error::invalid_path(key, fault))?;
        self.checked = [path.collection().as_bytes(), b"/"].concat();
        Ok(())
    }
}
