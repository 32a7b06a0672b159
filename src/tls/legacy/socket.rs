//! The socket as OpenSSL wants it: without waiting, `WouldBlock` where nothing can be done now.

use std::{
    io::{self, ErrorKind, Read, Write},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{io::AsyncWrite, net::TcpStream};

use crate::tls::hello::Greeted;

/// Records of two reads each, far more than one answer of a peer has.
const READS_MAX: u32 = 64;

/// A socket; what was received from it before is read first.
pub struct Socket {
    socket: TcpStream,
    received: Vec<u8>,
    /// Bytes of `received` that have been read.
    read: usize,
    /// Reads that OpenSSL may make before it has to come back.
    reads_left: u32,
}

impl Socket {
    pub fn tcp(&self) -> &TcpStream {
        &self.socket
    }

    /// Closes this side.
    ///
    /// # Errors
    /// Of the socket.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Begins one call into OpenSSL.
    pub fn begin_call(&mut self) {
        self.reads_left = READS_MAX;
    }

    /// The call was told to come back although there may be more to read.
    pub fn is_paused(&self) -> bool {
        self.reads_left == 0
    }

    /// Whether some of what was received before has not been read yet.
    pub fn has_more(&self) -> bool {
        self.read < self.received.len()
    }
}

impl From<TcpStream> for Socket {
    /// Nothing has been received.
    fn from(socket: TcpStream) -> Self {
        Self { socket, received: Vec::new(), read: 0, reads_left: READS_MAX }
    }
}

impl From<Greeted> for Socket {
    fn from(client: Greeted) -> Self {
        Self { received: client.received, ..Self::from(client.socket) }
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.has_more() {
            let read = (&self.received[self.read..]).read(into)?;
            self.read += read;
            return Ok(read);
        }
        self.received = Vec::new();
        self.read = 0;
        // Within one call OpenSSL reads on past whatever is no payload (keys that are changed, say) for as long as
        // there is something; the worker has other connections too.
        if self.reads_left == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.reads_left -= 1;
        self.socket.try_read(into)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
