//! What serving a request needs from the side of its client, whatever protocol that speaks.

use std::rc::Rc;

use super::{http1::tunnel::Upgraded, timers::Watch};
use crate::http::Headers;

/// The client's side of one request: an HTTP/1.1 connection or an HTTP/2 stream.
pub trait ClientSide {
    /// The deadlines of the request. Whoever polls the serving of it registers with them.
    fn watch(&self) -> &Rc<Watch>;

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
