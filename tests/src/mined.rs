//! Keys found by trying.

use mst_node::height_of;

/// Returns the first key `{prefix}{n}`, for n = 0, 1, 2, ..., whose height is `height`.
///
/// It takes about 4 to the power of `height` tries.
pub fn key_of_height(prefix: &str, height: u8) -> String {
    (0..u64::MAX)
        .map(|n| format!("{prefix}{n}"))
        .find(|key| height_of(key.as_bytes()) == height)
        .expect("every height has keys")
}
