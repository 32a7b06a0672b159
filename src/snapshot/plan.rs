//! The snapshot and its parts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{EngineSettings, Router, UpstreamPlan};
use crate::{
    base::{Digest, ResourceName},
    policy::{Chain, RuleSet},
    telemetry::metrics::ApiMetrics,
    tls::{InboundContext, Outbound},
};

/// Everything that a request is served from.
pub struct Snapshot {
    /// Counts the snapshots of this process from 1; 0 is the empty one before the first.
    pub generation: u64,
    pub digest: Digest,
    pub engine: EngineSettings,
    /// Routers by port (decision 20: all bind hosts of a port are one group).
    pub ports: BTreeMap<u16, Router>,
    /// TLS contexts by port; the other ports are plain text.
    pub tls: HashMap<u16, Arc<InboundContext>>,
    /// Addresses to listen on.
    pub listeners: BTreeSet<SocketAddr>,
    pub upstreams: Vec<Arc<UpstreamPlan>>,
    /// Towards Redis, where replicas share it over TLS.
    pub storage_tls: Option<Arc<Outbound>>,
}

impl Snapshot {
    /// Serves nothing.
    pub fn empty(engine: EngineSettings) -> Self {
        Self {
            generation: 0,
            digest: Digest::of(""),
            engine,
            ports: BTreeMap::new(),
            tls: HashMap::new(),
            listeners: BTreeSet::new(),
            upstreams: Vec::new(),
            storage_tls: None,
        }
    }

    pub fn instances(&self) -> impl Iterator<Item = &Arc<InstancePlan>> {
        self.ports.values().flat_map(Router::instances)
    }
}

/// Whether a socket on `listener` takes the connections to `address`: it is the same one, or all
/// addresses of its family.
pub fn covers(listener: &SocketAddr, address: &SocketAddr) -> bool {
    listener == address
        || listener.port() == address.port()
            && listener.ip().is_unspecified()
            && listener.is_ipv4() == address.is_ipv4()
}

/// One API.
pub struct InstancePlan {
    pub name: ResourceName,
    /// The address it is bound to; it answers only connections made to it.
    pub host: IpAddr,
    pub port: u16,
    /// Without a slash at the end; empty for all paths.
    pub base_path: Box<str>,
    /// Written with a slash at the end: exactly the base path is not served (4.3).
    pub slash_required: bool,
    pub chain: Chain,
    /// In the order in which they are tried.
    pub routes: Vec<RoutePlan>,
    /// Fail closed: 503 on every path, for the reason given in the log.
    pub blocked: Option<String>,
    pub metrics: Arc<ApiMetrics>,
}

impl InstancePlan {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

/// One way to the upstreams.
pub struct RoutePlan {
    pub rules: RuleSet,
    /// Weights add up to `weight_total`.
    pub destinations: Vec<DestinationPlan>,
    pub weight_total: u32,
}

/// One upstream of a route.
pub struct DestinationPlan {
    pub weight: u32,
    /// Path prefix: that of the service's address and `destinationPath`, no slash at the end.
    pub prefix: Box<str>,
    /// `None`: there is no such service, 503.
    pub upstream: Option<Arc<UpstreamPlan>>,
}

impl RoutePlan {
    /// The upstream for one draw of `0..weight_total`.
    pub fn destination(&self, draw: u32) -> Option<&DestinationPlan> {
        let mut left = draw;
        self.destinations.iter().find(|destination| {
            let found = left < destination.weight;
            left = left.saturating_sub(destination.weight);
            found
        })
    }
}
