//! `cartool proof check`

use std::fmt::Display;

use atproto_mst::{BlockStore, Cid, NodeStore, NodeWalker, ProofError, Prover, PublicKey, mst_ops};

use crate::cli::{ProofCheckArgs, Source};
use crate::failure::{self, Failure, chain};
use crate::fault::{Fault, NodeFault};
use crate::input::{self, Blocks};
use crate::output::Output;
use crate::quote::{Counted, Quoted};
use crate::report::Report;
use crate::{database, look_up, signature};

pub(crate) fn run(
    args: &ProofCheckArgs,
    out: &mut Output,
    report: &mut Report,
) -> Result<(), Failure> {
    out.may_close();
    if database::is_at(&args.proof)? {
        let what = "a proof is a CAR, and this is a database; for a database, use `cartool get`";
        return Err(Failure::Usage(what.to_owned()));
    }
    let opened = input::open_blocks(&Source::of(&args.proof))?;
    let (blocks, root, basis) = match (&args.root, &args.commit) {
        (Some(root), _) => {
            let basis = format!(
                "about the tree {root}, which is taken to be the account's, as you say; \
                 no commit was looked at, and no signature checked"
            );
            (opened.blocks, *root, basis)
        }
        (None, expected) => of_commit(opened, expected.as_ref(), args.key.as_ref())?,
    };
    let nodes = NodeStore::with_options(blocks, input::nodes_of_paths());
    let mut check = Check {
        nodes: &nodes,
        root,
        out,
        report,
        unproven: false,
        absent: false,
    };
    match NodeWalker::new(&nodes, &root) {
        Ok(mut walker) => {
            for path in &args.paths {
                check.path(&mut walker, path)?;
            }
            for prefix in &args.prefix {
                check.prefix(&walker, prefix)?;
            }
        }
        Err(error) => {
            let fault = Fault::of_top(error.into())?;
            for asked in args.paths.iter().chain(&args.prefix) {
                check.unproven(asked.as_bytes(), &fault, fault.is_missing())?;
            }
        }
    }
    let answer = match (check.unproven, check.absent) {
        (true, _) => failure::UNPROVEN,
        (false, true) => failure::NOT_FOUND,
        (false, false) => 0,
    };
    report.answer(answer);
    out.flush()?;
    report.note(&basis);
    Ok(())
}

/// The blocks, the root of the tree that the commit names, and a description of the commit.
fn of_commit(
    opened: input::Opened,
    expected: Option<&Cid>,
    key: Option<&PublicKey>,
) -> Result<(Blocks, Cid, String), Failure> {
    let named = opened.commit();
    let commit = match expected {
        Some(expected) if !opened.blocks.has(expected)? => {
            let found = named?;
            return Err(Failure::Invalid(format!(
                "the proof is about the commit {found}, not {expected}"
            )));
        }
        Some(expected) => *expected,
        None => named?,
    };
    // The commit is read as that of a repository, but only its tree is used.
    let repository = input::open_at(&opened.blocks, &commit)?;
    let (root, did, rev) = {
        let commit = repository.commit();
        (commit.data, commit.did.clone(), commit.rev)
    };
    let basis = match expected {
        Some(_) => "which is taken to be the account's, as you say",
        None => "which the proof names itself",
    };
    let signed = match key {
        None => "its signature was NOT CHECKED".to_owned(),
        Some(key) => match signature::fault(repository.commit(), key) {
            None => format!("signed by {key}"),
            Some(fault) => return Err(Failure::Invalid(format!("commit {commit}: {fault}"))),
        },
    };
    let basis = format!("about {did}, rev {rev}, commit {commit}, {basis}; {signed}");
    Ok((opened.blocks, root, basis))
}

struct Check<'c> {
    nodes: &'c NodeStore<Blocks>,
    root: Cid,
    out: &'c mut Output,
    report: &'c mut Report,
    /// Whether anything that was asked for is proven neither present nor absent.
    unproven: bool,
    /// Whether a path is proven absent.
    absent: bool,
}

impl Check<'_> {
    fn path(&mut self, walker: &mut NodeWalker<'_, Blocks>, path: &str) -> Result<(), Failure> {
        let key = path.as_bytes();
        let found = match walker.find(key) {
            Ok(found) => found,
            Err(error) => {
                let fault = Fault::at(walker, error)?;
                return self.unproven(key, &fault, fault.is_missing());
            }
        };
        if let Some(fault) = self.refuse(|prover| prover.key(key).map(drop))? {
            return self.unproven(key, &fault, false);
        }
        if let Some(cid) = found {
            return self.present(key, &cid);
        }
        self.absent = true;
        if let Some(why) = look_up::no_path(key) {
            self.report
                .note(&format_args!("note: {} is {why}", Quoted(key)));
        }
        self.out.line(format_args!("absent {}", Quoted(key)))
    }

    fn prefix(&mut self, walker: &NodeWalker<'_, Blocks>, prefix: &str) -> Result<(), Failure> {
        let prefix = prefix.as_bytes();
        let mut entries = walker.prefix(prefix);
        let (mut found, mut complete) = (0, true);
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => {
                    found += 1;
                    self.present(entry.key(), &entry.value())?;
                }
                Err(error) => {
                    complete = false;
                    let fault = Fault::at(entries.walker(), error)?;
                    self.unproven(prefix, &fault, fault.is_missing())?;
                }
            }
        }
        if complete && let Some(fault) = self.refuse(|prover| prover.prefix(prefix).map(drop))? {
            complete = false;
            self.unproven(prefix, &fault, false)?;
        }
        let what = if complete { "complete" } else { "incomplete" };
        let (prefix, found) = (Quoted(prefix), Counted(found, "key"));
        self.out.line(format_args!("{what} {prefix} {found}"))
    }

    /// Returns what is wrong with the nodes that an answer depends on, beyond those that finding it
    /// passes: it has to be a proof by itself.
    fn refuse(
        &self,
        ask: impl FnOnce(&mut Prover<'_, Blocks>) -> Result<(), mst_ops::Error>,
    ) -> Result<Option<NodeFault>, Failure> {
        let mut prover = Prover::new(self.nodes, &self.root)?;
        ask(&mut prover)?;
        match prover.finish().verify(&self.root) {
            Ok(()) => Ok(None),
            Err(ProofError::Tree { source, .. }) => Fault::of_node(source).map(Some),
            Err(error) => Err(Failure::Invalid(chain(&error))),
        }
    }

    /// A key that is present. Its record, if the proof has it, must match the CID.
    fn present(&mut self, key: &[u8], cid: &Cid) -> Result<(), Failure> {
        self.out
            .line(format_args!("present {} {cid}", Quoted(key)))?;
        if let Err(error) = self.nodes.blocks().get(cid) {
            let fault = Fault::of_record(key, *cid, error.into())?;
            self.report.fault(&fault);
        }
        Ok(())
    }

    fn unproven(
        &mut self,
        asked: &[u8],
        fault: &dyn Display,
        is_missing: bool,
    ) -> Result<(), Failure> {
        self.unproven = true;
        if !is_missing {
            self.report.count_fault();
        }
        let asked = Quoted(asked);
        self.out.line(format_args!("unproven {asked}: {fault}"))
    }
}
