//! Accepts connections of one address on one worker.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::{
    handshake::{Secured, secure},
    http1::{server::serve_connection, wire::ReadBuffer},
    http2, proxy_protocol,
    worker::Worker,
};
use crate::{
    base::Seldom,
    http::{Peer, Scheme},
    telemetry::metrics::ConnectionRefusal,
    tls::InboundContext,
};

/// An address that this worker accepts on.
pub struct Listener {
    pub address: SocketAddr,
    /// The TLS context that its port had last; `Some(None)`: plain text.
    pub context: RefCell<Option<Option<Arc<InboundContext>>>>,
    draining: Cell<bool>,
    closed: Cell<bool>,
    stop: Notify,
}

impl Listener {
    pub fn new(address: SocketAddr) -> Rc<Self> {
        Rc::new(Self {
            address,
            context: RefCell::default(),
            draining: Cell::new(false),
            closed: Cell::new(false),
            stop: Notify::new(),
        })
    }

    /// Stops accepting; each response from now on closes its connection.
    pub fn drain(&self) {
        self.draining.set(true);
        self.stop.notify_one();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Ends what idles.
    pub fn close(&self) {
        self.closed.set(true);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }
}

/// How long to wait when there are no file descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Said once a minute: every listener of every worker finds out again and again, for as long as it lasts.
static EXHAUSTED: Seldom = Seldom::new(Duration::from_secs(60));

/// Connections that are accepted after the end, which must come: as many as a queue can hold by default
/// (`net.core.somaxconn`).
const QUEUED_MAX: usize = 4096;

/// Accepts until the listener drains; what the kernel had queued by then is still accepted.
pub async fn accept(worker: Rc<Worker>, listener: Rc<Listener>, socket: TcpListener) {
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = listener.stop.notified() => return accept_queued(&worker, &listener, socket),
        };
        match accepted {
            Ok((stream, remote)) => begin(&worker, &listener, stream, remote),
            // The client was faster gone than it was accepted: the next one is not to wait for that.
            Err(error) if is_of_connection(&error) => {}
            // Running out of descriptors or of memory.
            Err(error) => {
                if EXHAUSTED.is_due(Instant::now()) {
                    tracing::warn!(address = %listener.address, %error, "cannot accept");
                }
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Accepts what is in the kernel's queue, before the socket closes and resets it. The kernel is asked: the
/// runtime may not have been told of the latest yet.
fn accept_queued(worker: &Rc<Worker>, listener: &Rc<Listener>, socket: TcpListener) {
    let Ok(socket) = socket.into_std() else { return };
    for _ in 0..QUEUED_MAX {
        match socket.accept() {
            Ok((stream, remote)) => {
                let ready = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = ready {
                    begin(worker, listener, stream, remote);
                }
            }
            Err(error) if is_of_connection(&error) => {}
            Err(_) => return,
        }
    }
}

/// Whether an error of `accept` concerns the one connection that would have been accepted (accept(2)).
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, PermissionDenied, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | PermissionDenied
            | TimedOut
    )
}

fn begin(worker: &Rc<Worker>, listener: &Rc<Listener>, mut stream: TcpStream, remote: SocketAddr) {
    let local = match listener.address.ip().is_unspecified() {
        // Bound to one address: asking which would be a system call for each connection.
        false => listener.address,
        true => match stream.local_addr() {
            Ok(local) => local,
            Err(_) => return,
        },
    };
    let Some(slot) = worker.connection_slot() else {
        worker.metrics.connection_refused(ConnectionRefusal::Limit);
        return turn_away(worker, listener, &stream);
    };
    let (worker, listener) = (Rc::clone(worker), Rc::clone(listener));
    actix_rt::spawn(async move {
        let _slot = slot;
        let remote = match client_address(&worker, &mut stream, remote).await {
            Ok(remote) => remote,
            Err(refusal) => return worker.metrics.connection_refused(refusal),
        };
        let Some(Secured { transport, tls }) = secure(&worker, &listener, stream, remote).await else {
            return;
        };
        let Some(tls) = tls else {
            let peer = Peer::new(remote, local, Scheme::Http);
            return serve_connection(&worker, transport, peer, listener).await;
        };
        let peer = Peer::new(remote, local, Scheme::Https).secured(tls.trust, tls.certificate);
        if tls.http2 {
            let input = ReadBuffer::default();
            // Boxed: connections that speak HTTP/1.1 need not be large enough for it.
            let serving = http2::server::serve_connection(&worker, transport, input, Rc::new(peer), listener);
            return Box::pin(serving).await;
        }
        serve_connection(&worker, transport, peer, listener).await;
    });
}

/// Tells a client that there are too many, if that costs nothing: no task, no waiting, no TLS.
fn turn_away(worker: &Worker, listener: &Listener, stream: &TcpStream) {
    const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\
        connection: close\r\n\r\n";
    if worker.pins.pin().tls.contains_key(&listener.address.port()) {
        return;
    }
    let _ = stream.try_write(TOO_MANY);
    // A request that is there already and stays unread would turn the close into a reset.
    let _ = stream.try_read(&mut [0; 4096]);
}

/// Who the client is: the peer, or whom a PROXY header names, which comes before TLS and HTTP
/// (decision 21). Probes and the admin API have listeners of their own and expect none.
async fn client_address(
    worker: &Worker,
    stream: &mut TcpStream,
    peer: SocketAddr,
) -> Result<SocketAddr, ConnectionRefusal> {
    let (expected, deadline) = {
        let snapshot = worker.pins.pin();
        let engine = &snapshot.engine;
        if engine.proxy_protocol && !engine.may_send_proxy_header(peer.ip().to_canonical()) {
            return Err(ConnectionRefusal::ProxyHeaderUntrusted);
        }
        (engine.proxy_protocol, engine.head_timeout)
    };
    if expected { proxy_protocol::receive(stream, peer, deadline).await } else { Ok(peer) }
}
