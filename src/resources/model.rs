//! What a set of resources means: every reference followed, every inline part named, in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use super::{kinds::GatewaySettings, resolve::NamedFile};
use crate::{
    base::{Diagnostics, Digest, Location, ResourceName, Subject},
    document::{Node, Spanned},
    settings::DynamicPort,
};

/// The outcome of [`resolve`](super::resolve): everything the compiler needs, by names and values.
#[derive(Debug)]
pub struct ResolvedModel {
    /// Instances whose port may be opened, by name. An instance that must not be served at all (a
    /// clash, `https://` without TLS) is not among them.
    pub instances: Vec<Instance>,
    /// Upstreams, inline ones under their generated names, by name.
    pub services: Vec<Service>,
    /// What is to have TLS.
    pub tls: Vec<TlsBinding>,
    /// A port of instances that the platform replaced.
    pub dynamic_port: Option<DynamicPort>,
    pub settings: GatewaySettings,
    pub extensions: Vec<Extension>,
    /// Files that policies name.
    pub files: Vec<NamedFile>,
    /// Every resource that was read, valid or not, in (path, document) order.
    pub resources: Vec<ResourceState>,
    /// Everything found while loading and resolving, by place.
    pub diagnostics: Diagnostics,
}

impl ResolvedModel {
    /// Digest of what decides how requests are served. Equal digest: nothing to do.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::builder();
        for instance in &self.instances {
            digest.add(instance.name.to_string());
            digest.add(instance.digest.to_string());
        }
        for service in &self.services {
            digest.add(service.name.to_string());
            digest.add(service.digest.to_string());
        }
        for tls in &self.tls {
            digest.add(tls.policy.binding.to_string());
            digest.add(tls.policy.digest.to_string());
            let written = |port: &u16| DynamicPort::written(self.dynamic_port, *port);
            let ports: BTreeSet<u16> = tls.ports.iter().map(written).collect();
            digest.add(format!("{ports:?} {:?}", tls.instances));
        }
        digest.add(format!("{:?}", self.settings.digest));
        digest.finish()
    }

    /// How many API instances are written, in force or not.
    pub fn instances_written(&self) -> usize {
        self.resources.iter().filter(|state| &*state.subject.kind == "ApiInstance").count()
    }

    pub fn instance(&self, name: &ResourceName) -> Option<&Instance> {
        self.instances.binary_search_by(|instance| instance.name.cmp(name)).ok().map(|at| &self.instances[at])
    }

    pub fn service(&self, name: &ResourceName) -> Option<&Service> {
        self.services.binary_search_by(|service| service.name.cmp(name)).ok().map(|at| &self.services[at])
    }
}

/// One API as clients see it.
#[derive(Clone, Debug)]
pub struct Instance {
    pub name: ResourceName,
    pub labels: BTreeMap<String, String>,
    pub address: ListenAddress,
    /// Inbound policies in the order of execution on the request (decision 10).
    pub policies: Vec<BoundPolicy>,
    /// Routes in the order in which they are tried (configuration reference 4.4).
    pub routes: Vec<Route>,
    /// Where `spec.address` stands.
    pub location: Location,
    /// Digest of everything in this struct but positions.
    pub digest: Digest,
    /// Why the instance answers 503 on every path (fail closed), if it does.
    pub blocked: Option<String>,
}

/// A `tls` policy and what it is for (configuration reference 6.2).
#[derive(Clone, Debug)]
pub struct TlsBinding {
    pub policy: BoundPolicy,
    /// The instances that it is bound to.
    pub instances: Vec<ResourceName>,
    /// Their ports, those of instances that are not opened included: none of these ports may answer in
    /// plain text.
    pub ports: BTreeSet<u16>,
}

/// Where an instance listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    pub scheme: ListenScheme,
    /// The bind address.
    pub host: IpAddr,
    /// After the setting `dynamic_port`; never 0 or 9998.
    pub port: u16,
    /// `""`, `"/a/b"` or `"/a/b/"`, as written; `/` alone is `""`.
    pub base_path: String,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            ListenScheme::Http => "http",
            ListenScheme::Https => "https",
        };
        let socket = std::net::SocketAddr::new(self.host, self.port);
        write!(f, "{scheme}://{socket}{}", self.base_path)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenScheme {
    Http,
    Https,
}

/// One way from an instance to its upstreams.
#[derive(Clone, Debug)]
pub struct Route {
    /// Of the binding, or generated (`<api>-<service>-route-<n>`).
    pub name: ResourceName,
    /// The route is taken if any rule holds; none: always.
    pub rules: Vec<Rule>,
    /// At least one.
    pub destinations: Vec<Destination>,
    pub order: i32,
    /// Where the binding or the inline route stands.
    pub location: Location,
}

/// One upstream of a route.
#[derive(Clone, Debug)]
pub struct Destination {
    /// 1 to 100; its share is this over the sum.
    pub weight: u32,
    /// When no such service is in the model, this destination answers 503.
    pub service: ResourceName,
    /// `destinationPath`; empty when there is none or it is `/`.
    pub path: String,
    pub location: Location,
}

/// A condition on requests: everything given must hold. Values are regular expressions in source
/// form, valid, to be matched against the whole (configuration reference 3.6).
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Relative to the base path.
    pub path: Option<Spanned<String>>,
    pub methods: Option<Spanned<String>>,
    pub host: Option<Spanned<String>>,
    /// Names as written; they compare without regard to case.
    pub headers: Vec<(String, Spanned<String>)>,
}

/// An upstream.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: ResourceName,
    /// The resource that it is written in: itself or an instance.
    pub subject: Subject,
    pub address: ServiceAddress,
    /// Outbound policies in the order of execution on the request.
    pub policies: Vec<BoundPolicy>,
    /// Where the address stands.
    pub location: Location,
    /// Digest of everything in this struct but where it is written.
    pub digest: Digest,
    /// Why requests to it answer 503 (fail closed), if they do.
    pub blocked: Option<String>,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    pub scheme: ServiceScheme,
    /// A name in lower case, or an IP address (IPv6 without brackets).
    pub host: String,
    pub port: u16,
    /// Put before `destinationPath`; empty or `/a/b`, without a slash at the end.
    pub path: String,
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.as_str();
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}{}", self.host, self.port, self.path)
    }
}

/// The protocol spoken to an upstream (configuration reference 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceScheme {
    Http,
    Https,
    /// HTTP/2 in clear text with prior knowledge.
    H2,
}

impl ServiceScheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2 => "h2",
        }
    }
}

/// A policy at its place in a chain.
#[derive(Clone, Debug)]
pub struct BoundPolicy {
    /// The binding, or the generated name of the inline policy (`<api>-<policy>-<n>`).
    pub binding: ResourceName,
    /// What its state is known by at all replicas: the binding; of inline policies the policy and which of that name it is
    /// in its list, so that another policy before it changes nothing. The configuration alone decides, not what stood there
    /// before.
    pub state_name: Arc<str>,
    /// The resource that it is written in: the binding itself or the instance.
    pub subject: Subject,
    /// The name in the catalog.
    pub policy: String,
    /// After substitution of variables; an empty mapping when none is written.
    pub config: Node,
    /// Field path of `config` in `subject`, such as `spec.policies[0].config`.
    pub config_field: Arc<str>,
    /// The policy is skipped unless any rule holds; none: always applies.
    pub rules: Vec<Rule>,
    pub order: i32,
    /// Bound through a selector.
    pub automated: bool,
    /// Where the policy is named.
    pub location: Location,
    /// Digest of policy name, config and rules: with the binding and the instance, the key of its
    /// state.
    pub digest: Digest,
}

/// A user's `Extension`: the definition or the implementation of a custom policy.
#[derive(Clone, Debug)]
pub struct Extension {
    pub name: ResourceName,
    /// Names of its parents.
    pub extends: Vec<String>,
    /// It carries code (`proxy-wasm-filter` is among its parents, or it has an `implementation`).
    pub implementation: bool,
    pub location: Location,
}

/// A resource and whether it is in force, for dump and status.
#[derive(Clone, Debug)]
pub struct ResourceState {
    pub subject: Subject,
    pub api_version: Arc<str>,
    pub labels: BTreeMap<String, String>,
    /// Where the document starts.
    pub origin: Location,
    /// As written, before substitution. May hold secrets in clear text: redact before showing.
    pub spec: Node,
    /// `Err` carries the message of the `Ready` condition.
    pub ready: Result<(), String>,
}
