//! Standard error: what went wrong, one line each, and the exit code in the end.

use std::fmt;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;

use crate::failure::{self, Failure, chain};
use crate::progress::Progress;
use crate::quote::Harmless;

/// Where a command tells what is wrong without stopping.
pub(crate) struct Report {
    file: String,
    quiet: bool,
    progress: Rc<Progress>,
    faults: u64,
}

impl Report {
    /// A report about `file`, whose progress bar never shows if `quiet`.
    pub(crate) fn new(file: &str, quiet: bool) -> Self {
        let file = if file == "-" { "standard input" } else { file };
        Self {
            file: file.to_owned(),
            quiet,
            progress: Rc::new(Progress::none()),
            faults: 0,
        }
    }

    /// The name of the file in messages.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Begins to show progress, unless that is unwanted.
    pub(crate) fn show(&mut self, progress: Progress) {
        if !self.quiet {
            self.progress = Rc::new(progress);
        }
    }

    /// Counts one block more.
    pub(crate) fn tick(&self) {
        self.progress.tick();
    }

    /// Prints a line about something that is wrong, and counts it.
    pub(crate) fn fault(&mut self, what: &dyn fmt::Display) {
        self.count_fault();
        let line = format!("{}: {what}", self.file);
        self.progress.aside(|| print(&line));
    }

    /// Counts something wrong that is told elsewhere.
    pub(crate) fn count_fault(&mut self) {
        self.faults += 1;
    }

    /// Returns the progress, for who counts blocks where the report is not.
    pub(crate) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    /// Prints why the command failed, if it did, and returns the exit code.
    pub(crate) fn finish(self, result: Result<(), Failure>) -> ExitCode {
        self.progress.clear();
        let (line, code) = match result {
            Ok(()) if self.faults == 0 => return ExitCode::SUCCESS,
            Ok(()) => return failure::INVALID.into(),
            // Whoever reads has seen enough.
            Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Err(Failure::Output(error)) => {
                (format!("standard output: {}", chain(&error)), failure::IO)
            }
            Err(Failure::Input(error)) => {
                (format!("{}: {}", self.file, chain(&*error)), failure::IO)
            }
            Err(Failure::Invalid(what)) => (format!("{}: {what}", self.file), failure::INVALID),
            Err(Failure::NotFound(what)) => (format!("{}: {what}", self.file), failure::NOT_FOUND),
        };
        print(&line);
        code.into()
    }
}

/// Prints a line. That standard error is closed must not change the outcome, so unlike
/// `eprintln` this does not panic.
fn print(line: &str) {
    use io::Write;
    let line = format!("cartool: {}\n", Harmless(line));
    let _ = io::stderr().write_all(line.as_bytes());
}
