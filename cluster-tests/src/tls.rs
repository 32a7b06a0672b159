//! TLS peers that are not ours: a certificate authority by `openssl`, and a front that ends TLS with
//! Python's OpenSSL and passes the bytes on to a plain upstream.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

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

    /// A certificate for a host name: paths of certificate and key.
    fn issue(&self, host: &str) -> (PathBuf, PathBuf) {
        let (key, request, certificate) =
            (format!("{host}.key"), format!("{host}.csr"), format!("{host}.crt"));
        let extensions = format!("{host}.ext");
        let folder = self.folder.path();
        std::fs::write(folder.join(&extensions), format!("subjectAltName=DNS:{host}\n")).expect("writable");
        self.openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=unused",
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
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
        (folder.join(certificate), folder.join(key))
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
