//! The danger: a full disk. The call that meets it must say so and change nothing, what was
//! committed before must stay, and when there is space again, everything must work.
//!
//! SQLite's own limit on the size of a database replaces the disk where no small disk is
//! available. Where one is, as root or in a separate name space, real ones are used.

use std::fs;
use std::process::{Command, Output};

use blockstore_sqlite::{BlockStoreMut, Bytes, Cid, SqliteBlockStore, SqliteError, StoreError};

use crate::support::{
    Folder, SqliteFault, assert_holds, blocks, child_arguments, cids, fault, left_out, told,
};

fn limit_pages(store: &SqliteBlockStore, pages: u32) {
    store
        .with_connection(|connection| {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        })
        .unwrap();
}

#[test]
fn a_full_database_says_so_and_loses_nothing() {
    let folder = Folder::new();
    let store = folder.open();
    let before = blocks(1, 100);
    let more = blocks(2, 1_000);
    store.put_many(&before).unwrap();
    store.set_head("main", &before[0].0).unwrap();
    let pages: u32 = store.with_connection(|connection| {
        let pages = connection.pragma_query_value(None, "page_count", |row| row.get(0));
        pages.unwrap()
    });
    limit_pages(&store, pages + 20);
    let assert_unchanged = |store: &SqliteBlockStore| {
        assert_holds(store, &before);
        assert_eq!(store.len().unwrap(), 100);
        assert_eq!(store.head("main").unwrap(), Some(before[0].0));
    };

    assert_eq!(fault(store.put_many(&more)), "Full");
    assert_unchanged(&store);
    let full = store.transaction(|transaction| {
        transaction.set_head("main", &more[0].0)?;
        transaction.delete_many(&cids(&before))?;
        for (cid, block) in &more {
            transaction.put(cid, block.clone())?;
        }
        Ok::<_, StoreError>(())
    });
    assert_eq!(fault(full), "Full");
    assert_unchanged(&store);
    assert_unchanged(&folder.open());

    // Ignoring the error does not commit a part.
    let passed_over = store.transaction(|transaction| {
        transaction.delete(&before[0].0)?;
        let full = transaction.put_many(&more);
        assert_eq!(fault(full), "Full");
        Ok::<_, StoreError>(())
    });
    assert_eq!(fault(passed_over), "TransactionEnded");
    assert_unchanged(&store);

    // Deleting makes room.
    assert_eq!(store.retain(|cid| *cid == before[0].0).unwrap(), 99);
    store.put_many(&before).unwrap();
    limit_pages(&store, 1_000_000);
    store.put_many(&more).unwrap();
    assert_holds(&store, &more);
    assert_holds(&store, &before);
    assert_eq!(store.len().unwrap(), 1_100);
}

/// The blocks of a commit; its head is the first.
fn commit(number: u64) -> Vec<(Cid, Bytes)> {
    blocks(1 << 40 | number, 10)
}

fn put(store: &SqliteBlockStore, number: u64) -> Result<(), StoreError> {
    let blocks = commit(number);
    store.transaction(|transaction| {
        transaction.put_many(&blocks)?;
        transaction.set_head("main", &blocks[0].0)
    })
}

/// Checks that a store holds the first `count` commits, and nothing else.
fn assert_holds_commits(store: &SqliteBlockStore, count: u64) {
    for number in 0..count {
        assert_holds(store, &commit(number));
    }
    assert_eq!(store.len().unwrap() as u64, count * 10);
    let last = count.checked_sub(1);
    let head = last.map(|number| commit(number)[0].0);
    assert_eq!(store.head("main").unwrap(), head);
}

/// Fills the disk that the file is on, and frees the space again, twice.
#[test]
#[ignore = "run by the tests, in a process of its own"]
fn filler() {
    let Some((file, _)) = told() else {
        return;
    };
    println!("\nbegun");
    let ballast = ["one", "two"].map(|name| file.with_extension(name));
    for path in &ballast {
        fs::write(path, vec![1; 300_000]).unwrap();
    }
    let mut count = 0;
    let mut fill = |store: &SqliteBlockStore| {
        let error = loop {
            match put(store, count) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(SqliteFault::of(&error), "Full", "{error:?}");
        assert_holds_commits(store, count);
        assert_eq!(fault(put(store, count)), "Full");
        assert_holds_commits(store, count);
        count
    };
    let store = SqliteBlockStore::open(&file).unwrap();
    let first = fill(&store);
    assert!(first > 10, "{first}");
    // Space is freed while the store is open,
    fs::remove_file(&ballast[0]).unwrap();
    let count = fill(&store);
    assert!(count > first, "{count}");
    drop(store);
    // or before it is opened again. Until then, opening may fail.
    match SqliteBlockStore::open(&file) {
        Ok(store) => assert_holds_commits(&store, count),
        Err(error) => assert!(matches!(error, SqliteError::Full(_)), "{error:?}"),
    }
    fs::remove_file(&ballast[1]).unwrap();
    let store = SqliteBlockStore::open(&file).unwrap();
    assert_holds_commits(&store, count);
    put(&store, count).unwrap();
    assert_holds_commits(&store, count + 1);
    println!("\nsurvived {count} commits");
}

/// Runs `filler` on a file system of its own, made by a line of shell.
fn fill(mount: &str, unshare: &[&str]) {
    let folder = Folder::new();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(unshare)
        .args(["sh", "-c", &format!("{mount} && exec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .current_dir(folder.path());
    child_arguments(
        &mut command,
        "full::filler",
        &disk.join("blocks.sqlite"),
        "",
    );
    let Ok(output) = command.output() else {
        left_out("there is no `unshare`");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.contains("begun") {
        left_out(&String::from_utf8_lossy(&output.stderr));
        return;
    }
    assert_survived(&output);
}

fn assert_survived(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.starts_with("survived"));
    println!("{}", line.unwrap_or_else(|| panic!("{said}\n{complained}")));
    assert!(output.status.success(), "{said}");
}

#[test]
fn a_full_file_system_in_memory_loses_nothing() {
    let mount = "mount -t tmpfs -o size=2m none disk";
    fill(mount, &["--user", "--map-root-user", "--mount"]);
}

#[test]
fn a_full_file_system_on_a_disk_loses_nothing() {
    // With the pages that larger disks have. With smaller ones, a full disk can kill the process
    // through SQLite's shared memory: see the README.
    let mount = "dd if=/dev/zero of=image bs=1M count=8 2>/dev/null && \
                 mkfs.ext4 -q -F -b 4096 image && mount -o loop image disk";
    fill(mount, &["--mount"]);
}

/// Commits until it fails, and returns how.
#[test]
#[ignore = "run by the tests, in a process of its own"]
fn limited() {
    let Some((file, _)) = told() else {
        return;
    };
    let store = SqliteBlockStore::open(file).unwrap();
    println!("\nbegun");
    for count in 0..10_000 {
        if let Err(error) = put(&store, count) {
            assert_eq!(SqliteFault::of(&error), "Io", "{error:?}");
            assert_holds_commits(&store, count);
            println!("\nfailed {count}");
            return;
        }
    }
}

/// A limit on the length of a file is to SQLite what a quota is: an error of another kind.
#[test]
fn a_quota_that_is_used_up_loses_nothing() {
    let folder = Folder::new();
    let mut command = Command::new("sh");
    // Without its signal, which would be one more way to be killed.
    let limit = "trap '' XFSZ && ulimit -S -f 1000 && exec \"$@\"";
    command
        .args(["-c", limit, "sh"])
        .arg(std::env::current_exe().unwrap());
    child_arguments(&mut command, "full::limited", &folder.database(), "");
    let Ok(output) = command.output() else {
        left_out("there is no `sh`");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.contains("begun") {
        left_out(&String::from_utf8_lossy(&output.stderr));
        return;
    }
    let line = said.lines().find_map(|line| line.strip_prefix("failed "));
    let count: u64 = line
        .unwrap_or_else(|| panic!("{output:?}"))
        .parse()
        .unwrap();
    assert!(count > 10, "{count}");
    let store = folder.open();
    assert_holds_commits(&store, count);
    put(&store, count).unwrap();
    assert_holds_commits(&store, count + 1);
}
