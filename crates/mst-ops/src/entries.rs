//! The entries of a tree, or of a range of it, from either end.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Bound;

use blockstore_core::BlockStore;

use crate::bounds::{ends_by, is_after_start, is_before_end, is_empty_range, starts_by};
use crate::{EntryRef, Error, NodeWalker};

/// An iterator over the entries of a tree in key order, from
/// [`NodeWalker::entries`], [`range`](NodeWalker::range) or [`prefix`](NodeWalker::prefix);
/// with `.rev()` in reverse.
///
/// It never ends early: a subtree that cannot be read is an item, an error. After it the iterator
/// continues past that subtree. So if you stop at the first error (`?`), you never mistake a part
/// for the whole, and if you go on, you get all that can be reached. Errors count as items for
/// `count()` and `take(n)` too.
///
/// It cannot repeat a step. To fetch what is missing and go on, use [`NodeWalker::next_entry`],
/// which can be called again after an error.
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct Entries<'s, S> {
    /// Stands after the last item from the front.
    front: NodeWalker<'s, S>,
    /// Stands before the last item from the back, once there was one.
    back: Option<NodeWalker<'s, S>>,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    state: State,
    last_from_back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The front walker is not at the start of the range yet.
    New,
    Running,
    Done,
}

impl<'s, S: BlockStore> Entries<'s, S> {
    pub(crate) fn new(
        mut walker: NodeWalker<'s, S>,
        start: Bound<Vec<u8>>,
        end: Bound<Vec<u8>>,
    ) -> Self {
        walker.go_to_start();
        // Entries before the bounds of a walker of a subtree need not be looked for.
        let (left, _) = walker.root_bounds();
        let ends_before = left.is_some_and(|left| ends_by(&end, left));
        let state = if is_empty_range(&start, &end) || ends_before {
            State::Done
        } else {
            State::New
        };
        Self {
            front: walker,
            back: None,
            start,
            end,
            state,
            last_from_back: false,
        }
    }

    /// Returns the walker that produced the last item. After an error it stands in the slot whose
    /// subtree could not be read, so that its [`left_key`](NodeWalker::left_key) and
    /// [`right_key`](NodeWalker::right_key) say which keys are affected.
    pub fn walker(&self) -> &NodeWalker<'s, S> {
        match &self.back {
            Some(back) if self.last_from_back => back,
            _ => &self.front,
        }
    }

    /// Goes to the start of the range.
    fn start(&mut self) -> Result<(), Error> {
        self.state = State::Running;
        match &self.start {
            Bound::Included(key) => self.front.seek(key),
            Bound::Excluded(key) => {
                self.front.seek(key)?;
                if self.front.right_key() == Some(key) {
                    self.front.next_entry()?;
                }
                Ok(())
            }
            Bound::Unbounded => Ok(()),
        }
    }

    /// Goes to the end of the range.
    fn start_back(&self, back: &mut NodeWalker<'s, S>) -> Result<(), Error> {
        match &self.end {
            Bound::Included(key) => {
                back.seek(key)?;
                if back.right_key() == Some(key) {
                    back.next_entry()?;
                    // Now it is before the subtree right of `key`, all of which is outside of the
                    // range.
                }
                Ok(())
            }
            Bound::Excluded(key) => back.seek(key),
            Bound::Unbounded => {
                back.go_to_end();
                Ok(())
            }
        }
    }

    /// Whether no entry right of `key` can be in the remaining range.
    fn ends_by(&self, key: &[u8]) -> bool {
        ends_by(&self.end, key) || self.back_key().is_some_and(|given| key >= given)
    }

    /// Whether no entry left of `key` can be in the remaining range.
    fn starts_by(&self, key: &[u8]) -> bool {
        starts_by(&self.start, key) || self.front.left_key().is_some_and(|given| key <= given)
    }

    /// The key of the last entry from the back.
    fn back_key(&self) -> Option<&[u8]> {
        self.back.as_ref()?.right_key()
    }

    fn front_entry(&mut self) -> Result<Option<EntryRef>, Error> {
        if self.state == State::New {
            self.start()?;
        }
        if self.end == Bound::Unbounded && self.back.is_none() {
            return self.front.next_entry();
        }
        if self.front.left_key().is_some_and(|key| self.ends_by(key)) {
            return Ok(None);
        }
        let entry = self.front.next_entry()?;
        Ok(entry.filter(|entry| self.holds_from_back(entry.key())))
    }

    /// Whether `key` is before the end of the remaining range.
    fn holds_from_back(&self, key: &[u8]) -> bool {
        is_before_end(&self.end, key) && self.back_key().is_none_or(|given| key < given)
    }

    /// Whether `key` is after the start of the remaining range.
    fn holds_from_front(&self, key: &[u8]) -> bool {
        is_after_start(&self.start, key) && self.front.left_key().is_none_or(|given| key > given)
    }
}

impl<S: BlockStore> Iterator for Entries<'_, S> {
    type Item = Result<EntryRef, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        self.last_from_back = false;
        let mut item = self.front_entry().transpose();
        if let (Some(Err(_)), Some(back)) = (&item, &self.back)
            && self.front.stands_with(back)
        {
            // The back has returned this error, and everything after it.
            item = None;
        }
        match &item {
            Some(Ok(_)) => {}
            Some(Err(_)) => self.front.skip_subtree(),
            None => self.state = State::Done,
        }
        item
    }
}

impl<S: BlockStore> DoubleEndedIterator for Entries<'_, S> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        self.last_from_back = true;
        let mut back = if let Some(back) = self.back.take() {
            back
        } else {
            let mut back = self.front.clone();
            if let Err(error) = self.start_back(&mut back) {
                // The back stands left of what it could not enter. If the front stands right of
                // that, it has returned this error, and everything before it.
                let mut after = back.clone();
                after.skip_subtree();
                let given = after.stands_with(&self.front);
                self.back = Some(back);
                if given {
                    self.state = State::Done;
                    return None;
                }
                return Some(Err(error));
            }
            back
        };
        let item = match back.right_key() {
            Some(key) if self.starts_by(key) => None,
            _ => back.previous_entry().transpose(),
        };
        let item = item.filter(|item| match item {
            Ok(entry) => self.holds_from_front(entry.key()),
            // Otherwise the front has returned it, and everything before it.
            Err(_) => !back.stands_with(&self.front),
        });
        match &item {
            Some(Ok(_)) => {}
            Some(Err(_)) => back.skip_subtree(),
            None => self.state = State::Done,
        }
        self.back = Some(back);
        item
    }
}

impl<S: BlockStore> FusedIterator for Entries<'_, S> {}

impl<S: BlockStore> fmt::Debug for Entries<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries")
            .field("front", &self.front)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
