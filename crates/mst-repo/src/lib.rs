#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "async")]
mod async_stream;
mod batch;
mod blob;
mod brief;
mod check;
#[cfg(feature = "car")]
mod checked_commit;
mod commit;
pub mod dag_cbor;
mod dag_cbor_error;
mod damaged;
mod data_model;
#[cfg(feature = "car")]
mod decoder;
mod error;
#[cfg(feature = "car")]
mod event_check;
#[cfg(feature = "car")]
mod event_error;
mod export;
mod fields;
mod firehose;
mod json;
mod large;
mod latest_commit;
mod path;
mod reachable;
mod record;
mod repository;
mod salvage;
mod signature;
#[cfg(feature = "car")]
mod stream;
#[cfg(feature = "car")]
mod stream_error;
#[cfg(feature = "car")]
mod stream_options;
mod syntax;
mod tid;
mod turn;
mod unreachable;
#[cfg(feature = "car")]
mod writer;

#[cfg(feature = "async")]
pub use async_stream::AsyncRepositoryStream;
pub use blob::{BlobRef, record_blobs};
#[cfg(feature = "car")]
pub use blockstore_car::{CarBlockStore, CarError, CarOptions, Decoded, Verify};
pub use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, StoreError};
pub use check::{Fault, Faults, Place, RepositorySummary};
#[cfg(feature = "car")]
pub use checked_commit::{CheckedCommit, RecordChange};
pub use commit::{Commit, InvalidCommit};
pub use data_model::{InvalidRecord, check_record, decode_record, encode_record};
#[cfg(feature = "car")]
pub use decoder::RepositoryDecoder;
pub use error::Error;
#[cfg(feature = "car")]
pub use event_check::{EventCheck, MAX_SYNC_LEN, RepoState};
#[cfg(feature = "car")]
pub use event_error::{EventError, EventFault, OutOfSync};
#[cfg(feature = "car")]
pub use export::{CarPieces, ExportError};
pub use export::{Export, ExportSince};
pub use firehose::{Action, CommitEvent, Frame, InvalidFrame, MAX_FRAME_LEN, RepoOp, SyncEvent};
pub use ipld_core::ipld;
pub use ipld_core::ipld::Ipld;
pub use json::Json;
pub use latest_commit::latest_commit;
pub use mst_ops::{
    EntryRef, Error as TreeError, InvalidNode, InvertError, Limits, NodeStore, NodeStoreOptions,
    NodeWalker, Operation, Tree, TreeFault, WalkerPosition,
};
pub use path::{
    InvalidNsid, InvalidPath, InvalidRecordKey, MAX_PATH_LEN, RepoPath, check_nsid,
    check_record_key,
};
pub use reachable::{Reachable, reachable};
pub use record::{Record, Records};
pub use repository::{Collections, Repository};
pub use salvage::{Salvage, Salvaged};
pub use signature::{Curve, SignError, SignatureError, Signer};
#[cfg(any(feature = "k256", feature = "p256"))]
pub use signature::{InvalidPublicKey, InvalidSigningKey, PublicKey, SigningKey};
#[cfg(feature = "car")]
pub use stream::{RepositoryStream, StreamedBlocks, StreamedRecords};
#[cfg(feature = "car")]
pub use stream_error::StreamError;
#[cfg(feature = "car")]
pub use stream_options::StreamOptions;
pub use syntax::is_did;
pub use tid::{InvalidTid, Tid};
#[cfg(feature = "car")]
pub use writer::{
    MAX_OPERATIONS, MAX_RECORD_LEN, MAX_SLICE_LEN, NewCommit, Write, WriteError, Writer,
};
