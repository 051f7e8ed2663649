#![doc = include_str!("../README.md")]

mod cids;
mod database;
mod error;
mod open;
mod options;
mod schema;
mod scope;
mod shared;
mod snapshot;
mod store;
mod transaction;

pub use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, StoreError};
pub use cids::Cids;
pub use error::SqliteError;
pub use options::{Access, SqliteOptions, Synchronous};
pub use rusqlite;
pub use snapshot::SqliteSnapshot;
pub use store::SqliteBlockStore;
pub use transaction::SqliteTransaction;
