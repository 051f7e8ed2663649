//! The tests of the store. Each file opens with the danger that it guards against.
//!
//! In one program, so that SQLite is linked once, and so that a test can start this program
//! again as another process.
//!
//! `BLOCKSTORE_SQLITE_KILLS` says how often the tests that kill processes do so; by default 40
//! times, in some seconds.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

mod contract;
mod faults;
mod full;
mod killed;
mod model;
mod opening;
mod processes;
mod repository;
mod support;
mod sweep;
mod transactions;
