//! How much the workloads ask for, and in which order. The generator of the data includes this
//! file too, to know the expected checksums. It depends on nothing.

/// How many gets one run of the workload makes.
pub(crate) const GETS: usize = 20_000;
/// How many commits one run of the workload makes.
pub(crate) const COMMITS: usize = 5_000;
/// How many changes there are between the compared trees, unless there are fewer records.
pub(crate) const CHANGES: usize = 100;
/// How many messages of the firehose one run of the workloads about them gets.
pub(crate) const EVENTS: usize = 500;
/// The root is added to the checksum each time this many commits were made.
pub(crate) const CHECKPOINT: usize = 500;

/// Returns the positions, in key order, of the keys to get: all of `count` keys in a shuffled
/// order that is always the same, cut at [`GETS`], or repeated up to there when they are fewer.
pub(crate) fn sample(count: usize) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..count).collect();
    shuffle(&mut positions);
    positions.into_iter().cycle().take(GETS).collect()
}

/// Brings `items` into a shuffled order that is the same for all lists of one length.
pub(crate) fn shuffle<T>(items: &mut [T]) {
    let mut state = 0;
    for last in (1..items.len()).rev() {
        items.swap(last, below(last + 1, &mut state));
    }
}

/// Returns the next pseudo-random number under `bound` (splitmix64; the bias of the remainder
/// does not matter here).
fn below(bound: usize, state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^= word >> 31;
    usize::try_from(word % bound as u64).expect("a remainder is below its usize divisor")
}
