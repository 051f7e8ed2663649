//! `cartool info`

mod as_json;
mod as_text;
mod contents;

use atproto_mst::{CarBlockStore, Cid, Commit};

use crate::cli::InfoArgs;
use crate::failure::Failure;
use crate::input;
use crate::output::Output;
use crate::progress::Progress;
use crate::report::Report;

use contents::Contents;

/// All that `info` tells.
struct Info {
    file: String,
    car: CarFacts,
    /// The commit and what is in its tree, if the CAR has a commit.
    repository: Option<(Commit, Contents)>,
}

/// What there is to say about the CAR alone.
struct CarFacts {
    size: u64,
    sections: usize,
    blocks: usize,
    roots: Vec<Cid>,
}

pub(crate) fn run(args: &InfoArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let (car, size) = input::open_car(&args.file)?;
    let mut info = Info {
        file: report.file().to_owned(),
        car: CarFacts {
            size,
            sections: car.section_count(),
            blocks: car.len(),
            roots: car.roots().to_vec(),
        },
        repository: None,
    };
    // Without a commit there is still the CAR to tell about.
    let read = read_repository(car, report).map(|found| info.repository = Some(found));
    report.progress().clear();
    if args.json {
        as_json::write(&info, out.writer()).map_err(Failure::Output)?;
    } else {
        as_text::write(&info, out.writer()).map_err(Failure::Output)?;
    }
    read
}

fn read_repository(car: CarBlockStore, report: &mut Report) -> Result<(Commit, Contents), Failure> {
    let root = input::root_of(&car)?;
    let repository = input::open_at(car, &root)?;
    report.show(Progress::of_silent_work(repository.blocks().len()));
    let contents = Contents::count(&repository, report)?;
    Ok((repository.commit().clone(), contents))
}
