//! `cargo xtask others`: whether other implementations agree with ours.

use std::fs;

use crate::Result;
use crate::shell::{self, command};

/// Where they are installed.
const FOLDER: &str = "target/others";

/// Installs the other implementations and runs the tests that need them.
pub(crate) fn run() -> Result<()> {
    install()?;
    test()
}

/// Installs them with pip and npm.
pub(crate) fn install() -> Result<()> {
    let python = format!("{FOLDER}/venv/bin/python");
    if !shell::root().join(&python).is_file() {
        let venv = format!("{FOLDER}/venv");
        shell::run(&mut command("python3", &["-m", "venv", &venv]))?;
    }
    let requirements = "tests/others/requirements.txt";
    let install = ["-m", "pip", "install", "--quiet", "-r", requirements];
    shell::run(&mut command(&python, &install))?;

    let folder = shell::root().join(FOLDER);
    let package = shell::root().join("tests/others/package.json");
    fs::copy(package, folder.join("package.json"))?;
    let install = format!("install --prefix {FOLDER} --no-audit --no-fund --loglevel=error");
    let install: Vec<&str> = install.split(' ').collect();
    shell::run(&mut command("npm", &install))
}

/// Runs the tests that need them.
pub(crate) fn test() -> Result<()> {
    let folder = shell::root().join(FOLDER);
    let mut test = shell::cargo("test -p mst-testkit --test others");
    shell::run(test.env("MST_OTHERS", folder))
}

/// Returns the first program that this needs and that is missing.
pub(crate) fn missing() -> Option<&'static str> {
    let programs = ["python3", "node", "npm"];
    let there = |program: &str| command(program, &["--version"]).output().is_ok();
    programs.into_iter().find(|program| !there(program))
}
