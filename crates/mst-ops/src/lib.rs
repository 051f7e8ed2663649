#![doc = include_str!("../README.md")]

mod entries;
mod entry;
mod error;
mod node_store;
mod nodes;
mod verify;
mod walker;

pub use blockstore_core::{BlockStore, BlockStoreMut, Cid};
pub use entries::Entries;
pub use entry::EntryRef;
pub use error::{Error, InvalidNode, TreeFault};
pub use mst_node::{Limits, Node};
pub use node_store::{NodeStore, NodeStoreOptions, TreeNode};
pub use nodes::{Nodes, VisitedNode};
pub use verify::{Summary, verify};
pub use walker::NodeWalker;
