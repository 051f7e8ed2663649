//! How far a reader has got in a CAR, and what comes next there.
//!
//! A reader of a repository asks for nodes one by one and for records many at a time. If the CAR is
//! in the order of the tree, each of these two comes in order, interleaved with the other. So each
//! way of asking has a place of its own, and the next block is looked for in the few sections after
//! it.

/// How blocks are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    One,
    Many,
}

/// A place for each way of asking.
#[derive(Debug, Default)]
pub(crate) struct Places<P> {
    pub(crate) one: P,
    pub(crate) many: P,
}

impl<P> Places<P> {
    pub(crate) fn of(&self, asked: Asked) -> &P {
        match asked {
            Asked::One => &self.one,
            Asked::Many => &self.many,
        }
    }

    pub(crate) fn of_mut(&mut self, asked: Asked) -> &mut P {
        match asked {
            Asked::One => &mut self.one,
            Asked::Many => &mut self.many,
        }
    }
}

/// How far a reader has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    /// Where the section after the last returned block begins.
    pub(crate) next: u64,
    /// Whether that block came shortly after the one before.
    pub(crate) in_order: bool,
}

impl Place {
    pub(crate) fn is_near(&self, offset: u64) -> bool {
        const NEAR: u64 = 4 << 10;
        let ahead = offset.checked_sub(self.next);
        ahead.is_some_and(|ahead| ahead <= NEAR)
    }

    /// Records that a block was returned, whose section lies from `start` to `end`.
    pub(crate) fn come_to(&mut self, start: u64, end: u64) {
        self.in_order = self.is_near(start);
        self.next = end;
    }

    /// Looks for a block in the next few sections, if blocks came in order so far, and moves to
    /// where it is found. `look` returns whether the section at an offset is the one, and where it
    /// ends; `None` if it cannot be read.
    pub(crate) fn look_ahead<T>(
        &mut self,
        mut look: impl FnMut(u64) -> Option<(Option<T>, u64)>,
    ) -> Option<T> {
        const AHEAD: usize = 8;
        if !self.in_order {
            return None;
        }
        let mut offset = self.next;
        for _ in 0..AHEAD {
            let (found, end) = look(offset)?;
            if found.is_some() {
                self.come_to(offset, end);
                return found;
            }
            offset = end;
        }
        None
    }
}
