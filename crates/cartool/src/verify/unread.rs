//! The blocks of a CAR that nothing in its repository refers to.

use std::collections::HashSet;

use atproto_mst::{BlockStore, CarError, Cid, StoreError};

use crate::failure::Failure;
use crate::input::Blocks;
use crate::output::Output;
use crate::report::Report;

/// Prints a line for each block of a CAR that does not match its CID, except for those in
/// `reported`, and returns how many. `first` is what is wrong with the first such section of all. If
/// there is a good block for its CID, too, it is reported as well; others like it are not.
pub(super) fn print_faults(
    blocks: &Blocks,
    first: &CarError,
    reported: &HashSet<Cid>,
    out: &mut Output,
    report: &mut Report,
) -> Result<u64, Failure> {
    let Blocks::Car(car) = blocks else {
        return Ok(0);
    };
    let mut found = 0;
    for cid in car.cids() {
        let cid = cid?;
        match car.get(&cid) {
            Err(StoreError::HashMismatch(_)) if !reported.contains(&cid) => {
                report.count_fault();
                out.line(format_args!(
                    "bad block {cid} (nothing that was read refers to it): does not hash to its CID"
                ))?;
                found += 1;
            }
            Ok(_) | Err(StoreError::HashMismatch(_) | StoreError::Unverifiable(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let is_good = |cid: &Cid| matches!(car.get(cid), Ok(Some(_)));
    if first.cid().as_ref().is_some_and(is_good) {
        report.count_fault();
        out.line(format_args!("bad block: {first}"))?;
        found += 1;
    }
    Ok(found)
}
