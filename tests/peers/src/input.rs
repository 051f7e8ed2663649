//! The input of a job: a CAR file, the keys and values in it, and what is to be written.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use atproto_mst::{CommitEvent, Frame, RepoOp};
use cid::Cid;

use crate::{
    Result,
    car::{Sections, split},
    node::{Digest, START, cid_of, digest_of, link_behind},
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
    /// A new key.
    Create(String, C),
    /// Another value for an existing key.
    Update(String, C),
    /// An existing key.
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

    /// Returns all keys and values in the order to insert them, which is independent of theirs.
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
                _ => Err(format!("{line} is not a write").into()),
            }
        };
        lines.lines().map(write).collect()
    }

    /// Returns the CAR with the nodes that only the second tree has, which it names as its root.
    pub(crate) fn read_changed_car(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.folder.join("changed.car"))?)
    }

    /// Returns messages about consecutive commits; the first follows the repository's.
    pub(crate) fn read_events(&self) -> Result<Vec<CommitEvent>> {
        self.read_frames("events.bin")
    }

    /// Returns messages in place of the first, each wrong in another way.
    pub(crate) fn read_refused(&self) -> Result<Vec<CommitEvent>> {
        self.read_frames("refused.bin")
    }

    /// Returns the same with one whose only fault is its signature.
    pub(crate) fn read_forged(&self) -> Result<Vec<CommitEvent>> {
        let mut events = self.read_refused()?;
        events.extend(self.read_frames("forged.bin")?);
        Ok(events)
    }

    /// Returns the key that signs the messages, as a `did:key`.
    pub(crate) fn read_key(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("key.txt"))?)
    }

    fn read_frames(&self, name: &str) -> Result<Vec<CommitEvent>> {
        let bytes = std::fs::read(self.folder.join(name))?;
        let mut rest = &*bytes;
        let mut events = Vec::new();
        while let Some((len, after)) = rest.split_first_chunk() {
            let len = usize::try_from(u32::from_le_bytes(*len))?;
            let (frame, after) = after.split_at_checked(len).ok_or("a frame is cut short")?;
            match Frame::decode(frame)? {
                Frame::Commit(event) => events.push(*event),
                _ => return Err("a frame is about something other than a commit".into()),
            }
            rest = after;
        }
        Ok(events)
    }
}

/// Returns the root of the tree that the commit of a message has led to.
pub(crate) fn root_of(event: &CommitEvent) -> Result<Digest> {
    let head = digest_of(&event.commit);
    let commit = Sections::new(&event.blocks)
        .filter_map(split)
        .find_map(|(digest, block)| (*digest == head).then_some(block))
        .ok_or("the commit is not among the blocks")?;
    Ok(*link_behind(commit, b"\x64data").ok_or("the commit names no tree")?)
}

/// Returns the nodes among the blocks of a message.
pub(crate) fn nodes_of(event: &CommitEvent) -> impl Iterator<Item = (&Digest, &[u8])> {
    nodes_in(&event.blocks)
}

/// Returns the nodes among the blocks of a CAR.
pub(crate) fn nodes_in(car: &[u8]) -> impl Iterator<Item = (&Digest, &[u8])> {
    Sections::new(car)
        .skip(1)
        .filter_map(split)
        .filter(|(_, block)| block.starts_with(START))
}

/// What is known of one commit, for an engine that takes blocks and operations as they are.
pub(crate) struct Slice<'e> {
    pub(crate) root: Cid,
    pub(crate) nodes: Vec<(&'e Digest, &'e [u8])>,
    pub(crate) ops: &'e [RepoOp],
}

impl<'e> Slice<'e> {
    pub(crate) fn of(event: &'e CommitEvent) -> Result<Self> {
        Ok(Self {
            root: cid_of(&root_of(event)?),
            nodes: nodes_of(event).collect(),
            ops: &event.ops,
        })
    }
}
