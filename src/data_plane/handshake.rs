//! TLS towards clients: the context of the port as the current snapshot has it (configuration
//! reference 6.2).

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, ErrorKind},
    net::{Shutdown, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{sleep, timeout},
};

use super::{acceptor::Listener, http1::wire::Transport, worker::Worker};
use crate::{
    base::Digest,
    http::{ClientCertificate, Peer},
    snapshot::Snapshot,
    tls::{
        Failure, InboundContext, Protocol, Reason, hello,
        inbound::{Proven, Refused},
        x509::{self, Facts},
    },
};

/// A new address is open a moment before the snapshot that serves it is published.
const UNPUBLISHED_MAX: Duration = Duration::from_secs(1);
const UNPUBLISHED_PAUSE: Duration = Duration::from_millis(2);

/// How long, and how much, is read from a client that was refused.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// A connection that requests can be read from.
pub struct Secured {
    pub transport: Transport,
    /// TLS, and what the client proved with it.
    pub tls: Option<ClientTls>,
}

/// What a handshake settled.
pub struct ClientTls {
    /// The client has chosen HTTP/2.
    pub http2: bool,
    /// Of the context that it was made with.
    pub trust: Digest,
    pub certificate: Option<ClientCertificate>,
}

/// What a connection is to what its port asks of new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    AsNew,
    /// TLS was switched on or off since, or other clients are trusted: what it asks is answered, and then it ends.
    Outdated,
    /// A certificate is required since, and it has none: it is served no more.
    Unproven,
}

/// Looks at a connection with the eyes of the configuration in force.
pub fn standing(snapshot: &Snapshot, peer: &Peer) -> Standing {
    let context = snapshot.tls.get(&peer.local.port());
    match (context, peer.trust) {
        (None, None) => Standing::AsNew,
        (Some(context), Some(trust)) if context.trust == trust => Standing::AsNew,
        (Some(context), _) if context.requires_certificate() && peer.certificate.is_none() => {
            Standing::Unproven
        }
        _ => Standing::Outdated,
    }
}

/// Secures a new connection if its port has TLS; `None` if that fails, which is counted.
pub async fn secure(
    worker: &Worker,
    listener: &Listener,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Secured> {
    let Some(context) = context(worker, listener).await? else {
        return Some(Secured { transport: Transport::Tcp(stream), tls: None });
    };
    let limit = worker.pins.pin().engine.tls_handshake_timeout;
    // On the heap, so that a plain connection does not carry the room for a handshake for life.
    let outcome = timeout(limit, Box::pin(handshake(worker, listener, context, stream))).await;
    let Refused { failure, stream } = match outcome {
        Ok(Ok((secured, resumed))) => {
            worker.metrics.tls_handshake(resumed);
            return Some(secured);
        }
        Ok(Err(refused)) => refused,
        Err(_) => Failure::new(Reason::Timeout, "it took too long").into(),
    };
    let reason = failure.reason.of_client();
    tracing::debug!(%peer, address = %listener.address, reason, %failure, "TLS handshake failed");
    worker.metrics.tls_handshake_failed(reason);
    if let Some(stream) = stream {
        linger(stream.socket()).await;
    }
    None
}

/// Ends this side, then reads on for a moment: a client that has sent its request behind a certificate that is refused (RFC 8446
/// section 4.4.2.4) would lose the alert to a reset.
async fn linger(socket: &TcpStream) {
    let read_on = async {
        SockRef::from(socket).shutdown(Shutdown::Write)?;
        let mut scratch = [0; 4096];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            socket.readable().await?;
            match socket.try_read(&mut scratch) {
                Ok(0) => break,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        io::Result::Ok(())
    };
    // Whoever does not listen is not waited for.
    let _ = timeout(LINGER, read_on).await;
}

async fn handshake(
    worker: &Worker,
    listener: &Listener,
    context: Arc<InboundContext>,
    stream: TcpStream,
) -> Result<(Secured, bool), Refused> {
    // A client that only connects costs no cryptography and takes no place.
    let client = hello::collect(stream).await.map_err(|error| Failure::of_io(&error))?;
    let place = worker.handshakes.begin();
    // A client may take its time to say hello: what is in force now decides.
    let current = worker.pins.pin().tls.get(&listener.address.port()).cloned();
    let context = current.unwrap_or(context);
    let accepted = tokio::select! {
        biased;
        accepted = context.accept(client) => accepted?,
        () = place.given_up() => return Err(Failure::new(Reason::Overload, "later clients needed its place").into()),
    };
    let certificate = accepted.client.map(client_certificate).transpose()?;
    let http2 = accepted.protocol == Some(Protocol::H2);
    let tls = ClientTls { http2, trust: context.trust, certificate };
    Ok((Secured { transport: Transport::Tls(accepted.stream), tls: Some(tls) }, accepted.resumed))
}

/// What a verified certificate says of its owner.
fn client_certificate(proven: Proven) -> Result<ClientCertificate, Failure> {
    let Proven { certificate, presented_uris } = proven;
    let Some(Facts { subject, uris, dns_names, addresses, emails, .. }) = x509::read(&certificate) else {
        return Err(Failure::new(Reason::CertificateRefused, "the certificate is malformed"));
    };
    let fingerprint = x509::fingerprint(&certificate);
    Ok(ClientCertificate { subject, uris, dns_names, addresses, emails, fingerprint, presented_uris })
}

/// Places for handshakes under way. Who comes when there is none takes the oldest one's: a client that does not go on
/// keeps nobody out.
pub struct Handshakes {
    places_max: usize,
    /// The oldest first.
    under_way: RefCell<VecDeque<Rc<Notify>>>,
}

impl Handshakes {
    pub fn new(places_max: usize) -> Self {
        Self { places_max, under_way: RefCell::default() }
    }

    fn begin(&self) -> Place<'_> {
        let mut under_way = self.under_way.borrow_mut();
        if under_way.len() >= self.places_max
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.notify_one();
        }
        let told = Rc::new(Notify::new());
        under_way.push_back(Rc::clone(&told));
        Place { handshakes: self, told }
    }
}

struct Place<'h> {
    handshakes: &'h Handshakes,
    told: Rc<Notify>,
}

impl Place<'_> {
    /// Waits until another handshake has taken it.
    async fn given_up(&self) {
        self.told.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut under_way = self.handshakes.under_way.borrow_mut();
        // Most end in the order in which they began.
        if let Some(at) = under_way.iter().position(|told| Rc::ptr_eq(told, &self.told)) {
            under_way.remove(at);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        let proven = Proven { certificate: b"none".to_vec(), presented_uris: Vec::new() };
        assert_eq!(client_certificate(proven).unwrap_err().reason, Reason::CertificateRefused);
    }

    #[test]
    fn a_handshake_that_finds_no_place_takes_that_of_the_oldest() {
        let handshakes = Handshakes::new(2);
        let gone = |place: &Place<'_>| {
            let mut given_up = std::pin::pin!(place.given_up());
            given_up.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        let (first, second) = (handshakes.begin(), handshakes.begin());
        assert!(!gone(&first) && !gone(&second));
        let third = handshakes.begin();
        assert!(gone(&first) && !gone(&second) && !gone(&third));
        drop(second);
        let fourth = handshakes.begin();
        assert!(!gone(&third) && !gone(&fourth), "there was a place");
        drop((first, third, fourth));
        assert!(handshakes.under_way.borrow().is_empty());
    }
}
