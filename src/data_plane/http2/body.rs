//! A body that arrives on a stream. The peer may send more when it has been consumed, not before: flow
//! control is the back-pressure.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream};

use super::translate;
use crate::http::{BodyError, Headers, Length, Step};

/// The receiving half of a stream.
pub struct Incoming {
    stream: RefCell<RecvStream>,
    chunk: RefCell<Bytes>,
    trailers: RefCell<Option<Headers>>,
    /// What is left of `content-length`; `h2` holds the peer to it.
    left: Cell<Option<u64>>,
    ended: Cell<bool>,
}

impl Incoming {
    pub fn new(stream: RecvStream, length: Option<u64>) -> Self {
        let ended = stream.is_end_stream();
        let incoming = Self {
            stream: RefCell::new(stream),
            chunk: RefCell::default(),
            trailers: RefCell::default(),
            left: Cell::new(if ended { Some(0) } else { length }),
            ended: Cell::new(ended),
        };
        if length == Some(0) && !ended {
            // Many say the end in a frame of its own, and it is here already. What is wrong with it comes
            // again when somebody waits for it.
            let _ = incoming.poll_ready(&mut Context::from_waker(Waker::noop()), &|| {});
        }
        incoming
    }

    /// Nothing more will come, not even trailers.
    pub fn is_ended(&self) -> bool {
        self.ended.get() && self.chunk.borrow().is_empty() && self.trailers.borrow().is_none()
    }

    /// A body of no bytes whose trailers are still to come is none that could be left out.
    pub fn length(&self) -> Length {
        match self.left.get() {
            Some(0) if !self.is_ended() => Length::Unknown,
            Some(left) => Length::Known(left),
            None => Length::Unknown,
        }
    }

    /// As [`BodySource::poll_ready`](crate::http::BodySource::poll_ready). `progress` is called when bytes
    /// have arrived.
    pub fn poll_ready(&self, cx: &mut Context<'_>, progress: &dyn Fn()) -> Poll<Result<Step, BodyError>> {
        loop {
            if !self.chunk.borrow().is_empty() {
                return Poll::Ready(Ok(Step::Data));
            }
            if self.ended.get() {
                return Poll::Ready(Ok(Step::End));
            }
            let mut stream = self.stream.borrow_mut();
            match ready!(stream.poll_data(cx)) {
                Some(data) => *self.chunk.borrow_mut() = data.map_err(explain)?,
                None => {
                    let trailers = ready!(stream.poll_trailers(cx)).map_err(explain)?;
                    *self.trailers.borrow_mut() = trailers.as_ref().and_then(translate::trailers);
                    self.ended.set(true);
                }
            }
            progress();
        }
    }

    /// As [`BodySource::lend`](crate::http::BodySource::lend).
    pub fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        let mut chunk = self.chunk.borrow_mut();
        if chunk.is_empty() {
            return;
        }
        let taken = take(&chunk);
        chunk.advance(taken);
        self.left.set(self.left.get().map(|left| left.saturating_sub(taken as u64)));
        // Fails only for more than was received.
        let _ = self.stream.borrow_mut().flow_control().release_capacity(taken);
    }

    pub fn trailers(&self) -> Option<Headers> {
        self.trailers.take()
    }
}

fn explain(error: h2::Error) -> BodyError {
    let by_framing = error.is_library() && error.reason() == Some(Reason::PROTOCOL_ERROR);
    if by_framing { BodyError::Malformed } else { BodyError::Disconnected }
}
