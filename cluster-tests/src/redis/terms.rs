//! What a server is started with.

use std::net::SocketAddr;
use std::sync::Arc;

use super::ADMIN;
use crate::tls::{Authority, Life, Pair, Wanted};

/// How clients reach a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    #[default]
    Plain,
    Tls,
    /// On two ports.
    Both,
}

impl Transport {
    pub(super) fn is_plain(self) -> bool {
        self != Self::Tls
    }

    pub(super) fn is_tls(self) -> bool {
        self != Self::Plain
    }
}

/// Certificates of a server and of its clients, by one authority.
pub struct Certificates {
    pub authority: Authority,
    /// For `localhost`, `redis.test` and 127.0.0.1.
    pub server: Pair,
    /// What a client presents.
    pub client: Pair,
}

impl Certificates {
    /// New ones.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn new() -> Self {
        let authority = Authority::named("Redis test CA");
        let wanted = |subject, names| Wanted { subject, names, key: "ec", life: Life::Days };
        let server = authority.issue_as(wanted("/CN=redis", "DNS:localhost,DNS:redis.test,IP:127.0.0.1"));
        let client = authority.issue_as(wanted("/CN=gateway", "DNS:gateway.test"));
        Self { authority, server, client }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

/// Terms of a server; as they are at first: plain TCP, no password, nothing kept over a restart. Servers that are started
/// with clones of the same terms share their certificates.
#[derive(Clone, Default)]
pub struct Terms {
    pub(super) transport: Transport,
    pub(super) certificates: Option<Arc<Certificates>>,
    client_certificate: bool,
    append_only: bool,
    users: Vec<String>,
    more: Vec<String>,
}

impl Terms {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every write is on disk before it is answered: `appendonly yes`, `appendfsync always`.
    #[must_use]
    pub fn append_only(mut self) -> Self {
        self.append_only = true;
        self
    }

    /// A user as ACL rules write it, for instance `gateway on >secret ~gw:* &gw:* +@read`.
    #[must_use]
    pub fn user(mut self, rules: &str) -> Self {
        self.users.push(format!("user {rules}"));
        self
    }

    /// Nobody comes in without a name: the user `default` is off, with the rights that Redis 7.0 needs to read its own data.
    #[must_use]
    pub fn named_users_only(self) -> Self {
        self.user("default off ~* &* +@all")
    }

    /// The password of the user `default`.
    #[must_use]
    pub fn password(self, password: &str) -> Self {
        self.user(&format!("default on >{password} ~* &* +@all"))
    }

    /// TLS and no plain port.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn tls(self) -> Self {
        self.over(Transport::Tls)
    }

    /// A plain port, and another one for TLS.
    ///
    /// # Panics
    /// When `openssl` fails.
    #[must_use]
    pub fn plain_and_tls(self) -> Self {
        self.over(Transport::Both)
    }

    /// TLS clients must present a certificate of the same authority.
    #[must_use]
    pub fn client_certificate(mut self) -> Self {
        self.client_certificate = true;
        self
    }

    /// A further line of configuration.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.more.push(line.to_owned());
        self
    }

    fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self.certificates.get_or_insert_with(|| Arc::new(Certificates::new()));
        self
    }

    /// Ports, and what they need for TLS; also for a sentinel.
    pub(super) fn listening(&self, plain: Option<SocketAddr>, tls: Option<SocketAddr>) -> Vec<String> {
        let port = |address: Option<SocketAddr>| address.map_or(0, |address| address.port());
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            "protected-mode no".to_owned(),
            "daemonize no".to_owned(),
            format!("port {}", port(plain)),
        ];
        if let Some(Certificates { authority, server: (crt, key), .. }) = self.certificates.as_deref() {
            let clients = if self.client_certificate { "yes" } else { "optional" };
            lines.extend([
                format!("tls-port {}", port(tls)),
                format!("tls-cert-file {}", crt.display()),
                format!("tls-key-file {}", key.display()),
                format!("tls-ca-cert-file {}", authority.certificate().display()),
                format!("tls-auth-clients {clients}"),
            ]);
        }
        if self.transport == Transport::Tls {
            lines.push("tls-replication yes".to_owned());
        }
        lines
    }

    /// The configuration of a server.
    pub(super) fn lines(&self, plain: Option<SocketAddr>, tls: Option<SocketAddr>) -> Vec<String> {
        let mut lines = self.listening(plain, tls);
        let fixed = [
            "save \"\"",
            "appendfsync always",
            "enable-debug-command local",
            "repl-diskless-sync-delay 0",
            "repl-ping-replica-period 1",
        ];
        lines.extend(fixed.map(str::to_owned));
        lines.push(format!("appendonly {}", if self.append_only { "yes" } else { "no" }));
        lines.push(format!("user {ADMIN} on >{ADMIN} ~* &* +@all"));
        lines.extend([format!("masteruser {ADMIN}"), format!("masterauth {ADMIN}")]);
        lines.extend(self.users.iter().chain(&self.more).cloned());
        lines
    }
}
