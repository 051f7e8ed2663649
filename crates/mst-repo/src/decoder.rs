//! Decodes a repository from the bytes of a CAR, as they arrive.

mod given;
mod incoming;

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use blockstore_car::Decoded;
use blockstore_core::{Bytes, Cid};
use mst_ops::{EntryRef, NodeStore, NodeWalker, TreeNode, WalkerPosition};
#[cfg(feature = "async")]
use tokio::io::AsyncRead;

use self::incoming::{Halt, Incoming};
use crate::record::PathCheck;
use crate::repository::{of_paths, read_commit};
use crate::turn::{Turn, Turned};
use crate::{Commit, Record, RepositorySummary, StreamError, StreamOptions};

/// Decodes a repository from the bytes of a CAR that are pushed into it as they arrive, in pieces
/// of any length. It does no I/O of its own: for asynchronous servers of any kind, and whoever else
/// cannot block on a [`Read`].
///
/// It returns and checks what a [`RepositoryStream`](crate::RepositoryStream) does, which is this
/// over a [`Read`]; see there for the order of blocks and for memory. Bytes that were pushed are
/// kept until they are consumed: take all available items before pushing more.
///
/// A CAR may go on for ever after what is wanted, so count the bytes of a download. One block takes
/// as long as its hash, 20 ms for 32 MiB, which
/// [`CarOptions::section_len`](blockstore_car::CarOptions::section_len) bounds.
///
/// # Examples
///
/// ```
/// use mst_repo::{Decoded, EventCheck, RepositoryDecoder};
/// # let download = mst_testkit::SampleRepository::generate(7, 10).car();
/// # let mut body = download.chunks(1000);
/// # let did = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
///
/// let check = EventCheck::default(); // Here with the account's key.
/// let mut repository = RepositoryDecoder::new();
/// let mut state = None;
/// loop {
///     if state.is_none()
///         && let Some((_, commit)) = repository.commit()?
///     {
///         state = Some(check.repository(did, commit)?);
///     }
///     match repository.next_record()? {
///         // No record comes before the commit is there, and checked.
///         Decoded::Item(record) => println!("{}: {} bytes", record.path(), record.bytes().len()),
///         // If the body is asynchronous, this is where to `await`.
///         Decoded::NeedsBytes => match body.next() {
///             Some(chunk) => repository.push(chunk),
///             None => repository.end(),
///         },
///         Decoded::End => break,
///     }
/// }
/// # assert_eq!(repository.summary().records, 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RepositoryDecoder {
    nodes: NodeStore<Incoming>,
    commit: Option<(Cid, Commit)>,
    given: Kind,
    /// The position of the walk through the tree, once it has begun.
    position: Option<WalkerPosition>,
    turn: Turn,
    /// The entry that the walk has passed and whose record is not there yet.
    entry: Option<EntryRef>,
    paths: PathCheck,
    summary: RepositorySummary,
    state: State,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Records,
    Blocks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Failed,
}

/// What a walk through the tree finds next.
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
    /// Returns a decoder that has not been given any bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a decoder with the given options.
    pub fn with_options(options: StreamOptions) -> Self {
        Self {
            nodes: NodeStore::with_options(Incoming::new(options), of_paths(options.nodes)),
            commit: None,
            given: Kind::Nothing,
            position: None,
            turn: Turn::Node,
            entry: None,
            paths: PathCheck::default(),
            summary: RepositorySummary::default(),
            state: State::Reading,
        }
    }

    /// Makes [`next_block`](Self::next_block) leave out records of 16 KiB and more that it has
    /// returned for another path, and which the CAR may then have only once: for putting the blocks
    /// into a store, which keeps each once. In a CAR from an untrusted source, thousands of paths
    /// may lead to one record.
    #[must_use]
    pub fn for_store(mut self) -> Self {
        self.leave_out_large();
        self
    }

    pub(crate) fn leave_out_large(&mut self) {
        self.incoming().leave_out_large();
    }

    /// Pushes the next bytes of the CAR, which are copied. After the [`end`](Self::end) or an error
    /// they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.state == State::Reading {
            self.incoming().car().push(bytes);
        }
    }

    /// Pushes the next bytes of the CAR, as many as one call of [`Read::read`] gives, and returns
    /// how many. Zero means the [`end`](Self::end). After that or an error nothing is read.
    ///
    /// # Errors
    ///
    /// As for [`CarDecoder::read_from`](blockstore_car::CarDecoder::read_from).
    pub fn read_from(&mut self, input: &mut (impl Read + ?Sized)) -> io::Result<usize> {
        match self.state {
            State::Reading => self.incoming().car().read_from(input),
            State::Ended | State::Failed => Ok(0),
        }
    }

    /// Pushes the next bytes of the CAR from an asynchronous stream, as
    /// [`read_from`](Self::read_from) does. (Feature `async`.) Cancel-safe: if the future is
    /// dropped before it is ready, nothing is lost.
    ///
    /// # Errors
    ///
    /// As for [`read_from`](Self::read_from).
    #[cfg(feature = "async")]
    pub async fn read_from_async(
        &mut self,
        input: &mut (impl AsyncRead + Unpin + ?Sized),
    ) -> io::Result<usize> {
        match self.state {
            State::Reading => self.incoming().car().read_from_async(input).await,
            State::Ended | State::Failed => Ok(0),
        }
    }

    /// Signals that all bytes have been pushed.
    pub fn end(&mut self) {
        self.incoming().car().end();
    }

    /// Returns the CID of the commit, and the commit; `None` as long as more bytes are needed for
    /// it, so never after the [`end`](Self::end). It is known before the first record or block: if
    /// you call this before each of those, none is returned until this has succeeded. Once the
    /// commit was read, it stays available, even after an error.
    ///
    /// The signature is not checked; [`EventCheck::repository`](crate::EventCheck::repository) does
    /// that.
    ///
    /// # Errors
    ///
    /// [`StreamError`], and from then on [`StreamError::AfterError`].
    pub fn commit(&mut self) -> Result<Option<(&Cid, &Commit)>, StreamError> {
        if self.commit.is_none() {
            let _ = self.decode(|this| this.read_commit().map(Some))?;
        }
        let commit = self.commit.as_ref();
        Ok(commit.map(|(cid, commit)| (cid, commit)))
    }

    /// The commit, which has been read.
    pub(crate) fn opened(&self) -> (&Cid, &Commit) {
        let (cid, commit) = self.commit.as_ref().expect("it was read to open a stream");
        (cid, commit)
    }

    /// Returns the next record, in path order.
    ///
    /// A record is returned for each path that leads to it, so a small CAR from an untrusted source
    /// can expand to a great many bytes of records: bound what you keep.
    ///
    /// At [`Decoded::End`] all records have been returned, and the CAR was read to its end. Blocks
    /// that no record needs are skipped, but they too must match their CIDs, if these can be
    /// checked.
    ///
    /// # Errors
    ///
    /// [`StreamError`], and from then on [`StreamError::AfterError`].
    #[inline]
    pub fn next_record(&mut self) -> Result<Decoded<Record>, StreamError> {
        self.check_kind(Kind::Records)?;
        self.decode(|this| {
            let Some(Visit::Entry(entry)) = this.visit(Kind::Records)? else {
                return this.read_to_end();
            };
            let record = this.read_entry(&entry, |incoming| {
                incoming.read_record(entry.value_bytes(), || entry.value())
            })?;
            Ok(Some(Record::new(entry, record)))
        })
    }

    /// Returns the next block, of the commit, the nodes and the records, in streamable order. They
    /// are checked as by [`next_record`](Self::next_record); use either that or this.
    ///
    /// A record is returned for each path that leads to it, unless this is
    /// [`for_store`](Self::for_store).
    ///
    /// # Errors
    ///
    /// As for [`next_record`](Self::next_record).
    pub fn next_block(&mut self) -> Result<Decoded<(Cid, Bytes)>, StreamError> {
        self.check_kind(Kind::Blocks)?;
        self.decode(|this| {
            this.read_commit()?;
            if this.given == Kind::Nothing
                && let Some((cid, commit)) = &this.commit
            {
                this.given = Kind::Blocks;
                return Ok(Some((*cid, commit.encode().into())));
            }
            while let Some(visit) = this.visit(Kind::Blocks)? {
                match visit {
                    Visit::Node(node) => return Ok(Some((node.cid(), node.encode().into()))),
                    Visit::Entry(entry) => {
                        let cid = entry.value();
                        let record =
                            this.read_entry(&entry, |incoming| incoming.read_for_store(&cid))?;
                        if let Some(record) = record {
                            return Ok(Some((cid, record)));
                        }
                    }
                }
            }
            this.read_to_end()
        })
    }

    /// Returns how many nodes and records have been read so far; at the end, the totals.
    pub fn summary(&self) -> RepositorySummary {
        self.summary
    }

    /// Makes this return nothing more, after an error.
    pub(crate) fn fail(&mut self) {
        self.state = State::Failed;
    }

    /// Checks that nothing was returned yet, and that there was no error.
    pub(crate) fn check_new(&self) -> Result<(), StreamError> {
        match (self.state, self.given) {
            (State::Failed, _) => Err(StreamError::AfterError),
            (State::Reading, Kind::Nothing) => Ok(()),
            _ => Err(StreamError::AlreadyRead),
        }
    }

    fn incoming(&mut self) -> &mut incoming::State {
        self.nodes.blocks_mut().state()
    }

    /// Checks that nothing of another kind was returned: what that has passed does not come again.
    #[inline]
    fn check_kind(&self, kind: Kind) -> Result<(), StreamError> {
        if self.given == kind || self.given == Kind::Nothing || self.state == State::Failed {
            Ok(())
        } else {
            Err(StreamError::AlreadyRead)
        }
    }

    /// Returns the next item, which `find` finds if there is one, as a [`Decoded`].
    #[inline]
    fn decode<T>(
        &mut self,
        find: impl FnOnce(&mut Self) -> Result<Option<T>, Halt>,
    ) -> Result<Decoded<T>, StreamError> {
        match self.state {
            State::Reading => {}
            State::Ended => return Ok(Decoded::End),
            State::Failed => return Err(StreamError::AfterError),
        }
        match find(self) {
            Ok(Some(item)) => Ok(Decoded::Item(item)),
            Err(Halt::NeedsBytes) => Ok(Decoded::NeedsBytes),
            Ok(None) => {
                self.state = State::Ended;
                Ok(Decoded::End)
            }
            Err(Halt::Fault(error)) => {
                self.state = State::Failed;
                Err(*error)
            }
        }
    }

    fn read_commit(&mut self) -> Result<(), Halt> {
        if self.commit.is_none() {
            let incoming = self.incoming();
            let cid = incoming.root()?;
            let commit = read_commit(&cid, || incoming.read_block(&cid))?;
            self.commit = Some((cid, commit));
        }
        Ok(())
    }

    /// Goes on to the next entry, or to the next node if blocks of all kinds are wanted. If that
    /// needs bytes first, the call can be repeated.
    #[inline]
    fn visit(&mut self, kind: Kind) -> Result<Option<Visit>, Halt> {
        if let Some(entry) = self.entry.take() {
            return Ok(Some(Visit::Entry(entry)));
        }
        let position = match self.position.take() {
            Some(position) => position,
            None => self.start()?,
        };
        self.given = kind;
        let mut walker = NodeWalker::at(&self.nodes, position).expect("it is from this store");
        let visit = loop {
            let turn = self.turn;
            match self.turn.take(&mut walker) {
                Ok(Some(Turned::IntoNode)) => {
                    self.summary.nodes += 1;
                    if kind == Kind::Blocks {
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

    /// Reads the record of `entry`, with `read`. If that needs bytes first, the entry comes next
    /// again.
    #[inline]
    fn read_entry<T>(
        &mut self,
        entry: &EntryRef,
        read: impl FnOnce(&mut incoming::State) -> Result<T, Halt>,
    ) -> Result<T, Halt> {
        self.paths.check(entry.key())?;
        let record = read(self.incoming());
        match &record {
            Ok(_) => self.summary.records += 1,
            Err(_) => self.entry = Some(entry.clone()),
        }
        record
    }

    /// Reads what comes after everything that was wanted.
    fn read_to_end<T>(&mut self) -> Result<Option<T>, Halt> {
        self.incoming().read_to_end()?;
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
