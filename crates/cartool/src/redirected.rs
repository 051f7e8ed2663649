//! Which files the standard streams are redirected to, by the shell or another program.

use std::io;
use std::path::Path;

use place::{of_path, of_stream};

/// Whether standard output goes to the file at `path`.
pub(crate) fn standard_output_is(path: &Path) -> bool {
    of_path(path).is_some_and(|file| of_stream(&io::stdout()) == Some(file))
}

/// Whether standard input comes from the file at `path`.
pub(crate) fn standard_input_is(path: &Path) -> bool {
    of_path(path).is_some_and(|file| of_stream(&io::stdin()) == Some(file))
}

/// Whether standard output goes to the file that standard input comes from.
pub(crate) fn output_is_input() -> bool {
    of_stream(&io::stdin()).is_some_and(|file| of_stream(&io::stdout()) == Some(file))
}

/// Where a file is, whatever its names: its device, and its number there.
#[cfg(unix)]
mod place {
    use std::fs::{self, File};
    use std::io;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    pub(super) fn of_path(path: &Path) -> Option<(u64, u64)> {
        of(fs::metadata(path))
    }

    pub(super) fn of_stream(stream: &impl AsFd) -> Option<(u64, u64)> {
        let stream = stream.as_fd().try_clone_to_owned().ok()?;
        of(File::from(stream).metadata())
    }

    fn of(metadata: io::Result<fs::Metadata>) -> Option<(u64, u64)> {
        let file = metadata.ok().filter(fs::Metadata::is_file)?;
        Some((file.dev(), file.ino()))
    }
}

/// Elsewhere this is not known.
#[cfg(not(unix))]
mod place {
    use std::path::Path;

    pub(super) fn of_path(_: &Path) -> Option<()> {
        None
    }

    pub(super) fn of_stream<S>(_: &S) -> Option<()> {
        None
    }
}
