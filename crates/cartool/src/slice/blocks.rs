//! Lists the blocks of a slice, and what they are.

use std::collections::HashMap;

use atproto_mst::{
    BlockStore, Bytes, CarBlock, CarBlockStore, CarOptions, CarReader, Cid, Commit, Repository,
    StoreError, Verify, check_block,
};

use crate::failure::Failure;
use crate::fault::Fault;
use crate::info;
use crate::input;
use crate::output::Output;
use crate::quote::{Counted, Quoted};
use crate::report::Report;

/// Writes the commit of a slice, a line for each of its blocks, and what is missing of its tree.
/// Returns the commit.
pub(super) fn write(car: &Bytes, out: &mut Output, report: &mut Report) -> Result<Commit, Failure> {
    let store = input::car_of(car.clone())?;
    info::line(out.writer(), "Size", format_args!("{} bytes", car.len()))
        .map_err(Failure::Output)?;
    let root = store.roots().first().copied();
    let root = root.ok_or_else(input::no_root)?;
    info::line(out.writer(), "Root CID", root).map_err(Failure::Output)?;
    let repository = Repository::open_with(store, &root, input::nodes_of_paths())?;
    let commit = repository.commit().clone();
    info::write_commit(&commit, out.writer()).map_err(Failure::Output)?;
    out.line(format_args!(""))?;

    let found = Found::in_tree(&repository)?;
    let options = CarOptions {
        // Each is checked here, and a bad one does not end the list.
        verify: Some(Verify::Never),
        ..input::car_options()
    };
    for block in CarReader::with_options(&**car, options)? {
        write_block(&block?, &root, &found, out, report)?;
    }
    for fault in &found.faults {
        if !fault.is_missing() {
            report.count_fault();
        }
        out.line(format_args!("{fault}"))?;
    }
    let nodes = found.faults.iter().filter(|fault| fault.is_missing());
    let nodes = Counted(nodes.count() as u64, "node");
    let records = Counted(found.missing_records, "record");
    out.line(format_args!("missing: {records}, {nodes}"))?;
    Ok(commit)
}

fn write_block(
    block: &CarBlock,
    root: &Cid,
    found: &Found,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    let cid = &block.cid;
    let len = Counted(block.bytes.len() as u64, "byte");
    if let Err(StoreError::HashMismatch(_)) = check_block(cid, &block.bytes) {
        report.count_fault();
        return out.line(format_args!("bad {cid} {len}: does not hash to its CID"));
    }
    if cid == root {
        return out.line(format_args!("commit {cid} {len}"));
    }
    if let Some(height) = found.nodes.get(cid) {
        return out.line(format_args!("node {cid} {len}, height {height}"));
    }
    if let Some(key) = found.records.get(cid) {
        return out.line(format_args!("record {cid} {len}, {}", Quoted(key)));
    }
    out.line(format_args!("other {cid} {len}"))
}

/// What is present of a tree.
#[derive(Default)]
struct Found {
    /// The nodes, with their heights.
    nodes: HashMap<Cid, u8>,
    /// The records, each with the first of its keys.
    records: HashMap<Cid, Vec<u8>>,
    /// The nodes that are missing or bad.
    faults: Vec<Fault>,
    /// Keys whose records are missing.
    missing_records: u64,
}

impl Found {
    fn in_tree(repository: &Repository<CarBlockStore>) -> Result<Self, Failure> {
        let mut found = Self::default();
        let walker = match repository.walker() {
            Ok(walker) => walker,
            Err(error) => {
                found.faults.push(Fault::of_top(error)?);
                return Ok(found);
            }
        };
        let mut nodes = walker.nodes();
        while let Some(node) = nodes.next() {
            let node = match node {
                Ok(node) => node,
                Err(error) => {
                    found.faults.push(Fault::at(nodes.walker(), error)?);
                    continue;
                }
            };
            found.nodes.insert(node.cid(), node.height());
            for entry in node.entries() {
                let value = entry.value();
                if repository.blocks().has(&value)? {
                    let first = found.records.entry(value);
                    first.or_insert_with(|| entry.key().to_vec());
                } else {
                    found.missing_records += 1;
                }
            }
        }
        Ok(found)
    }
}
