//! One record of a repository.

use atproto_mst::{BlockStore, Bytes, Cid, Error, RepoPath};

use crate::failure::{Failure, chain};
use crate::fault::Fault;
use crate::input::Repository;
use crate::quote::Quoted;

/// Returns the block of the record at `path`. This may be any key that a tree can hold, even if it
/// is not a repository path: whoever asks for it has a reason to.
pub(crate) fn block(repository: &Repository, path: &str) -> Result<Bytes, Failure> {
    let cid = cid(repository, path)?.ok_or_else(|| not_found(path))?;
    let block = record(repository, path.as_bytes(), &cid)?;
    block.map_err(|fault| Failure::Invalid(fault.to_string()))
}

/// Returns the block `cid` of the record at `key`, or what is wrong with it.
pub(crate) fn record(
    repository: &Repository,
    key: &[u8],
    cid: &Cid,
) -> Result<Result<Bytes, Fault>, Failure> {
    let error = match repository.blocks().get(cid) {
        Ok(Some(block)) => return Ok(Ok(block)),
        Ok(None) => Error::MissingBlock(*cid),
        Err(error) => error.into(),
    };
    Fault::of_record(key, *cid, error).map(Err)
}

/// Returns the CID of the record at `path`, if there is one. Its block need not be present.
pub(crate) fn cid(repository: &Repository, path: &str) -> Result<Option<Cid>, Failure> {
    let mut walker = match repository.walker() {
        Ok(walker) => walker,
        Err(error) => return Err(unknown(path, &Fault::of_top(error)?)),
    };
    match walker.find(path.as_bytes()) {
        Ok(cid) => Ok(cid),
        Err(error) => Err(unknown(path, &Fault::at(&walker, error)?)),
    }
}

/// The failure for a record that was not found at `path`.
pub(crate) fn not_found(path: &str) -> Failure {
    let key = path.as_bytes();
    let mut what = format!("no record at {}", Quoted(key));
    if let Some(why) = no_path(key) {
        what.push_str(", which is ");
        what.push_str(&why);
    }
    Failure::NotFound(what)
}

/// Why there can be no record at `path`, if it is not a repository path.
pub(crate) fn no_path(path: &[u8]) -> Option<String> {
    let error = RepoPath::parse(path).err()?;
    Some(format!("not a repository path: {}", chain(&error)))
}

fn unknown(path: &str, fault: &Fault) -> Failure {
    let path = Quoted(path.as_bytes());
    Failure::Invalid(format!(
        "whether there is a record at {path} is unknown: {fault}"
    ))
}
