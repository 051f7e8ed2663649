//! Keeps records that were returned, in case another path leads to one of them too.

use std::collections::HashMap;
use std::mem;

use blockstore_core::Bytes;

/// A CID of version 1 with a digest of 32 bytes.
type Key = [u8; 36];

/// The most recent records, as many as there is room for.
#[derive(Default)]
pub(super) struct Given {
    new: Copies,
    old: Copies,
}

/// Copies of records, all in one buffer.
///
/// If a CAR repeats a record for each path, no copy is ever asked for. So they are put into a table
/// only once somebody asks.
#[derive(Default)]
struct Copies {
    bytes: Vec<u8>,
    /// The CID of each record, and where it ends.
    records: Vec<(Key, usize)>,
    table: Option<HashMap<Key, usize>>,
}

impl Given {
    /// Keeps a record, using at most `room` bytes of memory for all. Returns whether it does: the
    /// record must not be too large for that, and its CID must have a usual form.
    pub(super) fn push(&mut self, cid: &[u8], record: &[u8], room: usize) -> bool {
        key_of(cid).is_some_and(|key| self.keep(key, record, room))
    }

    fn keep(&mut self, key: &Key, record: &[u8], room: usize) -> bool {
        if Copies::default().memory_len_with(record) > room / 2 {
            return false;
        }
        if self.new.memory_len_with(record) > room / 2 {
            self.old = mem::take(&mut self.new);
        }
        self.new.push(*key, record);
        true
    }

    /// Drops the older ones if all together take more than `room` bytes of memory.
    pub(super) fn shrink_to(&mut self, room: usize) {
        if self.new.memory_len() > room / 2 {
            self.old = Copies::default();
            // To less than there is room for, as the room may keep shrinking.
            self.new = self.new.last_within(room / 4);
        } else if self.old.memory_len() > room / 2 {
            self.old = Copies::default();
        }
    }

    /// Finds a record, and counts it as the most recent. All take at most `room` bytes of memory.
    pub(super) fn find(&mut self, cid: &[u8], room: usize) -> Option<Bytes> {
        let key = key_of(cid)?;
        if let Some(record) = self.new.find(key) {
            return Some(record);
        }
        let record = self.old.find(key)?;
        self.keep(key, &record, room);
        Some(record)
    }
}

impl Copies {
    /// The overhead of a record here and in the table, in buffers that are half empty at worst.
    const EACH: usize = 4 * size_of::<(Key, usize)>();

    fn memory_len(&self) -> usize {
        self.memory_len_with(&[])
    }

    /// Roughly the memory that this takes with another record.
    fn memory_len_with(&self, record: &[u8]) -> usize {
        2 * (self.bytes.len() + record.len()) + Self::EACH * self.records.len()
    }

    fn push(&mut self, key: Key, record: &[u8]) {
        if let Some(table) = &mut self.table {
            table.insert(key, self.records.len());
        }
        self.bytes.extend_from_slice(record);
        self.records.push((key, self.bytes.len()));
    }

    fn find(&mut self, key: &Key) -> Option<Bytes> {
        let records = &self.records;
        let table = self.table.get_or_insert_with(|| {
            let keys = records.iter().map(|(key, _)| *key);
            keys.zip(0..).collect()
        });
        let index = *table.get(key)?;
        self.record(index).map(Bytes::copy_from_slice)
    }

    fn record(&self, index: usize) -> Option<&[u8]> {
        let start = match index.checked_sub(1) {
            Some(before) => self.records.get(before)?.1,
            None => 0,
        };
        self.bytes.get(start..self.records.get(index)?.1)
    }

    /// The most recent ones, as many as fit into `room` bytes of memory.
    fn last_within(&self, room: usize) -> Self {
        let (mut last, mut len) = (Self::default(), 0);
        let mut start = self.records.len();
        while let Some(record) = start.checked_sub(1).and_then(|index| self.record(index)) {
            len += Self::default().memory_len_with(record) + Self::EACH;
            if len > room {
                break;
            }
            start -= 1;
        }
        for index in start..self.records.len() {
            if let (Some((key, _)), Some(record)) = (self.records.get(index), self.record(index)) {
                last.push(*key, record);
            }
        }
        last
    }
}

/// `cid` itself, if it is of version 1 with the hash function sha2-256 and a codec of one byte.
fn key_of(cid: &[u8]) -> Option<&Key> {
    match cid {
        [1, 0..0x80, 0x12, 0x20, ..] => cid.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use blockstore_core::Bytes;

    use super::Given;

    fn cid(codec: u8, n: u8) -> Vec<u8> {
        [&[1, codec, 0x12, 0x20][..], &[n; 32]].concat()
    }

    fn record(n: u8) -> Bytes {
        vec![n; 40 + usize::from(n)].into()
    }

    #[test]
    fn the_last_are_kept_whether_somebody_has_asked_before_or_not() {
        for asks in [false, true] {
            let mut given = Given::default();
            for n in 0..100 {
                given.push(&cid(0x71, n), &record(n), 20_000);
                if asks {
                    assert_eq!(given.find(&cid(0x71, n), 0), Some(record(n)));
                }
            }
            let kept: Vec<u8> = (0..100)
                .filter(|n| given.find(&cid(0x71, *n), 0).is_some())
                .collect();
            assert!((10..60).contains(&kept.len()), "{kept:?}");
            let last: Vec<u8> = (0..100).skip(100 - kept.len()).collect();
            assert_eq!(kept, last);
            for n in kept {
                assert_eq!(given.find(&cid(0x71, n), 0), Some(record(n)));
            }
            given.shrink_to(0);
            assert_eq!(given.find(&cid(0x71, 99), 0), None);
            given.push(&cid(0x71, 99), &record(99), 100);
            assert_eq!(given.find(&cid(0x71, 99), 0), None);
        }
    }

    #[test]
    fn with_less_room_the_last_stay_and_what_was_found_counts_as_given() {
        let mut given = Given::default();
        for n in 0..60 {
            given.push(&cid(0x71, n), &record(n), 60_000);
        }
        for room in (10_000..60_000).rev().step_by(100) {
            given.shrink_to(room);
            assert!(given.find(&cid(0x71, 59), room).is_some(), "{room}");
        }
        assert_eq!(given.find(&cid(0x71, 0), 10_000), None);

        // However many come after it, the one that is asked for in between stays.
        for n in 60..250 {
            given.push(&cid(0x71, n), &record(n), 20_000);
            assert_eq!(given.find(&cid(0x71, 59), 20_000), Some(record(59)));
        }
        // One that is too large by itself does not push out the others.
        given.push(&cid(0x71, 255), &vec![0; 20_000], 20_000);
        assert!(given.find(&cid(0x71, 249), 20_000).is_some());
    }

    #[test]
    fn a_cid_that_ends_alike_is_another() {
        let mut given = Given::default();
        given.push(&cid(0x71, 7), b"record", 1_000);
        assert!(given.find(&cid(0x71, 7), 0).is_some());
        assert_eq!(given.find(&cid(0x55, 7), 0), None);
        let sha2_512 = [&[1, 0x71, 0x13, 64][..], &[0; 28], &cid(0x71, 7)].concat();
        assert_eq!(given.find(&sha2_512, 0), None);
        let cut = [&[1, 0x71, 0x12, 16][..], &[7; 32]].concat();
        assert_eq!(given.find(&cut, 0), None);
    }
}
