//! Peers written in Python by others, so that not only our own reading of a protocol is tested.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A Python that can import a module: the environment that `scripts/test` makes in `target/python`, else the system's.
/// Where there is none it says so, and the test has nothing to run.
#[must_use]
pub fn with(module: &str) -> Option<PathBuf> {
    let ours = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
    let found = [ours, "python3".into()].into_iter().find(|python| {
        let import =
            Command::new(python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
        import.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        println!(
            "skipped: no Python with `{module}`; scripts/test installs it (cluster-tests/requirements.txt)"
        );
    }
    found
}
