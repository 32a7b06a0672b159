//! One connection's socket, what was received and not yet consumed, and the body being received.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    chunked::{Decoder, Found},
    head::Framing,
    sender::Sink,
};
use crate::{
    http::{BodyError, Step},
    tls,
};

/// Plain TCP, or TLS over it.
pub enum Transport {
    Tcp(TcpStream),
    Tls(tls::Stream),
}

impl Transport {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        ready!(self.poll_read_into(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Reads into a buffer that need not be initialised.
    pub fn poll_read_into(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => stream.poll_read(cx, into),
        }
    }

    /// Says that nothing follows, where the protocol has a way of saying it, before the connection is closed.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // Closing the socket says so.
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_end(cx),
        }
    }

    /// Says that nothing follows; the peer may still be read from.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => stream.poll_shutdown(cx),
        }
    }

    /// From now on closing the connection resets it.
    pub fn reset_when_closed(&self) {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.socket(),
        };
        // If the socket refuses, it is gone already.
        let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Ready when a read is worth trying. Does no system call while nothing has arrived.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx).map(|_| ()),
            Self::Tls(stream) => stream.poll_readable(cx),
        }
    }
}

impl Sink for Transport {
    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (self, parts) {
            (Self::Tcp(stream), [part]) => Pin::new(stream).poll_write(cx, part),
            (Self::Tcp(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
            (Self::Tls(stream), parts) => stream.poll_write(cx, parts),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    fn end(&mut self) {
        match self {
            Self::Tcp(_) => {}
            Self::Tls(stream) => stream.end(),
        }
    }
}

/// A sink that holds the connection only while it writes: what is sent may come from the other
/// direction of the same connection.
impl Sink for &RefCell<Wire> {
    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.borrow_mut().transport.poll_write(cx, parts)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.borrow_mut().transport.poll_flush(cx)
    }

    fn end(&mut self) {
        self.borrow_mut().transport.end();
    }
}

/// First size of a receive buffer, and the size it grows to while a large body flows.
pub const BUFFER_BYTES: usize = 16 * 1024;
const BUFFER_BYTES_MAX: usize = 64 * 1024;
const SHELF_BUFFERS_MAX: usize = 256;

thread_local! {
    /// Buffers of this worker that no connection is using: an idle connection has none.
    static SHELF: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Received bytes. The vector is initialised throughout; `start..end` is what is unread.
#[derive(Default)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Gives the memory back while there is nothing unread.
    pub fn rest(&mut self) {
        if !self.is_empty() || self.bytes.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() == BUFFER_BYTES {
            let _ = SHELF.try_with(|shelf| {
                let mut shelf = shelf.borrow_mut();
                if shelf.len() < SHELF_BUFFERS_MAX {
                    shelf.push(bytes);
                }
            });
        }
    }

    /// Room at the end for at least one more byte, within `limit` bytes unread.
    fn spare(&mut self, limit: usize) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = SHELF.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER_BYTES]);
        }
        if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else if self.bytes.len() < limit {
                let larger = (self.bytes.len() * 2).min(limit.max(BUFFER_BYTES));
                self.bytes.resize(larger, 0);
            }
        }
        &mut self.bytes[self.end..]
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        self.start = 0;
        self.end = 0;
        self.rest();
    }
}

/// A connection from the point of view of receiving.
pub struct Wire {
    pub transport: Transport,
    pub input: ReadBuffer,
    pub decoder: Decoder,
    /// Bytes received since the connection opened.
    pub received: u64,
    /// The peer has closed its side.
    pub closed: bool,
}

impl Wire {
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            input: ReadBuffer::default(),
            decoder: Decoder::new(Framing::None),
            received: 0,
            closed: false,
        }
    }

    /// Receives more, `unread_max` bytes unread at the most; 0 when the peer has closed.
    ///
    /// # Errors
    /// Of the socket; `OutOfMemory` when `unread_max` bytes are unread already.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, unread_max: usize) -> Poll<io::Result<usize>> {
        let spare = self.input.spare(unread_max);
        if spare.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let received = ready!(self.transport.poll_read(cx, spare))?;
        self.input.end += received;
        self.received += received as u64;
        self.closed |= received == 0;
        Poll::Ready(Ok(received))
    }

    /// Waits for bytes that nobody has asked for yet, holding no buffer meanwhile; 0 when the peer has
    /// closed. A socket may be called readable without need (its last read ended exactly with what
    /// had arrived), so this reads before it answers.
    ///
    /// # Errors
    /// As [`Self::poll_fill`].
    pub fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.transport.poll_readable(cx));
        let arrived = self.poll_fill(cx, BUFFER_BYTES);
        if arrived.is_pending() {
            self.input.rest();
        }
        arrived
    }

    /// As [`BodySource::poll_ready`](crate::http::BodySource::poll_ready). `progress` is called
    /// whenever bytes arrive.
    ///
    /// # Errors
    /// [`BodyError`] when the body breaks off or its framing is broken.
    pub fn poll_body(&mut self, cx: &mut Context<'_>, progress: &dyn Fn()) -> Poll<Result<Step, BodyError>> {
        loop {
            let (framing, found) = self.decoder.advance(self.input.unread())?;
            self.input.consume(framing);
            match found {
                Found::Data(_) => return Poll::Ready(Ok(Step::Data)),
                Found::End => return Poll::Ready(Ok(Step::End)),
                Found::Nothing => match ready!(self.poll_fill(cx, BUFFER_BYTES_MAX)) {
                    Ok(0) => {
                        self.decoder.closed()?;
                        return Poll::Ready(Ok(Step::End));
                    }
                    Ok(_) => progress(),
                    Err(_) => return Poll::Ready(Err(BodyError::Disconnected)),
                },
            }
        }
    }

    /// As [`BodySource::lend`](crate::http::BodySource::lend).
    pub fn lend(&mut self, take: &mut dyn FnMut(&[u8]) -> usize) {
        let Ok((framing, Found::Data(length))) = self.decoder.advance(self.input.unread()) else { return };
        self.input.consume(framing);
        let taken = take(&self.input.unread()[..length]);
        self.input.consume(taken);
        self.decoder.taken(taken);
    }
}
