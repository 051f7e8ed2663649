//! The store compared with SQLite itself doing the same to the same rows, in a database of 20,000
//! blocks of 400 bytes: `cargo bench -p blockstore-sqlite`.
//!
//! The databases are in the folder for temporary files. A durable commit takes the time that the
//! disk takes, so set `TMPDIR` to a folder on the disk to be measured.

use std::sync::atomic::{AtomicU64, Ordering};

use blockstore_core::{CidBytes, dag_cbor_cid, sha2_256};
use blockstore_sqlite::rusqlite::{self, Connection, params};
use blockstore_sqlite::{
    BlockStore, BlockStoreMut, Bytes, Cid, SqliteBlockStore, SqliteOptions, StoreError, Synchronous,
};
use divan::Bencher;
use divan::counter::ItemsCount;
use tempfile::TempDir;

fn main() {
    divan::main();
}

const COUNT: u64 = 20_000;
const HEAD: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

const GET: &str = "SELECT bytes FROM blocks WHERE cid = ?1";
const PUT: &str = "INSERT INTO blocks (cid, bytes) VALUES (?1, ?2) ON CONFLICT (cid) DO NOTHING";
const SET_HEAD: &str = "INSERT OR REPLACE INTO blocks_heads (name, cid) VALUES (?1, ?2)";

/// Blocks that no earlier call has returned.
fn new_blocks(count: u64) -> Vec<(Cid, Bytes)> {
    static NEXT: AtomicU64 = AtomicU64::new(COUNT);
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    blocks(first, count)
}

fn blocks(first: u64, count: u64) -> Vec<(Cid, Bytes)> {
    (first..first + count)
        .map(|n| {
            let digest = sha2_256(&n.to_be_bytes());
            let block: Bytes = digest.into_iter().cycle().take(400).collect();
            (dag_cbor_cid(&block), block)
        })
        .collect()
}

/// A database of 20,000 blocks, as one of our stores and as a plain connection.
struct Databases {
    store: SqliteBlockStore,
    unchecked: SqliteBlockStore,
    plain: Connection,
    blocks: Vec<(Cid, Bytes)>,
    _folder: TempDir,
}

impl Databases {
    fn new(synchronous: Synchronous) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("blocks.sqlite");
        let mut options = SqliteOptions {
            synchronous,
            ..SqliteOptions::default()
        };
        let open = |options: &_| SqliteBlockStore::open_with(&path, options).expect("a new file");
        let store = open(&options);
        let blocks = blocks(0, COUNT);
        store.put_many(&blocks).expect("the CIDs are right");
        // A connection with the same settings, used without the store.
        let plain = open(&options).into_connection();
        options.verify = false;
        Self {
            store,
            unchecked: open(&options),
            plain,
            blocks,
            _folder: folder,
        }
    }

    /// CIDs in an order that is not that of the table.
    fn cids(&self) -> impl Iterator<Item = Cid> {
        let cids: Vec<Cid> = self.blocks.iter().map(|(cid, _)| *cid).collect();
        cids.into_iter().cycle()
    }
}

fn plain_commit(connection: &Connection, blocks: &[(Cid, Bytes)]) -> rusqlite::Result<()> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let mut put = connection.prepare_cached(PUT)?;
    for (cid, block) in blocks {
        put.execute(params![CidBytes::from(cid).as_ref(), &block[..]])?;
    }
    if let Some((cid, _)) = blocks.last() {
        let head = CidBytes::from(cid);
        let mut set_head = connection.prepare_cached(SET_HEAD)?;
        set_head.execute(params![HEAD, head.as_ref()])?;
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

fn store_commit(store: &SqliteBlockStore, blocks: &[(Cid, Bytes)]) -> Result<(), StoreError> {
    store.transaction(|transaction| {
        transaction.put_many(blocks)?;
        match blocks.last() {
            Some((cid, _)) => transaction.set_head(HEAD, cid),
            None => Ok(()),
        }
    })
}

fn bench_commits<R>(
    bencher: Bencher,
    synchronous: Synchronous,
    commit: impl Fn(&Databases, &[(Cid, Bytes)]) -> R,
) {
    let databases = Databases::new(synchronous);
    bencher
        .with_inputs(|| new_blocks(10))
        .bench_local_values(|blocks| commit(&databases, &blocks));
}

fn plain_get(connection: &Connection, cid: &Cid) -> rusqlite::Result<Bytes> {
    let mut get = connection.prepare_cached(GET)?;
    get.query_row([CidBytes::from(cid).as_ref()], |row| {
        Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?))
    })
}

/// In one transaction, as the store does: without it, this takes half as long again.
fn plain_get_many(connection: &Connection, cids: &[Cid]) -> rusqlite::Result<Vec<Bytes>> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let blocks = cids.iter().map(|cid| plain_get(connection, cid)).collect();
    connection.prepare_cached("COMMIT")?.execute([])?;
    blocks
}

fn bench_get<R>(bencher: Bencher, get: impl Fn(&Databases, &Cid) -> R) {
    let databases = Databases::new(Synchronous::Full);
    let mut cids = databases.cids();
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| cids.next().map(|cid| get(&databases, &cid)));
}

fn bench_get_many<R>(bencher: Bencher, get_many: impl Fn(&Databases, &[Cid]) -> R) {
    let databases = Databases::new(Synchronous::Full);
    let mut cids = databases.cids();
    bencher
        .counter(ItemsCount::new(100_u32))
        .with_inputs(|| cids.by_ref().take(100).collect::<Vec<_>>())
        .bench_local_values(|cids| get_many(&databases, &cids));
}

fn bench_put_many<R>(bencher: Bencher, put_many: impl Fn(&Databases, &[(Cid, Bytes)]) -> R) {
    let databases = Databases::new(Synchronous::Full);
    bencher
        .counter(ItemsCount::new(10_000_u32))
        .with_inputs(|| new_blocks(10_000))
        .bench_local_values(|blocks| put_many(&databases, &blocks));
}

/// Ten new blocks and the head, on the disk when it returns.
#[divan::bench_group(sample_count = 500)]
mod commit_durable {
    use super::{Bencher, Synchronous, bench_commits, plain_commit, store_commit};

    #[divan::bench]
    fn ours(bencher: Bencher) {
        bench_commits(bencher, Synchronous::Full, |databases, blocks| {
            store_commit(&databases.store, blocks)
        });
    }

    #[divan::bench]
    fn plain(bencher: Bencher) {
        bench_commits(bencher, Synchronous::Full, |databases, blocks| {
            plain_commit(&databases.plain, blocks)
        });
    }
}

/// The same without waiting for the disk: the rest is the processor's work.
#[divan::bench_group(sample_count = 500)]
mod commit_normal {
    use super::{Bencher, Synchronous, bench_commits, plain_commit, store_commit};

    #[divan::bench]
    fn ours(bencher: Bencher) {
        bench_commits(bencher, Synchronous::Normal, |databases, blocks| {
            store_commit(&databases.store, blocks)
        });
    }

    #[divan::bench]
    fn plain(bencher: Bencher) {
        bench_commits(bencher, Synchronous::Normal, |databases, blocks| {
            plain_commit(&databases.plain, blocks)
        });
    }
}

#[divan::bench_group(sample_count = 1_000, sample_size = 20)]
mod get {
    use super::{Bencher, BlockStore, bench_get, plain_get};

    #[divan::bench]
    fn ours(bencher: Bencher) {
        bench_get(bencher, |databases, cid| databases.store.get(cid));
    }

    #[divan::bench]
    fn ours_not_checked(bencher: Bencher) {
        bench_get(bencher, |databases, cid| databases.unchecked.get(cid));
    }

    #[divan::bench]
    fn plain(bencher: Bencher) {
        bench_get(bencher, |databases, cid| plain_get(&databases.plain, cid));
    }
}

#[divan::bench_group(sample_count = 1_000)]
mod get_many_100 {
    use super::{Bencher, BlockStore, bench_get_many, plain_get_many};

    #[divan::bench]
    fn ours(bencher: Bencher) {
        bench_get_many(bencher, |databases, cids| databases.store.get_many(cids));
    }

    #[divan::bench]
    fn ours_not_checked(bencher: Bencher) {
        bench_get_many(bencher, |databases, cids| {
            databases.unchecked.get_many(cids)
        });
    }

    #[divan::bench]
    fn plain(bencher: Bencher) {
        bench_get_many(bencher, |databases, cids| {
            plain_get_many(&databases.plain, cids)
        });
    }
}

#[divan::bench_group(sample_count = 30)]
mod put_many_10_000 {
    use super::{Bencher, BlockStoreMut, bench_put_many, plain_commit};

    #[divan::bench]
    fn ours(bencher: Bencher) {
        bench_put_many(bencher, |databases, blocks| {
            databases.store.put_many(blocks)
        });
    }

    /// In the order in which they come, which is not that of the table.
    #[divan::bench]
    fn plain(bencher: Bencher) {
        bench_put_many(bencher, |databases, blocks| {
            plain_commit(&databases.plain, blocks)
        });
    }
}
