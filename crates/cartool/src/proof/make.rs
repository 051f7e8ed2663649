//! `cartool proof make`

use std::collections::HashSet;

use atproto_mst::{Bytes, Claim, Prover};

use crate::cli::ProofMakeArgs;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::input::{self, Repository};
use crate::new_file::check_kept;
use crate::output::Output;
use crate::quote::{Counted, Quoted};
use crate::report::Report;
use crate::walk::{Step, Walk};
use crate::{look_up, new_car};

pub(crate) fn run(
    args: &ProofMakeArgs,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    check_kept(&args.output, &args.source.file, "the whole repository")?;
    let repository = input::open(&args.source)?;
    let root = repository.commit().data;
    let mut prover = Prover::new(repository.nodes(), &root)
        .map_err(|error| of_fault(Fault::of_top(error.into())))?;
    for path in &args.paths {
        let key = path.as_bytes();
        let proven = if args.cover {
            prover.cover(key)
        } else {
            prover.key(key)
        };
        proven.map_err(|error| {
            // Looking up the key tells where in the tree it is, if it is on that path.
            look_up::cid(&repository, path)
                .err()
                .unwrap_or_else(|| of_fault(Fault::of_node(error)))
        })?;
    }
    for prefix in &args.prefix {
        let proven = prover.prefix(prefix.as_bytes());
        proven.map_err(|error| match fault_below(&repository, prefix) {
            Ok(Some(fault)) => Failure::Invalid(fault.to_string()),
            Ok(None) => of_fault(Fault::of_node(error)),
            Err(failure) => failure,
        })?;
    }
    let proof = prover.finish();
    let mut records = HashSet::new();
    let (mut present, mut absent) = (0, 0);
    // In the order of the claims, so that the output is deterministic.
    let mut values = Vec::new();
    let mut want = |key: &[u8], value| {
        if records.insert(value) {
            values.push((key.to_vec(), value));
        }
    };
    for claim in &proof.claims {
        match claim {
            Claim::Key {
                key,
                value: Some(value),
            } => {
                present += 1;
                want(key, *value);
            }
            Claim::Key { value: None, .. } => absent += 1,
            Claim::Range { entries, .. } => {
                present += entries.len() as u64;
                for (key, value) in entries.iter().filter(|_| args.records) {
                    want(key, *value);
                }
            }
        }
    }
    let nodes = Counted(proof.blocks.len() as u64, "node");
    let commit = (
        repository.commit_cid(),
        Bytes::from(repository.commit().encode()),
    );
    let blocks = [commit].into_iter().chain(proof.blocks).map(Ok);
    let records = values.iter().map(|(key, value)| {
        let block = look_up::record(&repository, key, value)?;
        let block = block.map_err(|fault| Failure::Invalid(fault.to_string()))?;
        Ok((*value, block))
    });
    let commit = repository.commit_cid();
    let bytes = new_car::write(&commit, blocks.chain(records), &args.output, out)?;

    for claim in &proof.claims {
        if let Claim::Key { key, value } = claim {
            match value {
                Some(value) => report.note(&format_args!("present {} {value}", Quoted(key))),
                None => report.note(&format_args!("absent {}", Quoted(key))),
            }
        }
    }
    let present = Counted(present, "key");
    report.note(&format_args!(
        "{present} present, {absent} absent, shown by {nodes}; {bytes} bytes; commit {commit}"
    ));
    Ok(())
}

/// Why the keys that begin with `prefix` cannot be read.
fn fault_below(repository: &Repository, prefix: &str) -> Result<Option<Fault>, Failure> {
    for step in Walk::below(repository, prefix.as_bytes())? {
        if let Step::Fault(fault) = step? {
            return Ok(Some(*fault));
        }
    }
    Ok(None)
}

fn of_fault<F: ToString>(fault: Result<F, Failure>) -> Failure {
    match fault {
        Ok(fault) => Failure::Invalid(fault.to_string()),
        Err(failure) => failure,
    }
}
