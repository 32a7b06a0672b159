//! A body that arrives on a stream. The peer may send more when it has been consumed, not before: flow
//! control is the back-pressure.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream};

use super::{meter::Meter, translate};
use crate::http::{BodyError, Headers, Length, Step};

/// What is shorter is not worth a piece of its own behind others: there it shares memory with what it came between.
const PIECE_BYTES_MIN: usize = 1024;

/// The receiving half of a stream.
pub struct Incoming {
    stream: RefCell<RecvStream>,
    meter: Rc<Meter>,
    unread: RefCell<Unread>,
    trailers: RefCell<Option<Headers>>,
    /// What is left of `content-length`; `h2` holds the peer to it.
    left: Cell<Option<u64>>,
    ended: Cell<bool>,
}

/// What has arrived and nobody has taken: as much as the window of a stream, whatever the frames that it came in.
#[derive(Default)]
struct Unread {
    /// What is shown next; empty only where all is.
    first: Bytes,
    pieces: VecDeque<Bytes>,
    /// Behind those, small ones in a row.
    small: BytesMut,
}

impl Unread {
    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() {
            self.first = data;
        } else if data.len() < PIECE_BYTES_MIN {
            self.small.extend_from_slice(&data);
        } else {
            if !self.small.is_empty() {
                self.pieces.push_back(std::mem::take(&mut self.small).freeze());
            }
            self.pieces.push_back(data);
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.first.advance(bytes);
        if self.first.is_empty() {
            let next = self.pieces.pop_front();
            self.first = next.unwrap_or_else(|| std::mem::take(&mut self.small).freeze());
        }
    }
}

impl Incoming {
    pub fn new(stream: RecvStream, length: Option<u64>, meter: Rc<Meter>) -> Self {
        let ended = stream.is_end_stream();
        let incoming = Self {
            stream: RefCell::new(stream),
            meter,
            unread: RefCell::default(),
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
        self.ended.get() && self.unread.borrow().first.is_empty() && self.trailers.borrow().is_none()
    }

    /// A body of no bytes whose trailers are still to come is none that could be left out.
    pub fn length(&self) -> Length {
        match self.left.get() {
            Some(0) if !self.is_ended() => Length::Unknown,
            Some(left) => Length::Known(left),
            None => Length::Unknown,
        }
    }

    /// As [`BodySource::poll_ready`](crate::http::BodySource::poll_ready). `progress` is called when something has arrived that the
    /// consumer waits for.
    pub fn poll_ready(&self, cx: &mut Context<'_>, progress: &dyn Fn()) -> Poll<Result<Step, BodyError>> {
        let was_empty = self.unread.borrow().first.is_empty();
        let had_ended = self.ended.get();
        let end = self.poll_end(cx);
        let is_empty = self.unread.borrow().first.is_empty();
        if was_empty && !is_empty || !had_ended && self.ended.get() {
            progress();
        }
        // What is wrong with the rest comes again when this has been taken.
        if is_empty { end.map_ok(|()| Step::End) } else { Poll::Ready(Ok(Step::Data)) }
    }

    /// Takes all that has arrived out of `h2`, whether or not anybody reads: what lies there costs by the frame, at the expense of the
    /// other streams of the connection.
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let mut stream = self.stream.borrow_mut();
        while !self.ended.get() {
            match ready!(stream.poll_data(cx)) {
                Some(data) => {
                    self.unread.borrow_mut().push(data.map_err(explain)?);
                    self.meter.took();
                }
                None => {
                    let trailers = ready!(stream.poll_trailers(cx)).map_err(explain)?;
                    if let Some(trailers) = &trailers {
                        self.meter.took();
                        *self.trailers.borrow_mut() = translate::trailers(trailers);
                    }
                    self.ended.set(true);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// As [`BodySource::lend`](crate::http::BodySource::lend).
    pub fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        let mut unread = self.unread.borrow_mut();
        if unread.first.is_empty() {
            return;
        }
        let taken = take(&unread.first);
        unread.advance(taken);
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
