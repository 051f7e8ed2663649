//! The danger: that this whole workspace agrees with itself and with nobody else. What it writes
//! is read here by three implementations that share no code with it, and it reads what one of
//! them writes.
//!
//! `cargo xtask others` installs them and runs this; the variable `MST_OTHERS` names the folder
//! where they are. Without it, these tests say so and pass.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use blockstore_car::CarWriter;
use blockstore_core::{BlockStore, Bytes, Cid, MemoryBlockStore, dag_cbor_cid};
use mst_ops::{NodeStore, Prover};
use mst_repo::{
    Curve, EventCheck, Frame, NewCommit, PublicKey, RepoState, Repository, SigningKey, Write,
    Writer,
};
use mst_testkit::{Change, History};
use serde_json::{Value, json};
use tempfile::TempDir;

const DID: &str = "did:plc:z72i7hdynmk6r22z27h6tvur";
const COMMITS: usize = 150;
/// How many commits the other side makes.
const THEIRS: usize = 150;

/// The folder where the others are; without it, prints that they are missing.
fn others() -> Option<PathBuf> {
    let folder = env::var_os("MST_OTHERS");
    if folder.is_none() {
        // Not by `eprintln`, which a test that passes keeps to itself.
        let word = "skipped: `cargo xtask others` installs other implementations and runs this";
        let _ = writeln!(io::stderr(), "{word}");
    }
    folder.map(PathBuf::from)
}

fn write(change: &Change) -> Write {
    let path = change.path.clone();
    match (&change.before, change.after.clone()) {
        (None, Some(record)) => Write::Create { path, record },
        (Some(_), Some(record)) => Write::Update { path, record },
        (_, None) => Write::Delete { path },
    }
}

fn text(cid: Option<Cid>) -> Option<String> {
    cid.map(|cid| cid.to_string())
}

/// A history with its slices, exports and proofs, in a folder, and the expected results.
struct Plan {
    folder: TempDir,
    content: Value,
    counts: Value,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let save = |name: String, car: &[u8]| {
            fs::write(folder.path().join(&name), car).unwrap();
            name
        };
        let key = SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap();
        let (mut writer, first) = Writer::create(MemoryBlockStore::new(), DID, &key).unwrap();
        let first = json!({
            "car": save("first.car".into(), &first.slice),
            "root": first.commit.data.to_string(),
        });
        let (mut commits, mut exports, mut proofs) = (Vec::new(), Vec::new(), Vec::new());
        let (mut operations, mut records) = (0, 0);
        let mut history = History::new(seed);
        for number in 1..=COMMITS {
            let writes: Vec<Write> = history.step().iter().map(write).collect();
            let new = writer.write(&writes, &key).unwrap();
            operations += new.operations.len();
            commits.push(json!({
                "car": save(format!("{number}.slice.car"), &new.slice),
                "root": new.commit.data.to_string(),
                "before": text(new.prev_data),
                "ops": ops(&new),
            }));
            if number % 30 == 0 {
                let repository = Repository::open(writer.blocks(), &new.cid).unwrap();
                let export: Vec<_> = repository.export().unwrap().map(Result::unwrap).collect();
                let found = repository.records().unwrap().map(|record| {
                    let record = record.unwrap();
                    (record.path().to_owned(), json!(record.cid().to_string()))
                });
                let found: serde_json::Map<_, _> = found.collect();
                records += found.len();
                exports.push(json!({
                    "car": save(format!("{number}.car"), &car(&new.cid, &export)),
                    "root": new.commit.data.to_string(),
                    "records": found,
                }));
                let there = history.records().keys().step_by(7).take(20).cloned();
                let absent = (0..20).map(|n| format!("app.bsky.feed.like/absent-{n}"));
                for (n, path) in there.chain(absent).enumerate() {
                    let (value, blocks) = proof(&writer, &path);
                    proofs.push(json!({
                        "car": save(format!("{number}.{n}.car"), &car(&new.cid, &blocks)),
                        "root": new.commit.data.to_string(),
                        "claims": [{ "path": path, "cid": text(value) }],
                    }));
                }
            }
        }
        let counts = json!({
            "commits": commits.len(),
            "operations": operations,
            "exports": exports.len(),
            "records": records,
            "claims": proofs.len(),
        });
        assert!(
            operations > 500 && records > 300 && proofs.len() > 150,
            "{counts}"
        );
        let content = json!({
            "did": DID,
            "key": key.public_key().to_string(),
            "first": first,
            "commits": commits,
            "exports": exports,
            "proofs": proofs,
            "theirs": THEIRS,
        });
        Self {
            folder,
            content,
            counts,
        }
    }

    /// Makes a program read it. `None` if it does not agree.
    fn check(&self, program: &Path, arguments: &[&Path]) -> Option<Value> {
        let plan = self.folder.path().join("plan.json");
        fs::write(plan, self.content.to_string()).unwrap();
        let (script, rest) = arguments.split_first().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("others")
            .join(script);
        let mut command = Command::new(program);
        command.arg(script).arg(self.folder.path()).args(rest);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        if !output.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(serde_json::from_str(said.lines().next_back().unwrap()).unwrap())
    }

    /// Checks that a program agrees, and disagrees where it should.
    fn assert_agrees(&mut self, program: &Path, arguments: &[&Path]) {
        assert_eq!(self.check(program, arguments), Some(self.counts.clone()));
        println!("{}", self.counts);

        // Another previous root, and a record in place of none: neither may pass.
        let content = self.content.clone();
        let first = self.content["first"]["root"].clone();
        self.content["commits"][100]["before"] = first;
        assert_eq!(self.check(program, arguments), None);
        self.content = content;
        let value = self.content["proofs"][0]["claims"][0]["cid"].clone();
        let last = self.content["proofs"].as_array().unwrap().len() - 1;
        self.content["proofs"][last]["claims"][0]["cid"] = value;
        assert_ne!(self.check(program, arguments), Some(self.counts.clone()));
    }
}

fn ops(new: &NewCommit) -> Vec<Value> {
    let op = |operation: &mst_ops::Operation| {
        json!({
            "path": str::from_utf8(&operation.key).unwrap(),
            "cid": text(operation.new),
            "prev": text(operation.old),
        })
    };
    new.operations.iter().map(op).collect()
}

fn car(root: &Cid, blocks: &[(Cid, Bytes)]) -> Vec<u8> {
    let mut car = CarWriter::new(Vec::new(), &[*root]).unwrap();
    let mut written = HashSet::new();
    for (cid, block) in blocks {
        if written.insert(*cid) {
            car.write_block(cid, block).unwrap();
        }
    }
    car.finish().unwrap()
}

/// What proves, besides the signature, that the record at `path` is what it is, or that there is
/// none. The others go further down before they believe the latter, so it needs the nodes around the
/// path, more than ours would read.
fn proof(writer: &Writer<MemoryBlockStore>, path: &str) -> (Option<Cid>, Vec<(Cid, Bytes)>) {
    let commit = writer.commit();
    let nodes = NodeStore::new(writer.blocks());
    let mut prover = Prover::new(&nodes, &commit.data).unwrap();
    let value = if writer.tree().contains(path.as_bytes()).unwrap() {
        prover.key(path.as_bytes()).unwrap()
    } else {
        prover.cover(path.as_bytes()).unwrap()
    };
    let block = Bytes::from(commit.encode());
    let mut blocks = vec![(dag_cbor_cid(&block), block)];
    blocks.extend(prover.finish().blocks);
    if let Some(value) = value {
        let record = writer.blocks().get(&value).unwrap().unwrap();
        blocks.push((value, record));
    }
    (value, blocks)
}

#[test]
fn atmst_agrees() {
    let Some(others) = others() else {
        return;
    };
    let python = others.join("venv/bin/python");
    Plan::new(11).assert_agrees(&python, &["check_atmst.py".as_ref()]);
}

#[test]
fn arroba_agrees() {
    let Some(others) = others() else {
        return;
    };
    let python = others.join("venv/bin/python");
    Plan::new(12).assert_agrees(&python, &["check_arroba.py".as_ref()]);
}

#[test]
fn the_reference_implementation_agrees_and_its_commits_are_valid() {
    let Some(others) = others() else {
        return;
    };
    let mut plan = Plan::new(13);
    plan.assert_agrees("node".as_ref(), &["check_repo.mjs".as_ref(), &others]);

    let theirs = fs::read(plan.folder.path().join("theirs.json")).unwrap();
    let theirs: Value = serde_json::from_slice(&theirs).unwrap();
    let key: PublicKey = theirs["key"].as_str().unwrap().parse().unwrap();
    let mut state: Option<RepoState> = None;
    let mut operations = 0;
    for seq in 1..=THEIRS {
        let frame = fs::read(plan.folder.path().join(format!("{seq}.frame"))).unwrap();
        let Frame::Commit(event) = Frame::decode(&frame).unwrap() else {
            panic!("no commit");
        };
        let check = EventCheck::default()
            .with_key(&key)
            .with_state(state.as_ref())
            .with_cover(true);
        let checked = check.commit(&event).unwrap();
        assert_eq!(theirs["roots"][seq - 1], checked.state.data.to_string());
        operations += checked.operations.len();
        state = Some(checked.state);
    }
    println!("{THEIRS} commits of theirs with {operations} operations");
    assert!(operations > THEIRS);
}
