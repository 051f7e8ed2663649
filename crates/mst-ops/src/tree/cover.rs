//! The nodes around some keys.

use std::ops::Range;

use blockstore_core::{Bytes, Cid};
use hashbrown::HashSet;
use mst_node::{node_cid, node_digest};
use smallvec::SmallVec;

use super::Tree;
use super::branch::{Branch, View};
use crate::node_store::DigestKey;
use crate::{Error, NodeSource};

impl<N: NodeSource> Tree<N> {
    /// Returns the nodes that cover `keys`: those on the path to each key, and to its neighbours on
    /// both sides. Each is returned once, a node before those below it; the top node always.
    ///
    /// That is what a receiver needs to see what operations on these keys have done, and to undo
    /// them ([`invert`](Self::invert)); a receiver who keeps a copy also needs the nodes that are
    /// new. They are the same nodes as [`Prover::cover`](crate::Prover::cover) collects; here they
    /// are in memory, and need not have been stored yet.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get). [`Error::MissingBlock`] also for a node that cannot hold the
    /// key, if it may hold its neighbour.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_ops::{Node, Tree};
    ///
    /// let value = Node::empty().cid();
    /// let tree = Tree::from_entries([("a/1", value), ("a/2", value)])?;
    /// let cover = tree.cover(["a/3"])?;
    /// assert_eq!(cover[0].0, tree.root());
    /// # Ok::<(), mst_ops::Error>(())
    /// ```
    pub fn cover<'k, K: AsRef<[u8]> + ?Sized + 'k>(
        &self,
        keys: impl IntoIterator<Item = &'k K>,
    ) -> Result<Vec<(Cid, Bytes)>, Error> {
        Ok(encoded(self.covering(keys)?))
    }

    /// Returns what [`cover`](Self::cover) does, without the nodes in `new`. That must be the
    /// [`new`](crate::Changes::new) of the flush just before, so their blocks are at hand already.
    ///
    /// # Errors
    ///
    /// As for `cover`.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_ops::{Node, Tree};
    ///
    /// let value = Node::empty().cid();
    /// let mut tree = Tree::from_entries([("a/1", value), ("a/2", value)])?;
    /// let _ = tree.flush();
    /// tree.insert("a/3", &value)?;
    /// let changes = tree.flush();
    /// // All that covers the key is new.
    /// assert_eq!(tree.cover_beside(&changes.new, ["a/3"])?, []);
    /// # Ok::<(), mst_ops::Error>(())
    /// ```
    pub fn cover_beside<'k, K: AsRef<[u8]> + ?Sized + 'k>(
        &self,
        new: &[(Cid, Bytes)],
        keys: impl IntoIterator<Item = &'k K>,
    ) -> Result<Vec<(Cid, Bytes)>, Error> {
        let mut cover = self.covering(keys)?;
        let new = new.iter().filter_map(|(cid, _)| node_digest(cid));
        let new: HashSet<DigestKey> = new.copied().map(DigestKey).collect();
        cover.retain(|branch| !new.contains(&DigestKey(branch.digest())));
        Ok(encoded(cover))
    }

    /// Returns the nodes to fetch next, so that whatever is done with `keys` finds what it needs:
    /// of those that [`cover`](Self::cover) the keys, the topmost ones that are missing. If there
    /// are none, then [`get`](Self::get), [`insert`](Self::insert), [`remove`](Self::remove) and
    /// `cover` read nothing else for these keys.
    ///
    /// For blocks that are far away: instead of one after the other, as they turn out to be
    /// missing, they are fetched level by level, for all keys at once.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), but no [`Error::MissingBlock`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_ops::{Node, NodeStore, Tree};
    /// use blockstore_core::{BlockStoreMut, MemoryBlockStore};
    /// # let value = Node::empty().cid();
    /// # let far = MemoryBlockStore::new();
    /// # let entries = (0..100).map(|n| (format!("a/{n:03}"), value));
    /// # let changes = Tree::from_entries(entries)?.flush();
    /// # far.put_many(&changes.new)?;
    /// # let root = changes.root;
    /// # let fetch = |cids: &[blockstore_core::Cid]| {
    /// #     use blockstore_core::BlockStore;
    /// #     let get = |cid: &blockstore_core::Cid| {
    /// #         let block = far.get(cid)?.ok_or(mst_ops::Error::MissingBlock(*cid))?;
    /// #         Ok((*cid, block))
    /// #     };
    /// #     cids.iter().map(get).collect::<Result<Vec<_>, mst_ops::Error>>()
    /// # };
    ///
    /// let near = MemoryBlockStore::new();
    /// near.put_many(&fetch(&[root])?)?;
    /// let mut tree = Tree::open(NodeStore::new(&near), &root)?;
    /// let keys = ["a/007", "a/042", "b/1"];
    /// loop {
    ///     let missing = tree.missing_for(keys)?;
    ///     if missing.is_empty() {
    ///         break;
    ///     }
    ///     // In an asynchronous program, `fetch(..).await`. It must fail if any is not there.
    ///     near.put_many(&fetch(&missing)?)?;
    /// }
    /// tree.remove("a/007")?;
    /// tree.insert("b/1", &value)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn missing_for<'k, K: AsRef<[u8]> + ?Sized + 'k>(
        &self,
        keys: impl IntoIterator<Item = &'k K>,
    ) -> Result<Vec<Cid>, Error> {
        let mut missing = Vec::new();
        self.covering_unless(keys, |cid| {
            missing.push(cid);
            Ok(())
        })?;
        missing.sort_unstable();
        missing.dedup();
        Ok(missing)
    }

    /// The nodes that cover `keys`, each before those below it, from left to right.
    fn covering<'k, K: AsRef<[u8]> + ?Sized + 'k>(
        &self,
        keys: impl IntoIterator<Item = &'k K>,
    ) -> Result<Vec<&Branch>, Error> {
        self.covering_unless(keys, |cid| Err(Error::MissingBlock(cid)))
    }

    /// The same without what is below nodes that are missing, which are passed to `on_missing`.
    fn covering_unless<'k, K: AsRef<[u8]> + ?Sized + 'k>(
        &self,
        keys: impl IntoIterator<Item = &'k K>,
        on_missing: impl FnMut(Cid) -> Result<(), Error>,
    ) -> Result<Vec<&Branch>, Error> {
        let mut keys: SmallVec<[&[u8]; 8]> = keys.into_iter().map(AsRef::as_ref).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut cover = Cover {
            nodes: &self.nodes,
            keys: &keys,
            on_missing,
            found: Vec::with_capacity(USUAL_LEN),
        };
        let all = Wanted {
            keys: 0..keys.len(),
            first: false,
            last: false,
        };
        cover.add(View::of_top(self.top.branch()), &all)?;
        Ok(cover.found)
    }
}

/// Room for the nodes that cover the operations of most commits.
const USUAL_LEN: usize = 32;

struct Cover<'t, 'k, N, M> {
    nodes: &'t N,
    /// Sorted, without duplicates.
    keys: &'k [&'k [u8]],
    on_missing: M,
    found: Vec<&'t Branch>,
}

/// What is wanted of a tree.
#[derive(Default)]
struct Wanted {
    /// The nodes that cover these keys, as a range of [`Cover::keys`].
    keys: Range<usize>,
    /// The path to the first entry.
    first: bool,
    /// The path to the last entry.
    last: bool,
}

impl<'t, N, M> Cover<'t, '_, N, M>
where
    N: NodeSource,
    M: FnMut(Cid) -> Result<(), Error>,
{
    /// Adds a node, and what is wanted below it. The recursion is as deep as the tree, at most 129.
    fn add(&mut self, view: View<'t>, wanted: &Wanted) -> Result<(), Error> {
        self.found.push(view.branch);
        let node = &view.branch.node;
        let mut slots = Slots::default();
        if wanted.first {
            slots.at(0).first = true;
        }
        for index in wanted.keys.clone() {
            let Some(key) = self.keys.get(index) else {
                break;
            };
            match node.find(key) {
                Ok(entry) => {
                    slots.at(entry).last = true;
                    slots.at(entry + 1).first = true;
                }
                // If there is nothing below, the neighbours are here or above.
                Err(slot) => slots.at(slot).add_key(index),
            }
        }
        if wanted.last {
            slots.at(node.len()).last = true;
        }
        for (slot, wanted) in &slots.0 {
            match view.child(self.nodes, *slot) {
                Ok(Some(below)) => self.add(below, wanted)?,
                Ok(None) => {}
                Err(Error::MissingBlock(cid)) => (self.on_missing)(cid)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The slots of a node in which something is wanted, from left to right.
#[derive(Default)]
struct Slots(SmallVec<[(usize, Wanted); 4]>);

impl Slots {
    /// What is wanted in a slot, which must be the last so far or come after it.
    fn at(&mut self, slot: usize) -> &mut Wanted {
        if self.0.last().is_none_or(|(last, _)| *last != slot) {
            self.0.push((slot, Wanted::default()));
        }
        let (_, wanted) = self.0.last_mut().expect("it was added if it was missing");
        wanted
    }
}

impl Wanted {
    fn add_key(&mut self, index: usize) {
        if self.keys.is_empty() {
            self.keys.start = index;
        }
        self.keys.end = index + 1;
    }
}

/// Nodes with their blocks.
fn encoded(branches: Vec<&Branch>) -> Vec<(Cid, Bytes)> {
    let mut block = Vec::new();
    let encoded = branches.into_iter().map(|branch| {
        // If the tree has changed since the last flush, this hashes the nodes below.
        let cid = node_cid(&branch.digest());
        branch.encode(&mut block);
        (cid, Bytes::copy_from_slice(&block))
    });
    encoded.collect()
}
