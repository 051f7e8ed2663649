//! The danger: a database that is taken for another than it is. Somebody else's file is changed; a
//! mistyped path is created and found empty; a store of a later version is read by the rules of
//! this one. And the settings on which all promises depend are not what they were thought to be.

use std::fs;
use std::time::Duration;

use blockstore_core::dag_cbor_cid;
use blockstore_sqlite::rusqlite::{Connection, OpenFlags};
use blockstore_sqlite::{
    Access, BlockStore, BlockStoreMut, SqliteBlockStore, SqliteError, SqliteOptions, StoreError,
    Synchronous,
};

use crate::support::{Folder, SqliteFault, assert_holds, blocks, fault, left_out};

fn open(folder: &Folder, access: Access) -> Result<SqliteBlockStore, SqliteError> {
    let options = SqliteOptions {
        access,
        ..SqliteOptions::default()
    };
    SqliteBlockStore::open_with(folder.database(), &options)
}

fn pragma(store: &SqliteBlockStore, name: &str) -> String {
    store.with_connection(|connection| {
        let value = connection.pragma_query_value(None, name, |row| {
            let value: blockstore_sqlite::rusqlite::types::Value = row.get(0)?;
            Ok(format!("{value:?}"))
        });
        value.unwrap()
    })
}

#[test]
fn a_file_is_set_up_to_lose_nothing() {
    let folder = Folder::new();
    let store = folder.open();
    for (name, value) in [
        ("journal_mode", r#"Text("wal")"#),
        ("synchronous", "Integer(2)"),
        ("fullfsync", "Integer(1)"),
        ("busy_timeout", "Integer(5000)"),
        ("trusted_schema", "Integer(0)"),
        ("user_version", "Integer(0)"),
        ("application_id", "Integer(0)"),
    ] {
        assert_eq!(pragma(&store, name), value, "{name}");
    }
    let mut options = SqliteOptions {
        synchronous: Synchronous::Normal,
        busy_timeout: Duration::from_millis(1_234),
        ..SqliteOptions::default()
    };
    let store = SqliteBlockStore::open_with(folder.database(), &options).unwrap();
    assert_eq!(pragma(&store, "busy_timeout"), "Integer(1234)");
    assert_eq!(pragma(&store, "synchronous"), "Integer(1)");
    assert_eq!(pragma(&store, "fullfsync"), "Integer(0)");
    // Without a write-ahead log, a commit waits for what takes its place.
    let store = SqliteBlockStore::in_memory().unwrap();
    assert_eq!(pragma(&store, "synchronous"), "Integer(3)");
    options.busy_timeout = Duration::MAX;
    let store = SqliteBlockStore::open_with(folder.database(), &options).unwrap();
    assert_eq!(
        pragma(&store, "busy_timeout"),
        format!("Integer({})", i32::MAX)
    );
}

#[test]
fn a_callers_connection_stays_as_it_was() {
    let folder = Folder::new();
    let names = [
        "journal_mode",
        "synchronous",
        "busy_timeout",
        "trusted_schema",
        "user_version",
    ];
    let connection = Connection::open(folder.database()).unwrap();
    connection
        .execute_batch(
            "PRAGMA synchronous = OFF; PRAGMA busy_timeout = 77; PRAGMA user_version = 5",
        )
        .unwrap();
    let settings = |connection: &Connection| {
        names.map(|name| -> String {
            let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
            let sql = match name {
                "busy_timeout" => "SELECT CAST(timeout AS TEXT) FROM pragma_busy_timeout",
                _ => sql.as_str(),
            };
            connection.query_row(sql, [], |row| row.get(0)).unwrap()
        })
    };
    let before = settings(&connection);
    let store = SqliteBlockStore::from_connection(connection, &SqliteOptions::default()).unwrap();
    store.put_many(&blocks(1, 3)).unwrap();
    let connection = store.into_connection();
    assert_eq!(settings(&connection), before);
    assert_eq!(before[0], "delete");
}

#[test]
fn a_file_that_nobody_changes_is_read_without_any_other_beside_it() {
    let folder = Folder::new();
    // None of it means anything in a URI.
    let path = folder.database().with_file_name("a b?c=d#e%20&ü.sqlite");
    let blocks = blocks(1, 3);
    let store = SqliteBlockStore::open(&path).unwrap();
    store.put_many(&blocks).unwrap();
    drop(store);
    let names = || {
        let names = fs::read_dir(path.parent().unwrap()).unwrap();
        names
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), [path.file_name().unwrap()]);

    let options = SqliteOptions {
        access: Access::Immutable,
        ..SqliteOptions::default()
    };
    let store = SqliteBlockStore::open_with(&path, &options).unwrap();
    assert_holds(&store, &blocks);
    assert_eq!(names(), [path.file_name().unwrap()]);
    let refused = store.put(&dag_cbor_cid(b"\xa0"), b"\xa0".as_slice().into());
    assert_eq!(fault(refused), "ReadOnly");

    // Two slashes at the start of a path are one, and in a URI they would be something else.
    #[cfg(unix)]
    {
        let path = format!("/{}", path.to_str().unwrap());
        let store = SqliteBlockStore::open_with(path, &options).unwrap();
        assert_holds(&store, &blocks);
    }
}

#[test]
fn what_is_not_there_is_made_only_when_asked_for() {
    let folder = Folder::new();
    let there_only = [Access::ReadOnly, Access::Immutable, Access::ReadWrite];
    for access in there_only {
        let missing = open(&folder, access).unwrap_err();
        assert_eq!(SqliteFault::of(&missing), "CannotOpen", "{access:?}");
        assert!(!folder.database().exists(), "{access:?}");
    }
    fs::write(folder.database(), "").unwrap();
    for access in there_only {
        let missing = open(&folder, access).unwrap_err();
        let SqliteError::MissingTable { table } = &missing else {
            panic!("{access:?}: {missing:?}");
        };
        assert_eq!(table, "blocks");
        assert_eq!(fs::read(folder.database()).unwrap(), b"", "{access:?}");
    }
    open(&folder, Access::Create).unwrap();
    open(&folder, Access::ReadWrite).unwrap();
    open(&folder, Access::ReadOnly).unwrap();

    let deeper = folder.path().join("no such folder").join("blocks");
    let missing = SqliteBlockStore::open(deeper).unwrap_err();
    assert_eq!(SqliteFault::of(&missing), "CannotOpen");
    let missing = SqliteBlockStore::open(folder.path()).unwrap_err();
    assert_eq!(SqliteFault::of(&missing), "CannotOpen");
    let missing = SqliteBlockStore::open("").unwrap_err();
    assert_eq!(SqliteFault::of(&missing), "CannotOpen");
}

/// To SQLite, these names mean a database in memory, a temporary file, and a URI.
#[test]
fn a_path_is_always_a_path() {
    let folder = Folder::new();
    for name in [
        ":memory:",
        "file:blocks?mode=memory",
        "file::memory:",
        "%41",
        "-wal",
    ] {
        let path = folder.path().join(name);
        let store = SqliteBlockStore::open(&path).unwrap();
        store.put_many(&blocks(1, 3)).unwrap();
        drop(store);
        assert!(path.is_file(), "{name}");
        assert_eq!(SqliteBlockStore::open(&path).unwrap().len().unwrap(), 3);
    }
    // Only a relative one can be mistaken for them.
    let refused = SqliteBlockStore::open("file:no such folder/blocks?mode=memory").unwrap_err();
    assert_eq!(SqliteFault::of(&refused), "CannotOpen");
}

#[cfg(unix)]
#[test]
fn a_path_with_a_zero_byte_names_no_file() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let folder = Folder::new();
    open(&folder, Access::Create).unwrap();
    let path = folder.database();
    let path = [path.as_os_str().as_bytes(), b"\0.sqlite"].concat();
    for access in [
        Access::Create,
        Access::ReadWrite,
        Access::ReadOnly,
        Access::Immutable,
    ] {
        let options = SqliteOptions {
            access,
            ..SqliteOptions::default()
        };
        let refused = SqliteBlockStore::open_with(OsStr::from_bytes(&path), &options);
        assert!(refused.is_err(), "{access:?}");
    }
}

#[test]
fn a_store_opened_for_reading_reads_and_refuses_to_write() {
    let folder = Folder::new();
    let blocks = blocks(2, 50);
    let writing = folder.open();
    writing.put_many(&blocks).unwrap();
    writing.set_head("main", &blocks[0].0).unwrap();
    let reading = SqliteBlockStore::open_read_only(folder.database()).unwrap();
    assert_holds(&reading, &blocks);
    assert_eq!(reading.head("main").unwrap(), Some(blocks[0].0));
    let (cid, block) = &blocks[0];
    assert_eq!(fault(reading.put(cid, block.clone())), "ReadOnly");
    assert_eq!(fault(reading.put_many(&blocks)), "ReadOnly");
    assert_eq!(fault(reading.delete(cid)), "ReadOnly");
    assert_eq!(fault(reading.delete_many(&[*cid])), "ReadOnly");
    assert_eq!(fault(reading.set_head("main", cid)), "ReadOnly");
    assert_eq!(fault(reading.delete_head("main")), "ReadOnly");
    assert_eq!(fault(reading.retain(|_| false)), "ReadOnly");
    let emptied = reading.transaction(|transaction| transaction.delete(cid));
    assert_eq!(fault(emptied), "ReadOnly");
    // It sees what is written after it was opened.
    let later = crate::support::blocks(3, 5);
    writing.put_many(&later).unwrap();
    assert_holds(&reading, &later);
    assert_eq!(reading.len().unwrap(), 55);
}

/// Without permission; as root, which needs none, there is nothing to test.
#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_written_is_refused_for_writing() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    let blocks = blocks(4, 5);
    let store = folder.open();
    store.put_many(&blocks).unwrap();
    // So that reading needs no file beside it.
    store
        .with_connection(|connection| connection.execute_batch("PRAGMA journal_mode = DELETE"))
        .unwrap();
    drop(store);
    fs::set_permissions(folder.database(), fs::Permissions::from_mode(0o444)).unwrap();
    if fs::OpenOptions::new()
        .write(true)
        .open(folder.database())
        .is_ok()
    {
        left_out("permissions do not hold for whoever runs the tests");
        return;
    }
    let refused = SqliteBlockStore::open(folder.database()).unwrap_err();
    assert_eq!(SqliteFault::of(&refused), "ReadOnly");
    let reading = SqliteBlockStore::open_read_only(folder.database()).unwrap();
    assert_holds(&reading, &blocks);

    // A medium that cannot be written: not even a file beside it can be created.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let reading = SqliteBlockStore::open_read_only(folder.database()).unwrap();
    assert_holds(&reading, &blocks);
    drop(reading);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();

    // In WAL mode, reading needs one. If that is not what was asked for, none is left behind that
    // the owner of the database could not write to.
    fs::set_permissions(folder.database(), fs::Permissions::from_mode(0o644)).unwrap();
    folder.open();
    fs::set_permissions(folder.database(), fs::Permissions::from_mode(0o444)).unwrap();
    for access in [Access::ReadWrite, Access::Create] {
        let refused = open(&folder, access).unwrap_err();
        assert_eq!(SqliteFault::of(&refused), "ReadOnly");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let refused = SqliteBlockStore::open_read_only(folder.database()).unwrap_err();
    assert_eq!(SqliteFault::of(&refused), "CannotOpen");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let mut content = b"SQLite format 2\0".to_vec();
    content.extend(b"no more than a beginning".repeat(100));
    for content in [content.as_slice(), b"{\"text\":\"hello\"}", &[0; 5000]] {
        fs::write(folder.database(), content).unwrap();
        for access in [Access::Create, Access::ReadWrite, Access::ReadOnly] {
            let refused = open(&folder, access).unwrap_err();
            assert_eq!(SqliteFault::of(&refused), "NotADatabase", "{access:?}");
        }
        assert_eq!(fs::read(folder.database()).unwrap(), content);
    }
}

#[test]
fn a_damaged_database_is_called_that() {
    let folder = Folder::new();
    let blocks = blocks(5, 500);
    let store = folder.open();
    store.put_many(&blocks).unwrap();
    drop(store);
    let content = fs::read(folder.database()).unwrap();
    // All pages except the one in which the tables are described.
    let damaged = [&content[..4096], &vec![0xff; content.len() - 4096]].concat();
    fs::write(folder.database(), damaged).unwrap();
    let refused = SqliteBlockStore::open(folder.database()).unwrap_err();
    assert_eq!(SqliteFault::of(&refused), "Corrupt");
    // All except those in which the tables and the index begin.
    let damaged = [&content[..5 * 4096], &vec![0xff; content.len() - 5 * 4096]].concat();
    fs::write(folder.database(), damaged).unwrap();
    let store = folder.open();
    let corrupt = blocks
        .iter()
        .filter_map(|(cid, _)| store.get(cid).err())
        .inspect(|error| assert_eq!(SqliteFault::of(error), "Corrupt"))
        .count();
    assert!(corrupt > 400, "{corrupt}");
}

#[test]
fn foreign_tables_are_refused_and_left_as_they_are() {
    for sql in [
        "CREATE TABLE blocks (id INTEGER PRIMARY KEY, url TEXT)",
        "CREATE TABLE Blocks (cid BLOB PRIMARY KEY NOT NULL, bytes BLOB NOT NULL)",
        "CREATE TABLE blocks (cid BLOB NOT NULL PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE VIEW blocks AS SELECT 1 AS cid, 2 AS bytes",
        "CREATE TABLE blocks_heads (name TEXT)",
        "CREATE TABLE blocks_meta (name TEXT NOT NULL PRIMARY KEY, value ANY NOT NULL)",
        "CREATE TABLE blocks_meta (name TEXT NOT NULL PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID",
    ] {
        let folder = Folder::new();
        let connection = Connection::open(folder.database()).unwrap();
        connection.execute_batch(sql).unwrap();
        drop(connection);
        let before = fs::read(folder.database()).unwrap();
        for access in [Access::Create, Access::ReadWrite, Access::ReadOnly] {
            let refused = open(&folder, access).unwrap_err();
            assert_eq!(SqliteFault::of(&refused), "ForeignTable", "{sql}");
        }
        assert!(fs::read(folder.database()).unwrap() == before, "{sql}");
    }
}

#[test]
fn a_table_without_row_numbers_is_one_too() {
    let folder = Folder::new();
    let connection = folder.open().into_connection();
    let sql = "DROP TABLE blocks;
        CREATE TABLE blocks (cid BLOB NOT NULL PRIMARY KEY, bytes BLOB NOT NULL)
            STRICT, WITHOUT ROWID";
    connection.execute_batch(sql).unwrap();
    drop(connection);
    let (store, blocks) = (folder.open(), blocks(7, 50));
    store.put_many(&blocks).unwrap();
    assert_holds(&store, &blocks);
    assert_eq!(store.cids().count(), store.retain(|_| false).unwrap());
}

#[test]
fn columns_that_were_changed_make_a_table_foreign() {
    for sql in [
        "ALTER TABLE blocks ADD COLUMN more TEXT",
        "ALTER TABLE blocks RENAME COLUMN bytes TO data",
        "ALTER TABLE blocks_heads ADD COLUMN more TEXT",
        "DELETE FROM blocks_meta",
        "UPDATE blocks_meta SET value = 'one'",
        "UPDATE blocks_meta SET value = 0",
    ] {
        let folder = Folder::new();
        let connection = folder.open().into_connection();
        connection.execute_batch(sql).unwrap();
        let refused = open(&folder, Access::Create).unwrap_err();
        assert_eq!(SqliteFault::of(&refused), "ForeignTable", "{sql}");
    }
    for table in ["blocks", "blocks_heads"] {
        let folder = Folder::new();
        let connection = folder.open().into_connection();
        let sql = format!("DROP TABLE {table}");
        connection.execute_batch(&sql).unwrap();
        let refused = open(&folder, Access::Create).unwrap_err();
        let SqliteError::MissingTable { table: of } = refused else {
            panic!("{table}: {refused:?}");
        };
        assert_eq!(of, table);
    }
}

#[test]
fn a_newer_version_is_refused_whatever_its_tables_are() {
    let folder = Folder::new();
    let connection = folder.open().into_connection();
    connection
        .execute_batch(
            "UPDATE blocks_meta SET value = 2;
             ALTER TABLE blocks ADD COLUMN compression INTEGER;
             DROP TABLE blocks_heads",
        )
        .unwrap();
    for access in [Access::Create, Access::ReadWrite, Access::ReadOnly] {
        let refused = open(&folder, access).unwrap_err();
        assert_eq!(
            refused.to_string(),
            r#"the tables of "blocks" have version 2, newer than 1"#
        );
        assert!(matches!(
            refused,
            SqliteError::NewerSchema {
                found: 2,
                supported: 1,
                ..
            }
        ));
    }
}

#[test]
fn a_connection_for_reading_gives_a_store_for_reading() {
    let folder = Folder::new();
    let blocks = blocks(6, 5);
    let reader = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(folder.database(), flags).unwrap();
        SqliteBlockStore::from_connection(connection, &SqliteOptions::default())
    };
    Connection::open(folder.database())
        .unwrap()
        .execute_batch("CREATE TABLE accounts (did TEXT)")
        .unwrap();
    // There is nothing, and nothing can be created.
    assert_eq!(SqliteFault::of(&reader().unwrap_err()), "ReadOnly");
    folder.open().put_many(&blocks).unwrap();
    let store = reader().unwrap();
    assert_holds(&store, &blocks);
    let cid = dag_cbor_cid(b"\xa0");
    assert_eq!(
        fault(store.put(&cid, b"\xa0".as_slice().into())),
        "ReadOnly"
    );
    assert!(!store.has(&cid).unwrap());
}

#[test]
fn dropped_tables_are_missing_for_other_stores_and_nothing_else_is_touched() {
    let folder = Folder::new();
    let (kept, dropped) = (folder.open(), "quo\"ted");
    let mut options = SqliteOptions {
        table: dropped.to_owned(),
        ..SqliteOptions::default()
    };
    let blocks = blocks(3, 20);
    kept.put_many(&blocks).unwrap();
    let one = SqliteBlockStore::open_with(folder.database(), &options).unwrap();
    let other = SqliteBlockStore::open_with(folder.database(), &options).unwrap();
    one.put_many(&blocks).unwrap();
    one.set_head("did:web:example.com", &blocks[0].0).unwrap();
    assert_holds(&other, &blocks);

    one.drop_tables().unwrap();
    assert_holds(&kept, &blocks);
    let is_missing = |error: StoreError| {
        let error = SqliteError::find(&error);
        matches!(error, Some(SqliteError::MissingTable { table }) if table.starts_with(dropped))
    };
    assert!(is_missing(other.get(&blocks[0].0).unwrap_err()));
    assert!(is_missing(other.put_many(&blocks).unwrap_err()));
    assert!(is_missing(other.heads().unwrap_err()));
    assert!(is_missing(other.drop_tables().unwrap_err()));
    let left = kept.with_connection(|connection| {
        let count = "SELECT count(*) FROM sqlite_schema";
        connection
            .query_row(count, [], |row| row.get::<_, i64>(0))
            .unwrap()
    });
    // Three tables and an index.
    assert_eq!(left, 4);
    // And created again, they are empty.
    let anew = SqliteBlockStore::open_with(folder.database(), &options).unwrap();
    assert!(anew.is_empty().unwrap() && anew.heads().unwrap().is_empty());

    // Read-only access drops none.
    options.access = Access::ReadOnly;
    let reader = SqliteBlockStore::open_with(folder.database(), &options).unwrap();
    let error = reader.drop_tables().unwrap_err();
    assert!(matches!(
        SqliteError::find(&error),
        Some(SqliteError::ReadOnly(_))
    ));
    assert!(anew.is_empty().unwrap());
}
