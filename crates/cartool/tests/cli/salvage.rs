//! What is left of damaged repositories: all of it, complete, and never as if nothing were lost.

use atproto_mst::mst_node::height_of;
use atproto_mst::{Bytes, CarWriter, Cid, Node, NodeBuilder, dag_cbor_cid};
use mst_testkit::SampleRepository;

use crate::support::{
    Folder, at_rev, car_damaged_at, car_without, commit_of, rebuilt, repository_of_key, run,
};

/// That of made-up repositories.
const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

#[test]
fn what_can_be_reached_is_a_whole_repository_again() {
    let sample = SampleRepository::generate(91, 400);
    let leaf = sample.tree.nodes.iter().find(|(cid, block)| {
        let node = Node::decode(block).unwrap();
        *cid != sample.tree.root && (0..=node.len()).all(|slot| node.subtree(slot).is_none())
    });
    let (leaf, block) = leaf.unwrap();
    let record = *sample.paths.values().next_back().unwrap();
    let folder = Folder::new();
    let out = folder.path("out.car");
    let keys = Node::decode(block).unwrap();
    let keys: Vec<Vec<u8>> = keys.entries().map(|entry| entry.key().to_vec()).collect();
    for (car, is_node, what) in [
        (car_without(&sample, leaf), true, "missing node"),
        (car_damaged_at(&sample, leaf), true, "bad node"),
        (car_without(&sample, &record), false, "missing record"),
        (car_damaged_at(&sample, &record), false, "bad record"),
    ] {
        let run = folder.run(&["salvage", "-", "-o", &out], &car);
        assert_eq!((run.code, &*run.out), (1, ""));
        let start = format!("cartool: standard input: {what} ");
        assert!(run.err.starts_with(&start), "{}", run.err);
        // Once, although a bad block is met twice.
        let told = run
            .err
            .lines()
            .filter(|line| line.contains("standard input: "));
        assert_eq!(told.count(), 1, "{}", run.err);
        assert!(run.err.contains("is NOT SIGNED"), "{}", run.err);
        let mut left = sample.clone();
        if is_node {
            left.paths
                .retain(|path, _| !keys.contains(&path.clone().into_bytes()));
        } else {
            left.paths.retain(|_, cid| *cid != record);
        }
        let new = commit_of(&folder.read("out.car"));
        assert_eq!(folder.read("out.car"), rebuilt(&left, &new).car());
        let old = commit_of(&sample.car());
        assert!(new.did == old.did && new.rev > old.rev && new.sig.is_empty());
    }
}

/// Another tool may find more in it.
#[test]
fn what_is_damaged_stays() {
    let sample = SampleRepository::generate(92, 30);
    let folder = Folder::new();
    let record = sample.paths.values().next().unwrap();
    let damaged = car_damaged_at(&sample, record);
    let car = folder.write("in.car", &damaged);
    let run = folder.run(&["salvage", &car, "-o", &car], b"");
    assert_eq!(run.code, 2, "{}", run.err);
    assert_eq!(folder.read("in.car"), damaged);
}

#[test]
fn a_damaged_header_costs_no_record() {
    let sample = SampleRepository::generate(93, 100);
    let folder = Folder::new();
    let commit = commit_of(&sample.car());
    let found = format!(
        "the header names no commit that is there; the latest of those that are, of {}, rev {}, is \
         used\n",
        commit.did, commit.rev
    );
    let header_len = 59;
    for at in 0..header_len {
        let mut car = sample.shuffled_car(1);
        car[at] ^= 0x11;
        let run = folder.run(&["salvage", "-", "-o", "-"], &car);
        assert!(run.raw_out == sample.car(), "{at}: {}", run.err);
        assert!(
            run.code == 1 && run.err.contains(&found),
            "{at}: {}",
            run.err
        );
    }
    let run = folder.run(&["salvage", "-", "-o", "-"], &sample.car()[header_len..]);
    assert!(run.code == 1 && run.raw_out == sample.car(), "{}", run.err);
}

/// An earlier commit may be present as well, and a record may be made to look like a later one.
#[test]
fn an_earlier_commit_is_not_taken_for_all_and_a_record_for_none() {
    let old = SampleRepository::generate(94, 60);
    let mut new = old.clone();
    let mut other = commit_of(&old.car());
    other.rev = "3zzzzzzzzzzzz".parse().unwrap();
    let record = (other.cid(), Bytes::from(other.encode()));
    new.paths
        .insert("com.example.commit/1".to_owned(), record.0);
    new.records.insert(record.0, record.1);
    let new = at_rev(&new, "3yyyyyyyyyyyy");
    let folder = Folder::new();
    let blocks = |without: Option<Cid>| {
        let mut blocks = [old.blocks(), new.blocks()].concat();
        blocks.retain(|(cid, _)| Some(*cid) != without);
        new.car_of(&blocks)
    };
    let mut car = blocks(None);
    car[0] ^= 1;
    let run = folder.run(&["salvage", "-", "-o", "-"], &car);
    assert!(run.code == 1 && run.raw_out == new.car(), "{}", run.err);

    let run = folder.run(&["salvage", "-", "-o", "-"], &blocks(Some(new.commit.0)));
    assert!(run.code == 1 && run.raw_out == old.car(), "{}", run.err);
    assert!(
        run.err.contains("; nothing of this commit was lost\n"),
        "{}",
        run.err
    );
}

#[test]
fn where_nothing_is_lost_the_commit_stays() {
    let sample = SampleRepository::generate(92, 100);
    let folder = Folder::new();
    let run = folder.run(&["salvage", "-", "-o", "-"], &sample.shuffled_car(1));
    assert_eq!((run.code, run.raw_out), (0, sample.car()));
    assert!(
        run.err
            .starts_with("cartool: saved 100 records; nothing was lost\n"),
        "{}",
        run.err
    );
}

#[test]
fn a_car_that_was_cut_off_is_used_up_to_there() {
    let sample = SampleRepository::generate(93, 300);
    let car = sample.car();
    let folder = Folder::new();
    let out = folder.path("out.car");
    let mut before = 0;
    for eighth in 1..8 {
        let cut = &car[..car.len() * eighth / 8];
        let file = folder.write("cut.car", cut);
        for (name, input) in [(&*file, b"".as_slice()), ("-", cut)] {
            let run = folder.run(&["salvage", name, "-o", &out], input);
            assert_eq!(run.code, 1, "{}", run.err);
            assert!(run.err.contains("missing "), "{}", run.err);
        }
        let verified = folder.run(&["verify", &out], b"");
        assert_eq!(verified.code, 0, "{}", verified.out);
        let records = verified.out.trim_start_matches("ok: ");
        let records = records.split(' ').next().unwrap().parse::<u32>().unwrap();
        assert!(records > before, "{records} records of {eighth}/8");
        before = records;
    }
}

#[test]
fn a_wrong_length_costs_nothing() {
    let sample = SampleRepository::generate(93, 300);
    let (car, folder) = (sample.car(), Folder::new());
    // Where the sections of some records in the middle begin, and that of the commit.
    let records = sample.paths.values().skip(100).take(5);
    for cid in records.chain([&sample.commit.0]) {
        let cid = cid.to_bytes();
        let at = car
            .windows(cid.len())
            .rposition(|bytes| bytes == cid)
            .unwrap();
        for (byte, bit) in [(at - 2, 0x10), (at - 1, 2)] {
            let mut damaged = car.clone();
            damaged[byte] ^= bit;
            let run = folder.run(&["salvage", "-", "-o", "-"], &damaged);
            assert!(run.code == 1 && run.raw_out == car, "{}", run.err);
        }
    }
}

/// In whatever CID: of a record, of a node, of the commit.
#[test]
fn a_wrong_byte_in_a_cid_costs_nothing() {
    let sample = SampleRepository::generate(96, 60);
    let (car, folder) = (sample.car(), Folder::new());
    let mut at = 59;
    for (cid, block) in sample.blocks() {
        at += usize::from(block.len() + 36 > 127) + 1;
        assert_eq!(car[at..at + 36], cid.to_bytes());
        for wrong in [at, at + 4, at + 35] {
            let mut damaged = car.clone();
            damaged[wrong] ^= 0x20;
            let file = folder.write("damaged.car", &damaged);
            let run = folder.run(&["salvage", &file, "-o", "-"], b"");
            assert!(run.raw_out == car, "{cid}: {}", run.err);
            // One line tells of it, and the rest what was done.
            let faults = run.err.lines().filter(|line| line.contains("damaged.car"));
            assert_eq!((run.code, faults.count()), (1, 1), "{}", run.err);
            assert!(run.err.contains("; nothing was lost\n"), "{}", run.err);
        }
        // Another codec or hash function may be meant, so it is no fault. `^ 0x24` makes the codec
        // that of raw bytes.
        for (wrong, bits) in [(1, 0x20), (1, 0x24), (2, 0x20), (3, 0x20)] {
            let mut damaged = car.clone();
            damaged[at + wrong] ^= bits;
            let run = folder.run(&["salvage", "-", "-o", "-"], &damaged);
            assert!(run.code == 0 && run.raw_out == car, "{cid}: {}", run.err);
            assert!(run.err.contains("; nothing was lost\n"), "{}", run.err);
        }
        at += 36 + block.len();
    }
    assert_eq!(at, car.len());
}

/// It is the only one that nothing else in the CAR repeats.
#[test]
fn a_wrong_byte_in_the_cid_that_the_header_names_costs_nothing() {
    let sample = SampleRepository::generate(96, 60);
    let car = sample.car();
    let root = sample.commit.0.to_bytes();
    let at = car.windows(36).position(|bytes| bytes == root).unwrap();
    assert!(at < 59, "it is in the header");
    for byte in at..at + 36 {
        for bits in [0x01, 0x20, 0x24, 0x80] {
            let mut damaged = car.clone();
            damaged[byte] ^= bits;
            let run = run(&["salvage", "-", "-o", "-"], &damaged);
            assert!(run.raw_out == car, "{byte} {bits}: {}", run.err);
            assert_eq!(run.code, 1, "{byte} {bits}: {}", run.err);
        }
    }
}

/// A commit with a wrong byte may still name the tree; whatever else it says cannot be trusted.
#[test]
fn a_damaged_commit_does_not_cost_the_records() {
    let sample = SampleRepository::generate(98, 60);
    let folder = Folder::new();
    let len = sample.commit.1.len();
    let mut saved = 0;
    for at in 0..len {
        let mut car = sample.car();
        car[59 + 2 + 36 + at] ^= 4;
        let run = folder.run(&["salvage", "-", "-o", "-"], &car);
        assert_eq!(run.code, 1, "{at}: {}", run.err);
        assert!(!run.err.contains("; nothing was lost"), "{at}: {}", run.err);
        if run.err.contains("saved 60 records") {
            assert!(run.err.contains("no commit is intact"), "{at}: {}", run.err);
            saved += 1;
        } else {
            assert!(run.raw_out.is_empty(), "{at}: {}", run.err);
            // If it can still be decoded, it is the tree that it misses.
            let more: &[&str] = if run.err.contains("note: --did may find records") {
                &["--did", DID]
            } else {
                assert!(run.err.contains("note: --unreachable may find"), "{at}");
                &["--unreachable"]
            };
            let run = folder.run(&[&["salvage", "-", "-o", "-"], more].concat(), &car);
            assert_eq!(commit_of(&run.raw_out).data, sample.tree.root, "{at}");
        }
    }
    assert!(saved > len / 3, "{saved} of {len}");
}

/// As when a download in any order is cut off before it, or the header is damaged as well.
#[test]
fn without_a_commit_records_are_found_through_any_node() {
    let sample = SampleRepository::generate(99, 300);
    let folder = Folder::new();
    let out = folder.path("out.car");
    let mut blocks = sample.blocks();
    blocks.retain(|(cid, _)| *cid != sample.commit.0);
    let salvage = |blocks: &[(Cid, Bytes)], broken_header: bool, args: &[&str]| {
        let mut car = sample.car_of(blocks);
        car[3] ^= u8::from(broken_header);
        folder.run(
            &[&["salvage", "-", "-o", &out, "--did", DID], args].concat(),
            &car,
        )
    };
    for broken_header in [false, true] {
        let run = salvage(&blocks, broken_header, &[]);
        assert_eq!(run.code, 1, "{}", run.err);
        let told = "saved 300 records; nothing shows which others there were\n";
        assert!(run.err.contains(told), "{}", run.err);
        assert!(!run.err.contains("missing"), "{}", run.err);
        let commit = commit_of(&folder.read("out.car"));
        assert_eq!((&*commit.did, commit.data), (DID, sample.tree.root));
        assert_eq!(folder.run(&["verify", &out], b"").code, 0);
    }
    // Without some nodes and records too.
    let mut rest = blocks.clone();
    rest.truncate(blocks.len() / 2);
    assert_eq!(salvage(&rest, false, &[]).code, 1);
    let verified = folder.run(&["verify", &out], b"");
    let records = verified.out.trim_start_matches("ok: ").split(' ').next();
    let records: usize = records.unwrap().parse().unwrap();
    assert!((50..250).contains(&records), "{}", verified.out);
    assert_ne!(commit_of(&folder.read("out.car")).data, sample.tree.root);

    // If there is a commit, the DID is its own.
    let other = ["--did", "did:web:example.com"];
    let run = folder.run(
        &[&["salvage", "-", "-o", &out], &other[..]].concat(),
        &sample.car(),
    );
    assert!(run.err.contains("so --did is not used"), "{}", run.err);
    assert_eq!(
        (run.code, folder.read("out.car")),
        (0, sample.car()),
        "{}",
        run.err
    );
    // Nothing at all is no repository.
    let run = salvage(&[], false, &[]);
    assert!(
        run.code == 1 && run.err.contains("no record was found"),
        "{}",
        run.err
    );
}

/// As when a download in any order is cut off.
#[test]
fn what_nothing_links_to_is_found_if_it_is_asked_for() {
    let sample = SampleRepository::generate(97, 300);
    let folder = Folder::new();
    let out = folder.path("out.car");
    let mut car = sample.shuffled_car(2);
    car.truncate(car.len() * 3 / 4);
    let saved = |args: &[&str]| {
        let args = [&["salvage", "-", "-o", &out], args].concat();
        let run = folder.run(&args, &car);
        assert_eq!(run.code, 1, "{}", run.err);
        let hint = run.err.contains("note: --unreachable may find records");
        assert_eq!(hint, args.len() == 4, "{}", run.err);
        if !run.err.contains("saved ") {
            return 0;
        }
        let verified = folder.run(&["verify", &out], b"");
        let records = verified.out.trim_start_matches("ok: ");
        let records = records.split(' ').next().unwrap();
        records.parse::<usize>().unwrap()
    };
    let (reached, all) = (saved(&[]), saved(&["--unreachable"]));
    assert!(reached < 100 && all > 120, "{reached} and {all} of 300");

    // Where only a record is missing, there is nothing more to be found.
    let record = sample.paths.values().next().unwrap();
    let run = folder.run(&["salvage", "-", "-o", &out], &car_without(&sample, record));
    assert!(
        run.err.contains("missing record") && !run.err.contains("note: "),
        "{}",
        run.err
    );

    let database = folder.path("repos.sqlite");
    let car = folder.write("whole.car", sample.car());
    assert_eq!(folder.run(&["import", &car, &database], b"").code, 0);
    let run = folder.run(&["salvage", &database, "-o", &out, "--unreachable"], b"");
    assert!(
        run.code == 2 && run.err.contains("is for CARs"),
        "{}",
        run.err
    );
}

/// Its account is known, and other things than records may be wrong with it.
#[test]
fn a_commit_of_another_version_is_a_commit() {
    let sample = SampleRepository::generate(100, 20);
    let mut commit = commit_of(&sample.car());
    commit.version = 2;
    let mut blocks = sample.blocks();
    blocks[0] = (commit.cid(), commit.encode().into());
    let mut writer = CarWriter::new(Vec::new(), &[commit.cid()]).unwrap();
    for (cid, block) in &blocks {
        writer.write_block(cid, block).unwrap();
    }
    let car = writer.finish().unwrap();
    let folder = Folder::new();
    for more in [&[][..], &["--did", "did:web:example.com"]] {
        let run = folder.run(&[&["salvage", "-", "-o", "-"], more].concat(), &car);
        assert_eq!((run.code, run.raw_out.len()), (1, 0), "{}", run.err);
        assert!(run.err.contains("version 2"), "{}", run.err);
        assert!(!run.err.contains("--did"), "{}", run.err);
    }
}

/// Nodes that nothing links to may together have more keys than fit one node.
#[test]
fn what_is_too_much_for_a_node_does_not_cost_the_rest() {
    let (record, cid) = (Bytes::from_static(b"\xa0"), dag_cbor_cid(b"\xa0"));
    let keys = (0..).map(|number| format!("com.example.record/{number:07}"));
    let mut keys = keys.filter(|key| height_of(key.as_bytes()) == 0);
    let mut blocks = vec![(cid, record)];
    for _ in 0..2 {
        let mut node = NodeBuilder::new(None).unwrap();
        for key in keys.by_ref().take(5_000) {
            node.push(key.as_bytes(), &cid, None).unwrap();
        }
        let node = node.finish();
        blocks.push((node.cid(), node.encode().into()));
    }
    let folder = Folder::new();
    let car = SampleRepository::generate(101, 1).car_of(&blocks);
    let out = folder.path("out.car");
    let run = folder.run(&["salvage", "-", "-o", &out, "--did", DID], &car);
    assert_eq!(run.code, 1);
    let faults = run.err.lines().filter(|line| line.contains("bad key"));
    assert_eq!(faults.count(), 10_000 - 8_192);
    assert!(run.err.contains("saved 8192 records;"));
}

#[test]
fn nothing_to_save_is_nothing_written() {
    let sample = SampleRepository::generate(94, 100);
    let folder = Folder::new();
    let out = folder.write("out.car", "as it was");
    let car = sample.car();
    for (car, code) in [
        (car_without(&sample, &sample.tree.root), 1),
        (car_without(&sample, &sample.commit.0), 1),
        (repository_of_key(b"no path", b"\xa0").car(), 1),
        (car[..20].to_vec(), 1),
        (Vec::new(), 1),
    ] {
        let run = folder.run(&["salvage", "-", "-o", &out], &car);
        assert_eq!((run.code, &*run.out), (code, ""), "{}", run.err);
    }
    assert_eq!(folder.read("out.car"), b"as it was");
    let empty = SampleRepository::generate(95, 0);
    let run = folder.run(&["salvage", "-", "-o", "-"], &empty.car());
    assert_eq!((run.code, run.raw_out), (0, empty.car()));
}
