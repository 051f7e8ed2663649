//! A record's block from its JSON: the reverse of `record.rs`.

use atproto_mst::{Ipld, Json};

use crate::json_lines::without_mark;

/// Returns the DAG-CBOR of the value in `text`.
pub(crate) fn block_of_json(text: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::from_slice(without_mark(text)).map(|Json(value)| block_of(&value))
}

/// Returns the DAG-CBOR of a value that was read from JSON.
pub(crate) fn block_of(value: &Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("every value read from JSON can be encoded")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use atproto_mst::Cid;
    use mst_testkit::{Rng, SampleRepository};

    use super::*;
    use crate::json::{JsonWriter, Layout};
    use crate::record::ReadableRecord;

    /// Prints a block and reads it back, in both layouts.
    fn comes_back(block: &[u8]) {
        let record = ReadableRecord::new(block).unwrap();
        for layout in [Layout::Indented, Layout::Line] {
            let mut text = Vec::new();
            let mut json = JsonWriter::new(&mut text, layout);
            record.write(&mut json).unwrap();
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(block_of_json(&text).unwrap(), block, "{shown}");
        }
    }

    #[test]
    fn all_records_of_the_samples_come_back() {
        let mut count = 0;
        for seed in 0..5 {
            for block in SampleRepository::generate(seed, 400).records.values() {
                comes_back(block);
                count += 1;
            }
        }
        assert!(count > 1_900, "{count}");
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let lists = |depth: usize| [vec![0x81; depth - 1], vec![0x80]].concat();
        comes_back(&lists(127));
        let deep = [vec![b'['; 1_000_000], vec![b']'; 1_000_000]].concat();
        let error = block_of_json(&deep).unwrap_err().to_string();
        assert!(error.starts_with("recursion limit exceeded"), "{error}");
    }

    #[test]
    fn whatever_the_data_model_has_comes_back() {
        let mut rng = Rng::new(8);
        for _ in 0..2_000 {
            let value = anything(&mut rng, 4);
            comes_back(&serde_ipld_dagcbor::to_vec(&value).unwrap());
        }
    }

    fn anything(rng: &mut Rng, depth: usize) -> Ipld {
        match rng.below(if depth == 0 { 6 } else { 8 }) {
            0 => Ipld::Null,
            1 => Ipld::Bool(rng.below(2) == 0),
            2 => {
                let number = i128::from(rng.next_u64() >> (1 + rng.below(63)));
                Ipld::Integer(if rng.below(2) == 0 {
                    number
                } else {
                    -1 - number
                })
            }
            3 => Ipld::String(any_text(rng)),
            4 => {
                let len = rng.below(300);
                Ipld::Bytes((0..len).map(|_| rng.next_u64().to_le_bytes()[0]).collect())
            }
            5 => Ipld::Link(match rng.below(3) {
                0 => atproto_mst::raw_cid(&rng.next_u64().to_le_bytes()),
                1 => atproto_mst::dag_cbor_cid(&rng.next_u64().to_le_bytes()),
                _ => Cid::new_v0(*atproto_mst::raw_cid(&rng.next_u64().to_le_bytes()).hash())
                    .unwrap(),
            }),
            6 => {
                let len = rng.below(30);
                Ipld::List((0..len).map(|_| anything(rng, depth - 1)).collect())
            }
            _ => {
                let len = rng.below(30);
                let fields = (0..len).map(|_| (any_text(rng), anything(rng, depth - 1)));
                Ipld::Map(fields.collect::<BTreeMap<_, _>>())
            }
        }
    }

    fn any_text(rng: &mut Rng) -> String {
        let len = rng.below(30);
        let mut char = || match rng.below(4) {
            0 => char::from_u32(u32::try_from(rng.below(0x80)).unwrap()),
            1 => char::from_u32(u32::try_from(rng.below(0x11_0000)).unwrap()),
            _ => Some(['"', '\\', '/', 'ü', '🌳', '\u{2028}', 'a', '\u{9b}'][rng.below(8)]),
        };
        (0..len).map(|_| char().unwrap_or(' ')).collect()
    }
}
