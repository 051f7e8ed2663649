//! CARs without what nothing refers to.

use atproto_mst::raw_cid;
use mst_testkit::{Rng, SampleRepository};

use crate::support::{Folder, car_damaged_at, car_without, repository_of, run};

/// The CAR of `sample`, with its blocks out of order, some twice, and one that nothing refers to.
fn disordered(sample: &SampleRepository) -> Vec<u8> {
    let mut blocks = sample.blocks();
    blocks.extend(blocks.clone().into_iter().step_by(3));
    blocks.push((raw_cid(b"alone"), b"alone".as_slice().into()));
    Rng::new(5).shuffle(&mut blocks);
    sample.car_of(&blocks)
}

#[test]
fn what_is_needed_is_put_in_order_and_the_rest_left_out() {
    let sample = SampleRepository::generate(41, 300);
    let (before, after) = (disordered(&sample), sample.car());
    let folder = Folder::new();
    let (car, out) = (folder.write("in.car", &before), folder.path("out.car"));
    let compacted = folder.run(&["compact", &car, "--output", &out], b"");
    let expected = format!(
        "cartool: left out 1 block of {}; {} bytes became {}\n",
        sample.blocks().len() + 1,
        before.len(),
        after.len()
    );
    assert_eq!((compacted.code, compacted.err), (0, expected));
    assert_eq!(folder.read("out.car"), after);

    let streamed = run(&["compact", "-", "-o", "-"], &before);
    assert_eq!((streamed.code, streamed.raw_out), (0, after));
}

#[test]
fn a_record_with_two_paths_comes_twice_and_is_one_block() {
    let (one, other) = ("com.example.note/1", "com.example.note/2");
    let sample = repository_of(&[(one, b"\xa0"), (other, b"\xa0")]);
    let run = run(&["compact", "-", "-o", "-"], &sample.car());
    let count = sample.tree.nodes.len() + 2;
    assert_eq!((run.code, &run.raw_out), (0, &sample.car()));
    let expected = format!("cartool: left out 0 blocks of {count}; ");
    assert!(run.err.starts_with(&expected), "{}", run.err);
}

#[test]
fn a_car_may_be_compacted_in_its_place() {
    let sample = SampleRepository::generate(42, 2_000);
    let folder = Folder::new();
    let car = folder.write("in.car", disordered(&sample));
    assert_eq!(folder.run(&["compact", &car, "-o", &car], b"").code, 0);
    assert_eq!(folder.read("in.car"), sample.car());
    assert_eq!(folder.names(), ["in.car"]);
}

#[test]
fn anything_missing_or_wrong_and_nothing_is_written() {
    let sample = SampleRepository::generate(43, 100);
    let folder = Folder::new();
    let out = folder.write("out.car", "as it was");
    let record = sample.paths.values().next_back().unwrap();
    let (node, _) = sample.tree.nodes.last().unwrap();
    let cars = [
        (car_without(&sample, record), "missing record"),
        (car_without(&sample, node), "missing node"),
        (car_damaged_at(&sample, record), "bad record"),
        (car_damaged_at(&sample, node), "bad node"),
    ];
    for (car, what) in cars {
        for out in [&*out, "-"] {
            let run = folder.run(&["compact", "-", "-o", out], &car);
            let mut lines = run.err.lines();
            let first = lines.next().unwrap_or_default();
            assert!(first.starts_with(&format!("cartool: standard input: {what} ")));
            let last = "cartool: standard input: the repository is not whole, \
                so nothing was written";
            assert_eq!((run.code, lines.next()), (1, Some(last)));
            assert!(run.raw_out.is_empty());
        }
    }
    assert_eq!(folder.read("out.car"), b"as it was");
    assert_eq!(folder.names(), ["out.car"]);
}

#[test]
fn a_car_takes_an_output() {
    let folder = Folder::new();
    let car = folder.write("in.car", SampleRepository::generate(44, 10).car());
    let run = folder.run(&["compact", &car], b"");
    assert_eq!((run.code, &*run.out), (2, ""));
}
