//! Standard error: what went wrong, one line each, and the exit code in the end.

use std::fmt;
use std::io;
use std::path::Path;
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
    /// The exit code if all goes well.
    answer: u8,
}

impl Report {
    /// A report about `file`, whose progress bar never shows if `quiet`.
    pub(crate) fn new(file: &Path, quiet: bool) -> Self {
        Self {
            file: failure::name_of(file),
            quiet,
            progress: Rc::new(Progress::none()),
            faults: 0,
            answer: 0,
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

    /// Prints a line about what was done.
    pub(crate) fn note(&self, what: &dyn fmt::Display) {
        let line = what.to_string();
        self.progress.aside(|| print(&line));
    }

    /// Counts something wrong that is told elsewhere.
    pub(crate) fn count_fault(&mut self) {
        self.faults += 1;
    }

    /// Sets the exit code for when nothing fails and nothing is wrong.
    pub(crate) fn answer(&mut self, code: u8) {
        self.answer = code;
    }

    /// Returns the progress, for who counts blocks where the report is not.
    pub(crate) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    /// Prints why the command failed, if it did, and returns the exit code.
    pub(crate) fn finish(self, result: Result<(), Failure>) -> ExitCode {
        self.progress.clear();
        let told = match result {
            Ok(()) => None,
            Err(failure) => self.tell(None, failure),
        };
        let code = match told {
            Some((line, code)) => {
                print(&line);
                code
            }
            // Also if the reader had seen enough: what was found is found.
            None if self.faults > 0 => failure::INVALID,
            None => self.answer,
        };
        code.into()
    }

    /// What to say of a failure of `file`, or else of the one that the report is about, and its
    /// exit code; nothing if it is none.
    fn tell(&self, file: Option<&str>, failure: Failure) -> Option<(String, u8)> {
        let input = file.unwrap_or(&self.file);
        Some(match failure {
            Failure::Of(file, failure) => return self.tell(Some(&file), *failure),
            // Whoever reads has seen enough.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return None,
            Failure::Output(error) => {
                let output = file.unwrap_or("standard output");
                (format!("{output}: {}", chain(&error)), failure::IO)
            }
            Failure::Input(error) => (format!("{input}: {}", chain(&*error)), failure::IO),
            Failure::Busy => {
                let what = "another process uses the database, and did so for a minute; try again";
                (format!("{input}: {what}"), failure::BUSY)
            }
            Failure::Invalid(what) => (format!("{input}: {what}"), failure::INVALID),
            Failure::NotFound(what) => (format!("{input}: {what}"), failure::NOT_FOUND),
            // About the arguments, or about one file of those that they name.
            Failure::Usage(what) => {
                let what = file.map_or(what.clone(), |file| format!("{file}: {what}"));
                (what, failure::USAGE)
            }
        })
    }
}

/// Prints a line. That standard error is closed must not change the outcome, so unlike
/// `eprintln` this does not panic.
fn print(line: &str) {
    use io::Write;
    let line = format!("cartool: {}\n", Harmless(line));
    let _ = io::stderr().write_all(line.as_bytes());
}
