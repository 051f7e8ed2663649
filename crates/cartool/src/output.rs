//! Standard output: data, in large writes.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::path::Path;

use crate::failure::Failure;

/// Standard output, locked and buffered. A write that fails is a [`Failure`].
pub(crate) struct Output {
    inner: BufWriter<Stream>,
}

impl Output {
    /// Locks standard output until the end.
    pub(crate) fn stdout() -> Self {
        let stream = Stream {
            inner: io::stdout().lock(),
            may_close: false,
        };
        Self {
            inner: BufWriter::with_capacity(BUFFER_LEN, stream),
        }
    }

    /// Goes on without output if it is a pipe that is closed. For commands whose exit code is an
    /// answer too, which must not depend on how much of the rest is read.
    pub(crate) fn may_close(&mut self) {
        self.inner.get_mut().may_close = true;
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

struct Stream {
    inner: StdoutLock<'static>,
    /// Whether a closed pipe is no error, but as if everything was written.
    may_close: bool,
}

impl Stream {
    fn unless_closed<T>(&self, written: io::Result<T>, all: T) -> io::Result<T> {
        match written {
            Err(error) if self.may_close && error.kind() == ErrorKind::BrokenPipe => Ok(all),
            written => written,
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        self.unless_closed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.unless_closed(flushed, ())
    }
}

/// Whether `target` is a name of standard output. If that goes to a file, the file is written to
/// and not replaced.
pub(crate) fn is_standard_output(target: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]
        .map(Path::new)
        .contains(&target)
}

const BUFFER_LEN: usize = 64 << 10;
