//! A repository over any block store.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::{Bound, Range, RangeBounds};

use blockstore_core::{BlockStore, Bytes, Cid, StoreError};
use mst_ops::{EntryRef, NodeStore, NodeStoreOptions, NodeWalker};

use crate::commit::checked_link;
use crate::{Commit, Error, MAX_PATH_LEN, Record, Records, RepoPath, check_nsid};

/// A repository at one commit, over any block store.
///
/// # Examples
///
/// ```
/// use blockstore_car::CarBlockStore;
/// use mst_repo::Repository;
/// # let bytes = mst_testkit::SampleRepository::generate(7, 10).car();
///
/// let car = CarBlockStore::from_bytes(bytes)?;
/// let commit = car.root()?;
/// let repository = Repository::open(car, &commit)?;
/// for record in repository.records()? {
///     let record = record?;
///     println!("{}: {} bytes", record.path(), record.bytes().len());
/// }
/// assert!(repository.get("app.bsky.actor.profile/self")?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Repository<S> {
    nodes: NodeStore<S>,
    cid: Cid,
    commit: Commit,
}

impl<S: BlockStore> Repository<S> {
    /// Opens the repository in `blocks` at the commit named `commit`.
    ///
    /// This reads the commit and nothing else; see [`verify`](Self::verify) for the rest. For a
    /// single look-up, open it without a cache ([`NodeStoreOptions::uncached`]).
    ///
    /// # Errors
    ///
    /// [`Error::MissingBlock`] if the commit is missing, [`Error::InvalidCommit`] if it is not one,
    /// [`Error::Store`] if the store fails.
    pub fn open(blocks: S, commit: &Cid) -> Result<Self, Error> {
        Self::open_with(blocks, commit, NodeStoreOptions::default())
    }

    /// Opens a repository whose nodes are cached and checked according to `options`. But no key may
    /// be longer than a path ([`MAX_PATH_LEN`](crate::MAX_PATH_LEN)), whatever the limits say: a node
    /// with a longer one is invalid.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_with(blocks: S, commit: &Cid, options: NodeStoreOptions) -> Result<Self, Error> {
        Ok(Self {
            commit: read_commit(commit, || read_block(&blocks, commit))?,
            cid: *commit,
            nodes: NodeStore::with_options(blocks, of_paths(options)),
        })
    }

    /// Makes a repository of the parts that [`into_parts`](Self::into_parts) returns: for a commit
    /// that was decoded elsewhere, such as one of version 2 ([`Commit::decode_version_2_or_3`]), which
    /// the other constructors refuse. The caller must ensure that `cid` is the commit's. Here the
    /// node store alone decides how long keys may be.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_core::BlockStore;
    /// use mst_ops::NodeStore;
    /// use mst_repo::{Commit, Repository};
    ///
    /// # let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// # let (cid, store) = (sample.commit.0, blockstore_core::MemoryBlockStore::new());
    /// # blockstore_core::BlockStoreMut::put_many(&store, &sample.blocks())?;
    /// let block = store.get(&cid)?.ok_or("the commit is not there")?;
    /// let commit = Commit::decode_version_2_or_3(&block)?;
    /// let repository = Repository::from_parts(NodeStore::new(store), commit, cid);
    /// assert_eq!(repository.verify()?.records, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_parts(nodes: NodeStore<S>, commit: Commit, cid: Cid) -> Self {
        Self { nodes, cid, commit }
    }

    /// Takes the repository apart: the nodes, the commit and its CID.
    pub fn into_parts(self) -> (NodeStore<S>, Commit, Cid) {
        (self.nodes, self.commit, self.cid)
    }

    /// Returns the commit.
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// Returns the CID of the commit.
    pub fn commit_cid(&self) -> Cid {
        self.cid
    }

    /// Returns the node store, for what this type has no method for.
    pub fn nodes(&self) -> &NodeStore<S> {
        &self.nodes
    }

    /// Returns the block store.
    pub fn blocks(&self) -> &S {
        self.nodes.blocks()
    }

    /// Returns a walker at the start of the tree, for keys without their records: all of them
    /// ([`NodeWalker::entries`]), a range, or a prefix.
    ///
    /// # Errors
    ///
    /// Those of [`NodeWalker::new`].
    pub fn walker(&self) -> Result<NodeWalker<'_, S>, Error> {
        Ok(NodeWalker::new(&self.nodes, &self.commit.data)?)
    }

    /// Returns the CID of the record at `path`, or `None` if there is none; its block need not be
    /// present.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get), except those about the record.
    pub fn find(&self, path: &str) -> Result<Option<Cid>, Error> {
        Ok(self.entry(path)?.map(|entry| entry.value()))
    }

    /// Returns the record at `path`, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPath`] if `path` is not valid, [`Error::MissingBlock`] if a node on the way
    /// or the record is missing, and the errors of the tree.
    ///
    /// # Examples
    ///
    /// ```
    /// # let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// # let store = blockstore_core::MemoryBlockStore::new();
    /// # blockstore_core::BlockStoreMut::put_many(&store, &sample.blocks())?;
    /// # let repository = mst_repo::Repository::open(store, &sample.commit.0)?;
    /// if let Some(record) = repository.get("app.bsky.actor.profile/self")? {
    ///     println!("{}: {:?}", record.cid(), record.decode::<mst_repo::Ipld>()?);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get(&self, path: &str) -> Result<Option<Record>, Error> {
        let Some(entry) = self.entry(path)? else {
            return Ok(None);
        };
        let block = read_block(self.blocks(), &entry.value())?;
        Ok(Some(Record::new(entry, block)))
    }

    fn entry(&self, path: &str) -> Result<Option<EntryRef>, Error> {
        let key = path.as_bytes();
        RepoPath::parse(key).map_err(|fault| Error::invalid_path(key, fault))?;
        Ok(self.nodes.entry(&self.commit.data, key)?)
    }

    /// Returns all records, in path order; with `.rev()` in reverse.
    ///
    /// # Errors
    ///
    /// Those of [`walker`](Self::walker); what goes wrong later is an item of the iterator.
    pub fn records(&self) -> Result<Records<'_, S>, Error> {
        Ok(Records::new(self.blocks(), self.walker()?.entries()))
    }

    /// Returns the records of `collection`, in the order of their record keys.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidCollection`] if `collection` is not an NSID, otherwise as for
    /// [`records`](Self::records).
    pub fn collection(&self, collection: &str) -> Result<Records<'_, S>, Error> {
        self.collection_range(collection, ..)
    }

    /// Returns the records of `collection` whose record keys lie in `record_keys`, in order; with
    /// `.rev()` in reverse. That is a page of `com.atproto.repo.listRecords`, if it starts after
    /// the last record key of the previous page.
    ///
    /// # Errors
    ///
    /// As for [`collection`](Self::collection).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ops::Bound;
    ///
    /// use mst_repo::Repository;
    ///
    /// # let sample = mst_testkit::SampleRepository::generate(7, 100);
    /// # let store = blockstore_core::MemoryBlockStore::new();
    /// # blockstore_core::BlockStoreMut::put_many(&store, &sample.blocks())?;
    /// let repository = Repository::open(store, &sample.commit.0)?;
    /// let posts = "app.bsky.feed.post";
    /// let (mut cursor, mut listed): (Option<String>, _) = (None, 0);
    /// loop {
    ///     // The newest first.
    ///     let before = match &cursor {
    ///         Some(cursor) => (Bound::Unbounded, Bound::Excluded(cursor.as_str())),
    ///         None => (Bound::Unbounded, Bound::Unbounded),
    ///     };
    ///     let page = repository.collection_range(posts, before)?.rev().take(10);
    ///     let page = page.collect::<Result<Vec<_>, _>>()?;
    ///     let Some(last) = page.last() else { break };
    ///     cursor = Some(last.record_key().to_owned());
    ///     listed += page.len();
    /// }
    /// assert_eq!(listed, repository.collection(posts)?.count());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn collection_range<'k>(
        &self,
        collection: &str,
        record_keys: impl RangeBounds<&'k str>,
    ) -> Result<Records<'_, S>, Error> {
        let all = keys_of(collection)?;
        let path = |key: &&str| [&*all.start, key.as_bytes()].concat();
        let start = match record_keys.start_bound() {
            Bound::Unbounded => Bound::Included(all.start.clone()),
            bound => bound.map(path),
        };
        let end = match record_keys.end_bound() {
            Bound::Unbounded => Bound::Excluded(all.end),
            bound => bound.map(path),
        };
        let entries = self.walker()?.range::<Vec<u8>>((start, end));
        Ok(Records::new(self.blocks(), entries))
    }

    /// Returns the records whose paths lie in `bounds`, in path order: a page of a listing of all
    /// records, if it starts after the last path of the previous page.
    ///
    /// # Errors
    ///
    /// As for [`records`](Self::records).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ops::Bound;
    ///
    /// use mst_repo::Repository;
    ///
    /// # let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// # let store = blockstore_core::MemoryBlockStore::new();
    /// # blockstore_core::BlockStoreMut::put_many(&store, &sample.blocks())?;
    /// let repository = Repository::open(store, &sample.commit.0)?;
    /// let (mut cursor, mut pages) = (String::new(), 0);
    /// loop {
    ///     let rest = (Bound::Excluded(cursor.as_str()), Bound::Unbounded);
    ///     let page: Vec<_> = repository.range(rest)?.take(4).collect::<Result<_, _>>()?;
    ///     let Some(last) = page.last() else { break };
    ///     cursor = last.path().to_owned();
    ///     pages += 1;
    /// }
    /// assert_eq!(pages, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn range<'k>(&self, bounds: impl RangeBounds<&'k str>) -> Result<Records<'_, S>, Error> {
        Ok(Records::new(self.blocks(), self.walker()?.range(bounds)))
    }

    /// Returns the records whose paths begin with `prefix`, in path order: for `app.bsky.`, those
    /// of all collections with such names.
    ///
    /// # Errors
    ///
    /// As for [`records`](Self::records).
    pub fn prefix(&self, prefix: &str) -> Result<Records<'_, S>, Error> {
        Ok(Records::new(self.blocks(), self.walker()?.prefix(prefix)))
    }

    /// Returns the names of the collections, in path order, in which `com.example.a.b` comes before
    /// `com.example.a`. Their records are skipped, not read.
    ///
    /// # Errors
    ///
    /// As for [`records`](Self::records).
    pub fn collections(&self) -> Result<Collections<'_, S>, Error> {
        Ok(Collections {
            walker: Some(self.walker()?),
            after: Vec::new(),
        })
    }
}

/// The range of all keys of `collection`, which must be an NSID.
pub(crate) fn keys_of(collection: &str) -> Result<Range<Vec<u8>>, Error> {
    let name = collection.as_bytes();
    check_nsid(name).map_err(|fault| Error::InvalidCollection {
        collection: collection.to_owned(),
        source: Box::new(fault),
    })?;
    // '0' follows '/', so this ends after everything that begins with the name and '/'.
    Ok([name, b"/"].concat()..[name, b"0"].concat())
}

/// Reads the block of `cid`, which must be present.
pub(crate) fn read_block(blocks: &(impl BlockStore + ?Sized), cid: &Cid) -> Result<Bytes, Error> {
    blocks.get(cid)?.ok_or(Error::MissingBlock(*cid))
}

/// Reads a block, if it is there and intact.
///
/// # Errors
///
/// [`StoreError::Backend`]: what is one block's fault is none.
pub(crate) fn read_if_intact(
    blocks: &(impl BlockStore + ?Sized),
    cid: &Cid,
) -> Result<Option<Bytes>, StoreError> {
    match blocks.get(cid) {
        Err(error) if error.cid().is_some() => Ok(None),
        read => read,
    }
}

/// Returns `options` with no more than the length of a path allowed for keys: a few bytes could
/// expand to long ones, which are in memory before any is checked as a path.
pub(crate) fn of_paths(mut options: NodeStoreOptions) -> NodeStoreOptions {
    options.limits.key_len = options.limits.key_len.min(MAX_PATH_LEN);
    options
}

/// Reads the commit `cid`, whose block `read` returns.
pub(crate) fn read_commit<E: From<Error>>(
    cid: &Cid,
    read: impl FnOnce() -> Result<Bytes, E>,
) -> Result<Commit, E> {
    let invalid = |fault| Error::InvalidCommit {
        cid: *cid,
        source: Box::new(fault),
    };
    checked_link("root", *cid).map_err(invalid)?;
    Ok(Commit::decode(&read()?).map_err(invalid)?)
}

impl<S> fmt::Debug for Repository<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("cid", &self.cid)
            .field("commit", &self.commit)
            .finish_non_exhaustive()
    }
}

/// An iterator over the names of collections, from [`Repository::collections`]. The first
/// error ends it.
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct Collections<'r, S> {
    walker: Option<NodeWalker<'r, S>>,
    /// All keys of the collections returned so far are less than this.
    after: Vec<u8>,
}

impl<S: BlockStore> Collections<'_, S> {
    fn advance(&mut self) -> Result<Option<String>, Error> {
        let Some(walker) = &mut self.walker else {
            return Ok(None);
        };
        walker.seek(&self.after)?;
        let Some(entry) = walker.next_entry()? else {
            return Ok(None);
        };
        let key = entry.key();
        let path = RepoPath::parse(key).map_err(|fault| Error::invalid_path(key, fault))?;
        self.after = keys_of(path.collection())?.end;
        Ok(Some(path.collection().to_owned()))
    }
}

impl<S: BlockStore> Iterator for Collections<'_, S> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.walker = None;
        }
        item
    }
}

impl<S: BlockStore> FusedIterator for Collections<'_, S> {}

impl<S> fmt::Debug for Collections<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collections").finish_non_exhaustive()
    }
}
