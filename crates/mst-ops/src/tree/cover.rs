//! The nodes around some keys.

use std::collections::HashSet;

use blockstore_core::{Bytes, Cid};
use mst_node::node_cid;

use super::Tree;
use super::branch::View;
use crate::{Error, NodeSource};

impl<N: NodeSource> Tree<N> {
    /// Returns the nodes that cover `keys`: those on the way to each, and to its neighbours on
    /// both sides. Each comes once, a node before those below it; the top node always.
    ///
    /// That is what a receiver needs, beside the nodes that are new, to see what operations on
    /// these keys have done, and to take them back ([`invert`](Self::invert)). It is the same
    /// as what [`Prover::cover`](crate::Prover::cover) collects; here the nodes are in memory,
    /// and need not have been stored yet.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`Error::MissingBlock`] also where the key could not be
    /// in the node, but its neighbour could.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_ops::{Node, Tree};
    ///
    /// let value = Node::empty().cid();
    /// let tree = Tree::from_entries([("a/1", value), ("a/2", value)])?;
    /// let cover = tree.cover([b"a/3".as_slice()])?;
    /// assert_eq!(cover[0].0, tree.root());
    /// # Ok::<(), mst_ops::Error>(())
    /// ```
    pub fn cover<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<(Cid, Bytes)>, Error> {
        let mut cover = Cover::default();
        cover.add(View::of_top(&self.top));
        for key in keys {
            let mut view = View::of_top(&self.top);
            loop {
                cover.add(view);
                match view.branch.node.find(key) {
                    Ok(index) => {
                        self.add_edge(&mut cover, view, index, |below| below.branch.node.len())?;
                        self.add_edge(&mut cover, view, index + 1, |_| 0)?;
                        break;
                    }
                    // Where there is nothing below, the neighbours are here or above.
                    Err(slot) => match view.child(&self.nodes, slot)? {
                        Some(below) => view = below,
                        None => break,
                    },
                }
            }
        }
        Ok(cover.nodes)
    }

    /// Adds the nodes below a slot on one edge, whose slots `edge` picks.
    fn add_edge<'t>(
        &'t self,
        cover: &mut Cover,
        view: View<'t>,
        slot: usize,
        edge: impl Fn(View<'t>) -> usize,
    ) -> Result<(), Error> {
        let mut below = view.child(&self.nodes, slot)?;
        while let Some(view) = below {
            cover.add(view);
            below = view.child(&self.nodes, edge(view))?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Cover {
    nodes: Vec<(Cid, Bytes)>,
    seen: HashSet<Cid>,
    block: Vec<u8>,
}

impl Cover {
    fn add(&mut self, view: View<'_>) {
        let cid = node_cid(&view.branch.digest());
        if self.seen.insert(cid) {
            view.branch.encode(&mut self.block);
            self.nodes.push((cid, Bytes::copy_from_slice(&self.block)));
        }
    }
}
