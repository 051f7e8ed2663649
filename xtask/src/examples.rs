//! Runs the examples of the facade, so that each does what it says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Result, sample, shell};

/// Builds all examples and runs each. One that fails, or prints nothing, is an error.
pub(crate) fn run() -> Result<()> {
    // All at once, as for the tests, so that most of it is already built.
    let line = "build --workspace --examples --features atproto-mst/async --locked";
    let names = names()?;
    for name in &names {
        // So that only examples built now are run.
        match fs::remove_file(program(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    shell::run(&mut shell::cargo(line))?;
    let folder = shell::target().join("examples");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let runner = Runner {
        folder: &folder,
        left: names,
    };
    runner.run_all()
}

fn program(name: &str) -> PathBuf {
    shell::target().join("debug/examples").join(name)
}

/// The names of all examples.
fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in fs::read_dir(shell::root().join("crates/atproto-mst/examples"))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().ok_or("a file has a name")?;
            names.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

struct Runner<'f> {
    /// The folder that they write to.
    folder: &'f Path,
    /// Those that have not run yet.
    left: Vec<String>,
}

impl Runner<'_> {
    fn run_all(mut self) -> Result<()> {
        let sample = sample::repository();
        let (car, profile) = (
            self.write("sample.car", sample.car())?,
            "app.bsky.actor.profile/self",
        );
        let nothing = b"";
        for name in ["read_car", "decode_records", "put_record", "backfill_many"] {
            self.run(name, &[&car], nothing)?;
        }
        self.run("list_collection", &[&car, "app.bsky.feed.post"], nothing)?;
        self.run("prove_record", &[&car, profile], nothing)?;
        self.run("bulk_build", &[], nothing)?;
        self.run("backfill", &[], &sample.car())?;
        let cut_off = sample.car();
        let cut_off = cut_off.get(..6_000).ok_or("the sample has more")?;
        self.run("salvage", &[], cut_off)?;

        self.run(
            "sqlite_repo",
            &[&self.path("repo.sqlite"), "Hello"],
            nothing,
        )?;

        // What one account's server sends, and what others make of it.
        let said = self.run("commit", &[&self.path("frames")], nothing)?;
        let said = String::from_utf8(said)?;
        let (_, key) = said
            .trim_end()
            .rsplit_once(' ')
            .ok_or("no key was printed")?;
        let frames = [1, 2, 3, 4].map(|seq| self.path(&format!("frames/{seq}.frame")));
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        self.run("verify_firehose", &[&[key], &*frames].concat(), nothing)?;
        let mirror = self.path("mirror.sqlite");
        let (download, did) = (
            self.path("download.car"),
            "did:plc:z72i7hdynmk6r22z27h6tvur",
        );
        let follow = [&[&mirror, key, &download], &*frames].concat();
        self.run("mirror", &follow, nothing)?;
        let answer = self.run("serve_repo", &[&mirror, did], nothing)?;
        self.run("check_record", &[did, key, "app.bsky.feed.post/2"], &answer)?;

        // Another mirror has missed a message, and a third begins after some messages.
        self.write("download.car", answer.clone())?;
        let [first, _, late @ ..] = &frames[..] else {
            return Err("there are four messages".into());
        };
        for (name, before) in [("gap", &[*first][..]), ("late", &[])] {
            let mirror = self.path(&format!("{name}.sqlite"));
            let follow = [&[&mirror, key, &download], before, late].concat();
            let said = self.run("mirror", &follow, nothing)?;
            if !String::from_utf8(said)?.contains("; taking the whole repository") {
                return Err("mirror: no message was missed".into());
            }
            if self.run("serve_repo", &[&mirror, did], nothing)? != answer {
                return Err("mirror: not the repository that was fetched".into());
            }
        }

        // Another server takes over that server's repository.
        let database = self.path("repos.sqlite");
        self.run(
            "import_download",
            &[&database, did, key, &download],
            nothing,
        )?;
        if self.run("serve_repo", &[&database, did], nothing)? != answer {
            return Err("serve_repo: not the repository that was imported".into());
        }
        self.run("sweep", &[&database], nothing)?;
        match self.left.as_slice() {
            [] => Ok(()),
            left => Err(format!("these examples were not run: {left:?}").into()),
        }
    }

    /// Runs an example and returns what it prints.
    fn run(&mut self, name: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        eprintln!("$ {name} {}", arguments.join(" "));
        self.left.retain(|left| left != name);
        fs::write(self.folder.join("input"), input)?;
        let input = fs::File::open(self.folder.join("input"))?;
        let output = Command::new(program(name))
            .args(arguments)
            .stdin(input)
            .stderr(Stdio::inherit())
            .output()?;
        if output.status.success() && !output.stdout.is_empty() {
            return Ok(output.stdout);
        }
        Err(format!(
            "{name}: {}, {} bytes printed",
            output.status,
            output.stdout.len()
        )
        .into())
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, bytes: Vec<u8>) -> Result<String> {
        fs::write(self.folder.join(name), bytes)?;
        Ok(self.path(name))
    }
}
