//! Signatures on both curves: `cargo bench -p mst-repo --bench signature`.

use divan::{Bencher, black_box};
use mst_repo::{Commit, Curve, PublicKey, SigningKey};
use mst_testkit::{BENCH_SEED, SampleRepository};

const CURVES: [Curve; 2] = [Curve::K256, Curve::P256];

fn main() {
    divan::main();
}

fn key(curve: Curve) -> SigningKey {
    SigningKey::from_bytes(curve, &[7; 32]).expect("a small number is a key")
}

fn commit() -> Commit {
    let (_, block) = SampleRepository::generate(BENCH_SEED, 1).commit;
    Commit::decode(&block).expect("a made-up repository has a commit")
}

#[divan::bench(args = CURVES)]
fn verify(bencher: Bencher, curve: Curve) {
    let key = key(curve);
    let mut commit = commit();
    commit.sign(&key).expect("a key in memory signs");
    let key = key.public_key();
    bencher.bench_local(|| {
        let verified = black_box(&commit).verify_signature(black_box(&key));
        verified.expect("it is the key that signed");
    });
}

#[divan::bench(args = CURVES)]
fn sign(bencher: Bencher, curve: Curve) {
    let key = key(curve);
    let mut commit = commit();
    bencher.bench_local(|| {
        let signed = black_box(&mut commit).sign(black_box(&key));
        signed.expect("a key in memory signs");
    });
}

#[divan::bench(args = CURVES)]
fn parse_did_key(bencher: Bencher, curve: Curve) {
    let text = key(curve).public_key().to_string();
    bencher.bench_local(|| black_box(&text).parse::<PublicKey>());
}
