//! `cartool slice`

mod blocks;
mod message;

use atproto_mst::{
    Bytes, CheckedCommit, CommitEvent, EventCheck, EventError, EventFault, Frame, InvertError,
    PublicKey, mst_ops,
};

use crate::cli::SliceArgs;
use crate::failure::{Failure, chain};
use crate::output::Output;
use crate::quote::Counted;
use crate::report::Report;
use crate::signature;
use crate::{input, operations};

pub(crate) fn run(args: &SliceArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    out.may_close();
    let given = input::read_whole(&args.file);
    let given = Bytes::from(given.map_err(|error| Failure::Input(error.into()))?);
    let key = args.key.as_ref();
    if !is_frame(&given) {
        let commit = blocks::write(&given, out, report)?;
        match key {
            None => {}
            Some(key) => signature::tell(&commit, key, out, report)?,
        }
        return tell_unchecked(key, out, report);
    }
    let frame = Frame::decode(&given);
    let frame =
        frame.map_err(|error| Failure::Invalid(format!("not a message: {}", chain(&error))))?;
    message::write(&frame, out.writer()).map_err(Failure::Output)?;
    let check = EventCheck::default().with_key(key);
    let (car, checked) = match &frame {
        Frame::Commit(event) => {
            let checked = check_commit(check, event, report).map(|checked| {
                let count = Counted(checked.operations.len() as u64, "operation");
                match event.prev_data {
                    Some(root) => format!("{count} led here from the tree {root}"),
                    None => format!("{count} led here from an empty tree"),
                }
            });
            (&event.blocks, checked)
        }
        Frame::Sync(event) => {
            let checked = check.sync(event);
            let said = checked.map(|state| format!("the repository is at the tree {}", state.data));
            (&event.blocks, said)
        }
        _ => return Ok(()),
    };
    out.line(format_args!(""))?;
    let looked_into = blocks::write(car, out, report);
    match looked_into {
        // What is wrong with the blocks is wrong with the message too, and is reported better
        // below.
        Err(Failure::Invalid(_)) if checked.is_err() => {}
        looked_into => drop(looked_into?),
    }
    match (checked, key) {
        (Ok(ok), None) => out.line(format_args!("ok: {ok}"))?,
        (Ok(ok), Some(key)) => out.line(format_args!("ok: {ok}; signed by {key}"))?,
        (Err(error), _) => {
            report.count_fault();
            match &error {
                EventError::Invalid(fault) => {
                    out.line(format_args!("invalid: {}", chain(fault)))?;
                }
                // Only its commit could be checked.
                error => out.line(format_args!("{}", chain(error)))?,
            }
        }
    }
    tell_unchecked(key, out, report)
}

/// Checks a message, and says if it does not show all neighbours of its keys.
fn check_commit(
    check: EventCheck<'_>,
    event: &CommitEvent,
    report: &Report,
) -> Result<CheckedCommit, EventError> {
    let checked = check.commit(event)?;
    // With this mark, a node that is missing would be told as the reason for it.
    let mut event = event.clone();
    event.too_big = false;
    let Err(error) = check.with_cover(true).commit(&event) else {
        return Ok(checked);
    };
    if let EventError::Invalid(fault) = &error
        && let EventFault::Inversion(InvertError::Tree(mst_ops::Error::MissingBlock(cid))) = **fault
    {
        operations::note_not_covered(&cid, report);
        return Ok(checked);
    }
    Err(error)
}

fn tell_unchecked(
    key: Option<&PublicKey>,
    out: &mut Output,
    report: &Report,
) -> Result<(), Failure> {
    out.flush()?;
    if key.is_none() {
        report.note(&"the signature was NOT CHECKED");
    }
    Ok(())
}

/// Whether it is a message rather than a CAR: a map of one or two fields, of which the first is `t`
/// or `op`. A CAR begins with the length of its header, followed by a map with `roots`.
pub(crate) fn is_frame(given: &[u8]) -> bool {
    matches!(
        given,
        [0xa1 | 0xa2, 0x61, b't', ..] | [0xa1 | 0xa2, 0x62, b'o', ..]
    )
}
