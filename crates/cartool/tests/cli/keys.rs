//! Private keys, and signatures. The dangers: a key that others can read, that is overwritten, or
//! that ends up in a log; a commit that is taken for signed and is not.

use atproto_mst::{CarBlockStore, PublicKey, Repository};
use mst_testkit::SampleRepository;

use crate::support::{Folder, Run, car_without, cartool, commit_of, rebuilt};

const PROFILE: &str = "app.bsky.actor.profile/self";

/// Makes a key in the folder and returns its path and the public key.
pub(crate) fn new_key(folder: &Folder, name: &str, curve: &str) -> (String, String) {
    let path = folder.path(name);
    let run = folder.run(&["keygen", "--curve", curve, &path], b"");
    assert_eq!((run.code, &*run.err), (0, ""));
    (path, run.out.trim_end().to_owned())
}

/// Asserts that nothing of the key in the file at `name` was printed.
fn assert_secret(folder: &Folder, name: &str, run: &Run) {
    let key = String::from_utf8(folder.read(name)).unwrap();
    let key = key.trim_end();
    assert!(key.len() > 40);
    assert!(!run.out.contains(key) && !run.err.contains(key));
    assert!(!run.out.contains(&key[4..12]) && !run.err.contains(&key[4..12]));
}

#[test]
fn a_new_key_is_its_owners_alone_and_only_its_public_half_is_printed() {
    let folder = Folder::new();
    for (curve, start) in [("k256", "did:key:zQ3sh"), ("p256", "did:key:zDnae")] {
        let path = folder.path(curve);
        let run = folder.run(&["keygen", "--curve", curve, &path], b"");
        assert_eq!((run.code, &*run.err), (0, ""));
        assert_secret(&folder, curve, &run);
        assert!(run.out.starts_with(start), "{}", run.out);
        assert!(run.out.trim_end().parse::<PublicKey>().is_ok());
        let line = String::from_utf8(folder.read(curve)).unwrap();
        assert!(line.starts_with('z') && line.ends_with('\n') && line.lines().count() == 1);

        let again = folder.run(&["keygen", "--public", &path], b"");
        assert_eq!((again.code, again.out), (0, run.out.clone()));
        let piped = folder.run(&["keygen", "--public", "-"], line.as_bytes());
        assert_eq!((piped.code, piped.out), (0, run.out));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
    let (_, one) = new_key(&folder, "one", "k256");
    let (_, other) = new_key(&folder, "other", "k256");
    assert_ne!(one, other);
}

#[test]
fn a_key_takes_the_place_of_nothing() {
    let folder = Folder::new();
    let (path, public) = new_key(&folder, "key", "k256");
    let before = folder.read("key");
    let run = folder.run(&["keygen", &path], b"");
    assert_eq!((run.code, &*run.out), (2, ""));
    assert!(
        run.err.starts_with("cartool: key: the file exists,"),
        "{}",
        run.err
    );
    assert_eq!(folder.read("key"), before);
    assert_eq!(
        folder
            .run(&["keygen", "--public", &path], b"")
            .out
            .trim_end(),
        public
    );

    let run = folder.run(&["keygen", "-"], b"");
    assert_eq!((run.code, &*run.out), (2, ""));
    let run = folder.run(&["keygen", &folder.path("no/key")], b"");
    assert_eq!((run.code, &*run.out), (3, ""));
    assert_eq!(folder.names(), ["key"]);
    #[cfg(unix)]
    {
        // Otherwise a dangling link would create a file where it points to.
        std::os::unix::fs::symlink("elsewhere", folder.path("link")).unwrap();
        let run = folder.run(&["keygen", &folder.path("link")], b"");
        assert_eq!((run.code, &*run.out), (2, ""));
        assert_eq!(folder.names(), ["key", "link"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_key_that_cannot_be_written_leaves_no_file() {
    let folder = Folder::new();
    let script = "ulimit -c 0; ulimit -f 0; trap '' XFSZ; exec \"$0\" \"$@\"";
    let output = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_cartool"), "keygen"])
        .arg(folder.path("key"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    assert!(folder.names().is_empty());
}

#[test]
fn a_signed_commit_is_the_old_one_but_for_its_signature() {
    let sample = SampleRepository::generate(201, 200);
    let folder = Folder::new();
    let car = folder.write("in.car", sample.shuffled_car(1));
    let out = folder.path("out.car");
    let old = commit_of(&sample.car());
    for curve in ["k256", "p256"] {
        let (key, public) = new_key(&folder, curve, curve);
        let run = folder.run(&["sign", &car, "-k", &key, "-o", &out], b"");
        assert_secret(&folder, curve, &run);
        let new = commit_of(&folder.read("out.car"));
        let expected = format!(
            "cartool: commit {}, rev {}, is signed by {public}; it was {}, with another signature\n",
            new.cid(),
            old.rev,
            old.cid()
        );
        assert_eq!((run.code, &*run.out, &*run.err), (0, "", &*expected));
        new.verify_signature(&public.parse().unwrap()).unwrap();
        assert_eq!(new.unsigned_bytes(), old.unsigned_bytes());
        // In streamable order, and complete.
        assert_eq!(folder.read("out.car"), rebuilt(&sample, &new).car());

        let verified = folder.run(&["verify", &out, "--key", &public], b"");
        let last = format!("ok: signed by {public}");
        assert_eq!((verified.code, verified.lines().pop()), (0, Some(&*last)));
        // The same key makes the same signature.
        let again = folder.run(&["sign", &out, "-k", &key, "-o", &out], b"");
        assert!(again.err.ends_with("; it was already\n"), "{}", again.err);
        assert_eq!(commit_of(&folder.read("out.car")), new);
    }
}

#[test]
fn what_put_leaves_unsigned_can_be_signed_also_out_of_a_database() {
    let sample = SampleRepository::generate(202, 100);
    let folder = Folder::new();
    let (car, database) = (folder.write("in.car", sample.car()), folder.path("db"));
    let (put, signed) = (folder.path("put.car"), folder.path("signed.car"));
    let (key, public) = new_key(&folder, "key", "k256");
    let args = ["put", &car, "com.example.note/1", "-", "-o", &put];
    assert_eq!(
        folder.run(&args, br#"{"$type": "com.example.note"}"#).code,
        0
    );
    let run = folder.run(&["verify", &put, "--key", &public], b"");
    let last = format!("bad signature: the commit is not signed by {public} or anyone else");
    assert_eq!((run.code, run.lines().pop()), (1, Some(&*last)));

    assert_eq!(folder.run(&["import", &put, &database], b"").code, 0);
    for file in [&put, &database] {
        let run = folder.run(&["sign", file, "--key-file", &key, "-o", &signed], b"");
        assert!(run.err.ends_with(", not signed\n"), "{}", run.err);
        let run = folder.run(&["verify", &signed, "--key", &public], b"");
        assert_eq!(run.code, 0, "{}", run.out);
    }
    let piped = folder.run(&["sign", &put, "-k", "-", "-o", "-"], &folder.read("key"));
    assert_eq!((piped.code, piped.raw_out), (0, folder.read("signed.car")));
}

#[test]
fn a_key_that_is_none_signs_nothing_and_is_not_repeated() {
    let sample = SampleRepository::generate(203, 20);
    let folder = Folder::new();
    let (car, out) = (folder.write("in.car", sample.car()), folder.path("out.car"));
    let (key, public) = new_key(&folder, "key", "p256");
    let half = folder.write("half", &folder.read("key")[..20]);
    let public_file = folder.write("public", public.strip_prefix("did:key:").unwrap());
    let did = folder.write("did", &public);
    let empty = folder.write("empty", "");
    let long = folder.write("long", vec![b'z'; 10_000_000]);
    let no = folder.path("no");
    for (file, code, why) in [
        (&half, 1, "not a private key: "),
        (&public_file, 1, "not a private key: it is a public key"),
        (&did, 1, "not a private key: not a multikey"),
        (&empty, 1, "not a private key: not a multikey"),
        (&long, 1, "not a private key: more than 128 bytes"),
        (&car, 1, "not a private key: "),
        (&no, 3, "No such file"),
        (&folder.path(""), 3, "Is a directory"),
    ] {
        let run = folder.run(&["sign", &car, "-k", file, "-o", &out], b"");
        assert_eq!((run.code, &*run.out), (code, ""), "{why}");
        assert!(run.err.contains(why), "{}", run.err);
        assert_secret(&folder, "key", &run);
    }
    assert!(!folder.names().contains(&"out.car".to_owned()));
    let run = folder.run(&["sign", "-", "-k", "-", "-o", &out], b"");
    assert_eq!(run.code, 2);

    // An incomplete repository is not signed.
    let damaged = folder.write("damaged.car", car_without(&sample, &sample.paths[PROFILE]));
    let run = folder.run(&["sign", &damaged, "-k", &key, "-o", &out], b"");
    assert_eq!(
        (run.code, run.err.contains("so nothing was written")),
        (1, true)
    );
    assert!(!folder.names().contains(&"out.car".to_owned()));
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_told_of() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let (key, public) = new_key(&folder, "key", "k256");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let run = folder.run(&["keygen", "--public", &key], b"");
    let note = "cartool: note: users other than its owner may read key\n";
    assert_eq!(
        (run.code, run.out.trim_end(), &*run.err),
        (0, &*public, note)
    );
}

#[test]
fn a_signature_by_another_key_of_either_curve_is_bad() {
    let sample = SampleRepository::generate(204, 50);
    let folder = Folder::new();
    let (car, signed) = (
        folder.write("in.car", sample.car()),
        folder.path("signed.car"),
    );
    let (key, public) = new_key(&folder, "key", "k256");
    let (_, second) = new_key(&folder, "second", "k256");
    let (_, other_curve) = new_key(&folder, "other", "p256");
    assert_eq!(
        folder
            .run(&["sign", &car, "-k", &key, "-o", &signed], b"")
            .code,
        0
    );
    for wrong in [&second, &other_curve] {
        let run = folder.run(&["verify", &signed, "--key", wrong], b"");
        let start = format!("bad signature: the commit is not signed by {wrong}: ");
        assert_eq!(run.code, 1);
        assert!(run.lines()[1].starts_with(&start), "{}", run.out);
    }
    for text in [
        "",
        "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        // As a DID document has it, without the first or the last character.
        &public[9..],
        &public[8..public.len() - 1],
        "did:key:z",
    ] {
        let run = folder.run(&["verify", &signed, "--key", text], b"");
        assert_eq!((run.code, &*run.out), (2, ""), "{text}");
        assert!(run.err.contains("not a public key: "), "{}", run.err);
    }

    let run = folder.run(&["verify", &signed, "--key", &public[8..]], b"");
    assert_eq!(
        (run.code, run.lines()[1]),
        (0, &*format!("ok: signed by {public}"))
    );

    // A proof by itself shows whose commit it is about.
    let proof = folder.path("proof.car");
    let make = ["proof", "make", &signed, PROFILE, "-o", &proof];
    assert_eq!(folder.run(&make, b"").code, 0);
    let check = |args: &[&str]| {
        folder.run(
            &[["proof", "check", &proof, PROFILE].as_slice(), args].concat(),
            b"",
        )
    };
    let good = check(&["--key", &public]);
    assert_eq!(good.code, 0, "{}", good.err);
    assert!(good.out.starts_with("present "));
    let end = format!("which the proof names itself; signed by {public}\n");
    assert!(good.err.ends_with(&end), "{}", good.err);
    let bad = check(&["--key", &second]);
    assert_eq!((bad.code, &*bad.out), (1, ""));
    assert!(bad.err.contains("is not signed by"), "{}", bad.err);
    let root = sample.tree.root.to_string();
    assert_eq!(check(&["--key", &public, "--root", &root]).code, 2);
    assert!(check(&[]).err.contains("NOT CHECKED"));

    let run = cartool(&["verify", "FILE", "--key", &public], &sample.car());
    assert_eq!(run.code, 1);
    let signed = CarBlockStore::from_bytes(folder.read("signed.car")).unwrap();
    let commit = signed.roots()[0];
    assert!(Repository::open(signed, &commit).unwrap().verify().is_ok());
}
