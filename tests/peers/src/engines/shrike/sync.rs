//! Two trees compared, and commits for the firehose and from it. The crate's own verifier of
//! commits comes with an HTTP client and the system's TLS library, so what it does is done here
//! with the parts that it is made of, on blocks that are borrowed where it copies them.

use std::{
    borrow::Cow,
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use atproto_mst::{Action, CommitEvent, RepoOp};
use shrike::{
    car::SliceReader,
    cbor::Cid,
    crypto::{VerifyingKey, parse_did_key},
    mst::{self, BlockSource, BlockStore, DetachedTree, MstError, NoBlocks, Tree},
    repo::Commit,
    syntax::Tid,
};

use super::{
    Blocks, load,
    write::{cid_from, cid_of},
};
use crate::{
    Result,
    check::{self, Change},
    input::{Input, nodes_in, nodes_of, root_of},
    outcome::Outcome,
};

/// It lists both trees and compares the lists. The trees keep the nodes that they have decoded,
/// and have listed all once before.
pub(super) fn diff(input: &Input) -> Result<Outcome> {
    let car = input.read_car()?;
    let other = input.read_changed_car()?;
    let (_, old) = load(&car)?;
    let new = *SliceReader::new(&other)?
        .roots()
        .first()
        .ok_or("the CAR has no root")?;
    let all = nodes_in(&car).chain(nodes_in(&other));
    let all: HashMap<Cid, Vec<u8>> = all
        .map(|(digest, block)| (cid_of(digest), block.to_vec()))
        .collect();
    let store = Rc::new(all);
    let open = |root| {
        let mut tree = Tree::load(Box::new(Shared(Rc::clone(&store))), root);
        tree.entries()?;
        Ok::<_, MstError>(tree)
    };
    let (mut old_tree, mut new_tree) = (open(old)?, open(new)?);

    let start = Instant::now();
    let diff = mst::diff(&mut old_tree, &mut new_tree)?;
    let elapsed = start.elapsed();

    let mut changes: Vec<Change> = Vec::new();
    changes.extend(
        diff.added
            .into_iter()
            .map(|(key, new)| (key, None, Some(*new.hash()))),
    );
    changes.extend(
        diff.updated
            .into_iter()
            .map(|(key, old, new)| (key, Some(*old.hash()), Some(*new.hash()))),
    );
    changes.extend(
        diff.removed
            .into_iter()
            .map(|(key, old)| (key, Some(*old.hash()), None)),
    );
    Ok(check::changes(elapsed, new.hash(), changes))
}

/// A map that two trees read, each of which wants to own its store.
struct Shared(Rc<HashMap<Cid, Vec<u8>>>);

impl BlockStore for Shared {
    fn get_block(&self, cid: &Cid) -> std::result::Result<Vec<u8>, MstError> {
        let block = self.0.get(cid).cloned();
        block.ok_or_else(|| MstError::BlockNotFound(cid.to_string()))
    }

    fn put_block(&self, _: Cid, _: Vec<u8>) -> std::result::Result<(), MstError> {
        Err(MstError::Internal("nothing is to be written".to_owned()))
    }

    fn has_block(&self, cid: &Cid) -> std::result::Result<bool, MstError> {
        Ok(self.0.contains_key(cid))
    }
}

/// The tree is kept with all nodes decoded, after a walk, and tells which nodes there are; their
/// blocks are borrowed from a map of all.
pub(super) fn prove(input: &Input) -> Result<Outcome> {
    let events = input.read_events()?;
    let car = input.read_car()?;
    let (mut blocks, root) = load(&car)?;
    for (digest, block) in events.iter().flat_map(nodes_of) {
        blocks.insert(cid_of(digest), block);
    }
    let mut tree = DetachedTree::load(root);
    tree.walk(&blocks, |_, _| Ok(()))?;

    let mut elapsed = Duration::ZERO;
    let mut proofs: Vec<Vec<(Cid, &[u8])>> = Vec::with_capacity(events.len());
    for event in &events {
        for op in &event.ops {
            match op.cid {
                Some(value) => tree.insert(&NoBlocks, op.path.clone(), cid_from(value)?)?,
                None => tree.remove(&NoBlocks, &op.path)?,
            };
        }
        tree.flush()?;

        let start = Instant::now();
        let cids = tree.covering_proof(&blocks, event.ops.iter().map(|op| &*op.path))?;
        let mut proof = Vec::with_capacity(cids.len());
        for cid in cids {
            proof.push((cid, *blocks.get(&cid).ok_or("a node is not in the store")?));
        }
        elapsed += start.elapsed();

        proofs.push(proof);
    }

    let proofs = proofs.into_iter().map(|proof| {
        let blocks = proof.into_iter();
        blocks
            .map(|(cid, block)| (*cid.hash(), Cow::Borrowed(block)))
            .collect()
    });
    check::proofs(elapsed, &car, &events, proofs)
}

/// An operation with this crate's CIDs.
struct Op<'e> {
    path: &'e str,
    cid: Option<Cid>,
    prev: Option<Cid>,
}

impl<'e> Op<'e> {
    fn of(op: &'e RepoOp) -> Result<Self> {
        Ok(Self {
            path: &op.path,
            cid: op.cid.map(cid_from).transpose()?,
            prev: op.prev.map(cid_from).transpose()?,
        })
    }
}

/// Takes operations back one by one, the last first. What the tree has is compared before, since
/// the root does not depend on all of what they claim.
fn invert(root: Cid, blocks: &dyn BlockSource, ops: &[Op<'_>]) -> Result<Cid> {
    let mut tree = DetachedTree::load(root);
    for op in ops.iter().rev() {
        let found = match op.prev {
            None => tree.remove(blocks, op.path)?,
            Some(_) => tree.get(blocks, op.path)?,
        };
        if found != op.cid {
            return Err(format!("{} has another value", op.path).into());
        }
        if let Some(prev) = op.prev {
            tree.insert(blocks, op.path.to_owned(), prev)?;
        }
    }
    Ok(tree.flush()?.root)
}

/// What is known of one commit.
struct Slice<'e> {
    root: Cid,
    nodes: Vec<(Cid, &'e [u8])>,
    ops: Vec<Op<'e>>,
}

impl<'e> Slice<'e> {
    fn of(event: &'e CommitEvent) -> Result<Self> {
        let nodes = nodes_of(event).map(|(digest, block)| (cid_of(digest), block));
        Ok(Self {
            root: cid_of(&root_of(event)?),
            nodes: nodes.collect(),
            ops: event.ops.iter().map(Op::of).collect::<Result<_>>()?,
        })
    }

    fn invert(&self) -> Result<Cid> {
        let mut blocks = Blocks::default();
        blocks.reserve(self.nodes.len());
        for (cid, block) in &self.nodes {
            if Cid::compute(cid.codec(), block) != *cid {
                return Err(format!("block {cid} does not hash to its CID").into());
            }
            blocks.insert(*cid, *block);
        }
        invert(self.root, &blocks, &self.ops)
    }
}

pub(super) fn invert_all(input: &Input) -> Result<Outcome> {
    let events = input.read_events()?;
    let slices: Vec<Slice<'_>> = events.iter().map(Slice::of).collect::<Result<_>>()?;

    let start = Instant::now();
    let mut roots = Vec::with_capacity(slices.len());
    for slice in &slices {
        roots.push(*slice.invert()?.hash());
    }
    let elapsed = start.elapsed();

    check::refused(&input.read_refused()?, |event| {
        let found = Slice::of(event).and_then(|slice| slice.invert());
        let claimed = event.prev_data.map(cid_from).transpose();
        matches!((found, claimed), (Ok(found), Ok(Some(claimed))) if found == claimed)
    })?;
    check::roots(elapsed, &roots)
}

/// A message in this crate's types.
struct Message<'e> {
    repo: &'e str,
    commit: Cid,
    rev: Tid,
    since: Option<Tid>,
    prev_data: Option<Cid>,
    blocks: &'e [u8],
    ops: Vec<Op<'e>>,
}

/// What is remembered of a repository.
#[derive(Clone, Copy)]
struct State {
    rev: Tid,
    data: Cid,
}

impl<'e> Message<'e> {
    fn of(event: &'e CommitEvent) -> Result<Self> {
        for op in &event.ops {
            let shape = (op.cid.is_some(), op.prev.is_some());
            let expected = match op.action {
                Action::Create => (true, false),
                Action::Update => (true, true),
                Action::Delete => (false, true),
            };
            if shape != expected {
                return Err("an operation lacks a value".into());
            }
        }
        Ok(Self {
            repo: &event.repo,
            commit: cid_from(event.commit)?,
            rev: Tid::try_from(&*event.rev)?,
            since: event.since.as_deref().map(Tid::try_from).transpose()?,
            prev_data: event.prev_data.map(cid_from).transpose()?,
            blocks: &event.blocks,
            ops: event.ops.iter().map(Op::of).collect::<Result<_>>()?,
        })
    }

    /// What `Verifier::verify_commit` does, and in its order: the revision, the CAR with all hashes,
    /// the inversion, the chain, the fields of the commit, its signature; and that new records are
    /// there.
    fn verify(&self, state: &State, key: Option<&dyn VerifyingKey>) -> Result<State> {
        if self.rev <= state.rev {
            return Err("the revision is not after the one before".into());
        }
        let mut paths: Vec<&str> = self.ops.iter().map(|op| op.path).collect();
        paths.sort_unstable();
        if paths.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("two operations on the same path".into());
        }
        let (blocks, head) = super::split(self.blocks)?;
        if head != self.commit {
            return Err("the CAR is about another commit".into());
        }
        let block = blocks.get(&head).ok_or("the commit is not in the CAR")?;
        let commit = Commit::from_cbor(block)?;
        let before = invert(commit.data, &blocks, &self.ops)?;
        if self.prev_data != Some(before) || before != state.data || self.since != Some(state.rev) {
            return Err("the commit follows another tree".into());
        }
        if commit.did.as_str() != self.repo || commit.rev != self.rev || commit.version != 3 {
            return Err("the message says something else than the commit".into());
        }
        if let Some(key) = key {
            commit.verify(key)?;
        }
        let mut new = self.ops.iter().filter_map(|op| op.cid);
        if !new.all(|cid| blocks.contains_key(&cid)) {
            return Err("a record is not in the CAR".into());
        }
        Ok(State {
            rev: commit.rev,
            data: commit.data,
        })
    }
}

pub(super) fn verify(input: &Input, signed: bool) -> Result<Outcome> {
    let events = input.read_events()?;
    let messages: Vec<Message<'_>> = events.iter().map(Message::of).collect::<Result<_>>()?;
    let key = parse_did_key(&input.read_key()?)?;
    let key = signed.then_some(&*key);
    let first = messages.first().ok_or("there is no message")?;
    let before = State {
        rev: first.since.ok_or("it follows nothing")?,
        data: first.prev_data.ok_or("it follows nothing")?,
    };

    let start = Instant::now();
    let mut roots = Vec::with_capacity(messages.len());
    let mut state = before;
    for message in &messages {
        state = message.verify(&state, key)?;
        roots.push(*state.data.hash());
    }
    let elapsed = start.elapsed();

    let wrong = if signed {
        input.read_forged()
    } else {
        input.read_refused()
    };
    check::refused(&wrong?, |event| {
        Message::of(event).is_ok_and(|message| message.verify(&before, key).is_ok())
    })?;
    check::roots(elapsed, &roots)
}
