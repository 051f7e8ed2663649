//! Checks what a server sends of a repository: messages of the firehose, whole repositories, single
//! records.

use blockstore_car::CarBlockStore;
use blockstore_core::{BlockStore, Bytes, Cid};
use mst_ops::{NodeStore, NodeStoreOptions, Operation, Tree};

#[cfg(any(feature = "k256", feature = "p256"))]
use crate::PublicKey;
use crate::commit::checked_link;
use crate::repository::of_paths;
use crate::{
    Action, CheckedCommit, Commit, CommitEvent, EventError, EventFault, MAX_OPERATIONS,
    MAX_RECORD_LEN, MAX_SLICE_LEN, OutOfSync, Record, RepoOp, RepoPath, Repository, SyncEvent, Tid,
};

/// Checks messages of the firehose.
///
/// It does no I/O: the account's key, the known state of the repository, and the time come from the
/// caller. What is left out is not checked.
///
/// A message may be *invalid*: it breaks a rule (so does a slice that lacks a block), or is not the
/// account's. It may be *out of sync*: messages were missed, or refused as invalid, or the sender
/// leaves out what is needed ([`OutOfSync::TooBig`], [`OutOfSync::NoPrevData`]); then the whole
/// repository has to be fetched. Or it may be *stale*: a duplicate, or late, to be ignored.
///
/// Source: <https://atproto.com/specs/sync#commit-validation>
///
/// # Examples
///
/// ```
/// use blockstore_core::MemoryBlockStore;
/// use mst_repo::{CommitEvent, EventCheck, EventError, Tid, Write, Writer};
/// # let key = mst_repo::SigningKey::from_bytes(mst_repo::Curve::K256, &[7; 32])?;
/// # let public_key = key.public_key();
/// # let did = "did:plc:z72i7hdynmk6r22z27h6tvur";
/// # let (mut writer, first) = Writer::create(MemoryBlockStore::new(), did, &key)?;
/// # let record = b"\xa1\x64text\x65Hello".as_slice();
/// # let write = |rkey: &str| Write::create(format!("app.bsky.feed.post/{rkey}"), record);
///
/// // The first commit of a repository, and the next two, as messages.
/// let time = Tid::now(0).to_datetime();
/// let first = CommitEvent::new(&first, 1, &time);
/// let second = CommitEvent::new(&writer.write(&[write("1")], &key)?, 2, &time);
/// let third = CommitEvent::new(&writer.write(&[write("2")], &key)?, 3, &time);
///
/// let check = EventCheck::default().with_key(&public_key);
/// let state = check.commit(&first)?.state;
/// let check = check.with_state(&state);
/// assert!(matches!(check.commit(&third), Err(EventError::OutOfSync(_))));
/// let state = check.commit(&second)?.state;
/// assert!(check.with_state(&state).commit(&third).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The account's key can be set with the feature `k256` or `p256` (`with_key`).
/// The default checks no signature.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct EventCheck<'c> {
    /// The account's signing key, from its DID document. Without it signatures are not checked.
    #[cfg(any(feature = "k256", feature = "p256"))]
    pub key: Option<&'c PublicKey>,
    /// The known state of the repository. Without it a message is not checked against what came
    /// before, as in a relay that sees an account for the first time. If you keep the records, you
    /// then have to fetch the repository, unless the message [is the first](CommitEvent::is_first):
    /// it contains no more than a part of them.
    pub state: Option<&'c RepoState>,
    /// The present time. Revisions more than five minutes ahead of it are refused; without it, none
    /// are.
    pub now: Option<Tid>,
    /// Whether a commit must contain the nodes that lead to the neighbours of each key on both
    /// sides ([`Tree::cover`]); off by default. The operations can be checked with less, and the
    /// specification asks for no more. But only these nodes rule out that a new key was put on the
    /// wrong side of keys that were not sent, where look-ups no longer find them. The reference
    /// implementation sends these nodes, as does a [`Writer`](crate::Writer). If you have the
    /// previous tree, you do not need this:
    /// [`Repository::copy_since_to`](crate::Repository::copy_since_to) checks the neighbours there.
    pub cover: bool,
}

/// What a consumer remembers of a repository.
///
/// # Examples
///
/// Its two parts are kept as text, or as bytes.
///
/// ```
/// use mst_repo::RepoState;
/// # let data = mst_node::Node::empty().cid();
/// # let state = RepoState { rev: "3jzfcijpj2z2a".parse()?, data };
///
/// let (rev, data) = (state.rev.to_string(), state.data.to_string());
/// assert_eq!(RepoState { rev: rev.parse()?, data: data.parse()? }, state);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RepoState {
    /// The revision.
    pub rev: Tid,
    /// The root of the tree.
    pub data: Cid,
}

impl RepoState {
    /// Returns the state of a repository that is at `commit`.
    pub fn of(commit: &Commit) -> Self {
        Self {
            rev: commit.rev,
            data: commit.data,
        }
    }
}

impl<'c> EventCheck<'c> {
    /// Sets the account's signing [`key`](Self::key), if it is known.
    #[cfg(any(feature = "k256", feature = "p256"))]
    #[must_use]
    pub fn with_key(self, key: impl Into<Option<&'c PublicKey>>) -> Self {
        let key = key.into();
        Self { key, ..self }
    }

    /// Sets the known [`state`](Self::state), if there is one.
    #[must_use]
    pub fn with_state(self, state: impl Into<Option<&'c RepoState>>) -> Self {
        let state = state.into();
        Self { state, ..self }
    }

    /// Sets the present time, [`now`](Self::now).
    #[must_use]
    pub fn with_now(self, now: Tid) -> Self {
        let now = Some(now);
        Self { now, ..self }
    }

    /// Sets whether a commit must [`cover`](Self::cover) its keys.
    #[must_use]
    pub fn with_cover(self, cover: bool) -> Self {
        Self { cover, ..self }
    }
}

impl EventCheck<'_> {
    /// Checks a `#commit` message: the limits, the blocks, the commit and its signature, and that
    /// the operations, inverted, lead to the previous tree; then that it follows the known state.
    /// If there are none, and the tree is the previous one, no node is needed.
    ///
    /// # Errors
    ///
    /// [`EventError`].
    pub fn commit(&self, event: &CommitEvent) -> Result<CheckedCommit, EventError> {
        if event.ops.len() > MAX_OPERATIONS {
            let found = event.ops.len();
            return Err(EventFault::TooManyOperations { found }.into());
        }
        let is_past =
            |known: &RepoState, found: &RepoState| found.rev < known.rev || found == known;
        let (blocks, cid, commit) = self.open_message(
            &event.blocks,
            MAX_SLICE_LEN,
            ("repo", &event.repo),
            &event.rev,
            is_past,
        )?;
        if cid != event.commit {
            return Err(EventFault::Root {
                commit: event.commit,
                found: cid,
            }
            .into());
        }
        if let Some(since) = &event.since {
            let before: Option<Tid> = since.parse().ok();
            let rev = commit.rev;
            if before.is_none_or(|before| before >= rev) {
                let since = since.clone();
                return Err(EventFault::Since { rev, since }.into());
            }
        }
        let operations = match self.operations(event, &blocks, &commit) {
            // The mark is deprecated. If it is set, something may have been left out.
            Err(EventError::Invalid(_)) if event.too_big => return Err(OutOfSync::TooBig.into()),
            operations => operations?,
        };
        if let Some(known) = self.state {
            if event.since.as_deref() != Some(&*known.rev.to_string()) {
                return Err(OutOfSync::Since {
                    known: known.rev,
                    since: event.since.clone(),
                }
                .into());
            }
            if event.prev_data != Some(known.data) {
                return Err(OutOfSync::PrevData {
                    known: known.data,
                    prev_data: event.prev_data,
                }
                .into());
            }
        }
        Ok(CheckedCommit {
            state: RepoState::of(&commit),
            commit,
            cid,
            operations,
            blocks,
        })
    }

    /// Returns the operations, after checking that they lead back to the previous tree.
    fn operations(
        &self,
        event: &CommitEvent,
        blocks: &CarBlockStore,
        commit: &Commit,
    ) -> Result<Vec<Operation>, EventError> {
        if event.prev_data.is_none() && event.since.is_some() {
            return Err(OutOfSync::NoPrevData.into());
        }
        let operations = check_operations(&event.ops, blocks)?;
        if operations.is_empty() && event.prev_data == Some(commit.data) {
            // The same tree, of which nothing has to be sent.
            return Ok(operations);
        }
        let found = self.invert(blocks, &commit.data, &operations)?;
        let is_empty = || found == mst_node::Node::empty().cid();
        if event.prev_data == Some(found) || event.is_first() && is_empty() {
            return Ok(operations);
        }
        let claimed = event.prev_data;
        Err(EventFault::PrevData { claimed, found }.into())
    }

    /// Checks a `#sync` message, and returns the state to remember from now on: its tree must be
    /// the known one, or may be any if none is known ([`state`](Self::state)); its revision may be
    /// newer.
    ///
    /// # Errors
    ///
    /// [`EventError`]; [`OutOfSync::Data`] if the repository has another tree.
    pub fn sync(&self, event: &SyncEvent) -> Result<RepoState, EventError> {
        let (_, _, commit) = self.open_message(
            &event.blocks,
            MAX_SYNC_LEN,
            ("did", &event.did),
            &event.rev,
            is_older,
        )?;
        match self.state {
            Some(known) if commit.data != known.data => Err(OutOfSync::Data {
                known: known.data,
                data: commit.data,
            }
            .into()),
            _ => Ok(RepoState::of(&commit)),
        }
    }

    /// Checks the commit of a repository of the account `did` that was fetched as a whole, and
    /// returns the state to remember once all of it is there. The commit must be the account's,
    /// have its signature, and not be older than the known state: the server may lag behind or
    /// withhold commits. Another tree at the known revision is no error: a repository is fetched
    /// when they disagree.
    ///
    /// A download can be checked this way before anything in it is used, as its commit comes first
    /// ([`RepositoryDecoder::commit`](crate::RepositoryDecoder::commit)). Whether the rest is
    /// complete and well-formed shows when it is read.
    ///
    /// # Errors
    ///
    /// [`EventError`], about the commit only.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_repo::{EventCheck, RepositoryStream};
    /// # let sample = mst_testkit::SampleRepository::generate(7, 10);
    /// # let (download, did) = (sample.car(), "did:plc:ewvi7nxzyoun6zhxrhs64oiz");
    ///
    /// let check = EventCheck::default(); // Here with the account's key.
    /// let mut repository = RepositoryStream::open(download.as_slice())?;
    /// let state = check.repository(did, repository.commit())?;
    /// for record in repository.records() {
    ///     println!("{}", record?.path());
    /// }
    /// // From here on, messages of the firehose have to follow `state`.
    /// # assert_eq!(state.data, repository.commit().data);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn repository(&self, did: &str, commit: &Commit) -> Result<RepoState, EventError> {
        check_same("did", did, &commit.did)?;
        self.check_commit(commit, is_older)
    }

    /// Checks a server's answer to `com.atproto.sync.getRecord`, a CAR with the commit of the
    /// account `did` and the nodes that lead to `path`, and returns the record, or `None` if there
    /// is none. The commit must be the account's, have its signature, and not be older than the
    /// known state, and its nodes must lead to the record, or show that there is none.
    ///
    /// # Errors
    ///
    /// [`EventError`]; [`EventFault::Path`] if `path` is not valid, [`EventFault::Record`] if a
    /// block is missing or a node is invalid.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_repo::{EventCheck, Repository};
    /// # let bytes = mst_testkit::SampleRepository::generate(7, 10).car();
    /// # let car = blockstore_car::CarBlockStore::from_bytes(bytes)?;
    /// # let commit = car.root()?;
    /// # let repository = Repository::open(car, &commit)?;
    /// # let (did, path) = ("did:plc:ewvi7nxzyoun6zhxrhs64oiz", "app.bsky.actor.profile/self");
    /// // What a server does.
    /// let mut answer = Vec::new();
    /// repository.export_range(path..=path)?.write_car(&mut answer)?;
    ///
    /// let check = EventCheck::default(); // Here with the account's key.
    /// let record = check.record(did, path, answer)?.ok_or("there is none")?;
    /// println!("{}: {} bytes", record.cid(), record.bytes().len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record(
        &self,
        did: &str,
        path: &str,
        car: impl Into<Bytes>,
    ) -> Result<Option<Record>, EventError> {
        check_path(path)?;
        let (blocks, cid, commit) = open_blocks(car.into(), ("did", did))?;
        self.check_commit(&commit, is_older)?;
        let nodes = NodeStore::with_options(blocks, untrusted());
        let record = Repository::from_parts(nodes, commit, cid).get(path);
        Ok(record.map_err(EventFault::Record)?)
    }

    /// Opens the blocks of a message and checks their commit. If `is_past` says so, given the known
    /// state and that of the commit, it is stale; this is checked before the signature, as the
    /// account's key may have been another then.
    fn open_message(
        &self,
        blocks: &Bytes,
        limit: usize,
        account: (&'static str, &str),
        rev: &str,
        is_past: impl Fn(&RepoState, &RepoState) -> bool,
    ) -> Result<(CarBlockStore, Cid, Commit), EventError> {
        if blocks.len() > limit {
            let len = blocks.len();
            return Err(EventFault::BlocksTooLarge { len, limit }.into());
        }
        let (blocks, cid, commit) = open_blocks(blocks.clone(), account)?;
        check_same("rev", rev, &commit.rev.to_string())?;
        self.check_commit(&commit, is_past)?;
        Ok((blocks, cid, commit))
    }

    /// Checks a commit by itself.
    fn check_commit(
        &self,
        commit: &Commit,
        is_past: impl Fn(&RepoState, &RepoState) -> bool,
    ) -> Result<RepoState, EventError> {
        let state = RepoState::of(commit);
        if let Some(known) = self.state
            && is_past(known, &state)
        {
            return Err(EventError::Stale {
                known: known.rev,
                found: state.rev,
            });
        }
        #[cfg(any(feature = "k256", feature = "p256"))]
        if let Some(key) = self.key {
            let verified = commit.verify_signature(key);
            verified.map_err(EventFault::Signature)?;
        }
        match self.now {
            Some(now) if state.rev.micros() > now.micros() + MAX_CLOCK_DIFFERENCE => {
                Err(EventFault::Future { rev: state.rev }.into())
            }
            _ => Ok(state),
        }
    }

    fn invert(
        &self,
        blocks: &CarBlockStore,
        root: &Cid,
        operations: &[Operation],
    ) -> Result<Cid, EventError> {
        let nodes = NodeStore::with_options(blocks, untrusted());
        let fault = |error: mst_ops::Error| EventFault::Inversion(error.into());
        let tree = Tree::open(&nodes, root).map_err(fault)?;
        if self.cover {
            let keys = operations.iter().map(|operation| operation.key.as_slice());
            tree.cover(keys).map_err(fault)?;
        }
        let root = tree.invert(operations);
        Ok(root.map_err(EventFault::Inversion)?)
    }
}

/// Whether what was found is older than what is known.
fn is_older(known: &RepoState, found: &RepoState) -> bool {
    found.rev < known.rev
}

/// Opens the blocks of a CAR and reads their commit, which must be one of the account that is given
/// with the name of its field.
fn open_blocks(
    car: Bytes,
    (field, did): (&'static str, &str),
) -> Result<(CarBlockStore, Cid, Commit), EventError> {
    let blocks = CarBlockStore::from_bytes(car).map_err(EventFault::Car)?;
    let cid = *blocks.roots().first().ok_or(EventFault::NoRoot)?;
    checked_link("root", cid).map_err(EventFault::Commit)?;
    let block = blocks.get(&cid).ok().flatten();
    let block = block.ok_or(EventFault::MissingCommit(cid))?;
    let commit = Commit::decode(&block).map_err(EventFault::Commit)?;
    check_same(field, did, &commit.did)?;
    Ok((blocks, cid, commit))
}

/// How to read nodes from an untrusted source.
fn untrusted() -> NodeStoreOptions {
    of_paths(NodeStoreOptions::uncached())
}

/// Checks that a field of a message agrees with the commit.
fn check_same(field: &'static str, message: &str, commit: &str) -> Result<(), EventError> {
    if message == commit {
        return Ok(());
    }
    Err(EventFault::Mismatch {
        field,
        message: message.to_owned(),
        commit: commit.to_owned(),
    }
    .into())
}

/// The maximum length of the blocks of a `#sync` message, of which the commit is one, in bytes.
///
/// Source: the lexicon `com.atproto.sync.subscribeRepos`
pub const MAX_SYNC_LEN: usize = 10_000;

/// How far clocks may differ, in microseconds.
///
/// Source: <https://atproto.com/specs/sync>, "a few minutes"
const MAX_CLOCK_DIFFERENCE: u64 = 5 * 60 * 1_000_000;

fn check_path(path: &str) -> Result<(), EventError> {
    match RepoPath::parse(path) {
        Ok(_) => Ok(()),
        Err(source) => {
            let path = path.to_owned();
            Err(EventFault::Path { path, source }.into())
        }
    }
}

/// Checks each operation by itself, and that its record is present.
fn check_operations(ops: &[RepoOp], blocks: &CarBlockStore) -> Result<Vec<Operation>, EventError> {
    let mut operations = Vec::with_capacity(ops.len());
    for op in ops {
        let path = || op.path.clone();
        check_path(&op.path)?;
        let shape = (op.action, op.cid.is_some(), op.prev.is_some());
        if !matches!(
            shape,
            (Action::Create, true, false)
                | (Action::Update, true, true)
                | (Action::Delete, false, true)
        ) {
            let (path, action) = (path(), op.action);
            return Err(EventFault::Shape { path, action }.into());
        }
        if let Some(cid) = &op.cid {
            let record = blocks.get(cid).ok().flatten();
            let record = record.ok_or_else(|| EventFault::MissingRecord { path: path() })?;
            if record.len() > MAX_RECORD_LEN {
                let (path, len) = (path(), record.len());
                return Err(EventFault::RecordTooLarge { path, len }.into());
            }
        }
        operations.push(op.into());
    }
    Ok(operations)
}
