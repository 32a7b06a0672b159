//! Real programs of others that stand before or behind the gateway, each on a port of 127.0.0.1.

use std::{
    fs::File,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{eventually, ports, tls::Pair};

/// A running program; it ends with the value.
pub struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Daemon {
    /// Debian's HAProxy in TCP mode: a frontend with these `bind` parameters, and a server at an
    /// address with these.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn haproxy(bind: &str, server: SocketAddr, parameters: &str) -> Self {
        Self::start("haproxy", &["-db", "-q", "-f"], |port, _| {
            format!(
                "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
                 frontend front\n  bind 127.0.0.1:{port} {bind}\n  default_backend gateway\n\
                 backend gateway\n  option httpchk GET /health\n  server one {server} {parameters}\n"
            )
        })
    }

    /// Debian's tinyproxy with further lines of configuration. It logs each request.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn tinyproxy(more: &str) -> Self {
        Self::start("tinyproxy", &["-d", "-c"], |port, log| {
            format!(
                "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 30\nMaxClients 100\n\
                 LogFile \"{}\"\nLogLevel Connect\nDisableViaHeader No\n{more}\n",
                log.display()
            )
        })
    }

    /// nghttp2's server, which speaks HTTP/2 only, with one file.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn nghttpd(file: &str, content: &[u8]) -> Self {
        Self::nghttpd_with(file, content, &["--no-tls"], None)
    }

    /// As [`Daemon::nghttpd`], over TLS, with this certificate. What is sent to it comes back.
    ///
    /// # Panics
    /// As [`Daemon::nghttpd`].
    #[must_use]
    pub fn nghttpd_tls(file: &str, content: &[u8], pair: &Pair) -> Self {
        Self::nghttpd_with(file, content, &["--echo-upload"], Some(pair))
    }

    fn nghttpd_with(file: &str, content: &[u8], options: &[&str], pair: Option<&Pair>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join(file), content).expect("the temporary folder is writable");
        let address: SocketAddr = ([127, 0, 0, 1], ports::free()).into();
        let (root, port) = (folder.path().display().to_string(), address.port().to_string());
        let common = ["-a", "127.0.0.1", "-d", &root, &port];
        let mut arguments: Vec<_> =
            options.iter().chain(&common).map(|&argument| argument.to_owned()).collect();
        if let Some((crt, key)) = pair {
            arguments.extend([key, crt].map(|file| file.display().to_string()));
        }
        Self::launch("nghttpd", &arguments, folder, address)
    }

    /// A server written in Python, which finds its port in the file that its argument names.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn python(python: &Path, script: &str) -> Self {
        Self::start(&python.to_string_lossy(), &[script], |port, _| port.to_string())
    }

    /// A program that reads its configuration from the file behind these arguments; the configuration is made from its port
    /// and the path of its log, beside which other files may lie.
    pub(crate) fn start(program: &str, arguments: &[&str], config: impl Fn(u16, PathBuf) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address: SocketAddr = ([127, 0, 0, 1], ports::free()).into();
        let path = folder.path().join("config");
        let log = folder.path().join("log");
        let mut file = File::create(&path).expect("the temporary folder is writable");
        file.write_all(config(address.port(), log).as_bytes()).expect("the temporary folder is writable");
        let mut arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        arguments.push(path.display().to_string());
        Self::launch(program, &arguments, folder, address)
    }

    fn launch(program: &str, arguments: &[String], folder: tempfile::TempDir, address: SocketAddr) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; scripts/test installs what is missing"));
        let daemon = Self { child, folder, address };
        eventually(program, || TcpStream::connect(address).ok());
        daemon
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its configuration and its log lie.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logged so far, if it logs to a file.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- log of the program at {} ---\n{}", self.address, self.log());
        }
    }
}
