//! One stream of a client, as its connection and its request share it.

use std::{
    cell::{Cell, RefCell},
    task::Poll,
};

use super::{super::STREAM_WINDOW_BYTES, link::WINDOW_MAX};
use crate::{
    data_plane::timers::Sleeper,
    http::{BodyError, Headers, Length, Step},
};

/// Memory that a stream keeps for what comes next, however little of its body is left.
const KEPT_BYTES_MAX: usize = 32 * 1024;

/// Bytes that are shown at a time, as from the buffer of an HTTP/1.1 connection; what was taken is cut off the front of a body
/// when it is at least so much.
const LENT_BYTES_MAX: usize = 16 * 1024;

/// See the [module](self).
pub struct Channel {
    pub id: u32,
    /// What may be sent; below zero where the client has changed its mind (RFC 9113 section 6.9.2).
    pub send_window: Cell<i64>,
    /// What the client may send.
    pub receive_window: Cell<i64>,
    /// What was taken, and the client does not know yet.
    pub taken: Cell<u32>,
    /// The client knows that nothing follows.
    pub has_sent: Cell<bool>,
    /// It is in the line of those that want to send.
    pub is_waiting: Cell<bool>,
    received: Cell<bool>,
    /// Either side has reset it, or the connection is gone.
    is_closed: Cell<bool>,
    body: RefCell<Vec<u8>>,
    /// Of `body`.
    read: Cell<usize>,
    trailers: RefCell<Option<Headers>>,
    /// What is still to come of the length that was declared.
    left: Cell<Option<u64>>,
    fault: Cell<Option<BodyError>>,
    /// Nobody takes what comes.
    is_unwanted: Cell<bool>,
    /// Who serves it.
    pub sleeper: Sleeper,
}

impl Channel {
    pub fn new(id: u32, send_window: i64, length: Option<u64>, ends: bool) -> Self {
        Self {
            id,
            send_window: Cell::new(send_window),
            receive_window: Cell::new(STREAM_WINDOW_BYTES.into()),
            taken: Cell::new(0),
            has_sent: Cell::new(false),
            is_waiting: Cell::new(false),
            received: Cell::new(ends),
            is_closed: Cell::new(false),
            body: RefCell::default(),
            read: Cell::new(0),
            trailers: RefCell::default(),
            left: Cell::new(if ends { Some(0) } else { length }),
            fault: Cell::new(None),
            is_unwanted: Cell::new(false),
            sleeper: Sleeper::default(),
        }
    }

    /// The client has said that nothing follows.
    pub fn has_received(&self) -> bool {
        self.received.get()
    }

    pub fn set_received(&self) {
        self.received.set(true);
        self.sleeper.wake();
    }

    /// Nothing can be sent on it, and nothing comes.
    pub fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// It is open no more; what was received in full stays.
    pub fn closed(&self) {
        if !(self.received.get() && self.has_sent.get()) {
            self.is_closed.set(true);
            self.sleeper.wake();
        }
    }

    /// What the client has sent is not what it announced.
    pub fn broken(&self) {
        self.fault.set(Some(BodyError::Malformed));
    }

    /// The client takes more, or less; `false` where that is more than there may be.
    pub fn widen(&self, change: i64) -> bool {
        let before = self.send_window.get();
        self.send_window.set(before + change);
        if before <= 0 && before + change > 0 {
            self.sleeper.wake();
        }
        before + change <= WINDOW_MAX
    }

    /// Counts payload against the length that was declared; whether it agrees.
    pub fn count(&self, bytes: usize, ends: bool) -> bool {
        let Some(left) = self.left.get() else { return true };
        let Some(left) = left.checked_sub(bytes as u64) else { return false };
        self.left.set(Some(left));
        !ends || left == 0
    }

    /// Takes payload; `false` where nobody wants it.
    pub fn receive(&self, payload: &[u8]) -> bool {
        if self.is_unwanted.get() {
            return false;
        }
        if !payload.is_empty() {
            self.body.borrow_mut().extend_from_slice(payload);
            self.sleeper.wake();
        }
        true
    }

    pub fn set_trailers(&self, trailers: Option<Headers>) {
        *self.trailers.borrow_mut() = trailers.filter(|_| !self.is_unwanted.get());
    }

    fn at_hand(&self) -> usize {
        self.body.borrow().len() - self.read.get()
    }

    /// Nothing more will come, not even trailers.
    pub fn is_ended(&self) -> bool {
        self.received.get() && self.at_hand() == 0 && self.trailers.borrow().is_none()
    }

    /// What is still to be taken. A body of no bytes whose end or trailers are still to come is none that could be left out.
    pub fn length(&self) -> Length {
        match self.left.get() {
            Some(left) if left > 0 || self.at_hand() > 0 || self.is_ended() => {
                Length::Known(left + self.at_hand() as u64)
            }
            _ => Length::Unknown,
        }
    }

    /// As [`BodySource::poll_ready`](crate::http::BodySource::poll_ready).
    pub fn poll_ready(&self) -> Poll<Result<Step, BodyError>> {
        if self.at_hand() > 0 {
            return Poll::Ready(Ok(Step::Data));
        }
        if let Some(fault) = self.fault.get() {
            return Poll::Ready(Err(fault));
        }
        if self.received.get() {
            return Poll::Ready(Ok(Step::End));
        }
        if self.is_closed.get() || self.is_unwanted.get() {
            return Poll::Ready(Err(BodyError::Disconnected));
        }
        Poll::Pending
    }

    /// As [`BodySource::lend`](crate::http::BodySource::lend); how much was taken.
    pub fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        let mut body = self.body.borrow_mut();
        let unread = &body[self.read.get()..];
        // What is shown may be copied at once: no more than is passed on in some pieces anyway.
        let unread = &unread[..unread.len().min(LENT_BYTES_MAX)];
        if unread.is_empty() {
            return 0;
        }
        let taken = take(unread);
        let read = self.read.get() + taken;
        if read == body.len() {
            body.clear();
            // A burst leaves nothing behind for the life of the stream.
            body.shrink_to(KEPT_BYTES_MAX);
            self.read.set(0);
        } else if read >= LENT_BYTES_MAX && read >= body.len() / 2 {
            body.drain(..read);
            self.read.set(0);
            if body.capacity() > 2 * body.len() + KEPT_BYTES_MAX {
                let left = body.len();
                body.shrink_to(left + KEPT_BYTES_MAX / 2);
            }
        } else {
            self.read.set(read);
        }
        taken
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.body.borrow().capacity()
    }

    pub fn trailers(&self) -> Option<Headers> {
        self.trailers.take()
    }

    /// Takes no more of it; how much was at hand.
    pub fn stop(&self) -> usize {
        self.is_unwanted.set(true);
        self.trailers.take();
        let rest = self.at_hand();
        self.read.set(0);
        *self.body.borrow_mut() = Vec::new();
        rest
    }
}
