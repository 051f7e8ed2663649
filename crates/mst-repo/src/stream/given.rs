//! Records that were given, for the case that another path refers to one of them too.

use std::collections::HashMap;
use std::mem;

use blockstore_core::Bytes;

type Digest = [u8; 32];

/// The records given last, as many as there is room for.
#[derive(Default)]
pub(super) struct Given {
    new: Copies,
    old: Copies,
}

/// Copies of records, all in one buffer.
///
/// In a CAR that repeats what two paths refer to, nobody ever asks for one. So they are put into
/// a table only once somebody has.
#[derive(Default)]
struct Copies {
    bytes: Vec<u8>,
    /// The SHA-256 of each record, and where it ends.
    records: Vec<(Digest, usize)>,
    table: Option<HashMap<Digest, usize>>,
}

impl Given {
    /// Keeps a record, if its CID is of a usual form, with others in `room` bytes of memory.
    pub(super) fn push(&mut self, cid: &[u8], record: &[u8], room: usize) {
        let Some(digest) = sha2_256_of(cid) else {
            return;
        };
        if self.new.memory_len_with(record) > room / 2 {
            self.old = mem::take(&mut self.new);
        }
        if self.new.memory_len_with(record) <= room / 2 {
            self.new.push(*digest, record);
        }
    }

    /// Drops the older ones if all take more than `room` bytes of memory.
    pub(super) fn shrink_to(&mut self, room: usize) {
        if self.new.memory_len() > room / 2 {
            *self = Self::default();
        } else if self.old.memory_len() > room / 2 {
            self.old = Copies::default();
        }
    }

    pub(super) fn find(&mut self, cid: &[u8]) -> Option<Bytes> {
        let digest = sha2_256_of(cid)?;
        self.new.find(digest).or_else(|| self.old.find(digest))
    }
}

impl Copies {
    fn memory_len(&self) -> usize {
        self.memory_len_with(&[])
    }

    /// About as much memory as this takes with another record.
    fn memory_len_with(&self, record: &[u8]) -> usize {
        // What a record has here and in the table, in buffers that are half empty at worst.
        const EACH: usize = 4 * size_of::<(Digest, usize)>();
        2 * (self.bytes.len() + record.len()) + EACH * self.records.len()
    }

    fn push(&mut self, digest: Digest, record: &[u8]) {
        if let Some(table) = &mut self.table {
            table.insert(digest, self.records.len());
        }
        self.bytes.extend_from_slice(record);
        self.records.push((digest, self.bytes.len()));
    }

    fn find(&mut self, digest: &Digest) -> Option<Bytes> {
        let records = &self.records;
        let table = self.table.get_or_insert_with(|| {
            let digests = records.iter().map(|(digest, _)| *digest);
            digests.zip(0..).collect()
        });
        let index = *table.get(digest)?;
        let start = match index.checked_sub(1) {
            Some(before) => records.get(before)?.1,
            None => 0,
        };
        let record = self.bytes.get(start..records.get(index)?.1)?;
        Some(Bytes::copy_from_slice(record))
    }
}

/// The digest in a CID of version 1 with the hash function sha2-256, whose codec takes one byte:
/// whatever that is, there is just one block.
fn sha2_256_of(cid: &[u8]) -> Option<&Digest> {
    match cid {
        [1, 0..0x80, 0x12, 0x20, digest @ ..] => digest.try_into().ok(),
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
                    assert_eq!(given.find(&cid(0x71, n)), Some(record(n)));
                }
            }
            let kept: Vec<u8> = (0..100)
                .filter(|n| given.find(&cid(0x71, *n)).is_some())
                .collect();
            assert!((10..60).contains(&kept.len()), "{kept:?}");
            let last: Vec<u8> = (0..100).skip(100 - kept.len()).collect();
            assert_eq!(kept, last);
            for n in kept {
                assert_eq!(given.find(&cid(0x71, n)), Some(record(n)));
            }
            given.shrink_to(0);
            assert_eq!(given.find(&cid(0x71, 99)), None);
            given.push(&cid(0x71, 99), &record(99), 100);
            assert_eq!(given.find(&cid(0x71, 99)), None);
        }
    }

    #[test]
    fn a_cid_of_another_hash_function_that_ends_alike_is_another() {
        let mut given = Given::default();
        given.push(&cid(0x71, 7), b"record", 1_000);
        assert!(given.find(&cid(0x55, 7)).is_some());
        let sha2_512 = [&[1, 0x71, 0x13, 64][..], &[0; 28], &cid(0x71, 7)].concat();
        assert_eq!(given.find(&sha2_512), None);
        let cut = [&[1, 0x71, 0x12, 16][..], &[7; 32]].concat();
        assert_eq!(given.find(&cut), None);
    }
}
