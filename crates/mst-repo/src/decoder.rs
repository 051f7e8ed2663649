//! A repository in a CAR whose bytes are handed over as they come.

mod given;
mod incoming;

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use blockstore_car::{CarError, CarOptions, Decoded};
use blockstore_core::{Bytes, Cid, StoreError};
use mst_ops::{EntryRef, NodeStore, NodeStoreOptions, NodeWalker, TreeNode, WalkerPosition};

use self::incoming::{Halt, Incoming, State};
use crate::export::{Turn, Turned};
use crate::record::PathCheck;
use crate::repository::read_commit;
use crate::{Commit, Error, Record, RepositorySummary};

/// A repository in a CAR whose bytes it is given as they come, in pieces of any length. It does no
/// input of its own: for servers that are asynchronous in whatever way, and whoever else cannot
/// wait for a [`Read`].
///
/// It gives and checks what a [`RepositoryStream`](crate::RepositoryStream) gives and checks, which
/// is this over a [`Read`], and the same is said there of the order of blocks. Bytes that were
/// handed over are kept until they are asked for: take all that there is before the next.
///
/// # Examples
///
/// ```
/// use mst_repo::{Decoded, RepositoryDecoder};
/// # let download = mst_testkit::SampleRepository::generate(7, 10).car();
/// # let mut body = download.chunks(1000);
///
/// let mut repository = RepositoryDecoder::new();
/// loop {
///     match repository.next_record()? {
///         Decoded::Item(record) => println!("{}: {} bytes", record.path(), record.bytes().len()),
///         // With an asynchronous body, here is the `await`.
///         Decoded::NeedsBytes => match body.next() {
///             Some(chunk) => repository.push(chunk),
///             None => repository.end(),
///         },
///         Decoded::End => break,
///     }
/// }
/// # assert_eq!(repository.summary().records, 10);
/// # Ok::<(), mst_repo::StreamError>(())
/// ```
pub struct RepositoryDecoder {
    nodes: NodeStore<Incoming>,
    commit: Option<(Cid, Commit)>,
    /// Whether the commit's block is still to be given.
    commit_ahead: bool,
    /// How far the walk through the tree has come, once it has begun.
    position: Option<WalkerPosition>,
    turn: Turn,
    /// The entry that the walk has gone over and whose record is not there yet.
    entry: Option<EntryRef>,
    paths: PathCheck,
    summary: RepositorySummary,
    done: bool,
}

/// How a [`RepositoryDecoder`] or a [`RepositoryStream`](crate::RepositoryStream) reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamOptions {
    /// How the CAR is read.
    pub car: CarOptions,
    /// How nodes are checked. There is no use for a cache, as no node comes twice.
    pub nodes: NodeStoreOptions,
    /// How many bytes of memory may be taken by blocks that came before they were wanted, and by
    /// records that may be wanted again; 16 MiB by default. As long as the CAR is in the
    /// streamable order, a sixteenth of it is used, and what the last large record takes.
    pub memory_bytes: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        let mut nodes = NodeStoreOptions::default();
        nodes.cache_bytes = 0;
        Self {
            car: CarOptions::default(),
            nodes,
            memory_bytes: 16 << 20,
        }
    }
}

/// Why a repository cannot be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The stream failed, or is no CAR, or one of its blocks is not what its CID names.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The CAR names no root, so no commit.
    #[error("the CAR names no root")]
    NoRoot,
    /// A block is not in the rest of the CAR, nor among the records that were given last: it is
    /// missing, or was given too long ago ([`StreamOptions::memory_bytes`]).
    #[error("block {0} is neither in the rest of the CAR nor among the records read last")]
    NotAhead(Cid),
    /// Too much came before it was wanted: the CAR is in another order.
    #[error(
        "blocks that came before they were wanted take more than {limit} bytes: the CAR is not in \
         streamable order, and must be read with a higher limit or from a file or memory"
    )]
    TooMuchAside {
        /// [`StreamOptions::memory_bytes`].
        limit: usize,
    },
    /// What came is not a repository.
    #[error(transparent)]
    Repository(#[from] Error),
}

impl From<StoreError> for StreamError {
    fn from(error: StoreError) -> Self {
        Self::Repository(error.into())
    }
}

/// What a walk through the tree comes to.
enum Visit {
    Node(Arc<TreeNode>),
    /// A record that is still to be read.
    Entry(EntryRef),
}

impl Default for RepositoryDecoder {
    fn default() -> Self {
        Self::with_options(StreamOptions::default())
    }
}

impl RepositoryDecoder {
    /// Returns a decoder that was given nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a decoder that will read as `options` say.
    pub fn with_options(options: StreamOptions) -> Self {
        Self {
            nodes: NodeStore::with_options(Incoming::new(options), options.nodes),
            commit: None,
            commit_ahead: true,
            position: None,
            turn: Turn::Node,
            entry: None,
            paths: PathCheck::default(),
            summary: RepositorySummary::default(),
            done: false,
        }
    }

    /// Hands over the bytes of the CAR that come next, which are copied.
    pub fn push(&mut self, bytes: &[u8]) {
        self.nodes
            .blocks()
            .with(|incoming| incoming.car().push(bytes));
    }

    /// Hands over the bytes of the CAR that come next: as many as one call of
    /// [`Read::read`] gives. If that is none, it is the [`end`](Self::end).
    ///
    /// # Errors
    ///
    /// As for [`CarDecoder::read_from`](blockstore_car::CarDecoder::read_from).
    pub fn read_from(&mut self, input: &mut (impl Read + ?Sized)) -> io::Result<()> {
        let incoming = self.nodes.blocks();
        incoming.with(|incoming| incoming.car().read_from(input))
    }

    /// Says that all bytes were handed over.
    pub fn end(&mut self) {
        self.nodes.blocks().with(|incoming| incoming.car().end());
    }

    /// Returns the CID of the commit, and the commit, whose signature is not checked; `None` if it
    /// is not there yet. Before the first record, it is.
    ///
    /// # Errors
    ///
    /// [`StreamError`]. Nothing follows an error.
    pub fn commit(&mut self) -> Result<Option<(&Cid, &Commit)>, StreamError> {
        let _ = self.decode(|this| this.read_commit().map(Some))?;
        let commit = self.commit.as_ref();
        Ok(commit.map(|(cid, commit)| (cid, commit)))
    }

    /// The commit, which was read.
    pub(crate) fn opened(&self) -> (&Cid, &Commit) {
        let (cid, commit) = self.commit.as_ref().expect("it was read to open a stream");
        (cid, commit)
    }

    /// Returns the next record, in the order of their paths.
    ///
    /// A record comes once for each path that leads to it, so a small CAR of a stranger can be a
    /// great many bytes of records: bound what you keep.
    ///
    /// At [`Decoded::End`] all records were given, and the CAR was read to its end. Blocks that no
    /// record needs are passed over, but they too must be what their CIDs name.
    ///
    /// # Errors
    ///
    /// [`StreamError`]. Nothing follows an error.
    #[inline]
    pub fn next_record(&mut self) -> Result<Decoded<Record>, StreamError> {
        self.commit_ahead = false;
        self.decode(|this| match this.visit(false)? {
            Some(Visit::Entry(entry)) => {
                let record = this.read_record(&entry)?;
                Ok(Some(Record::new(entry, record)))
            }
            _ => this.read_to_end(),
        })
    }

    /// Returns the next block, of the commit, the nodes and the records, in the streamable order.
    /// They are checked as by [`next_record`](Self::next_record), beside which it is not meant to
    /// be used: what either has passed does not come again.
    ///
    /// # Errors
    ///
    /// As for [`next_record`](Self::next_record).
    pub fn next_block(&mut self) -> Result<Decoded<(Cid, Bytes)>, StreamError> {
        if self.commit_ahead
            && let Some((cid, commit)) = self.commit()?
        {
            let block = (*cid, commit.encode().into());
            self.commit_ahead = false;
            return Ok(Decoded::Item(block));
        }
        self.decode(|this| match this.visit(true)? {
            Some(Visit::Node(node)) => Ok(Some((node.cid(), node.encode().into()))),
            Some(Visit::Entry(entry)) => Ok(Some((entry.value(), this.read_record(&entry)?))),
            None => this.read_to_end(),
        })
    }

    /// Returns how many nodes and records were read so far; at the end, in all.
    pub fn summary(&self) -> RepositorySummary {
        self.summary
    }

    /// Gives nothing any more.
    pub(crate) fn stop(&mut self) {
        self.done = true;
    }

    /// The next item, which `find` finds if there is one, in the terms of who hands over bytes.
    #[inline]
    fn decode<T>(
        &mut self,
        find: impl FnOnce(&mut Self) -> Result<Option<T>, Halt>,
    ) -> Result<Decoded<T>, StreamError> {
        if self.done {
            return Ok(Decoded::End);
        }
        match find(self) {
            Ok(Some(item)) => Ok(Decoded::Item(item)),
            Err(Halt::NeedsBytes) => Ok(Decoded::NeedsBytes),
            Ok(None) => {
                self.done = true;
                Ok(Decoded::End)
            }
            Err(Halt::Fault(error)) => {
                self.done = true;
                Err(*error)
            }
        }
    }

    fn read_commit(&mut self) -> Result<(), Halt> {
        if self.commit.is_none() {
            let incoming = self.nodes.blocks();
            let cid = incoming.with(State::root)?;
            let commit = read_commit(&cid, || incoming.with(|state| state.read_block(&cid)))?;
            self.commit = Some((cid, commit));
        }
        Ok(())
    }

    /// Goes on to the next entry, or to the next node if `nodes` are wanted too. If that needs bytes
    /// first, it can be asked again.
    #[inline]
    fn visit(&mut self, nodes: bool) -> Result<Option<Visit>, Halt> {
        if let Some(entry) = self.entry.take() {
            return Ok(Some(Visit::Entry(entry)));
        }
        let position = match self.position.take() {
            Some(position) => position,
            None => self.start()?,
        };
        let mut walker = NodeWalker::at(&self.nodes, position);
        let visit = loop {
            let turn = self.turn;
            match self.turn.take(&mut walker) {
                Ok(Some(Turned::IntoNode)) => {
                    self.summary.nodes += 1;
                    if nodes {
                        break Ok(Some(Visit::Node(Arc::clone(walker.node()))));
                    }
                }
                Ok(Some(Turned::OverRecord)) => break Ok(walker.left_entry().map(Visit::Entry)),
                Ok(None) => break Ok(None),
                Err(error) => {
                    self.turn = turn;
                    break Err(self.nodes.blocks().halt(error));
                }
            }
        };
        self.position = Some(walker.into_position());
        visit
    }

    /// Where the walk begins.
    fn start(&mut self) -> Result<WalkerPosition, Halt> {
        self.read_commit()?;
        let Some((_, commit)) = &self.commit else {
            return Err(Halt::NeedsBytes);
        };
        let walker = NodeWalker::new(&self.nodes, &commit.data);
        let walker = walker.map_err(|error| self.nodes.blocks().halt(error))?;
        Ok(walker.into_position())
    }

    #[inline]
    fn read_record(&mut self, entry: &EntryRef) -> Result<Bytes, Halt> {
        self.paths.check(entry.key())?;
        let incoming = self.nodes.blocks();
        let record =
            incoming.with(|state| state.read_record(entry.value_bytes(), || entry.value()));
        match &record {
            Ok(_) => self.summary.records += 1,
            Err(_) => self.entry = Some(entry.clone()),
        }
        record
    }

    /// Reads what comes behind all that was wanted.
    fn read_to_end<T>(&mut self) -> Result<Option<T>, Halt> {
        self.nodes.blocks().with(State::read_to_end)?;
        Ok(None)
    }
}

impl fmt::Debug for RepositoryDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryDecoder")
            .field("commit", &self.commit)
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}
