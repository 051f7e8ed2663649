//! Two trees compared, and commits for the firehose and from it: the hashes and copies that it
//! takes, of nodes that were found beforehand.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hint::black_box,
    time::Instant,
};

use k256::ecdsa::{
    Signature, SigningKey,
    signature::hazmat::{PrehashSigner, PrehashVerifier},
};
use sha2::{Digest as _, Sha256};

use super::{
    outcome,
    write::{load, path, root_of as root_of_commit},
};
use crate::{
    Result,
    car::{self, Sections},
    check,
    input::{Input, nodes_in, nodes_of, root_of},
    node::{self, Digest, Node, height_of},
    outcome::Outcome,
};

/// Timed: of the nodes that only one of the trees has the sum of all bytes, for having had them in
/// hand once, and one SHA-256 of each key for its height. No node is decoded.
pub(super) fn diff(input: &Input) -> Result<Outcome> {
    let car = input.read_car()?;
    let changed = input.read_changed_car()?;
    let new: Vec<(&Digest, &[u8])> = nodes_in(&changed).collect();
    // What the new nodes link to, and what is below that, is in both trees.
    let old_nodes: HashMap<&Digest, &[u8]> = nodes_in(&car).collect();
    let mut common = HashSet::new();
    let mut stack: Vec<&Digest> = Vec::new();
    for (_, block) in &new {
        stack.extend(subtrees(block)?);
    }
    while let Some(digest) = stack.pop() {
        if let Some(block) = old_nodes.get(digest)
            && common.insert(digest)
        {
            stack.extend(subtrees(block)?);
        }
    }
    let old = nodes_in(&car).filter(|(digest, _)| !common.contains(digest));
    let nodes: Vec<&[u8]> = old.chain(new).map(|(_, block)| block).collect();
    let mut keys = Vec::new();
    for block in &nodes {
        keys.extend(keys_of(block)?);
    }

    let start = Instant::now();
    for key in &keys {
        black_box(height_of(key));
    }
    let sum = nodes
        .iter()
        .flat_map(|node| *node)
        .fold(0_u64, |sum, byte| sum + u64::from(*byte));
    black_box(sum);
    let elapsed = start.elapsed();

    Ok(outcome(elapsed, crate::sample::CHANGES))
}

/// Timed: one copy of each node that covers an operation.
pub(super) fn prove(input: &Input) -> Result<Outcome> {
    let events = input.read_events()?;
    let car = input.read_car()?;
    let mut nodes: HashMap<&Digest, &[u8]> = nodes_in(&car).collect();
    let mut covers: Vec<Vec<(Digest, &[u8])>> = Vec::new();
    for event in &events {
        nodes.extend(nodes_of(event));
        let cover = check::cover(&nodes, &root_of(event)?, &event.ops)?;
        covers.push(
            cover
                .into_iter()
                .map(|digest| (digest, nodes[&digest]))
                .collect(),
        );
    }

    let start = Instant::now();
    let mut proofs = Vec::with_capacity(covers.len());
    for cover in &covers {
        let proof: Vec<(Digest, Vec<u8>)> = cover
            .iter()
            .map(|(digest, block)| (*digest, block.to_vec()))
            .collect();
        proofs.push(proof);
    }
    let elapsed = start.elapsed();

    let proofs = proofs.into_iter().map(|proof| {
        let blocks = proof.into_iter();
        blocks
            .map(|(digest, block)| (digest, Cow::Owned(block)))
            .collect()
    });
    check::proofs(elapsed, &car, &events, proofs)
}

/// Timed: for each commit one SHA-256 of each node of its slice, compared with its CID; one of each
/// node of the tree before that is on the way to a key and that the slice does not have, for it
/// has to be made again; and one of each key, for its height. With `all` also one of each other
/// block, and with `signed` the check of a signature.
pub(super) fn check_commits(input: &Input, all: bool, signed: bool) -> Result<Outcome> {
    let events = input.read_events()?;
    let car = input.read_car()?;
    let (mut known, head) = load(&car)?;
    let mut root = *root_of_commit(&known, head)?;
    let mut commits = Vec::new();
    for event in &events {
        let slice: Vec<(&Digest, &[u8])> = Sections::new(&event.blocks)
            .skip(1)
            .filter_map(car::split)
            .filter(|(_, block)| all || block.starts_with(node::START))
            .collect();
        let there: HashSet<&[u8]> = slice.iter().map(|(_, block)| *block).collect();
        let mut before: HashSet<&[u8]> = HashSet::new();
        for op in &event.ops {
            before.extend(path(&known, &root, op.path.as_bytes())?);
        }
        let before: Vec<&[u8]> = before.difference(&there).copied().collect();
        known.extend(nodes_of(event));
        root = root_of(event)?;
        commits.push((event, slice, before));
    }
    // Any key and message will do.
    let key = SigningKey::from_slice(&[7; 32])?;
    let signature: Signature = key.sign_prehash(&[1; 32])?;
    let key = key.verifying_key();

    let start = Instant::now();
    for (event, slice, before) in &commits {
        for (digest, block) in slice {
            if Sha256::digest(block)[..] != digest[..] {
                return Err("a block does not hash to its CID".into());
            }
        }
        for block in before {
            black_box(Sha256::digest(block));
        }
        for op in &event.ops {
            black_box(height_of(op.path.as_bytes()));
        }
        if signed {
            key.verify_prehash(black_box(&[1; 32]), &signature)?;
        }
    }
    let elapsed = start.elapsed();

    Ok(outcome(elapsed, commits.len()))
}

fn subtrees(block: &[u8]) -> Result<Vec<&Digest>> {
    let node = Node::decode(block).ok_or("a node is none")?;
    let left = node.left;
    Ok(left
        .into_iter()
        .chain(node.filter_map(|entry| entry.right))
        .collect())
}

fn keys_of(block: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for entry in Node::decode(block).ok_or("a node is none")? {
        let mut key = keys.last().cloned().unwrap_or_default();
        key.truncate(entry.prefix_len);
        key.extend_from_slice(entry.suffix);
        keys.push(key);
    }
    Ok(keys)
}
