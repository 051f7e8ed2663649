//! Standard output: data, in large writes.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::Path;

use crate::failure::Failure;

/// Standard output, locked and buffered. A write that fails is a [`Failure`].
pub(crate) struct Output {
    inner: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Locks standard output until the end.
    pub(crate) fn stdout() -> Self {
        Self {
            inner: BufWriter::with_capacity(BUFFER_LEN, io::stdout().lock()),
        }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: fmt::Arguments<'_>) -> Result<(), Failure> {
        writeln!(self.inner, "{line}").map_err(Failure::Output)
    }

    /// Writes bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.inner.write_all(bytes).map_err(Failure::Output)
    }

    /// Flushes the buffer. Dropping would do so too, but would hide that a disk is full.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.inner.flush().map_err(Failure::Output)
    }

    /// Returns the underlying writer.
    pub(crate) fn writer(&mut self) -> &mut impl Write {
        &mut self.inner
    }
}

/// Whether `target` is a name of standard output. If that goes to a file, the file is written to
/// and not replaced.
pub(crate) fn is_standard_output(target: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]
        .map(Path::new)
        .contains(&target)
}

/// Whether standard output goes to `file`.
pub(crate) fn goes_to(file: &File) -> bool {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        use std::os::unix::fs::MetadataExt;
        let place = |file: &File| {
            let file = file.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((file.dev(), file.ino()))
        };
        let output = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        output.is_ok_and(|output| place(file).is_some_and(|file| Some(file) == place(&output)))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        false
    }
}

const BUFFER_LEN: usize = 64 << 10;
