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

/// Whether any of the databases has changed since it was opened.
pub(crate) fn have_changed() -> bool {
    let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut opened = opened.iter();
    opened.any(|(path, state)| State::of(path).ok().as_ref() != Some(state))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_shows_even_if_the_length_is_the_same() {
        let name = format!("cartool-unlocked-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, [0; 4_096]).unwrap();
        remember(&path).unwrap();
        assert!(!have_changed());
        let mut changed = [0; 4_096];
        // The count of changes.
        changed[27] = 1;
        fs::write(&path, changed).unwrap();
        assert!(have_changed());
        fs::remove_file(&path).unwrap();
        assert!(have_changed());
    }
}
