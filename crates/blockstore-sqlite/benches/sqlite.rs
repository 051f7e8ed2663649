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

/// Ten new blocks and the head, on the disk when it returns.
#[divan::bench_group(sample_count = 500)]
mod commit_durable {
    use super::{Bencher, Databases, Synchronous, new_blocks, plain_commit, store_commit};

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Full);
        bencher
            .with_inputs(|| new_blocks(10))
            .bench_local_values(|blocks| store_commit(&databases.store, &blocks));
    }

    #[divan::bench]
    fn plain(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Full);
        bencher
            .with_inputs(|| new_blocks(10))
            .bench_local_values(|blocks| plain_commit(&databases.plain, &blocks));
    }
}

/// The same without waiting for the disk: the rest is the processor's work.
#[divan::bench_group(sample_count = 500)]
mod commit_normal {
    use super::{Bencher, Databases, Synchronous, new_blocks, plain_commit, store_commit};

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Normal);
        bencher
            .with_inputs(|| new_blocks(10))
            .bench_local_values(|blocks| store_commit(&databases.store, &blocks));
    }

    #[divan::bench]
    fn plain(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Normal);
        bencher
            .with_inputs(|| new_blocks(10))
            .bench_local_values(|blocks| plain_commit(&databases.plain, &blocks));
    }
}

#[divan::bench_group(sample_count = 1_000, sample_size = 20)]
mod get {
    use super::{
        Bencher, BlockStore, Bytes, CidBytes, Databases, GET, ItemsCount, Synchronous, rusqlite,
    };

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Full);
        let mut cids = databases.cids();
        bencher
            .counter(ItemsCount::new(1_u32))
            .bench_local(|| cids.next().map(|cid| databases.store.get(&cid)));
    }

    #[divan::bench]
    fn ours_not_checked(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Full);
        let mut cids = databases.cids();
        bencher
            .counter(ItemsCount::new(1_u32))
            .bench_local(|| cids.next().map(|cid| databases.unchecked.get(&cid)));
    }

    #[divan::bench]
    fn plain(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Full);
        let mut cids = databases.cids();
        let get = |cid| -> rusqlite::Result<Bytes> {
            let mut get = databases.plain.prepare_cached(GET)?;
            get.query_row([CidBytes::from(&cid).as_ref()], |row| {
                Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?))
            })
        };
        bencher
            .counter(ItemsCount::new(1_u32))
            .bench_local(|| cids.next().map(get));
    }
}

#[divan::bench_group(sample_count = 1_000)]
mod get_many_100 {
    use super::{
        Bencher, BlockStore, Bytes, CidBytes, Databases, GET, ItemsCount, Synchronous, rusqlite,
    };

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Full);
        let mut cids = databases.cids();
        bencher
            .counter(ItemsCount::new(100_u32))
            .with_inputs(|| cids.by_ref().take(100).collect::<Vec<_>>())
            .bench_local_values(|cids| databases.store.get_many(&cids));
    }

    #[divan::bench]
    fn ours_not_checked(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Full);
        let mut cids = databases.cids();
        bencher
            .counter(ItemsCount::new(100_u32))
            .with_inputs(|| cids.by_ref().take(100).collect::<Vec<_>>())
            .bench_local_values(|cids| databases.unchecked.get_many(&cids));
    }

    /// In one transaction too: without it, this takes half as long again.
    #[divan::bench]
    fn plain(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Full);
        let mut cids = databases.cids();
        bencher
            .counter(ItemsCount::new(100_u32))
            .with_inputs(|| cids.by_ref().take(100).collect::<Vec<_>>())
            .bench_local_values(|cids| -> rusqlite::Result<Vec<Bytes>> {
                databases.plain.prepare_cached("BEGIN")?.execute([])?;
                let mut get = databases.plain.prepare_cached(GET)?;
                let mut blocks = Vec::with_capacity(cids.len());
                for cid in cids {
                    let block = get.query_row([CidBytes::from(&cid).as_ref()], |row| {
                        Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?))
                    })?;
                    blocks.push(block);
                }
                databases.plain.prepare_cached("COMMIT")?.execute([])?;
                Ok(blocks)
            });
    }
}

#[divan::bench_group(sample_count = 30)]
mod put_many_10_000 {
    use super::{
        Bencher, BlockStoreMut, Databases, ItemsCount, Synchronous, new_blocks, plain_commit,
    };

    #[divan::bench]
    fn ours(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Full);
        bencher
            .counter(ItemsCount::new(10_000_u32))
            .with_inputs(|| new_blocks(10_000))
            .bench_local_values(|blocks| databases.store.put_many(&blocks));
    }

    /// In the order in which they come, which is not that of the table.
    #[divan::bench]
    fn plain(bencher: Bencher) {
        let databases = Databases::new(Synchronous::Full);
        bencher
            .counter(ItemsCount::new(10_000_u32))
            .with_inputs(|| new_blocks(10_000))
            .bench_local_values(|blocks| plain_commit(&databases.plain, &blocks));
    }
}
