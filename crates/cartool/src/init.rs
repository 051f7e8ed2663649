//! `cartool init`

use atproto_mst::{MemoryBlockStore, Repository, Writer};

use crate::cli::InitArgs;
use crate::failure::{Failure, chain};
use crate::key_file;
use crate::new_file::check_kept;
use crate::output::{Output, is_standard_output};
use crate::report::Report;
use crate::whole;

pub(crate) fn run(args: &InitArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    check_kept(&args.output, &args.key_file, "the key")?;
    if !is_standard_output(&args.output) && args.output.is_file() {
        let what = "the output would replace a file, which might be a repository";
        return Err(Failure::Usage(what.to_owned()).of(&args.output));
    }
    let key = key_file::read(&args.key_file, report)?;
    let blocks = MemoryBlockStore::new();
    let created = Writer::create(&blocks, &args.did, &key);
    let (_, new) = created.map_err(|error| Failure::Invalid(chain(&error)))?;
    let repository = Repository::open(&blocks, &new.cid)?;
    whole::write(&repository, &args.output, out, |_| {})?;

    let (cid, rev, key) = (new.cid, &new.commit.rev, key.public_key());
    report.note(&format_args!(
        "commit {cid}, rev {rev}, the first of {}, is signed by {key}",
        args.did
    ));
    Ok(())
}
