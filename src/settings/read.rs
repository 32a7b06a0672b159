//! From merged layers to typed [`Settings`].

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, path::PathBuf, time::Duration};

use config::{Map, Value as Node, ValueKind};
use ipnet::IpNet;

use crate::base::{Diagnostic, Diagnostics};

use super::{
    Admin, ClientCertDetails, Cluster, Config, Dns, DynamicPort, Gateway, Headers, Limits, Log, LogFormat,
    LogLevel, Paths, ProxyProtocol, RESERVED_PORT, Settings, ShareConfig, Shutdown, State, Sync, Timeouts,
    source::Sources,
    table::Setting,
    value::{Raw, Value},
};

/// Reads values by key and collects what is wrong with them.
pub(super) struct Reader<'a> {
    merged: &'a Map<String, Node>,
    sources: &'a Sources,
    problems: &'a mut Diagnostics,
    warnings: &'a mut Diagnostics,
}

impl<'a> Reader<'a> {
    pub fn new(
        merged: &'a Map<String, Node>,
        sources: &'a Sources,
        problems: &'a mut Diagnostics,
        warnings: &'a mut Diagnostics,
    ) -> Self {
        Self { merged, sources, problems, warnings }
    }

    pub fn settings(mut self) -> Settings {
        let name =
            self.optional_text("gateway.name").unwrap_or_else(|| self.sources.machine.generated_name.clone());
        let debounce = self.duration("sync.debounce");
        Settings {
            config: Config { paths: self.list("config.paths").into_iter().map(PathBuf::from).collect() },
            gateway: Gateway {
                id: self.text("gateway.id"),
                replica: self.optional_text("gateway.replica").unwrap_or_else(|| name.clone()),
                name,
            },
            cluster: self.cluster(),
            workers: self.optional_number("workers").map_or(self.sources.machine.cpus.max(1), to_usize),
            admin: Admin { address: self.address("admin.address") },
            state: State { folder: self.optional_text("state.folder").map(PathBuf::from) },
            sync: Sync {
                debounce,
                debounce_max: self.duration("sync.debounce_max").max(debounce),
                hold: self.duration("sync.hold"),
            },
            shutdown: Shutdown { drain: self.duration("shutdown.drain") },
            timeouts: Timeouts {
                client_idle: self.duration("timeouts.client_idle"),
                stream_idle: self.duration("timeouts.stream_idle"),
                upstream_response: self.duration("timeouts.upstream_response"),
                upstream_idle: self.duration("timeouts.upstream_idle"),
                connect: self.duration("timeouts.connect"),
                head: self.duration("timeouts.head"),
                tls_handshake: self.duration("timeouts.tls_handshake"),
            },
            limits: Limits {
                head_bytes: self.count("limits.head_bytes"),
                head_fields: self.count("limits.head_fields"),
                buffered_body: self.count("limits.buffered_body"),
                request_body: self.optional_number("limits.request_body"),
                connections: self.count("limits.connections"),
                requests: self.count("limits.requests"),
                tls_handshakes: self.count("limits.tls_handshakes"),
                cache: self.count("limits.cache_bytes"),
            },
            headers: Headers {
                rewrite_host: self.bool("headers.rewrite_host"),
                remove_server: self.bool("headers.remove_server"),
                server: self.text("headers.server"),
                forward_client_cert_details: self.client_cert_details(),
                envoy: self.bool("headers.envoy"),
            },
            paths: Paths {
                merge_slashes: self.bool("paths.merge_slashes"),
                base_path_canonicalizer: self.bool("paths.base_path_canonicalizer"),
            },
            trusted_proxies: self.networks("trusted_proxies"),
            proxy_protocol: ProxyProtocol {
                trusted_sources: self.networks("proxy_protocol.trusted_sources"),
            },
            dns: Dns { refresh: self.duration("dns.refresh"), hosts: self.hosts("dns.hosts") },
            log: Log {
                level: LogLevel::parse(&self.text("log.level")).unwrap_or(LogLevel::Info),
                format: match self.text("log.format").as_str() {
                    "json" => LogFormat::Json,
                    _ => LogFormat::Text,
                },
                buffer: self.count("log.buffer"),
            },
            access_log: self.bool("access_log"),
            dynamic_port: self.dynamic_port(),
        }
    }

    fn cluster(&mut self) -> Cluster {
        let share_config = match self.text("cluster.share_config").as_str() {
            "publish" => ShareConfig::Publish,
            "follow" => ShareConfig::Follow,
            _ => ShareConfig::Off,
        };
        let key_file = self.optional_text("cluster.key_file").map(PathBuf::from);
        if share_config != ShareConfig::Off && key_file.is_none() {
            self.problems.push(
                Diagnostic::error("configuration cannot be shared without keys to seal it with")
                    .field("cluster.key_file")
                    .help("make a file of keys, the same for all replicas: portcullis cluster-key >> FILE"),
            );
        }
        Cluster { expected_replicas: self.count("cluster.expected_replicas").max(1), share_config, key_file }
    }

    fn client_cert_details(&mut self) -> ClientCertDetails {
        let word = self.text("headers.forward_client_cert_details");
        let details = match word.as_str() {
            "FORWARD_ONLY" => ClientCertDetails::ForwardOnly,
            "APPEND_FORWARD" => ClientCertDetails::AppendForward,
            "SANITIZE_SET" => ClientCertDetails::SanitizeSet,
            "ALWAYS_FORWARD_ONLY" => ClientCertDetails::AlwaysForwardOnly,
            _ => ClientCertDetails::Sanitize,
        };
        if details == ClientCertDetails::AlwaysForwardOnly {
            self.warnings.push(Diagnostic::warning(
                "x-forwarded-client-cert is passed on from every client, who can write what they like in it",
            ));
        }
        details
    }

    fn dynamic_port(&mut self) -> Option<DynamicPort> {
        let enabled = self.bool("dynamic_port.enabled");
        let variable = self.optional_text("dynamic_port.variable");
        let written = self.optional_number("dynamic_port.value").and_then(|port| u16::try_from(port).ok());
        if !enabled {
            return None;
        }
        let Some(variable) = variable else {
            self.problems.push(
                Diagnostic::error("a dynamic port is switched on without the variable that holds it")
                    .field("dynamic_port.variable")
                    .help("name it there or in FLEX_DYNAMIC_PORT_ENVAR, for instance `PORT`"),
            );
            return None;
        };
        let found = self.sources.environment.get(&variable);
        let bound = found.and_then(|port| port.trim().parse().ok());
        let bound = bound.filter(|port| *port != 0 && *port != RESERVED_PORT);
        if let Some(bound) = bound {
            return Some(DynamicPort { written: written?, bound });
        }
        let what = if found.is_some() { "holds no port" } else { "is not set" };
        self.problems.push(
            Diagnostic::error(format!("the variable {variable}, named for the dynamic port, {what}"))
                .field("dynamic_port.variable")
                .help("expected a whole number from 1 to 65535, but not 9998, which is reserved"),
        );
        None
    }

    /// `None` when the value does not fit, which is then a problem.
    fn value(&mut self, key: &str) -> Option<Value> {
        let setting = Setting::find(key).expect("every key read here stands in the table: a test reads all");
        let node = find(self.merged, key)?;
        let origin = node.origin().unwrap_or("default");
        let read = raw(node).ok_or_else(|| setting.kind.expected()).and_then(|raw| {
            let vendor = setting.vendor.is_some_and(|vendor| vendor == origin);
            setting.kind.read(&raw, vendor)
        });
        match read {
            Ok(value) => Some(value),
            Err(expected) => {
                let shown = raw(node).map_or_else(|| "nothing".to_owned(), |raw| format!("`{}`", show(&raw)));
                self.problems.push(
                    Diagnostic::error(format!("setting `{key}` cannot be {shown} ({origin})"))
                        .help(format!("expected {expected}")),
                );
                None
            }
        }
    }

    fn bool(&mut self, key: &str) -> bool {
        matches!(self.value(key), Some(Value::Bool(true)))
    }

    fn text(&mut self, key: &str) -> String {
        self.optional_text(key).unwrap_or_default()
    }

    fn optional_text(&mut self, key: &str) -> Option<String> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn count(&mut self, key: &str) -> usize {
        self.optional_number(key).map(to_usize).unwrap_or_default()
    }

    fn optional_number(&mut self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    fn duration(&mut self, key: &str) -> Duration {
        match self.value(key) {
            Some(Value::Duration(duration)) => duration,
            _ => Duration::ZERO,
        }
    }

    fn address(&mut self, key: &str) -> Option<SocketAddr> {
        match self.value(key)? {
            Value::Address(address) => Some(address),
            _ => None,
        }
    }

    fn list(&mut self, key: &str) -> Vec<String> {
        match self.value(key) {
            Some(Value::List(items)) => items,
            _ => Vec::new(),
        }
    }

    fn networks(&mut self, key: &str) -> Vec<IpNet> {
        match self.value(key) {
            Some(Value::Networks(networks)) => networks,
            _ => Vec::new(),
        }
    }

    fn hosts(&mut self, key: &str) -> BTreeMap<String, Vec<IpAddr>> {
        match self.value(key) {
            Some(Value::Hosts(hosts)) => hosts,
            _ => BTreeMap::new(),
        }
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn find<'a>(tree: &'a Map<String, Node>, key: &str) -> Option<&'a Node> {
    match key.split_once('.') {
        None => tree.get(key),
        Some((section, rest)) => match &tree.get(section)?.kind {
            ValueKind::Table(inner) => find(inner, rest),
            _ => None,
        },
    }
}

fn raw(node: &Node) -> Option<Raw> {
    match &node.kind {
        ValueKind::Nil => None,
        ValueKind::Table(table) => table
            .iter()
            .map(|(name, value)| {
                let text = match raw(value)? {
                    Raw::Scalar(text) => text,
                    Raw::List(items) => items.join(" "),
                    Raw::Map(_) => return None,
                };
                Some((name.clone(), text))
            })
            .collect::<Option<_>>()
            .map(Raw::Map),
        ValueKind::Array(items) => items.iter().map(scalar).collect::<Option<_>>().map(Raw::List),
        _ => scalar(node).map(Raw::Scalar),
    }
}

fn scalar(node: &Node) -> Option<String> {
    node.clone().into_string().ok()
}

/// For an error: a value as the user would recognise it, not longer than a line.
fn show(raw: &Raw) -> String {
    let text = match raw {
        Raw::Scalar(text) => text.clone(),
        Raw::List(items) => items.join(", "),
        Raw::Map(map) => {
            map.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
        }
    };
    let cut: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}
