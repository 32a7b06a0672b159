//! An OpenSSL session over a socket of the runtime.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use openssl::{
    error::ErrorStack,
    ssl::{Error, ErrorCode, ShutdownState, Ssl, SslRef, SslStream, SslVersion},
};
use tokio::{io::ReadBuf, net::TcpStream};

use super::{explain, socket::Socket};
use crate::tls::Version;

/// The payload of one record.
const RECORD_BYTES: usize = 16 * 1024;

/// A connection. What has been taken to be written is written as it was taken: OpenSSL may have encrypted it already
/// when the socket takes no more.
pub struct Stream {
    inner: SslStream<Socket>,
    taken: Vec<u8>,
    written: usize,
    /// Nothing is written any more.
    ended: bool,
    /// A read has failed.
    failed: bool,
}

impl Stream {
    /// # Errors
    /// Of OpenSSL.
    pub fn new(ssl: Ssl, socket: Socket) -> Result<Self, ErrorStack> {
        Ok(Self {
            inner: SslStream::new(ssl, socket)?,
            taken: Vec::new(),
            written: 0,
            ended: false,
            failed: false,
        })
    }

    pub fn ssl(&self) -> &SslRef {
        self.inner.ssl()
    }

    pub fn socket(&self) -> &TcpStream {
        self.inner.get_ref().tcp()
    }

    pub fn version(&self) -> Version {
        match self.ssl().version2() {
            Some(SslVersion::TLS1_3) => Version::V1_3,
            Some(SslVersion::TLS1_2) => Version::V1_2,
            _ => Version::V1_1,
        }
    }

    /// # Errors
    /// Of OpenSSL, or of the socket.
    pub async fn handshake(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_with(cx, SslStream::do_handshake)).await
    }

    /// Tries until it succeeds, fails or has to wait for the socket.
    fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&mut SslStream<Socket>) -> Result<T, Error>,
    ) -> Poll<Result<T, Error>> {
        loop {
            // What an earlier call has left there would be taken for its own.
            drop(ErrorStack::get());
            self.inner.get_mut().begin_call();
            let error = match attempt(&mut self.inner) {
                Ok(done) => return Poll::Ready(Ok(done)),
                Err(error) => error,
            };
            if self.inner.get_ref().is_paused() && error.code() == ErrorCode::WANT_READ {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let socket = self.inner.get_ref().tcp();
            let waited = match error.code() {
                ErrorCode::WANT_READ => ready!(socket.poll_read_ready(cx)),
                ErrorCode::WANT_WRITE => ready!(socket.poll_write_ready(cx)),
                _ => return Poll::Ready(Err(error)),
            };
            if waited.is_err() {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// As [`tokio::io::AsyncRead::poll_read`].
    ///
    /// # Errors
    /// Of the session or the socket; also when the peer closes without saying so (RFC 8446 section 6.1).
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let room = into.initialize_unfilled();
        match ready!(self.poll_with(cx, |session| session.ssl_read(room))) {
            Ok(read) => {
                into.advance(read);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.code() == ErrorCode::ZERO_RETURN || self.has_ended(&error) => {
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                self.failed = true;
                Poll::Ready(Err(into_io(error)))
            }
        }
    }

    /// The peer has said that it is at its end, behind an alert that it gives up (RFC 8446 section 6.1): OpenSSL has no name for
    /// that.
    fn has_ended(&mut self, error: &Error) -> bool {
        // What has failed looks so ever after.
        !self.failed
            && error.code() == ErrorCode::SYSCALL
            && error.io_error().is_none()
            && self.inner.get_shutdown().contains(ShutdownState::RECEIVED)
    }

    /// Takes as much as fits into one record.
    ///
    /// # Errors
    /// Of the session or the socket.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        for part in parts {
            let room = RECORD_BYTES - self.taken.len();
            self.taken.extend_from_slice(&part[..part.len().min(room)]);
        }
        let taken = self.taken.len();
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    /// Waits until what was taken has reached the socket.
    ///
    /// # Errors
    /// Of the session or the socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.taken.len() {
            // Out of `self` for the while: the session is borrowed too.
            let taken = std::mem::take(&mut self.taken);
            let from = self.written;
            let outcome = self.poll_with(cx, |session| session.ssl_write(&taken[from..]));
            self.taken = taken;
            self.written += ready!(outcome).map_err(into_io)?;
        }
        // An idle connection holds no buffer.
        self.taken = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// Of the session or the socket.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        if !self.ended {
            match ready!(self.poll_with(cx, SslStream::shutdown)) {
                // The peer need not say it too.
                Ok(_) => {}
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => {}
                Err(error) => return Poll::Ready(Err(into_io(error))),
            }
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Says it, and closes this side.
    ///
    /// # Errors
    /// Of the session or the socket.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end(cx))?;
        self.inner.get_mut().poll_shutdown(cx)
    }

    /// Ready when a read is worth trying.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ssl().pending() > 0 || self.inner.get_ref().has_more() {
            return Poll::Ready(());
        }
        self.socket().poll_read_ready(cx).map(|_| ())
    }
}

fn into_io(error: Error) -> io::Error {
    error.into_io_error().unwrap_or_else(|error| io::Error::other(explain(&error, None)))
}
