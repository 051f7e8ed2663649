//! What is accepted as a commit has one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mst_repo::Commit;

fuzz_target!(|block: &[u8]| {
    if let Ok(commit) = Commit::decode_version_2_or_3(block) {
        assert_eq!(commit.encode(), block);
        assert!(commit.unsigned_bytes().len() < block.len());
    }
});
