//! `cartool import`

use std::fmt;
use std::path::Path;

use atproto_mst::{
    BlockStore, Cid, Commit, OverlayBlockStore, Repository, SqliteTransaction, put_all,
};

use crate::cli::ImportArgs;
use crate::failure::Failure;
use crate::new_file::is_same_file;
use crate::progress::Progress;
use crate::quote::Counted;
use crate::report::Report;
use crate::watched::Watched;
use crate::whole::{self, Keys};
use crate::{database, input};

pub(crate) fn run(args: &ImportArgs, report: &mut Report) -> Result<(), Failure> {
    if args.database == Path::new("-") {
        let what = "a database must be a file, and `-` is standard input";
        return Err(Failure::Usage(what.to_owned()));
    }
    database::check_not_beside(&args.database)?;
    if is_same_file(&args.source.file, &args.database) {
        let what = "a file cannot be imported into itself";
        return Err(Failure::Usage(what.to_owned()));
    }
    if args.update {
        update(args, report)
    } else {
        import(args, report)
    }
}

fn import(args: &ImportArgs, report: &mut Report) -> Result<(), Failure> {
    let opened = input::open_blocks(&args.source)?;
    let commit = opened.commit()?;
    let blocks = opened.blocks;
    // They are read once to check that everything is present, and once to be copied.
    report.show(Progress::of_silent_work(
        blocks.count().map(|count| 2 * count),
    ));
    let progress = report.progress();
    let repository = input::open_at(Watched { blocks, progress }, &commit)?;
    let found =
        whole::check(&repository, Keys::Paths, report).map_err(|failure| match failure {
            Failure::Invalid(what) => Failure::Invalid(format!(
                "{what}; if this is only what is new since the revision in a database, use --update"
            )),
            failure => failure,
        })?;

    let about_database = |failure: Failure| failure.of(&args.database);
    let database = database::open_or_create(&args.database).map_err(about_database)?;
    let before = database.transaction(|transaction| {
        let before = Before::of(&repository, transaction)?;
        if !args.force {
            before.refuse_to_go_back(repository.commit())?;
        }
        // Even if it is there already: this repairs what is damaged.
        copy(&repository, transaction, args)?;
        let Commit { did, data, .. } = repository.commit();
        database::set_head(transaction, did, &commit, [&commit, data])?;
        Ok(before)
    });
    let before = before.map_err(about_database)?;

    let Commit { did, rev, .. } = repository.commit();
    let (records, nodes) = (
        Counted(found.records, "record"),
        Counted(found.nodes, "node"),
    );
    report.note(&format_args!(
        "{did}, rev {rev}: {records}, {nodes}; {before}"
    ));
    Ok(())
}

/// Imports what the database does not have, for a repository of which it has an earlier revision.
fn update(args: &ImportArgs, report: &mut Report) -> Result<(), Failure> {
    let opened = input::open_blocks(&args.source)?;
    let new = opened.commit()?;
    report.show(Progress::of_silent_work(None));
    let part = Watched {
        blocks: opened.blocks,
        progress: report.progress(),
    };
    let of_source = |error: atproto_mst::Error| Failure::from(error).of(&args.source.file);
    let about_database = |failure: Failure| failure.of(&args.database);
    let database = database::open(&args.database).map_err(about_database)?;
    let updated = database.transaction(|transaction| {
        let blocks = OverlayBlockStore::new(&part, transaction);
        let repository = input::open_at(blocks, &new).map_err(of_source)?;
        let commit = repository.commit().clone();
        let before = Before::of(&repository, transaction)?;
        let root = match &before {
            Before::Same { .. } => commit.data,
            Before::Other(old) => old.data,
            Before::Nothing => {
                let what = format!("has no revision of {} to continue from", commit.did);
                return Err(Failure::Invalid(what));
            }
            Before::Damaged(head) => {
                return Err(Failure::Invalid(format!(
                    "the last commit of {}, {head}, is missing or damaged, so --update cannot \
                     continue from it; import all of the repository, with --force",
                    commit.did
                )));
            }
        };
        if !args.force {
            before.refuse_to_go_back(&commit)?;
        }
        let copied = repository.copy_since_to(&root, transaction);
        let copied = copied.map_err(of_source)?;
        database::set_head(transaction, &commit.did, &new, [&new, &commit.data])?;
        Ok::<_, Failure>((commit, copied, before))
    });
    let (commit, copied, before) = updated.map_err(about_database)?;

    let Commit { did, rev, .. } = commit;
    let (records, nodes) = (
        Counted(copied.records, "new record"),
        Counted(copied.nodes, "new node"),
    );
    report.note(&format_args!(
        "{did}, rev {rev}: {records}, {nodes}; {before}"
    ));
    Ok(())
}

/// Copies the blocks.
fn copy<S: BlockStore>(
    repository: &Repository<S>,
    transaction: &SqliteTransaction<'_>,
    args: &ImportArgs,
) -> Result<(), Failure> {
    let of_source = |error: atproto_mst::Error| Failure::from(error).of(&args.source.file);
    let blocks = repository.export().map_err(of_source)?.for_store();
    put_all(blocks.map(|block| block.map_err(of_source)), transaction)
}

/// What the database has of the repository before an import.
enum Before {
    Nothing,
    /// The same commit.
    Same {
        /// Whether its block is missing or damaged, which the import repairs.
        damaged: bool,
    },
    Other(Box<Commit>),
    /// A head whose commit is missing or damaged, and which is another than the new one.
    Damaged(Cid),
}

impl Before {
    fn of<S: BlockStore>(
        repository: &Repository<S>,
        transaction: &SqliteTransaction<'_>,
    ) -> Result<Self, Failure> {
        let Some(head) = transaction.head(&repository.commit().did)? else {
            return Ok(Self::Nothing);
        };
        let block = transaction.get(&head);
        if head == repository.commit_cid() {
            let damaged = !matches!(block, Ok(Some(_)));
            return Ok(Self::Same { damaged });
        }
        let block = match block {
            Err(error) if error.cid().is_none() => return Err(error.into()),
            block => block.ok().flatten(),
        };
        let commit = block.and_then(|block| Commit::decode(&block).ok());
        Ok(commit.map_or(Self::Damaged(head), |commit| Self::Other(Box::new(commit))))
    }

    fn refuse_to_go_back(&self, new: &Commit) -> Result<(), Failure> {
        let old = match self {
            Self::Nothing | Self::Same { .. } => return Ok(()),
            Self::Other(old) => old,
            Self::Damaged(head) => {
                let (did, rev) = (&new.did, new.rev);
                return Err(Failure::Invalid(format!(
                    "the last commit of {did}, {head}, is missing or damaged, and may be later \
                     than {rev}; --force imports that anyway"
                )));
            }
        };
        let relation = match old.rev.cmp(&new.rev) {
            std::cmp::Ordering::Less => return Ok(()),
            std::cmp::Ordering::Equal => "another commit of the same",
            std::cmp::Ordering::Greater => "a later",
        };
        let (did, rev) = (&old.did, &old.rev);
        Err(Failure::Invalid(format!(
            "has {relation} revision of {did}, {rev}; --force imports {} anyway",
            new.rev
        )))
    }
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("new in the database"),
            Self::Same { damaged: false } => f.write_str("was in the database already"),
            Self::Same { damaged: true } => f.write_str("was in the database, damaged"),
            Self::Other(commit) => write!(f, "was at rev {}", commit.rev),
            Self::Damaged(_) => f.write_str("was damaged"),
        }
    }
}
