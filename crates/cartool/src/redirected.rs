//! Which files the standard streams are redirected to, by the shell or another program.

#[cfg(unix)]
use std::fs::{self, File};
#[cfg(unix)]
use std::io;
use std::path::Path;

/// Whether standard output goes to the file at `path`.
pub(crate) fn standard_output_is(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let stream = io::stdout();
        place(fs::metadata(path)).is_some_and(|file| place_of(stream.as_fd()) == Some(file))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// Whether standard input comes from the file at `path`.
pub(crate) fn standard_input_is(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let stream = io::stdin();
        place(fs::metadata(path)).is_some_and(|file| place_of(stream.as_fd()) == Some(file))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// Whether standard output goes to the file that standard input comes from.
pub(crate) fn output_is_input() -> bool {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let (input, output) = (io::stdin(), io::stdout());
        place_of(input.as_fd()).is_some_and(|file| place_of(output.as_fd()) == Some(file))
    }
    #[cfg(not(unix))]
    false
}

/// Where a file is, whatever its names: its device, and its number there.
#[cfg(unix)]
fn place(metadata: io::Result<fs::Metadata>) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let file = metadata.ok().filter(fs::Metadata::is_file)?;
    Some((file.dev(), file.ino()))
}

#[cfg(unix)]
fn place_of(stream: std::os::fd::BorrowedFd<'_>) -> Option<(u64, u64)> {
    let stream = stream.try_clone_to_owned().ok()?;
    place(File::from(stream).metadata())
}
