//! Accepts connections of one address on one worker.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::{handshake::secure, http1::server::serve_connection, proxy_protocol, worker::Worker};
use crate::{http::Peer, telemetry::metrics::ConnectionRefusal};

/// An address that this worker accepts on.
pub struct Listener {
    pub address: SocketAddr,
    draining: Cell<bool>,
    closed: Cell<bool>,
    stop: Notify,
}

impl Listener {
    pub fn new(address: SocketAddr) -> Rc<Self> {
        Rc::new(Self { address, draining: Cell::new(false), closed: Cell::new(false), stop: Notify::new() })
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

/// Accepts until the listener drains; what the kernel had queued by then is still accepted.
pub async fn accept(worker: Rc<Worker>, listener: Rc<Listener>, socket: TcpListener) {
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = listener.stop.notified() => return,
        };
        match accepted {
            Ok((stream, remote)) => begin(&worker, &listener, stream, remote),
            Err(error) => {
                // The connection that failed is gone; running out of descriptors is not its fault.
                tracing::warn!(address = %listener.address, %error, "cannot accept");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

fn begin(worker: &Rc<Worker>, listener: &Rc<Listener>, mut stream: TcpStream, remote: SocketAddr) {
    let Ok(local) = stream.local_addr() else { return };
    let Some(slot) = worker.connection_slot() else {
        worker.metrics.connection_refused(ConnectionRefusal::Limit);
        return;
    };
    let _ = stream.set_nodelay(true);
    let (worker, listener) = (Rc::clone(worker), Rc::clone(listener));
    actix_rt::spawn(async move {
        let _slot = slot;
        let remote = match client_address(&worker, &mut stream, remote).await {
            Ok(remote) => remote,
            Err(refusal) => return worker.metrics.connection_refused(refusal),
        };
        let Some((transport, scheme)) = secure(&worker, &listener, stream, remote).await else { return };
        let peer = Peer::new(remote, local, scheme);
        serve_connection(&worker, transport, peer, listener).await;
    });
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
