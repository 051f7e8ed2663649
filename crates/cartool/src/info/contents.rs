//! Counts what is in a repository.

use std::collections::BTreeMap;

use atproto_mst::{BlockStore, Cid, RepoPath};

use crate::distinct::Distinct;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::input::Repository;
use crate::report::Report;

/// What is in a repository, as far as the file holds it.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The height of the tree, unless its top node is missing.
    pub(super) height: Option<u8>,
    /// Nodes that are present.
    pub(super) nodes: u64,
    /// Paths whose records are present.
    pub(super) records: u64,
    /// For each collection, the number of paths in it, including those whose record is missing.
    pub(super) collections: BTreeMap<String, u64>,
    /// Keys that are not repository paths, and so are in no collection.
    pub(super) bad_keys: u64,
    /// Blocks that cannot be reached from the commit; only for a CAR, as in a database they may
    /// belong to another repository.
    pub(super) unreferenced: Option<usize>,
    /// Links to nodes that are missing.
    pub(super) missing_nodes: u64,
    /// Paths whose records are missing.
    pub(super) missing_records: u64,
    /// Nodes that are present but invalid.
    pub(super) bad_nodes: u64,
}

impl Contents {
    /// Counts. Nodes are read and checked, records looked up.
    pub(super) fn count(repository: &Repository, report: &mut Report) -> Result<Self, Failure> {
        let mut contents = Self::default();
        let mut reached = Distinct::default();
        reached.note(&repository.commit_cid());
        contents.count_tree(repository, &mut reached, report)?;
        let count = repository.blocks().count();
        contents.unreferenced = count.map(|count| count.saturating_sub(reached.count()));
        Ok(contents)
    }

    /// Counts the nodes and their entries, and adds those that are present to `reached`.
    fn count_tree(
        &mut self,
        repository: &Repository,
        reached: &mut Distinct,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let walker = match repository.walker() {
            Ok(walker) => walker,
            Err(error) => {
                let root = repository.commit().data;
                let fault = Fault::of_top(error)?;
                return self.count_fault(&fault, root, repository, reached, report);
            }
        };
        self.height = Some(walker.height());
        let mut nodes = walker.nodes();
        while let Some(node) = nodes.next() {
            let node = match node {
                Ok(node) => node,
                Err(error) => {
                    let walker = nodes.walker();
                    let fault = Fault::at(walker, error)?;
                    let cid = walker.subtree().unwrap_or(walker.node().cid());
                    self.count_fault(&fault, cid, repository, reached, report)?;
                    continue;
                }
            };
            report.tick();
            self.nodes += 1;
            reached.note(&node.cid());
            for entry in node.entries() {
                report.tick();
                self.count_record(entry.key(), &entry.value(), repository, reached)?;
            }
        }
        Ok(())
    }

    fn count_record(
        &mut self,
        key: &[u8],
        cid: &Cid,
        repository: &Repository,
        reached: &mut Distinct,
    ) -> Result<(), Failure> {
        match RepoPath::parse(key) {
            Ok(path) => self.count_path(&path),
            Err(_) => self.bad_keys += 1,
        }
        if repository.blocks().has(cid)? {
            self.records += 1;
            reached.note(cid);
        } else {
            self.missing_records += 1;
        }
        Ok(())
    }

    fn count_path(&mut self, path: &RepoPath<'_>) {
        if let Some(count) = self.collections.get_mut(path.collection()) {
            *count += 1;
        } else {
            self.collections.insert(path.collection().to_owned(), 1);
        }
    }

    /// Counts a node that cannot be read. If it is missing, that is part of the answer; if it is
    /// bad, that is reported.
    fn count_fault(
        &mut self,
        fault: &Fault,
        cid: Cid,
        repository: &Repository,
        reached: &mut Distinct,
        report: &mut Report,
    ) -> Result<(), Failure> {
        if fault.is_missing() {
            self.missing_nodes += 1;
            return Ok(());
        }
        self.bad_nodes += 1;
        report.fault(fault);
        if repository.blocks().has(&cid)? {
            reached.note(&cid);
        }
        Ok(())
    }
}
