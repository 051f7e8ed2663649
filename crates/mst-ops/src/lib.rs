#![doc = include_str!("../README.md")]

mod bad_nodes;
mod bounds;
mod builder;
mod descent;
mod diff;
mod entries;
mod entry;
mod error;
mod gaps;
mod levels;
mod node_store;
mod nodes;
mod place;
mod proof;
mod source;
mod tree;
mod verify;
mod walker;
mod wrangler;

pub use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, StoreError};
pub use builder::TreeBuilder;
pub use diff::{Diff, Operation};
pub use entries::Entries;
pub use entry::EntryRef;
pub use error::{Error, InvalidNode, TreeFault};
pub use gaps::{Gap, Gaps};
pub use mst_node::{DecodeError, DecodeFault, InvalidKey, Limits, MixedHeights, Node};
pub use node_store::{NodeStore, NodeStoreOptions, TreeNode};
pub use nodes::{Nodes, VisitedNode};
pub use proof::{Claim, Proof, ProofError, Prover};
pub use source::{NoNodes, NodeSource};
pub use tree::{Changes, InvertError, Tree, TreeEntries};
pub use verify::{Summary, verify};
pub use walker::{NodeWalker, WalkerPosition};
pub use wrangler::NodeWrangler;
