//! Blocks in SQLite, as a block store.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use blockstore_core::{BlockStore, BlockStoreMut, Bytes, Cid, StoreError, check_block};
use rusqlite::Connection;

use crate::cids::Source;
use crate::database::{Database, Page, check};
use crate::shared::Shared;
use crate::{Access, Cids, SqliteError, SqliteOptions, SqliteSnapshot, SqliteTransaction, open};

/// A block store in an SQLite database.
///
/// Each call is a transaction of its own: `put_many` and
/// [`delete_many`](BlockStoreMut::delete_many) are atomic, and [`transaction`](Self::transaction)
/// makes many calls atomic. A write that has returned is on disk
/// ([`Synchronous`](crate::Synchronous) says how firmly), and survives if the process is killed at
/// any moment.
///
/// Each block is checked against its CID when it is put and again when it is read, so a block that
/// has changed on disk is an error. Putting it again repairs it.
///
/// # Threads and processes
///
/// A store is one connection, and its calls take turns; it can be shared between threads. For reads
/// in parallel, open a store for each thread on the same file, as other processes do. Any number
/// may read while one writes: a reader sees the last commit before it began and never waits.
/// Writers wait for each other, for up to [`busy_timeout`](SqliteOptions::busy_timeout), 5 seconds
/// by default. Where threads write for longer, as imports of large repositories do, let them share
/// one store, whose calls take turns however long that takes; or set a longer timeout.
///
/// # Examples
///
/// ```
/// use blockstore_sqlite::{BlockStore, BlockStoreMut, SqliteBlockStore, StoreError};
/// use blockstore_core::dag_cbor_cid;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("blocks.sqlite");
/// let store = SqliteBlockStore::open(&path)?;
/// let (record, commit) = (dag_cbor_cid(b"\xa0"), dag_cbor_cid(b"\x80"));
/// store.transaction(|transaction| {
///     transaction.put(&record, b"\xa0".as_slice().into())?;
///     transaction.put(&commit, b"\x80".as_slice().into())?;
///     transaction.set_head("did:plc:ewvi7nxzyoun6zhxrhs64oiz", &commit)
/// })?;
/// drop(store);
///
/// let store = SqliteBlockStore::open_read_only(&path)?;
/// assert_eq!(store.head("did:plc:ewvi7nxzyoun6zhxrhs64oiz")?, Some(commit));
/// assert_eq!(store.get(&record)?.as_deref(), Some(b"\xa0".as_slice()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SqliteBlockStore {
    shared: Shared,
    verify: bool,
}

impl SqliteBlockStore {
    /// Opens the store in the file at `path`, which is created if it does not exist.
    ///
    /// `path` is always a file: names that are special to SQLite, such as `:memory:`, are not
    /// special here. An existing database may hold other tables; they are left alone.
    ///
    /// The file is put into WAL mode, in which SQLite writes commits to a log beside it (`-wal`,
    /// with `-shm` as its index) and now and then copies them into the file. These two files are
    /// part of the database as long as they exist. Make copies with `VACUUM INTO`
    /// ([`with_connection`](Self::with_connection)), never by reading the files: when a process
    /// closes a file that it has read that way, the system drops the locks that SQLite has in that
    /// process. Before the file is restored from a copy or deleted, close all stores on it and
    /// delete the other two.
    ///
    /// WAL mode needs shared memory, so all processes must be on one machine. A database that
    /// cannot use it keeps its mode, and readers and the writer then wait for each other.
    ///
    /// # Errors
    ///
    /// [`SqliteError::CannotOpen`], [`SqliteError::NotADatabase`],
    /// [`SqliteError::ReadOnly`] if the file may not be written,
    /// [`SqliteError::ForeignTable`] and [`SqliteError::NewerSchema`] if there are tables of these
    /// names that this version cannot use, [`SqliteError::MissingTable`] if only some of the
    /// store's tables exist, [`SqliteError::Busy`] if another connection has it locked; and
    /// [`SqliteError::Corrupt`], [`SqliteError::Full`], [`SqliteError::Io`] and
    /// [`SqliteError::Other`] where SQLite fails. A file that is refused for its contents has not
    /// been changed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        Self::open_with(path, &SqliteOptions::default())
    }

    /// Opens the store in the file at `path`, with the given options.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); [`SqliteError::InvalidTableName`] for a name that no table can
    /// have; [`SqliteError::CannotOpen`] and [`SqliteError::MissingTable`] for what does not exist,
    /// unless [`access`](SqliteOptions::access) allows creating it.
    pub fn open_with(path: impl AsRef<Path>, options: &SqliteOptions) -> Result<Self, SqliteError> {
        Ok(Self::new(open::file(path.as_ref(), options)?, options))
    }

    /// Opens the store in the file at `path` for reading: no database and no table is created, and
    /// writing is [`SqliteError::ReadOnly`].
    ///
    /// While a database is in WAL mode, even reading needs the two files beside it. If they do not
    /// exist and cannot be created, as on read-only media, it cannot be opened: see
    /// [`Access::Immutable`].
    ///
    /// # Errors
    ///
    /// As for [`open_with`](Self::open_with).
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        let options = SqliteOptions {
            access: Access::ReadOnly,
            ..SqliteOptions::default()
        };
        Self::open_with(path, &options)
    }

    /// Makes a store in memory, which is like one in a file except that it does not persist.
    ///
    /// # Errors
    ///
    /// [`SqliteError::Other`] if there is not enough memory.
    pub fn in_memory() -> Result<Self, SqliteError> {
        let options = SqliteOptions::default();
        let connection = Connection::open_in_memory()?;
        Ok(Self::new(
            open::own_connection(connection, &options)?,
            &options,
        ))
    }

    /// Takes over a caller's own connection.
    ///
    /// No settings are changed: its journal mode, its busy timeout and how firmly it commits are
    /// left as the caller has set them. (`rusqlite` waits 5 seconds; SQLite is not in WAL mode by
    /// default.) If the caller has begun a transaction on it, all that the store does is part of
    /// that.
    ///
    /// # Errors
    ///
    /// As for [`open_with`](Self::open_with).
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_sqlite::rusqlite::Connection;
    /// use blockstore_sqlite::{SqliteBlockStore, SqliteOptions};
    ///
    /// let connection = Connection::open_in_memory()?;
    /// connection.execute_batch("CREATE TABLE accounts (did TEXT)")?;
    /// let store = SqliteBlockStore::from_connection(connection, &SqliteOptions::default())?;
    /// assert!(store.is_empty()?);
    /// let connection = store.into_connection();
    /// assert!(connection.table_exists(None, "accounts")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_connection(
        connection: Connection,
        options: &SqliteOptions,
    ) -> Result<Self, SqliteError> {
        let database = open::callers_connection(connection, options)?;
        Ok(Self::new(database, options))
    }

    fn new(database: Database, options: &SqliteOptions) -> Self {
        Self {
            shared: Shared::new(database),
            verify: options.verify,
        }
    }

    /// Drops the tables of the store, with everything in them: for deleting an account, if each has
    /// a store of its own in one database. Their pages become free for reuse, but the file does not
    /// shrink.
    ///
    /// Other stores on these tables, here or in other processes, then find them missing
    /// ([`SqliteError::MissingTable`]).
    ///
    /// # Errors
    ///
    /// As for [`transaction`](Self::transaction); nothing has changed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_sqlite::{SqliteBlockStore, SqliteOptions};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("accounts.sqlite");
    /// let options = SqliteOptions {
    ///     table: "did:web:example.com".to_owned(),
    ///     ..SqliteOptions::default()
    /// };
    /// SqliteBlockStore::open_with(&path, &options)?.drop_tables()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drop_tables(self) -> Result<(), StoreError> {
        self.shared.with(Database::drop_tables)
    }

    /// Returns the connection.
    pub fn into_connection(self) -> Connection {
        let database = self.shared.into_inner();
        database.settle().ok();
        database.connection
    }

    /// Runs `work` with the connection: for settings, and for the caller's own tables. Other
    /// threads wait in the meantime.
    ///
    /// # Examples
    ///
    /// ```
    /// # let store = blockstore_sqlite::SqliteBlockStore::in_memory()?;
    /// // Returns the space that a sweep has freed to the file system.
    /// store.with_connection(|connection| connection.execute_batch("VACUUM"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_connection<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        self.shared.hold(|database| {
            // If this fails, what is done now fails too, or is rolled back with it.
            database.settle().ok();
            work(&database.connection)
        })
    }

    /// Runs `work` in one transaction: if it returns `Ok`, everything that it has changed through
    /// the [`SqliteTransaction`] is committed; if it returns an error or panics, nothing is.
    ///
    /// Nobody else can write from beginning to end, so what `work` has read still holds when it
    /// writes. Calls of this store itself from inside `work`, on the same thread, are part of the
    /// transaction too; on other threads they wait until it is over. Whatever keeps state about the
    /// store outside of it, such as the `Writer` of `mst-repo`, does not notice when a transaction
    /// around it is rolled back, and has to be made anew.
    ///
    /// # Errors
    ///
    /// Whatever `work` returns, and through [`StoreError::Backend`]: [`SqliteError::Busy`] if
    /// somebody else writes for too long, [`SqliteError::NestedTransaction`] if there is a
    /// transaction on this connection already, [`SqliteError::Full`] and the like if it cannot be
    /// committed. In all of these cases nothing has changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_sqlite::{BlockStoreMut, SqliteBlockStore, StoreError};
    /// use blockstore_core::dag_cbor_cid;
    ///
    /// let store = SqliteBlockStore::in_memory()?;
    /// let result = store.transaction(|transaction| {
    ///     transaction.put(&dag_cbor_cid(b"\x01"), b"\x01".as_slice().into())?;
    ///     // Not what the CID names.
    ///     transaction.put(&dag_cbor_cid(b"\x02"), b"\x03".as_slice().into())
    /// });
    /// assert!(matches!(result, Err(StoreError::HashMismatch(_))));
    /// assert!(store.is_empty()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn transaction<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&SqliteTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.shared
            .hold(|database| database.transaction(self.verify, work))
    }

    /// Runs `work` on the store as it is now, whatever others put, delete and commit in the
    /// meantime: for example to read a repository to its end while it changes and is swept.
    ///
    /// It blocks nobody but other threads with this same store. A long one makes the log beside the
    /// file grow, as commits that `work` must not see yet cannot be copied into the file. Inside a
    /// [`transaction`](Self::transaction), "now" includes its changes; otherwise this store cannot
    /// be written from inside `work`: [`SqliteError::WriteInSnapshot`], and
    /// [`SqliteError::NestedTransaction`] for a `transaction`.
    ///
    /// # Errors
    ///
    /// Whatever `work` returns, and what SQLite reports.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_sqlite::{BlockStore, SqliteBlockStore, StoreError};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("blocks.sqlite");
    /// # SqliteBlockStore::open(&path)?;
    /// let store = SqliteBlockStore::open_read_only(&path)?;
    /// let commits = store.snapshot(|snapshot| {
    ///     let heads = snapshot.heads()?.into_iter();
    ///     heads.map(|(_, cid)| snapshot.get(&cid)).collect::<Result<Vec<_>, StoreError>>()
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&SqliteSnapshot<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.shared
            .hold(|database| database.snapshot(self.verify, work))
    }

    /// Returns the CID that is kept under `name`, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`SqliteError::InvalidCid`] if what is kept is not a CID, and what SQLite reports.
    pub fn head(&self, name: &str) -> Result<Option<Cid>, StoreError> {
        self.shared.with(|database| database.head(name))
    }

    /// Returns all names with their CIDs, in the order of the names' bytes.
    ///
    /// # Errors
    ///
    /// As for [`head`](Self::head).
    pub fn heads(&self) -> Result<Vec<(String, Cid)>, StoreError> {
        self.shared.with(Database::heads)
    }

    /// Keeps `cid` under `name` and replaces what was kept there: for example the commit of a
    /// repository, under its DID, where whoever opens the store next will look for it.
    ///
    /// If the head and its blocks are put in one [`transaction`](Self::transaction), a head never
    /// exists without its blocks. Whether the block is there is not checked.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] if SQLite failed.
    pub fn set_head(&self, name: &str, cid: &Cid) -> Result<(), StoreError> {
        self.shared.with(|database| database.set_head(name, cid))
    }

    /// Drops the name, if it exists. Blocks stay.
    ///
    /// # Errors
    ///
    /// As for [`set_head`](Self::set_head).
    pub fn delete_head(&self, name: &str) -> Result<(), StoreError> {
        self.shared.with(|database| database.delete_head(name))
    }

    /// Returns the number of blocks. SQLite counts them one by one: this reads the whole index of
    /// CIDs, some 40 bytes for each.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] if SQLite failed.
    pub fn len(&self) -> Result<usize, StoreError> {
        self.shared.with(Database::len)
    }

    /// Returns whether there is no block, without counting.
    ///
    /// # Errors
    ///
    /// As for [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        self.shared.with(Database::is_empty)
    }

    /// Returns the CIDs of all blocks.
    pub fn cids(&self) -> Cids<'_> {
        Cids::new(Source::Store(&self.shared))
    }

    /// Drops the blocks for which `keep` returns `false`, and returns how many there were.
    ///
    /// It goes through the keys, 1,000 at a time, each time drops what is to be dropped in one
    /// transaction, and then waits half as long as that took. So others can write in between, the
    /// log beside the file stays short, and memory is bounded: no block is loaded. If it is killed
    /// half way, it has dropped some of those blocks, and no others; run again, it drops the rest.
    ///
    /// If anybody may put blocks in the meantime, `keep` must know of them. Otherwise find out what
    /// is needed and sweep in one transaction: [`SqliteTransaction::retain`].
    ///
    /// The space is reused by later blocks. The file does not shrink, except by `VACUUM`: see
    /// [`with_connection`](Self::with_connection).
    ///
    /// # Errors
    ///
    /// [`SqliteError::InvalidCid`] if a key is not a CID, [`SqliteError::Corrupt`] if keys are out
    /// of order, and what SQLite reports. The blocks dropped so far stay dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use blockstore_sqlite::{BlockStore, BlockStoreMut, SqliteBlockStore};
    /// use blockstore_core::dag_cbor_cid;
    ///
    /// let store = SqliteBlockStore::in_memory()?;
    /// for block in [b"\x01", b"\x02"] {
    ///     store.put(&dag_cbor_cid(block), block.as_slice().into())?;
    /// }
    /// let needed = dag_cbor_cid(b"\x02");
    /// assert_eq!(store.retain(|cid| *cid == needed)?, 1);
    /// assert!(store.has(&needed)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&Cid) -> bool) -> Result<usize, StoreError> {
        let mut swept = 0;
        let mut after = Some(Page::START.to_vec());
        while let Some(last) = after {
            let begin = Instant::now();
            let (page, is_free) = self.shared.hold(|database| {
                let page = database.sweep_page(&last, &mut keep);
                (page, database.connection.is_autocommit())
            });
            let (count, next) = page?;
            swept += count;
            after = next;
            if after.is_some() && is_free {
                // Whoever waits for the lock polls it now and then, and would never find it free.
                thread::sleep((begin.elapsed() / 2).min(LONGEST_PAUSE));
            }
        }
        Ok(swept)
    }
}

/// The longest pause between the pages of a sweep: SQLite polls a lock at least as often.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

impl BlockStore for SqliteBlockStore {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let block = self.shared.with(|database| database.get(cid))?;
        // Outside of the lock, so that other threads need not wait for the hash.
        check(self.verify, cid, block.as_ref())?;
        Ok(block)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.shared.with(|database| database.has(cid))
    }

    /// Returns what [`get`](Self::get) returns for each of `cids`, all as of one moment.
    fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let blocks = self.shared.with(|database| database.get_many(cids))?;
        for (cid, block) in cids.iter().zip(&blocks) {
            check(self.verify, cid, block.as_ref())?;
        }
        Ok(blocks)
    }
}

impl BlockStoreMut for SqliteBlockStore {
    fn put(&self, cid: &Cid, block: Bytes) -> Result<(), StoreError> {
        check_block(cid, &block)?;
        self.shared.with(|database| database.put(cid, &block))
    }

    fn put_many(&self, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
        for (cid, block) in blocks {
            check_block(cid, block)?;
        }
        self.shared.with(|database| database.put_many(blocks))
    }

    fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
        self.shared.with(|database| database.delete(cid))
    }

    fn delete_many(&self, cids: &[Cid]) -> Result<(), StoreError> {
        self.shared.with(|database| database.delete_many(cids))
    }
}
