//! New connections to upstreams: each address of a name is tried in turn.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use super::{http1::wire::Transport, resolver::Resolver};
use crate::{snapshot::UpstreamPlan, telemetry::metrics::ConnectFailure};

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    Resolve,
    Refused,
    Timeout,
    Tls,
}

impl From<ConnectError> for ConnectFailure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Resolve => Self::Dns,
            ConnectError::Refused => Self::Refused,
            ConnectError::Timeout => Self::Timeout,
            ConnectError::Tls => Self::Tls,
        }
    }
}

/// Connects to an upstream; `limit` is for each address.
///
/// # Errors
/// The reason that the last address gave. Details go to the log at level debug.
pub async fn connect(
    upstream: &UpstreamPlan,
    resolver: &Resolver,
    limit: Duration,
) -> Result<Transport, ConnectError> {
    let address = &upstream.address;
    let found = resolver.resolve(&address.host, address.port).await.map_err(|error| {
        tracing::debug!(upstream = %upstream.name, host = address.host, %error, "cannot resolve");
        ConnectError::Resolve
    })?;
    let mut outcome = Err(ConnectError::Resolve);
    for socket in found {
        outcome = match timeout(limit, connect_to(upstream, socket)).await {
            Ok(Ok(transport)) => return Ok(transport),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ConnectError::Timeout),
        };
    }
    outcome
}

async fn connect_to(upstream: &UpstreamPlan, socket: SocketAddr) -> Result<Transport, ConnectError> {
    let note = |error: &io::Error| {
        tracing::debug!(upstream = %upstream.name, %socket, %error, "cannot connect");
    };
    let stream = TcpStream::connect(socket).await.map_err(|error| {
        note(&error);
        ConnectError::Refused
    })?;
    // Requests are written whole; waiting to fill a segment would only add latency.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &upstream.tls else { return Ok(Transport::Tcp(stream)) };
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.config));
    let stream = connector.connect(tls.name.clone(), stream).await.map_err(|error| {
        note(&error);
        ConnectError::Tls
    })?;
    Ok(Transport::TlsClient(Box::new(stream)))
}
