//! A program that a test kills, pauses and starts again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Lines of a log that are shown when a test fails.
const SHOWN_MAX: usize = 40;

/// A program with its arguments, and the process that runs it, if one does; it ends with the value, paused or not.
pub struct Process {
    program: &'static str,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts it; what it writes goes to the file `log`.
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn start(program: &'static str, arguments: Vec<String>, log: &Path) -> Self {
        let mut process = Self { program, arguments, log: log.to_path_buf(), child: None };
        process.start_again();
        process
    }

    /// Starts it with the same arguments after [`Process::kill`], or ends it first. The log goes on.
    ///
    /// # Panics
    /// When it is not installed, or its log cannot be written.
    pub fn start_again(&mut self) {
        self.kill();
        let log =
            File::options().create(true).append(true).open(&self.log).expect("a log in a folder of ours");
        let child = Command::new(self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("one more descriptor"))
            .stderr(log)
            .spawn();
        let missing = |error| panic!("{}: {error}; scripts/test installs what is missing", self.program);
        self.child = Some(child.unwrap_or_else(missing));
    }

    /// Ends it with SIGKILL, also when it is paused, and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended on its own.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it runs; a paused one does.
    pub fn running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Sends a signal by its name, for instance `STOP`.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("a running process").id(), name);
    }

    /// Everything it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(SHOWN_MAX)..];
            println!("--- last lines of {} ---\n{}", self.log.display(), tail.join("\n"));
        }
    }
}

/// Sends a signal by its name to a process.
///
/// # Panics
/// When there is no such process, or no `kill`.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}
