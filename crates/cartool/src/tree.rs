//! `cartool tree`

mod dot;
mod outline;
mod picture;
mod svg;
mod text;

use crate::cli::{TreeArgs, TreeFormat};
use crate::failure::Failure;
use crate::input::{self, Repository};
use crate::output::Output;
use crate::report::Report;

use outline::{Outline, Scope};
use picture::Picture;

pub(crate) fn run(args: &TreeArgs, out: &mut Output, report: &mut Report) -> Result<(), Failure> {
    let repository = input::open(&args.source)?;
    let scope = Scope {
        depth: args.depth.unwrap_or(usize::MAX),
        prefix: args.prefix.as_bytes(),
    };
    let outline = Outline::new(&repository, scope)?;
    if args.format == TreeFormat::Text {
        return text::write(&repository, outline, out, report);
    }
    let picture = Picture::new(title(&repository), outline, report)?;
    let write = match args.format {
        TreeFormat::Dot => dot::write(&picture, out.writer()),
        _ => svg::write(&picture, out.writer()),
    };
    write.map_err(Failure::Output)
}

fn title(repository: &Repository) -> String {
    let (cid, commit) = (repository.commit_cid(), repository.commit());
    format!("{}, rev {}, commit {cid}", commit.did, commit.rev)
}
