//! All ways to read a CAR come to the same verdict, and what is accepted can be written
//! again and read back.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use blockstore_car::{
    CarBlock, CarBlockStore, CarDecoder, CarError, CarOptions, CarReader, CarWriter, Decoded,
    Verify,
};
use blockstore_core::BlockStore;
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("car_read-{}.car", std::process::id())));

fuzz_target!(|car: &[u8]| {
    for verify in [Verify::OnOpen, Verify::Never] {
        let options = CarOptions {
            verify: Some(verify),
            ..CarOptions::default()
        };
        std::fs::write(&*FILE, car).unwrap();

        let read = CarReader::with_options(car, options)
            .and_then(|reader| reader.collect::<Result<Vec<_>, _>>());
        let memory = CarBlockStore::from_bytes_with(car.to_vec(), options);
        let file = CarBlockStore::open_with(&*FILE, options);
        assert_eq!(verdict(&memory), verdict(&read));
        for most in [1, 1 + car.len() % 100] {
            assert_eq!(verdict(&in_pieces(car, most, options)), verdict(&read));
        }
        assert_eq!(verdict(&file), verdict(&read));
        if let (Ok(blocks), Ok(memory), Ok(file)) = (read, memory, file) {
            assert_eq!(memory.roots(), file.roots());
            assert_eq!(memory.section_count(), blocks.len());
            assert_same(&blocks, &memory, &file);
            assert_eq!(written(memory.roots(), &blocks), car);
        }
    }
    read_as_damaged(car);
});

/// What can be read before the fault can also be read from a damaged CAR.
fn read_as_damaged(car: &[u8]) {
    let (damaged, faults) = CarBlockStore::from_damaged_bytes(car.to_vec());
    let Ok(reader) = CarReader::new(car) else {
        assert!(!faults.is_empty());
        return;
    };
    assert_eq!(damaged.roots(), reader.roots());
    let read: Vec<_> = reader.collect();
    if read.iter().flatten().all(|block| block.verified) {
        for block in read.iter().flatten() {
            assert_eq!(
                damaged.get(&block.cid).unwrap().as_ref(),
                Some(&block.bytes)
            );
        }
        assert_eq!(faults.is_empty(), read.iter().all(Result::is_ok));
    }
}

fn in_pieces(car: &[u8], most: usize, options: CarOptions) -> Result<(), CarError> {
    let mut decoder = CarDecoder::with_options(options);
    let mut pieces = car.chunks(most);
    loop {
        match decoder.next_block()? {
            Decoded::Item(_) => {}
            Decoded::NeedsBytes => match pieces.next() {
                Some(piece) => decoder.push(piece),
                None => decoder.end(),
            },
            Decoded::End => return Ok(()),
        }
    }
}

fn verdict<T>(result: &Result<T, CarError>) -> String {
    match result {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn assert_same(blocks: &[CarBlock], memory: &CarBlockStore, file: &CarBlockStore) {
    for block in blocks {
        assert!(memory.has(&block.cid).unwrap() && file.has(&block.cid).unwrap());
        let (in_memory, in_file) = (memory.get(&block.cid), file.get(&block.cid));
        assert_eq!(in_memory.is_ok(), in_file.is_ok());
        if let (true, Ok(found)) = (block.verified, in_memory) {
            assert_eq!(found.as_deref(), Some(&*block.bytes));
        }
    }
}

fn written(roots: &[blockstore_car::Cid], blocks: &[CarBlock]) -> Vec<u8> {
    let mut writer = CarWriter::new(Vec::new(), roots).unwrap();
    for block in blocks {
        writer.write_block(&block.cid, &block.bytes).unwrap();
    }
    writer.finish().unwrap()
}
