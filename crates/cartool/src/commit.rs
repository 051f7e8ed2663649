//! `cartool commit`

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use atproto_mst::{
    BlockStore, BlockStoreMut, Bytes, MemoryBlockStore, NewCommit, RepoPath, SigningKey, Write,
    WriteError, Writer,
};

use crate::cli::CommitArgs;
use crate::failure::{Failure, chain};
use crate::new_file::{NewFile, check_kept, is_same_file};
use crate::output::{Output, is_standard_output};
use crate::quote::{Counted, Quoted};
use crate::report::Report;
use crate::{database, edit, input, key_file, new_record, writes};

pub(crate) fn run(args: &CommitArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    check_files(args)?;
    let key = key_file::read(&args.key_file, report)?;
    let writes = writes::read(&args.writes)?;
    let (new, slice) = match &args.output {
        Some(output) => into_copy(args, output, &writes, &key, out, report)?,
        None => in_place(args, &writes, &key)?,
    };
    // From here on the commit exists, whatever becomes of its slice.
    tell(&new, &writes, &key, report);
    slice.finish(out).map_err(|failure| {
        report.note(&"the commit is made, but its slice is lost");
        no_slice(failure)
    })
}

/// Refuses arguments that use one file for two things.
fn check_files(args: &CommitArgs) -> Result<(), Failure> {
    let usage = |what: &str| Err(Failure::Usage(what.to_owned()));
    let inputs = [&*args.source.file, &args.writes, &args.key_file];
    input::check_one_dash(&inputs, "the repository, the writes and the key")?;
    if args.output.is_none() && !database::is_at(&args.source.file)? {
        return usage("a CAR is not changed in place: use -o to say where the copy goes");
    }
    if let (Some(slice), Some(output)) = (&args.slice, &args.output)
        && (is_same_file(slice, output) || is_standard_output(slice) && is_standard_output(output))
    {
        return usage("the slice and the repository cannot go to the same place");
    }
    if let Some(slice) = &args.slice {
        database::check_none_at(slice)?;
        for input in inputs {
            check_kept(slice, input, "what the slice is made from")?;
        }
    }
    if let Some(output) = &args.output {
        check_kept(output, &args.key_file, "the key")?;
        check_kept(output, &args.writes, "the writes")?;
    }
    Ok(())
}

/// Makes the commit in a copy of the repository.
fn into_copy(
    args: &CommitArgs,
    output: &Path,
    writes: &[Write],
    key: &SigningKey,
    out: &mut Output,
    report: &mut Report,
) -> Result<(NewCommit, Slice), Failure> {
    let repository = input::open(&args.source)?;
    let mut writer = Writer::open(repository.blocks(), &repository.commit_cid())?;
    let new = write(&mut writer, writes, key)?;
    let slice = Slice::prepare(args, &new)?;
    let blocks = MemoryBlockStore::new();
    blocks.put_many(&new.new_blocks)?;
    let written = edit::write_at(&repository, blocks, &new.cid, output, out, report);
    // Without all of the repository there is no slice of it either.
    written.map_err(|failure| {
        if args.slice.is_some() {
            no_slice(failure)
        } else {
            failure
        }
    })?;
    Ok((new, slice))
}

/// A closed pipe is a failure if a slice is lost by it, as it cannot be made again.
fn no_slice(failure: Failure) -> Failure {
    match failure {
        failure if failure.is_closed_pipe() => {
            let what = "the output was closed before all was written, so there is no slice";
            Failure::Output(io::Error::other(what))
        }
        failure => failure,
    }
}

/// Makes the commit in a database: both the blocks and the head, or nothing.
fn in_place(
    args: &CommitArgs,
    writes: &[Write],
    key: &SigningKey,
) -> Result<(NewCommit, Slice), Failure> {
    let database = database::open(&args.source.file)?;
    database.transaction(|transaction| {
        let (name, head) = database::choose(transaction, args.source.repo.as_deref())?;
        let mut writer = Writer::open(transaction, &head)?;
        database::check_name(&name, &writer.commit().did)?;
        let new = write(&mut writer, writes, key)?;
        transaction.put_many(&new.new_blocks)?;
        let new_cids = new.new_blocks.iter().map(|(cid, _)| cid);
        database::set_head(transaction, &name, &new.cid, new_cids)?;
        // Whatever can fail about the slice fails before the commit exists.
        let slice = Slice::prepare(args, &new)?;
        Ok::<_, Failure>((new, slice))
    })
}

/// Makes the commit, and leaves storing it to the caller.
fn write<S: BlockStore>(
    writer: &mut Writer<S>,
    writes: &[Write],
    key: &SigningKey,
) -> Result<NewCommit, Failure> {
    let written = writer.write_with(writes, key, |_, _| Ok(()));
    written.map_err(|error| match error {
        WriteError::Repository(error) => error.into(),
        WriteError::Store(error) => error.into(),
        WriteError::NotFound { .. } => Failure::NotFound(chain(&error)),
        error => Failure::Invalid(chain(&error)),
    })
}

/// Where the slice goes once the commit exists.
enum Slice {
    Nowhere,
    StandardOutput(Bytes),
    /// To something that is not a file, such as a pipe, and must not get it sooner.
    Stream(Bytes, PathBuf),
    /// It is on disk already, but does not have its name yet.
    File(NewFile, PathBuf),
}

impl Slice {
    fn prepare(args: &CommitArgs, new: &NewCommit) -> Result<Self, Failure> {
        let Some(target) = &args.slice else {
            return Ok(Self::Nowhere);
        };
        if is_standard_output(target) {
            return Ok(Self::StandardOutput(new.slice.clone()));
        }
        if fs::metadata(target).is_ok_and(|target| !target.is_file() && !target.is_dir()) {
            return Ok(Self::Stream(new.slice.clone(), target.clone()));
        }
        let prepare = || {
            let mut file = NewFile::create(target)?;
            file.write_all(&new.slice)?;
            file.sync()?;
            Ok(file)
        };
        let file = prepare().map_err(|error| Failure::Output(error).of(target))?;
        Ok(Self::File(file, target.clone()))
    }

    fn finish(self, out: &mut Output) -> Result<(), Failure> {
        match self {
            Self::Nowhere => Ok(()),
            Self::StandardOutput(bytes) => {
                out.bytes(&bytes)?;
                out.flush()
            }
            Self::Stream(bytes, target) => NewFile::create(&target)
                .and_then(|mut stream| {
                    stream.write_all(&bytes)?;
                    stream.finish()
                })
                .map_err(|error| Failure::Output(error).of(&target)),
            Self::File(file, target) => file
                .finish()
                .map_err(|error| Failure::Output(error).of(&target)),
        }
    }
}

fn tell(new: &NewCommit, writes: &[Write], key: &SigningKey, report: &Report) {
    for write in writes {
        let (path, Some(record)) = (write.path(), write.record()) else {
            continue;
        };
        let collection = RepoPath::parse(path).map(|path| path.collection().to_owned());
        let oddity = collection.map(|collection| new_record::oddity(record, &collection));
        if let Ok(Some(oddity)) = oddity {
            let path = Quoted(path.as_bytes());
            report.note(&format_args!("note: {path}: {oddity}"));
        }
    }
    for operation in &new.operations {
        let path = Quoted(&operation.key);
        match (operation.old, operation.new) {
            (None, Some(cid)) => report.note(&format_args!("created {path} -> {cid}")),
            (Some(old), Some(cid)) => {
                report.note(&format_args!("updated {path} -> {cid}, which was {old}"));
            }
            (Some(old), None) => report.note(&format_args!("removed {path} -> {old}")),
            (None, None) => {}
        }
    }
    let operations = Counted(new.operations.len() as u64, "operation");
    let (cid, rev, key) = (new.cid, &new.commit.rev, key.public_key());
    report.note(&format_args!("commit {cid}, rev {rev}, is signed by {key}"));
    if let Some(root) = new.prev_data {
        report.note(&format_args!("{operations} since the tree {root}"));
    }
}
