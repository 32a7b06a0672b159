//! Process settings: what an operator says to the process, as opposed to the resources it serves.
//!
//! One list, [`table::SETTINGS`], names every setting with its type, default, variables and text;
//! loading, errors, the command line's help and `docs/settings.md` are all read from it.
//!
//! Ranks, lowest first: defaults, the settings file, the vendor's `FLEX_*` variables
//! (configuration reference 13), `PORTCULLIS_*` variables, flags. What a `Configuration` resource or
//! a policy says about the same thing ranks above all of them (configuration reference 7.1).

mod document;
mod keys;
mod load;
mod machine;
mod read;
mod source;
mod table;
mod value;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use document::{help_text, markdown};
pub use load::{Loaded, SettingsError};
pub use machine::Machine;
pub use source::{Override, Sources};
pub use table::{SETTINGS, Setting};
pub use value::Kind;

/// Every setting, resolved. `docs/settings.md` says what each means; units are in the types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub config: Config,
    pub gateway: Gateway,
    pub cluster: Cluster,
    /// Worker threads, at least 1.
    pub workers: usize,
    pub admin: Admin,
    pub state: State,
    pub sync: Sync,
    pub shutdown: Shutdown,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub headers: Headers,
    pub paths: Paths,
    /// Peers whose `x-forwarded-for` is believed (decision 2). Empty: the header is kept as it came.
    pub trusted_proxies: Vec<IpNet>,
    pub proxy_protocol: ProxyProtocol,
    pub dns: Dns,
    pub log: Log,
    /// One line for each request, besides what Message Logging writes (decision 8).
    pub access_log: bool,
    /// `None` unless switched on.
    pub dynamic_port: Option<DynamicPort>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Folders and files with resources.
    pub paths: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Shared by the replicas of one gateway (decision 31).
    pub id: String,
    /// Of this replica, for people.
    pub name: String,
    /// Of this replica, for machines.
    pub replica: String,
}

/// What the replicas of a gateway have in common besides its id (decisions 35, 38 and 39).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// At least 1.
    pub expected_replicas: usize,
    pub share_config: ShareConfig,
    pub key_file: Option<PathBuf>,
}

/// Where this replica's resources come from, and whether others take them from it (decision 38).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareConfig {
    #[default]
    Off,
    Publish,
    Follow,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `None`: no admin port.
    pub address: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Where what is to survive a restart lies; no other replica uses it. `None`: nothing survives.
    pub folder: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Quiet time before a set of changed files is applied.
    pub debounce: Duration,
    /// Longest wait while files keep changing; never below `debounce`.
    pub debounce_max: Duration,
    /// How long the resources of a file that vanished or became empty are kept (decision 16).
    pub hold: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    pub drain: Duration,
}

/// Configuration reference 7.1 and decision 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub client_idle: Duration,
    pub stream_idle: Duration,
    pub upstream_response: Duration,
    pub upstream_idle: Duration,
    pub connect: Duration,
    pub head: Duration,
    pub tls_handshake: Duration,
}

/// Bytes are bytes, the rest are counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub head_bytes: usize,
    pub head_fields: usize,
    /// Largest body held whole for a policy (configuration reference 7.4).
    pub buffered_body: usize,
    /// Largest request body at all; `None`: any size is streamed (decision 9).
    pub request_body: Option<u64>,
    pub connections: usize,
    /// In each worker.
    pub requests: usize,
    /// In each worker.
    pub tls_handshakes: usize,
    /// Of cached responses, over all policies.
    pub cache: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    pub rewrite_host: bool,
    pub remove_server: bool,
    pub server: String,
    pub forward_client_cert_details: ClientCertDetails,
    pub envoy: bool,
}

/// What happens to `x-forwarded-client-cert` (configuration reference 4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertDetails {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    pub merge_slashes: bool,
    pub base_path_canonicalizer: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Peers that may send a PROXY header (decision 21). Empty: all.
    pub trusted_sources: Vec<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Between 5 and 60 seconds (configuration reference 7.3).
    pub refresh: Duration,
    /// Lower-case host name to addresses, asked before DNS.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
    /// Bytes held for each output that cannot keep up.
    pub buffer: usize,
}

/// From most to least verbose (configuration reference 9.2).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl LogLevel {
    /// By their numbers, most verbose first.
    pub const ALL: [Self; 5] = [Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal];

    /// As configuration and log lines have it.
    pub fn name(self) -> &'static str {
        ["debug", "info", "warn", "error", "fatal"][self as usize]
    }

    /// Reads the word of a configuration, in any case: Message Logging writes `INFO`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(word))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// No instance may listen on it: the original keeps it for internal use (configuration reference 1).
pub const RESERVED_PORT: u16 = 9998;

/// An instance port that a platform replaces by one of its own (configuration reference 13,
/// `FLEX_DYNAMIC_PORT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicPort {
    /// As written in `ApiInstance` addresses.
    pub written: u16,
    /// The one to listen on.
    pub bound: u16,
}

impl DynamicPort {
    /// The port that is written where `port` is listened on.
    pub fn written(dynamic: Option<Self>, port: u16) -> u16 {
        dynamic.filter(|dynamic| dynamic.bound == port).map_or(port, |dynamic| dynamic.written)
    }
}

impl Default for Settings {
    /// The defaults of the table on this machine, with nothing read from file or environment.
    fn default() -> Self {
        Sources::none(Machine::this())
            .load()
            .map(|loaded| loaded.settings)
            .expect("the defaults are valid: a test loads them")
    }
}
