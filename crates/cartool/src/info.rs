//! `cartool info`

mod as_json;
mod as_text;
mod contents;
mod repositories;

use atproto_mst::{Cid, Commit};

use crate::cli::InfoArgs;
use crate::database;
use crate::failure::Failure;
use crate::input::{self, Blocks, Opened};
use crate::output::Output;
use crate::progress::Progress;
use crate::report::Report;

pub(crate) use as_text::{line, write_commit};
use contents::Contents;

/// Everything that `info` prints.
struct Info {
    name: String,
    file: FileFacts,
    /// The commit and what is in its tree, if there is a commit.
    repository: Option<(Commit, Contents)>,
}

/// What is known about the file alone.
struct FileFacts {
    size: u64,
    /// Only for a CAR.
    sections: Option<usize>,
    blocks: Option<usize>,
    /// Those of a CAR, or the head of the repository in a database.
    roots: Vec<Cid>,
}

pub(crate) fn run(args: &InfoArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let file = &args.source.file;
    if args.source.repo.is_none() && database::is_at(file)? {
        let database = database::open_all_for_reading(file)?;
        let heads = database::repositories(database.heads()?);
        if heads.len() > 1 {
            return repositories::list(&database, &heads, args.json, out, report);
        }
    }
    let opened = input::open_blocks(&args.source)?;
    let (sections, roots) = match &opened.blocks {
        Blocks::Car(car) => (Some(car.section_count()), car.roots().to_vec()),
        Blocks::Database(_) => (None, opened.commit.into_iter().collect()),
    };
    let mut info = Info {
        name: report.file().to_owned(),
        file: FileFacts {
            size: opened.size,
            sections,
            blocks: opened.blocks.count(),
            roots,
        },
        repository: None,
    };
    // Without a commit, the file can still be described.
    let read = read_repository(opened, report).map(|found| info.repository = Some(found));
    report.progress().clear();
    if args.json {
        as_json::write(&info, out.writer()).map_err(Failure::Output)?;
    } else {
        as_text::write(&info, out.writer()).map_err(Failure::Output)?;
    }
    read
}

fn read_repository(opened: Opened, report: &mut Report) -> Result<(Commit, Contents), Failure> {
    let root = opened.commit()?;
    let repository = input::open_at(opened.blocks, &root)?;
    report.show(Progress::of_silent_work(repository.blocks().count()));
    let contents = Contents::count(&repository, report)?;
    Ok((repository.commit().clone(), contents))
}
