//! Standard error: faults and failures, one line each, and finally the exit code.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use atproto_mst::Commit;

use crate::failure::{self, Failure, chain};
use crate::progress::Progress;
use crate::quote::Harmless;
use crate::unlocked;

/// Where a command reports what is wrong without stopping.
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

    /// Starts to show progress, unless it is to be quiet.
    pub(crate) fn show(&mut self, progress: Progress) {
        if !self.quiet {
            self.progress = Rc::new(progress);
        }
    }

    /// Counts one more block.
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

    /// Prints a line if two commits are of different repositories.
    pub(crate) fn note_if_two(&self, old: &Commit, new: &Commit) {
        let (old, new) = (&old.did, &new.did);
        if old != new {
            self.note(&format_args!(
                "note: these are two repositories, {old} and {new}"
            ));
        }
    }

    /// Counts a fault that is reported elsewhere.
    pub(crate) fn count_fault(&mut self) {
        self.faults += 1;
    }

    /// Sets the exit code for when nothing fails and there are no faults.
    pub(crate) fn answer(&mut self, code: u8) {
        self.answer = code;
    }

    /// Returns the progress, for counting blocks where the report is not available.
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
            // Even if the reader has closed the pipe: the faults were found.
            None if self.faults > 0 => failure::INVALID,
            None => self.answer,
        };
        if matches!(code, failure::INVALID | failure::IO) && unlocked::have_changed() {
            let what = "the database was changed while it was read, which may be all that is wrong; \
                        try again";
            print(&format!("{}: {what}", self.file));
            return failure::BUSY.into();
        }
        code.into()
    }

    /// The message and exit code for a failure of `file`, or else of the file that the report is
    /// about; `None` if it is not a failure.
    fn tell(&self, file: Option<&str>, failure: Failure) -> Option<(String, u8)> {
        let input = file.unwrap_or(&self.file);
        Some(match failure {
            Failure::Of(file, failure) => return self.tell(Some(&file), *failure),
            // The reader has closed the pipe.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return None,
            Failure::Output(error) => {
                let output = file.unwrap_or("standard output");
                (format!("{output}: {}", chain(&error)), failure::IO)
            }
            Failure::Input(error) => (format!("{input}: {}", chain(&*error)), failure::IO),
            Failure::Busy => {
                let what = "another process has used the database for a minute; try again";
                (format!("{input}: {what}"), failure::BUSY)
            }
            Failure::Invalid(what) => (format!("{input}: {what}"), failure::INVALID),
            Failure::NotFound(what) => (format!("{input}: {what}"), failure::NOT_FOUND),
            // It is about the arguments, or about one of the files that they name.
            Failure::Usage(what) => {
                let what = file.map_or(what.clone(), |file| format!("{file}: {what}"));
                (what, failure::USAGE)
            }
        })
    }
}

/// Prints a line. If standard error is closed, that must not change the outcome, so unlike
/// `eprintln` this does not panic.
fn print(line: &str) {
    use io::Write;
    let line = format!("cartool: {}\n", Harmless(line));
    let _ = io::stderr().write_all(line.as_bytes());
}
