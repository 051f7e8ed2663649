//! The fields of a message of the firehose.

use std::fmt::Display;
use std::io::{self, Write};

use atproto_mst::{Action, CommitEvent, Frame, RepoOp, SyncEvent};

use crate::info::line;
use crate::quote::{Harmless, Quoted};

pub(super) fn write(frame: &Frame, out: &mut impl Write) -> io::Result<()> {
    match frame {
        Frame::Commit(event) => write_commit(event, out),
        Frame::Sync(event) => write_sync(event, out),
        Frame::Other { kind, seq, did, .. } => {
            line(out, "Message", Harmless(kind))?;
            if let Some(seq) = seq {
                line(out, "Seq", seq)?;
            }
            match did {
                Some(did) => line(out, "Repo", Harmless(did)),
                None => Ok(()),
            }
        }
        Frame::Error { error, message } => {
            line(out, "Error", Harmless(error))?;
            match message {
                Some(message) => line(out, "Message", Harmless(message)),
                None => Ok(()),
            }
        }
        _ => line(out, "Message", "of an unknown kind"),
    }
}

fn write_commit(event: &CommitEvent, out: &mut impl Write) -> io::Result<()> {
    line(out, "Message", "#commit")?;
    line(out, "Seq", event.seq)?;
    line(out, "Time", Harmless(&event.time))?;
    line(out, "Repo", Harmless(&event.repo))?;
    line(out, "Commit", event.commit)?;
    line(out, "Rev", Harmless(&event.rev))?;
    line(out, "Since", or_none(event.since.as_deref().map(Harmless)))?;
    line(out, "Prev data", or_none(event.prev_data))?;
    if event.too_big {
        line(out, "Too big", "yes")?;
    }
    line(out, "Operations", event.ops.len())?;
    for op in &event.ops {
        write_operation(op, out)?;
    }
    Ok(())
}

fn write_sync(event: &SyncEvent, out: &mut impl Write) -> io::Result<()> {
    line(out, "Message", "#sync")?;
    line(out, "Seq", event.seq)?;
    line(out, "Time", Harmless(&event.time))?;
    line(out, "Repo", Harmless(&event.did))?;
    line(out, "Rev", Harmless(&event.rev))
}

/// Writes an operation as `diff` does. Fields that should be absent or are missing are shown too.
fn write_operation(op: &RepoOp, out: &mut impl Write) -> io::Result<()> {
    let path = Quoted(op.path.as_bytes());
    let (old, new) = (or_none(op.prev), or_none(op.cid));
    match (op.action, &op.prev, &op.cid) {
        (Action::Create, None, _) => writeln!(out, "+ {path} {new}"),
        (Action::Create, Some(_), _) => writeln!(out, "+ {path} {old} {new}"),
        (Action::Update, _, _) => writeln!(out, "~ {path} {old} {new}"),
        (Action::Delete, _, None) => writeln!(out, "- {path} {old}"),
        (Action::Delete, _, Some(_)) => writeln!(out, "- {path} {old} {new}"),
    }
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}
