#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "car")]
pub use blockstore_car::{
    self, BlockRef, CarBlock, CarBlockStore, CarDecoder, CarError, CarFault, CarOptions, CarReader,
    CarWriter, Decoded, Verify,
};
#[cfg(feature = "async")]
pub use blockstore_car::{AsyncCarReader, AsyncCarWriter, YieldBudget};
pub use blockstore_core::{
    self, BlockStore, BlockStoreMut, Bytes, Cid, MemoryBlockStore, OverlayBlockStore, StoreError,
    check_block, cid_of, dag_cbor_cid, put_all, raw_cid,
};
#[cfg(feature = "sqlite-unbundled")]
pub use blockstore_sqlite::{
    self, Access, Cids, SqliteBlockStore, SqliteError, SqliteOptions, SqliteSnapshot,
    SqliteTransaction, Synchronous,
};
pub use mst_node::{
    self, BuildError, DecodeError, DecodeFault, InvalidKey, Joint, Limits, MixedHeights, Node,
    NodeBuilder, NodeEncoder, NodeParts, height_of, shared_prefix_len,
};
pub use mst_ops::{
    self, Changes, Claim, Diff, Entries, EntryRef, Gap, Gaps, InvalidNode, InvertError, NoNodes,
    NodeSource, NodeStore, NodeStoreOptions, NodeWalker, NodeWrangler, Nodes, Operation, Proof,
    ProofError, Prover, Summary, Tree, TreeBuilder, TreeEntries, TreeFault, TreeNode, VisitedNode,
    WalkerPosition, verify as verify_tree,
};
#[cfg(feature = "async")]
pub use mst_repo::AsyncRepositoryStream;
pub use mst_repo::{
    self, Action, BlobRef, Collections, Commit, CommitEvent, Curve, Error, Export, ExportSince,
    Fault, Faults, Frame, InvalidCommit, InvalidFrame, InvalidNsid, InvalidPath, InvalidRecord,
    InvalidRecordKey, InvalidTid, Ipld, Json, MAX_FRAME_LEN, MAX_PATH_LEN, Place, Reachable,
    Record, Records, RepoOp, RepoPath, Repository, RepositorySummary, Salvage, Salvaged, SignError,
    SignatureError, Signer, SyncEvent, Tid, TreeError, check_nsid, check_record, check_record_key,
    dag_cbor, decode_record, encode_record, ipld, is_did, latest_commit, reachable, record_blobs,
};
#[cfg(feature = "car")]
pub use mst_repo::{
    CarPieces, CheckedCommit, EventCheck, EventError, EventFault, ExportError, MAX_OPERATIONS,
    MAX_RECORD_LEN, MAX_SLICE_LEN, MAX_SYNC_LEN, NewCommit, OutOfSync, RecordChange, RepoState,
    RepositoryDecoder, RepositoryStream, StreamError, StreamOptions, StreamedBlocks,
    StreamedRecords, Write, WriteError, Writer,
};
#[cfg(any(feature = "k256", feature = "p256"))]
pub use mst_repo::{InvalidPublicKey, InvalidSigningKey, PublicKey, SigningKey};
