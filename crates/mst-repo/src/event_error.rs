//! Why what a server sends of a repository is not accepted.

use std::fmt;

use blockstore_car::CarError;
use blockstore_core::Cid;
use mst_ops::InvertError;

#[cfg(any(feature = "k256", feature = "p256"))]
use crate::SignatureError;
use crate::brief::Quoted;
use crate::{Action, Error, InvalidCommit, InvalidPath, MAX_OPERATIONS, MAX_RECORD_LEN, Tid};

/// Why a message is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The message breaks a rule, or is not the account's.
    #[error("refused as invalid")]
    Invalid(#[source] Box<EventFault>),
    /// The message does not follow the known state: fetch the repository, and check it with
    /// [`EventCheck::repository`](crate::EventCheck::repository).
    #[error("out of sync")]
    OutOfSync(#[source] Box<OutOfSync>),
    /// The revision is less than the known one, or it is that of the known commit itself (in a
    /// `#sync` that is no error): the message is a duplicate or late. Ignore it; if it was about a
    /// repository that was fetched, fetch it again later. Its blocks, and that it says what its
    /// commit says, were checked, but not its operations, nor its signature, as the account's key
    /// may have been another then.
    #[error("revision {found} is stale: {known} is known already")]
    Stale {
        /// The known revision.
        known: Tid,
        /// The message's revision.
        found: Tid,
    },
}

/// How a message does not follow the known state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutOfSync {
    /// It is marked as incomplete, and does not check out; only the commit was checked.
    #[error("the message is marked as too big")]
    TooBig,
    /// The sender does not name the tree that the operations start from, as servers without Sync
    /// 1.1 do not; only the commit was checked.
    #[error("the message does not name the previous tree")]
    NoPrevData,
    /// It follows another revision than the known one.
    #[error("it follows {}, not revision {known}", named("revision", since.as_ref()))]
    Since {
        /// The known revision.
        known: Tid,
        /// The one that the message names.
        since: Option<String>,
    },
    /// It follows another tree than the known one.
    #[error("it follows {}, not the tree {known}", named("the tree", prev_data.as_ref()))]
    PrevData {
        /// The known root.
        known: Cid,
        /// The one that the message names.
        prev_data: Option<Cid>,
    },
    /// A `#sync` message announces another tree than the known one.
    #[error("the repository is at the tree {data}, not {known}")]
    Data {
        /// The known root.
        known: Cid,
        /// The one that is announced.
        data: Cid,
    },
}

fn named(what: &str, name: Option<&impl fmt::Display>) -> String {
    name.map_or_else(|| "nothing".to_owned(), |name| format!("{what} {name}"))
}

/// What is wrong with a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventFault {
    /// More operations than a commit may have.
    #[error("{found} operations, more than the limit of {MAX_OPERATIONS}")]
    TooManyOperations {
        /// How many there are.
        found: usize,
    },
    /// More bytes of blocks than a message may have.
    #[error("{len} bytes of blocks, more than the limit of {limit}")]
    BlocksTooLarge {
        /// How many there are.
        len: usize,
        /// How many there may be: [`MAX_SLICE_LEN`](crate::MAX_SLICE_LEN), or in a
        /// `#sync` message [`MAX_SYNC_LEN`](crate::MAX_SYNC_LEN).
        limit: usize,
    },
    /// The blocks are not a CAR, or one of them does not match its CID.
    #[error("its blocks are not a valid CAR")]
    Car(#[source] CarError),
    /// The CAR names no root.
    #[error("its blocks name no root")]
    NoRoot,
    /// The CAR names another root than the commit.
    #[error("its blocks are about {found}, not the commit {commit}")]
    Root {
        /// The commit.
        commit: Cid,
        /// The first root of the CAR.
        found: Cid,
    },
    /// The commit is not among the blocks.
    #[error("the commit {0} is not among its blocks")]
    MissingCommit(Cid),
    /// The commit is not valid.
    #[error("its commit is not valid")]
    Commit(#[source] InvalidCommit),
    /// The message, or the caller's request, differs from the signed commit.
    #[error(
        "`{field}` is {} in the commit, not {}",
        Quoted(commit),
        Quoted(message)
    )]
    Mismatch {
        /// The field of the message; `did` for the account that the caller asked for.
        field: &'static str,
        /// The value in the message or the request.
        message: String,
        /// The value in the commit.
        commit: String,
    },
    /// The account's key has not signed the commit.
    #[cfg(any(feature = "k256", feature = "p256"))]
    #[error("its signature is not valid")]
    Signature(#[source] SignatureError),
    /// The revision is further in the future than clocks may differ.
    #[error("its revision {rev} is in the future")]
    Future {
        /// The revision.
        rev: Tid,
    },
    /// The previous revision that it names is not before its own, or is not a TID.
    #[error(
        "it follows revision {}, which is not a TID before its own, {rev}",
        Quoted(since)
    )]
    Since {
        /// Its own revision.
        rev: Tid,
        /// The previous revision.
        since: String,
    },
    /// The path of an operation, or the one asked for, is not valid.
    #[error("{} is not a repository path", Quoted(path))]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        source: InvalidPath,
    },
    /// An operation has a value that it must not have, or lacks one that it needs.
    #[error("the {} of {path:?} must have {}", action.as_str(), shape_of(*action))]
    Shape {
        /// The path.
        path: String,
        /// The action of the operation.
        action: Action,
    },
    /// A record that was created or updated is not among the blocks, or cannot be checked against
    /// its CID.
    #[error("the record at {path:?} is not among its blocks")]
    MissingRecord {
        /// The path.
        path: String,
    },
    /// A record is larger than a record may be.
    #[error("the record at {path:?} has {len} bytes, more than the limit of {MAX_RECORD_LEN}")]
    RecordTooLarge {
        /// The path.
        path: String,
        /// Its length.
        len: usize,
    },
    /// The operations cannot be inverted.
    #[error("its operations do not fit its tree")]
    Inversion(#[source] InvertError),
    /// Inverted, the operations lead to another tree than the message names.
    #[error("its operations lead back to the tree {found}, not to {}", or_none(claimed.as_ref()))]
    PrevData {
        /// The root that the message names. A message that names neither that nor a previous
        /// revision can only be about the first commit of a repository.
        claimed: Option<Cid>,
        /// The root that the operations lead back to.
        found: Cid,
    },
    /// What was sent does not prove what is at the requested path.
    #[error("it does not show what is at the path")]
    Record(#[source] Error),
}

fn shape_of(action: Action) -> &'static str {
    match action {
        Action::Create => "a `cid` and no `prev`",
        Action::Update => "a `cid` and a `prev`",
        Action::Delete => "a `prev` and no `cid`",
    }
}

fn or_none(root: Option<&Cid>) -> String {
    root.map_or_else(|| "none".to_owned(), ToString::to_string)
}

impl From<EventFault> for EventError {
    fn from(fault: EventFault) -> Self {
        Self::Invalid(Box::new(fault))
    }
}

impl From<OutOfSync> for EventError {
    fn from(fault: OutOfSync) -> Self {
        Self::OutOfSync(Box::new(fault))
    }
}
