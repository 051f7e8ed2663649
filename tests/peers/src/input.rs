//! What a job is given: a CAR file, and the keys in it.

use std::path::Path;

use crate::{Result, sample::sample};

/// The files of one run. An engine opens what it needs, so that the peak memory is its own.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) car: &'a Path,
    pub(crate) keys: &'a Path,
}

impl Input<'_> {
    /// Returns the bytes of the CAR file.
    pub(crate) fn read_car(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.car)?)
    }

    /// Returns all keys, in key order.
    pub(crate) fn read_keys(&self) -> Result<Vec<String>> {
        Ok(std::fs::read_to_string(self.keys)?
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// Returns the keys to get, in the order to get them.
    pub(crate) fn read_wanted(&self) -> Result<Vec<String>> {
        let keys = self.read_keys()?;
        let wanted = sample(keys.len());
        Ok(wanted
            .into_iter()
            .filter_map(|position| keys.get(position).cloned())
            .collect())
    }
}
