//! The body of the request in progress, lent from the connection's buffer to whoever forwards it.

use std::task::{Context, Poll};

use super::{super::sender::Sink, ServerConnection};
use crate::{
    data_plane::timers::Timer,
    http::{BodyError, BodySource, Headers, Length, Step},
};

impl BodySource for ServerConnection {
    fn length(&self) -> Length {
        self.wire.borrow().decoder.length()
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        if self.body.continue_wanted.replace(false) {
            // 25 bytes into an empty socket buffer: if they do not fit, the client sends the body
            // without them after a while (RFC 9110 section 10.1.1).
            let line = b"HTTP/1.1 100 Continue\r\n\r\n";
            let mut sink = &self.wire;
            let _ = sink.poll_write(cx, &[std::io::IoSlice::new(line)]);
        }
        if self.body.bytes_max.get().is_some_and(|max| self.body.received.get() > max) {
            return Poll::Ready(Err(BodyError::TooLarge));
        }
        let step = self.wire.borrow_mut().poll_body(cx, &|| self.watch.restart(Timer::StreamIdle));
        if step.is_pending() && self.watch.is_due(Timer::StreamIdle) {
            return Poll::Ready(Err(BodyError::IdleTimeout));
        }
        step
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        let mut taken = 0;
        self.wire.borrow_mut().lend(&mut |bytes| {
            taken = take(bytes);
            taken
        });
        self.body.received.set(self.body.received.get() + taken as u64);
    }

    fn trailers(&self) -> Option<Headers> {
        self.wire.borrow_mut().decoder.take_trailers()
    }

    fn release(&self) {}
}
