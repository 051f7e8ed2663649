//! The engines: one file for each crate that is compared, and one for the floor.

use crate::{Result, input::Input, outcome::Outcome, workload::Job};

mod atrium;
mod floor;
mod jacquard;
mod ours;
mod repo_stream;
mod rsky;
mod shrike;

/// Something that can do jobs.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    /// The package whose version the report tells; none for the floor.
    pub(crate) package: Option<&'static str>,
    /// Does one job once. `None` means that the crate has no API for it.
    pub(crate) run: fn(Job, &Input) -> Result<Option<Outcome>>,
}

impl Engine {
    /// Whether it is one of this project's own: a wrong result of these fails the run.
    pub(crate) fn is_ours(&self) -> bool {
        self.name == "ours" || self.name.starts_with("ours-")
    }

    /// Whether it is what an engine's time can be divided by, and no library.
    pub(crate) fn is_floor(&self) -> bool {
        self.package.is_none()
    }

    /// Whether it is somebody else's crate: the fastest of these is what the others are held to.
    pub(crate) fn is_peer(&self) -> bool {
        !self.is_floor() && !self.is_ours()
    }
}

/// All engines, in the order of the report: the floor, our own (`ours`, `ours-*`), the peers.
pub(crate) const ENGINES: &[Engine] = &[
    Engine {
        name: "floor",
        package: None,
        run: floor::run,
    },
    Engine {
        name: "ours",
        package: Some("atproto-mst"),
        run: ours::run_memory,
    },
    Engine {
        name: "ours-file",
        package: Some("atproto-mst"),
        run: ours::run_file,
    },
    Engine {
        name: "ours-stream",
        package: Some("atproto-mst"),
        run: ours::run_stream,
    },
    Engine {
        name: "ours-trusted",
        package: Some("atproto-mst"),
        run: ours::run_trusted,
    },
    Engine {
        name: "ours-tree",
        package: Some("atproto-mst"),
        run: ours::run_tree,
    },
    Engine {
        name: "ours-warm",
        package: Some("atproto-mst"),
        run: ours::run_warm,
    },
    Engine {
        name: "shrike",
        package: Some("shrike"),
        run: shrike::run,
    },
    Engine {
        name: "repo-stream",
        package: Some("repo-stream"),
        run: repo_stream::run,
    },
    Engine {
        name: "atrium",
        package: Some("atrium-repo"),
        run: atrium::run,
    },
    Engine {
        name: "jacquard",
        package: Some("jacquard-repo"),
        run: jacquard::run,
    },
    Engine {
        name: "rsky",
        package: Some("rsky-repo"),
        run: rsky::run,
    },
];

/// Returns the runtime for the asynchronous crates: the one thread that all engines have. It is
/// made before the clock starts, since a program that uses such a crate has one already.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?)
}
