//! Interim responses (RFC 9110 section 15.2), in order and before the final head.

use std::{
    cell::{Cell, RefCell},
    io::{IoSlice, Write as _},
    rc::Rc,
    task::{Context, Poll},
};

use super::{
    super::{
        head::{Framing, RequestHead},
        sender::{Sink, buffer},
        tunnel::Upgraded,
    },
    ServerConnection,
};
use crate::{
    data_plane::{client_side::ClientSide, timers::Watch},
    http::{Headers, Version, response::reason_phrase},
};

/// What of the request in progress concerns interim responses.
#[derive(Default)]
pub(super) struct Interims {
    /// The client knows them: it speaks HTTP/1.1.
    pub(super) understood: Cell<bool>,
    /// The client waits for `100 (Continue)` before it sends the body.
    pub(super) continue_wanted: Cell<bool>,
    /// Encoded and not yet written. What the socket does not take goes out in front of the final
    /// head. Bounded by the bounds on what an upstream may send of them.
    unwritten: RefCell<Vec<u8>>,
}

impl Interims {
    pub(super) fn begin(&self, head: &RequestHead) {
        self.understood.set(head.version == Version::Http11);
        self.continue_wanted.set(head.connection.expects_continue && head.framing != Framing::None);
    }
}

impl ClientSide for ServerConnection {
    fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }

    fn interim(&self, status: u16, headers: &Headers) {
        if !self.interims.understood.get() {
            return;
        }
        if status == 100 {
            self.interims.continue_wanted.set(false);
        }
        let mut out = self.interims.unwritten.borrow_mut();
        // Writing to a vector cannot fail.
        let _ = write!(out, "HTTP/1.1 {status} {}\r\n", reason_phrase(status));
        headers.write_to(&mut out);
        out.extend_from_slice(b"\r\n");
    }

    fn upgraded(&self, upgraded: Upgraded) {
        *self.upgraded.borrow_mut() = Some(upgraded);
    }
}

impl ServerConnection {
    /// Writes what the socket takes; a client that is gone is noticed elsewhere.
    pub(super) fn write_interims(&self, cx: &mut Context<'_>) {
        let mut out = self.interims.unwritten.borrow_mut();
        if out.is_empty() {
            return;
        }
        let mut sink = &self.wire;
        if let Poll::Ready(Ok(written)) = sink.poll_write(cx, &[IoSlice::new(&out)]) {
            out.drain(..written);
            let _ = sink.poll_flush(cx);
        }
    }

    /// A buffer for the final head, what is unwritten at its front. From here on there are no more
    /// interim responses.
    pub(super) fn final_head(&self) -> Vec<u8> {
        self.interims.understood.set(false);
        let unwritten = std::mem::take(&mut *self.interims.unwritten.borrow_mut());
        if unwritten.is_empty() { buffer() } else { unwritten }
    }
}
