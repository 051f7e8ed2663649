//! Databases that are read without a lock, as files that nobody changes. If one was changed all the
//! same, what was found wrong with it may have been the change.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// All that this process reads, each as it was when it was opened.
static OPENED: Mutex<Vec<(PathBuf, State)>> = Mutex::new(Vec::new());

/// What a change to a database changes.
#[derive(Debug, PartialEq, Eq)]
struct State {
    /// Its header, which counts the changes.
    header: Vec<u8>,
    len: u64,
    modified: Option<SystemTime>,
}

impl State {
    fn of(path: &Path) -> io::Result<Self> {
        const HEADER_LEN: u64 = 100;
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut header = Vec::new();
        file.take(HEADER_LEN).read_to_end(&mut header)?;
        Ok(Self {
            header,
            len: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }
}

/// Remembers the database at `path`, which is about to be opened without a lock.
pub(crate) fn remember(path: &Path) -> io::Result<()> {
    let state = State::of(path)?;
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    opened.push((path.to_owned(), state));
    Ok(())
}

/// The databases that have changed since they were opened.
pub(crate) fn changed() -> Vec<PathBuf> {
    let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = |(path, state): &&(PathBuf, State)| State::of(path).ok().as_ref() != Some(state);
    let changed = opened.iter().filter(changed);
    changed.map(|(path, _)| path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_shows_even_if_length_and_time_are_the_same() {
        let name = format!("cartool-unlocked-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, [0; 4_096]).unwrap();
        remember(&path).unwrap();
        assert!(changed().is_empty());
        let mut bytes = [0; 4_096];
        // The count of changes.
        bytes[27] = 1;
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, bytes).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(modified).unwrap();
        assert_eq!(changed(), [&*path]);
        fs::remove_file(&path).unwrap();
        assert_eq!(changed(), [&*path]);
    }
}
