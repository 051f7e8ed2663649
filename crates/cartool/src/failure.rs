//! Why a command stops early, and its exit code.

use std::error::Error;
use std::io;
use std::path::Path;

use atproto_mst::{CarError, SqliteError, StoreError, mst_ops};

/// The CAR or the repository is damaged, invalid or incomplete.
pub(crate) const INVALID: u8 = 1;
/// Wrong usage.
pub(crate) const USAGE: u8 = 2;
/// Cannot read, or cannot write.
pub(crate) const IO: u8 = 3;
/// There is no such record.
pub(crate) const NOT_FOUND: u8 = 4;

/// The two things compared differ.
pub(crate) const DIFFERENT: u8 = 5;
/// Something is not proven, but nothing that is present is wrong.
pub(crate) const UNPROVEN: u8 = 6;
/// Another process writes to the database: it did not finish in time, or we could not lock it.
pub(crate) const BUSY: u8 = 7;

/// Why a command stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The input cannot be read.
    Input(Box<dyn Error + Send + Sync>),
    /// The output cannot be written.
    Output(io::Error),
    /// The database was locked by others.
    Busy,
    /// The CAR or the repository is not what it should be; the text says how.
    Invalid(String),
    /// There is no record at the path that the text names.
    NotFound(String),
    /// The arguments contradict each other; the text says how.
    Usage(String),
    /// The failure is about a file other than the command's main one.
    Of(String, Box<Failure>),
}

impl Failure {
    /// The same failure, about the file at `path`, unless it is already known which file it is
    /// about.
    pub(crate) fn of(self, path: &Path) -> Self {
        match self {
            Self::Of(..) => self,
            failure => Self::Of(name_of(path), Box::new(failure)),
        }
    }

    /// Whether the reader of the output has closed the pipe.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        match self {
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            Self::Of(_, failure) => failure.is_closed_pipe(),
            _ => false,
        }
    }
}

/// The name of the file at `path` in messages, if it is read.
pub(crate) fn name_of(path: &Path) -> String {
    if path == Path::new("-") {
        return "standard input".to_owned();
    }
    path.to_string_lossy().into_owned()
}

impl From<CarError> for Failure {
    fn from(error: CarError) -> Self {
        match error {
            // The system's message already says that reading failed.
            CarError::Io(error) => Self::Input(error.into()),
            error => Self::Invalid(chain(&error)),
        }
    }
}

impl From<mst_ops::Error> for Failure {
    fn from(error: mst_ops::Error) -> Self {
        atproto_mst::Error::from(error).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        atproto_mst::Error::from(error).into()
    }
}

impl From<atproto_mst::Error> for Failure {
    fn from(error: atproto_mst::Error) -> Self {
        match error {
            atproto_mst::Error::Store(StoreError::Backend(error)) => {
                match SqliteError::find(&*error) {
                    Some(SqliteError::Busy(_)) => Self::Busy,
                    _ => Self::Input(error),
                }
            }
            error => Self::Invalid(chain(&error)),
        }
    }
}

/// An error and all of its causes, on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut last = error.to_string();
    let mut line = last.clone();
    let mut source = error.source();
    while let Some(error) = source {
        let reason = error.to_string();
        // SQLite's errors repeat the message, after a number.
        if !reason.ends_with(&last) {
            line.push_str(": ");
            line.push_str(&reason);
            last = reason;
        }
        source = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atproto_mst::{BlockStoreMut, SqliteBlockStore, SqliteOptions, dag_cbor_cid};
    use mst_testkit::Rng;

    use super::*;
    use crate::fault::Fault;

    #[test]
    fn a_database_that_others_write_to_is_busy_and_not_unreadable() {
        let name = format!(
            "cartool-busy-{}-{}",
            std::process::id(),
            Rng::new(1).next_u64()
        );
        let path = std::env::temp_dir().join(name);
        let options = SqliteOptions {
            busy_timeout: Duration::from_millis(1),
            ..SqliteOptions::default()
        };
        let open = || SqliteBlockStore::open_with(&path, &options).unwrap();
        let (one, other) = (open(), open());
        let refused = one.transaction(|_| {
            let refused = other.put(&dag_cbor_cid(b"\xa0"), b"\xa0".as_slice().into());
            Ok::<_, StoreError>(refused)
        });
        let error = atproto_mst::Error::from(refused.unwrap().unwrap_err());
        // Also not a fault of the repository.
        let failure = Fault::of_top(error).unwrap_err();
        assert!(matches!(failure, Failure::Busy), "{failure:?}");
        drop((one, other));
        std::fs::remove_file(&path).unwrap();
    }
}
