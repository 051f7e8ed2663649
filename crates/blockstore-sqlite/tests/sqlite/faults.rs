//! The danger: a fault beneath the store passes for data, or for another fault. A block that rotted
//! on the disk is read as if it were good; the caller is told to try again where that does not
//! help.

use std::error::Error;
use std::fs;

use blockstore_core::{CidBytes, dag_cbor_cid, raw_cid};
use blockstore_sqlite::rusqlite::{Connection, params};
use blockstore_sqlite::{
    BlockStore, BlockStoreMut, Bytes, Cid, SqliteBlockStore, SqliteError, SqliteOptions, StoreError,
};

use crate::support::{Folder, assert_holds, block, blocks, fault, impatient};

/// Changes a bit of a block, behind the store's back.
fn rot(folder: &Folder, cid: &Cid) {
    let connection = Connection::open(folder.database()).unwrap();
    let key = CidBytes::from(cid);
    let mut bytes: Vec<u8> = connection
        .query_row(
            "SELECT bytes FROM blocks WHERE cid = ?1",
            [key.as_ref()],
            |row| row.get(0),
        )
        .unwrap();
    bytes[17] ^= 1;
    let sql = "UPDATE blocks SET bytes = ?1 WHERE cid = ?2";
    let changed = connection.execute(sql, params![bytes, key.as_ref()]);
    assert_eq!(changed.unwrap(), 1);
}

#[test]
fn a_block_that_rotted_is_an_error_and_never_data() {
    let folder = Folder::new();
    let blocks = blocks(1, 20);
    let (cid, block) = &blocks[7];
    let store = folder.open();
    store.put_many(&blocks).unwrap();
    rot(&folder, cid);

    let is_it = |error: StoreError| matches!(error, StoreError::HashMismatch(of) if of == *cid);
    assert!(is_it(store.get(cid).unwrap_err()));
    let all: Vec<Cid> = crate::support::cids(&blocks);
    assert!(is_it(store.get_many(&all).unwrap_err()));
    let read = store.transaction(|transaction| transaction.get(cid));
    assert!(is_it(read.unwrap_err()));
    let read = store.snapshot(|snapshot| snapshot.get_many(&all));
    assert!(is_it(read.unwrap_err()));
    // The others are unaffected.
    assert_holds(&store, &blocks[..7]);
    assert_holds(&store, &blocks[8..]);

    let options = SqliteOptions {
        verify: false,
        ..SqliteOptions::default()
    };
    let unchecked = SqliteBlockStore::open_with(folder.database(), &options).unwrap();
    let rotten = unchecked.get(cid).unwrap().unwrap();
    assert_eq!(rotten.len(), block.len());
    assert_ne!(rotten, block);
}

#[test]
fn putting_a_block_again_mends_it() {
    let folder = Folder::new();
    let blocks = blocks(2, 20);
    let store = folder.open();
    store.put_many(&blocks).unwrap();
    for (n, (cid, block)) in blocks.iter().enumerate() {
        rot(&folder, cid);
        match n % 3 {
            0 => store.put(cid, block.clone()).unwrap(),
            1 => store.put_many(&blocks).unwrap(),
            _ => store
                .transaction(|transaction| transaction.put(cid, block.clone()))
                .unwrap(),
        }
        assert_holds(&store, &blocks);
    }
    assert_eq!(store.len().unwrap(), 20);
}

/// Makes the index lead to the last of three rows instead of the second.
fn mislead(folder: &Folder, second: &Cid) {
    let mut file = fs::read(folder.database()).unwrap();
    // An entry of the index: the length of its header, the types of its values (36 bytes, a small
    // number), the key, the number of the row.
    // Source: <https://www.sqlite.org/fileformat.html#record_format>
    let mut entry = vec![3, 2 * 36 + 12, 1];
    entry.extend(second.to_bytes());
    entry.push(2);
    let found = file.windows(entry.len()).position(|part| part == entry);
    let row = found.unwrap() + entry.len() - 1;
    file[row] = 3;
    fs::write(folder.database(), file).unwrap();
}

#[test]
fn an_index_that_rotted_costs_no_other_block() {
    let folder = Folder::new();
    let blocks = blocks(4, 3);
    let [first, second, third] = &blocks[..] else {
        panic!("three were made");
    };
    let store = folder.open();
    for (cid, block) in &blocks {
        store.put(cid, block.clone()).unwrap();
    }
    drop(store);
    mislead(&folder, &second.0);

    let store = folder.open();
    assert!(store.get(&second.0).is_err());
    let put = store.put(&second.0, second.1.clone());
    assert_eq!(fault(put), "Corrupt");
    assert_eq!(fault(store.put_many(&blocks)), "Corrupt");
    assert_holds(&store, &[first.clone(), third.clone()]);
}

#[test]
fn a_row_that_nobody_can_check_is_an_error() {
    let folder = Folder::new();
    let store = folder.open();
    // The identity "hash": the store would not have accepted it.
    let identity = "bafkqablimvwgy3y".parse::<Cid>().unwrap();
    let sql = "INSERT INTO blocks (cid, bytes) VALUES (?1, 'hello'), (x'0102', x'00')";
    Connection::open(folder.database())
        .unwrap()
        .execute(
            &sql.replace("'hello'", "x'68656c6c6f'"),
            [identity.to_bytes()],
        )
        .unwrap();
    let read = store.get(&identity);
    assert!(matches!(read, Err(StoreError::Unverifiable(of)) if of == identity));
}

#[test]
fn a_key_that_is_no_cid_is_an_error_and_not_the_end() {
    let folder = Folder::new();
    let blocks = blocks(3, 3);
    let store = folder.open();
    store.put_many(&blocks).unwrap();
    let mut longer = blocks[1].0.to_bytes();
    longer.push(0);
    Connection::open(folder.database())
        .unwrap()
        .execute(
            "INSERT INTO blocks (cid, bytes) VALUES (x'', x''), (x'00', x''), (?1, x'')",
            [longer],
        )
        .unwrap();
    let all: Vec<_> = store.cids().collect();
    let (found, faults): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!(found.len(), 3);
    assert_eq!(faults.len(), 2);
    for error in faults {
        assert_eq!(fault(error), "InvalidCid");
    }
    // A sweep does not skip what it cannot ask about.
    assert_eq!(fault(store.retain(|_| false)), "InvalidCid");
    assert_holds(&store, &blocks);
    assert_eq!(
        fault(store.transaction(|inside| inside.retain(|_| false))),
        "InvalidCid"
    );
    assert_holds(&store, &blocks);

    Connection::open(folder.database())
        .unwrap()
        .execute_batch("INSERT INTO blocks_heads VALUES ('main', x'0171')")
        .unwrap();
    assert_eq!(fault(store.head("main")), "InvalidCid");
    assert_eq!(fault(store.heads()), "InvalidCid");
    assert_eq!(store.head("other").unwrap(), None);
}

#[test]
fn a_locked_database_is_busy_until_it_is_not() {
    let folder = Folder::new();
    let known = blocks(4, 5);
    let store = SqliteBlockStore::open_with(folder.database(), &impatient()).unwrap();
    store.put_many(&known).unwrap();
    let other = Connection::open(folder.database()).unwrap();
    for lock in ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"] {
        other.execute_batch(lock).unwrap();
        let (cid, block) = block(5, 0);
        assert_eq!(fault(store.put(&cid, block.clone())), "Busy", "{lock}");
        assert_eq!(fault(store.put_many(&blocks(5, 5))), "Busy");
        assert_eq!(fault(store.delete(&known[0].0)), "Busy");
        assert_eq!(fault(store.set_head("main", &cid)), "Busy");
        assert_eq!(fault(store.retain(|_| false)), "Busy");
        let transaction = store.transaction(|_| Ok::<_, StoreError>(()));
        assert_eq!(fault(transaction), "Busy");
        // Readers do not wait for a writer.
        assert_holds(&store, &known);
        assert_eq!(store.len().unwrap(), 5);
        assert!(!store.has(&cid).unwrap());
        other.execute_batch("ROLLBACK").unwrap();
    }
    store.put_many(&blocks(5, 5)).unwrap();
    assert_eq!(store.len().unwrap(), 10);
}

/// In the modes without a write-ahead log, a lock keeps readers out too.
#[test]
fn a_connection_without_a_log_is_busy_for_readers_too() {
    let folder = Folder::new();
    let known = blocks(6, 5);
    let connection = Connection::open(folder.database()).unwrap();
    connection.busy_timeout(impatient().busy_timeout).unwrap();
    let store = SqliteBlockStore::from_connection(connection, &SqliteOptions::default()).unwrap();
    store.put_many(&known).unwrap();
    let other = Connection::open(folder.database()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(fault(store.get(&known[0].0)), "Busy");
    assert_eq!(fault(store.get_many(&crate::support::cids(&known))), "Busy");
    assert_eq!(fault(store.put(&known[0].0, known[0].1.clone())), "Busy");
    assert_eq!(fault(store.cids().next().unwrap()), "Busy");
    let locked = SqliteBlockStore::open_with(folder.database(), &impatient());
    assert!(matches!(locked, Err(SqliteError::Busy(_))), "{locked:?}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_holds(&store, &known);
}

#[test]
fn errors_say_what_they_are_at_each_level() {
    let folder = Folder::new();
    let reading = {
        folder.open();
        SqliteBlockStore::open_read_only(folder.database()).unwrap()
    };
    let error = reading
        .put(&raw_cid(b"block"), Bytes::from_static(b"block"))
        .unwrap_err();
    let mut levels = Vec::new();
    let mut level: Option<&dyn Error> = Some(&error);
    while let Some(error) = level {
        levels.push(error.to_string());
        level = error.source();
    }
    assert_eq!(
        levels[..2],
        ["the block store failed", "the database is read-only"]
    );
    assert!(levels[2].contains("readonly"), "{levels:?}");
    assert_eq!(error.cid(), None);
    assert!(SqliteError::find(&StoreError::HashMismatch(dag_cbor_cid(b""))).is_none());
}

/// A page begins after the last key of the previous one, and would begin there again and again.
#[test]
fn a_key_that_is_out_of_order_is_damage_and_not_a_circle() {
    let folder = Folder::new();
    let store = folder.open();
    let blocks: Vec<(Cid, Bytes)> = (0..2_500_u32)
        .map(|n| Bytes::copy_from_slice(&n.to_be_bytes()))
        .map(|block| (raw_cid(&block), block))
        .collect();
    store.put_many(&blocks).unwrap();
    drop(store);
    let mut keys: Vec<Vec<u8>> = blocks.iter().map(|(cid, _)| cid.to_bytes()).collect();
    keys.sort();
    let mut file = std::fs::read(folder.database()).unwrap();
    let key = &keys[999];
    // In the table and in its index.
    let places = file.windows(key.len()).enumerate();
    let places: Vec<usize> = places
        .filter(|(_, bytes)| bytes == key)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 2);
    for at in places {
        file[at + 1] = 0x51;
    }
    std::fs::write(folder.database(), file).unwrap();

    let store = folder.open();
    let listed: Vec<_> = store.cids().take(10_000).collect();
    assert!(listed.len() < 2_600, "{}", listed.len());
    let errors: Vec<_> = listed.into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(
        fault::<()>(Err(errors.into_iter().next().unwrap())),
        "Corrupt"
    );
    assert_eq!(fault(store.retain(|_| true)), "Corrupt");
    let swept = store.transaction(|transaction| transaction.retain(|_| true));
    assert_eq!(fault(swept), "Corrupt");
}
