//! `cartool tree`

mod dot;
mod outline;
mod picture;
mod svg;
mod text;

use crate::cli::{TreeArgs, TreeFormat};
use crate::failure::Failure;
use crate::input;
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
    let written = match args.format {
        TreeFormat::Text => return text::write(&repository, outline, out, report),
        TreeFormat::Dot => {
            let picture = Picture::new(&repository, outline, report)?;
            dot::write(&picture, out.writer())
        }
        TreeFormat::Svg => {
            let picture = Picture::new(&repository, outline, report)?;
            svg::write(&picture, out.writer())
        }
    };
    written.map_err(Failure::Output)
}
