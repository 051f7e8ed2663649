//! `cartool get`

use atproto_mst::{BlockStore, Bytes, Error, RepoPath};

use crate::cli::GetArgs;
use crate::failure::{Failure, chain};
use crate::fault::Fault;
use crate::input::{self, CarRepository};
use crate::json::{JsonWriter, Layout};
use crate::output::Output;
use crate::quote::Quoted;
use crate::record::ReadableRecord;
use crate::report::Report;

pub(crate) fn run(args: &GetArgs, out: &mut Output, _: &mut Report) -> Result<(), Failure> {
    let repository = input::open(&args.file)?;
    let block = find(&repository, &args.path)?;
    if args.raw {
        return out.bytes(&block);
    }
    let record = ReadableRecord::new(&block).map_err(|unreadable| {
        Failure::Invalid(format!(
            "bad record (key {}): {unreadable}; --raw gives its bytes",
            Quoted(args.path.as_bytes())
        ))
    })?;
    let mut json = JsonWriter::new(out.writer(), Layout::Indented);
    record.write(&mut json).map_err(Failure::Output)?;
    out.bytes(b"\n")
}

/// The block of the record at `path`. Any key that a tree can hold is looked for, also one
/// that is no repository path: whoever asks for it has a reason to.
fn find(repository: &CarRepository, path: &str) -> Result<Bytes, Failure> {
    let key = path.as_bytes();
    let mut walker = match repository.walker() {
        Ok(walker) => walker,
        Err(error) => return Err(unknown(path, &Fault::of_top(error)?)),
    };
    let cid = match walker.find(key) {
        Ok(cid) => cid.ok_or_else(|| not_found(path))?,
        Err(error) => return Err(unknown(path, &Fault::at(&walker, error)?)),
    };
    let error = match repository.blocks().get(&cid) {
        Ok(Some(block)) => return Ok(block),
        Ok(None) => Error::MissingBlock(cid),
        Err(error) => error.into(),
    };
    let fault = Fault::of_record(key, cid, error)?;
    Err(Failure::Invalid(fault.to_string()))
}

fn unknown(path: &str, fault: &Fault) -> Failure {
    let path = Quoted(path.as_bytes());
    Failure::Invalid(format!(
        "whether there is a record at {path} is unknown: {fault}"
    ))
}

fn not_found(path: &str) -> Failure {
    let key = path.as_bytes();
    let mut what = format!("no record at {}", Quoted(key));
    if let Err(error) = RepoPath::parse(key) {
        what.push_str(", which is not a repository path: ");
        what.push_str(&chain(&error));
    }
    Failure::NotFound(what)
}
