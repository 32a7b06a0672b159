//! One request: forwarded headers, the API instance, its chain, the route, the upstream's chain.

use std::{borrow::Cow, net::IpAddr, rc::Rc, sync::Arc};

use super::{client_side::ClientSide, envoy, forward::Forward, worker::Worker};
use crate::{
    http::{Headers, Request, Response, Span, path::is_normal_piece},
    policy::{Exchange, Handling, Rejection, Terminal},
    settings::ClientCertDetails,
    snapshot::{DestinationPlan, EngineSettings, InstancePlan, Snapshot, UpstreamPlan},
};

/// Finds the instance that serves a request (configuration reference 4.3) and readies the request
/// for its chain.
pub fn find<'s>(snapshot: &'s Snapshot, request: &mut Request) -> Option<&'s Arc<InstancePlan>> {
    let local = request.peer.local;
    let matched = snapshot.ports.get(&local.port())?.find(request.path(), local.ip().to_canonical())?;
    if matched.slash_missing {
        if !snapshot.engine.base_path_canonicalizer {
            return None;
        }
        let slashed = format!("{}/", request.path());
        request.path = request.headers.push_text(slashed.as_bytes());
    }
    Some(matched.instance)
}

/// Runs the chain of an instance. `None`: nobody serves the path, so no policy runs (4.4).
pub async fn serve(
    worker: &Worker,
    snapshot: &Snapshot,
    instance: Option<&Arc<InstancePlan>>,
    mut request: Request,
    exchange: &Exchange,
    client: &dyn ClientSide,
) -> Response {
    let engine = &snapshot.engine;
    let forward = Forward { worker, engine, client };
    let Some(instance) = instance else {
        worker.metrics.request_refused("no_instance");
        return worker.no_policies.run(request, exchange, &Refuse(no_instance)).await;
    };
    if instance.blocked.is_some() {
        return worker.no_policies.run(request, exchange, &Refuse(blocked)).await;
    }
    set_forwarded(&mut request, engine, exchange.request_id());
    exchange.set_base_path_bytes(instance.base_path.len());
    let router = RouteTerminal { instance, forward };
    instance.chain.run(request, exchange, &router).await
}

/// Answers what is too much to be served: no policy runs, so that it costs next to nothing.
pub async fn refuse_overload(worker: &Worker, request: Request, exchange: &Exchange) -> Response {
    worker.no_policies.run(request, exchange, &Refuse(overload)).await
}

fn no_instance() -> Rejection {
    Rejection::empty(404, "no_instance")
}

fn blocked() -> Rejection {
    Rejection::text(503, "blocked", "Service Unavailable")
}

fn overload() -> Rejection {
    Rejection::json(503, "overload", "Service Unavailable").header("retry-after", "1")
}

/// Answers in place of an instance.
struct Refuse(fn() -> Rejection);

impl Terminal for Refuse {
    fn finish<'a>(&'a self, _: Request, _: &'a Exchange) -> Handling<'a> {
        Handling::refuse(self.0())
    }
}

/// The end of the inbound chain: the first route with a rule that holds (4.4), its path (4.5), one
/// of its upstreams (4.6).
struct RouteTerminal<'s> {
    instance: &'s InstancePlan,
    forward: Forward<'s>,
}

impl Terminal for RouteTerminal<'_> {
    fn finish<'a>(&'a self, mut request: Request, exchange: &'a Exchange) -> Handling<'a> {
        let destination = match self.route(&mut request, exchange) {
            Ok(destination) => destination,
            Err(rejection) => return Handling::refuse(rejection),
        };
        let Some(upstream) = &destination.upstream else {
            let cause = "the route names a Service that does not exist";
            return Handling::refuse(Rejection::text(503, "no_service", "Service Unavailable").log(cause));
        };
        // A client of HTTP/1.0 may name no host.
        let rewritten = self.forward.engine.rewrite_host && !request.authority.is_empty();
        if rewritten && !request.headers.contains("x-forwarded-host") {
            request.headers.push_field_of("x-forwarded-host", request.authority);
        }
        // Outbound rules look at methods and headers; the path is the upstream's from here on.
        exchange.set_base_path_bytes(0);
        if upstream.chain.steps().is_empty() {
            return Handling::wait(self.forward.send(request, upstream, exchange));
        }
        Handling::wait(async move {
            let forward = ForwardTerminal { forward: &self.forward, upstream };
            Ok(upstream.chain.run(request, exchange, &forward).await)
        })
    }
}

impl RouteTerminal<'_> {
    /// Chooses a destination and rewrites the path.
    fn route(&self, request: &mut Request, exchange: &Exchange) -> Result<&DestinationPlan, Rejection> {
        let no_route = || Rejection::empty(404, "no_route");
        let path = exchange.relative_path(request);
        let mut routes = self.instance.routes.iter();
        let found = routes.find_map(|route| route.rules.kept_path(path, request).map(|kept| (route, kept)));
        let (route, kept) = found.ok_or_else(no_route)?;
        let draw = if route.destinations.len() > 1 { fastrand::u32(..route.weight_total) } else { 0 };
        let destination = route.destination(draw).ok_or_else(no_route)?;
        let whole = request.headers.bytes(request.path);
        if destination.prefix.is_empty() && kept.as_bytes() == whole && !kept.is_empty() {
            return Ok(destination);
        }
        // Who asks the whole server is not answered by a part of it.
        if request.whole_server {
            return Err(no_route());
        }
        // Groups cut anywhere: the upstream would read another path than the rules did (decision 1).
        if !is_normal_piece(kept.as_bytes()) {
            return Err(Rejection::json(400, "rewritten_path", "Bad Request"));
        }
        let before = seam(&destination.prefix, &kept);
        let path = match kept {
            Cow::Borrowed("") => request.headers.push_joined(before, Span::default()),
            // A piece of the path, which lies in the text already.
            Cow::Borrowed(kept) => {
                let offset = kept.as_ptr().addr() - whole.as_ptr().addr();
                let piece = Headers::sub_span(request.path, offset, kept.len());
                request.headers.push_joined(before, piece)
            }
            Cow::Owned(kept) => request.headers.push_text([before[0], before[1], &kept].concat().as_bytes()),
        };
        envoy::rewriting(request, self.forward.engine);
        request.path = path;
        Ok(destination)
    }
}

/// What stands before `T` in `join(D, T)` of 4.5: exactly one slash at the seam; an empty result is `/`.
fn seam<'p>(prefix: &'p str, kept: &str) -> [&'p str; 2] {
    let prefix = prefix.trim_end_matches('/');
    let whole = kept.starts_with('/') || kept.is_empty() && !prefix.is_empty();
    [prefix, if whole { "" } else { "/" }]
}

struct ForwardTerminal<'s> {
    forward: &'s Forward<'s>,
    upstream: &'s Arc<UpstreamPlan>,
}

impl Terminal for ForwardTerminal<'_> {
    fn finish<'a>(&'a self, request: Request, exchange: &'a Exchange) -> Handling<'a> {
        Handling::wait(self.forward.send(request, self.upstream, exchange))
    }
}

/// Forwarded headers, set before the inbound chain (decision 2): one pass over the fields, then the
/// gateway's own behind them.
fn set_forwarded(request: &mut Request, engine: &EngineSettings, request_id: &str) {
    let peer = Rc::clone(&request.peer);
    let from_proxy = engine.trusts(peer.remote.ip().to_canonical());
    let headers = &mut request.headers;
    envoy::from_client(headers, engine, from_proxy);
    let mut before = None;
    let mut proto_known = false;
    let mut id_known = false;
    if headers.names().any(|name| Forwarded::of(name).is_some()) {
        if engine.trusted_proxies.is_empty() || from_proxy {
            before = headers.joined("x-forwarded-for").map(|hops| trusted_hops(&hops, engine));
        }
        headers.retain(|name, value| match Forwarded::of(name.as_bytes()) {
            None => true,
            Some(Forwarded::For) => false,
            Some(Forwarded::Proto) => {
                proto_known |= from_proxy;
                from_proxy
            }
            Some(Forwarded::Host) => from_proxy,
            Some(Forwarded::RequestId) => {
                let keep = !id_known && value == request_id.as_bytes();
                id_known |= keep;
                keep
            }
            Some(Forwarded::ClientCert) => match engine.client_cert {
                ClientCertDetails::AlwaysForwardOnly => true,
                // Only a TLS connection can prove a client certificate.
                ClientCertDetails::ForwardOnly | ClientCertDetails::AppendForward => {
                    peer.certificate.is_some()
                }
                ClientCertDetails::Sanitize | ClientCertDetails::SanitizeSet => false,
            },
        });
    }
    if let Some(certificate) = &peer.certificate
        && matches!(engine.client_cert, ClientCertDetails::AppendForward | ClientCertDetails::SanitizeSet)
    {
        let before = headers.joined("x-forwarded-client-cert").filter(|before| !before.is_empty());
        let element = certificate.forwarded();
        let all = before.map_or(element.clone(), |before| format!("{before},{element}"));
        headers.replace_field("x-forwarded-client-cert", all.as_bytes());
    }
    let field = headers.append_with("x-forwarded-for", |text| {
        if let Some(hops) = before.filter(|hops| !hops.is_empty()) {
            text.extend_from_slice(hops.as_bytes());
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(peer.address().as_bytes());
    });
    debug_assert!(field.is_ok(), "addresses are made of visible characters");
    if !proto_known {
        headers.push_field("x-forwarded-proto", peer.scheme.as_str().as_bytes());
    }
    if !id_known {
        headers.push_field("x-request-id", request_id.as_bytes());
    }
}

/// The fields that decision 2 speaks of, and the one of 4.7.
enum Forwarded {
    For,
    Proto,
    Host,
    RequestId,
    ClientCert,
}

impl Forwarded {
    fn of(name: &[u8]) -> Option<Self> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            12 if is("x-request-id") => Some(Self::RequestId),
            15 if is("x-forwarded-for") => Some(Self::For),
            16 if is("x-forwarded-host") => Some(Self::Host),
            17 if is("x-forwarded-proto") => Some(Self::Proto),
            // Only a TLS connection can prove a client certificate (4.7).
            23 if is("x-forwarded-client-cert") => Some(Self::ClientCert),
            _ => None,
        }
    }
}

/// The hops of `x-forwarded-for` that trusted proxies vouch for; all of them when no proxy is
/// declared. What an untrusted hop claims is cut off.
fn trusted_hops(hops: &str, engine: &EngineSettings) -> String {
    if engine.trusted_proxies.is_empty() {
        return hops.to_owned();
    }
    let mut kept: Vec<&str> = Vec::new();
    for hop in hops.rsplit(',').map(str::trim) {
        kept.push(hop);
        let trusted = hop.parse::<IpAddr>().is_ok_and(|ip| engine.trusts(ip.to_canonical()));
        if !trusted {
            break;
        }
    }
    kept.reverse();
    kept.join(", ")
}

#[cfg(test)]
mod tests;
