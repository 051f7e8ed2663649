//! What is accepted as a record or a message has one meaning and one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mst_repo::dag_cbor::Reader;
use mst_repo::{Frame, Ipld, check_record, decode_record, encode_record};

fuzz_target!(|block: &[u8]| {
    let value = decode_record::<Ipld>(block);
    if check_record(block).is_ok() {
        let value = value.expect("a record is a value");
        // A key that JSON uses otherwise is not a fault of a record.
        if let Ok(encoded) = encode_record(&value) {
            assert_eq!(&encoded[..], block);
        }
    } else if let Ok(value) = value {
        assert!(encode_record(&value).is_err());
    }
    // An oracle that knows nothing of the reader.
    let read = Reader::with_depth(block, 128).end();
    let canonical = serde_ipld_dagcbor::from_slice::<Ipld>(block)
        .is_ok_and(|value| serde_ipld_dagcbor::to_vec(&value).is_ok_and(|again| again == block));
    assert_eq!(read.is_ok(), canonical, "{read:?}");
    if let Ok(frame) = Frame::decode(block) {
        let encoded = frame.encode();
        assert_eq!(Frame::decode(&encoded), Ok(frame));
    }
});
