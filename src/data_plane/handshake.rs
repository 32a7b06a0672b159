//! TLS towards clients: the context of the port as the current snapshot has it (configuration
//! reference 6.2).

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{Error, HandshakeKind, PeerIncompatible, server::Acceptor};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{acceptor::Listener, http1::wire::Transport, worker::Worker};
use crate::{http::Scheme, tls::InboundContext};

/// A new address is open a moment before the snapshot that serves it is published.
const UNPUBLISHED_MAX: Duration = Duration::from_secs(1);
const UNPUBLISHED_PAUSE: Duration = Duration::from_millis(2);

/// Secures a new connection if its port has TLS; `None` if that fails, which is counted.
pub async fn secure(
    worker: &Worker,
    listener: &Listener,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Transport, Scheme)> {
    let Some(context) = context(worker, listener).await? else {
        return Some((Transport::Tcp(stream), Scheme::Http));
    };
    let limit = worker.pins.pin().engine.tls_handshake_timeout;
    // On the heap, so that a plain connection does not carry the room for a handshake for life.
    let outcome = timeout(limit, Box::pin(handshake(worker, listener, context, stream))).await;
    let failure = match outcome {
        Ok(Ok(stream)) => {
            let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            worker.metrics.tls_handshake(resumed);
            return Some((Transport::TlsServer(stream), Scheme::Https));
        }
        Ok(Err(error)) => {
            let reason = reason(&error);
            tracing::debug!(%peer, address = %listener.address, reason, %error, "TLS handshake failed");
            reason
        }
        Err(_) => {
            tracing::debug!(%peer, address = %listener.address, "TLS handshake took too long");
            "timeout"
        }
    };
    worker.metrics.tls_handshake_failed(failure);
    None
}

async fn handshake(
    worker: &Worker,
    listener: &Listener,
    context: Arc<InboundContext>,
    stream: TcpStream,
) -> io::Result<Box<TlsStream<TcpStream>>> {
    // Collects bytes up to a complete ClientHello (64 KiB at most, rustls' own limit); a client that
    // only connects costs no cryptography and takes no place.
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let _place = worker.handshakes.acquire().await.map_err(io::Error::other)?;
    // A client may take its time to say hello: what is in force now decides.
    let current = worker.pins.pin().tls.get(&listener.address.port()).cloned();
    let config = Arc::clone(&current.unwrap_or(context).config);
    hello.into_stream(config).await.map(Box::new)
}

/// The context of the listener's port, `Some(None)` for plain text; `None` if nothing serves it.
async fn context(worker: &Worker, listener: &Listener) -> Option<Option<Arc<InboundContext>>> {
    let port = listener.address.port();
    let started = Instant::now();
    loop {
        {
            let snapshot = worker.pins.pin();
            if snapshot.ports.contains_key(&port) {
                let context = snapshot.tls.get(&port).cloned();
                listener.context.replace(Some(context.clone()));
                return Some(context);
            }
            // The port is gone: what it spoke to the end is spoken with those who come last.
            if listener.is_draining() {
                return listener.context.borrow().clone();
            }
        }
        if started.elapsed() > UNPUBLISHED_MAX {
            return None;
        }
        sleep(UNPUBLISHED_PAUSE).await;
    }
}

/// The label of a failure: a fixed word, nothing that the peer sent.
fn reason(error: &io::Error) -> &'static str {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else {
        return "closed";
    };
    match error {
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // Clients of TLS 1.1 and below do not send it, and it is missed before their version is.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "no_common_version",
        Error::PeerIncompatible(_) => "no_common_cipher",
        Error::NoApplicationProtocol => "no_common_protocol",
        Error::NoCertificatesPresented => "client_certificate_missing",
        Error::InvalidCertificate(_) => "client_certificate_refused",
        Error::AlertReceived(_) => "refused_by_client",
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::DecryptError
        | Error::PeerSentOversizedRecord => "malformed",
        _ => "unexpected",
    }
}
