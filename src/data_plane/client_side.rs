//! What serving a request needs from the side of its client, whatever protocol that speaks.

use std::{cell::Cell, rc::Rc};

use super::{http1::tunnel::Upgraded, timers::Watch};
use crate::http::{Headers, Peer};

/// How far a request has got, for the metrics and the access log, however it ends.
#[derive(Debug, Default)]
pub struct Tally {
    /// Of the final response; 0 before there is one.
    pub status: Cell<u16>,
    /// Bytes of the body that were taken from the client.
    pub received: Cell<u64>,
    /// Bytes of the response's body that were handed over.
    pub sent: Cell<u64>,
}

impl Tally {
    /// For the next request.
    pub fn begin(&self) {
        self.status.set(0);
        self.received.set(0);
        self.sent.set(0);
    }
}

/// The client's side of one request: an HTTP/1.1 connection or an HTTP/2 stream.
pub trait ClientSide {
    /// The deadlines of the request. Whoever polls the serving of it registers with them.
    fn watch(&self) -> &Rc<Watch>;

    fn peer(&self) -> &Rc<Peer>;

    /// How far the request has got.
    fn tally(&self) -> &Tally;

    /// Passes an interim response on (RFC 9110 section 15.2; never 101), in order and before the
    /// final head. Does nothing for a client that does not know them, or once the final head is on its
    /// way. The caller bounds how many there are.
    fn interim(&self, status: u16, headers: &Headers);

    /// Takes an upstream that has agreed to switch protocols, until the 101 has passed back through the
    /// chain. Called only for requests with [`upgrade`](crate::http::Request::upgrade): a protocol that
    /// makes none of these lets go of it.
    fn upgraded(&self, upgraded: Upgraded) {
        drop(upgraded);
    }
}
