//! The danger: a CAR that is taken for another than it is. One that was cut off reads like a
//! smaller repository; one whose lengths lie asks for memory that does not exist; and if the
//! ways to read a CAR disagree, one part of a program uses something else than another part has
//! checked.
//!
//! So each fault is shown to all of them, in memory, in a file and as a stream, and all
//! must name the same fault at the same byte.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use std::cell::Cell;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use blockstore_car::{
    BlockStore, Bytes, CarBlockStore, CarDecoder, CarError, CarFault, CarOptions, CarReader,
    CarWriter, Cid, Decoded, StoreError, Verify,
};
use blockstore_core::{cid_of, contract, dag_cbor_cid, raw_cid};
use mst_testkit::{Rng, peak_claimed_memory, peak_memory};

// ---- Published vectors.

/// The header of the CAR specification's own example, `carv1-basic.car`: two roots.
///
/// Source: <https://ipld.io/specs/transport/car/fixture/carv1-basic/>
#[test]
fn the_published_header_is_read_and_written() {
    let roots: [Cid; 2] = [
        "bafyreihyrpefhacm6kkp4ql6j6udakdit7g3dmkzfriqfykhjw6cad5lrm",
        "bafyreidj5idub6mapiupjwjsyyxhyhedxycv4vihfsicm2vt46o7morwlm",
    ]
    .map(|cid| cid.parse().unwrap());
    let published = "63a265726f6f747382d82a58250001711220f88bc853804cf294fe417e4fa83028689fcdb1b1592c5102e1474dbc200fab8bd82a5825000171122069ea0740f9807a28f4d932c62e7c1c83be055e55072c90266ab3e79df63a365b6776657273696f6e01";
    let published: Vec<u8> = (0..published.len() / 2)
        .map(|n| u8::from_str_radix(&published[2 * n..2 * n + 2], 16).unwrap())
        .collect();
    let written = CarWriter::new(Vec::new(), &roots)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(written, published);
    assert_eq!(CarReader::new(published.as_slice()).unwrap().roots(), roots);
}

// ---- The header.

#[test]
fn the_number_of_roots_is_written_in_its_shortest_form() {
    let cid = dag_cbor_cid(b"\xa0");
    for (count, head) in [
        (23, b"\x97".as_slice()),
        (24, b"\x98\x18"),
        (255, b"\x98\xff"),
        (256, b"\x99\x01\x00"),
        (65_536, b"\x9a\x00\x01\x00\x00"),
    ] {
        let writer = CarWriter::new(Vec::new(), &vec![cid; count]).unwrap();
        let header = writer.finish().unwrap();
        let name = b"\x65roots";
        let at = header.windows(6).position(|bytes| bytes == name).unwrap() + 6;
        assert!(header[at..].starts_with(head), "{count}");
        let options = CarOptions {
            header_len: 4 << 20,
            ..CarOptions::default()
        };
        let car = CarBlockStore::from_bytes_with(header, options).unwrap();
        assert_eq!(car.roots().len(), count);
    }
}

#[test]
fn what_is_wrong_at_the_end_of_a_header_is_told_apart() {
    for (end, what) in [
        (b"\x01\xf6".as_slice(), "the end of the header"),
        (b"\x18\x01", "the shortest form of a number"),
    ] {
        let header = [b"\xa2\x65roots\x80\x67version", end].concat();
        let error = CarBlockStore::from_bytes(framed(&header)).unwrap_err();
        let CarError::Invalid {
            fault: CarFault::Header { wanted },
            ..
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(wanted, what);
    }
}

#[test]
fn after_a_wrong_header_there_are_no_roots() {
    let mut decoder = CarDecoder::new();
    decoder.push(b"\x00");
    assert!(matches!(decoder.roots(), Err(CarError::Invalid { .. })));
    assert!(matches!(decoder.roots(), Err(CarError::AfterError)));
}

#[cfg(unix)]
#[test]
fn a_folder_is_no_car() {
    let error = CarBlockStore::open(std::env::temp_dir()).unwrap_err();
    assert!(matches!(error, CarError::Io(_)), "{error:?}");
}

#[test]
fn nothing_is_no_car() {
    assert_fault(&[], 0, &CarFault::Empty);
}

#[test]
fn headers_of_another_version_are_refused() {
    let v2_pragma = b"\x0a\xa1\x67version\x02";
    assert_fault(v2_pragma, 1, &CarFault::Version { found: 2 });
    for (version, found) in [
        (b"\x00".as_slice(), 0),
        (b"\x02", 2),
        (b"\x18\xff", 255),
        (b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", u64::MAX),
    ] {
        let header = [b"\xa2\x65roots\x80\x67version", version].concat();
        assert_fault(&framed(&header), 17, &CarFault::Version { found });
    }
}

#[allow(clippy::too_many_lines, reason = "most of them are one fault each")]
#[test]
fn headers_that_are_not_canonical_are_refused() {
    let cid = dag_cbor_cid(b"\xa0").to_bytes();
    let link = [b"\xd8\x2a\x58\x25\x00".as_slice(), &cid].concat();
    let with_root = |link: &[u8]| [b"\xa2\x65roots\x81", link, b"\x67version\x01"].concat();
    // What is wrong, and at which byte of the header.
    let faults: Vec<(&str, usize, Vec<u8>)> = vec![
        ("no map", 0, b"\x80".to_vec()),
        ("text", 0, b"hello".to_vec()),
        ("an empty map", 0, b"\xa0".to_vec()),
        ("no roots", 0, b"\xa1\x67version\x01".to_vec()),
        ("no version", 0, b"\xa1\x65roots\x80".to_vec()),
        (
            "fields in another order",
            0,
            b"\xa2\x67version\x01\x65roots\x80".to_vec(),
        ),
        (
            "a field more",
            0,
            b"\xa3\x61a\x00\x65roots\x80\x67version\x01".to_vec(),
        ),
        (
            "another field",
            8,
            b"\xa2\x65roots\x80"
                .iter()
                .chain(b"\x67wersion\x01")
                .copied()
                .collect(),
        ),
        (
            "a map head that is too long",
            0,
            b"\xb8\x02\x65roots\x80\x67version\x01".to_vec(),
        ),
        (
            "a map without an end",
            0,
            b"\xbf\x65roots\x80\x67version\x01\xff".to_vec(),
        ),
        (
            "roots that are no array",
            7,
            b"\xa2\x65roots\xf6\x67version\x01".to_vec(),
        ),
        (
            "an array without an end",
            7,
            b"\xa2\x65roots\x9f\xff\x67version\x01".to_vec(),
        ),
        (
            "an array head that is too long",
            7,
            b"\xa2\x65roots\x98\x00\x67version\x01".to_vec(),
        ),
        (
            "an array that lies",
            16,
            b"\xa2\x65roots\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x67version\x01".to_vec(),
        ),
        (
            "a version of text",
            16,
            b"\xa2\x65roots\x80\x67version\x61\x31".to_vec(),
        ),
        (
            "a version in a longer form",
            16,
            b"\xa2\x65roots\x80\x67version\x18\x01".to_vec(),
        ),
        (
            "a version that is a float",
            16,
            b"\xa2\x65roots\x80\x67version\xf9\x3c\x00".to_vec(),
        ),
        (
            "no version number",
            16,
            b"\xa2\x65roots\x80\x67version".to_vec(),
        ),
        (
            "more behind it",
            17,
            b"\xa2\x65roots\x80\x67version\x01\x00".to_vec(),
        ),
        ("a root of text", 8, with_root(b"\x61a")),
        ("a root of null", 8, with_root(b"\xf6")),
        (
            "a root of another tag",
            8,
            with_root(&[b"\xd8\x2b", &link[2..]].concat()),
        ),
        (
            "a root with its tag in a longer form",
            8,
            with_root(&[b"\xd9\x00\x2a", &link[2..]].concat()),
        ),
        (
            "a root with its length in a longer form",
            11,
            with_root(&[b"\xd8\x2a\x59\x00\x25\x00".as_slice(), &cid].concat()),
        ),
        (
            "a root without its zero byte",
            8,
            with_root(&[b"\xd8\x2a\x58\x24".as_slice(), &cid].concat()),
        ),
        (
            "a root that is no CID",
            8,
            with_root(b"\xd8\x2a\x43\x00\x01\x71"),
        ),
        (
            "a root of more than a CID",
            11,
            with_root(&[b"\xd8\x2a\x58\x26\x00".as_slice(), &cid, b"\0"].concat()),
        ),
        (
            "a root whose length lies",
            19,
            with_root(b"\xd8\x2a\x5b\xff\xff\xff\xff\xff\xff\xff\xff\x00"),
        ),
    ];
    for (name, at, header) in faults {
        let verdict = verdict(&framed(&header));
        let Err((offset, CarFault::Header { .. })) = verdict else {
            panic!("{name}: {verdict:?}");
        };
        // At the byte that is wrong, or at the start of the item that it is in.
        let at = at as u64 + 1;
        assert!(
            offset <= at && at <= offset + 4,
            "{name}: at {offset}, not {at}"
        );
    }
    assert_eq!(verdict(&framed(&with_root(&link))), Ok(0));
}

#[test]
fn header_lengths_that_are_wrong_are_refused() {
    let header = b"\xa2\x65roots\x80\x67version\x01";
    assert_fault(&[0], 0, &CarFault::LengthZero);
    assert_fault(
        &[b"\x00".as_slice(), header].concat(),
        0,
        &CarFault::LengthZero,
    );
    assert_fault(
        &[b"\x91\x00".as_slice(), header].concat(),
        0,
        &CarFault::LengthNotMinimal,
    );
    assert_fault(&[0xff; 9], 0, &CarFault::LengthTooLong);
    assert_fault(&[0xff; 30], 0, &CarFault::LengthTooLong);
    let len = header.len() as u64;
    let short = [&[17], &header[..16]].concat();
    assert_fault(&short, 0, &CarFault::CutOff { len, missing: 1 });
    let limit = 1 << 20;
    let long = [varint(limit + 1), header.to_vec()].concat();
    assert_fault(
        &long,
        0,
        &CarFault::TooLong {
            len: limit + 1,
            limit,
        },
    );
    let lies = [varint(limit), header.to_vec()].concat();
    assert_fault(
        &lies,
        0,
        &CarFault::CutOff {
            len: limit,
            missing: limit - len,
        },
    );
}

/// A server's reply that is not a CAR, saved as one: its first byte is read as a length.
#[test]
fn what_is_no_car_at_all_is_told_so_whatever_length_it_begins_with() {
    let answers: [&[u8]; 4] = [
        br#"{"error":"RepoNotFound","message":"Could not find repo"}"#,
        b"<!DOCTYPE html>",
        b"{\"",
        b"\n\nnot found",
    ];
    for answer in answers {
        let wanted = "a map of `roots` and `version`";
        assert_fault(answer, 1, &CarFault::Header { wanted });
    }
    // As long as it may still be one, it is cut off.
    let cid = dag_cbor_cid(b"\xa0");
    let header = CarWriter::new(Vec::new(), &[cid])
        .unwrap()
        .finish()
        .unwrap();
    let len = header.len() as u64 - 1;
    for there in 1..header.len() {
        let missing = (header.len() - there) as u64;
        assert_fault(&header[..there], 0, &CarFault::CutOff { len, missing });
    }
    // The fault of a link with a byte after it is not a number.
    let start = b"\xa2\x65roots\x81\xd8\x2a\x58\x26\x00";
    let longer = [start, cid.to_bytes().as_slice(), b"\x00\x67version\x01"].concat();
    let wanted = "a link to a root";
    assert_fault(&framed(&longer), 1 + 8, &CarFault::Header { wanted });
}

#[test]
fn a_long_header_is_accepted_up_to_the_limit() {
    let roots: Vec<Cid> = (0..20_000_u32)
        .map(|n| dag_cbor_cid(&n.to_be_bytes()))
        .collect();
    let car = CarWriter::new(Vec::new(), &roots)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(verdict(&car), Ok(0));
    assert_eq!(
        CarBlockStore::from_bytes(car.clone()).unwrap().roots(),
        roots
    );
    let mut options = CarOptions::default();
    let len = car.len() as u64 - 3;
    options.header_len = u32::try_from(len).unwrap();
    assert_eq!(verdict_with(&car, options), Ok(0));
    options.header_len -= 1;
    let fault = CarFault::TooLong {
        len,
        limit: len - 1,
    };
    assert_eq!(verdict_with(&car, options), Err((0, fault)));
}

// ---- Sections.

#[test]
fn a_car_cut_off_anywhere_but_between_sections_is_refused() {
    let blocks = [b"".as_slice(), b"\xa0", &[0x40; 300], b"one more"].map(with_cid);
    let car = car_of(&blocks);
    // Between two sections nothing tells the end of the file from the end of the CAR; that
    // blocks are missing is then found by the reader of the tree.
    let mut whole = vec![header_len()];
    for (cid, block) in &blocks {
        let body = cid.to_bytes().len() + block.len();
        whole.push(whole.last().unwrap() + varint(body as u64).len() + body);
    }
    assert_eq!(whole.last(), Some(&car.len()));
    for len in 0..car.len() {
        let verdict = verdict(&car[..len]);
        if let Some(sections) = whole.iter().position(|end| *end == len) {
            assert_eq!(verdict, Ok(sections), "{len}");
            continue;
        }
        let (offset, fault) = verdict.unwrap_err();
        let begun = whole.iter().rev().find(|end| **end <= len);
        assert_eq!(offset, begun.map_or(0, |at| *at as u64), "{len}");
        let expected = match fault {
            CarFault::Empty => len == 0,
            CarFault::LengthCutOff => car[len - 1] & 0x80 != 0,
            CarFault::CutOff { missing, .. } => missing > 0,
            _ => false,
        };
        assert!(expected, "{len}: {fault:?}");
    }
}

#[test]
fn a_length_cut_off_by_the_end_is_no_clean_end() {
    let car = car_of(&[with_cid(b"\xa0")]);
    for end in [
        b"\x80".as_slice(),
        b"\xff\xff",
        b"\x80\x80\x80\x80\x80\x80\x80\x80",
    ] {
        let longer = [car.as_slice(), end].concat();
        assert_fault(&longer, car.len() as u64, &CarFault::LengthCutOff);
        assert_fault(end, 0, &CarFault::LengthCutOff);
    }
}

#[test]
fn section_lengths_that_are_wrong_are_refused() {
    let car = car_of(&[with_cid(b"\xa0")]);
    let at = car.len() as u64;
    let behind = |bytes: &[u8]| [car.as_slice(), bytes].concat();
    // Padding.
    assert_fault(&behind(b"\x00"), at, &CarFault::LengthZero);
    assert_fault(&behind(&[0; 4_096]), at, &CarFault::LengthZero);
    assert_fault(&behind(&[0xff; 9]), at, &CarFault::LengthTooLong);
    assert_fault(
        &behind(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
        at,
        &CarFault::LengthTooLong,
    );
    // 2 to the power of 64 plus 37, which is 37 without the upper bits.
    assert_fault(
        &behind(b"\xa5\x80\x80\x80\x80\x80\x80\x80\x80\x02"),
        at,
        &CarFault::LengthTooLong,
    );
    let (cid, _) = with_cid(b"\xa0");
    for length in [
        b"\xa5\x00".as_slice(),
        b"\xa5\x80\x00",
        b"\xa5\x80\x80\x80\x80\x80\x80\x80\x00",
    ] {
        let section = [length, &cid.to_bytes(), b"\xa0"].concat();
        assert_fault(&behind(&section), at, &CarFault::LengthNotMinimal);
    }
    let limit = 32 << 20;
    for len in [limit + 1, 1 << 32, (1 << 32) + 37, 1 << 48, (1 << 63) - 1] {
        let section = [varint(len), cid.to_bytes()].concat();
        assert_fault(&behind(&section), at, &CarFault::TooLong { len, limit });
    }
}

#[test]
fn sections_that_do_not_begin_with_a_cid_are_refused() {
    let car = car_of(&[with_cid(b"\xa0")]);
    let at = car.len() as u64;
    let digest = [7; 80];
    let short = |len| CarFault::SectionTooShort { len };
    let invalid = CarFault::InvalidCid;
    let bodies: Vec<(Vec<u8>, CarFault)> = vec![
        (vec![1], short(1)),
        (vec![0x12], invalid.clone()),
        (vec![0x12, 0x20], short(2)),
        (b"\x01\x71".to_vec(), short(2)),
        (b"\x01\x71\x12".to_vec(), short(3)),
        (b"\x01\x71\x12\x20".to_vec(), short(4)),
        ([b"\x01\x71\x12\x20", &digest[..31]].concat(), short(35)),
        ([b"\x12\x20", &digest[..31]].concat(), short(33)),
        ([b"\x01\x71\x13\x40", &digest[..63]].concat(), short(67)),
        (b"\x01\x80".to_vec(), short(2)),
        (vec![0], invalid.clone()),
        (b"hello, world".to_vec(), invalid.clone()),
        (
            [b"\x02\x71\x12\x20", &digest[..32]].concat(),
            invalid.clone(),
        ),
        (
            [b"\x00\x71\x12\x20", &digest[..32]].concat(),
            invalid.clone(),
        ),
        (
            [b"\x81\x00\x71\x12\x20", &digest[..32]].concat(),
            invalid.clone(),
        ),
        (
            [b"\x01\xf1\x00\x12\x20", &digest[..32]].concat(),
            invalid.clone(),
        ),
        (
            [b"\x01\x71\x12\xa0\x00", &digest[..32]].concat(),
            invalid.clone(),
        ),
        (
            [b"\x01\x71\x00\x41", &digest[..65]].concat(),
            invalid.clone(),
        ),
        (
            [
                b"\x01\x71\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
                &digest[..32],
            ]
            .concat(),
            invalid.clone(),
        ),
        (
            [
                b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x20",
                &digest[..32],
            ]
            .concat(),
            invalid,
        ),
    ];
    for (body, fault) in bodies {
        let longer = [car.as_slice(), &framed(&body)].concat();
        assert_eq!(verdict(&longer), Err((at + 1, fault)), "{body:02x?}");
    }
}

#[test]
fn lengths_that_lie_ask_for_no_more_than_is_there() {
    /// Counts how much is requested, and returns little.
    struct Counting<'c> {
        bytes: &'c [u8],
        most: &'c Cell<usize>,
    }

    impl Read for Counting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.most.set(self.most.get().max(buffer.len()));
            self.bytes.read(buffer)
        }
    }

    let car = car_of(&[]);
    let (used_before, claimed_before) = (peak_memory(), peak_claimed_memory());
    for len in [
        1 << 20,
        31 << 20,
        32 << 20,
        1 << 31,
        1 << 32,
        1 << 40,
        (1 << 63) - 1,
    ] {
        let mut lying = [car.clone(), varint(len), vec![1; 1_000]].concat();
        let mut options = CarOptions::default();
        for limit in [32 << 20, u32::MAX] {
            options.section_len = limit;
            let most = Cell::new(0);
            let input = Counting {
                bytes: &lying,
                most: &most,
            };
            let read = CarReader::with_options(input, options)
                .unwrap()
                .last()
                .unwrap();
            assert!(matches!(read, Err(CarError::Invalid { .. })), "{len}");
            assert!(
                most.get() <= 256 << 10,
                "{len}: {} bytes at once",
                most.get()
            );
            assert!(verdict_with(&lying, options).is_err());
        }
        lying.truncate(car.len() + 2);
        assert!(verdict(&lying).is_err());
        // And in place of the header's.
        assert!(verdict(&[varint(len), vec![1; 1_000]].concat()).is_err());
    }
    if let (Some(before), Some(after)) = (used_before, peak_memory()) {
        // Other tests run at the same time; still, the smallest of the lies is larger.
        assert!(after - before < 512 << 20, "{before} to {after}");
    }
    if let (Some(before), Some(after)) = (claimed_before, peak_claimed_memory()) {
        // And each thread may be given some; the longest of the lies within a limit is larger.
        assert!(after - before < 3 << 30, "{before} to {after}");
    }
}

#[test]
fn sections_up_to_the_limit_are_accepted_and_longer_ones_refused() {
    let block = vec![0x40; 5_000];
    let (cid, block) = with_cid(&block);
    let car = car_of(&[(cid, block)]);
    let mut options = CarOptions {
        section_len: 5_036,
        ..CarOptions::default()
    };
    assert_eq!(verdict_with(&car, options), Ok(1));
    options.section_len = 5_035;
    let fault = CarFault::TooLong {
        len: 5_036,
        limit: 5_035,
    };
    assert_eq!(
        verdict_with(&car, options),
        Err((header_len() as u64, fault))
    );
    let mut largest = vec![0x40; (32 << 20) - 36];
    assert_eq!(verdict(&car_of(&[with_cid(&largest)])), Ok(1));
    largest.push(0);
    let len = (32 << 20) + 1;
    let fault = CarFault::TooLong {
        len,
        limit: 32 << 20,
    };
    assert_fault(&car_of(&[with_cid(&largest)]), header_len() as u64, &fault);
}

// ---- Blocks that do not match their CIDs.

#[test]
fn a_bad_block_is_refused_when_the_options_say() {
    let good = [with_cid(b"one"), with_cid(b"three")];
    let bad = dag_cbor_cid(b"two");
    let car = car_of(&[good[0].clone(), (bad, b"TWO".to_vec()), good[1].clone()]);
    let at = (header_len() + 1 + 36 + 3) as u64;
    let options = |verify| CarOptions {
        verify,
        ..CarOptions::default()
    };
    let file = TempFile::new(&car);
    let memory = |verify| CarBlockStore::from_bytes_with(car.clone(), options(verify));
    let on_disk = |verify| CarBlockStore::open_with(&file.0, options(verify));
    let mismatch = Err((at, CarFault::HashMismatch(bad)));

    // On opening: the default in memory.
    for opened in [
        memory(None),
        memory(Some(Verify::OnOpen)),
        on_disk(Some(Verify::OnOpen)),
    ] {
        let refused = opened.map(|_| 0);
        assert_eq!(refused.as_ref().unwrap_err().cid(), Some(bad));
        assert_eq!(of(refused), mismatch);
    }
    let for_a_store = StoreError::from(memory(None).map(|_| 0).unwrap_err());
    assert!(matches!(for_a_store, StoreError::HashMismatch(cid) if cid == bad));
    // On reading: the default for a file. All other blocks are unaffected.
    for opened in [
        on_disk(None),
        memory(Some(Verify::OnRead)),
        on_disk(Some(Verify::OnRead)),
    ] {
        let store = opened.unwrap();
        for _ in 0..2 {
            assert!(matches!(store.get(&bad), Err(StoreError::HashMismatch(cid)) if cid == bad));
            assert!(matches!(
                store.get_many(&[good[0].0, bad]),
                Err(StoreError::HashMismatch(_))
            ));
            assert!(store.has(&bad).unwrap());
            for (cid, block) in &good {
                assert_eq!(store.get(cid).unwrap().as_deref(), Some(block.as_slice()));
            }
        }
    }
    // Never.
    for opened in [memory(Some(Verify::Never)), on_disk(Some(Verify::Never))] {
        assert_eq!(
            opened.unwrap().get(&bad).unwrap().as_deref(),
            Some(b"TWO".as_slice())
        );
    }
    // A stream.
    for verify in [None, Some(Verify::OnOpen), Some(Verify::OnRead)] {
        let mut reader = CarReader::with_options(car.as_slice(), options(verify)).unwrap();
        let first = reader.next().unwrap().unwrap();
        assert!(first.verified);
        let second = reader.next().unwrap().map(|_| 0);
        assert_eq!(of(second), mismatch);
        assert!(reader.next().is_none(), "nothing follows an error");
    }
    let reader = CarReader::with_options(car.as_slice(), options(Some(Verify::Never))).unwrap();
    let blocks: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(blocks.len(), 3);
    assert!(
        blocks.iter().all(|block| !block.verified),
        "nobody has looked"
    );
}

#[test]
fn a_bit_flipped_anywhere_is_found_when_blocks_are_checked() {
    let blocks = [b"\xa0".as_slice(), b"\x81\x01"].map(with_cid);
    let car = car_of(&blocks);
    for at in header_len()..car.len() {
        for bit in 0..8 {
            let mut changed = car.clone();
            changed[at] ^= 1 << bit;
            // A codec is not part of what is hashed, and another hash function is not known:
            // such a block has another name, and is not verified.
            let renamed = || {
                let reader = CarReader::new(changed.as_slice()).unwrap();
                let found: Vec<_> = reader.map(Result::unwrap).collect();
                found
                    .iter()
                    .zip(&blocks)
                    .any(|(found, (cid, _))| found.cid != *cid)
            };
            let verdict = verdict_with(&changed, checked());
            assert!(verdict.is_err() || renamed(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn blocks_of_a_car_in_memory_are_parts_of_it() {
    let blocks = [&b"one"[..], b"two"].map(with_cid);
    let car = Bytes::from(car_of(&blocks));
    let inside = car.as_ptr_range();
    let store = CarBlockStore::from_bytes(car).unwrap();
    for (cid, block) in &blocks {
        let found = store.get(cid).unwrap().unwrap();
        assert_eq!(found, block);
        assert!(inside.contains(&found.as_ptr()));
    }
    let cids = blocks.map(|(cid, _)| cid);
    for found in store.get_many(&cids).unwrap() {
        assert!(inside.contains(&found.unwrap().as_ptr()));
    }
}

/// A codec of more than one byte does not change the hash.
#[test]
fn a_bad_block_of_whatever_codec_is_one() {
    // CIDv1, dag-json in two bytes, sha2-256.
    let mut cid = vec![1, 0xa9, 0x02, 0x12, 0x20];
    cid.extend([7; 32]);
    let car = car_of(&[(Cid::try_from(cid.as_slice()).unwrap(), b"wrong".to_vec())]);
    assert!(matches!(
        verdict_with(&car, checked()),
        Err((_, CarFault::HashMismatch(_)))
    ));
}

#[test]
fn blocks_that_cannot_be_verified_are_passed_over_and_never_given() {
    let odd = odd_blocks();
    let car = car_of(&[vec![with_cid(b"\xa0")], odd.clone()].concat());
    assert_eq!(verdict(&car), Ok(1 + odd.len()));
    let file = TempFile::new(&car);
    for verify in [None, Some(Verify::OnOpen), Some(Verify::OnRead)] {
        let options = CarOptions {
            verify,
            ..CarOptions::default()
        };
        for store in [
            CarBlockStore::from_bytes_with(car.clone(), options).unwrap(),
            CarBlockStore::open_with(&file.0, options).unwrap(),
        ] {
            for (cid, _) in &odd {
                let got = store.get(cid);
                assert!(
                    matches!(&got, Err(StoreError::Unverifiable(of)) if of == cid),
                    "{cid}: {got:?}"
                );
                assert!(store.get_many(&[*cid]).is_err());
            }
            let (cid, block) = with_cid(b"\xa0");
            assert_eq!(store.get(&cid).unwrap().as_deref(), Some(block.as_slice()));
        }
    }
    let blocks: Vec<_> = CarReader::new(car.as_slice())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (found, (cid, block)) in blocks[1..].iter().zip(&odd) {
        assert_eq!(
            (found.cid, &*found.bytes, found.verified),
            (*cid, block.as_slice(), false)
        );
    }
    let options = CarOptions {
        verify: Some(Verify::Never),
        ..CarOptions::default()
    };
    let store = CarBlockStore::from_bytes_with(car, options).unwrap();
    for (cid, block) in &odd {
        assert_eq!(store.get(cid).unwrap().as_deref(), Some(block.as_slice()));
    }
}

// ---- What is odd but valid.

#[test]
fn any_number_of_roots_is_accepted() {
    let (cid, block) = with_cid(b"\xa0");
    let not_there = dag_cbor_cid(b"not there");
    let raw = raw_cid(b"raw");
    let v0 = Cid::new_v0(*raw.hash()).unwrap();
    for roots in [
        vec![],
        vec![cid],
        vec![not_there],
        vec![cid, cid],
        vec![cid, raw, v0, odd_blocks()[0].0],
    ] {
        let mut writer = CarWriter::new(Vec::new(), &roots).unwrap();
        writer.write_block(&cid, &block).unwrap();
        let car = writer.finish().unwrap();
        assert_eq!(verdict(&car), Ok(1));
        assert_eq!(
            CarBlockStore::from_bytes(car.clone()).unwrap().roots(),
            roots
        );
        assert_eq!(
            CarBlockStore::open(&TempFile::new(&car).0).unwrap().roots(),
            roots
        );
        assert_eq!(CarReader::new(car.as_slice()).unwrap().roots(), roots);
    }
}

#[test]
fn duplicates_empty_blocks_and_other_codecs_are_accepted_in_any_order() {
    let raw = (raw_cid(b"raw"), b"raw".to_vec());
    let as_cbor = (dag_cbor_cid(b"raw"), b"raw".to_vec());
    let dag_pb = (cid_of(0x70, b"\x0a\x00"), b"\x0a\x00".to_vec());
    let v0 = (Cid::new_v0(*dag_pb.0.hash()).unwrap(), b"\x0a\x00".to_vec());
    let two_byte_codec = (cid_of(0x0129, b"{}"), b"{}".to_vec());
    let blocks = [
        with_cid(b""),
        raw,
        with_cid(b"\xa0"),
        as_cbor,
        with_cid(b""),
        dag_pb,
        v0,
        with_cid(b"\xa0"),
        two_byte_codec,
    ];
    for turn in 0..blocks.len() {
        let mut blocks = blocks.clone();
        blocks.rotate_left(turn);
        let car = car_of(&blocks);
        assert_eq!(verdict_with(&car, checked()), Ok(9));
        let file = TempFile::new(&car);
        for store in [
            CarBlockStore::from_bytes(car.clone()).unwrap(),
            CarBlockStore::open(&file.0).unwrap(),
        ] {
            assert_eq!((store.len(), store.is_empty()), (7, false));
            assert_eq!(store.section_count(), 9);
            let held: Vec<(Cid, Bytes)> = blocks
                .iter()
                .map(|(cid, block)| (*cid, block.clone().into()))
                .collect();
            contract::read_only(&store, &held);
        }
    }
}

#[test]
fn both_kinds_of_store_keep_the_contract() {
    let blocks: Vec<(Cid, Bytes)> = (0..200_usize)
        .map(|n| with_cid(&vec![0x40; n * n * 7]))
        .map(|(cid, block)| (cid, block.into()))
        .collect();
    let plain: Vec<(Cid, Vec<u8>)> = blocks.iter().map(|(c, b)| (*c, b.to_vec())).collect();
    let car = car_of(&plain);
    let file = TempFile::new(&car);
    for verify in [
        None,
        Some(Verify::OnOpen),
        Some(Verify::OnRead),
        Some(Verify::Never),
    ] {
        let options = CarOptions {
            verify,
            ..CarOptions::default()
        };
        contract::read_only(
            &CarBlockStore::from_bytes_with(car.clone(), options).unwrap(),
            &blocks,
        );
        contract::read_only(
            &CarBlockStore::open_with(&file.0, options).unwrap(),
            &blocks,
        );
    }
}

#[test]
fn the_empty_car_is_a_car() {
    let car = car_of(&[]);
    assert_eq!(verdict(&car), Ok(0));
    let store = CarBlockStore::from_bytes(car.clone()).unwrap();
    assert!(store.is_empty() && store.section_count() == 0);
    assert_eq!(store.get(&dag_cbor_cid(b"")).unwrap(), None);
    let store = CarBlockStore::open(&TempFile::new(&car).0).unwrap();
    assert!(store.is_empty());
    assert_eq!(store.get(&dag_cbor_cid(b"")).unwrap(), None);
}

// ---- Streams and files that misbehave.

#[test]
fn a_stream_in_single_bytes_with_interruptions_is_the_same_car() {
    /// Returns one byte at a time, and every other time that it was interrupted.
    struct Halting<'c> {
        bytes: &'c [u8],
        interrupt: bool,
    }

    impl Read for Halting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.interrupt = !self.interrupt;
            if self.interrupt {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = buffer.len().min(1);
            self.bytes.read(&mut buffer[..len])
        }
    }

    let blocks = [b"".as_slice(), b"\xa0", &vec![0x40; 100_000]].map(with_cid);
    let car = car_of(&blocks);
    for len in [
        car.len(),
        car.len() - 1,
        header_len() + 1,
        header_len() - 1,
        1,
        0,
    ] {
        let halting = Halting {
            bytes: &car[..len],
            interrupt: false,
        };
        let read = CarReader::new(halting).and_then(|reader| {
            let blocks = reader.collect::<Result<Vec<_>, _>>()?;
            Ok(blocks.len())
        });
        assert_eq!(of(read), verdict(&car[..len]), "{len}");
    }
}

#[test]
fn a_stream_that_fails_is_no_end() {
    /// Fails where its bytes end.
    struct Failing<'c>(&'c [u8]);

    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 if !buffer.is_empty() => Err(io::ErrorKind::ConnectionReset.into()),
                len => Ok(len),
            }
        }
    }

    let car = car_of(&[with_cid(b"\xa0"), with_cid(b"\x80")]);
    for len in 0..=car.len() {
        let read = CarReader::new(Failing(&car[..len])).and_then(|mut reader| {
            let result = reader.try_fold(0, |count, block| block.map(|_| count + 1));
            assert!(reader.next().is_none(), "nothing follows an error");
            result
        });
        assert!(matches!(read, Err(CarError::Io(_))), "{len}: {read:?}");
    }
}

#[test]
fn a_writer_that_fails_is_an_error() {
    let (cid, block) = with_cid(b"\xa0");
    let whole = car_of(&[(cid, block.clone())]);
    for room in 0..whole.len() {
        let mut space = vec![0; room];
        let written = CarWriter::new(space.as_mut_slice(), &[])
            .and_then(|mut writer| writer.write_block(&cid, &block));
        assert!(matches!(written, Err(CarError::Io(_))), "{room}");
        assert_eq!(space, whole[..room]);
    }
}

#[test]
fn a_file_cut_off_after_opening_is_an_error_and_never_a_missing_block() {
    let blocks: Vec<_> = (0..50_u8).map(|n| with_cid(&vec![n; 4_000])).collect();
    let car = car_of(&blocks);
    for verify in [None, Some(Verify::OnOpen), Some(Verify::Never)] {
        let file = TempFile::new(&car);
        let options = CarOptions {
            verify,
            ..CarOptions::default()
        };
        let store = CarBlockStore::open_with(&file.0, options).unwrap();
        let handle = std::fs::OpenOptions::new()
            .write(true)
            .open(&file.0)
            .unwrap();
        handle.set_len(100_000).unwrap();
        let mut errors = 0;
        for (cid, block) in &blocks {
            match store.get(cid) {
                Ok(found) => assert_eq!(found.as_deref(), Some(block.as_slice())),
                Err(StoreError::Backend(_)) => errors += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(errors >= 24, "{errors}");
    }
}

#[test]
fn a_file_changed_after_opening_is_an_error_and_never_a_missing_block() {
    let blocks: Vec<_> = (0..50_u8).map(|n| with_cid(&vec![n; 4_000])).collect();
    let car = car_of(&blocks);
    let section = 2 + 36 + 4_000;
    // In the block, in the digest, in the CID's first byte, in the length.
    for at in [3_000, 20, 2, 0] {
        let file = TempFile::new(&car);
        let store = CarBlockStore::open(&file.0).unwrap();
        let mut changed = car.clone();
        for n in 0..blocks.len() {
            changed[header_len() + n * section + at] ^= 0x55;
        }
        std::fs::write(&file.0, &changed).unwrap();
        for (cid, _) in blocks.iter().chain(blocks.iter().rev()) {
            let got = store.get(cid);
            assert!(
                got.is_err(),
                "byte {at} of a section changed: {:?}",
                got.map(|b| b.is_some())
            );
        }
    }
}

#[test]
fn a_file_that_was_wrong_for_a_while_is_read_again() {
    // Small enough for one read-ahead window, which is filled while the file is wrong.
    let blocks: Vec<_> = (0..50_u8).map(|n| with_cid(&vec![n; 400])).collect();
    let car = car_of(&blocks);
    let section = 2 + 36 + 400;
    for (at, in_order) in [300, 20, 2, 0]
        .into_iter()
        .flat_map(|at| [(at, true), (at, false)])
    {
        let file = TempFile::new(&car);
        let store = CarBlockStore::open(&file.0).unwrap();
        let mut changed = car.clone();
        changed[header_len() + 20 * section + at] ^= 0x55;
        std::fs::write(&file.0, &changed).unwrap();
        let mut order: Vec<_> = blocks.iter().collect();
        if !in_order {
            order[10..].reverse();
        }
        let wrong = order.iter().filter(|(cid, _)| store.get(cid).is_err());
        assert_eq!(wrong.count(), 1, "byte {at}");
        let cids = || store.cids().filter_map(Result::ok);
        let in_cid = (2..38).contains(&at);
        let wrong = cids().filter(|cid| blocks.iter().all(|(known, _)| known != cid));
        assert_eq!(wrong.count(), 0, "byte {at}");
        assert_eq!(cids().count() < blocks.len(), in_cid, "byte {at}");

        std::fs::write(&file.0, &car).unwrap();
        assert!(cids().eq(blocks.iter().map(|(cid, _)| *cid)), "byte {at}");
        for (cid, block) in order {
            assert_eq!(
                store.get(cid).unwrap().as_deref(),
                Some(&block[..]),
                "byte {at}"
            );
        }
    }
}

#[test]
fn opening_a_file_of_many_sections_with_one_cid_reads_each_once() {
    // A large block, and after it many small ones that claim to be the same.
    let large = vec![0x40; 16 << 20];
    let (cid, _) = with_cid(&large);
    let mut blocks = vec![(cid, large)];
    blocks.resize(3_000, (cid, Vec::new()));
    let file = TempFile::new(&car_of(&blocks));
    let before = bytes_read();
    let store = CarBlockStore::open(&file.0).unwrap();
    assert_eq!((store.len(), store.section_count()), (1, 3_000));
    // Reading the large one again for each of the others would be 48 GB.
    assert!(bytes_read() - before < 1 << 30);
}

#[test]
fn asking_whether_a_block_is_there_does_not_read_it() {
    let blocks = [with_cid(&vec![0x40; 16 << 20])];
    let file = TempFile::new(&car_of(&blocks));
    let store = CarBlockStore::open(&file.0).unwrap();
    let before = bytes_read();
    for _ in 0..4_000 {
        assert!(store.has(&blocks[0].0).unwrap());
    }
    // The other tests of this file read too, but not that much.
    assert!(bytes_read() - before < 1 << 30);
}

/// How much this process has read so far; nothing on systems that do not say.
fn bytes_read() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let rchar = counters
        .lines()
        .find_map(|line| line.strip_prefix("rchar: "));
    rchar.map_or(0, |count| count.parse().unwrap())
}

/// Only the index knows which is the first, so one nearby must not be taken for it.
#[test]
fn of_a_block_that_is_there_twice_the_first_counts_however_it_is_come_by() {
    let blocks: Vec<_> = (0..1_000_u32)
        .flat_map(|n| {
            let (cid, block) = with_cid(&[&n.to_be_bytes()[..], &[7; 300]].concat());
            let damaged = [&block[..300], &[8; 4]].concat();
            [(cid, block), (cid, damaged)]
        })
        .collect();
    let car = car_of(&blocks);
    let file = TempFile::new(&car);
    for verify in [Verify::OnRead, Verify::Never] {
        let options = CarOptions {
            verify: Some(verify),
            ..CarOptions::default()
        };
        for store in [
            CarBlockStore::from_bytes_with(car.clone(), options).unwrap(),
            CarBlockStore::open_with(&file.0, options).unwrap(),
        ] {
            for (cid, block) in blocks.iter().step_by(2) {
                for _ in 0..3 {
                    assert_eq!(store.get(cid).unwrap().as_deref(), Some(&block[..]));
                    let found = store.get_many(&[*cid, *cid]).unwrap();
                    assert!(found.iter().all(|found| found.as_deref() == Some(block)));
                }
            }
        }
    }
}

/// A store first looks for a block near the last one, with a separate place for each way to ask.
#[test]
fn whatever_the_order_they_are_asked_for_the_blocks_are_the_right_ones() {
    let mut rng = Rng::new(23);
    // Longer than what a store searches at once, in memory and in a file.
    let blocks: Vec<_> = (0..4_000_usize)
        .map(|n| {
            let len = rng.below(400);
            with_cid(&[&n.to_be_bytes()[..], &vec![7; len]].concat())
        })
        .collect();
    let (missing, _) = with_cid(b"not in the CAR");
    let car = car_of(&blocks);
    let file = TempFile::new(&car);
    for store in [
        CarBlockStore::from_bytes(car.clone()).unwrap(),
        CarBlockStore::open(&file.0).unwrap(),
    ] {
        let mut places = [0; 2];
        for _ in 0..2_000 {
            let many = rng.below(2);
            if rng.below(20) == 0 {
                places[many] = rng.below(blocks.len());
            }
            let mut wanted = Vec::new();
            for _ in 0..=rng.below(1 + 16 * many) {
                // Forward, mostly past some, and sometimes back.
                let at = places[many] + rng.below(12);
                let at = at.saturating_sub(rng.below(9) / 8 * 30) % blocks.len();
                wanted.push((rng.below(50) > 0).then_some(&blocks[at]));
                places[many] = at + 1;
            }
            let cids: Vec<_> = wanted
                .iter()
                .map(|block| block.map_or(missing, |(cid, _)| *cid))
                .collect();
            let found = match (many, &*cids) {
                (0, [cid]) => vec![store.get(cid).unwrap()],
                _ => store.get_many(&cids).unwrap(),
            };
            let found: Vec<_> = found.iter().map(Option::as_deref).collect();
            let wanted: Vec<_> = wanted
                .iter()
                .map(|block| block.map(|(_, bytes)| bytes.as_slice()))
                .collect();
            assert_eq!(found, wanted);
        }
    }
}

#[test]
fn threads_share_a_store() {
    let blocks: Vec<_> = (0..200_usize).map(|n| with_cid(&vec![7; n * 97])).collect();
    let car = car_of(&blocks);
    let file = TempFile::new(&car);
    for store in [
        CarBlockStore::from_bytes(car.clone()).unwrap(),
        CarBlockStore::open(&file.0).unwrap(),
    ] {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (store, blocks) = (&store, &blocks);
                scope.spawn(move || {
                    for round in 0..10 {
                        for n in 0..blocks.len() {
                            let n = if thread % 2 == 0 {
                                n
                            } else {
                                (n * 61 + round) % blocks.len()
                            };
                            let (cid, block) = &blocks[n];
                            assert_eq!(store.get(cid).unwrap().as_deref(), Some(block.as_slice()));
                        }
                    }
                });
            }
        });
    }
}

// ---- CARs, and the verdict of all readers.

fn with_cid(block: &[u8]) -> (Cid, Vec<u8>) {
    (dag_cbor_cid(block), block.to_vec())
}

/// Blocks whose CIDs cannot be verified here.
fn odd_blocks() -> Vec<(Cid, Vec<u8>)> {
    let digest = [7; 64];
    [
        b"\x01\x55\x00\x04four".to_vec(),
        b"\x01\x55\x00\x00".to_vec(),
        [b"\x01\x71\x13\x40".as_slice(), &digest].concat(),
        [b"\x01\x71\xa0\xe4\x02\x20", &digest[..32]].concat(),
        [b"\x01\x71\x12\x14", &digest[..20]].concat(),
    ]
    .into_iter()
    .map(|cid| (Cid::try_from(cid.as_slice()).unwrap(), b"four".to_vec()))
    .collect()
}

/// A CAR without roots, so that its header is short.
fn car_of(blocks: &[(Cid, Vec<u8>)]) -> Vec<u8> {
    let mut writer = CarWriter::new(Vec::new(), &[]).unwrap();
    for (cid, block) in blocks {
        writer.write_block(cid, block).unwrap();
    }
    writer.finish().unwrap()
}

fn header_len() -> usize {
    car_of(&[]).len()
}

fn framed(body: &[u8]) -> Vec<u8> {
    [varint(body.len() as u64), body.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

fn checked() -> CarOptions {
    CarOptions {
        verify: Some(Verify::OnOpen),
        ..CarOptions::default()
    }
}

type Verdict = Result<usize, (u64, CarFault)>;

/// The result of all ways to read `car`, which must be the same: how many sections it has, or
/// the fault and its offset.
fn verdict(car: &[u8]) -> Verdict {
    verdict_with(car, CarOptions::default())
}

fn verdict_with(car: &[u8], options: CarOptions) -> Verdict {
    let sections = |store: CarBlockStore| store.section_count();
    let memory = CarBlockStore::from_bytes_with(car.to_vec(), options).map(sections);
    let file = TempFile::new(car);
    let file = CarBlockStore::open_with(&file.0, options).map(sections);
    let stream = CarReader::with_options(car, options)
        .and_then(|mut reader| reader.try_fold(0, |count, block| block.map(|_| count + 1)));
    let verdict = of(memory);
    for most in [1, 100] {
        assert_eq!(
            of(in_pieces(car, most, options)),
            verdict,
            "pieces and memory"
        );
    }
    assert_eq!(of(stream), verdict, "stream and memory");
    assert_eq!(of(file), verdict, "file and memory");
    verdict
}

/// Hands a CAR over in pieces of up to `most` bytes.
fn in_pieces(car: &[u8], most: usize, options: CarOptions) -> Result<usize, CarError> {
    let mut decoder = CarDecoder::with_options(options);
    let mut pieces = car.chunks(most);
    let mut count = 0;
    let ended = loop {
        match decoder.next_block() {
            Ok(Decoded::Item(_)) => count += 1,
            Ok(Decoded::NeedsBytes) => match pieces.next() {
                Some(piece) => decoder.push(piece),
                None => decoder.end(),
            },
            Ok(Decoded::End) => break Ok(count),
            Err(error) => break Err(error),
        }
    };
    decoder.push(b"more");
    match (&ended, decoder.next_block()) {
        (Ok(_), Ok(Decoded::End)) | (Err(_), Err(CarError::AfterError)) => {}
        (_, after) => panic!("{after:?} after {ended:?}"),
    }
    ended
}

fn of(result: Result<usize, CarError>) -> Verdict {
    result.map_err(|error| match error {
        CarError::Invalid { offset, fault } => (offset, fault),
        error => panic!("{error}"),
    })
}

fn assert_fault(car: &[u8], offset: u64, fault: &CarFault) {
    assert_eq!(verdict(car), Err((offset, fault.clone())));
}

/// A file that is deleted when the test is done.
struct TempFile(PathBuf);

impl TempFile {
    fn new(bytes: &[u8]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "blockstore-car-{}-{}.car",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
