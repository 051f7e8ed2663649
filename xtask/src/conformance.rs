//! `cargo xtask conformance`: published vectors and suites, run from their folder.

mod changes;
mod commit_proofs;
mod crypto;
mod data_model;

use std::fs;
use std::path::{Path, PathBuf};

use atproto_mst::mst_repo::{Tid, check_nsid, check_record_key, is_did};
use atproto_mst::{
    BlockStore, CarBlockStore, NodeStore, height_of, shared_prefix_len, verify_tree,
};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Result;

/// Run the published vectors and suites.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder that holds `atproto-interop-tests` and `mst-test-suite`, or one of them.
    #[arg(long, value_name = "DIR")]
    suite: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    run_in(&arguments.suite)
}

/// Runs the suites in `folder`.
pub(crate) fn run_in(folder: &Path) -> Result<()> {
    let interop = Suite::new(folder, "atproto-interop-tests");
    let trees = Suite::new(folder, "mst-test-suite");
    let mut report = Report::default();
    if interop.is_there("mst/key_heights.json") {
        key_heights(&interop, &mut report)?;
        common_prefixes(&interop, &mut report)?;
        syntax(
            &interop,
            "nsid",
            |text| check_nsid(text.as_bytes()).is_ok(),
            &mut report,
        )?;
        syntax(
            &interop,
            "recordkey",
            |text| check_record_key(text.as_bytes()).is_ok(),
            &mut report,
        )?;
        syntax(&interop, "did", is_did, &mut report)?;
        syntax(
            &interop,
            "tid",
            |text| text.parse::<Tid>().is_ok(),
            &mut report,
        )?;
    }
    if interop.is_there(commit_proofs::PATH) {
        commit_proofs::run(&interop, &mut report)?;
    }
    if interop.is_there("crypto") {
        crypto::run(&interop, &mut report)?;
    }
    if interop.is_there("data-model") {
        data_model::run(&interop, &mut report)?;
    }
    if trees.is_there("cars/exhaustive") {
        exhaustive_trees(&trees, &mut report)?;
    }
    if trees.is_there("tests") {
        changes::run(&trees, &mut report)?;
    }
    report.finish(folder)
}

/// One published suite.
struct Suite(PathBuf);

impl Suite {
    /// The suite `name` in `folder`, which may be the suite itself.
    fn new(folder: &Path, name: &str) -> Self {
        let inside = folder.join(name);
        Self(if inside.is_dir() {
            inside
        } else {
            folder.to_owned()
        })
    }

    /// Whether a part of the suite is present. If not, says so.
    fn is_there(&self, path: &str) -> bool {
        let is_there = self.0.join(path).exists();
        if !is_there {
            println!("left out: there is no {path} in {}", self.0.display());
        }
        is_there
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let bytes = self.read(path)?;
        serde_json::from_str(&bytes).map_err(|error| format!("{path}: {error}").into())
    }

    fn read(&self, path: &str) -> Result<String> {
        let path = self.0.join(path);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
    }
}

/// How many cases were run, and which failed.
#[derive(Default)]
struct Report {
    cases: usize,
    failures: Vec<String>,
}

impl Report {
    fn case(&mut self, passed: bool, describe: impl FnOnce() -> String) {
        self.cases += 1;
        if !passed {
            self.failures.push(describe());
        }
    }

    /// Prints how many cases a part had. One with none is a failure: it was not found.
    fn part(&mut self, name: &str, before: usize) {
        let cases = self.cases - before;
        println!("{name}: {cases} cases");
        if cases == 0 {
            self.failures.push(format!("{name}: no cases"));
        }
    }

    fn finish(self, folder: &Path) -> Result<()> {
        for failure in &self.failures {
            println!("FAILED {failure}");
        }
        let failed = self.failures.len();
        println!("{} cases, {failed} failed", self.cases);
        match (self.cases, failed) {
            (0, _) => Err(format!("{} holds no suite", folder.display()).into()),
            (_, 0) => Ok(()),
            _ => Err(format!("{failed} cases failed").into()),
        }
    }
}

fn key_heights(suite: &Suite, report: &mut Report) -> Result<()> {
    #[derive(Deserialize)]
    struct Case {
        key: String,
        height: u8,
    }
    let before = report.cases;
    for Case { key, height } in suite.json::<Vec<Case>>("mst/key_heights.json")? {
        let found = height_of(key.as_bytes());
        report.case(found == height, || {
            format!("key {key:?}: height {found}, not {height}")
        });
    }
    report.part("key heights", before);
    Ok(())
}

fn common_prefixes(suite: &Suite, report: &mut Report) -> Result<()> {
    #[derive(Deserialize)]
    struct Case {
        left: String,
        right: String,
        len: usize,
    }
    let before = report.cases;
    for Case { left, right, len } in suite.json::<Vec<Case>>("mst/common_prefix.json")? {
        let found = shared_prefix_len(left.as_bytes(), right.as_bytes());
        report.case(found == len, || {
            format!("{left:?} and {right:?}: {found} shared, not {len}")
        });
    }
    report.part("shared prefixes", before);
    Ok(())
}

/// Runs the lists of valid and of invalid identifiers of one kind.
fn syntax(
    suite: &Suite,
    kind: &str,
    is_valid: impl Fn(&str) -> bool,
    report: &mut Report,
) -> Result<()> {
    for (list, expected) in [("valid", true), ("invalid", false)] {
        let before = report.cases;
        let lines = suite.read(&format!("syntax/{kind}_syntax_{list}.txt"))?;
        for line in lines
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            report.case(is_valid(line) == expected, || {
                format!("{kind} {line:?} is {list}")
            });
        }
        report.part(&format!("{list} {kind}"), before);
    }
    Ok(())
}

/// Verifies all trees of the exhaustive set, each a CAR whose root is the tree's.
fn exhaustive_trees(suite: &Suite, report: &mut Report) -> Result<()> {
    let before = report.cases;
    for file in fs::read_dir(suite.0.join("cars/exhaustive"))? {
        let path = file?.path();
        let verified = check_tree(&path);
        report.case(verified.is_ok(), || {
            format!("{}: {verified:?}", path.display())
        });
    }
    report.part("exhaustive trees", before);
    Ok(())
}

fn check_tree(path: &Path) -> Result<()> {
    let car = CarBlockStore::open(path)?;
    let root = car.root()?;
    let nodes = NodeStore::new(&car);
    let summary = verify_tree(&nodes, &root)?;
    if car.has(&root)? && summary.nodes == car.len() as u64 {
        Ok(())
    } else {
        Err(format!("{} blocks, {} nodes", car.len(), summary.nodes).into())
    }
}
