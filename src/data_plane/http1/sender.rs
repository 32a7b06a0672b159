//! Sends a head and a body: framing for the peer, back-pressure from its socket.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use crate::http::{Body, BodyError, Headers, Step};

/// A socket to send to.
pub trait Sink {
    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Waits until what was written has reached the socket (TLS keeps records back).
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Nothing follows what was written: where the peer is to be told (TLS), it is along with it.
    fn end(&mut self);
}

/// How the body is framed for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFraming {
    /// There is none, whatever the body says (HEAD, 204, 304).
    None,
    /// Exactly this many bytes.
    Length(u64),
    Chunked,
    /// Until the connection closes (HTTP/1.0).
    UntilClose,
}

#[derive(Debug)]
pub enum SendError {
    /// The peer that is sent to is gone.
    Peer(io::Error),
    /// The body broke off at its source.
    Body(BodyError),
}

/// Chunked bytes gathered before they are written out.
const GATHER_BYTES: usize = 32 * 1024;

/// This much of a body, or less, goes out from one buffer with the head before it: copying it costs less
/// than telling the kernel of two.
const SMALL_BODY_BYTES: usize = 2 * 1024;

/// Steps of one turn. What goes the other way on the same two connections must get its turn too, even
/// where neither socket ever makes this one wait.
const STEPS_MAX: usize = 16;

/// Buffers kept by each worker, and the size above which one is not kept.
const SHELF_BUFFERS_MAX: usize = 256;
const SHELF_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static SHELF: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer for a head.
pub fn buffer() -> Vec<u8> {
    SHELF.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(1024))
}

/// The message that is being sent. `out` holds encoded bytes that are not yet written.
pub struct Sender {
    out: Vec<u8>,
    written: usize,
    framing: SendFraming,
    left: u64,
    body_ended: bool,
    begun: bool,
    sent: bool,
    is_last: bool,
    bytes: u64,
}

impl Sender {
    /// Takes over a buffer that already holds the head.
    pub fn new(head: Vec<u8>, framing: SendFraming) -> Self {
        let left = if let SendFraming::Length(length) = framing { length } else { 0 };
        let body_ended = framing == SendFraming::None;
        Self {
            out: head,
            written: 0,
            framing,
            left,
            body_ended,
            begun: false,
            sent: false,
            is_last: false,
            bytes: 0,
        }
    }

    /// Nothing is sent after this message.
    pub fn set_last(&mut self) {
        self.is_last = true;
    }

    /// Whether all of it has been written.
    pub fn is_sent(&self) -> bool {
        self.sent
    }

    /// Whether something of it has been written: the peer may act on it.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Sends no more of it.
    pub fn give_up(&mut self) {
        self.out.clear();
        self.written = 0;
        self.body_ended = true;
        self.sent = true;
    }

    /// Bytes of the body that have been taken from its source.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sends the head only; pending for ever after that, or until something else is to be sent.
    ///
    /// # Errors
    /// As [`Self::poll_send`].
    pub fn poll_send_head(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
        progress: &dyn Fn(),
    ) -> Poll<Result<(), SendError>> {
        ready!(self.poll_flush(cx, sink, progress))?;
        Poll::Pending
    }

    /// Sends until everything is written. `progress` is called whenever bytes have moved.
    ///
    /// # Errors
    /// [`SendError`]: which side has failed.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
        body: &mut Body,
        progress: &dyn Fn(),
    ) -> Poll<Result<(), SendError>> {
        for _ in 0..STEPS_MAX {
            if self.body_ended {
                if self.poll_flush(cx, sink, progress)?.is_pending() {
                    let _ = body.poll_ready(cx);
                    return Poll::Pending;
                }
                self.sent = true;
                return Poll::Ready(Ok(()));
            }
            // First of all, and even when nothing more can be written now: polling the body is what
            // moves the other direction. A peer that sends all of its request before it reads would
            // otherwise wait for us as we wait for it.
            let step = body.poll_ready(cx);
            if self.out.len() - self.written > GATHER_BYTES {
                ready!(self.poll_flush(cx, sink, progress))?;
            }
            match step {
                Poll::Pending => {
                    // What is at hand goes out now: an event must not wait for the next one.
                    ready!(self.poll_flush(cx, sink, progress))?;
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => {
                    // What came before is the peer's, as far as it can be written without waiting.
                    let _ = self.poll_flush(cx, sink, progress)?;
                    return Poll::Ready(Err(SendError::Body(error)));
                }
                Poll::Ready(Ok(Step::Data)) if self.framing == SendFraming::Chunked => self.take_chunk(body),
                Poll::Ready(Ok(Step::Data)) => ready!(self.poll_pass(cx, sink, body, progress))?,
                Poll::Ready(Ok(Step::End)) => self.end(body)?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Copies what is at hand as one chunk.
    fn take_chunk(&mut self, body: &mut Body) {
        let (out, taken) = (&mut self.out, &mut self.bytes);
        body.lend(&mut |bytes| {
            let size = bytes.len();
            *taken += size as u64;
            // Writing to a vector cannot fail.
            let _ = io::Write::write_fmt(out, format_args!("{size:x}\r\n"));
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
            size
        });
    }

    /// Writes straight from the source's buffer, behind what is still to be written.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
        body: &mut Body,
        progress: &dyn Fn(),
    ) -> Poll<Result<(), SendError>> {
        let limit = match self.framing {
            SendFraming::Length(_) => usize::try_from(self.left).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        if limit == 0 {
            // More than was announced: the source is not to be trusted.
            return Poll::Ready(Err(SendError::Body(BodyError::Malformed)));
        }
        let (out, before) = (&mut self.out, self.written);
        let pending = out.len() - before;
        let mut outcome = Poll::Pending;
        let mut from_body = 0;
        body.lend(&mut |bytes| {
            let bytes = &bytes[..bytes.len().min(limit)];
            outcome = if pending == 0 {
                sink.poll_write(cx, &[IoSlice::new(bytes)])
            } else if bytes.len() <= SMALL_BODY_BYTES {
                // Not taken from its source unless it was written: a retry may need it.
                out.extend_from_slice(bytes);
                let outcome = sink.poll_write(cx, &[IoSlice::new(&out[before..])]);
                out.truncate(before + pending);
                outcome
            } else {
                sink.poll_write(cx, &[IoSlice::new(&out[before..]), IoSlice::new(bytes)])
            };
            if let Poll::Ready(Ok(written)) = outcome {
                from_body = written.saturating_sub(pending);
            }
            from_body
        });
        let written = ready!(outcome).map_err(SendError::Peer)?;
        if written == 0 {
            return Poll::Ready(Err(SendError::Peer(io::ErrorKind::WriteZero.into())));
        }
        self.begun = true;
        self.advance(written - from_body);
        self.left = self.left.saturating_sub(from_body as u64);
        self.bytes += from_body as u64;
        progress();
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, body: &Body) -> Result<(), SendError> {
        match self.framing {
            SendFraming::Length(_) if self.left > 0 => return Err(SendError::Body(BodyError::Disconnected)),
            SendFraming::Chunked => {
                self.out.extend_from_slice(b"0\r\n");
                if let Some(trailers) = body.trailers() {
                    Headers::write_to(&trailers, &mut self.out);
                }
                self.out.extend_from_slice(b"\r\n");
            }
            _ => {}
        }
        self.body_ended = true;
        Ok(())
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
        progress: &dyn Fn(),
    ) -> Poll<Result<(), SendError>> {
        while self.written < self.out.len() {
            let written = ready!(sink.poll_write(cx, &[IoSlice::new(&self.out[self.written..])]))
                .map_err(SendError::Peer)?;
            if written == 0 {
                return Poll::Ready(Err(SendError::Peer(io::ErrorKind::WriteZero.into())));
            }
            self.begun = true;
            self.advance(written);
            progress();
        }
        if self.is_last && self.body_ended {
            sink.end();
        }
        sink.poll_flush(cx).map_err(SendError::Peer)
    }

    fn advance(&mut self, written: usize) {
        self.written += written;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        if out.capacity() > SHELF_BYTES_MAX {
            return;
        }
        out.clear();
        let _ = SHELF.try_with(|shelf| {
            let mut shelf = shelf.borrow_mut();
            if shelf.len() < SHELF_BUFFERS_MAX {
                shelf.push(out);
            }
        });
    }
}
