//! Opens what is left of the repository in a damaged file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use atproto_mst::{
    BlockStore, Bytes, CarBlockStore, CarError, CarFault, CarReader, Cid, Commit, Node,
};

use crate::cli::Source;
use crate::database;
use crate::failure::Failure;
use crate::input::{self, Blocks, Repository};
use crate::quote::Harmless;
use crate::report::Report;

/// What is left of a repository.
pub(crate) struct Left {
    pub(crate) repository: Repository,
    /// Whether its commit is the one that the file names.
    pub(crate) is_named: bool,
}

/// Opens the repository that `source` names, even if the CAR contains faults or was cut off: then
/// what is left of it is used, and the faults are reported. It is read into memory for this.
pub(crate) fn open(source: &Source, report: &mut Report) -> Result<Left, Failure> {
    let input = |error: std::io::Error| Failure::Input(error.into());
    let is_file =
        source.file != Path::new("-") && fs::metadata(&source.file).map_err(input)?.is_file();
    if is_file {
        match input::open(source) {
            Err(Failure::Invalid(_)) if !database::is_at(&source.file)? => {}
            opened => {
                return Ok(Left {
                    repository: opened?,
                    is_named: true,
                });
            }
        }
    }
    input::refuse_choice(source)?;
    let bytes = Bytes::from(input::read_whole(&source.file).map_err(input)?);
    let (car, faults) = CarBlockStore::from_damaged_bytes(bytes.clone());
    for fault in faults {
        // For a bad block, it is reported later what it was.
        if !is_bad_block(&fault) {
            report.fault(&format_args!("{fault}; the rest that can be read is used"));
        }
    }
    let root = car.roots().first().copied();
    let is_commit = |root: &Cid| commit_at(&car, root).is_some();
    let (commit, is_named) = if let Some(root) = root.filter(is_commit) {
        (root, true)
    } else if let Some((cid, commit)) = last_commit(&car) {
        let (did, rev) = (Harmless(&commit.did), &commit.rev);
        report.fault(&format_args!(
            "the header names no commit that is there; of those that are the last is of {did}, \
             rev {rev}, and is used"
        ));
        (cid, false)
    } else if let Some(root) = root {
        // Opening it reports what is wrong with it.
        (root, true)
    } else {
        // The header is damaged, or names no root.
        let header = CarReader::new(&*bytes);
        return Err(header.err().unwrap_or(CarError::NoRoot).into());
    };
    Ok(Left {
        repository: input::open_at(Blocks::Car(car), &commit)?,
        is_named,
    })
}

fn is_bad_block(fault: &CarError) -> bool {
    matches!(
        fault,
        CarError::Invalid {
            fault: CarFault::HashMismatch(_),
            ..
        }
    )
}

/// The commit in the block `cid`, if it is present and is one.
fn commit_at(car: &CarBlockStore, cid: &Cid) -> Option<Commit> {
    Commit::decode(&car.get(cid).ok()??).ok()
}

/// Looks for the last commit among the blocks. A record may be a commit too, of any revision; such
/// blocks are considered only after all others.
fn last_commit(car: &CarBlockStore) -> Option<(Cid, Commit)> {
    let commit = |cid: Cid| Some((cid, commit_at(car, &cid)?));
    let commits: BTreeMap<Cid, Commit> = car.cids().flatten().filter_map(commit).collect();
    let mut records = BTreeSet::new();
    if commits.len() > 1 {
        for cid in car.cids().flatten() {
            let block = car.get(&cid).ok().flatten();
            let node = block.and_then(|block| Node::decode(&block).ok());
            let values = node.iter().flat_map(Node::entries);
            let values = values.map(|entry| entry.value());
            records.extend(values.filter(|value| commits.contains_key(value)));
        }
    }
    let rank = |(cid, commit): &(Cid, Commit)| (!records.contains(cid), commit.rev);
    commits.into_iter().max_by_key(rank)
}
