//! The danger: two processes that know nothing of each other. One opens the file while another
//! creates it, or closes it while another opens it; one reads while another writes.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout};

use blockstore_core::dag_cbor_cid;
use blockstore_sqlite::{BlockStore, BlockStoreMut, Bytes, Cid, SqliteBlockStore, StoreError};

use crate::support::{Folder, assert_holds, blocks, child, cids, told};

/// Generations of blocks, each with a block that names them, which is the head.
fn generation(number: u64) -> Vec<(Cid, Bytes)> {
    let mut blocks = blocks(number, 20);
    let names: Vec<u8> = cids(&blocks).iter().flat_map(Cid::to_bytes).collect();
    blocks.push((dag_cbor_cid(&names), names.into()));
    blocks
}

/// Reads what the head names, again and again, until it is told to stop.
#[test]
#[ignore = "run by the tests, in a process of its own"]
fn reader() {
    let Some((file, _)) = told() else {
        return;
    };
    let store = SqliteBlockStore::open_read_only(file).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        stop.send(()).unwrap();
    });
    println!("\nready");
    let (mut reads, mut heads) = (0, 0);
    let mut last = None;
    while stopped.try_recv().is_err() {
        let head = store.snapshot(|snapshot| {
            let head = snapshot.head("main")?.expect("there is always a head");
            let names = snapshot.get(&head)?.expect("the head is there");
            let names = names.chunks(36).map(|name| Cid::try_from(name).unwrap());
            let blocks = snapshot.get_many(&names.collect::<Vec<_>>())?;
            assert!(
                blocks.iter().all(Option::is_some),
                "all of a generation or none"
            );
            assert_eq!(snapshot.len()?, blocks.len() + 1, "and no other");
            Ok::<_, StoreError>(head)
        });
        reads += 1;
        let head = head.unwrap();
        if last.replace(head) != Some(head) {
            heads += 1;
        }
    }
    println!("\nread {reads} times, {heads} heads");
}

#[test]
fn readers_in_other_processes_see_one_whole_commit_after_another() {
    let folder = Folder::new();
    let store = folder.open();
    let write = |number: u64| {
        let blocks = generation(number);
        let (head, _) = blocks.last().unwrap();
        let written = store.transaction(|transaction| {
            transaction.retain(|_| false)?;
            transaction.put_many(&blocks)?;
            transaction.set_head("main", head)
        });
        written.unwrap();
    };
    write(0);
    let mut readers: Vec<(Child, BufReader<ChildStdout>)> = (0..3)
        .map(|_| {
            let mut reader = child("processes::reader", &folder.database(), "")
                .spawn()
                .unwrap();
            let said = BufReader::new(reader.stdout.take().unwrap());
            (reader, said)
        })
        .collect();
    for (_, said) in &mut readers {
        assert!(said.lines().any(|line| line.unwrap() == "ready"));
    }
    for number in 1..200 {
        write(number);
    }
    for (mut reader, mut said) in readers {
        drop(reader.stdin.take());
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert!(reader.wait().unwrap().success(), "{rest}");
        let line = rest.lines().find(|line| line.starts_with("read ")).unwrap();
        assert!(!line.starts_with("read 0 "), "{line}");
        println!("{line}");
    }
    assert_holds(&store, &generation(199));
}

/// Opens, writes a little, and closes.
#[test]
#[ignore = "run by the tests, in a process of its own"]
fn visitor() {
    let Some((file, seed)) = told() else {
        return;
    };
    let seed: u64 = seed.parse().unwrap();
    // Start together.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    for n in 0..4 {
        let store = SqliteBlockStore::open(&file).unwrap();
        let blocks = blocks(seed * 100 + n, 5);
        store.put_many(&blocks).unwrap();
        store
            .set_head(&format!("{seed} {n}"), &blocks[0].0)
            .unwrap();
        assert_holds(&store, &blocks);
    }
}

#[test]
fn processes_that_open_and_close_one_file_at_once_do_not_get_in_each_others_way() {
    for round in 0..6 {
        let folder = Folder::new();
        let mut visitors: Vec<Child> = (0..5)
            .map(|n| {
                let mut visitor = child(
                    "processes::visitor",
                    &folder.database(),
                    &(round * 10 + n).to_string(),
                );
                visitor.spawn().unwrap()
            })
            .collect();
        for visitor in &mut visitors {
            drop(visitor.stdin.take());
        }
        for visitor in visitors {
            let output = visitor.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{said}");
        }
        let store = folder.open();
        for n in 0..5 {
            for visit in 0..4 {
                assert_holds(&store, &blocks((round * 10 + n) * 100 + visit, 5));
            }
        }
        assert_eq!(store.len().unwrap(), 5 * 4 * 5);
        assert_eq!(store.heads().unwrap().len(), 5 * 4);
    }
}

#[test]
fn writers_in_other_processes_take_turns() {
    let folder = Folder::new();
    folder.open();
    let writers: Vec<Child> = (100..104)
        .map(|seed| {
            let mut writer = child("processes::adder", &folder.database(), &seed.to_string());
            writer.spawn().unwrap()
        })
        .collect();
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
    }
    // Each has read the head and moved it, and no move was lost.
    let store = folder.open();
    let mut moves = 0;
    let mut head = store.head("main").unwrap();
    while let Some(cid) = head {
        moves += 1;
        let block = store.get(&cid).unwrap().unwrap();
        head = Cid::try_from(&block[8..]).ok();
    }
    assert_eq!(moves, 4 * 25);
}

/// Adds to a chain of blocks, each of which names the previous one.
#[test]
#[ignore = "run by the tests, in a process of its own"]
fn adder() {
    let Some((file, seed)) = told() else {
        return;
    };
    let seed: u64 = seed.parse().unwrap();
    let store = SqliteBlockStore::open(file).unwrap();
    for number in 0..25 {
        let moved = store.transaction(|transaction| {
            let mut block = (seed * 100 + number).to_le_bytes().to_vec();
            if let Some(head) = transaction.head("main")? {
                block.extend(head.to_bytes());
            }
            let cid = dag_cbor_cid(&block);
            transaction.put(&cid, block.into())?;
            transaction.set_head("main", &cid)
        });
        moved.unwrap();
    }
}
