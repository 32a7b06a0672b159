//! A rustls session over a socket of the runtime.
//!
//! What a server says last in a handshake (its tickets; below TLS 1.3 its Finished) goes out with the payload that
//! follows, or when a read finds nothing: a connection with one request has its tickets, the response and the last record
//! in one system call.

use std::{
    future::poll_fn,
    io::{self, ErrorKind, IoSlice, Read, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustls::Connection;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What a server encrypts waits for more until there is this much payload, or until it is flushed. What a client encrypts
/// does not wait: whoever may have to send it again must know what was written. (rustls takes 64 KiB at the most that the
/// socket does not.)
const GATHERED_BYTES: usize = 16 * 1024;

/// A connection whose handshake is done.
pub struct Session {
    tls: Connection,
    socket: TcpStream,
    /// Payload that was encrypted since everything had been written.
    gathered: usize,
    /// A record was not what it should be; the payload before it may still have to be read.
    broken: bool,
}

impl Session {
    pub fn new(tls: Connection, socket: TcpStream) -> Self {
        Self { tls, socket, gathered: 0, broken: false }
    }

    /// Makes the handshake; `received` is what the peer has sent already. What a server says last is kept back, see above.
    ///
    /// # Errors
    /// Of rustls (inside) or of the socket; `UnexpectedEof` when the peer closes.
    pub async fn handshake(&mut self, mut received: &[u8]) -> io::Result<()> {
        poll_fn(|cx| {
            while self.tls.is_handshaking() {
                ready!(self.poll_flush(cx))?;
                let read = if received.is_empty() {
                    ready!(self.poll_receive(cx))?
                } else {
                    let read = self.tls.read_tls(&mut received)?;
                    self.process(cx)?;
                    read
                };
                if read == 0 && self.tls.is_handshaking() {
                    return Poll::Ready(Err(io::Error::from(ErrorKind::UnexpectedEof)));
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        if let Connection::Client(_) = self.tls {
            // Whoever connects may wait to hear something, and the server is to know the client by then.
            poll_fn(|cx| self.poll_flush(cx)).await?;
        }
        Ok(())
    }

    pub fn tls(&self) -> &Connection {
        &self.tls
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// As [`AsyncRead::poll_read`]; gives what is there of several records.
    ///
    /// # Errors
    /// Of rustls (inside), when what came before has been given, or of the socket; also when the peer closes without saying so
    /// (RFC 8446 section 6.1).
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        loop {
            match self.tls.reader().into_first_chunk() {
                Ok(payload) if !payload.is_empty() && into.remaining() > 0 => {
                    let read = payload.len().min(into.remaining());
                    into.put_slice(&payload[..read]);
                    io::BufRead::consume(&mut self.tls.reader(), read);
                }
                // No room, or the end, which the next read finds again, as it does how it came.
                Ok(_) => return Poll::Ready(Ok(())),
                Err(_) if into.filled().len() > before => return Poll::Ready(Ok(())),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Err(_) if self.broken => return Poll::Ready(self.process(cx)),
                Err(_) => match self.poll_receive(cx) {
                    Poll::Pending => {
                        // If that fails, there may still be something to read: why, or an answer.
                        let _ = self.poll_flush(cx);
                        return Poll::Pending;
                    }
                    // What came before it is given first.
                    Poll::Ready(Err(_)) if self.broken => {}
                    Poll::Ready(read) => _ = read?,
                },
            }
        }
    }

    /// Ready when a read is worth trying. Does no system call: whoever waits like this and has nothing to send flushes.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let first = self.tls.reader().into_first_chunk();
        if self.broken || !first.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            // What was decrypted with an earlier record announces itself on no socket.
            return Poll::Ready(());
        }
        self.socket.poll_read_ready(cx).map(|_| ())
    }

    /// Takes payload. A server's is written when there is enough of it, or with [`Self::poll_flush`].
    ///
    /// # Errors
    /// Of rustls or of the socket.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if parts.iter().all(|part| part.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        loop {
            let taken = self.tls.writer().write_vectored(parts)?;
            self.gathered += taken;
            let waits = matches!(self.tls, Connection::Server(_)) && self.gathered < GATHERED_BYTES;
            let flushed = if taken > 0 && waits { Poll::Ready(()) } else { self.poll_flush(cx)? };
            match (taken, flushed) {
                (0, Poll::Pending) => return Poll::Pending,
                (0, Poll::Ready(())) => {}
                (taken, _) => return Poll::Ready(Ok(taken)),
            }
        }
    }

    /// Waits until everything has reached the socket.
    ///
    /// # Errors
    /// Of the socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut NonBlocking { socket: &mut self.socket, cx }) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.gathered = 0;
        Poll::Ready(Ok(()))
    }

    /// Nothing follows what was taken: the peer is told so behind it.
    pub fn end(&mut self) {
        self.tls.send_close_notify();
    }

    /// Ends, and waits until the socket has it.
    ///
    /// # Errors
    /// Of the socket.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        self.poll_flush(cx)
    }

    /// Ends, and closes this side.
    ///
    /// # Errors
    /// Of the socket.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Reads from the socket; 0 when the peer has closed it.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = match self.tls.read_tls(&mut NonBlocking { socket: &mut self.socket, cx }) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
            read => read?,
        };
        self.process(cx)?;
        Poll::Ready(Ok(read))
    }

    fn process(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let processed = self.tls.process_new_packets().map_err(of_rustls);
        if processed.is_err() {
            // The alert that says why, if the socket takes it.
            let _ = self.poll_flush(cx);
        }
        self.broken = processed.is_err();
        processed.map(|_| ())
    }
}

fn of_rustls(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// The socket as rustls wants it: `WouldBlock` where it would have to wait; then the task is woken.
struct NonBlocking<'a, 'b> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

fn now<T>(done: Poll<io::Result<T>>) -> io::Result<T> {
    if let Poll::Ready(done) = done { done } else { Err(ErrorKind::WouldBlock.into()) }
}

impl Read for NonBlocking<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(into);
        now(Pin::new(&mut *self.socket).poll_read(self.cx, &mut into))?;
        Ok(into.filled().len())
    }
}

impl Write for NonBlocking<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.socket).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if let [part] = parts {
            // A plain send costs the kernel less.
            return self.write(part);
        }
        now(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use rustls::{ClientConnection, ServerConnection, pki_types::ServerName};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        base::Secret,
        tls::{
            Certificate, Findings, Inbound, Negotiable, Outbound, choice::Choice, hello, identity::Identity,
            trust::ServerTrust,
        },
    };

    /// Both ends of a handshake by default settings; the client has offered these protocols.
    async fn pair(offered: Vec<Vec<u8>>) -> (Session, Session) {
        let mut findings = Findings::default();
        let negotiable = Negotiable::read(None, None, &[], &[], &mut findings).unwrap();
        let certificate = Certificate {
            key: Secret::new(include_str!("fixtures/ec-sec1.key").to_owned()),
            crt: include_str!("fixtures/ec.crt").to_owned(),
        };
        let identity = Identity::read(&certificate, Timestamp::UNIX_EPOCH, &mut findings).unwrap();
        let inbound = Arc::new(Inbound::new(negotiable.clone(), Choice::new(identity), None));
        let server = Arc::clone(inbound.context(None).unwrap().rustls().unwrap());
        let outbound = Arc::new(Outbound::new(negotiable, ServerTrust::Anyone, None));
        let mut client = outbound.context().unwrap().rustls().unwrap().as_ref().clone();
        client.alpn_protocols = offered;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accept = async {
            let (socket, _) = listener.accept().await.unwrap();
            let hello::Greeted { socket, received } = hello::collect(socket).await.unwrap();
            let tls = ServerConnection::new(server).unwrap();
            made(Session::new(tls.into(), socket), &received).await
        };
        let connect = async {
            let socket = TcpStream::connect(address).await.unwrap();
            let tls =
                ClientConnection::new(Arc::new(client), ServerName::try_from("any.test").unwrap()).unwrap();
            made(Session::new(tls.into(), socket), &[]).await
        };
        futures_util::future::join(accept, connect).await
    }

    async fn made(mut session: Session, received: &[u8]) -> Session {
        session.handshake(received).await.unwrap();
        session
    }

    async fn write(session: &mut Session, bytes: &[u8]) -> usize {
        poll_fn(|cx| session.poll_write(cx, &[IoSlice::new(bytes)])).await.unwrap()
    }

    async fn flush(session: &mut Session) {
        poll_fn(|cx| session.poll_flush(cx)).await.unwrap();
    }

    /// What one read gives.
    async fn read(session: &mut Session) -> io::Result<Vec<u8>> {
        let mut room = [0; 1024];
        let mut into = ReadBuf::new(&mut room);
        poll_fn(|cx| session.poll_read(cx, &mut into)).await?;
        Ok(into.filled().to_vec())
    }

    /// What the kernel has for a session after a moment.
    async fn received(session: &Session) -> usize {
        let mut room = vec![0; 32 * 1024];
        let peeked = session.socket().peek(&mut room);
        tokio::time::timeout(std::time::Duration::from_millis(50), peeked).await.map_or(0, Result::unwrap)
    }

    fn tickets(session: &Session) -> u32 {
        let Connection::Client(client) = session.tls() else { panic!("servers receive none") };
        client.tls13_tickets_received()
    }

    #[actix_rt::test]
    async fn tickets_and_the_end_go_out_with_the_only_response() {
        let (mut server, mut client) = pair(Vec::new()).await;
        assert_eq!(received(&client).await, 0, "tickets are kept back");
        assert_eq!(write(&mut server, b"response").await, 8);
        assert_eq!(received(&client).await, 0, "so is what is not flushed");
        server.end();
        flush(&mut server).await;
        assert_eq!(read(&mut client).await.unwrap(), b"response");
        assert_eq!(tickets(&client), 2);
        assert_eq!(read(&mut client).await.unwrap(), b"", "the end, said as TLS says it");
    }

    #[actix_rt::test]
    async fn tickets_go_out_when_a_read_finds_nothing() {
        let (mut server, mut client) = pair(Vec::new()).await;
        let silent = tokio::time::timeout(std::time::Duration::from_millis(10), read(&mut server)).await;
        assert!(silent.is_err());
        assert!(received(&client).await > 0);
        write(&mut server, b"later").await;
        flush(&mut server).await;
        assert_eq!(read(&mut client).await.unwrap(), b"later");
        assert_eq!(tickets(&client), 2);
    }

    #[actix_rt::test]
    async fn much_payload_waits_for_nothing() {
        let (mut server, client) = pair(Vec::new()).await;
        assert_eq!(write(&mut server, &[7; GATHERED_BYTES]).await, GATHERED_BYTES);
        assert!(received(&client).await > GATHERED_BYTES);
    }

    #[actix_rt::test]
    async fn what_a_client_sends_does_not_wait_and_several_records_are_read_at_once() {
        let (mut server, mut client) = pair(Vec::new()).await;
        for part in [b"one ", b"two "] {
            let before = received(&server).await;
            write(&mut client, part).await;
            assert!(received(&server).await > before);
        }
        assert_eq!(read(&mut server).await.unwrap(), b"one two ");
    }

    #[actix_rt::test]
    async fn an_answer_is_read_although_nothing_can_be_written_any_more() {
        let (mut server, mut client) = pair(Vec::new()).await;
        write(&mut client, b"much").await;
        assert_eq!(read(&mut server).await.unwrap(), b"much");
        write(&mut server, b"too much").await;
        flush(&mut server).await;
        // The client's socket takes nothing more.
        poll_fn(|cx| Pin::new(&mut client.socket).poll_shutdown(cx)).await.unwrap();
        let refused = poll_fn(|cx| client.poll_write(cx, &[IoSlice::new(b"more")])).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(read(&mut client).await.unwrap(), b"too much");
    }

    #[actix_rt::test]
    async fn a_peer_that_closes_without_saying_so_is_an_error() {
        let (mut server, mut client) = pair(Vec::new()).await;
        write(&mut client, b"request").await;
        flush(&mut client).await;
        drop(client);
        assert_eq!(read(&mut server).await.unwrap(), b"request");
        let error = read(&mut server).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[actix_rt::test]
    async fn what_came_before_a_broken_record_is_read_first() {
        let (mut server, mut client) = pair(Vec::new()).await;
        write(&mut server, b"whole").await;
        flush(&mut server).await;
        let broken = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
        assert_eq!(server.socket.try_write(&broken).unwrap(), broken.len());
        assert_eq!(read(&mut client).await.unwrap(), b"whole");
        poll_fn(|cx| client.poll_readable(cx)).await;
        for _ in 0..2 {
            assert_eq!(read(&mut client).await.unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }

    #[actix_rt::test]
    async fn a_client_hello_of_several_reads_is_heard() {
        let offered: Vec<Vec<u8>> = (0..60).map(|_| vec![b'x'; 200]).chain([b"h2".to_vec()]).collect();
        let (server, client) = pair(offered).await;
        assert_eq!(server.tls().alpn_protocol(), client.tls().alpn_protocol());
        assert_eq!(server.tls().alpn_protocol(), Some(&b"h2"[..]));
    }
}
