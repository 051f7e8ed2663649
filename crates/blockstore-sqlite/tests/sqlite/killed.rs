//! The danger: a process that is killed between two bytes. What it had acknowledged must be
//! complete, and of anything else, all or nothing must be present, whether it was killed during a
//! write, a commit, a checkpoint of the log, a sweep, or the creation of the file.

use std::path::Path;

use blockstore_core::dag_cbor_cid;
use blockstore_sqlite::{BlockStore, BlockStoreMut, Bytes, Cid, SqliteBlockStore};

use crate::support::{
    Folder, assert_holds, assert_sound, blocks, child, cids, digest, kill_in_time, kills, told,
};

const HEAD: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

/// The blocks of a commit, the commit itself last: it names the others.
fn commit(life: u64, number: u64) -> Vec<(Cid, Bytes)> {
    let seed = life << 32 | number;
    let count = match number % 10 {
        // More than the cache of one life in three, so that it reaches the disk before it is
        // committed.
        9 => 300,
        _ => 1 + u64::from(digest(seed, 0)[0]) % 20,
    };
    let mut blocks = blocks(seed, count);
    let names: Vec<u8> = cids(&blocks).iter().flat_map(Cid::to_bytes).collect();
    blocks.push((dag_cbor_cid(&names), names.into()));
    blocks
}

/// Commits, says so, and continues until it is killed.
#[test]
#[ignore = "run by the tests, in a process of its own"]
fn committer() {
    let Some((file, life)) = told() else {
        return;
    };
    let life: u64 = life.parse().unwrap();
    let store = SqliteBlockStore::open(file).unwrap();
    let settings = match life % 3 {
        0 => "",
        1 => "PRAGMA wal_autocheckpoint = 10",
        _ => "PRAGMA cache_size = 10",
    };
    store
        .with_connection(|connection| connection.execute_batch(settings))
        .unwrap();
    for number in 0..100_000 {
        let blocks = commit(life, number);
        let committed = store.transaction(|transaction| {
            let (head, others) = blocks.split_last().unwrap();
            transaction.put_many(others)?;
            transaction.put(&head.0, head.1.clone())?;
            transaction.set_head(HEAD, &head.0)
        });
        committed.unwrap();
        println!("\nacknowledged {number}");
    }
}

#[test]
fn every_acknowledged_commit_is_there_whole_and_none_is_half_there() {
    /// How often processes are killed on one file before the next is started.
    const LIVES: u64 = 20;
    let (mut folder, mut all) = (Folder::new(), Vec::new());
    let (mut acknowledged, mut unacknowledged) = (0, 0);
    for life in 0..kills() {
        if life % LIVES == 0 {
            (folder, all) = (Folder::new(), Vec::new());
        }
        let child = child("killed::committer", &folder.database(), &life.to_string());
        // Some live until their first commit and some do not.
        let from = (life % 4 == 3).then_some("acknowledged 0");
        let count = kill_in_time(child, from, 60, "acknowledged").len() as u64;

        let store = folder.open();
        for number in 0..count {
            let blocks = commit(life, number);
            assert_holds(&store, &blocks);
            all.extend(blocks);
        }
        // The next may have been committed, and the message about it lost.
        let next = commit(life, count);
        let there = store.get_many(&cids(&next)).unwrap();
        let there = there.iter().filter(|block| block.is_some()).count();
        assert!(
            there == 0 || there == next.len(),
            "{there} of {}",
            next.len()
        );
        if there > 0 {
            all.extend(next);
        }
        // And no more than these, from this life or an earlier one.
        assert_eq!(store.len().unwrap(), all.len());
        assert_eq!(store.head(HEAD).unwrap(), all.last().map(|(cid, _)| *cid));
        if life % LIVES == LIVES - 1 || life + 1 == kills() {
            assert_holds(&store, &all);
            assert_sound(&store);
        }
        acknowledged += count;
        unacknowledged += u64::from(there > 0);
    }
    println!(
        "{} kills: {acknowledged} commits acknowledged, {unacknowledged} more there",
        kills()
    );
    assert!(acknowledged >= kills() / 4, "some were waited for");
}

/// Whether a made-up block is still needed.
fn needed(cid: &Cid) -> bool {
    cid.hash().digest()[0] % 3 == 0
}

/// Sweeps, page by page or in one transaction, and says when it is done.
#[test]
#[ignore = "run by the tests, in a process of its own"]
fn sweeper() {
    let Some((file, word)) = told() else {
        return;
    };
    let store = SqliteBlockStore::open(file).unwrap();
    store
        .with_connection(|connection| {
            connection.execute_batch("PRAGMA cache_size = 10; PRAGMA wal_autocheckpoint = 10")
        })
        .unwrap();
    println!("\nopened");
    match word.as_str() {
        "pages" => store.retain(needed),
        _ => store.transaction(|transaction| transaction.retain(needed)),
    }
    .unwrap();
    println!("\nswept");
}

#[test]
fn a_sweep_that_is_killed_has_dropped_nothing_that_is_needed() {
    let blocks = blocks(1 << 50, 6_000);
    let kept: Vec<_> = blocks
        .iter()
        .filter(|(cid, _)| needed(cid))
        .cloned()
        .collect();
    let mut seen = [0; 3];
    for n in 0..kills().div_ceil(4) {
        let folder = Folder::new();
        folder.open().put_many(&blocks).unwrap();
        let way = ["pages", "transaction"][usize::from(n % 2 == 1)];
        let child = child("killed::sweeper", &folder.database(), way);
        let from = (n % 4 >= 2).then_some("opened");
        let done = kill_in_time(child, from, 80, "swept").len() == 1;

        let store = folder.open();
        assert_holds(&store, &kept);
        let len = store.len().unwrap();
        let whole = len == blocks.len() || len == kept.len();
        assert!(whole || way == "pages", "{way}: {len}");
        assert!(len == kept.len() || !done, "{way}: {len}");
        assert_sound(&store);
        // Started again, it finds what is left.
        assert_eq!(store.retain(needed).unwrap(), len - kept.len());
        assert_holds(&store, &kept);
        seen[if len == blocks.len() {
            0
        } else if len == kept.len() {
            2
        } else {
            1
        }] += 1;
    }
    println!("found not begun, half way, done: {seen:?}");
}

/// The other half of a power cut: the last bytes of the log never reached the disk. Wherever it
/// ends, the database has a number of whole commits.
#[test]
fn a_log_that_is_cut_off_anywhere_holds_whole_commits() {
    const COMMITS: u64 = 12;
    let folder = Folder::new();
    let store = folder.open();
    // What was checkpointed before is in the file itself.
    store.put_many(&blocks(1 << 51, 50)).unwrap();
    store
        .with_connection(|connection| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        })
        .unwrap();
    for number in 0..COMMITS {
        store
            .transaction(|transaction| {
                let blocks = commit(1 << 20, number);
                transaction.put_many(&blocks)?;
                transaction.set_head(HEAD, &blocks.last().unwrap().0)
            })
            .unwrap();
    }
    let log_of = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push("-wal");
        name
    };
    let file = std::fs::read(folder.database()).unwrap();
    let log = std::fs::read(log_of(&folder.database())).unwrap();
    assert!(log.len() > 100_000, "{}", log.len());

    let cut = folder.path().join("cut.sqlite");
    let mut seen = 0;
    let cuts = (0..200).map(|n| usize::from(digest_word(n)) * log.len() / 65_536);
    let mut cuts: Vec<usize> = cuts
        .chain([0, 1, 31, 32, 33, log.len() - 1, log.len()])
        .collect();
    cuts.sort_unstable();
    for len in cuts {
        std::fs::write(&cut, &file).unwrap();
        std::fs::write(log_of(&cut), &log[..len]).unwrap();
        let store = SqliteBlockStore::open(&cut).unwrap();
        let mut expected = 50;
        let mut whole = 0;
        for number in 0..COMMITS {
            let blocks = commit(1 << 20, number);
            let head = blocks.last().unwrap().0;
            if !store.has(&head).unwrap() {
                break;
            }
            assert_holds(&store, &blocks);
            expected += blocks.len();
            whole = number + 1;
        }
        assert_eq!(store.len().unwrap(), expected, "{len} bytes of the log");
        assert_holds(&store, &blocks(1 << 51, 50));
        let last = whole.checked_sub(1);
        let head = last.map(|number| commit(1 << 20, number).last().unwrap().0);
        assert_eq!(store.head(HEAD).unwrap(), head);
        assert!(whole >= seen, "a longer log holds no less");
        seen = whole;
    }
    assert_eq!(seen, COMMITS);
    drop(store);
}

fn digest_word(number: u64) -> u16 {
    let digest = digest(1 << 52, number);
    u16::from_le_bytes([digest[0], digest[1]])
}
