//! What a job is given: a CAR file, the keys and values in it, and what is to be written.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use cid::Cid;

use crate::{
    Result,
    sample::{sample, shuffle},
};

/// The files of one run. An engine opens what it needs, so that the peak memory is its own.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    folder: &'a Path,
    /// The CAR file of the workload.
    pub(crate) car: PathBuf,
}

/// One commit's change; `C` is the CID of an engine's crate.
#[derive(Debug)]
pub(crate) enum Write<C> {
    /// A key that is not there yet.
    Create(String, C),
    /// Another value for a key that is there.
    Update(String, C),
    /// A key that is there.
    Delete(String),
}

impl<'a> Input<'a> {
    pub(crate) fn new(folder: &'a Path, car: &str) -> Self {
        Self {
            folder,
            car: folder.join(car),
        }
    }

    /// Returns the bytes of the CAR file.
    pub(crate) fn read_car(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(&self.car)?)
    }

    /// Returns all keys, in key order.
    pub(crate) fn read_keys(&self) -> Result<Vec<String>> {
        let pairs = self.read_pairs(|_| Ok(()))?;
        Ok(pairs.into_iter().map(|(key, ())| key).collect())
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

    /// Returns all keys and values, in key order. `cid` makes the CID of an engine's crate, so
    /// that what it is given is in its own types before the clock starts.
    pub(crate) fn read_pairs<C>(&self, cid: fn(Cid) -> Result<C>) -> Result<Vec<(String, C)>> {
        let file = BufReader::new(File::open(self.folder.join("pairs.txt"))?);
        file.lines()
            .map(|line| {
                let line = line?;
                let (key, value) = line.split_once(' ').ok_or("a pair has no value")?;
                Ok((key.to_owned(), cid(value.parse()?)?))
            })
            .collect()
    }

    /// Returns all keys and values in the order to insert them, which has nothing to do with
    /// theirs.
    pub(crate) fn read_shuffled_pairs<C>(
        &self,
        cid: fn(Cid) -> Result<C>,
    ) -> Result<Vec<(String, C)>> {
        let mut pairs = self.read_pairs(cid)?;
        shuffle(&mut pairs);
        Ok(pairs)
    }

    /// Returns what to change in the tree, one commit each.
    pub(crate) fn read_writes<C>(&self, cid: fn(Cid) -> Result<C>) -> Result<Vec<Write<C>>> {
        let lines = std::fs::read_to_string(self.folder.join("writes.txt"))?;
        let write = |line: &str| {
            let fields: Vec<&str> = line.split(' ').collect();
            match fields[..] {
                ["create", key, value] => Ok(Write::Create(key.to_owned(), cid(value.parse()?)?)),
                ["update", key, value] => Ok(Write::Update(key.to_owned(), cid(value.parse()?)?)),
                ["delete", key] => Ok(Write::Delete(key.to_owned())),
                _ => Err(format!("{line} is no write").into()),
            }
        };
        lines.lines().map(write).collect()
    }
}
