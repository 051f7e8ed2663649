#![doc = include_str!("../README.md")]

mod builder;
mod decode;
mod encode;
mod error;
mod height;
mod join;
mod key;
mod limits;
mod link;
mod node;
mod parts;
mod prefix;
mod span;

pub use builder::NodeBuilder;
pub use cid::Cid;
pub use encode::NodeEncoder;
pub use error::{BuildError, DecodeError, DecodeFault, MixedHeights};
pub use height::height_of;
pub use join::Joint;
pub use key::{InvalidKey, check_key};
pub use limits::Limits;
pub use link::{DIGEST_LEN, node_cid, node_digest};
pub use node::{Entry, Node};
pub use parts::NodeParts;
pub use prefix::shared_prefix_len;
