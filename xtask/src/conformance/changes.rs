//! `mst-test-suite`: from one tree to another by the operations between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use atproto_mst::{
    BlockStore, BlockStoreMut, Bytes, CarBlockStore, Cid, Diff, MemoryBlockStore, NodeStore,
    Operation, Prover, Tree,
};
use serde::Deserialize;

use super::{Report, Suite};
use crate::Result;

#[derive(Deserialize)]
struct Case {
    #[serde(rename = "$type")]
    kind: String,
    inputs: Inputs,
    results: Results,
}

#[derive(Deserialize)]
struct Inputs {
    mst_a: PathBuf,
    mst_b: PathBuf,
}

#[derive(Deserialize)]
struct Results {
    created_nodes: BTreeSet<String>,
    deleted_nodes: BTreeSet<String>,
    proof_nodes: BTreeSet<String>,
    inductive_proof_nodes: BTreeSet<String>,
    record_ops: Vec<RecordOp>,
}

#[derive(Deserialize)]
struct RecordOp {
    rpath: String,
    old_value: Option<String>,
    new_value: Option<String>,
}

/// A tree of the suite: its root and nodes.
struct Input {
    root: Cid,
    nodes: NodeStore<CarBlockStore>,
}

/// Runs every case in both directions: the operations lead from one root to the other, and a flush
/// returns the nodes that the case names.
pub(super) fn run(suite: &Suite, report: &mut Report) -> Result<()> {
    let before = report.cases;
    let mut inputs = BTreeMap::new();
    let mut files = Vec::new();
    collect_files(&suite.0.join("tests"), &mut files)?;
    for file in files {
        let case = fs::read_to_string(&file)?;
        let case: Case =
            serde_json::from_str(&case).map_err(|error| format!("{}: {error}", file.display()))?;
        if case.kind != "mst-diff" {
            continue;
        }
        let Case {
            inputs: Inputs { mst_a, mst_b },
            results,
            ..
        } = case;
        for path in [&mst_a, &mst_b] {
            if !inputs.contains_key(path) {
                inputs.insert(path.clone(), open(&suite.0.join(path))?);
            }
        }
        if let (Some(a), Some(b)) = (inputs.get(&mst_a), inputs.get(&mst_b)) {
            for backwards in [false, true] {
                let passed = check(a, b, &results, backwards)
                    .and_then(|()| check_diff(a, b, &results, backwards))
                    .and_then(|()| check_inversion(a, b, &results, backwards))
                    .and_then(|()| check_proofs(a, b, &results, backwards));
                report.case(passed.is_ok(), || {
                    let way = if backwards { ", backwards" } else { "" };
                    format!("{}{way}: {passed:?}", file.display())
                });
            }
        }
    }
    report.part("changes from tree to tree, and back", before);
    Ok(())
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<Input> {
    let car = CarBlockStore::open(path)?;
    let root = car.root()?;
    Ok(Input {
        root,
        nodes: NodeStore::new(car),
    })
}

/// The CIDs of blocks, as the cases name them.
fn names_of(blocks: &[(Cid, Bytes)]) -> BTreeSet<String> {
    blocks.iter().map(|(cid, _)| cid.to_string()).collect()
}

fn check(a: &Input, b: &Input, results: &Results, backwards: bool) -> Result<()> {
    let (from, to) = if backwards { (b, a) } else { (a, b) };
    let mut tree = Tree::open(&from.nodes, &from.root)?;
    let mut operations: Vec<_> = results.record_ops.iter().collect();
    if backwards {
        operations.reverse();
    }
    for operation in operations {
        let key = operation.rpath.as_bytes();
        let (mut old, mut new) = (&operation.old_value, &operation.new_value);
        if backwards {
            (old, new) = (new, old);
        }
        let previous = match new {
            Some(value) => tree.insert(key, &value.parse()?)?,
            None => tree.remove(key)?,
        };
        if previous.map(|cid| cid.to_string()) != *old {
            return Err(format!("{}: was {previous:?}", operation.rpath).into());
        }
    }
    let changes = tree.flush();
    if changes.root != to.root {
        return Err(format!("root {}, not {}", changes.root, to.root).into());
    }
    let new = names_of(&changes.new);
    let removed: BTreeSet<_> = changes.removed.iter().map(Cid::to_string).collect();
    let (mut created, mut deleted) = (&results.created_nodes, &results.deleted_nodes);
    if backwards {
        (created, deleted) = (deleted, created);
    }
    if new != *created || removed != *deleted {
        return Err(format!("new {new:?}, removed {removed:?}").into());
    }
    // Each block matches its CID.
    MemoryBlockStore::new().put_many(&changes.new)?;
    Ok(())
}

/// The operations can be inverted with only the nodes that the case names.
fn check_inversion(a: &Input, b: &Input, results: &Results, backwards: bool) -> Result<()> {
    if backwards {
        // The case names the nodes for one direction only.
        return Ok(());
    }
    let operations = results.operations(backwards)?;
    if operations.is_empty() {
        // From a tree to itself: without operations, no node is needed, and none should be named.
        return match results.inductive_proof_nodes.len() {
            0 => Ok(()),
            count => Err(format!("{count} nodes for no operation").into()),
        };
    }
    let blocks = MemoryBlockStore::new();
    for cid in &results.inductive_proof_nodes {
        let cid = cid.parse()?;
        let block = b
            .nodes
            .blocks()
            .get(&cid)?
            .ok_or("a proof node is not in the tree")?;
        blocks.put(&cid, block)?;
    }
    let nodes = NodeStore::new(&blocks);
    let tree = Tree::open(&nodes, &b.root)?;
    let mut operations = operations;
    for way in ["as they are named", "the other way round"] {
        let root = tree.invert(&operations)?;
        if root != a.root {
            return Err(format!("inverted to {root}, {way}").into());
        }
        operations.reverse();
    }
    Ok(())
}

/// A proof of the result of each operation holds on the nodes that the case names, and on ours;
/// and the nodes that cover the operations are enough to invert them.
fn check_proofs(a: &Input, b: &Input, results: &Results, backwards: bool) -> Result<()> {
    let (from, to) = if backwards { (b, a) } else { (a, b) };
    let operations = results.operations(backwards)?;
    let mut prover = Prover::new(&to.nodes, &to.root)?;
    for operation in &operations {
        if prover.key(&operation.key)? != operation.new {
            return Err("a proof of something else".into());
        }
    }
    let mut proof = prover.finish();
    proof.verify(&to.root)?;
    if !backwards && !operations.is_empty() {
        let ours = names_of(&proof.blocks);
        if !results.proof_nodes.iter().all(|cid| ours.contains(cid)) {
            return Err("our proof lacks a proof node".into());
        }
        proof.blocks.clear();
        for cid in &results.proof_nodes {
            let cid = cid.parse()?;
            let block = to
                .nodes
                .blocks()
                .get(&cid)?
                .ok_or("a proof node is missing")?;
            proof.blocks.push((cid, block));
        }
        proof.verify(&to.root)?;
    }

    // What a producer sends: the new nodes, and those that cover the operations.
    let mut prover = Prover::new(&to.nodes, &to.root)?;
    for operation in &operations {
        prover.cover(&operation.key)?;
    }
    let covering = prover.finish();
    let ours = names_of(&covering.blocks);
    let created = &results.created_nodes;
    let mut inductive = results.inductive_proof_nodes.iter();
    if !backwards && !inductive.all(|cid| ours.contains(cid) || created.contains(cid)) {
        return Err("the covering proof lacks an inductive proof node".into());
    }
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&covering.blocks)?;
    let diff = Diff::new(&from.nodes, &from.root, &to.nodes, &to.root)?;
    for cid in diff.created() {
        let block = to
            .nodes
            .blocks()
            .get(cid)?
            .ok_or("a created node is missing")?;
        blocks.put(cid, block)?;
    }
    let nodes = NodeStore::new(&blocks);
    let root = Tree::open(&nodes, &to.root)?.invert(&operations)?;
    if root != from.root {
        return Err(format!("inverted to {root} on a covering proof").into());
    }
    Ok(())
}

impl Results {
    fn operations(&self, backwards: bool) -> Result<Vec<Operation>> {
        let mut operations = Vec::new();
        for operation in &self.record_ops {
            let value =
                |value: &Option<String>| value.as_ref().map(|value| value.parse()).transpose();
            let operation = Operation {
                key: operation.rpath.as_bytes().to_vec(),
                old: value(&operation.old_value)?,
                new: value(&operation.new_value)?,
            };
            operations.push(if backwards {
                operation.inverse()
            } else {
                operation
            });
        }
        Ok(operations)
    }
}

/// The diff of two trees names the same nodes and operations as the case.
fn check_diff(a: &Input, b: &Input, results: &Results, backwards: bool) -> Result<()> {
    let expected = results.operations(backwards)?;
    let (from, to) = if backwards { (b, a) } else { (a, b) };
    let diff = Diff::new(&from.nodes, &from.root, &to.nodes, &to.root)?;
    let strings = |cids: &[Cid]| -> BTreeSet<_> { cids.iter().map(Cid::to_string).collect() };
    let (created, deleted) = (strings(diff.created()), strings(diff.deleted()));
    let (mut expected_created, mut expected_deleted) =
        (&results.created_nodes, &results.deleted_nodes);
    if backwards {
        std::mem::swap(&mut expected_created, &mut expected_deleted);
    }
    if created != *expected_created || deleted != *expected_deleted {
        return Err(format!("created {created:?}, deleted {deleted:?}").into());
    }
    let found: Vec<_> = diff.collect();
    if found != expected {
        return Err(format!("operations {found:?}").into());
    }
    Ok(())
}
