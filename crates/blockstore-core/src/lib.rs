#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod batches;
mod cid;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod memory;
mod overlay;
mod store;

pub use ::cid::Cid;
pub use batches::put_all;
pub use bytes::Bytes;
pub use cid::{
    CidBytes, DAG_CBOR, RAW, SHA2_256, check_block, cid_of, dag_cbor_cid, is_verifiable, raw_cid,
    sha2_256,
};
pub use error::StoreError;
pub use memory::MemoryBlockStore;
pub use overlay::OverlayBlockStore;
pub use store::{BlockStore, BlockStoreMut};
