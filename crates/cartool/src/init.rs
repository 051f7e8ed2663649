//! `cartool init`

use atproto_mst::{MemoryBlockStore, Repository, Writer};

use crate::cli::InitArgs;
use crate::failure::{Failure, chain};
use crate::new_file::check_kept;
use crate::output::Output;
use crate::report::Report;
use crate::{key_file, new_car};

pub(crate) fn run(args: &InitArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    check_kept(&args.output, &args.key_file, "the key")?;
    let key = key_file::read(&args.key_file, report)?;
    let blocks = MemoryBlockStore::new();
    let created = Writer::create(&blocks, &args.did, &key);
    let (_, new) = created.map_err(|error| Failure::Invalid(chain(&error)))?;
    let repository = Repository::open(&blocks, &new.cid)?;
    let blocks = repository.export()?.map(|block| Ok(block?));
    new_car::create(&new.cid, blocks, &args.output, out)?;

    let (cid, rev, key) = (new.cid, &new.commit.rev, key.public_key());
    report.note(&format_args!(
        "commit {cid}, rev {rev}, the first of {}, is signed by {key}",
        args.did
    ));
    Ok(())
}
