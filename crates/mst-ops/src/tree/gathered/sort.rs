//! Sorts entries by their keys.

/// Returns `indices` in the order of their keys, which `key` returns.
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
    /// The bytes of the key that are compared, as a number.
    head: u64,
    index: u32,
}

/// Sorts entries by their keys, which share the first `depth` bytes. Keys are scattered in memory,
/// and those of a repository share long prefixes. So this compares some bytes of each key at a
/// time, which it keeps in one array.
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
/// Groups as small as this are sorted by whole keys.
const FEW: usize = 24;
/// Keys that share this many bytes are compared as a whole.
const DEEP: usize = 8 * HEAD_LEN;

/// The first bytes of `rest` as a number, padded with zeros. If it is less than that of other
/// bytes, `rest` is less than they are.
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
