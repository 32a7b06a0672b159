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
    data_plane::{
        client_side::{ClientSide, Tally},
        timers::Watch,
    },
    http::{Headers, Peer, Version, response::reason_phrase},
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
    /// Written, but not all of it has reached the socket (TLS keeps records back).
    unflushed: Cell<bool>,
}

impl Interims {
    pub(super) fn begin(&self, head: &RequestHead) {
        self.understood.set(head.version == Version::Http11);
        self.continue_wanted.set(head.connection.expects_continue && head.framing != Framing::None);
        self.unflushed.set(false);
    }

    /// Writes what the sink takes, and is polled again when it takes more; a client that is gone is noticed elsewhere.
    fn poll_write(&self, cx: &mut Context<'_>, sink: &mut impl Sink) {
        let mut out = self.unwritten.borrow_mut();
        while !out.is_empty()
            && let Poll::Ready(Ok(written @ 1..)) = sink.poll_write(cx, &[IoSlice::new(&out)])
        {
            out.drain(..written);
            self.unflushed.set(true);
        }
        if self.unflushed.get() && sink.poll_flush(cx).is_ready() {
            self.unflushed.set(false);
        }
    }
}

impl ClientSide for ServerConnection {
    fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }

    fn peer(&self) -> &Rc<Peer> {
        &self.peer
    }

    fn tally(&self) -> &Tally {
        &self.tally
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
    pub(super) fn write_interims(&self, cx: &mut Context<'_>) {
        self.interims.poll_write(cx, &mut &self.wire);
    }

    /// A buffer for the final head, what is unwritten at its front. From here on there are no more
    /// interim responses.
    pub(super) fn final_head(&self) -> Vec<u8> {
        self.interims.understood.set(false);
        let unwritten = std::mem::take(&mut *self.interims.unwritten.borrow_mut());
        if unwritten.is_empty() { buffer() } else { unwritten }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Takes three bytes at a time, `room` in all, and keeps them back until it may flush.
    #[derive(Default)]
    struct Reluctant {
        room: usize,
        kept: Vec<u8>,
        flushes: bool,
        arrived: Vec<u8>,
    }

    impl Sink for Reluctant {
        fn poll_write(&mut self, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            let taken = &parts[0][..parts[0].len().min(self.room).min(3)];
            self.room -= taken.len();
            self.kept.extend_from_slice(taken);
            if taken.is_empty() { Poll::Pending } else { Poll::Ready(Ok(taken.len())) }
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !self.flushes {
                return Poll::Pending;
            }
            self.arrived.append(&mut self.kept);
            Poll::Ready(Ok(()))
        }

        fn end(&mut self) {}
    }

    #[test]
    fn what_the_socket_did_not_take_at_once_goes_out_as_soon_as_it_does() {
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let interims = Interims { unwritten: RefCell::new(b"HTTP/1.1 103".to_vec()), ..Interims::default() };
        let mut sink = Reluctant { room: 7, ..Reluctant::default() };
        interims.poll_write(cx, &mut sink);
        assert_eq!(sink.kept, b"HTTP/1.");
        sink.room = 100;
        interims.poll_write(cx, &mut sink);
        assert_eq!(sink.kept, b"HTTP/1.1 103");
        assert_eq!(sink.arrived, b"");
        sink.flushes = true;
        interims.poll_write(cx, &mut sink);
        assert_eq!(sink.arrived, b"HTTP/1.1 103", "nothing new was to be written, but something flushed");
    }
}
