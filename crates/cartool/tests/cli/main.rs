//! The tool as it is run: what it prints where, and with which exit code it ends.
//!
//! The dangers: a part of a repository taken for the whole; one bad block that hides all
//! others; a script that is told 0 where something failed, or 1 where nothing did; bytes
//! from a stranger's file that reach a terminal; a good file lost to a write that failed.

// Also in helpers of tests a panic is the report.
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
