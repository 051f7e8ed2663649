//! The tests of the store. Each file opens with the danger that it guards.
//!
//! In one program, so that SQLite is linked once, and so that a test can start this program
//! again to have another process.

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
mod support;
mod sweep;
mod transactions;
