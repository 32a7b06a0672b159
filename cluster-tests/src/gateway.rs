//! One running gateway: its configuration folder, its process, its admin interface.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{self, Response};
use crate::{PATIENCE, binary, config, eventually, lock, ports, process};

/// What a gateway is started with.
#[derive(Debug, Clone)]
pub struct Plan {
    files: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    workers: Option<usize>,
    arguments: Vec<String>,
    open_files: Option<(u32, u32)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            environment: Vec::new(),
            workers: Some(2),
            arguments: Vec::new(),
            open_files: None,
        }
    }
}

impl Plan {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file of these resources.
    #[must_use]
    pub fn with(self, file: &str, resources: &[Value]) -> Self {
        self.with_text(file, &config::documents(resources))
    }

    /// A file with this text.
    #[must_use]
    pub fn with_text(mut self, file: &str, text: &str) -> Self {
        self.files.push((file.to_owned(), text.to_owned()));
        self
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = Some(count);
        self
    }

    /// No flag says how many workers there are: a variable or a default does.
    #[must_use]
    pub fn workers_unsaid(mut self) -> Self {
        self.workers = None;
        self
    }

    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The limit on open file descriptors that it inherits: soft, hard.
    #[must_use]
    pub fn open_files(mut self, soft: u32, hard: u32) -> Self {
        self.open_files = Some((soft, hard));
        self
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it exits or never becomes ready.
    #[must_use]
    pub fn start(self) -> Gateway {
        let mut gateway = self.start_unready();
        let (admin, started) = (gateway.admin, Instant::now());
        while !gateway.ready() {
            assert!(gateway.running(), "the gateway ended at start:\n{}", gateway.log());
            assert!(started.elapsed() < PATIENCE, "{admin} is not ready:\n{}", gateway.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        gateway
    }

    /// Starts it and waits until its admin interface answers, ready or not.
    ///
    /// # Panics
    /// When it exits or its admin interface never answers.
    #[must_use]
    pub fn start_unready(self) -> Gateway {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (file, text) in &self.files {
            write_atomically(folder.path(), file, text);
        }
        let admin: SocketAddr = ([127, 0, 0, 1], ports::free()).into();
        let lines = Arc::default();
        let child = spawn(&self, folder.path(), admin, &lines);
        let mut gateway = Gateway { child, folder, admin, lines, plan: self };
        let started = Instant::now();
        while gateway.try_admin("GET", "/probes/liveness").is_none() {
            assert!(gateway.running(), "the gateway ended at start:\n{}", gateway.log());
            assert!(started.elapsed() < PATIENCE, "no admin interface at {admin}:\n{}", gateway.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        gateway
    }
}

fn spawn(plan: &Plan, folder: &Path, admin: SocketAddr, lines: &Arc<Mutex<Vec<String>>>) -> Child {
    let mut command = match plan.open_files {
        None => Command::new(binary::portcullis()),
        Some((soft, hard)) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"")]);
            shell.arg(binary::portcullis());
            shell
        }
    };
    command.args(["run", "--config"]).arg(folder);
    command.args(["--admin", &admin.to_string()]).args(&plan.arguments);
    if let Some(count) = plan.workers {
        command.args(["--workers", &count.to_string()]);
    }
    for (name, _) in std::env::vars_os() {
        let foreign =
            name.to_str().is_none_or(|name| name.starts_with("FLEX_") || name.starts_with("PORTCULLIS_"));
        if foreign {
            command.env_remove(&name);
        }
    }
    command.envs(plan.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    if let Some(output) = child.stdout.take() {
        collect(output, lines);
    }
    if let Some(output) = child.stderr.take() {
        collect(output, lines);
    }
    child
}

fn collect(output: impl std::io::Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            lock(&lines).push(line);
        }
    });
}

/// Writes beside and renames into place, as careful editors do: the gateway never sees half a file.
fn write_atomically(folder: &Path, file: &str, text: &str) {
    let place = folder.join(file);
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent).expect("a folder for the file");
    }
    let beside = place.with_extension("tmp");
    std::fs::write(&beside, text).expect("the temporary folder is writable");
    std::fs::rename(beside, place).expect("a rename inside one folder");
}

/// A running gateway; ended by its process id when the value goes.
pub struct Gateway {
    child: Child,
    folder: tempfile::TempDir,
    admin: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    plan: Plan,
}

impl Gateway {
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The configuration folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// One call of the admin interface.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn admin(&self, method: &str, path: &str) -> Response {
        client::call(self.admin, method, path, "", "")
    }

    /// The sum of the samples of a metric whose labels contain each of these texts.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.admin("GET", "/metrics").text();
        let samples = page.lines().filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label))
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The `Ready` condition of a resource in `/config/dump`: `True`, or `False` with the reason.
    ///
    /// # Panics
    /// When there is no such resource.
    #[must_use]
    pub fn condition(&self, kind: &str, name: &str) -> (String, String) {
        let dump = self.admin("GET", "/config/dump").json();
        let resources = dump["resources"].as_array().cloned().unwrap_or_default();
        let found = resources.iter().find(|r| r["kind"] == kind && r["metadata"]["name"] == name);
        let condition =
            &found.unwrap_or_else(|| panic!("no {kind} {name} in {dump}"))["status"]["conditions"][0];
        let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        (text("status"), text("message"))
    }

    fn try_admin(&self, method: &str, path: &str) -> Option<Response> {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        client::Client::try_connect(self.admin).ok()?.exchange(method, request.as_bytes()).ok()
    }

    /// What `GET /probes/readiness` says now.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.try_admin("GET", "/probes/readiness").is_some_and(|response| response.status == 200)
    }

    /// Whether the process still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Puts a file of these resources in place, without a reload.
    pub fn put(&self, file: &str, resources: &[Value]) {
        self.put_text(file, &config::documents(resources));
    }

    /// Puts a file with this text in place, without a reload.
    pub fn put_text(&self, file: &str, text: &str) {
        write_atomically(self.folder.path(), file, text);
    }

    /// Removes a file, without a reload.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove(&self, file: &str) {
        std::fs::remove_file(self.folder.path().join(file)).expect("the file is there");
    }

    /// `POST /reload`; the change is in force when it returns.
    ///
    /// # Panics
    /// When the admin interface does not answer.
    pub fn reload(&self) -> Response {
        self.admin("POST", "/reload")
    }

    /// [`Gateway::put`], then [`Gateway::reload`].
    pub fn apply(&self, file: &str, resources: &[Value]) -> Response {
        self.put(file, resources);
        self.reload()
    }

    /// Sends a signal by name, for instance `TERM`.
    ///
    /// # Panics
    /// When there is no `kill`.
    pub fn signal(&self, name: &str) {
        process::signal(self.child.id(), name);
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// When it does not come within `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(started.elapsed() < limit, "still running after {limit:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the process at once and starts a new one on the same folder; ready or not.
    ///
    /// # Panics
    /// As [`Plan::start_unready`].
    #[must_use]
    pub fn restart(mut self) -> Self {
        self.start_again();
        self
    }

    /// Ends the process with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A new process on the same folder and admin address; one that still runs is ended at once. It returns when the admin
    /// interface answers, ready or not. The log begins anew.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.kill();
        self.lines = Arc::default();
        self.child = spawn(&self.plan, self.folder.path(), self.admin, &self.lines);
        eventually("the admin interface after a restart", || self.try_admin("GET", "/probes/liveness"));
    }

    /// Everything it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        lock(&self.lines).join("\n")
    }

    /// The first line that contains this text. It may come later than the answer it speaks of: lines pass
    /// through a queue and a pipe.
    ///
    /// # Panics
    /// When there is no such line within [`crate::PATIENCE`].
    pub fn says(&self, text: &str) -> String {
        let found = || self.lines().into_iter().find(|line| line.contains(text));
        eventually(&format!("a line of the log with `{text}`"), found)
    }

    /// Lines written so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }

    fn status_figure(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// Resident memory in KiB.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        self.status_figure("VmRSS:")
    }

    /// The highest resident memory so far, in KiB.
    #[must_use]
    pub fn resident_peak_kib(&self) -> u64 {
        self.status_figure("VmHWM:")
    }

    /// Threads of the process.
    #[must_use]
    pub fn threads(&self) -> u64 {
        self.status_figure("Threads:")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let lines = self.lines();
            let tail = &lines[lines.len().saturating_sub(60)..];
            println!("--- last lines of the gateway ---\n{}", tail.join("\n"));
        }
    }
}
