//! The wall clock that a gateway believes in, by Debian's faketime, which stands between the binary and its C library.

use std::path::PathBuf;
use std::process::Command;

use crate::gateway::Plan;

/// A wall clock that a test sets; the monotonic one goes on as it does.
pub struct WallClock {
    folder: tempfile::TempDir,
    library: String,
}

impl WallClock {
    /// A clock that shows the true time; `None`, and a line that says so, where there is no faketime.
    ///
    /// # Panics
    /// When there is no temporary folder.
    #[must_use]
    pub fn new() -> Option<Self> {
        let asked = Command::new("faketime").args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]).output().ok();
        let library = asked.map(|asked| String::from_utf8_lossy(&asked.stdout).trim().to_owned());
        let Some(library) = library.filter(|library| !library.is_empty()) else {
            println!("skipped: no faketime; scripts/test installs it");
            return None;
        };
        let clock = Self { folder: tempfile::tempdir().expect("a temporary folder"), library };
        clock.jump(0);
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// So many seconds from the true time, at once.
    ///
    /// # Panics
    /// When the temporary folder is gone.
    pub fn jump(&self, seconds: i64) {
        let beside = self.folder.path().join("next");
        std::fs::write(&beside, format!("{seconds:+}\n")).expect("the temporary folder is writable");
        std::fs::rename(beside, self.file()).expect("a rename inside one folder");
    }

    /// A plan whose gateway sees this clock.
    #[must_use]
    pub fn shown_to(&self, plan: Plan) -> Plan {
        plan.environment("LD_PRELOAD", &self.library)
            .environment("FAKETIME_TIMESTAMP_FILE", &self.file().display().to_string())
            .environment("FAKETIME_NO_CACHE", "1")
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .environment("DONT_FAKE_MONOTONIC", "1")
            .environment("NO_FAKE_STAT", "1")
    }
}
