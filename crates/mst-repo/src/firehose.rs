//! The messages of the firehose that are about repositories.

use std::fmt;

use blockstore_core::{Bytes, Cid};
use ipld_core::ipld::Ipld;
use mst_ops::Operation;

use crate::brief::{Len, Quoted};
use crate::dag_cbor::{self, InvalidDagCbor};
use crate::data_model::encode;
use crate::fields::{Fields, FieldsFault, from_fields_fault};
#[cfg(feature = "car")]
use crate::writer::car;
#[cfg(feature = "car")]
use crate::{Commit, NewCommit};

/// The maximum length of a message in bytes.
///
/// Source: <https://atproto.com/specs/event-stream>
pub const MAX_FRAME_LEN: usize = 5_000_000;

/// The maximum number of items in a message, in known and unknown fields.
const MAX_ITEMS: usize = 16_384;

/// A message of `com.atproto.sync.subscribeRepos`, as one WebSocket frame holds it.
///
/// # Examples
///
/// ```
/// use mst_repo::Frame;
///
/// // {"op": -1}, {"error": "FutureCursor"}
/// let frame = Frame::decode(b"\xa1\x62op\x20\xa1\x65error\x6cFutureCursor")?;
/// assert!(matches!(frame, Frame::Error { error, .. } if error == "FutureCursor"));
/// # Ok::<(), mst_repo::InvalidFrame>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// `#commit`: a repository has changed.
    Commit(Box<CommitEvent>),
    /// `#sync`: the current commit of a repository, whatever was announced before.
    Sync(SyncEvent),
    /// Another kind of message, such as `#account`.
    Other {
        /// Its kind.
        kind: String,
        /// Its number in its stream, if it has one: where to resume after it.
        seq: Option<i64>,
        /// The DID of the account, if it is about one.
        did: Option<String>,
        /// The message, still as DAG-CBOR; [`decode_record`](crate::decode_record) decodes it.
        message: Bytes,
    },
    /// The server ends the stream.
    Error {
        /// The name of the error.
        error: String,
        /// A description for people.
        message: Option<String>,
    },
}

/// A `#commit` message.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitEvent {
    /// The message's number in its stream.
    pub seq: i64,
    /// The DID of the repository.
    pub repo: String,
    /// The CID of the commit.
    pub commit: Cid,
    /// The revision of the commit.
    pub rev: String,
    /// The previous revision.
    pub since: Option<String>,
    /// The slice: a CAR with the commit as its root.
    pub blocks: Bytes,
    /// The operations.
    pub ops: Vec<RepoOp>,
    /// The root of the previous tree.
    pub prev_data: Option<Cid>,
    /// When the message was sent, according to the sender.
    pub time: String,
    /// Whether the sender has marked blocks and operations as left out because there were too many.
    /// The mark is deprecated, and is ignored if everything is there.
    pub too_big: bool,
}

/// A `#sync` message.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncEvent {
    /// The message's number in its stream.
    pub seq: i64,
    /// The DID of the repository.
    pub did: String,
    /// The revision of the commit.
    pub rev: String,
    /// A CAR with the commit.
    pub blocks: Bytes,
    /// When the message was sent, according to the sender.
    pub time: String,
}

impl From<CommitEvent> for Frame {
    fn from(event: CommitEvent) -> Self {
        Self::Commit(Box::new(event))
    }
}

impl From<SyncEvent> for Frame {
    fn from(event: SyncEvent) -> Self {
        Self::Sync(event)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit(event) => f.debug_tuple("Commit").field(event).finish(),
            Self::Sync(event) => f.debug_tuple("Sync").field(event).finish(),
            Self::Other {
                kind,
                seq,
                did,
                message,
            } => f
                .debug_struct("Other")
                .field("kind", kind)
                .field("seq", seq)
                .field("did", did)
                .field("message", &Len(message))
                .finish(),
            Self::Error { error, message } => f
                .debug_struct("Error")
                .field("error", error)
                .field("message", message)
                .finish(),
        }
    }
}

impl fmt::Debug for CommitEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitEvent")
            .field("seq", &self.seq)
            .field("repo", &self.repo)
            .field("commit", &self.commit)
            .field("rev", &self.rev)
            .field("since", &self.since)
            .field("blocks", &Len(&self.blocks))
            .field("ops", &self.ops)
            .field("prev_data", &self.prev_data)
            .field("time", &self.time)
            .field("too_big", &self.too_big)
            .finish()
    }
}

impl fmt::Debug for SyncEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncEvent")
            .field("seq", &self.seq)
            .field("did", &self.did)
            .field("rev", &self.rev)
            .field("blocks", &Len(&self.blocks))
            .field("time", &self.time)
            .finish()
    }
}

/// What a commit has done to one record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepoOp {
    /// The kind of operation.
    pub action: Action,
    /// The record's path.
    pub path: String,
    /// The record's CID now; `None` if it was deleted.
    pub cid: Option<Cid>,
    /// The record's previous CID; `None` if it was created.
    pub prev: Option<Cid>,
}

/// The kinds of operations on a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// There was no record.
    Create,
    /// There was another record.
    Update,
    /// There is no record now.
    Delete,
}

impl Action {
    /// Returns its name in messages: `create`, `update` or `delete`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl From<&Operation> for Action {
    fn from(operation: &Operation) -> Self {
        match (operation.old, operation.new) {
            (None, _) => Self::Create,
            (Some(_), Some(_)) => Self::Update,
            (Some(_), None) => Self::Delete,
        }
    }
}

impl From<&RepoOp> for Operation {
    fn from(op: &RepoOp) -> Self {
        Self {
            key: op.path.as_bytes().to_vec(),
            old: op.prev,
            new: op.cid,
        }
    }
}

#[cfg(feature = "car")]
impl CommitEvent {
    /// Makes the message that announces `new`. `time` is the present time, in the format of
    /// `datetime` strings in a lexicon ([`Tid::to_datetime`](crate::Tid::to_datetime)).
    pub fn new(new: &NewCommit, seq: i64, time: impl Into<String>) -> Self {
        let ops = new.operations.iter().map(|operation| RepoOp {
            action: Action::from(operation),
            path: String::from_utf8_lossy(&operation.key).into_owned(),
            cid: operation.new,
            prev: operation.old,
        });
        Self {
            seq,
            repo: new.commit.did.clone(),
            commit: new.cid,
            rev: new.commit.rev.into(),
            since: new.since.map(String::from),
            blocks: new.slice.clone(),
            ops: ops.collect(),
            prev_data: new.prev_data,
            time: time.into(),
            too_big: false,
        }
    }
}

impl CommitEvent {
    /// Makes a message from data that was not received as a [`Frame`]. It has no operations and
    /// names nothing before it; set these fields afterwards. `blocks` is the CAR.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_repo::{CommitEvent, EventCheck, RepoOp};
    /// # let key = |_: &[u8]| Ok([1; 64]);
    /// # let store = blockstore_core::MemoryBlockStore::new();
    /// # let (_, new) = mst_repo::Writer::create(&store, "did:plc:z72i7hdynmk6r22z27h6tvur", &key)?;
    /// # let (commit, blocks) = (new.cid, new.slice);
    /// # let (repo, rev) = (new.commit.did, new.commit.rev);
    /// # let (ops, since, prev_data): (Vec<RepoOp>, _, _) = (Vec::new(), None, None);
    ///
    /// let mut event = CommitEvent::from_parts(repo, commit, rev, blocks);
    /// event.ops = ops;
    /// (event.since, event.prev_data) = (since, prev_data);
    /// let checked = EventCheck::default().commit(&event)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_parts(
        repo: impl Into<String>,
        commit: Cid,
        rev: impl Into<String>,
        blocks: impl Into<Bytes>,
    ) -> Self {
        Self {
            seq: 0,
            repo: repo.into(),
            commit,
            rev: rev.into(),
            since: None,
            blocks: blocks.into(),
            ops: Vec::new(),
            prev_data: None,
            time: String::new(),
            too_big: false,
        }
    }

    /// Returns whether the message claims to be about the first commit of its repository: it names
    /// neither a previous tree nor a previous revision. Nothing has to be fetched to follow it.
    pub fn is_first(&self) -> bool {
        self.prev_data.is_none() && self.since.is_none()
    }
}

impl Frame {
    /// Decodes the two DAG-CBOR objects, header and message, that one WebSocket frame holds.
    ///
    /// Unknown fields are ignored, as the lexicon may gain some, and [`encode`](Self::encode) does
    /// not write them; nor does it keep deprecated ones, such as `blobs`. To pass messages on
    /// unchanged, pass on the original bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidFrame`].
    pub fn decode(frame: &[u8]) -> Result<Self, InvalidFrame> {
        if frame.len() > MAX_FRAME_LEN {
            return Err(InvalidFrame::TooLong { len: frame.len() });
        }
        let (mut header, start) = object_at(frame, 0)?;
        let op = header.integer("op")?;
        let (mut message, end) = object_at(frame, start)?;
        if end < frame.len() {
            let len = frame.len() - end;
            return Err(InvalidFrame::TrailingBytes { len });
        }
        match op {
            1 => {}
            -1 => {
                return Ok(Self::Error {
                    error: message.text("error")?,
                    message: message.optional("message", Fields::text)?,
                });
            }
            found => return Err(InvalidFrame::Op { found }),
        }
        let kind = header.text("t")?;
        match kind.as_str() {
            "#commit" => Ok(Self::Commit(Box::new(CommitEvent {
                seq: message.integer("seq")?,
                repo: message.text("repo")?,
                commit: message.link("commit")?,
                rev: message.text("rev")?,
                since: message.optional("since", Fields::text)?,
                blocks: message.bytes("blocks")?.into(),
                ops: message
                    .maps("ops")?
                    .into_iter()
                    .map(operation)
                    .collect::<Result<_, _>>()?,
                prev_data: message.optional("prevData", Fields::link)?,
                time: message.text("time")?,
                too_big: message
                    .optional("tooBig", Fields::boolean)?
                    .unwrap_or(false),
            }))),
            "#sync" => Ok(Self::Sync(SyncEvent {
                seq: message.integer("seq")?,
                did: message.text("did")?,
                rev: message.text("rev")?,
                blocks: message.bytes("blocks")?.into(),
                time: message.text("time")?,
            })),
            _ => Ok(Self::Other {
                kind,
                // All kinds have the same, so that a reader knows where to go on.
                seq: message.optional("seq", Fields::integer)?,
                // What it means in a kind that is not known here is not known either.
                did: message.text("did").ok(),
                message: Bytes::copy_from_slice(frame.get(start..).unwrap_or_default()),
            }),
        }
    }

    /// Returns the DID of the account that the message is about, for which all messages have to be
    /// processed in order. `None` for an error, and for kinds that are about none.
    pub fn did(&self) -> Option<&str> {
        match self {
            Self::Commit(event) => Some(&event.repo),
            Self::Sync(event) => Some(&event.did),
            Self::Other { did, .. } => did.as_deref(),
            Self::Error { .. } => None,
        }
    }

    /// Returns the message's number in its stream: where to resume after it. `None` for an error,
    /// and for kinds that have none, such as `#info`.
    pub fn seq(&self) -> Option<i64> {
        match self {
            Self::Commit(event) => Some(event.seq),
            Self::Sync(event) => Some(event.seq),
            Self::Other { seq, .. } => *seq,
            Self::Error { .. } => None,
        }
    }

    /// Encodes the message as one frame.
    pub fn encode(&self) -> Vec<u8> {
        let (op, kind, message) = match self {
            Self::Commit(event) => (1, Some("#commit"), encode(&event.to_ipld())),
            Self::Sync(event) => (1, Some("#sync"), encode(&event.to_ipld())),
            Self::Other { kind, message, .. } => (1, Some(kind.as_str()), message.to_vec()),
            Self::Error { error, message } => {
                let message = message
                    .clone()
                    .map(|message| ("message", Ipld::String(message)));
                let error = ("error", Ipld::String(error.clone()));
                let message = map([Some(error), message].into_iter().flatten());
                (-1, None, encode(&message))
            }
        };
        let kind = kind.map(|kind| ("t", Ipld::String(kind.to_owned())));
        let header = [Some(("op", Ipld::Integer(op))), kind];
        let mut frame = encode(&map(header.into_iter().flatten()));
        frame.extend(message);
        frame
    }
}

impl CommitEvent {
    fn to_ipld(&self) -> Ipld {
        let ops = self.ops.iter().map(|op| {
            let prev = op.prev.map(|prev| ("prev", Ipld::Link(prev)));
            let fields = [
                ("action", Ipld::String(op.action.as_str().to_owned())),
                ("path", Ipld::String(op.path.clone())),
                ("cid", op.cid.map_or(Ipld::Null, Ipld::Link)),
            ];
            map(fields.into_iter().chain(prev))
        });
        let prev_data = self.prev_data.map(|cid| ("prevData", Ipld::Link(cid)));
        let fields = [
            ("seq", Ipld::Integer(self.seq.into())),
            ("repo", Ipld::String(self.repo.clone())),
            ("commit", Ipld::Link(self.commit)),
            ("rev", Ipld::String(self.rev.clone())),
            ("since", self.since.clone().map_or(Ipld::Null, Ipld::String)),
            ("blocks", Ipld::Bytes(self.blocks.to_vec())),
            ("ops", Ipld::List(ops.collect())),
            ("time", Ipld::String(self.time.clone())),
            ("tooBig", Ipld::Bool(self.too_big)),
            // Required by the lexicon, but deprecated.
            ("rebase", Ipld::Bool(false)),
            ("blobs", Ipld::List(Vec::new())),
        ];
        map(fields.into_iter().chain(prev_data))
    }
}

impl SyncEvent {
    /// Makes the message that a repository is at `commit`. `time` is as in [`CommitEvent::new`].
    ///
    /// # Panics
    ///
    /// As for [`Commit::encode`].
    #[cfg(feature = "car")]
    pub fn new(commit: &Commit, seq: i64, time: impl Into<String>) -> Self {
        let block = (commit.cid(), Bytes::from(commit.encode()));
        let blocks = car(&block.0, [&block]);
        Self {
            seq,
            time: time.into(),
            ..Self::from_parts(&*commit.did, commit.rev, blocks)
        }
    }

    /// Makes a message from data that was not received as a [`Frame`]. It has no number and no time;
    /// set these fields afterwards if it is to be sent. `blocks` is a CAR with the commit.
    pub fn from_parts(
        did: impl Into<String>,
        rev: impl Into<String>,
        blocks: impl Into<Bytes>,
    ) -> Self {
        Self {
            seq: 0,
            did: did.into(),
            rev: rev.into(),
            blocks: blocks.into(),
            time: String::new(),
        }
    }

    fn to_ipld(&self) -> Ipld {
        map([
            ("seq", Ipld::Integer(self.seq.into())),
            ("did", Ipld::String(self.did.clone())),
            ("rev", Ipld::String(self.rev.clone())),
            ("blocks", Ipld::Bytes(self.blocks.to_vec())),
            ("time", Ipld::String(self.time.clone())),
        ])
    }
}

fn map(fields: impl IntoIterator<Item = (&'static str, Ipld)>) -> Ipld {
    let owned = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Ipld::Map(owned.collect())
}

/// Reads the object at `start` in `frame`, and also returns where it ends.
fn object_at(frame: &[u8], start: usize) -> Result<(Fields, usize), InvalidFrame> {
    let end = dag_cbor::item_end(frame, start, MAX_ITEMS).map_err(FieldsFault::from)?;
    let object = frame.get(start..end).unwrap_or_default();
    Ok((Fields::decode(object)?, end))
}

fn operation(mut fields: Fields) -> Result<RepoOp, InvalidFrame> {
    let action = fields.text("action")?;
    Ok(RepoOp {
        action: match action.as_str() {
            "create" => Action::Create,
            "update" => Action::Update,
            "delete" => Action::Delete,
            _ => return Err(InvalidFrame::Action { found: action }),
        },
        path: fields.text("path")?,
        cid: fields.optional("cid", Fields::link)?,
        prev: fields.optional("prev", Fields::link)?,
    })
}

/// Why a frame is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidFrame {
    /// It is longer than a message may be.
    #[error("a frame of {len} bytes, more than the limit of {MAX_FRAME_LEN}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// Header or message are not strict DAG-CBOR. The offset counts from the start of the frame.
    #[error("not DAG-CBOR")]
    NotDagCbor(#[source] InvalidDagCbor),
    /// Header or message cannot be decoded, for the reason in the text.
    #[error("it cannot be decoded: {0}")]
    Decode(String),
    /// The header or the message has far more items than any has.
    #[error("more than {limit} items, where the largest message has about 2,000")]
    TooManyItems {
        /// The maximum number of items that are decoded.
        limit: usize,
    },
    /// The header or the message is not a map.
    #[error("not a map")]
    NotAMap,
    /// Bytes follow the message.
    #[error("bytes after the message: {len}")]
    TrailingBytes {
        /// How many.
        len: usize,
    },
    /// The header's `op` is neither 1 (a message) nor -1 (an error).
    #[error("a frame of kind {found}")]
    Op {
        /// What it is.
        found: i64,
    },
    /// A field is missing.
    #[error("the field `{field}` is missing")]
    MissingField {
        /// Its name.
        field: &'static str,
    },
    /// A field has the wrong type.
    #[error("the field `{field}` is not {wanted}")]
    FieldType {
        /// Its name.
        field: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// An operation is none of `create`, `update`, `delete`.
    #[error("{} is not an action", Quoted(found))]
    Action {
        /// What it is.
        found: String,
    },
}

from_fields_fault!(InvalidFrame);
