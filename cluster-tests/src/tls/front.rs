//! A front that ends TLS with Python's OpenSSL and passes the bytes on to a plain upstream.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::Pair;
use crate::{eventually, lock};

/// A running front; it ends with the value.
pub struct Front {
    child: Child,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Front {
    /// A front that presents this certificate. Further terms: `alpn` (its list, in its order), `client_ca` (a file: clients
    /// need a certificate; with `optional` they may have one), `min`, `max`, `ciphers` (as OpenSSL writes them), `listen` (a port),
    /// `renew` (it presents what stands in its files when these change, and goes on with its sessions), `notify` (it ends sessions by an alert; otherwise with their connections).
    ///
    /// # Panics
    /// When Python fails.
    #[must_use]
    pub fn start((crt, key): &Pair, upstream: SocketAddr, more: Value) -> Self {
        let mut terms = json!({"crt": crt, "key": key, "port": upstream.port()});
        terms.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/tls_front.py");
        let mut child = Command::new("python3")
            // Old versions are deprecated, and wanted.
            .args(["-W", "ignore"])
            .arg(script)
            .arg(terms.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let mut output = BufReader::new(child.stdout.take().expect("piped above"));
        let mut line = String::new();
        output.read_line(&mut line).expect("the front says its port");
        let port: u16 = line.trim().parse().expect("the front says its port");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let handshake = serde_json::from_str(&line).unwrap_or_default();
                lock(&told).push(handshake);
            }
        });
        Self { child, address: ([127, 0, 0, 1], port).into(), seen }
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its handshakes so far: `sni`, `alpn`, `version`, `cipher`, `client` (the common name in its certificate), `reused`;
    /// or `error`.
    #[must_use]
    pub fn seen(&self) -> Vec<Value> {
        lock(&self.seen).clone()
    }

    /// Its last handshake that succeeded, which may be told later than the answer that came through it; one that fails may be
    /// told later still, when the next has begun.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn last(&self) -> Value {
        eventually("a handshake with the front", || {
            self.seen().into_iter().rfind(|one| one.get("error").is_none())
        })
    }

    /// Forgets them.
    pub fn forget(&self) {
        lock(&self.seen).clear();
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
