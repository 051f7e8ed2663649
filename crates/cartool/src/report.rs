//! Standard error: faults and failures, one line each, and finally the exit code.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
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
        let (lines, code) = self.outcome(result, &unlocked::changed());
        for line in lines {
            print(&line);
        }
        code.into()
    }

    /// The last lines, and the exit code. The databases in `changed` have changed while they were
    /// read without a lock.
    fn outcome(self, result: Result<(), Failure>, changed: &[PathBuf]) -> (Vec<String>, u8) {
        let mut changed = changed.iter().map(|path| failure::name_of(path));
        let changed = changed.find(|name| match &result {
            Ok(()) => true,
            Err(failure) => self.is_about(failure, name),
        });
        let told = match result {
            Ok(()) => None,
            Err(failure) => self.tell(None, failure),
        };
        let mut lines = Vec::new();
        let mut code = match told {
            Some((line, code)) => {
                lines.push(line);
                code
            }
            // Even if the reader has closed the pipe: the faults were found.
            None if self.faults > 0 => failure::INVALID,
            None => self.answer,
        };
        if let Some(name) = changed {
            let what = "the database was changed while it was read";
            // What was found is right, as all of it was checked.
            if matches!(code, 0 | failure::DIFFERENT) {
                lines.push(format!(
                    "{name}: note: {what}; what seems to be missing may be there"
                ));
            } else {
                lines.push(format!(
                    "{name}: {what}, which may be all that is wrong; try again"
                ));
                code = failure::BUSY;
            }
        }
        (lines, code)
    }

    /// Whether `failure` may be about the contents of the file that is named `name` in messages.
    fn is_about(&self, failure: &Failure, name: &str) -> bool {
        let (file, failure) = match failure {
            Failure::Of(file, failure) => (file, &**failure),
            failure => (&self.file, failure),
        };
        // Those have to do with the output or the arguments, and with no input.
        let is_elsewhere = matches!(failure, Failure::Output(_) | Failure::Usage(_));
        file == name && !is_elsewhere
    }

    /// The message and exit code for a failure of `file`, or else of the file that the report is
    /// about; `None` if it is not a failure.
    fn tell(&self, file: Option<&str>, failure: Failure) -> Option<(String, u8)> {
        let input = file.unwrap_or(&self.file);
        Some(match failure {
            failure if failure.is_closed_pipe() => return None,
            Failure::Of(file, failure) => return self.tell(Some(&file), *failure),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_changed_explains_only_what_it_may_have_caused() {
        let report = |faults, answer| {
            let mut report = Report::new(Path::new("a.db"), true);
            (report.faults, report.answer) = (faults, answer);
            report
        };
        let invalid = || Failure::Invalid("cut off".to_owned());
        let output = || Failure::Output(io::ErrorKind::StorageFull.into());
        let usage = || Failure::Usage("no such thing".to_owned());
        let changed = [PathBuf::from("a.db")];
        let cases = [
            (report(0, 0), Ok(()), 0),
            (report(0, 5), Ok(()), 5),
            (report(0, 6), Ok(()), 7),
            (report(1, 0), Ok(()), 7),
            (report(0, 0), Err(invalid()), 7),
            (report(0, 0), Err(Failure::NotFound(String::new())), 7),
            (report(0, 0), Err(Failure::Input("gone".into())), 7),
            (report(0, 0), Err(output()), 3),
            (report(0, 0), Err(usage()), 2),
            (report(0, 0), Err(invalid().of(Path::new("a.db"))), 7),
            (report(0, 0), Err(invalid().of(Path::new("b.car"))), 1),
            (report(0, 0), Err(output().of(Path::new("a.db"))), 3),
        ];
        for (report, result, expected) in cases {
            let what = format!("{result:?}");
            let (lines, code) = report.outcome(result, &changed);
            assert_eq!(code, expected, "{what}");
            let told = lines.iter().filter(|line| line.contains("was changed"));
            let is_told = matches!(expected, 0 | 5 | 7);
            assert_eq!(told.count(), usize::from(is_told), "{what}");
        }
        // Without a change, all of them are what they seem.
        let (lines, code) = report(1, 0).outcome(Ok(()), &[]);
        assert_eq!((lines.len(), code), (0, 1));
        let other = [PathBuf::from("other.db")];
        let (_, code) = report(0, 0).outcome(Err(invalid()), &other);
        assert_eq!(code, 1);
    }
}
