//! New connections to upstreams: each address of a name is tried in turn.

use std::{fmt, net::SocketAddr, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::{http1::wire::Transport, resolver::Resolver};
use crate::{
    outbound::ProxyError,
    snapshot::{Speaks, UpstreamPlan},
    telemetry::metrics::ConnectFailure,
    tls::{Failure, Protocol, Reason},
};

/// A new connection.
pub struct Connected {
    pub transport: Transport,
    pub http2: bool,
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub enum ConnectError {
    Resolve,
    Refused,
    Timeout,
    Tls(Failure),
    /// There is a connection to the forward proxy, but none through it.
    Proxy(ProxyError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve => f.write_str("its name cannot be resolved"),
            Self::Refused => f.write_str("it cannot be reached"),
            Self::Timeout => f.write_str("it took too long"),
            Self::Tls(failure) => write!(f, "{}: {failure}", failure.reason.of_upstream()),
            Self::Proxy(error) => error.fmt(f),
        }
    }
}

impl From<&ConnectError> for ConnectFailure {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Resolve => Self::Dns,
            ConnectError::Refused => Self::Refused,
            ConnectError::Timeout => Self::Timeout,
            ConnectError::Tls(_) => Self::Tls,
            ConnectError::Proxy(_) => Self::Proxy,
        }
    }
}

/// Connects to an upstream, or to the forward proxy that leads there, for the request of this id; `limit` is for its
/// name and for each address. `http1`: whatever else it speaks, HTTP/1.1.
///
/// # Errors
/// The reason that the last address gave. Details go to the log at level debug.
pub async fn connect(
    upstream: &UpstreamPlan,
    resolver: &Resolver,
    limit: Duration,
    request_id: &str,
    http1: bool,
) -> Result<Connected, ConnectError> {
    let outcome = try_addresses(upstream, resolver, limit, request_id, http1).await;
    if let Some(via) = &upstream.endpoint.proxy {
        match &outcome {
            // Whatever is wrong there, the proxy let us through to it.
            Err(ConnectError::Tls(_)) => via.works(&upstream.name),
            Err(error) => via.failed(&upstream.name, error),
            Ok(_) if via.tunnel => via.works(&upstream.name),
            // Only its first answer tells.
            Ok(_) => {}
        }
    }
    outcome
}

async fn try_addresses(
    upstream: &UpstreamPlan,
    resolver: &Resolver,
    limit: Duration,
    request_id: &str,
    http1: bool,
) -> Result<Connected, ConnectError> {
    let (host, port) = match &upstream.endpoint.proxy {
        Some(via) => (&via.proxy.host, via.proxy.port),
        None => (&upstream.address.host, upstream.address.port),
    };
    let found =
        timeout(limit, resolver.resolve(host, port)).await.unwrap_or_else(|elapsed| Err(elapsed.into()));
    let found = found.map_err(|error| {
        tracing::debug!(request_id, upstream = %upstream.name, host, %error, "cannot resolve");
        ConnectError::Resolve
    })?;
    let mut outcome = Err(ConnectError::Resolve);
    for socket in found {
        outcome = connect_to(upstream, socket, Instant::now() + limit, request_id, http1).await;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

async fn connect_to(
    upstream: &UpstreamPlan,
    socket: SocketAddr,
    deadline: Instant,
    request_id: &str,
    http1: bool,
) -> Result<Connected, ConnectError> {
    let stream = timeout_at(deadline, reach(upstream, socket, request_id)).await;
    let stream = stream.unwrap_or(Err(ConnectError::Timeout))?;
    let Some(tls) = &upstream.endpoint.tls else {
        let http2 = upstream.endpoint.speaks() == Speaks::Http2;
        return Ok(Connected { transport: Transport::Tcp(stream), http2 });
    };
    let context = tls.http1.as_ref().filter(|_| http1).unwrap_or(&tls.context);
    let secured = timeout_at(deadline, context.connect(&tls.name, stream)).await;
    let secured = secured.unwrap_or_else(|_| Err(Failure::new(Reason::Timeout, "it took too long")));
    let connected = secured.map_err(|failure| {
        upstream.tls_failed(&failure);
        ConnectError::Tls(failure)
    })?;
    Ok(Connected {
        http2: connected.protocol == Some(Protocol::H2),
        transport: Transport::Tls(connected.stream),
    })
}

/// A connection to the socket, and through it to the upstream if it is the forward proxy's.
async fn reach(
    upstream: &UpstreamPlan,
    socket: SocketAddr,
    request_id: &str,
) -> Result<TcpStream, ConnectError> {
    let note = |error: &dyn fmt::Display| {
        tracing::debug!(request_id, upstream = %upstream.name, %socket, %error, "cannot connect");
    };
    let mut stream = TcpStream::connect(socket).await.map_err(|error| {
        note(&error);
        ConnectError::Refused
    })?;
    // Requests are written whole; waiting to fill a segment would only add latency.
    let _ = stream.set_nodelay(true);
    if let Some(via) = upstream.endpoint.proxy.as_ref().filter(|via| via.tunnel) {
        via.proxy.tunnel(&mut stream, &via.authority).await.map_err(ConnectError::Proxy)?;
    }
    Ok(stream)
}
