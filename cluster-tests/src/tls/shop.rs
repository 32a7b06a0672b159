//! An API over plain HTTP, each of whose services is reached over TLS.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    client::{self, Response},
    config::api,
    gateway::Plan,
    ports,
};

/// Services with a context each; a request goes to the one that its path names.
pub struct Shop {
    port: u16,
    services: Value,
    hosts: Vec<String>,
}

impl Shop {
    #[must_use]
    pub fn new() -> Self {
        Self { port: ports::free(), services: json!({}), hosts: Vec::new() }
    }

    /// A service at this address, whose host is 127.0.0.1, with these parameters of `tls-outbound`; `null`: without the
    /// policy.
    pub fn serve(&mut self, name: &str, address: &str, tls: &Value) {
        let mut service = json!({"address": address, "routes": [{"rules": [{"path": format!("/{name}")}]}]});
        if !tls.is_null() {
            service["policies"] = json!([{"policyRef": {"name": "tls-outbound"}, "config": tls}]);
        }
        self.services[name] = service;
        let host = address.split_once("://").map_or(address, |(_, rest)| rest);
        let host = host.split(':').next().unwrap_or_default();
        if host.parse::<SocketAddr>().is_err() && !host.starts_with("127.") {
            self.hosts.push(format!("{host}=127.0.0.1"));
        }
    }

    #[must_use]
    pub fn resource(&self) -> Value {
        let mut api = api("shop", &format!("http://127.0.0.1:{}", self.port), "");
        api["spec"]["services"] = self.services.clone();
        api
    }

    /// A gateway for it, which knows the hosts and says why a handshake failed.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut hosts = self.hosts.clone();
        hosts.sort();
        hosts.dedup();
        let plan = Plan::new().with("api.yaml", &[self.resource()]);
        let plan = plan.environment("PORTCULLIS_DNS__HOSTS", &hosts.join(","));
        plan.environment("PORTCULLIS_LOG__LEVEL", "debug")
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Asks the service of this name, on a connection of its own.
    #[must_use]
    pub fn get(&self, name: &str) -> Response {
        client::get(self.address(), &format!("/{name}"))
    }

    #[must_use]
    pub fn status(&self, name: &str) -> u16 {
        self.get(name).status
    }
}

impl Default for Shop {
    fn default() -> Self {
        Self::new()
    }
}
