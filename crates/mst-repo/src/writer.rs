//! Writes commits, each following the one before.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::iter;
use std::sync::Arc;

use blockstore_car::CarWriter;
use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, StoreError, dag_cbor_cid};
use mst_node::Node;
use mst_ops::{InvertError, NodeStore, NodeStoreOptions, Operation, Tree};

use crate::brief::{Count, Len};
use crate::data_model::{InvalidRecord, check_record};
use crate::{Commit, Error, RepoPath, Repository, SignError, Signer, Tid, is_did};

/// The maximum number of operations in a commit.
///
/// Source: <https://atproto.com/specs/sync>, and the lexicon
/// `com.atproto.sync.subscribeRepos`
pub const MAX_OPERATIONS: usize = 200;
/// The maximum length of the blocks of a commit on the firehose, as a CAR, in bytes.
pub const MAX_SLICE_LEN: usize = 2_000_000;
/// The maximum length of a record in bytes.
pub const MAX_RECORD_LEN: usize = 1_000_000;

/// A change of one record that is to be made.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Puts a record where there is none.
    Create {
        /// The record's path.
        path: String,
        /// Its bytes: DAG-CBOR, a map. A value from JSON has to be converted to the data model
        /// first: `{"$link": ..}` becomes a link, `{"$bytes": ..}` bytes.
        record: Bytes,
    },
    /// Replaces a record with another.
    Update {
        /// The record's path.
        path: String,
        /// Its bytes: DAG-CBOR, a map.
        record: Bytes,
    },
    /// Puts a record, and replaces the one that is there, if any.
    Put {
        /// The record's path.
        path: String,
        /// Its bytes: DAG-CBOR, a map.
        record: Bytes,
    },
    /// Removes a record.
    Delete {
        /// The record's path.
        path: String,
    },
}

impl Write {
    /// [`Create`](Self::Create) a record.
    pub fn create(path: impl Into<String>, record: impl Into<Bytes>) -> Self {
        let (path, record) = (path.into(), record.into());
        Self::Create { path, record }
    }

    /// [`Update`](Self::Update) a record.
    pub fn update(path: impl Into<String>, record: impl Into<Bytes>) -> Self {
        let (path, record) = (path.into(), record.into());
        Self::Update { path, record }
    }

    /// [`Put`](Self::Put) a record.
    pub fn put(path: impl Into<String>, record: impl Into<Bytes>) -> Self {
        let (path, record) = (path.into(), record.into());
        Self::Put { path, record }
    }

    /// [`Delete`](Self::Delete) a record.
    pub fn delete(path: impl Into<String>) -> Self {
        let path = path.into();
        Self::Delete { path }
    }

    /// Returns the path of the record.
    pub fn path(&self) -> &str {
        match self {
            Self::Create { path, .. }
            | Self::Update { path, .. }
            | Self::Put { path, .. }
            | Self::Delete { path } => path,
        }
    }

    /// Returns the record's bytes; `None` if it is to be removed.
    pub fn record(&self) -> Option<&Bytes> {
        match self {
            Self::Create { record, .. }
            | Self::Update { record, .. }
            | Self::Put { record, .. } => Some(record),
            Self::Delete { .. } => None,
        }
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut write = f.debug_struct(match self {
            Self::Create { .. } => "Create",
            Self::Update { .. } => "Update",
            Self::Put { .. } => "Put",
            Self::Delete { .. } => "Delete",
        });
        write.field("path", &self.path());
        if let Some(record) = self.record() {
            write.field("record", &Len(record));
        }
        write.finish()
    }
}

/// A commit that was just made, and everything that others need to know about it.
#[derive(Clone)]
#[non_exhaustive]
pub struct NewCommit {
    /// The commit's CID.
    pub cid: Cid,
    /// The commit, signed.
    pub commit: Commit,
    /// The CID of the previous commit; `None` for the first commit of a repository. If others write
    /// to the store too, it should accept the new commit only if this is still the last one.
    pub previous: Option<Cid>,
    /// The revision of the previous commit.
    pub since: Option<Tid>,
    /// The root of the previous tree.
    pub prev_data: Option<Cid>,
    /// The operations, in key order, with the values before and after.
    pub operations: Vec<Operation>,
    /// What has to be added to the store: new nodes and records, and the commit.
    pub new_blocks: Vec<(Cid, Bytes)>,
    /// What the repository no longer uses: nodes, and the previous commit. A store that holds
    /// nothing else can drop them together with this commit, but not later: the next commit may use
    /// them again. A store with other repositories cannot, as even two empty ones share a node;
    /// sweep it now and then ([`reachable`](crate::reachable)).
    ///
    /// No record is among them, as a [`Writer`] does not accept a node or a commit as a record. If
    /// a repository came from elsewhere and has such records, `reachable` says what it uses.
    pub removed: Vec<Cid>,
    /// Records that are no longer at their old path: deleted, or replaced by an update. They are not
    /// in [`removed`](Self::removed), as another path may lead to the same block. To drop one, find
    /// out with [`reachable`](crate::reachable) that none does, or by a table of yours from CIDs to
    /// paths.
    pub replaced: Vec<Cid>,
    /// The CAR for the firehose: the commit, the new nodes and those that cover the operations, and
    /// the new records.
    pub slice: Bytes,
}

impl fmt::Debug for NewCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCommit")
            .field("cid", &self.cid)
            .field("commit", &self.commit)
            .field("previous", &self.previous)
            .field("since", &self.since)
            .field("prev_data", &self.prev_data)
            .field("operations", &self.operations)
            .field("new_blocks", &Count(&self.new_blocks))
            .field("removed", &Count(&self.removed))
            .field("replaced", &Count(&self.replaced))
            .field("slice", &Len(&self.slice))
            .finish()
    }
}

/// Why a commit was not made. Nothing has changed then, except what a store may have done before it
/// failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The repository is invalid or incomplete, or a path is not valid.
    #[error(transparent)]
    Repository(Error),
    /// More operations than one commit may have.
    #[error("{found} operations, more than the limit of {MAX_OPERATIONS}")]
    TooManyOperations {
        /// How many there are.
        found: usize,
    },
    /// Two writes to the same path.
    #[error("two writes to {path:?}")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// A record to be created exists already.
    #[error("there is a record at {path:?}")]
    Exists {
        /// The path.
        path: String,
    },
    /// A record to be updated or deleted does not exist.
    #[error("there is no record at {path:?}")]
    NotFound {
        /// The path.
        path: String,
    },
    /// A record is too long.
    #[error("the record for {path:?} has {len} bytes, more than the limit of {MAX_RECORD_LEN}")]
    RecordTooLarge {
        /// The path.
        path: String,
        /// Its length.
        len: usize,
    },
    /// A record is not valid; see [`check_record`](crate::check_record).
    #[error("the record for {path:?} is not valid")]
    InvalidRecord {
        /// The path.
        path: String,
        /// What is wrong with it.
        source: InvalidRecord,
    },
    /// A record is, byte for byte, a node of a tree or a commit. Its block would be dropped
    /// together with that node or commit.
    #[error("the record for {path:?} is a node of a tree, or a commit")]
    NotARecord {
        /// The path.
        path: String,
    },
    /// The DID for a new repository is not valid.
    #[error("{did:?} is not a DID")]
    InvalidDid {
        /// What was given as the DID.
        did: String,
    },
    /// The blocks are too long for the firehose.
    #[error("the commit's blocks take {len} bytes, more than the limit of {MAX_SLICE_LEN}")]
    SliceTooLarge {
        /// Their length as a CAR.
        len: usize,
    },
    /// No revision is greater than that of the previous commit.
    #[error("no revision can follow {previous}: a TID cannot name a later time")]
    NoRevision {
        /// The revision of the previous commit.
        previous: Tid,
    },
    /// The commit could not be signed, or its signature is not valid.
    #[error("the commit could not be signed")]
    Sign(#[source] SignError),
    /// The block store failed, as it was read or written, or returned a block that does not match
    /// its CID.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The commit does not lead back to the previous tree, so there is a bug in this library. It
    /// was not stored.
    #[error("the commit, inverted, does not lead back to the previous tree")]
    Inversion(#[source] Option<Box<InvertError>>),
}

impl WriteError {
    /// Returns the block that is missing or at fault, if it is one block's fault.
    pub fn cid(&self) -> Option<Cid> {
        match self {
            Self::Repository(error) => error.cid(),
            Self::Store(error) => error.cid(),
            _ => None,
        }
    }
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => Self::Store(error),
            error => Self::Repository(error),
        }
    }
}

/// A repository that can be written to.
///
/// [`write`](Self::write) makes one commit of some writes. Everything about it is returned in one
/// value, after a check, like a receiver's, that its operations lead back to the previous tree. The
/// nodes that writes pass stay in memory, in its tree and in no other cache, so that the next
/// commit finds them there. There must not be two writers of one repository: neither would know of
/// the other's commits.
///
/// The key is not stored in it, but passed for each commit: a server can keep it locked away in
/// between, and change it. See [`Signer`] for what can be a key, and [`Commit::sign`] for how its
/// signatures are checked before anything is stored.
///
/// If blocks are far away, as in an asynchronous store, keep those that are needed in one that is
/// not: the commit, the root of its tree, and [`Tree::missing_for`] the paths of the writes, until
/// nothing is missing: `writer.tree().missing_for(paths)`.
///
/// # Examples
///
/// ```
/// use blockstore_core::MemoryBlockStore;
/// use mst_repo::{Curve, Repository, SigningKey, Write, Writer, encode_record, ipld};
///
/// let blocks = MemoryBlockStore::new();
/// let key = SigningKey::from_bytes(Curve::K256, &[7; 32])?;
/// let (mut writer, _) = Writer::create(&blocks, "did:plc:z72i7hdynmk6r22z27h6tvur", &key)?;
///
/// let record = encode_record(&ipld!({ "$type": "app.bsky.feed.post", "text": "Hello" }))?;
/// let write = Write::create("app.bsky.feed.post/3jzfcijpj2z2a", record);
/// let new = writer.write(&[write], &key)?;
/// assert_eq!(new.operations.len(), 1);
///
/// let repository = Repository::open(&blocks, &new.cid)?;
/// assert_eq!(repository.verify()?.records, 1);
/// repository.commit().verify_signature(&key.public_key())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// With a key that is held elsewhere, and neither curve enabled:
///
/// ```
/// use blockstore_core::MemoryBlockStore;
/// use mst_repo::{SignError, Writer};
///
/// # fn ask_the_service(_: &[u8]) -> std::io::Result<[u8; 64]> {
/// #     Ok([7; 64])
/// # }
/// let key = |message: &[u8]| ask_the_service(message).map_err(SignError::signer);
/// let blocks = MemoryBlockStore::new();
/// let (writer, _) = Writer::create(&blocks, "did:plc:z72i7hdynmk6r22z27h6tvur", &key)?;
/// assert_eq!(writer.commit().sig.len(), 64);
/// # Ok::<(), mst_repo::WriteError>(())
/// ```
pub struct Writer<S> {
    tree: Tree<Arc<NodeStore<S>>>,
    commit: Commit,
    cid: Cid,
    /// Distinguishes this writer's revisions from those of another clock.
    clock: u16,
    /// The blocks of this writer's commit that a store may have dropped before it failed.
    in_doubt: BTreeSet<Cid>,
}

impl<S: BlockStoreMut> Writer<S> {
    /// Starts the repository of `did`, without records, and stores the blocks of its first commit.
    ///
    /// # Errors
    ///
    /// [`WriteError::InvalidDid`], [`WriteError::Sign`] and [`WriteError::Store`].
    pub fn create(
        blocks: S,
        did: &str,
        key: &(impl Signer + ?Sized),
    ) -> Result<(Self, NewCommit), WriteError> {
        Self::create_with(blocks, did, key, |blocks, new| {
            blocks.put_many(&new.new_blocks)
        })
    }

    /// Makes a commit of `writes` and stores its blocks. The caller has to record which commit is
    /// the last, in the same transaction: `S` may be one, with the writer opened in it.
    ///
    /// An update that does not change the record is not an operation. If none is left, the commit
    /// is made all the same: of the same tree, with a new revision.
    ///
    /// # Errors
    ///
    /// [`WriteError`], as for [`write_with`](Self::write_with).
    pub fn write(
        &mut self,
        writes: &[Write],
        key: &(impl Signer + ?Sized),
    ) -> Result<NewCommit, WriteError> {
        self.write_with(writes, key, |blocks, new| blocks.put_many(&new.new_blocks))
    }
}

impl<S: BlockStore> Writer<S> {
    /// Continues from the commit named `commit`.
    ///
    /// # Errors
    ///
    /// Those of [`Repository::open`], and those of [`Tree::open`].
    pub fn open(blocks: S, commit: &Cid) -> Result<Self, Error> {
        Self::open_with(blocks, commit, NodeStoreOptions::uncached())
    }

    /// Continues from the commit named `commit`, with the given options for reading nodes. The tree
    /// keeps the nodes that it has read, so that a cache gains nothing.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_with(blocks: S, commit: &Cid, options: NodeStoreOptions) -> Result<Self, Error> {
        let (nodes, commit, cid) = Repository::open_with(blocks, commit, options)?.into_parts();
        let tree = Tree::open(Arc::new(nodes), &commit.data)?;
        Ok(Self {
            tree,
            commit,
            cid,
            clock: Tid::random_clock(),
            in_doubt: BTreeSet::new(),
        })
    }

    /// Starts a repository as [`create`](Self::create) does, and lets `store` keep its first
    /// commit.
    ///
    /// # Errors
    ///
    /// As for [`create`](Self::create).
    pub fn create_with(
        blocks: S,
        did: &str,
        key: &(impl Signer + ?Sized),
        store: impl FnOnce(&S, &NewCommit) -> Result<(), StoreError>,
    ) -> Result<(Self, NewCommit), WriteError> {
        if !is_did(did) {
            let did = did.to_owned();
            return Err(WriteError::InvalidDid { did });
        }
        let nodes = NodeStore::with_options(blocks, NodeStoreOptions::uncached());
        let mut tree = Tree::empty(Arc::new(nodes));
        let clock = Tid::random_clock();
        let changes = tree.flush();
        let mut commit = Commit::unsigned(did, Tid::now(clock), changes.root);
        let (cid, block) = signed(&mut commit, key)?;
        let mut new_blocks = vec![(cid, block)];
        new_blocks.extend(changes.new);
        let new = NewCommit {
            cid,
            slice: car(&cid, &new_blocks),
            commit: commit.clone(),
            previous: None,
            since: None,
            prev_data: None,
            operations: Vec::new(),
            new_blocks,
            removed: Vec::new(),
            replaced: Vec::new(),
        };
        store(tree.nodes().blocks(), &new)?;
        let writer = Self {
            tree,
            commit,
            cid,
            clock,
            in_doubt: BTreeSet::new(),
        };
        Ok((writer, new))
    }

    /// Returns the commit that this writer is at.
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// Returns the CID of that commit.
    pub fn commit_cid(&self) -> Cid {
        self.cid
    }

    /// Returns the tree at that commit. Use it to see which record is at a path now, if the write
    /// depends on that: `writer.tree().get(path)`.
    pub fn tree(&self) -> &Tree<Arc<NodeStore<S>>> {
        &self.tree
    }

    /// Returns the block store.
    pub fn blocks(&self) -> &S {
        self.tree.nodes().blocks()
    }

    /// Gives the block store back. `None` if a clone of the [`tree`](Self::tree) still uses it; the
    /// store is then dropped with that clone.
    pub fn into_blocks(self) -> Option<S> {
        let nodes = Arc::clone(self.tree.nodes());
        drop(self.tree);
        Arc::into_inner(nodes).map(NodeStore::into_blocks)
    }

    /// Makes a commit of `writes`, and lets `store` keep it, in one transaction with anything else
    /// that has to be consistent with it, such as which commit is the last. After that, the blocks
    /// must be in the writer's block store: the next call looks for the commit there.
    ///
    /// If anything fails, including `store`, the writer is where it was, and you can try again. But
    /// the answer of a database may be lost, so that `store` fails although the commit is stored.
    /// If you cannot rule that out, open a new writer at the commit that the store has as the last.
    /// This writer would make another commit beside it; or, if `store` also dropped what was no
    /// longer used, find that missing. Open a new one, too, if a transaction around this call is
    /// rolled back: this writer's commit does not exist then.
    ///
    /// If the commit has to be announced, let `store` also put its message into a table of yours
    /// ([`CommitEvent::new`](crate::CommitEvent::new), [`Frame::encode`](crate::Frame::encode)), and
    /// send it from there: after a crash, or a lost answer, it can still be sent. An error that is
    /// no [`StoreError`] can be made one with [`StoreError::backend`], and is then the source of
    /// [`WriteError::Store`].
    ///
    /// # Errors
    ///
    /// [`WriteError`]; [`Error::MissingBlock`] if this writer's commit is not in the store, or a
    /// block of it was dropped by a `store` that failed or panicked.
    pub fn write_with(
        &mut self,
        writes: &[Write],
        key: &(impl Signer + ?Sized),
        store: impl FnOnce(&S, &NewCommit) -> Result<(), StoreError>,
    ) -> Result<NewCommit, WriteError> {
        check(writes)?;
        // The nodes are in memory, even if their blocks were dropped, or are not in the store after
        // all, as when a transaction around the last write was rolled back.
        for cid in iter::once(&self.cid).chain(&self.in_doubt) {
            if !self.blocks().has(cid)? {
                return Err(Error::MissingBlock(*cid).into());
            }
        }
        let mut tree = self.tree.clone();
        let mut operations = Vec::with_capacity(writes.len());
        let (mut records, mut sent) = (Vec::new(), HashSet::new());
        for write in writes {
            let operation = apply(&mut tree, write)?;
            // A record that was not changed by its update is not an operation.
            if operation.old == operation.new {
                continue;
            }
            if let Some((value, record)) = operation.new.zip(write.record())
                && sent.insert(value)
            {
                records.push((value, record.clone()));
            }
            operations.push(operation);
        }
        operations.sort_unstable_by(|one, two| one.key.cmp(&two.key));

        let changes = tree.flush();
        let previous = self.commit.rev;
        let rev = Tid::now(self.clock).after(previous);
        let rev = rev.ok_or(WriteError::NoRevision { previous })?;
        let mut commit = Commit::unsigned(&*self.commit.did, rev, changes.root);
        let (cid, block) = signed(&mut commit, key)?;

        let keys = operations.iter().map(|operation| operation.key.as_slice());
        let cover = tree.cover_beside(&changes.new, keys).map_err(Error::from)?;
        let mut nodes = changes.new;
        // The top first, as suits a reader.
        nodes.reverse();
        let new_len = nodes.len();
        nodes.extend(cover);
        match invert(&nodes, &changes.root, &operations) {
            Ok(root) if root == self.commit.data => {}
            Ok(_) => return Err(WriteError::Inversion(None)),
            Err(error) => return Err(WriteError::Inversion(Some(Box::new(error)))),
        }

        let commit_block = [(cid, block)];
        let slice = commit_block.iter().chain(&nodes).chain(&records);
        let slice = car(&cid, slice);
        if slice.len() > MAX_SLICE_LEN {
            return Err(WriteError::SliceTooLarge { len: slice.len() });
        }
        nodes.truncate(new_len);
        let [commit_block] = commit_block;
        let mut removed = changes.removed;
        removed.push(self.cid);
        let new = NewCommit {
            cid,
            slice,
            previous: Some(self.cid),
            since: Some(self.commit.rev),
            prev_data: Some(self.commit.data),
            replaced: operations
                .iter()
                .filter_map(|operation| operation.old)
                .collect(),
            operations,
            new_blocks: nodes
                .into_iter()
                .chain(records)
                .chain([commit_block])
                .collect(),
            removed,
            commit,
        };
        // Before `store`, which may panic.
        self.in_doubt.extend(&new.removed);
        store(self.blocks(), &new)?;
        self.in_doubt.clear();
        self.tree = tree;
        self.commit = new.commit.clone();
        self.cid = cid;
        Ok(new)
    }
}

/// Checks what can be checked of writes before any is made.
fn check(writes: &[Write]) -> Result<(), WriteError> {
    if writes.len() > MAX_OPERATIONS {
        return Err(WriteError::TooManyOperations {
            found: writes.len(),
        });
    }
    let mut paths = HashSet::new();
    for write in writes {
        let path = || write.path().to_owned();
        let key = write.path().as_bytes();
        RepoPath::parse(key).map_err(|fault| Error::invalid_path(key, fault))?;
        if !paths.insert(key) {
            return Err(WriteError::Duplicate { path: path() });
        }
        let Some(record) = write.record() else {
            continue;
        };
        if record.len() > MAX_RECORD_LEN {
            return Err(WriteError::RecordTooLarge {
                path: path(),
                len: record.len(),
            });
        }
        check_record(record).map_err(|source| WriteError::InvalidRecord {
            path: path(),
            source,
        })?;
        if Node::decode(record).is_ok() || Commit::decode_version_2_or_3(record).is_ok() {
            return Err(WriteError::NotARecord { path: path() });
        }
    }
    Ok(())
}

fn apply<S: BlockStore>(
    tree: &mut Tree<Arc<NodeStore<S>>>,
    write: &Write,
) -> Result<Operation, WriteError> {
    let path = || write.path().to_owned();
    let key = write.path().as_bytes();
    let new = write.record().map(|record| dag_cbor_cid(record));
    let old = match &new {
        Some(value) => tree.insert(key, value),
        None => tree.remove(key),
    };
    let old = old.map_err(Error::from)?;
    match write {
        Write::Create { .. } if old.is_some() => Err(WriteError::Exists { path: path() }),
        Write::Update { .. } | Write::Delete { .. } if old.is_none() => {
            Err(WriteError::NotFound { path: path() })
        }
        _ => Ok(Operation {
            key: key.to_vec(),
            old,
            new,
        }),
    }
}

/// Signs a commit, and returns its CID and block.
fn signed(commit: &mut Commit, key: &(impl Signer + ?Sized)) -> Result<(Cid, Bytes), WriteError> {
    commit.sign(key).map_err(WriteError::Sign)?;
    let block = Bytes::from(commit.encode());
    let cid = dag_cbor_cid(&block);
    // Never make a commit that others would refuse.
    Commit::decode(&block).map_err(|fault| Error::InvalidCommit {
        cid,
        source: Box::new(fault),
    })?;
    Ok((cid, block))
}

/// The root before `operations`, computed only from the nodes that a receiver gets.
fn invert(
    nodes: &[(Cid, Bytes)],
    root: &Cid,
    operations: &[Operation],
) -> Result<Cid, InvertError> {
    let nodes = NodeStore::with_options(Encoded::new(nodes), NodeStoreOptions::uncached());
    Tree::open(&nodes, root)?.invert(operations)
}

/// Blocks that were just encoded and hashed, and need not be hashed again.
struct Encoded<'b> {
    /// Sorted.
    blocks: Vec<(&'b Cid, &'b Bytes)>,
}

impl<'b> Encoded<'b> {
    fn new(blocks: &'b [(Cid, Bytes)]) -> Self {
        let mut blocks: Vec<_> = blocks.iter().map(|(cid, block)| (cid, block)).collect();
        blocks.sort_unstable_by_key(|(cid, _)| *cid);
        Self { blocks }
    }
}

impl BlockStore for Encoded<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let found = self.blocks.binary_search_by_key(&cid, |(held, _)| *held);
        let block = found.ok().and_then(|at| self.blocks.get(at));
        Ok(block.map(|(_, block)| Bytes::clone(block)))
    }
}

/// A CAR of these blocks.
pub(crate) fn car<'b>(root: &Cid, blocks: impl IntoIterator<Item = &'b (Cid, Bytes)>) -> Bytes {
    const FITS: &str = "a vector takes every write";
    let mut writer = CarWriter::new(Vec::new(), &[*root]).expect(FITS);
    for (cid, block) in blocks {
        writer.write_block(cid, block).expect(FITS);
    }
    writer.finish().expect(FITS).into()
}

impl<S> fmt::Debug for Writer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("cid", &self.cid)
            .field("commit", &self.commit)
            .finish_non_exhaustive()
    }
}
