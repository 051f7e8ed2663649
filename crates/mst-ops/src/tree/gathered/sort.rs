//! Entries in the order of their keys.

/// Returns `indices` in the order of their keys, which `key` knows.
pub(super) fn sorted<'k>(
    indices: impl Iterator<Item = u32>,
    key: impl Fn(u32) -> &'k [u8],
) -> impl Iterator<Item = u32> {
    let mut items: Vec<_> = indices.map(|index| Item { head: 0, index }).collect();
    sort(&mut items, &key, 0);
    items.into_iter().map(|item| item.index)
}

/// An entry that is being sorted.
struct Item {
    /// The bytes of the key that are looked at, as a number.
    head: u64,
    index: u32,
}

/// Sorts entries by their keys, which have the first `depth` bytes in common.
///
/// Keys lie here and there in memory, and those of a repository have long prefixes in common. So
/// it is some bytes of each at a time, next to each other, that are compared.
fn sort<'k>(items: &mut [Item], key: &impl Fn(u32) -> &'k [u8], depth: usize) {
    if items.len() < FEW || depth >= DEEP {
        items.sort_unstable_by(|one, two| key(one.index).cmp(key(two.index)));
        return;
    }
    for item in &mut *items {
        let rest = key(item.index).get(depth..).unwrap_or_default();
        item.head = head(rest);
    }
    items.sort_unstable_by_key(|item| item.head);
    for same in items.chunk_by_mut(|one, two| one.head == two.head) {
        if same.len() > 1 {
            sort(same, key, depth + HEAD_LEN);
        }
    }
}

const HEAD_LEN: usize = 8;
/// So few entries are sorted at once.
const FEW: usize = 24;
/// Keys that have so much in common are compared as a whole.
const DEEP: usize = 8 * HEAD_LEN;

/// The first bytes of `rest`, those that are missing as zeros: a number that is less than that of
/// other bytes only if `rest` is less than they are.
fn head(rest: &[u8]) -> u64 {
    let mut bytes = [0; HEAD_LEN];
    match rest.first_chunk() {
        Some(first) => bytes = *first,
        None => {
            for (byte, place) in rest.iter().zip(&mut bytes) {
                *place = *byte;
            }
        }
    }
    u64::from_be_bytes(bytes)
}
