//! Where connections to upstreams lead, and how: upstreams with equal endpoints share connections.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::upstream::{UpstreamProxy, UpstreamTls};
use crate::{
    base::Trouble,
    resources::{ServiceAddress, ServiceScheme},
    tls::Protocol,
};

/// Index of an endpoint's pool in each worker. Equal endpoints keep it over reloads.
pub type EndpointId = u32;

/// Where connections lead, and how.
#[derive(Debug)]
pub struct Endpoint {
    pub id: EndpointId,
    pub scheme: ServiceScheme,
    pub host: String,
    pub port: u16,
    /// TLS towards it.
    pub tls: Option<UpstreamTls>,
    /// The way to it, if it is not direct.
    pub proxy: Option<UpstreamProxy>,
    /// Connections that take no forward proxy.
    pub trouble: Trouble,
}

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Http1,
    Http2,
    /// It chooses when a connection is made (ALPN).
    Either,
}

impl Endpoint {
    /// What is known before the first connection.
    pub fn speaks(&self) -> Speaks {
        let Some(tls) = &self.tls else {
            return if self.scheme == ServiceScheme::H2 { Speaks::Http2 } else { Speaks::Http1 };
        };
        let alpn = &tls.context.described.negotiable.alpn;
        match (alpn.contains(&Protocol::H2), alpn.contains(&Protocol::Http11)) {
            (false, _) => Speaks::Http1,
            (true, false) => Speaks::Http2,
            (true, true) => Speaks::Either,
        }
    }

    fn leads(&self, tls: Option<&UpstreamTls>, proxy: Option<&UpstreamProxy>) -> bool {
        are_like(self.tls.as_ref(), tls, UpstreamTls::is_like)
            && are_like(self.proxy.as_ref(), proxy, UpstreamProxy::is_like)
    }
}

/// Whether both are missing, or both are there and like each other.
fn are_like<T>(one: Option<&T>, other: Option<&T>, like: fn(&T, &T) -> bool) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => like(one, other),
        _ => false,
    }
}

type Address = (ServiceScheme, String, u16);

/// All endpoints of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    known: HashMap<Address, Vec<Arc<Endpoint>>>,
    /// Numbers in use, here and in the snapshot before.
    taken: HashSet<EndpointId>,
    next: EndpointId,
}

impl Endpoints {
    /// None yet, while those of another snapshot are still in use.
    pub fn after(before: &Self) -> Self {
        let taken = before.known.values().flatten().map(|endpoint| endpoint.id).collect();
        Self { known: HashMap::new(), taken, next: 0 }
    }

    /// The endpoint of an upstream: one that is here already, else the equal one of `before`, else a new one.
    pub fn endpoint(
        &mut self,
        before: &Self,
        address: &ServiceAddress,
        tls: Option<UpstreamTls>,
        proxy: Option<UpstreamProxy>,
    ) -> Arc<Endpoint> {
        let key = (address.scheme, address.host.clone(), address.port);
        let find = |known: &Self| {
            let mut here = known.known.get(&key)?.iter();
            here.find(|endpoint| endpoint.leads(tls.as_ref(), proxy.as_ref())).cloned()
        };
        if let Some(endpoint) = find(self) {
            return endpoint;
        }
        let endpoint = find(before).unwrap_or_else(|| {
            while !self.taken.insert(self.next) {
                self.next += 1;
            }
            let (id, (scheme, host, port)) = (self.next, key.clone());
            Arc::new(Endpoint { id, scheme, host, port, tls, proxy, trouble: Trouble::default() })
        });
        self.keep(&endpoint);
        endpoint
    }

    /// Goes on with an endpoint of before.
    pub fn keep(&mut self, endpoint: &Arc<Endpoint>) {
        let key = (endpoint.scheme, endpoint.host.clone(), endpoint.port);
        let here = self.known.entry(key).or_default();
        if !here.iter().any(|known| Arc::ptr_eq(known, endpoint)) {
            here.push(Arc::clone(endpoint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::Secret, outbound::ForwardProxy};

    fn address(port: u16) -> ServiceAddress {
        ServiceAddress {
            scheme: ServiceScheme::Http,
            host: "127.0.0.1".to_owned(),
            port,
            path: format!("/{port}"),
        }
    }

    #[test]
    fn equal_endpoints_are_one_and_stay_it_over_reloads() {
        let nothing = Endpoints::default();
        let mut first = Endpoints::after(&nothing);
        let endpoint = first.endpoint(&nothing, &address(9001), None, None);
        let mut elsewhere = address(9001);
        elsewhere.path = "/another".to_owned();
        assert!(Arc::ptr_eq(&endpoint, &first.endpoint(&nothing, &elsewhere, None, None)));
        assert_eq!(first.endpoint(&nothing, &address(9002), None, None).id, 1);
        let mut second = Endpoints::after(&first);
        assert_eq!(second.endpoint(&first, &address(9003), None, None).id, 2, "0 and 1 are in use");
        assert!(Arc::ptr_eq(&endpoint, &second.endpoint(&first, &address(9001), None, None)));
        let mut third = Endpoints::after(&second);
        assert_eq!(third.endpoint(&second, &address(9004), None, None).id, 1, "it has become free");
    }

    #[test]
    fn another_protocol_or_way_is_another_endpoint() {
        let through = |password: &str| {
            let proxy = ForwardProxy::new("proxy.test", 3128);
            let proxy = Arc::new(proxy.with_credentials("u", &Secret::new(password.to_owned())));
            Some(UpstreamProxy::new(&proxy, &address(9001), false))
        };
        let h2 = ServiceAddress { scheme: ServiceScheme::H2, ..address(9001) };
        let nothing = Endpoints::default();
        let mut endpoints = Endpoints::after(&nothing);
        let ids = [
            endpoints.endpoint(&nothing, &address(9001), None, None),
            endpoints.endpoint(&nothing, &h2, None, None),
            endpoints.endpoint(&nothing, &address(9001), None, through("a")),
            endpoints.endpoint(&nothing, &address(9001), None, through("b")),
            endpoints.endpoint(&nothing, &address(9001), None, through("a")),
        ]
        .map(|endpoint| endpoint.id);
        assert_eq!(ids, [0, 1, 2, 3, 2]);
    }
}
