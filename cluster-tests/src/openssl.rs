//! `openssl` as a client and as a server that tell what was negotiated, by OpenSSL's names.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::PATIENCE;

/// What two peers have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// `TLSv1.2`.
    pub version: String,
    pub suite: String,
}

/// One GET by `openssl s_client` at a host: what was negotiated, and the status of the answer (0: none).
///
/// # Errors
/// The handshake failed; what `openssl` says of it.
///
/// # Panics
/// When there is no `openssl`.
pub fn get(address: SocketAddr, host: &str, arguments: &[&str]) -> Result<(Negotiated, u16), String> {
    let mut child = Command::new("timeout")
        .args([&PATIENCE.as_secs().to_string(), "openssl", "s_client", "-brief", "-ign_eof"])
        .args(["-servername", host, "-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("coreutils and openssl are installed");
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    // Where the handshake failed nobody reads; what follows says so.
    let _ = child.stdin.take().expect("piped above").write_all(request.as_bytes());
    let output = child.wait_with_output().expect("openssl ends");
    let (said, answer) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    let after = |title: &str| said.lines().find_map(|line| line.strip_prefix(title));
    match (after("Protocol version: "), after("Ciphersuite: ")) {
        (Some(version), Some(suite)) => {
            let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
            Ok((Negotiated { version: version.into(), suite: suite.into() }, status.unwrap_or(0)))
        }
        _ => Err(said.into_owned()),
    }
}

/// A running `openssl s_server` that answers each request with what was negotiated, see [`reported`]; it ends with the
/// value.
pub struct Server {
    child: Child,
    port: u16,
    /// Open as long as it runs: it may have more to say.
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// With these certificates and keys, one of each kind of key.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(pairs: &[&(PathBuf, PathBuf)], arguments: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-www"]).args(arguments);
        for ((certificate, key), options) in pairs.iter().zip([["-cert", "-key"], ["-dcert", "-dkey"]]) {
            command.arg(options[0]).arg(certificate).arg(options[1]).arg(key);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl is installed");
        let mut output = BufReader::new(child.stdout.take().expect("piped above"));
        let port = loop {
            let mut line = String::new();
            let read = output.read_line(&mut line).expect("the server says its port");
            assert!(read > 0, "openssl s_server {arguments:?} ended");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                let port = address.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
                break port.expect("the server says its port");
            }
        };
        Self { child, port, _output: output }
    }

    /// `https://127.0.0.1:PORT`, for a service's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the page of a [`Server`] says of the connection that it was asked for on.
#[must_use]
pub fn reported(page: &str) -> Option<Negotiated> {
    let (begun, suite) = page.lines().find_map(|line| line.split_once(", Cipher is "))?;
    // That line calls all versions below 1.2 SSLv3; the session's own does not.
    let session = page.lines().find_map(|line| line.trim_start().strip_prefix("Protocol  : "));
    let version = session.or_else(|| begun.rsplit(", ").next())?;
    Some(Negotiated { version: version.to_owned(), suite: suite.to_owned() })
}
