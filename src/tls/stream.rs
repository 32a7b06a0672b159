//! A secured connection, whoever made its handshake.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::session::Session;

/// TLS over a socket.
pub enum Stream {
    Rustls(Box<Session>),
    #[cfg(feature = "legacy-tls")]
    OpenSsl(Box<super::legacy::Stream>),
}

impl Stream {
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Rustls(session) => session.socket(),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(stream) => stream.socket(),
        }
    }

    /// As [`AsyncRead::poll_read`].
    ///
    /// # Errors
    /// Of the backend or the socket; also when the peer closes without saying so (RFC 8446 section 6.1).
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Rustls(session) => session.poll_read(cx, into),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(stream) => stream.poll_read(cx, into),
        }
    }

    /// Ready when a read is worth trying. Does no system call while nothing has arrived: whoever waits like this and has
    /// nothing to send flushes.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Rustls(session) => session.poll_readable(cx),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(stream) => stream.poll_readable(cx),
        }
    }

    /// Takes payload, which may be kept back until it is flushed.
    ///
    /// # Errors
    /// Of the backend or the socket.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Rustls(session) => session.poll_write(cx, parts),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(stream) => stream.poll_write(cx, parts),
        }
    }

    /// Waits until what was taken has reached the socket.
    ///
    /// # Errors
    /// Of the backend or the socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Rustls(session) => session.poll_flush(cx),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(stream) => stream.poll_flush(cx),
        }
    }

    /// Nothing follows what was taken. The peer is told behind it where that costs nothing of its own (rustls), else
    /// with [`Self::poll_end`].
    pub fn end(&mut self) {
        match self {
            Self::Rustls(session) => session.end(),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(_) => {}
        }
    }

    /// Ends, and waits until the socket has it; this side of it stays open.
    ///
    /// # Errors
    /// Of the backend or the socket.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Rustls(session) => session.poll_end(cx),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(stream) => stream.poll_end(cx),
        }
    }

    /// Ends, and closes this side.
    ///
    /// # Errors
    /// Of the backend or the socket.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Rustls(session) => session.poll_shutdown(cx),
            #[cfg(feature = "legacy-tls")]
            Self::OpenSsl(stream) => stream.poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Self::poll_read(self.get_mut(), cx, into)
    }
}

/// For libraries, on the client's side, which keeps nothing back. One task does both directions, because a read writes too.
impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self.get_mut(), cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self.get_mut(), cx)
    }
}
