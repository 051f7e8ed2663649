//! The danger: a wrong byte in a CAR that costs more than the block it is in, since from there on
//! nobody knows where a section begins; or that turns other bytes into a block.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the report"
)]

use blockstore_car::{BlockStore, Bytes, CarBlockStore, CarWriter, Cid};
use blockstore_core::{dag_cbor_cid, raw_cid};
use mst_testkit::{Rng, SampleRepository};

/// A CAR, and its sections: where each begins and ends, its CID and its block.
struct Car {
    bytes: Vec<u8>,
    header_len: usize,
    sections: Vec<(usize, usize, Cid, Bytes)>,
}

impl Car {
    fn new(blocks: &[(Cid, Bytes)]) -> Self {
        let root = blocks[0].0;
        let len_of = |count: usize| {
            let mut writer = CarWriter::new(Vec::new(), &[root]).unwrap();
            for (cid, block) in &blocks[..count] {
                writer.write_block(cid, block).unwrap();
            }
            writer.finish().unwrap()
        };
        let ends: Vec<usize> = (0..=blocks.len())
            .map(|count| len_of(count).len())
            .collect();
        let sections = blocks.iter().zip(ends.windows(2));
        Self {
            bytes: len_of(blocks.len()),
            header_len: ends[0],
            sections: sections
                .map(|((cid, block), ends)| (ends[0], ends[1], *cid, block.clone()))
                .collect(),
        }
    }

    /// Asserts that `damaged` has all blocks except those of sections that are wrong according to
    /// `lost`, and no wrong block. Returns whether one is missing although no fault was reported.
    fn check(&self, damaged: Vec<u8>, lost: impl Fn(usize, usize) -> bool, what: &str) -> bool {
        let is_sound = CarBlockStore::from_bytes(damaged.clone()).is_ok();
        let (car, faults) = CarBlockStore::from_damaged_bytes(damaged);
        assert!(is_sound || !faults.is_empty(), "{what}");
        let mut is_lost = false;
        for (start, end, cid, block) in &self.sections {
            if let Ok(Some(found)) = car.get(cid) {
                assert_eq!(found, block, "{what}");
            } else {
                assert!(lost(*start, *end), "{what}: {start} to {end}");
                is_lost = true;
            }
        }
        is_lost && faults.is_empty()
    }
}

/// Blocks of several lengths, one of them with what looks like sections inside.
fn small() -> Car {
    let inner = Car::new(&[(raw_cid(b"inside"), Bytes::from_static(b"inside"))]);
    let mut blocks: Vec<(Cid, Bytes)> = [0_usize, 1, 90, 91, 92, 300]
        .into_iter()
        .map(|len| Bytes::from(vec![len.to_le_bytes()[0] ^ 0x5a; len]))
        .map(|block| (dag_cbor_cid(&block), block))
        .collect();
    let inner = Bytes::from(inner.bytes);
    blocks.insert(3, (raw_cid(&inner), inner));
    // Its length without the highest bit of the first byte looks like the start of a CID.
    let raw = Bytes::from(vec![7; 150]);
    blocks.insert(5, (raw_cid(&raw), raw));
    Car::new(&blocks)
}

#[test]
fn a_wrong_bit_costs_at_most_the_section_that_it_is_in() {
    let car = small();
    for at in 0..car.bytes.len() {
        for bit in 0..8 {
            let mut damaged = car.bytes.clone();
            damaged[at] ^= 1 << bit;
            let lost = |start, end: usize| {
                let section = car.sections.iter().find(|section| section.0 == start);
                let block = &section.unwrap().3;
                // What is inside shows that another section begins there.
                let holds_sections = block.ends_with(b"inside");
                let in_block = (end - block.len()..end).contains(&at);
                (start..end).contains(&at) && (in_block || holds_sections)
            };
            let what = format!("bit {bit} of byte {at}");
            let is_silent = car.check(damaged, lost, &what);
            assert!(!is_silent, "{what}");
        }
    }
}

#[test]
fn what_is_cut_out_or_put_in_costs_what_it_touches() {
    let car = small();
    let mut rng = Rng::new(9);
    for _ in 0..20_000 {
        let (one, other) = (
            rng.below(car.bytes.len() + 1),
            rng.below(car.bytes.len() + 1),
        );
        let (from, to) = (one.min(other), one.max(other));
        let mut cut = car.bytes.clone();
        cut.drain(from..to);
        let touched = |start: usize, end: usize| start < to && end > from;
        car.check(cut, touched, &format!("without {from}..{to}"));

        let noise: Vec<u8> = (0..rng.below(200))
            .map(|_| rng.next_u64().to_le_bytes()[0])
            .collect();
        let mut longer = car.bytes.clone();
        longer.splice(from..from, noise);
        let touched = |start: usize, end: usize| start < from && end > from;
        car.check(longer, touched, &format!("noise at {from}"));

        let mut zeroed = car.bytes.clone();
        zeroed[from..to].fill(0);
        let touched = |start: usize, end: usize| start < to && end > from;
        car.check(zeroed, touched, &format!("zeros in {from}..{to}"));
    }
}

#[test]
fn a_car_that_is_whole_is_opened_whole() {
    let sample = SampleRepository::generate(3, 500);
    let (car, faults) = CarBlockStore::from_damaged_bytes(sample.car());
    assert!(faults.is_empty());
    let whole = CarBlockStore::from_bytes(sample.car()).unwrap();
    assert_eq!((car.roots(), car.len()), (whole.roots(), whole.len()));
    for (cid, block) in sample.blocks() {
        assert_eq!(car.get(&cid).unwrap(), Some(block));
    }
    // Without its header it is the same except for the roots.
    let header_len = small().header_len;
    let (car, faults) = CarBlockStore::from_damaged_bytes(sample.car()[header_len..].to_vec());
    assert_eq!(
        (faults.len(), car.roots(), car.len()),
        (1, &[][..], whole.len())
    );
    let cids: Vec<Cid> = car.cids().map(Result::unwrap).collect();
    let expected: Vec<Cid> = sample.blocks().into_iter().map(|(cid, _)| cid).collect();
    assert_eq!(cids, expected);
}

#[test]
fn of_a_block_that_is_there_twice_the_right_one_counts() {
    let (cid, block) = (raw_cid(b"block"), Bytes::from_static(b"block"));
    let car = Car::new(&[(cid, block.clone()), (cid, block.clone())]);
    let mut damaged = car.bytes.clone();
    *damaged.get_mut(car.sections[0].1 - 1).unwrap() ^= 1;
    let (car, faults) = CarBlockStore::from_damaged_bytes(damaged);
    assert_eq!((car.get(&cid).unwrap(), faults.len()), (Some(block), 1));
}

/// A block of another hash function cannot be verified; that its length is wrong shows by what it
/// includes.
#[test]
fn a_wrong_length_is_seen_also_where_no_hash_tells() {
    let sha2_512 = [&[1, 0x55, 0x13, 64][..], &[7; 64]].concat();
    let sha2_512 = Cid::try_from(&*sha2_512).unwrap();
    let (cid, block) = (raw_cid(b"block"), Bytes::from_static(b"block"));
    let car = Car::new(&[(sha2_512, Bytes::from_static(b"any")), (cid, block.clone())]);
    let [(start, end, ..), _] = car.sections[..] else {
        panic!("there are two");
    };
    let mut damaged = car.bytes.clone();
    damaged[start] += 1;
    assert!(CarBlockStore::from_bytes(damaged.clone()).is_err());
    let (store, faults) = CarBlockStore::from_damaged_bytes(damaged);
    assert_eq!(store.get(&cid).unwrap(), Some(block));
    let [fault] = &faults[..] else {
        panic!("{faults:?}");
    };
    let expected = format!(
        "byte {start} of the CAR: a section that reaches beyond byte {end}, where another begins"
    );
    assert_eq!(fault.to_string(), expected);
}

/// Sections of the greatest length, one every few bytes, each of which has to be hashed.
#[test]
fn a_car_made_to_be_searched_for_long_is_given_up() {
    let mut car = small().bytes;
    let trap = [&[0xff, 0xff, 0x3f][..], &raw_cid(b"").to_bytes()].concat();
    for _ in 0..60_000 {
        car.extend_from_slice(&trap);
    }
    // Some megabytes are hashed; all of them would be 60 GB.
    let (car, faults) = CarBlockStore::from_damaged_bytes(car);
    assert!(car.section_count() < small().sections.len() + 20);
    assert!((1..20).contains(&faults.len()));
    let given_up = faults
        .iter()
        .filter(|fault| fault.to_string().contains("is given up here"));
    assert_eq!(given_up.count(), 1);
}

/// Without the index, the second byte of a length is a length, too, and what it leads to looks like
/// the same section.
#[test]
fn in_which_order_blocks_are_asked_for_makes_no_difference() {
    let block = |n: u32| Bytes::from(n.to_be_bytes().repeat(1_500));
    let blocks: Vec<(Cid, Bytes)> = (0..100)
        .map(block)
        .map(|block| (raw_cid(&block), block))
        .collect();
    let car = Car::new(&blocks);
    for at in [10, 50, 98] {
        let mut damaged = car.bytes.clone();
        damaged[car.sections[at].0] += 1;
        let (store, faults) = CarBlockStore::from_damaged_bytes(damaged);
        assert_eq!(faults.len(), 1);
        let cids: Vec<Cid> = blocks.iter().map(|(cid, _)| *cid).collect();
        let other = |(n, _): &(usize, &(Cid, Bytes))| *n != at;
        for (n, (cid, block)) in blocks.iter().enumerate().filter(other) {
            assert_eq!(
                store.get(cid).unwrap().as_ref(),
                Some(block),
                "{n} without {at}"
            );
        }
        let many: Vec<_> = cids
            .chunks(10)
            .filter_map(|cids| store.get_many(cids).ok())
            .collect();
        assert!(many.len() >= 9, "{at}");
    }
}

/// The same in a block of another hash function, which cannot be verified.
#[test]
fn a_whole_car_is_read_whole_whatever_it_is_made_of() {
    let trap = [&[0xff, 0xff, 0x3f][..], &raw_cid(b"").to_bytes()].concat();
    let traps = Bytes::from(trap.repeat(3_000));
    let sha2_512 = [&[1, 0x55, 0x13, 64][..], &[7; 64]].concat();
    let large = Bytes::from(vec![7; 1 << 20]);
    let blocks = [
        (Cid::try_from(&*sha2_512).unwrap(), traps),
        (raw_cid(&large), large),
        (raw_cid(b"last"), Bytes::from_static(b"last")),
    ];
    let car = Car::new(&blocks);
    let (store, faults) = CarBlockStore::from_damaged_bytes(car.bytes);
    assert!(faults.is_empty());
    for (cid, block) in &blocks[1..] {
        assert_eq!(store.get(cid).unwrap().as_ref(), Some(block));
    }
    assert!(store.get(&blocks[0].0).is_err());
}

#[test]
fn a_cid_that_cannot_be_checked_may_hold_one_that_can() {
    // All but the first byte looks like a CID, and matches what follows.
    let section = [&[1][..], &raw_cid(b"inner").to_bytes(), b"inner"].concat();
    let (cid, block) = section.split_at(4 + 18);
    let blocks = [
        (Cid::try_from(cid).unwrap(), Bytes::copy_from_slice(block)),
        (raw_cid(b"last"), Bytes::from_static(b"last")),
    ];
    let (store, faults) = CarBlockStore::from_damaged_bytes(Car::new(&blocks).bytes);
    assert!(faults.is_empty(), "{faults:?}");
    let cids: Result<Vec<Cid>, _> = store.cids().collect();
    assert_eq!(cids.unwrap(), [blocks[0].0, blocks[1].0]);
}

/// Without the header, the first section is at the very beginning.
#[test]
fn a_cid_that_comes_again_is_one_wherever_the_first_is() {
    let blocks =
        [b"one", b"two", b"one", b"two"].map(|block| (raw_cid(block), Bytes::from_static(block)));
    let car = Car::new(&blocks);
    for junk in [0, 1] {
        let mut damaged = vec![0xff; junk];
        damaged.extend(&car.bytes[car.header_len..]);
        let (store, _) = CarBlockStore::from_damaged_bytes(damaged);
        assert_eq!(store.len(), 2, "{junk}");
        let cids: Result<Vec<Cid>, _> = store.cids().collect();
        assert_eq!(cids.unwrap(), [blocks[0].0, blocks[1].0]);
    }
}

#[test]
fn a_block_of_many_megabytes_is_found_behind_what_is_lost() {
    let large = Bytes::from(vec![7; 3 << 20]);
    let blocks = [Bytes::from_static(b"small"), large].map(|block| (raw_cid(&block), block));
    let car = Car::new(&blocks);
    let mut damaged = car.bytes.clone();
    // The length of the small one.
    damaged[car.header_len] ^= 0x40;
    car.check(damaged, |start, _| start == car.header_len, "large");
}

/// As when two disks' sectors meet: each alone can be repaired, so both can.
#[test]
fn neighbours_with_a_wrong_cid_each_cost_nothing() {
    let car = small();
    let cid_start = |section: &(usize, usize, Cid, Bytes)| section.1 - section.3.len() - 36;
    for pair in car.sections.windows(2) {
        let holds_sections = pair.iter().any(|section| section.3.ends_with(b"inside"));
        for (one, other) in [(0, 0), (0, 10), (10, 0), (10, 35)] {
            let mut damaged = car.bytes.clone();
            damaged[cid_start(&pair[0]) + one] ^= 2;
            damaged[cid_start(&pair[1]) + other] ^= 2;
            car.check(
                damaged,
                |_, _| holds_sections,
                &format!("{one} and {other}"),
            );
        }
    }
}

#[test]
fn what_is_repaired_is_nothing_but_what_is_wrong() {
    let sample = SampleRepository::generate(4, 50);
    let (car, _) = CarBlockStore::from_damaged_bytes(sample.car());
    assert_eq!(car.repaired_cids().count(), 0);
    // Nor a sound block of another hash function.
    let sha2_512 = [&[1, 0x55, 0x13, 64][..], &[7; 64]].concat();
    let sha2_512 = Cid::try_from(&*sha2_512).unwrap();
    let car = Car::new(&[(sha2_512, Bytes::from_static(b"any"))]);
    let (store, faults) = CarBlockStore::from_damaged_bytes(car.bytes);
    assert_eq!((store.repaired_cids().count(), faults.len()), (0, 0));

    // Under the codec that the CID had.
    let blocks = [b"one".as_slice(), b"two"].map(|block| (raw_cid(block), Bytes::from(block)));
    let car = Car::new(&blocks);
    let mut damaged = car.bytes.clone();
    let (_, end, cid, block) = &car.sections[0];
    damaged[end - block.len() - 1] ^= 1;
    let (store, _) = CarBlockStore::from_damaged_bytes(damaged.clone());
    assert_eq!(store.repaired_cids().collect::<Vec<_>>(), [*cid]);
    assert!(store.has(cid).unwrap() && !store.cids().any(|other| other.unwrap() == *cid));
    assert_eq!(store.get_many(&[*cid]).unwrap(), [Some(block.clone())]);

    // A damaged copy that comes first does not hide it.
    let car = Car::new(&[blocks[0].clone(), blocks[0].clone()]);
    let mut damaged = car.bytes.clone();
    let [(_, first_end, ..), (_, last_end, ..)] = car.sections[..] else {
        panic!("there are two");
    };
    damaged[first_end - 1] ^= 1;
    damaged[last_end - block.len() - 1] ^= 1;
    let (store, faults) = CarBlockStore::from_damaged_bytes(damaged);
    assert_eq!(faults.len(), 2);
    assert_eq!(store.get(cid).unwrap().as_ref(), Some(block));
}

#[test]
fn a_block_is_there_under_both_codecs_of_atproto_but_only_if_it_is_right() {
    let block = Bytes::from_static(b"\xa0");
    for (there, other) in [
        (raw_cid(&block), dag_cbor_cid(&block)),
        (dag_cbor_cid(&block), raw_cid(&block)),
    ] {
        let mut bytes = Car::new(&[(there, block.clone())]).bytes;
        let (car, faults) = CarBlockStore::from_damaged_bytes(bytes.clone());
        assert!(faults.is_empty() && car.has(&other).unwrap());
        assert_eq!(car.get(&other).unwrap(), Some(block.clone()));
        assert_eq!(car.get_many(&[other]).unwrap(), [Some(block.clone())]);
        assert_eq!(car.repaired_cids().count(), 0);
        let of_no_codec = Cid::new_v1(0x70, *there.hash());
        assert_eq!(car.get(&of_no_codec).unwrap(), None);
        // A sound CAR has what it names, and nothing else.
        let car = CarBlockStore::from_bytes(bytes.clone()).unwrap();
        assert_eq!(car.get(&other).unwrap(), None);

        *bytes.last_mut().unwrap() ^= 1;
        let (car, _) = CarBlockStore::from_damaged_bytes(bytes);
        assert!(!car.has(&other).unwrap());
        assert_eq!(car.get(&other).unwrap(), None);
    }
}

/// Sixteen times its length may be hashed in search of sections.
#[test]
fn a_few_false_starts_do_not_end_the_search() {
    let large = Bytes::from(vec![7; 1 << 20]);
    let car = Car::new(&[(raw_cid(&large), large)]);
    let trap = [&[0xff, 0xff, 0x3f][..], &raw_cid(b"").to_bytes()].concat();
    let mut damaged = car.bytes.clone();
    damaged.splice(car.header_len..car.header_len, trap.repeat(4));
    let (store, faults) = CarBlockStore::from_damaged_bytes(damaged);
    assert!(!faults.is_empty());
    assert!(store.get(&car.sections[0].2).unwrap().is_some());
}
