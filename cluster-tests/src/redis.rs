//! Real `redis-server` processes (Debian's `redis-server`, `redis-sentinel`) on ports of 127.0.0.1 that the harness picks: one
//! alone here, [`Sentinels`] and [`RedisCluster`] beside it. Debian's own service on 6379 is never used.
//!
//! Every server has a user [`ADMIN`], by which the harness, the replication and the sentinels log in, whatever a test does
//! to the other users.

mod cluster;
mod sentinels;
mod terms;

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub use cluster::RedisCluster;
pub use sentinels::{MASTER_NAME, Sentinels};
pub use terms::{Certificates, Terms, Transport};

use crate::process::Process;
use crate::{PATIENCE, eventually, ports};

/// Name and password of the user that may do everything.
pub const ADMIN: &str = "harness";

/// One server; it ends with the value.
pub struct Redis {
    process: Process,
    folder: tempfile::TempDir,
    door: Door,
    tls: Option<SocketAddr>,
    bus: Option<u16>,
    terms: Terms,
}

impl Redis {
    /// A server in plain TCP, without a password, that keeps nothing over a restart.
    ///
    /// # Panics
    /// When Redis is not installed or does not start.
    #[must_use]
    pub fn standalone() -> Self {
        Self::start(Terms::default())
    }

    /// A server on these terms, once it answers.
    ///
    /// # Panics
    /// As [`Redis::standalone`].
    #[must_use]
    pub fn start(terms: Terms) -> Self {
        Self::start_with(terms, &[], None)
    }

    /// As [`Redis::start`], with further lines of configuration, and as a node of a cluster with this bus port.
    fn start_with(terms: Terms, more: &[String], bus: Option<u16>) -> Self {
        let folder = folder();
        let local = |wanted: bool| wanted.then(|| SocketAddr::from(([127, 0, 0, 1], ports::free())));
        let plain = local(terms.transport.is_plain());
        let tls = local(terms.transport.is_tls());
        let config = folder.path().join("redis.conf");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("the temporary folder is writable");
        let lines =
            [terms.lines(plain, tls), vec![format!("dir {}", data.display())], more.to_vec()].concat();
        std::fs::write(&config, lines.join("\n") + "\n").expect("the temporary folder is writable");
        let address = plain.or(tls).expect("one transport at least");
        let log = folder.path().join(format!("redis-{}.log", address.port()));
        let process = Process::start("redis-server", vec![config.display().to_string()], &log);
        let door = Door {
            address,
            login: Some((ADMIN.to_owned(), ADMIN.to_owned())),
            certificates: if plain.is_none() { terms.certificates.clone() } else { None },
        };
        let redis = Self { process, folder, door, tls, bus, terms };
        redis.await_answer();
        redis
    }

    fn await_answer(&self) {
        let answer = || self.cli_within(Duration::from_secs(5), &["ping"]).filter(|answer| answer == "PONG");
        eventually(&format!("redis at {} answers, its log: {}", self.address(), self.log()), answer);
    }

    /// Where it listens: the plain port, or that of TLS if it has no other.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.door.address
    }

    /// Where it listens for TLS.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn tls_address(&self) -> SocketAddr {
        self.tls.expect("Terms::tls or Terms::plain_and_tls")
    }

    /// What TLS clients trust and present.
    ///
    /// # Panics
    /// When it has no TLS.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        self.terms.certificates.as_deref().expect("Terms::tls or Terms::plain_and_tls")
    }

    /// Ends it with SIGKILL; what it held in memory is lost.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Whether its process runs, paused or not.
    pub fn running(&mut self) -> bool {
        self.process.running()
    }

    /// One more line of its configuration, heeded from its next start on.
    ///
    /// # Panics
    /// When its folder is gone.
    pub fn configure(&self, line: &str) {
        let file = File::options().append(true).open(self.folder.path().join("redis.conf"));
        file.and_then(|mut file| writeln!(file, "{line}")).expect("the temporary folder is writable");
    }

    /// Kills it, if it still runs, and starts it on the same port and folder: with its data if it is append-only. Returns when
    /// it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.process.start_again();
        self.await_answer();
    }

    /// As [`Redis::restart`], its data wiped in between.
    ///
    /// # Panics
    /// As [`Redis::restart`].
    pub fn restart_empty(&mut self) {
        self.kill();
        let data = self.folder.path().join("data");
        std::fs::remove_dir_all(&data).and_then(|()| std::fs::create_dir(&data)).expect("a folder of ours");
        self.restart();
    }

    /// Stops it with SIGSTOP: connections stay and are even accepted, nobody answers.
    pub fn pause(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on after [`Redis::pause`].
    pub fn resume(&self) {
        self.process.signal("CONT");
    }

    /// What a command says, by `redis-cli`, as [`ADMIN`]; its error is such a text too, for instance `MOVED …`.
    ///
    /// # Panics
    /// When there is no answer within [`PATIENCE`].
    pub fn cli(&self, command: &[&str]) -> String {
        self.door.ask(command)
    }

    /// As [`Redis::cli`], by another user.
    ///
    /// # Panics
    /// As [`Redis::cli`].
    pub fn cli_as(&self, user: &str, password: &str, command: &[&str]) -> String {
        let login = Some((user.to_owned(), password.to_owned()));
        Door { login, ..self.door.clone() }.ask(command)
    }

    /// As [`Redis::cli`]; `None` when no answer came in time or nobody listens.
    #[must_use]
    pub fn cli_within(&self, limit: Duration, command: &[&str]) -> Option<String> {
        self.door.ask_within(limit, command)
    }

    /// A figure of `INFO`, by its name.
    ///
    /// # Panics
    /// As [`Redis::cli`].
    #[must_use]
    pub fn info(&self, name: &str) -> Option<String> {
        // Sentinels end the connections of a node whose office changes.
        let page = eventually("INFO", || self.cli_within(PATIENCE, &["info", "everything"]));
        page.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.to_owned()))
    }

    /// Everything it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The folder of its configuration; its data lies in `data` below.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// How `redis-cli` comes in.
#[derive(Clone)]
struct Door {
    address: SocketAddr,
    login: Option<(String, String)>,
    certificates: Option<std::sync::Arc<Certificates>>,
}

impl Door {
    fn ask(&self, command: &[&str]) -> String {
        self.ask_within(PATIENCE, command)
            .unwrap_or_else(|| panic!("redis at {} does not answer {command:?}", self.address))
    }

    fn ask_within(&self, limit: Duration, command: &[&str]) -> Option<String> {
        // redis-cli has no limit of its own.
        let mut run = Command::new("timeout");
        run.args(["-s", "KILL", &limit.as_secs_f64().to_string(), "redis-cli"]);
        run.args(["-h", "127.0.0.1", "-p", &self.address.port().to_string()]);
        if let Some((user, password)) = &self.login {
            run.args(["--user", user, "--pass", password, "--no-auth-warning"]);
        }
        if let Some(certificates) = &self.certificates {
            let (crt, key) = &certificates.client;
            let files: [(&str, PathBuf); 3] = [
                ("--cacert", certificates.authority.certificate()),
                ("--cert", crt.clone()),
                ("--key", key.clone()),
            ];
            run.arg("--tls");
            for (option, file) in files {
                run.arg(option).arg(file);
            }
        }
        let done = run.args(command).stdin(Stdio::null()).output().expect("coreutils and redis-cli");
        // After a login that failed it goes on as the user `default`.
        let complaint = String::from_utf8_lossy(&done.stderr);
        if complaint.contains("AUTH failed") {
            return Some(complaint.trim_end().to_owned());
        }
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
    }
}

/// Where data lies that is synced to its disk with each write: in memory where that can be, since a disk that others use
/// makes such a write take seconds.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}
