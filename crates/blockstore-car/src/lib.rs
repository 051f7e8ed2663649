#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "async")]
mod async_io;
mod damaged;
mod decoder;
mod error;
mod file;
mod header;
mod index;
mod memory;
mod options;
mod place;
mod reader;
mod section;
mod store;
mod varint;
mod writer;

#[cfg(feature = "async")]
pub use async_io::{AsyncCarReader, AsyncCarWriter, YieldBudget};
pub use blockstore_core::{BlockStore, Bytes, Cid, StoreError, check_block, dag_cbor_cid, raw_cid};
pub use decoder::{CarDecoder, Decoded};
pub use error::{CarError, CarFault};
pub use options::{CarOptions, Verify};
pub use reader::{BlockRef, CarBlock, CarReader};
pub use store::CarBlockStore;
pub use writer::CarWriter;
