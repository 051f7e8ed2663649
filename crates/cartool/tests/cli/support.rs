//! Running the tool, and CARs to run it on.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use atproto_mst::{BlockStore, Bytes, CarBlockStore, Cid, Commit, NodeBuilder, dag_cbor_cid};
use mst_testkit::{SampleRepository, SampleTree, build_tree};

/// What a run of the tool left behind.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) raw_out: Vec<u8>,
}

impl Run {
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }
}

/// Runs the tool on `car`, which replaces `FILE` in `args`.
pub(crate) fn cartool(args: &[&str], car: &[u8]) -> Run {
    let file = TemporaryFile::of(car);
    let path = file.0.to_str().unwrap();
    let args: Vec<&str> = args
        .iter()
        .map(|arg| if *arg == "FILE" { path } else { *arg })
        .collect();
    let mut run = run(&args, b"");
    run.out = run.out.replace(path, "FILE");
    run.err = run.err.replace(path, "FILE");
    run
}

/// Runs the tool with `input` as its standard input.
pub(crate) fn run(args: &[&str], input: &[u8]) -> Run {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // The tool may end before it has read everything.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    Run {
        code: output.status.code().expect("no signal ends the tool"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        raw_out: output.stdout,
    }
}

/// The tool, with its output captured.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cartool"));
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A file that is deleted when this is dropped.
pub(crate) struct TemporaryFile(pub(crate) PathBuf);

impl TemporaryFile {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{count}.car", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A folder that is deleted, with its contents, when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        // Names of files are never used twice.
        let file = TemporaryFile::of(b"");
        let path = file.0.with_extension("folder");
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of a file in the folder, whether it exists or not.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().unwrap()
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The names of all files, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Runs the tool, with the folder's name removed from what it prints.
    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> Run {
        let mut run = run(args, input);
        run.err = run.err.replace(&self.path(""), "");
        run
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The commit that `car` names as its root.
pub(crate) fn commit_of(car: &[u8]) -> Commit {
    let car = CarBlockStore::from_bytes(car.to_vec()).unwrap();
    let block = car.get(&car.roots()[0]).unwrap().unwrap();
    Commit::decode(&block).unwrap()
}

/// `repository` with another commit, and with the tree that its paths have now.
pub(crate) fn rebuilt(repository: &SampleRepository, commit: &Commit) -> SampleRepository {
    SampleRepository {
        commit: (commit.cid(), commit.encode().into()),
        tree: build_tree(&repository.paths),
        ..repository.clone()
    }
}

/// `repository` at a commit of its present paths with that revision.
pub(crate) fn at_rev(repository: &SampleRepository, rev: &str) -> SampleRepository {
    let mut commit = Commit::decode(&repository.commit.1).unwrap();
    commit.rev = rev.parse().unwrap();
    commit.data = build_tree(&repository.paths).root;
    rebuilt(repository, &commit)
}

/// The repository of some records.
pub(crate) fn repository_of(records: &[(&str, &[u8])]) -> SampleRepository {
    let paths: BTreeMap<String, Cid> = records
        .iter()
        .map(|(path, block)| ((*path).to_owned(), dag_cbor_cid(block)))
        .collect();
    let tree = build_tree(&paths);
    with_tree(tree, records)
}

/// The repository of one record, whose key need not be text.
pub(crate) fn repository_of_key(key: &[u8], block: &[u8]) -> SampleRepository {
    let mut builder = NodeBuilder::new(None).unwrap();
    builder.push(key, &dag_cbor_cid(block), None).unwrap();
    let node = builder.finish();
    let tree = SampleTree {
        root: node.cid(),
        nodes: vec![(node.cid(), node.encode().into())],
    };
    with_tree(tree, &[("", block)])
}

fn with_tree(tree: SampleTree, records: &[(&str, &[u8])]) -> SampleRepository {
    let mut commit = Commit::unsigned("did:plc:test", "3jzfcijpj2z2a".parse().unwrap(), tree.root);
    commit.sig = vec![0xfb; 64];
    SampleRepository {
        commit: (commit.cid(), commit.encode().into()),
        tree,
        paths: BTreeMap::new(),
        records: records
            .iter()
            .map(|(_, block)| (dag_cbor_cid(block), Bytes::copy_from_slice(block)))
            .collect(),
    }
}

/// The CAR of `repository` without the block named `cid`.
pub(crate) fn car_without(repository: &SampleRepository, cid: &Cid) -> Vec<u8> {
    let mut blocks = repository.blocks();
    let len = blocks.len();
    blocks.retain(|(other, _)| other != cid);
    assert!(blocks.len() < len, "the block was there");
    repository.car_of(&blocks)
}

/// The CAR of `repository` with one bit wrong in the block named `cid`.
pub(crate) fn car_damaged_at(repository: &SampleRepository, cid: &Cid) -> Vec<u8> {
    let mut blocks = repository.blocks();
    let (_, block) = blocks.iter_mut().find(|(other, _)| other == cid).unwrap();
    let mut damaged = block.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    *block = damaged.into();
    repository.car_of(&blocks)
}

/// What `list` should print of `repository`, line by line.
pub(crate) fn listing(repository: &SampleRepository) -> Vec<String> {
    let line = |(path, cid): (&String, &Cid)| format!("\"{path}\" -> {cid}");
    repository.paths.iter().map(line).collect()
}
