//! `cartool sign`

use atproto_mst::{BlockStoreMut, MemoryBlockStore};

use crate::cli::SignArgs;
use crate::failure::{Failure, chain};
use crate::new_file::check_kept;
use crate::output::Output;
use crate::report::Report;
use crate::{edit, input, key_file};

pub(crate) fn run(args: &SignArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let inputs = [&*args.source.file, &args.key_file];
    input::check_one_dash(&inputs, "the repository and the key")?;
    check_kept(&args.output, &args.key_file, "the key")?;
    let key = key_file::read(&args.key_file, report)?;
    let repository = input::open(&args.source)?;
    let mut commit = repository.commit().clone();
    let signed = commit.sign(&key);
    signed.map_err(|error| Failure::Invalid(chain(&error)).of(&args.key_file))?;
    let cid = commit.cid();
    let new = MemoryBlockStore::new();
    new.put(&cid, commit.encode().into())?;
    edit::write_at(&repository, new, &cid, &args.output, out, report)?;

    let (old, rev, key) = (repository.commit(), &commit.rev, key.public_key());
    let was = if old.sig == commit.sig {
        "was already".to_owned()
    } else if old.sig.is_empty() {
        format!("was {}, not signed", repository.commit_cid())
    } else {
        format!("was {}, with another signature", repository.commit_cid())
    };
    report.note(&format_args!(
        "commit {cid}, rev {rev}, is signed by {key}; it {was}"
    ));
    Ok(())
}
