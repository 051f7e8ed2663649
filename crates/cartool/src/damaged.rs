//! Opens what is left of the repository in a damaged file.

use std::collections::BTreeMap;

use atproto_mst::mst_node::node_digest;
use atproto_mst::{
    BlockStore, Bytes, CarBlockStore, CarError, CarReader, Cid, Commit, NodeStore, StoreError,
    latest_commit,
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
    pub(crate) commit: Origin,
    /// The blocks that do not match their CIDs, each under its CID.
    pub(crate) bad_blocks: BTreeMap<Cid, CarError>,
}

/// Where the commit of a repository comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It is the one that the file names.
    Named,
    /// It is another one that is in the file.
    Found,
    /// There is none. It is made up, and the root of its tree is missing.
    Nowhere,
}

/// Opens the repository that `source` names, even if the CAR contains faults or was cut off: then
/// what is left of it is used, and the faults are reported. A CAR is read into memory for this. If
/// no commit is left, it is taken for the repository of `did`.
pub(crate) fn open(
    source: &Source,
    did: Option<&str>,
    report: &mut Report,
) -> Result<Left, Failure> {
    if database::is_at(&source.file)? {
        if did.is_some() {
            let what = "--did is for CARs; a database may hold nodes of any repository";
            return Err(Failure::Usage(what.to_owned()));
        }
        return Ok(Left {
            repository: input::open_of(source, true)?,
            commit: Origin::Named,
            bad_blocks: BTreeMap::new(),
        });
    }
    input::refuse_choice(source)?;
    input::check_not_output(&source.file)?;
    let bytes = input::read_whole(&source.file);
    let bytes = Bytes::from(bytes.map_err(|error| Failure::Input(error.into()))?);
    let (car, faults) = CarBlockStore::from_damaged_bytes(bytes.clone());
    let mut bad_blocks = BTreeMap::new();
    for fault in faults {
        if let Some(cid) = fault.cid() {
            bad_blocks.insert(cid, fault);
        } else {
            report.fault(&format_args!("{fault}; the rest that can be read is used"));
        }
    }
    let root = car.roots().first().copied();
    let version = root.and_then(|root| version_of(&car, &root));
    let (cid, commit) = if let (Some(root), Some(3)) = (root, version) {
        (root, Origin::Named)
    } else if let Some((cid, commit)) = latest_commit(&car, &cids_of(&car)?)? {
        let (did, rev) = (Harmless(&commit.did), &commit.rev);
        report.fault(&format_args!(
            "the header names no commit that is there; the latest of those that are, of {did}, \
             rev {rev}, is used"
        ));
        (cid, Origin::Found)
    } else if let Some((cid, commit)) = damaged_commit(&car)? {
        let (did, rev) = (Harmless(&commit.did), &commit.rev);
        report.fault(&format_args!(
            "no commit is intact; one that does not match its CID, of {did}, rev {rev}, is used"
        ));
        (cid, Origin::Found)
    } else if let (Some(root), Some(_)) = (root, version) {
        // Opening it reports that it has another version.
        (root, Origin::Named)
    } else if let Some(did) = did {
        report.fault(&format_args!(
            "no commit is left; all records that any node leads to are taken for those of {did}"
        ));
        let nodes = NodeStore::with_options(Blocks::Car(car), input::node_options());
        return Ok(Left {
            repository: Repository::without_commit(nodes, did),
            commit: Origin::Nowhere,
            bad_blocks,
        });
    } else if let Some(root) = root {
        report.note(&WITHOUT_COMMIT);
        // Opening it reports what is wrong with it.
        (root, Origin::Named)
    } else {
        report.note(&WITHOUT_COMMIT);
        // The header is damaged, or names no root.
        let header = CarReader::new(&*bytes);
        return Err(header.err().unwrap_or(CarError::NoRoot).into());
    };
    Ok(Left {
        repository: input::open_at(Blocks::Car(car), &cid)?,
        commit,
        bad_blocks,
    })
}

const WITHOUT_COMMIT: &str = "note: --did may find records without a commit";

/// The version of the commit `cid`, if there is such a commit.
fn version_of(car: &CarBlockStore, cid: &Cid) -> Option<u64> {
    // A damaged CAR has it under other CIDs too, which no commit can have.
    node_digest(cid)?;
    let block = car.get(cid).ok().flatten()?;
    let commit = Commit::decode_version_2_or_3(&block).ok()?;
    Some(commit.version)
}

/// The last commit among the blocks that do not match their CIDs.
fn damaged_commit(car: &CarBlockStore) -> Result<Option<(Cid, Commit)>, StoreError> {
    let mut cids: Vec<Cid> = car.repaired_cids().collect();
    // No commit is among these, but nodes are, which say what is a record.
    cids.extend(cids_of(car)?);
    latest_commit(car, &cids)
}

/// The CIDs of all blocks.
pub(crate) fn cids_of(car: &CarBlockStore) -> Result<Vec<Cid>, StoreError> {
    car.cids().collect()
}
