//! TLS peers that are not ours: a certificate authority and a client by `openssl`, and a front that ends TLS with
//! Python's OpenSSL and passes the bytes on to a plain upstream.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
};

/// The kind of key that a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Rsa2048,
    P256,
}

/// A certificate authority of one test.
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Self { folder };
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test CA",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ]);
        authority
    }

    /// The certificate to trust, PEM.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    fn openssl(&self, arguments: &[&str]) {
        let run = Command::new("openssl").args(arguments).current_dir(self.folder.path()).output();
        let run = run.expect("openssl is installed");
        assert!(run.status.success(), "openssl: {}", String::from_utf8_lossy(&run.stderr));
    }

    /// A new certificate for a host name, over the one before: paths of certificate and key.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn issue(&self, host: &str) -> (PathBuf, PathBuf) {
        self.issue_as(host, host)
    }

    /// As [`Self::issue`], in files of this name.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn issue_as(&self, host: &str, name: &str) -> (PathBuf, PathBuf) {
        self.issue_for(name, Key::Rsa2048, &format!("DNS:{host}"))
    }

    /// As [`Self::issue_as`], with a key of this kind, and alternative names as OpenSSL writes them
    /// (`DNS:a.test,IP:127.0.0.1`).
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn issue_for(&self, name: &str, key: Key, alternatives: &str) -> (PathBuf, PathBuf) {
        let (secret, request, certificate) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"));
        let extensions = format!("{name}.ext");
        let folder = self.folder.path();
        std::fs::write(folder.join(&extensions), format!("subjectAltName={alternatives}\n"))
            .expect("writable");
        let mut words = vec!["req", "-nodes", "-subj", "/CN=unused", "-keyout", &secret, "-out", &request];
        words.extend_from_slice(match key {
            Key::Rsa2048 => &["-newkey", "rsa:2048"],
            Key::P256 => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        });
        self.openssl(&words);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ]);
        (folder.join(certificate), folder.join(secret))
    }

    /// As [`Self::issue`], its key encrypted with a passphrase in the form with a `DEK-Info` header.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn encrypted(&self, host: &str, passphrase: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.issue(host);
        let encrypted = self.folder.path().join(format!("{host}.encrypted.key"));
        let (from, to) = (key.display().to_string(), encrypted.display().to_string());
        let words = [
            "rsa",
            "-aes128",
            "-traditional",
            "-passout",
            &format!("pass:{passphrase}"),
            "-in",
            &from,
            "-out",
            &to,
        ];
        self.openssl(&words);
        (certificate, encrypted)
    }

    /// A TLS front for a host name, before a plain upstream.
    ///
    /// # Panics
    /// When Python fails.
    #[must_use]
    pub fn front(&self, host: &str, upstream: SocketAddr) -> Front {
        let (certificate, key) = self.issue(host);
        Front::start(&certificate, &key, upstream)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A running front; it ends with the value.
pub struct Front {
    child: Child,
    address: SocketAddr,
}

const FRONT: &str = r#"
import socket, ssl, sys, threading
certificate, key, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)

def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

def serve(raw):
    try:
        client = context.wrap_socket(raw, server_side=True)
        upstream = socket.create_connection(("127.0.0.1", port))
    except OSError:
        raw.close()
        return
    threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
    pump(upstream, client)

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

impl Front {
    fn start(certificate: &Path, key: &Path, upstream: SocketAddr) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", FRONT])
            .args([certificate, key])
            .arg(upstream.port().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped above");
        BufReader::new(out).read_line(&mut line).expect("the front says its port");
        let port: u16 = line.trim().parse().expect("the front says its port");
        Self { child, address: ([127, 0, 0, 1], port).into() }
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An open connection of `openssl s_client`.
pub struct SClient {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl SClient {
    /// # Panics
    /// When there is no `openssl`.
    #[must_use]
    pub fn connect(address: SocketAddr, arguments: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-servername", "gateway.test", "-connect", &address.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let input = child.stdin.take().expect("piped above");
        let output = BufReader::new(child.stdout.take().expect("piped above"));
        Self { child, input, output }
    }

    /// The status and the body of a GET on this connection; status 0 when none comes.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
        // Where the handshake failed nobody reads; the answer below says so.
        let _ = self.input.write_all(request.as_bytes()).and_then(|()| self.input.flush());
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap_or(0) == 0 {
                return (0, String::new());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap_or(0);
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        let _ = self.output.read_exact(&mut body);
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

impl Drop for SClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A handshake of `openssl s_client` without any request; what it says of it is in the output.
///
/// # Panics
/// When there is no `openssl`.
#[must_use]
pub fn handshake(address: SocketAddr, arguments: &[&str]) -> Output {
    Command::new("openssl")
        .args(["s_client", "-servername", "gateway.test", "-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed")
}
