//! Commits as the firehose announces them, one after the other, and some that must be refused.

use std::collections::BTreeMap;

use atproto_mst::{
    Action, Bytes, CarReader, Cid, Commit, CommitEvent, Curve, Frame, RepoOp, SigningKey, Tid,
    Tree, dag_cbor_cid,
};
use mst_testkit::{Rng, SampleRepository, build_tree};

use super::checksum::Checksum;
use super::sample::EVENTS;
use super::{car_of, later_records, sum_text};
use crate::Result;

/// Messages of one repository, about consecutive commits.
pub(super) struct Events {
    /// Frames as they come over the wire, each after its length.
    pub(super) frames: Vec<u8>,
    /// The same for messages that replace the first one, and are wrong.
    pub(super) refused: Vec<u8>,
    /// One whose only fault is its signature.
    pub(super) forged: Vec<u8>,
    /// The key that they are signed with, as a `did:key`.
    pub(super) key: String,
    /// The root of the tree after the last.
    pub(super) root: String,
    /// The root of the tree before the last.
    pub(super) previous_root: String,
    /// Over the roots after each.
    pub(super) checksum: String,
    /// Over the roots before each.
    pub(super) checksum_previous: String,
}

impl Events {
    /// Makes up commits of 1 to 5 changes: most are new records, whose keys are later than all
    /// before, and the others change or delete any existing record.
    pub(super) fn generate(seed: u64, repository: &SampleRepository) -> Result<Self> {
        let key = SigningKey::from_bytes(Curve::K256, &[7; 32])?;
        let mut maker = Maker::new(seed, repository, key)?;
        let mut events: Vec<CommitEvent> = Vec::new();
        let (mut sum, mut sum_previous) = (Checksum::new(), Checksum::new());
        let mut previous_root = maker.commit.data;
        for _ in 0..EVENTS {
            previous_root = maker.commit.data;
            sum_previous.add(&[], previous_root.hash().digest());
            events.push(maker.next_event()?);
            sum.add(&[], maker.commit.data.hash().digest());
        }
        let root = maker.commit.data;
        if build_tree(&maker.paths).root != root {
            return Err("the commits lead to another tree than their records make up".into());
        }

        let first = events.first().ok_or("there is a commit")?;
        let frames_of = |events: &[CommitEvent]| {
            let frames = events.iter().cloned().map(Box::new).map(Frame::Commit);
            pack(frames.map(|frame| frame.encode()))
        };
        Ok(Self {
            frames: frames_of(&events),
            refused: frames_of(&wrong(first)?),
            forged: frames_of(&[forged(first)?]),
            key: maker.key.public_key().to_string(),
            root: root.to_string(),
            previous_root: previous_root.to_string(),
            checksum: sum_text(sum),
            checksum_previous: sum_text(sum_previous),
        })
    }
}

/// The most changes of one commit.
const MAX_OPS: usize = 5;

struct Maker {
    key: SigningKey,
    rng: Rng,
    /// The last commit.
    commit: Commit,
    tree: Tree,
    paths: BTreeMap<String, Cid>,
    keys: Vec<String>,
    /// New records, and values for those that are changed.
    new: std::vec::IntoIter<(String, Cid, Bytes)>,
    /// The number of the last message.
    seq: i64,
}

impl Maker {
    fn new(seed: u64, repository: &SampleRepository, key: SigningKey) -> Result<Self> {
        let paths = repository.paths.clone();
        let mut tree = Tree::from_entries(paths.iter().map(|(key, value)| (key, *value)))?;
        let _ = tree.flush();
        let commit = Commit::decode(&repository.commit.1)?;
        Ok(Self {
            key,
            rng: Rng::new(seed),
            commit,
            tree,
            keys: paths.keys().cloned().collect(),
            new: later_records(seed, repository, EVENTS * MAX_OPS).into_iter(),
            paths,
            seq: 0,
        })
    }

    fn next_event(&mut self) -> Result<CommitEvent> {
        // The first has one of each, because those to be refused are made from it.
        let kinds = if self.seq == 0 {
            vec![0, 80, 90]
        } else {
            let len = 1 + self.rng.below(MAX_OPS);
            (0..len).map(|_| self.rng.below(100)).collect()
        };
        let mut records = Vec::new();
        let ops: Result<Vec<RepoOp>> = kinds
            .into_iter()
            .map(|kind| self.next_op(kind, &mut records))
            .collect();
        let mut ops = ops?;
        ops.sort_unstable_by(|one, two| one.path.cmp(&two.path));

        let changes = self.tree.flush();
        let cover = self.tree.cover(ops.iter().map(|op| op.path.as_bytes()))?;
        let rev = self.commit.rev;
        let rev = Tid::new(rev.micros() + 1_000_000, rev.clock());
        let mut commit = Commit::unsigned(&*self.commit.did, rev, changes.root);
        commit.sign(&self.key)?;
        let block = Bytes::from(commit.encode());
        let cid = dag_cbor_cid(&block);
        let mut blocks = vec![(cid, block)];
        blocks.extend(changes.new.into_iter().rev());
        for (cid, block) in cover.into_iter().chain(records) {
            if blocks.iter().all(|(other, _)| *other != cid) {
                blocks.push((cid, block));
            }
        }

        self.seq += 1;
        let slice = car_of(&cid, &blocks);
        let mut event = CommitEvent::from_parts(&*commit.did, cid, commit.rev, slice);
        event.seq = self.seq;
        event.time.push_str("2026-11-21T00:00:00.000Z");
        event.since = Some(self.commit.rev.into());
        event.prev_data = Some(self.commit.data);
        event.ops = ops;
        self.commit = commit;
        Ok(event)
    }

    /// Changes the tree at a key that this commit has not changed yet.
    fn next_op(&mut self, kind: usize, records: &mut Vec<(Cid, Bytes)>) -> Result<RepoOp> {
        let (action, path, cid) = if kind < 90 {
            let (path, cid, record) = self.new.next().ok_or("there are enough new records")?;
            records.push((cid, record));
            match kind {
                0..80 => (Action::Create, path, Some(cid)),
                _ => (Action::Update, self.take_key(), Some(cid)),
            }
        } else {
            (Action::Delete, self.take_key(), None)
        };
        let prev = if let Some(cid) = &cid {
            self.paths.insert(path.clone(), *cid);
            self.tree.insert(path.as_bytes(), cid)?
        } else {
            self.paths.remove(&path);
            self.tree.remove(path.as_bytes())?
        };
        Ok(RepoOp {
            action,
            path,
            cid,
            prev,
        })
    }

    /// An existing key, which no commit will change again.
    fn take_key(&mut self) -> String {
        self.keys.swap_remove(self.rng.below(self.keys.len()))
    }
}

/// Messages that each have one fault: another previous root, an operation that is left out,
/// another value for a new key, another previous value, and a node with a byte changed.
fn wrong(event: &CommitEvent) -> Result<Vec<CommitEvent>> {
    let change = |fault: &dyn Fn(&mut CommitEvent) -> Option<()>| {
        let mut event = event.clone();
        fault(&mut event).ok_or("the first commit has a change of each kind")?;
        Ok(event)
    };
    let is = |action| move |op: &&mut RepoOp| op.action == action;
    let op = |event: &CommitEvent, action| event.ops.iter().position(|op| op.action == action);
    [
        change(&|event| {
            event.prev_data = Some(dag_cbor_cid(b"another tree"));
            Some(())
        }),
        change(&|event| {
            let index = op(event, Action::Delete)?;
            event.ops.remove(index);
            Some(())
        }),
        change(&|event| {
            let update = event.ops.iter_mut().find(is(Action::Update))?.cid;
            event.ops.iter_mut().find(is(Action::Create))?.cid = update;
            Some(())
        }),
        change(&|event| {
            let delete = event.ops.iter_mut().find(is(Action::Delete))?.prev;
            event.ops.iter_mut().find(is(Action::Update))?.prev = delete;
            Some(())
        }),
        change(&|event| {
            // In the value of the first entry of the root.
            let mut blocks = event.blocks.to_vec();
            let root = find(&blocks, b"\xa2\x61e")?;
            let value = root + find(blocks.get(root..)?, b"\x61v\xd8\x2a\x58\x25")?;
            *blocks.get_mut(value + 20)? ^= 1;
            event.blocks = blocks.into();
            Some(())
        }),
    ]
    .into_iter()
    .collect()
}

/// The message with a commit that says the same, but has the signature of another.
fn forged(event: &CommitEvent) -> Result<CommitEvent> {
    let mut blocks = Vec::new();
    for block in CarReader::new(&*event.blocks)? {
        let block = block?;
        blocks.push((block.cid, block.bytes));
    }
    let (cid, block) = blocks.first_mut().ok_or("the commit is there")?;
    let mut commit = Commit::decode(block)?;
    let mut other = Commit::unsigned(&*commit.did, Tid::new(0, 0), commit.data);
    other.sign(&SigningKey::from_bytes(Curve::K256, &[7; 32])?)?;
    commit.sig = other.sig;
    *block = commit.encode().into();
    *cid = dag_cbor_cid(block);
    let mut event = event.clone();
    event.commit = *cid;
    event.blocks = car_of(&event.commit, &blocks).into();
    Ok(event)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Each after its length, 4 bytes with the lowest first.
fn pack(frames: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut packed = Vec::new();
    for frame in frames {
        let len = u32::try_from(frame.len()).expect("a frame has at most 5 MB");
        packed.extend(len.to_le_bytes());
        packed.extend(frame);
    }
    packed
}
