//! A second tree, to compare with the repository's own.

use std::collections::HashSet;

use atproto_mst::{Bytes, Cid};
use mst_testkit::{Rng, SampleRepository, SampleTree, build_tree};

use super::checksum::Checksum;
use super::sample::CHANGES;
use super::{car_of, sum_text};

/// The repository's tree after some changes.
pub(super) struct Changed {
    /// A CAR of the nodes that only this tree has, with its root.
    pub(super) car: Vec<u8>,
    /// The root.
    pub(super) root: String,
    /// How many changes there are.
    pub(super) count: usize,
    /// Over the changes in key order: each key with its value before, then with the one after.
    pub(super) checksum: String,
}

impl Changed {
    /// Makes changes all over the tree: a third are new keys, a third other values, and a third
    /// are deleted.
    pub(super) fn generate(seed: u64, repository: &SampleRepository) -> Self {
        let mut paths = repository.paths.clone();
        let mut rng = Rng::new(seed);
        let mut old: Vec<(&String, &Cid)> = repository.paths.iter().collect();
        rng.shuffle(&mut old);
        let other = SampleRepository::generate(seed.wrapping_add(1), repository.paths.len());
        let mut new: Vec<(&String, &Cid)> = other
            .paths
            .iter()
            .filter(|(path, _)| !paths.contains_key(*path))
            .collect();
        rng.shuffle(&mut new);

        let count = CHANGES.min(old.len()).min(new.len());
        let mut changes = Vec::new();
        for (index, ((path, value), (new_path, new_value))) in old.into_iter().zip(new).enumerate()
        {
            let (path, before, after) = match index % 3 {
                _ if index == count => break,
                0 => (new_path, None, Some(new_value)),
                1 => (path, Some(value), Some(new_value)),
                _ => (path, Some(value), None),
            };
            match after {
                Some(value) => paths.insert(path.clone(), *value),
                None => paths.remove(path),
            };
            changes.push((path, before, after));
        }
        changes.sort_unstable();
        let tree = build_tree(&paths);
        let mut sum = Checksum::new();
        for (path, before, after) in changes {
            for value in [before, after] {
                sum.add(
                    path.as_bytes(),
                    value.map_or(&[], |cid| cid.hash().digest()),
                );
            }
        }
        Self {
            car: car_of(&tree.root, &only_in(&tree, &repository.tree)),
            root: tree.root.to_string(),
            count,
            checksum: sum_text(sum),
        }
    }
}

/// The nodes of one tree that another does not have.
fn only_in(tree: &SampleTree, other: &SampleTree) -> Vec<(Cid, Bytes)> {
    let others: HashSet<&Cid> = other.nodes.iter().map(|(cid, _)| cid).collect();
    let own = tree.nodes.iter().filter(|(cid, _)| !others.contains(cid));
    own.cloned().collect()
}
