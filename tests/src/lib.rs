//! Made-up repositories for tests, benchmarks and tools, the same on every machine.
//!
//! What is here is kept apart from the code under test: the tree is built the obvious way,
//! recursively, so that it can be an oracle for the fast ways; commits and records are
//! encoded by `serde_ipld_dagcbor`.

mod history;
mod memory;
mod mined;
mod published;
mod repository;
mod rng;
mod tree;

pub use history::{Change, History};
pub use memory::{peak_claimed_memory, peak_memory};
pub use mined::key_of_height;
pub use published::{PUBLISHED_ROOTS, PUBLISHED_VALUE};
pub use repository::SampleRepository;
pub use rng::Rng;
pub use tree::{SampleTree, build_tree};

/// The seed of the repository that every published number is measured on.
pub const BENCH_SEED: u64 = 1;
/// The number of records of the repository that every published number is measured on.
pub const BENCH_RECORDS: usize = 100_000;

/// The README of the workspace, so that its example is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
