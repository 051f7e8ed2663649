//! The danger: a store that behaves differently under another name, in another place, or on the
//! second day. All must keep the one contract, and none may interfere with another.

use std::cell::Cell;

use blockstore_core::contract;
use blockstore_sqlite::rusqlite::Connection;
use blockstore_sqlite::{
    BlockStore, BlockStoreMut, Bytes, SqliteBlockStore, SqliteError, SqliteOptions, StoreError,
};

use crate::support::{Folder, assert_holds, blocks};

/// The CID of the empty map in DAG-CBOR, as published, and its bytes.
#[test]
fn a_published_cid_is_the_key_of_its_block() {
    let cid = "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua";
    let cid = cid.parse().unwrap();
    let store = SqliteBlockStore::in_memory().unwrap();
    store.put(&cid, Bytes::from_static(b"\xa0")).unwrap();
    let row: (String, Vec<u8>) = store.with_connection(|connection| {
        let sql = "SELECT lower(hex(cid)), bytes FROM blocks";
        let row = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        row.unwrap()
    });
    let expected = "01711220c19a797fa1fd590cd2e5b42d1cf5f246e29b91684e2f87404b81dc345c7a56a0";
    assert_eq!(row, (expected.to_owned(), b"\xa0".to_vec()));
}

#[test]
fn a_file_keeps_the_contract() {
    let folder = Folder::new();
    let count = Cell::new(0);
    contract::read_write(|| {
        count.set(count.get() + 1);
        SqliteBlockStore::open(folder.path().join(count.get().to_string())).unwrap()
    });
}

#[test]
fn a_store_in_memory_keeps_the_contract() {
    contract::read_write(|| SqliteBlockStore::in_memory().unwrap());
}

#[test]
fn a_store_that_does_not_check_on_reading_keeps_the_contract() {
    let options = SqliteOptions {
        verify: false,
        ..SqliteOptions::default()
    };
    contract::read_write(|| {
        let connection = Connection::open_in_memory().unwrap();
        SqliteBlockStore::from_connection(connection, &options).unwrap()
    });
}

#[test]
fn a_transaction_keeps_the_contract() {
    let store = SqliteBlockStore::in_memory().unwrap();
    let kept = store.transaction(|transaction| {
        contract::read_write(|| {
            transaction.retain(|_| false).unwrap();
            transaction
        });
        Ok::<_, StoreError>(())
    });
    kept.unwrap();
}

#[test]
fn a_store_inside_a_callers_transaction_keeps_the_contract() {
    contract::read_write(|| {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("BEGIN").unwrap();
        SqliteBlockStore::from_connection(connection, &SqliteOptions::default()).unwrap()
    });
}

#[test]
fn a_file_opened_again_keeps_the_contract() {
    let folder = Folder::new();
    let blocks = blocks(1, 500);
    folder.open().put_many(&blocks).unwrap();
    contract::read_only(&folder.open(), &blocks);
    let reading = SqliteBlockStore::open_read_only(folder.database()).unwrap();
    contract::read_only(&reading, &blocks);
    let snapshot = reading.snapshot(|snapshot| {
        contract::read_only(snapshot, &blocks);
        Ok::<_, StoreError>(())
    });
    snapshot.unwrap();
    drop(reading);
    contract::read_write(|| {
        let store = folder.open();
        store.retain(|_| false).unwrap();
        store
    });
}

/// Names that are SQL, and names that are hardly names.
const ODD_NAMES: [&str; 21] = [
    "select",
    "TABLE",
    "a table of blocks",
    " ",
    "\"",
    "\"\"",
    "'",
    "`",
    "[blocks]",
    "main.blocks",
    "temp.blocks",
    "1",
    "-- blocks",
    "blocks;",
    "x\" (cid); DROP TABLE \"blocks",
    "x'); DELETE FROM blocks; --",
    "块",
    "🦋\u{202e}\n\t",
    "%s?1:name@name$name",
    "pragma_table_list",
    "pragma_table_xinfo",
];

#[test]
fn tables_of_any_name_keep_the_contract() {
    for name in ODD_NAMES {
        let options = SqliteOptions {
            table: name.to_owned(),
            ..SqliteOptions::default()
        };
        contract::read_write(|| {
            let connection = Connection::open_in_memory().unwrap();
            SqliteBlockStore::from_connection(connection, &options).unwrap()
        });
    }
}

#[test]
fn stores_of_all_names_live_in_one_database_without_seeing_each_other() {
    let folder = Folder::new();
    let names = || ODD_NAMES.into_iter().chain(["blocks"]);
    let open = |name: &str| {
        let options = SqliteOptions {
            table: name.to_owned(),
            ..SqliteOptions::default()
        };
        SqliteBlockStore::open_with(folder.database(), &options).unwrap()
    };
    for (n, name) in (0..).zip(names()) {
        let store = open(name);
        assert!(store.is_empty().unwrap(), "{name:?}");
        store.put_many(&blocks(n, 5)).unwrap();
        store.set_head(name, &blocks(n, 1)[0].0).unwrap();
    }
    for (n, name) in (0..).zip(names()) {
        let store = open(name);
        assert_eq!(store.len().unwrap(), 5, "{name:?}");
        assert_holds(&store, &blocks(n, 5));
        let heads = store.heads().unwrap();
        assert_eq!(heads, [(name.to_owned(), blocks(n, 1)[0].0)]);
    }
}

#[test]
fn names_that_no_table_can_have_are_refused() {
    for name in ["", "a\0b", "sqlite_blocks", "SQLite_Blocks"] {
        let options = SqliteOptions {
            table: name.to_owned(),
            ..SqliteOptions::default()
        };
        let connection = Connection::open_in_memory().unwrap();
        let refused = SqliteBlockStore::from_connection(connection, &options);
        assert!(
            matches!(&refused, Err(SqliteError::InvalidTableName { name: of }) if of == name),
            "{name:?}: {refused:?}"
        );
    }
}

/// A temporary table comes before one of the database, in SQL that does not say which.
#[test]
fn a_temporary_table_of_the_same_name_is_not_taken_for_the_store() {
    let connection = Connection::open_in_memory().unwrap();
    let sql = "CREATE TEMP TABLE blocks (cid BLOB NOT NULL PRIMARY KEY, bytes BLOB NOT NULL)";
    connection.execute_batch(sql).unwrap();
    let store = SqliteBlockStore::from_connection(connection, &SqliteOptions::default()).unwrap();
    store.put_many(&blocks(2, 3)).unwrap();
    let connection = store.into_connection();
    let count = |table| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("temp.blocks"), count("main.blocks")), (0, 3));
}

#[test]
fn heads_are_kept_replaced_and_dropped_by_name() {
    let folder = Folder::new();
    let store = folder.open();
    let [one, two, three] = [0, 1, 2].map(|n| blocks(3, 3)[n].0);
    assert_eq!(store.head("a").unwrap(), None);
    store.set_head("a", &one).unwrap();
    store.set_head("", &two).unwrap();
    store.set_head("a\0b'\"", &three).unwrap();
    store.set_head("a", &two).unwrap();
    store.set_head("a", &two).unwrap();
    drop(store);
    let store = folder.open();
    assert_eq!(store.head("a").unwrap(), Some(two));
    assert_eq!(store.head("A").unwrap(), None);
    let heads = [("", two), ("a", two), ("a\0b'\"", three)];
    assert_eq!(
        store.heads().unwrap(),
        heads.map(|(name, cid)| (name.to_owned(), cid))
    );
    store.delete_head("a").unwrap();
    store.delete_head("a").unwrap();
    assert_eq!(store.head("a").unwrap(), None);
    assert_eq!(store.heads().unwrap().len(), 2);
    assert!(!store.has(&two).unwrap(), "a head is a name, not a block");
}

#[test]
fn a_store_is_shared_between_threads() {
    fn assert_shared<T: Send + Sync>(_: &T) {}
    let folder = Folder::new();
    let store = folder.open();
    assert_shared(&store);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..20 {
                    let blocks = blocks(thread * 100 + n, 5);
                    store.put_many(&blocks).unwrap();
                    assert_holds(store, &blocks);
                }
            });
        }
    });
    assert_eq!(store.len().unwrap(), 4 * 20 * 5);
}
