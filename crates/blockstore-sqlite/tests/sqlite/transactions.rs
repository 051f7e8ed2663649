//! The danger: half a change. A closure fails, panics, or continues after SQLite has undone
//! everything before; a store is used from inside its own transaction, and waits for itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use blockstore_sqlite::rusqlite::Connection;
use blockstore_sqlite::{
    BlockStore, BlockStoreMut, Bytes, Cid, SqliteBlockStore, SqliteError, SqliteOptions, StoreError,
};

use crate::support::{Folder, SqliteFault, assert_holds, block, blocks, cids, fault};

#[test]
fn a_transaction_is_seen_whole_by_others_and_only_afterwards() {
    let folder = Folder::new();
    let (store, other) = (folder.open(), folder.open());
    let before = blocks(1, 10);
    let after = blocks(2, 10);
    store.put_many(&before).unwrap();
    let committed = store.transaction(|transaction| {
        transaction.delete_many(&cids(&before))?;
        for (cid, block) in &after {
            transaction.put(cid, block.clone())?;
        }
        transaction.set_head("main", &after[0].0)?;
        assert_holds(transaction, &after);
        assert_eq!(transaction.len()?, 10);
        assert_holds(&other, &before);
        assert_eq!(other.head("main")?, None);
        assert!(!other.has(&after[0].0)?);
        Ok::<_, StoreError>("done")
    });
    assert_eq!(committed.unwrap(), "done");
    assert_holds(&other, &after);
    assert_eq!(other.len().unwrap(), 10);
    assert_eq!(other.head("main").unwrap(), Some(after[0].0));
}

#[test]
fn a_transaction_that_fails_changes_nothing() {
    #[derive(Debug)]
    enum OwnError {
        NotToday,
        Store,
    }
    impl From<StoreError> for OwnError {
        fn from(_: StoreError) -> Self {
            Self::Store
        }
    }

    let folder = Folder::new();
    let store = folder.open();
    let before = blocks(3, 10);
    store.put_many(&before).unwrap();
    store.set_head("main", &before[0].0).unwrap();
    let assert_unchanged = || {
        assert_holds(&store, &before);
        assert_eq!(store.len().unwrap(), 10);
        assert_eq!(store.heads().unwrap(), [("main".to_owned(), before[0].0)]);
    };

    let failed = store.transaction(|transaction| {
        transaction.put_many(&blocks(4, 100))?;
        transaction.retain(|_| false)?;
        transaction.delete_head("main")?;
        transaction.set_head("other", &before[1].0)?;
        assert!(transaction.is_empty()?);
        Err::<(), _>(OwnError::NotToday)
    });
    assert!(matches!(failed, Err(OwnError::NotToday)));
    assert_unchanged();

    // Bytes that the CID does not name.
    let failed = store.transaction(|transaction| {
        transaction.put_many(&blocks(4, 100))?;
        transaction.put(&before[0].0, before[1].1.clone())?;
        Ok::<_, OwnError>(())
    });
    assert!(matches!(failed, Err(OwnError::Store)));
    assert_unchanged();

    let panicked = catch_unwind(AssertUnwindSafe(|| {
        store.transaction(|transaction| -> Result<(), StoreError> {
            transaction.retain(|_| false)?;
            panic!("this is a test")
        })
    }));
    assert!(panicked.is_err());
    assert_unchanged();
    // And continues.
    store.put_many(&blocks(4, 100)).unwrap();
    assert_eq!(store.len().unwrap(), 110);
}

#[test]
fn many_are_put_and_deleted_all_or_none() {
    let folder = Folder::new();
    let store = folder.open();
    let mut mixed = blocks(5, 50);
    mixed[30].1 = mixed[31].1.clone();
    let refused = store.put_many(&mixed);
    assert!(matches!(refused, Err(StoreError::HashMismatch(of)) if of == mixed[30].0));
    assert!(store.is_empty().unwrap());

    // A part of a transaction can fail by itself, and the rest of it continue.
    let good = blocks(6, 10);
    let committed = store.transaction(|transaction| {
        transaction.put_many(&good[..5])?;
        assert!(transaction.put_many(&mixed).is_err());
        transaction.put_many(&good[5..])
    });
    committed.unwrap();
    assert_holds(&store, &good);
    assert_eq!(store.len().unwrap(), 10);

    let absent = block(7, 0).0;
    store.delete_many(&[good[0].0, absent, good[1].0]).unwrap();
    store.delete_many(&[]).unwrap();
    assert_eq!(store.len().unwrap(), 8);
}

/// Makes SQLite refuse one of `blocks` when it is put and when it is deleted: the one that comes
/// after half of the others in the order of the table. The rest of a transaction continues.
fn refuse_in_the_middle(store: &SqliteBlockStore, blocks: &[(Cid, Bytes)]) {
    let mut keys: Vec<Vec<u8>> = cids(blocks).iter().map(Cid::to_bytes).collect();
    keys.sort_unstable();
    let key = &keys[keys.len() / 2];
    let key = key
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let sql = format!(
        "CREATE TRIGGER on_put BEFORE INSERT ON blocks WHEN NEW.cid = x'{key}'
         BEGIN SELECT RAISE(ABORT, 'not this one'); END;
         CREATE TRIGGER on_delete BEFORE DELETE ON blocks WHEN OLD.cid = x'{key}'
         BEGIN SELECT RAISE(ABORT, 'not this one'); END;"
    );
    store
        .with_connection(|connection| connection.execute_batch(&sql))
        .unwrap();
}

#[test]
fn a_change_that_fails_half_way_is_undone_with_its_transaction() {
    let folder = Folder::new();
    let store = folder.open();
    let (known, new) = (blocks(21, 20), blocks(22, 20));
    store.put_many(&known).unwrap();
    refuse_in_the_middle(&store, &new);
    assert_eq!(fault(store.put_many(&new)), "Other");
    assert_eq!(store.len().unwrap(), 20);
    let passed_over = store.transaction(|transaction| {
        transaction.delete(&known[0].0)?;
        assert_eq!(fault(transaction.put_many(&new)), "Other");
        Ok::<_, StoreError>(())
    });
    assert_eq!(fault(passed_over), "TransactionEnded");
    assert_holds(&store, &known);
    assert_eq!(store.len().unwrap(), 20);

    store
        .with_connection(|connection| connection.execute_batch("DROP TRIGGER on_put"))
        .unwrap();
    store.put_many(&new).unwrap();
    assert_eq!(fault(store.delete_many(&cids(&new))), "Other");
    assert_eq!(fault(store.retain(|_| false)), "Other");
    for sweep in [false, true] {
        let passed_over = store.transaction(|transaction| {
            let failed = if sweep {
                transaction.retain(|_| false).map(|_| ())
            } else {
                transaction.delete_many(&cids(&new))
            };
            assert_eq!(fault(failed), "Other");
            Ok::<_, StoreError>(())
        });
        assert_eq!(fault(passed_over), "TransactionEnded");
    }
    assert_holds(&store, &known);
    assert_holds(&store, &new);
}

#[test]
fn a_change_that_fails_inside_a_callers_transaction_is_undone_alone() {
    let store = SqliteBlockStore::in_memory().unwrap();
    let (known, new) = (blocks(23, 20), blocks(24, 20));
    refuse_in_the_middle(&store, &new);
    let run = |sql: &str| {
        store
            .with_connection(|connection| connection.execute_batch(sql))
            .unwrap();
    };
    run("BEGIN");
    store.put_many(&known).unwrap();
    assert_eq!(fault(store.put_many(&new)), "Other");
    run("COMMIT");
    assert_holds(&store, &known);
    assert_eq!(store.len().unwrap(), 20);
}

#[test]
fn a_transaction_inside_another_is_refused() {
    let folder = Folder::new();
    let store = folder.open();
    let committed = store.transaction(|transaction| {
        transaction.put_many(&blocks(8, 3))?;
        let nested = store.transaction(|inner| inner.put_many(&blocks(9, 3)));
        assert_eq!(fault(nested), "NestedTransaction");
        Ok::<_, StoreError>(())
    });
    committed.unwrap();
    assert_holds(&store, &blocks(8, 3));
    assert_eq!(store.len().unwrap(), 3);
    // Two stores are two connections: the other would wait for its own caller, and gives up.
    let other = SqliteBlockStore::open_with(folder.database(), &crate::support::impatient());
    let other = other.unwrap();
    let busy = store.transaction(|_| other.transaction(|_| Ok::<_, StoreError>(())));
    assert_eq!(fault(busy), "Busy");
}

#[test]
fn the_store_used_from_inside_is_part_of_the_transaction() {
    let folder = Folder::new();
    let (store, other) = (folder.open(), folder.open());
    let (known, new) = (blocks(10, 10), blocks(11, 10));
    store.put_many(&known).unwrap();
    let failed = store.transaction(|transaction| {
        transaction.put_many(&new[..5])?;
        // Everything that a cache over the store itself would ask it.
        assert_holds(&store, &known);
        assert_holds(&store, &new[..5]);
        assert!(store.has(&new[0].0)?);
        assert_eq!(store.len()?, 15);
        assert_eq!(store.cids().count(), 15);
        assert!(store.with_connection(|connection| !connection.is_autocommit()));
        store.put_many(&new)?;
        store.delete(&known[0].0)?;
        store.set_head("main", &new[0].0)?;
        let seen = store
            .snapshot(|snapshot| Ok::<_, StoreError>((snapshot.len()?, snapshot.head("main")?)));
        assert_eq!(seen?, (19, Some(new[0].0)));
        assert_eq!(store.retain(|cid| *cid != known[1].0)?, 1);
        assert_eq!(other.len()?, 10);
        Err::<(), _>(StoreError::HashMismatch(known[0].0))
    });
    assert!(matches!(failed, Err(StoreError::HashMismatch(_))));
    assert_holds(&store, &known);
    assert_eq!(store.len().unwrap(), 10);
    assert_eq!(store.head("main").unwrap(), None);
}

#[test]
fn other_threads_wait_until_the_transaction_is_over() {
    let folder = Folder::new();
    let store = folder.open();
    let blocks = blocks(12, 10);
    let (begun, other_begins) = mpsc::channel();
    thread::scope(|scope| {
        let (store, blocks) = (&store, &blocks);
        let other = scope.spawn(move || {
            other_begins.recv().unwrap();
            // Nothing is visible between nothing and all.
            store.get_many(&cids(blocks)).unwrap()
        });
        let committed = store.transaction(|transaction| {
            begun.send(()).unwrap();
            for (cid, block) in blocks {
                transaction.put(cid, block.clone())?;
                thread::yield_now();
            }
            Ok::<_, StoreError>(())
        });
        committed.unwrap();
        assert!(other.join().unwrap().iter().all(Option::is_some));
    });
}

/// SQLite undoes a whole transaction for some errors. What followed would be committed call by
/// call, if nobody looked.
#[test]
fn nothing_is_done_after_the_transaction_has_ended() {
    let folder = Folder::new();
    let store = folder.open();
    let ended = store.transaction(|transaction| {
        transaction.put_many(&blocks(13, 3))?;
        let connection = transaction.connection()?;
        connection.execute_batch("ROLLBACK").unwrap();
        assert_eq!(fault(transaction.connection()), "TransactionEnded");
        let (cid, block) = block(14, 0);
        assert_eq!(
            fault(transaction.put(&cid, block.clone())),
            "TransactionEnded"
        );
        assert_eq!(
            fault(transaction.put_many(&blocks(14, 3))),
            "TransactionEnded"
        );
        assert_eq!(
            fault(transaction.set_head("main", &cid)),
            "TransactionEnded"
        );
        assert_eq!(fault(transaction.get(&cid)), "TransactionEnded");
        assert_eq!(fault(transaction.retain(|_| false)), "TransactionEnded");
        assert_eq!(fault(store.put(&cid, block)), "TransactionEnded");
        Ok::<_, StoreError>(())
    });
    assert_eq!(fault(ended), "TransactionEnded");
    assert!(store.is_empty().unwrap());
    store.put_many(&blocks(14, 3)).unwrap();
    assert_eq!(store.len().unwrap(), 3);
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let folder = Folder::new();
    let (store, reader) = (folder.open(), folder.open());
    let (before, after) = (blocks(15, 2_500), blocks(16, 10));
    store.put_many(&before).unwrap();
    store.set_head("main", &before[0].0).unwrap();
    let read = reader.snapshot(|snapshot| {
        store.retain(|_| false)?;
        store.put_many(&after)?;
        store.set_head("main", &after[0].0)?;
        assert_holds(snapshot, &before);
        assert!(!snapshot.has(&after[0].0)?);
        assert_eq!(snapshot.len()?, 2_500);
        assert_eq!(snapshot.cids().flatten().count(), 2_500);
        assert!(!snapshot.is_empty()?);
        snapshot.head("main")
    });
    assert_eq!(read.unwrap(), Some(before[0].0));
    assert_holds(&reader, &after);
    assert_eq!(reader.len().unwrap(), 10);
}

/// It would be undone with the snapshot.
#[test]
fn nothing_is_written_inside_a_snapshot() {
    let folder = Folder::new();
    let store = folder.open();
    let known = blocks(19, 5);
    store.put_many(&known).unwrap();
    let (cid, other) = block(20, 0);
    let read = store.snapshot(|snapshot| {
        let written = "WriteInSnapshot";
        assert_eq!(fault(store.put(&cid, other.clone())), written);
        assert_eq!(fault(store.put_many(&blocks(20, 3))), written);
        assert_eq!(fault(store.delete(&known[0].0)), written);
        assert_eq!(fault(store.delete_many(&cids(&known))), written);
        assert_eq!(fault(store.set_head("main", &cid)), written);
        assert_eq!(fault(store.delete_head("main")), written);
        assert_eq!(fault(store.retain(|_| false)), written);
        let transaction = store.transaction(|_| Ok::<_, StoreError>(()));
        assert_eq!(fault(transaction), "NestedTransaction");
        // Reading still works, in a snapshot of the snapshot too.
        assert_holds(&store, &known);
        store.snapshot(|inner| {
            assert_holds(inner, &known);
            assert_eq!(inner.len()?, snapshot.len()?);
            Ok::<_, StoreError>(())
        })
    });
    read.unwrap();
    assert_eq!(store.len().unwrap(), 5);
    store.put(&cid, other).unwrap();
}

#[test]
fn the_callers_own_tables_are_part_of_the_transaction() {
    let folder = Folder::new();
    let store = folder.open();
    let count = |store: &SqliteBlockStore| -> i64 {
        store.with_connection(|connection| {
            let sql = "SELECT count(*) FROM announcements";
            connection.query_row(sql, [], |row| row.get(0)).unwrap()
        })
    };
    store
        .with_connection(|connection| {
            connection.execute_batch("CREATE TABLE announcements (n INTEGER)")
        })
        .unwrap();
    for (fails, expected) in [(true, 0), (false, 1)] {
        let result = store.transaction(|transaction| {
            let sql = "INSERT INTO announcements VALUES (1)";
            let inserted = transaction.connection()?.execute_batch(sql);
            inserted.map_err(SqliteError::from)?;
            transaction.put_many(&blocks(17, 1))?;
            if fails {
                return Err(SqliteError::NestedTransaction.into());
            }
            Ok::<_, StoreError>(())
        });
        assert_eq!(result.is_err(), fails);
        assert_eq!(count(&store), expected);
        assert_eq!(store.len().unwrap(), usize::try_from(expected).unwrap());
    }
}

#[test]
fn inside_a_callers_transaction_the_caller_decides() {
    let folder = Folder::new();
    let connection = Connection::open(folder.database()).unwrap();
    let store = SqliteBlockStore::from_connection(connection, &SqliteOptions::default()).unwrap();
    let run = |sql: &str| {
        store
            .with_connection(|connection| connection.execute_batch(sql))
            .unwrap();
    };
    for (end, expected) in [("ROLLBACK", 0), ("COMMIT", 30)] {
        run("BEGIN");
        store.put_many(&blocks(18, 30)).unwrap();
        let refused = store.transaction(|_| Ok::<_, StoreError>(()));
        assert_eq!(SqliteFault::of(&refused.unwrap_err()), "NestedTransaction");
        assert_eq!(store.len().unwrap(), 30);
        run(end);
        assert_eq!(store.len().unwrap(), expected);
    }
}

/// A store whose work is interrupted as long as the deadline has passed.
fn interruptible(folder: &Folder) -> (SqliteBlockStore, Arc<AtomicBool>) {
    let is_late = Arc::new(AtomicBool::new(false));
    let mut connection = Connection::open(folder.database()).unwrap();
    let handler = Arc::clone(&is_late);
    let handler = move || handler.load(Ordering::Relaxed);
    connection.progress_handler(1, Some(handler)).unwrap();
    let options = SqliteOptions::default();
    let store = SqliteBlockStore::from_connection(connection, &options).unwrap();
    (store, is_late)
}

/// A deadline that has passed interrupts the undoing too.
#[test]
fn what_could_not_be_undone_is_undone_before_anything_else_is_done() {
    let folder = Folder::new();
    let blocks = blocks(1, 3);
    let (store, is_late) = interruptible(&folder);
    let interrupted = || {
        let failed = store.transaction(|transaction| {
            transaction.put(&blocks[0].0, blocks[0].1.clone())?;
            is_late.store(true, Ordering::Relaxed);
            transaction.has(&blocks[1].0)
        });
        assert!(failed.is_err());
        store.with_connection(|connection| assert!(!connection.is_autocommit()));
        // As long as it cannot be undone, nothing else is done.
        assert!(store.put(&blocks[1].0, blocks[1].1.clone()).is_err());
        is_late.store(false, Ordering::Relaxed);
    };
    interrupted();
    store.put(&blocks[1].0, blocks[1].1.clone()).unwrap();
    interrupted();
    store
        .transaction(|transaction| transaction.put(&blocks[2].0, blocks[2].1.clone()))
        .unwrap();
    interrupted();
    assert_holds(&store, &blocks[1..]);
    drop(store);
    let store = folder.open();
    assert_holds(&store, &blocks[1..]);
    assert_eq!(store.len().unwrap(), 2);
}

/// A caller may do more on the connection after an error of the store.
#[test]
fn what_the_caller_does_after_a_part_has_failed_is_undone_with_it() {
    let folder = Folder::new();
    let store = folder.open();
    store.put_many(&blocks(1, 3)).unwrap();
    let spoil = "CREATE TABLE sent (head TEXT); INSERT INTO blocks VALUES (x'00', x'00')";
    store
        .with_connection(|connection| connection.execute_batch(spoil))
        .unwrap();
    let insert = "INSERT INTO sent VALUES ('one')";
    let ended = store.transaction(|transaction| {
        let connection = transaction.connection()?;
        assert_eq!(fault(transaction.retain(|_| true)), "InvalidCid");
        connection.execute_batch(insert).unwrap();
        assert_eq!(fault(transaction.connection()), "TransactionEnded");
        Ok::<_, StoreError>(())
    });
    assert_eq!(fault(ended), "TransactionEnded");
    let count = "SELECT count(*) FROM sent";
    let count = |connection: &Connection| connection.query_row(count, [], |row| row.get(0));
    assert_eq!(store.with_connection(count), Ok(0));
    store.put_many(&blocks(2, 3)).unwrap();
}

/// Ignoring an error must not keep half of what came before.
#[test]
fn a_part_that_could_not_be_undone_takes_the_transaction_with_it() {
    let folder = Folder::new();
    let blocks = blocks(1, 3);
    let (store, is_late) = interruptible(&folder);
    store.put(&blocks[0].0, blocks[0].1.clone()).unwrap();
    let ended = store.transaction(|transaction| {
        transaction.put(&blocks[1].0, blocks[1].1.clone())?;
        is_late.store(true, Ordering::Relaxed);
        transaction.retain(|_| false).unwrap_err();
        is_late.store(false, Ordering::Relaxed);
        let refused = transaction.put(&blocks[2].0, blocks[2].1.clone());
        assert_eq!(fault(refused), "TransactionEnded");
        Ok::<_, StoreError>(())
    });
    assert_eq!(fault(ended), "TransactionEnded");
    assert_holds(&store, &blocks[..1]);
    assert_eq!(store.len().unwrap(), 1);
    store.put(&blocks[2].0, blocks[2].1.clone()).unwrap();
    drop(store);
    assert_eq!(folder.open().len().unwrap(), 2);
}
