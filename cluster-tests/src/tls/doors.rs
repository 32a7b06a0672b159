//! One API behind two TLS ports, one for each backend.

use std::{net::SocketAddr, path::Path, process::Command};

use serde_json::{Value, json};

use super::{Authority, Pair, backends, certificate, with};
use crate::{
    config::{api, binding},
    gateway::Plan,
    ports,
    upstream::Upstream,
};

/// The ports, the authority of their certificate, and what is behind them.
pub struct Doors {
    pub authority: Authority,
    pub pair: Pair,
    pub upstream: Upstream,
    ports: [u16; 2],
}

impl Doors {
    /// With a certificate for `gateway.test`.
    #[must_use]
    pub fn new(upstream: Upstream) -> Self {
        let authority = Authority::new();
        let pair = authority.issue("gateway.test");
        Self { authority, pair, upstream, ports: [ports::free(), ports::free()] }
    }

    /// Both with these parameters more.
    #[must_use]
    pub fn resources(&self, more: &Value) -> Vec<Value> {
        let mut all = Vec::new();
        for ((backend, base), port) in backends().iter().zip(self.ports) {
            let config = with(&with(base, json!({"certificate": certificate(&self.pair)})), more.clone());
            let tls = json!({"config": config});
            all.push(api(backend, &format!("https://127.0.0.1:{port}"), &self.upstream.url()));
            all.push(binding(&format!("{backend}-tls"), "ApiInstance", backend, "tls", tls));
        }
        all
    }

    #[must_use]
    pub fn plan(&self, more: &Value) -> Plan {
        Plan::new().with("api.yaml", &self.resources(more))
    }

    /// Each backend and its address.
    #[must_use]
    pub fn each(&self) -> [(&'static str, SocketAddr); 2] {
        let [(first, _), (second, _)] = backends();
        let [one, other] = self.ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        [(first, one), (second, other)]
    }

    /// As [`curl`], for `gateway.test`.
    #[must_use]
    pub fn curl(&self, address: SocketAddr, arguments: &[&str]) -> Curled {
        curl(&self.authority.certificate(), address, "gateway.test/a", arguments)
    }
}

/// What came of a request.
#[derive(Debug)]
pub struct Curled {
    /// 0: no answer.
    pub status: u16,
    /// As curl writes it: `1.1`, `2`.
    pub version: String,
    pub body: Vec<u8>,
    /// What it complains about.
    pub complaint: String,
}

impl Curled {
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request by `curl` for a host and a path at an address, who trusts this authority.
///
/// # Panics
/// When curl is not installed.
#[must_use]
pub fn curl(trusted: &Path, address: SocketAddr, host_and_path: &str, arguments: &[&str]) -> Curled {
    let (host, path) = host_and_path.split_once('/').unwrap_or((host_and_path, ""));
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "25", "-w", "\n%{http_code} %{http_version}", "--cacert"])
        .arg(trusted)
        .args(["--resolve", &format!("{host}:{}:{}", address.port(), address.ip())])
        .args(arguments)
        .arg(format!("https://{host}:{}/{path}", address.port()))
        .output()
        .expect("curl is installed");
    let end = output.stdout.iter().rposition(|byte| *byte == b'\n').expect("the line of -w");
    let (body, told) = (output.stdout[..end].to_vec(), String::from_utf8_lossy(&output.stdout[end + 1..]));
    let (status, version) = told.split_once(' ').expect("two words");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Curled { status: status.parse().unwrap_or(0), version: version.to_owned(), body, complaint }
}
