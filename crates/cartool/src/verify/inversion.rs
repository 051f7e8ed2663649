//! Checks whether operations are the only difference between a tree and the one before it.

use std::path::Path;

use atproto_mst::{BlockStore, Cid, InvertError, NodeStore, Operation, Repository, Tree, mst_ops};

use crate::cli::Source;
use crate::failure::{self, Failure, chain};
use crate::input;
use crate::operations;
use crate::output::Output;
use crate::quote::Counted;
use crate::report::Report;

/// Reads operations, as JSON lines, from `file`.
pub(super) fn read(file: &Path, source: &Source) -> Result<Vec<Operation>, Failure> {
    input::check_one_dash(&[file, &source.file], "the CAR and the operations")?;
    let bytes = input::read_whole(file);
    let bytes = bytes.map_err(|error| Failure::Input(error.into()).of(file))?;
    operations::parse(&bytes).map_err(|wrong| Failure::Invalid(wrong).of(file))
}

/// Inverts operations, and prints the root of the tree before them. If that is not `expected`, or
/// if they cannot have led here, it is a fault; if a node is missing for it, it is unproven.
pub(super) fn check<S: BlockStore>(
    repository: &Repository<S>,
    operations: &[Operation],
    expected: Option<&Cid>,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    let count = Counted(operations.len() as u64, "operation");
    match invert(repository, operations, report) {
        Ok(root) => match expected {
            None => out.line(format_args!("{count} led here from the tree {root}")),
            Some(expected) if *expected == root => {
                out.line(format_args!("ok: {count} led here from the tree {root}"))
            }
            Some(expected) => {
                report.count_fault();
                out.line(format_args!(
                    "bad operations: {count} led here from the tree {root}, not {expected}"
                ))
            }
        },
        Err(InvertError::Tree(mst_ops::Error::MissingBlock(cid))) => {
            report.answer(failure::UNPROVEN);
            out.line(format_args!("unproven operations: missing node {cid}"))
        }
        Err(error) => {
            // An unreadable file is not a fault of the operations.
            if let InvertError::Tree(mst_ops::Error::Store(error)) = error {
                return Err(error.into());
            }
            report.count_fault();
            out.line(format_args!("bad operations: {}", chain(&error)))
        }
    }
}

fn invert<S: BlockStore>(
    repository: &Repository<S>,
    operations: &[Operation],
    report: &Report,
) -> Result<Cid, InvertError> {
    let nodes = NodeStore::with_options(repository.blocks(), input::nodes_of_paths());
    let tree = Tree::open(&nodes, &repository.commit().data)?;
    let root = tree.invert(operations)?;
    // Only with the neighbours of each key is it certain that no key is out of order between them.
    let keys = operations.iter().map(|operation| operation.key.as_slice());
    match tree.cover(keys) {
        Ok(_) => {}
        Err(mst_ops::Error::MissingBlock(cid)) => operations::note_not_covered(&cid, report),
        Err(error) => return Err(error.into()),
    }
    Ok(root)
}
