//! The tests that every store must pass, ours and yours.
//!
//! Call them from a test of your crate, with this crate as a dev-dependency and its
//! feature `contract` on. They panic at the first broken promise and say which it is.
//!
//! # Examples
//!
//! ```
//! use blockstore_core::{MemoryBlockStore, contract};
//!
//! contract::read_write(MemoryBlockStore::new);
//! ```

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use cid::Cid;
use cid::multihash::Multihash;

use crate::{
    BlockStore, BlockStoreMut, RAW, SHA2_256, StoreError, dag_cbor_cid, raw_cid, sha2_256,
};

/// Runs a writable store through the contract of [`BlockStoreMut`]. Each call of `new` must give an
/// empty store.
///
/// # Panics
///
/// At the first promise that the store does not keep.
pub fn read_write<S: BlockStoreMut>(new: impl Fn() -> S) {
    each_store_is_new(&new);
    what_was_put_is_there(&new());
    what_was_not_put_is_not(&new());
    putting_twice_changes_nothing(&new());
    other_bytes_are_refused(&new());
    unverifiable_blocks_are_refused(&new());
    deleting_is_final_and_harmless(&new());
    many_are_deleted_and_no_others(&new());
    codecs_are_told_apart(&new());
    many_are_answered_in_order(&new());
    handles_reach_the_same_store(new());
}

/// Runs a store that holds `blocks` (at least two of them, all different) through the
/// contract of [`BlockStore`].
///
/// # Panics
///
/// At the first promise that the store does not keep.
pub fn read_only<S: BlockStore>(store: &S, blocks: &[(Cid, Bytes)]) {
    assert!(blocks.len() >= 2, "the test needs two blocks or more");
    // Announced or not, each block is there.
    store.will_get(&mut blocks.iter().map(|(cid, _)| *cid).skip(1));
    for (cid, block) in blocks {
        assert_holds(store, cid, block);
    }
    what_was_not_put_is_not(store);
    let backwards: Vec<Cid> = blocks.iter().rev().map(|(cid, _)| *cid).collect();
    let expected: Vec<_> = blocks.iter().rev().map(|(_, b)| Some(b.clone())).collect();
    let found = expect(store.get_many(&backwards), "get_many");
    // Not `assert_eq`, which would print all the blocks.
    assert!(
        found == expected,
        "get_many answers in the order of the question"
    );
    let twice = [backwards.as_slice(), &backwards].concat();
    let found = expect(store.get_many(&twice), "get_many");
    assert!(
        found == [expected.as_slice(), &expected].concat(),
        "get_many answers as often as it is asked"
    );
}

/// The other tests rely on this.
fn each_store_is_new<S: BlockStoreMut>(new: impl Fn() -> S) {
    let (cid, block) = (dag_cbor_cid(b"\xf5"), Bytes::from_static(b"\xf5"));
    let before = new();
    expect(before.put(&cid, block), "put");
    let found = expect(
        new().get(&cid),
        "get of a missing block, which is `Ok(None)`,",
    );
    assert_eq!(found, None, "each call of `new` must return an empty store");
}

fn what_was_put_is_there(store: &impl BlockStoreMut) {
    for block in samples() {
        let cid = dag_cbor_cid(&block);
        expect(store.put(&cid, block.clone()), "put");
        assert_holds(store, &cid, &block);
    }
    for block in samples() {
        assert_holds(store, &dag_cbor_cid(&block), &block);
    }
}

fn what_was_not_put_is_not(store: &impl BlockStore) {
    let absent = dag_cbor_cid(b"a block that no store in a test holds");
    assert_lacks(store, &absent);
    let found = expect(store.get_many(&[absent, absent]), "get_many");
    assert_eq!(
        found,
        [None, None],
        "get_many returns None for missing blocks"
    );
    let none = expect(store.get_many(&[]), "get_many of nothing");
    assert!(none.is_empty(), "get_many of nothing is nothing");
}

fn putting_twice_changes_nothing(store: &impl BlockStoreMut) {
    for block in samples() {
        let cid = dag_cbor_cid(&block);
        expect(store.put(&cid, block.clone()), "put");
        expect(store.put(&cid, block.clone()), "the same put again");
        expect(
            store.put_many(&[(cid, block.clone()), (cid, block.clone())]),
            "put_many",
        );
        assert_holds(store, &cid, &block);
        // A block that is there already does not keep the next one out.
        let new = Bytes::from([b"new", &block[..]].concat());
        let new_cid = dag_cbor_cid(&new);
        expect(
            store.put_many(&[(cid, block.clone()), (new_cid, new.clone())]),
            "put_many of one that is there, and one that is not",
        );
        assert_holds(store, &new_cid, &new);
    }
}

fn other_bytes_are_refused(store: &impl BlockStoreMut) {
    let block = Bytes::from_static(b"\xa0");
    let cid = dag_cbor_cid(&block);
    let other = Bytes::from_static(b"\x80");
    for put in [
        store.put(&cid, other.clone()),
        store.put_many(&[(cid, other.clone())]),
    ] {
        assert!(
            matches!(put, Err(StoreError::HashMismatch(of)) if of == cid),
            "bytes that the CID does not name are refused, got {put:?}"
        );
    }
    assert_lacks(store, &cid);
    // Also after a block that is right.
    let right = Bytes::from_static(b"right");
    let put = store.put_many(&[(raw_cid(&right), right), (cid, other.clone())]);
    assert!(
        matches!(put, Err(StoreError::HashMismatch(of)) if of == cid),
        "each of many blocks is checked, got {put:?}"
    );
    assert_lacks(store, &cid);
    expect(store.put(&cid, block.clone()), "put");
    assert!(
        store.put(&cid, other).is_err(),
        "a CID never comes to mean other bytes"
    );
    assert_holds(store, &cid, &block);
}

fn unverifiable_blocks_are_refused(store: &impl BlockStoreMut) {
    // The identity "hash": the digest is the block itself.
    let block = Bytes::from_static(b"four");
    let identity = Multihash::wrap(0, &block).expect("4 bytes fit a multihash of 64");
    // And a truncated digest, which other blocks may have too.
    let digest = sha2_256(&block);
    let short = Multihash::wrap(SHA2_256, &digest[..20]).expect("20 bytes fit, too");
    for hash in [identity, short] {
        let cid = Cid::new_v1(RAW, hash);
        for put in [
            store.put(&cid, block.clone()),
            store.put_many(&[(cid, block.clone())]),
        ] {
            assert!(
                matches!(put, Err(StoreError::Unverifiable(of) | StoreError::HashMismatch(of)) if of == cid),
                "a block that cannot be verified is refused, got {put:?}"
            );
        }
        assert!(
            !expect(store.has(&cid), "has"),
            "what was refused is not stored"
        );
    }
}

fn deleting_is_final_and_harmless(store: &impl BlockStoreMut) {
    for block in samples() {
        let cid = dag_cbor_cid(&block);
        expect(store.delete(&cid), "deleting a missing block");
        expect(store.put(&cid, block.clone()), "put");
        expect(store.delete(&cid), "delete");
        assert_lacks(store, &cid);
        expect(store.delete(&cid), "deleting what is no longer there");
        expect(store.put(&cid, block.clone()), "put after delete");
        assert_holds(store, &cid, &block);
    }
}

fn many_are_deleted_and_no_others(store: &impl BlockStoreMut) {
    let blocks: Vec<(Cid, Bytes)> = samples()
        .map(|block| (dag_cbor_cid(&block), block))
        .collect();
    let [(kept, block), others @ ..] = blocks.as_slice() else {
        unreachable!("there are samples");
    };
    expect(store.put_many(&blocks), "put_many");
    let mut cids: Vec<Cid> = others.iter().map(|(cid, _)| *cid).collect();
    cids.insert(0, dag_cbor_cid(b"never put"));
    cids.push(dag_cbor_cid(b"nor this"));
    expect(store.delete_many(&cids), "delete_many");
    expect(store.delete_many(&cids), "delete_many of missing blocks");
    expect(store.delete_many(&[]), "delete_many of nothing");
    for cid in &cids {
        assert_lacks(store, cid);
    }
    assert_holds(store, kept, block);
}

fn codecs_are_told_apart(store: &impl BlockStoreMut) {
    let block = Bytes::from_static(b"\xa0");
    let (dag_cbor, raw) = (dag_cbor_cid(&block), raw_cid(&block));
    expect(store.put(&raw, block.clone()), "put");
    let found = expect(store.get(&dag_cbor), "get");
    assert_eq!(
        found, None,
        "the codec is a part of the CID, not the digest alone"
    );
    assert_lacks(store, &dag_cbor);
    expect(store.put(&dag_cbor, block.clone()), "put");
    expect(store.delete(&raw), "delete");
    assert_lacks(store, &raw);
    assert_holds(store, &dag_cbor, &block);
    // Versions are told apart too, with the same codec and hash.
    let version_0 = Cid::new_v0(*raw.hash()).expect("it is of sha2-256");
    let version_1 = Cid::new_v1(version_0.codec(), *raw.hash());
    expect(store.put(&version_0, block.clone()), "put of version 0");
    assert_lacks(store, &version_1);
    expect(store.put(&version_1, block.clone()), "put");
    expect(store.delete(&version_0), "delete");
    assert_lacks(store, &version_0);
    assert_holds(store, &version_1, &block);
    // And the whole hash counts: each byte of the digest, and the hash function.
    let hash = version_1.hash();
    for at in 0..hash.digest().len() {
        let mut digest = hash.digest().to_vec();
        if let Some(byte) = digest.get_mut(at) {
            *byte ^= 1;
        }
        assert_lacks(store, &with_hash(hash.code(), &digest));
    }
    assert_lacks(store, &with_hash(SHA3_256, hash.digest()));
}

const SHA3_256: u64 = 0x16;

/// A CID of the raw codec.
fn with_hash(code: u64, digest: &[u8]) -> Cid {
    let hash = Multihash::wrap(code, digest).expect("a multihash has room for 32 bytes");
    Cid::new_v1(RAW, hash)
}

fn many_are_answered_in_order(store: &impl BlockStoreMut) {
    let blocks: Vec<(Cid, Bytes)> = samples()
        .map(|block| (dag_cbor_cid(&block), block))
        .collect();
    expect(store.put_many(&blocks), "put_many");
    expect(store.put_many(&[]), "put_many of nothing");
    read_only(store, &blocks);
}

fn handles_reach_the_same_store<S: BlockStoreMut>(store: S) {
    let block = Bytes::from_static(b"\xa0");
    let cid = dag_cbor_cid(&block);
    let boxed: Box<dyn BlockStoreMut + '_> = Box::new(&store);
    expect(boxed.put(&cid, block.clone()), "put through a box");
    drop(boxed);
    let counted: Rc<&S> = Rc::new(&store);
    assert_holds(&Rc::clone(&counted), &cid, &block);
    drop(counted);
    let shared = Arc::new(store);
    assert_holds(&Arc::clone(&shared), &cid, &block);
    expect(shared.delete(&cid), "delete through an Arc");
    assert_lacks(&shared, &cid);
}

/// Blocks of awkward lengths, including the empty one.
fn samples() -> impl Iterator<Item = Bytes> {
    [0, 1, 31, 32, 33, 1_000, 100_000]
        .into_iter()
        .map(|len| (0..=u8::MAX).cycle().take(len).collect())
}

fn assert_holds(store: &impl BlockStore, cid: &Cid, block: &Bytes) {
    let found = expect(store.get(cid), "get");
    assert_eq!(
        found.as_ref(),
        Some(block),
        "get returns the block of {cid}"
    );
    assert!(
        expect(store.has(cid), "has"),
        "has says that {cid} is there"
    );
}

fn assert_lacks(store: &impl BlockStore, cid: &Cid) {
    let found = expect(
        store.get(cid),
        "get of a missing block, which is `Ok(None)`,",
    );
    assert_eq!(found, None, "get returns None for {cid}, which is missing");
    assert!(
        !expect(store.has(cid), "has"),
        "has says of {cid} that it is there, which it is not"
    );
}

fn expect<T>(result: Result<T, StoreError>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what} failed: {error:?}"))
}
