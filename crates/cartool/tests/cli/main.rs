//! The tool as it is run: what it prints where, and its exit code.
//!
//! The dangers: a part of a repository taken for the whole; one bad block that hides all
//! others; a script that gets 0 although something failed, or 1 although nothing did; bytes
//! from an untrusted file that reach a terminal; a good file lost to a write that failed.

// In helpers of tests, too, a panic is the report.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod commit;
mod compact;
mod database;
mod diff;
mod export;
mod faults;
mod formats;
mod init;
mod keys;
mod proof;
mod put;
mod replacement;
mod rm;
mod salvage;
mod slice;
mod slices;
mod streams;
mod support;
mod tree;
