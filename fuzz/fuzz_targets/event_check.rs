//! Commits of the firehose, tampered with: what is accepted says what was done, and nothing else.
//! Unchanged ones are accepted.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use blockstore_car::{CarReader, CarWriter};
use blockstore_core::{BlockStoreMut, Bytes, Cid, MemoryBlockStore, dag_cbor_cid};
use libfuzzer_sys::fuzz_target;
use mst_repo::{
    Action, CommitEvent, EventCheck, Frame, RepoOp, RepoState, SignError, Write, Writer,
};
use mst_testkit::{SampleRepository, key_of_height};

/// 32 paths of heights 0 to 3, in order.
static PATHS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let heights = [0, 1, 0, 2, 0, 0, 3, 1];
    let path = |n: usize| key_of_height(&format!("a.example.b/{n:02}"), heights[n % heights.len()]);
    (0..32).map(path).collect()
});

/// Four records, of one field each.
static RECORDS: LazyLock<[Bytes; 4]> =
    LazyLock::new(|| (*b"abcd").map(|name| vec![0xa1, 0x61, name, 0x00].into()));

fuzz_target!(|program: &[u8]| {
    let Some(([there, changed], program)) = program.split_first_chunk() else {
        return;
    };
    let (there, program) = program.split_at(program.len().min(usize::from(*there % 33)));
    let (changed, tampering) = program.split_at(program.len().min(usize::from(*changed % 17)));
    let Some((before, event)) = commit(there, changed) else {
        return;
    };
    let check = EventCheck::default().with_state(&before);
    let checked = check.commit(&event).unwrap();
    assert_eq!(checked.state.rev.to_string(), event.rev);

    let mut wrong = event.clone();
    for [what, at, to] in tampering.as_chunks().0 {
        tamper(&mut wrong, *what, usize::from(*at), usize::from(*to));
    }
    let frame = Frame::from(wrong.clone());
    assert_eq!(Frame::decode(&frame.encode()).unwrap(), frame);
    // If it is marked as too big, only the commit is checked.
    if check.commit(&wrong).is_ok() && !wrong.too_big {
        assert_eq!(sorted(&wrong.ops), sorted(&event.ops));
        wrong.ops.clone_from(&event.ops);
        wrong.blocks.clone_from(&event.blocks);
        assert_eq!(wrong, event);
    }
    // If nothing is known of the repository yet, less can be checked.
    drop(EventCheck::default().commit(&wrong));
});

/// A repository with some records, and a commit that changes some.
fn commit(there: &[u8], changed: &[u8]) -> Option<(RepoState, CommitEvent)> {
    let entry = |byte: &u8| (path(*byte), dag_cbor_cid(record(*byte)));
    let paths: BTreeMap<String, Cid> = there.iter().map(entry).collect();
    let records = RECORDS.iter().cloned();
    let records = records.map(|record| (dag_cbor_cid(&record), record));
    let sample = SampleRepository::of(paths.clone(), records.collect(), "3jzfcijpj2z2a");
    let store = MemoryBlockStore::new();
    store.put_many(&sample.blocks()).unwrap();

    let mut writes = BTreeMap::new();
    for byte in changed {
        let (path, record) = (path(*byte), record(*byte).clone());
        let write = match (paths.contains_key(&path), byte & 7) {
            (true, 0..4) => Write::Delete { path: path.clone() },
            (true, _) => Write::Update {
                path: path.clone(),
                record,
            },
            (false, _) => Write::Create {
                path: path.clone(),
                record,
            },
        };
        writes.insert(path, write);
    }
    let writes: Vec<Write> = writes.into_values().collect();
    let mut writer = Writer::open(&store, &sample.commit.0).unwrap();
    let before = RepoState::of(writer.commit());
    let key = |_: &[u8]| Ok::<_, SignError>([1; 64]);
    let new = writer.write(&writes, &key).ok()?;
    Some((before, CommitEvent::new(&new, 1, "2026-01-01T00:00:00Z")))
}

fn path(byte: u8) -> String {
    PATHS[usize::from(byte >> 3)].clone()
}

fn record(byte: u8) -> &'static Bytes {
    &RECORDS[usize::from(byte & 3)]
}

fn sorted(ops: &[RepoOp]) -> Vec<(&str, Action, Option<Cid>, Option<Cid>)> {
    let mut ops: Vec<_> = ops
        .iter()
        .map(|op| (&*op.path, op.action, op.cid, op.prev))
        .collect();
    ops.sort_unstable_by_key(|(path, ..)| *path);
    ops
}

fn tamper(event: &mut CommitEvent, what: u8, at: usize, to: usize) {
    let value = dag_cbor_cid(record(what));
    let len = event.ops.len().max(1);
    match (what >> 3, event.ops.get_mut(at % len)) {
        (0, Some(op)) => op.cid = None,
        (1, Some(op)) => op.cid = Some(value),
        (2, Some(op)) => op.prev = None,
        (3, Some(op)) => op.prev = Some(value),
        (4, Some(op)) => op.path.clone_from(&PATHS[to % PATHS.len()]),
        (5, Some(op)) => op.action = [Action::Create, Action::Update, Action::Delete][to % 3],
        (6, Some(_)) => drop(event.ops.remove(at % len)),
        (7, Some(op)) => {
            let op = op.clone();
            event.ops.push(op);
        }
        (8, Some(_)) => event.ops.swap(at % len, to % len),
        (9, _) => event.ops.push(RepoOp {
            action: [Action::Create, Action::Update, Action::Delete][to % 3],
            path: PATHS[at % PATHS.len()].clone(),
            cid: (what & 4 == 0).then_some(value),
            prev: (what & 4 != 0).then_some(value),
        }),
        (10, _) => event.prev_data = Some(value),
        (11, _) => event.prev_data = None,
        (12, _) => event.since = None,
        (13, _) => event.since = Some("3jzfcijpj2z2b".to_owned()),
        (14, _) => event.rev = "3zzzzzzzzzzz2".to_owned(),
        (15, _) => event.commit = value,
        (16, _) => event.repo = "did:web:example.com".to_owned(),
        (17, _) => event.too_big = true,
        (18..24, _) => change_blocks(event, what, at, to),
        _ => {}
    }
}

/// Removes a block from the slice, moves it, repeats it, or puts it in place of another.
fn change_blocks(event: &mut CommitEvent, what: u8, at: usize, to: usize) {
    let reader = CarReader::new(&*event.blocks).unwrap();
    let roots = reader.roots().to_vec();
    let mut blocks: Vec<_> = reader.map(Result::unwrap).collect();
    if blocks.is_empty() {
        return;
    }
    let at = at % blocks.len();
    let to = to % blocks.len();
    match what & 3 {
        0 => drop(blocks.remove(at)),
        1 => blocks.swap(at, to),
        2 => blocks.push(blocks[at].clone()),
        _ => blocks[at] = blocks[to].clone(),
    }
    let mut writer = CarWriter::new(Vec::new(), &roots).unwrap();
    for block in &blocks {
        writer.write_block(&block.cid, &block.bytes).unwrap();
    }
    event.blocks = writer.finish().unwrap().into();
}
