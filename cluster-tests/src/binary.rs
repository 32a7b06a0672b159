//! Where the gateway's binary is.
//!
//! `PORTCULLIS_BIN` names it; otherwise it lies beside the test executable's folder (`target/<profile>/portcullis`). Under
//! cargo it is brought up to date first, once per test executable: cargo builds no binary of another package for a test,
//! and an old binary would make a test pass that should fail.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::config::documents;

/// The path of the binary.
///
/// # Panics
/// When it is not there and cannot be built.
#[must_use]
pub fn portcullis() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(find)
}

/// What `validate` says of these resources, and its exit code.
///
/// # Panics
/// When it does not start.
#[must_use]
pub fn validate(resources: &[Value], options: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("a.yaml"), documents(resources)).expect("writable");
    let mut command = Command::new(portcullis());
    command.arg("validate").args(options).arg(folder.path());
    let output = command.output().expect("the binary starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn find() -> PathBuf {
    if let Some(path) = std::env::var_os("PORTCULLIS_BIN") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "PORTCULLIS_BIN names {}, which is no file", path.display());
        return path;
    }
    let test = std::env::current_exe().expect("a running test knows its path");
    let folder = test.ancestors().find(|path| path.ends_with("deps")).and_then(Path::parent);
    let folder = folder.expect("cargo puts test executables into target/<profile>/deps");
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(Path::new(&cargo), folder);
    }
    let path = folder.join("portcullis");
    assert!(path.is_file(), "no binary at {}: run `cargo build` first or set PORTCULLIS_BIN", path.display());
    path
}

fn build(cargo: &Path, folder: &Path) {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let profile = if name == "debug" { "dev" } else { name };
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies inside the workspace");
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "portcullis", "--bin", "portcullis", "--profile", profile])
        .arg("--target-dir")
        .arg(folder.parent().expect("target/<profile> has a parent"))
        .current_dir(workspace)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "the binary does not build");
}
