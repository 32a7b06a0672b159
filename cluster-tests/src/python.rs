//! Peers written in Python by others, so that not only our own reading of a protocol is tested.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

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

/// A running script of `cluster-tests/tests/peers`, with which a test speaks line by line; it ends with the value. What it
/// complains about stands in the output of the test run.
pub struct Script {
    child: Child,
    name: String,
    output: BufReader<ChildStdout>,
}

impl Script {
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start<S: AsRef<OsStr>>(python: &Path, name: &str, arguments: &[S]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
        let mut command = Command::new(python);
        command.arg(folder.join(name)).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("piped above"));
        Self { child, name: name.to_owned(), output }
    }

    /// The next line that it writes.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        assert!(read.is_ok_and(|bytes| bytes > 0), "{} ended; its complaint is above", self.name);
        line.trim_end().to_owned()
    }

    /// The lines up to `last`.
    ///
    /// # Panics
    /// When it ends without having written that.
    pub fn lines_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.line() {
                line if line == last => return lines,
                line => lines.push(line),
            }
        }
    }

    /// Gives it an empty line to read.
    ///
    /// # Panics
    /// When it has ended.
    pub fn go_on(&mut self) {
        self.say("");
    }

    /// Gives it a line to read.
    ///
    /// # Panics
    /// When it has ended.
    pub fn say(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("piped at the start");
        input
            .write_all(format!("{line}\n").as_bytes())
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Sends a signal by name, for instance `TERM`.
    ///
    /// # Panics
    /// When there is no `kill`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} {}", self.child.id());
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
