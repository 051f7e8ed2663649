//! `atproto-interop-tests`: which nodes a commit has to contain.

use std::collections::BTreeMap;

use atproto_mst::{BlockStoreMut, Bytes, Cid, MemoryBlockStore, NodeStore, Operation, Tree};
use serde::Deserialize;

use super::{Report, Suite};
use crate::Result;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    comment: String,
    leaf_value: String,
    keys: Vec<String>,
    adds: Vec<String>,
    dels: Vec<String>,
    root_before_commit: String,
    root_after_commit: String,
    blocks_in_proof: Vec<String>,
}

pub(super) const PATH: &str = "firehose/commit-proof-fixtures.json";

pub(super) fn run(suite: &Suite, report: &mut Report) -> Result<()> {
    let before = report.cases;
    for case in suite.json::<Vec<Case>>(PATH)? {
        let passed = check(&case);
        report.case(passed.is_ok(), || format!("{}: {passed:?}", case.comment));
    }
    report.part("commit proofs", before);
    Ok(())
}

fn check(case: &Case) -> Result<()> {
    let value: Cid = case.leaf_value.parse()?;
    let mut tree = Tree::from_entries(case.keys.iter().map(|key| (key, value)))?;
    let old = tree.flush();
    if old.root.to_string() != case.root_before_commit {
        return Err(format!("the root before is {}", old.root).into());
    }
    let mut operations = Vec::new();
    for (keys, new) in [(&case.adds, Some(value)), (&case.dels, None)] {
        for key in keys {
            let old = match &new {
                Some(value) => tree.insert(key.as_bytes(), value)?,
                None => tree.remove(key.as_bytes())?,
            };
            let key = key.clone().into_bytes();
            operations.push(Operation { key, old, new });
        }
    }
    let changes = tree.flush();
    if changes.root.to_string() != case.root_after_commit {
        return Err(format!("the root after is {}", changes.root).into());
    }

    let keys = operations.iter().map(|operation| operation.key.as_slice());
    let mut sent: BTreeMap<String, (Cid, Bytes)> = BTreeMap::new();
    for (cid, block) in changes.new.into_iter().chain(tree.cover(keys)?) {
        sent.insert(cid.to_string(), (cid, block));
    }
    // The nodes that the case names are among those that we send, and they are enough.
    let named: Option<Vec<_>> = case
        .blocks_in_proof
        .iter()
        .map(|cid| sent.get(cid).cloned())
        .collect();
    let named = named.ok_or("a node of the proof would not be sent")?;
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&named)?;
    let nodes = NodeStore::new(&blocks);
    let root = Tree::open(&nodes, &changes.root)?.invert(&operations)?;
    if root != old.root {
        return Err(format!("inverted to {root}").into());
    }
    Ok(())
}
