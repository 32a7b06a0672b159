//! New connections to upstreams: each address of a name is tried in turn.

use std::{fmt, net::SocketAddr, rc::Rc, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};

use super::{http1::wire::Transport, servers::Server};
use crate::{
    outbound::ProxyError,
    snapshot::{Speaks, UpstreamPlan},
    telemetry::metrics::ConnectFailure,
    tls::{Failure, OutboundContext, Protocol, Reason},
};

/// How much later the next address is tried as well, when the one before has not answered (RFC 8305 section 5). What
/// follows TCP takes its time.
const NEXT_AFTER: Duration = Duration::from_millis(250);
const NEXT_AFTER_HANDSHAKES: Duration = Duration::from_secs(1);

/// A new connection.
pub struct Connected {
    pub transport: Transport,
    pub http2: bool,
    pub server: Rc<Server>,
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

/// Connects to an upstream, or to the forward proxy that leads there, for the request of this id. The addresses are
/// tried in their order, the next one as soon as the one before has failed, or takes long; `limit` is for all of them.
///
/// # Errors
/// The reason that the last address gave. Details go to the log at level debug.
pub async fn connect(
    upstream: &UpstreamPlan,
    servers: &[Rc<Server>],
    context: Option<&OutboundContext>,
    limit: Duration,
    request_id: &str,
) -> Result<Connected, ConnectError> {
    let deadline = Instant::now() + limit;
    let attempt = async |server: Rc<Server>| {
        let outcome = connect_to(upstream, server.address, context, deadline, request_id).await;
        (server, outcome)
    };
    match servers {
        // Most names have one.
        [server] => settled(attempt(Rc::clone(server)).await),
        servers => {
            // All of them have their chance.
            let next_after = next_after(upstream).min(limit / (2 * servers.len() as u32).max(1));
            first_of(servers, next_after, deadline, attempt).await
        }
    }
}

fn next_after(upstream: &UpstreamPlan) -> Duration {
    let endpoint = &upstream.endpoint;
    let tunnel = endpoint.proxy.as_ref().is_some_and(|via| via.tunnel);
    if endpoint.tls.is_some() || tunnel { NEXT_AFTER_HANDSHAKES } else { NEXT_AFTER }
}

/// Notes what a connection, or none, says of the upstream, or of the forward proxy on the way.
pub fn judge(upstream: &UpstreamPlan, error: Option<&ConnectError>) {
    let Some(via) = &upstream.endpoint.proxy else {
        let before_tls = error.filter(|error| !matches!(error, ConnectError::Tls(_)));
        return upstream.reached(before_tls.map(|error| error as &dyn fmt::Display));
    };
    match error {
        // Whatever is wrong there, the proxy let us through to it.
        Some(ConnectError::Tls(_)) => via.works(&upstream.name),
        Some(error) => via.failed(&upstream.name, error),
        None if via.tunnel => via.works(&upstream.name),
        // Only its first answer tells.
        None => {}
    }
}

/// What a server gave, or did not.
type Attempt = (Rc<Server>, Result<(Transport, bool), ConnectError>);

/// The server is judged by it.
fn settled((server, outcome): Attempt) -> Result<Connected, ConnectError> {
    match &outcome {
        Ok(_) => server.works(),
        Err(_) => server.failed(),
    }
    outcome.map(|(transport, http2)| Connected { transport, http2, server })
}

/// The first connection that one of several gives.
async fn first_of<F: Future<Output = Attempt>>(
    servers: &[Rc<Server>],
    next_after: Duration,
    deadline: Instant,
    attempt: impl Fn(Rc<Server>) -> F,
) -> Result<Connected, ConnectError> {
    let mut outcome = Err(ConnectError::Resolve);
    let mut left = servers.iter().enumerate();
    let mut attempts = FuturesUnordered::new();
    let mut under_way = Vec::new();
    loop {
        if Instant::now() < deadline
            && let Some((at, server)) = left.next()
        {
            attempts.push(attempt(Rc::clone(server)).map(move |ended| (at, ended)));
            under_way.push(at);
        }
        tokio::select! {
            ended = attempts.next() => {
                let Some((at, ended)) = ended else { return outcome };
                under_way.retain(|other| *other != at);
                outcome = settled(ended);
                if outcome.is_ok() {
                    // Those that began earlier are too slow, if they answer at all.
                    under_way.iter().filter(|other| **other < at).for_each(|other| servers[*other].failed());
                    return outcome;
                }
            }
            () = sleep(next_after), if left.len() > 0 => {}
        }
    }
}

async fn connect_to(
    upstream: &UpstreamPlan,
    socket: SocketAddr,
    context: Option<&OutboundContext>,
    deadline: Instant,
    request_id: &str,
) -> Result<(Transport, bool), ConnectError> {
    let reached = async || {
        let stream = timeout_at(deadline, reach(upstream, socket, request_id)).await;
        stream.unwrap_or(Err(ConnectError::Timeout))
    };
    let stream = reached().await?;
    let (Some(tls), Some(context)) = (&upstream.endpoint.tls, context) else {
        return Ok((Transport::Tcp(stream), upstream.endpoint.speaks() == Speaks::Http2));
    };
    let secure = async |stream| {
        let secured = timeout_at(deadline, context.connect(&tls.name, stream)).await;
        secured.unwrap_or_else(|_| Err(Failure::new(Reason::Timeout, "it took too long")))
    };
    let mut secured = secure(stream).await;
    if secured.as_ref().is_err_and(|failure| failure.is_of_session) {
        secured = secure(reached().await?).await;
    }
    let connected = secured.map_err(|failure| {
        upstream.tls_failed(&failure);
        ConnectError::Tls(failure)
    })?;
    Ok((Transport::Tls(connected.stream), connected.protocol == Some(Protocol::H2)))
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
