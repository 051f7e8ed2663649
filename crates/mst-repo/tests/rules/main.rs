//! The danger: a rule of the specification that nobody enforces, or that is enforced by accident,
//! by another check that fails as well; when that check changes, the rule is lost.
//!
//! Each rule has a line in a table: its name, what breaks it and nothing else, and the expected
//! error. All of them are broken in each of many random messages, which are otherwise valid.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a panic in a helper of a test is the report"
)]

mod commits;
mod draft;
mod frames;
mod messages;
mod nodes;
mod paths;
mod signatures;
mod slices;
mod table;
