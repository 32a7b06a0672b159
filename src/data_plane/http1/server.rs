//! The client's side: reads heads, serves them in order, sends the responses.
//!
//! | module | what it does |
//! | --- | --- |
//! | `heads` | waits for a request and reads its head |
//! | `answer` | one request, from its head to its outcome |
//! | `body` | the body of that request, as policies and the upstream read it |
//! | `interim` | interim responses, `100 (Continue)` among them |
//! | `send` | sends the final response |
//! | `upgrade` | from a 101 to a tunnel |
//! | `closing` | ends the connection so that the client gets what was sent |

mod answer;
mod body;
mod closing;
mod heads;
mod interim;
mod send;
mod upgrade;

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
};

use heads::Arrival;
use interim::Interims;

use super::{
    head::asked,
    tunnel::Upgraded,
    wire::{Transport, Wire},
};
use crate::{
    data_plane::{acceptor::Listener, client_side::Tally, http2, timers::Watch, worker::Worker},
    http::Peer,
    snapshot::Snapshot,
};

/// A connection from a client.
pub struct ServerConnection {
    wire: RefCell<Wire>,
    watch: Rc<Watch>,
    peer: Rc<Peer>,
    listener: Rc<Listener>,
    /// Most bytes that the body of the request in progress may have.
    body_bytes_max: Cell<Option<u64>>,
    /// Its framing is wrong: where the next request would begin is not known.
    body_is_broken: Cell<bool>,
    tally: Tally,
    interims: Interims,
    /// Nothing has been read from it.
    is_new: Cell<bool>,
    /// The empty line that there may be before a request has come.
    has_blank_line: Cell<bool>,
    /// The upstream's end of a tunnel, until the 101 has passed back through the chain.
    upgraded: RefCell<Option<Upgraded>>,
}

/// What follows a response.
enum After {
    NextRequest,
    Tunnel(Upgraded),
    Close,
    /// The response broke off, and its end is the end of the connection: only a reset tells the
    /// client that something is missing.
    Reset,
    /// The client may still be sending.
    Linger,
    /// The client speaks HTTP/2.
    Http2,
}

/// Serves a connection until it closes. Counting it is the caller's.
pub async fn serve_connection(worker: &Worker, transport: Transport, peer: Peer, listener: Rc<Listener>) {
    let connection = Rc::new(ServerConnection {
        wire: RefCell::new(Wire::new(transport)),
        watch: worker.timers.watch(),
        peer: Rc::new(peer),
        listener,
        body_bytes_max: Cell::default(),
        body_is_broken: Cell::default(),
        tally: Tally::default(),
        interims: Interims::default(),
        is_new: Cell::new(true),
        has_blank_line: Cell::new(false),
        upgraded: RefCell::default(),
    });
    let speaks_http2 = {
        let mut run = pin!(connection.run(worker));
        // One task polls everything of this connection, so one waker serves all its deadlines.
        poll_fn(|cx| {
            connection.watch.register(cx);
            run.as_mut().poll(cx)
        })
        .await
    };
    if speaks_http2 && let Some(connection) = Rc::into_inner(connection) {
        let Wire { transport, input, .. } = connection.wire.into_inner();
        // Boxed: connections that speak HTTP/1.1 need not be large enough for it.
        let serving =
            http2::server::serve_connection(worker, transport, input, connection.peer, connection.listener);
        Box::pin(serving).await;
    }
}

impl ServerConnection {
    /// Serves until the connection has ended, or goes on as HTTP/2; whether it does.
    async fn run(self: &Rc<Self>, worker: &Worker) -> bool {
        loop {
            if !self.next_bytes(worker).await {
                self.end().await;
                return false;
            }
            let head = self.read_head(&worker.pins.pin().engine).await;
            // A head may be long in coming: what is in force when it is complete decides.
            let pin = worker.pins.pin();
            let snapshot: &Snapshot = &pin;
            let after = match head {
                Ok(Arrival::Head(head)) => self.answer(worker, snapshot, head).await,
                Ok(Arrival::Nothing) => After::NextRequest,
                Ok(Arrival::Http2) => After::Http2,
                Ok(Arrival::End) => After::Close,
                Err(refusal) => {
                    let asked = || asked(self.wire.borrow().input.unread(), snapshot.engine.merge_slashes);
                    self.refuse(worker, snapshot, refusal, asked).await
                }
            };
            // What follows may take days, and belongs to no snapshot.
            drop(pin);
            match after {
                After::NextRequest => continue,
                After::Tunnel(upgraded) => self.tunnel(worker, upgraded).await,
                After::Close => self.end().await,
                After::Reset => self.wire.borrow().transport.reset_when_closed(),
                After::Linger => self.linger().await,
                After::Http2 => return true,
            }
            return false;
        }
    }
}
