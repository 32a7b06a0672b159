//! The body of the request in progress, lent from the connection's buffer to whoever forwards it.

use std::task::{Context, Poll};

use super::ServerConnection;
use crate::{
    data_plane::{client_side::ClientSide as _, timers::Timer},
    http::{BodyError, BodySource, Headers, Length, Step},
};

impl BodySource for ServerConnection {
    fn length(&self) -> Length {
        self.wire.borrow().decoder.length()
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        if self.interims.continue_wanted.get() {
            self.interim(100, &Headers::new());
        }
        if self.body_bytes_max.get().is_some_and(|max| self.tally.received.get() > max) {
            return Poll::Ready(Err(BodyError::TooLarge));
        }
        let step = self.wire.borrow_mut().poll_body(cx, &|| self.watch.restart(Timer::StreamIdle));
        if step.is_pending() && self.watch.is_due(Timer::StreamIdle) {
            return Poll::Ready(Err(BodyError::IdleTimeout));
        }
        if let Poll::Ready(Err(_)) = step {
            self.body_is_broken.set(true);
        }
        step
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        let mut taken = 0;
        self.wire.borrow_mut().lend(&mut |bytes| {
            taken = take(bytes);
            taken
        });
        self.tally.received.set(self.tally.received.get() + taken as u64);
    }

    fn trailers(&self) -> Option<Headers> {
        self.wire.borrow_mut().decoder.take_trailers()
    }

    fn awaits_continue(&self) -> bool {
        self.interims.continue_wanted.get()
    }

    fn release(&self) {}
}
