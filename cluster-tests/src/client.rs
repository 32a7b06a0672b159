//! A client that writes exact bytes and reads what comes back strictly.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::PATIENCE;
use crate::wire::{Body, Head, Wire, framing, invalid, status};

/// One complete response.
#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Heads of 1xx responses that came before.
    pub interim: Vec<Head>,
}

impl Response {
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, for the echo of [`crate::upstream::Upstream::echo`].
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}), status {}: {}", self.status, self.text()))
    }

    /// Whether the server said that it closes the connection.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.head.all("connection").any(|value| value.to_ascii_lowercase().contains("close"))
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    pub wire: Wire,
}

impl Client {
    /// # Errors
    /// When nobody listens.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        Ok(Self { wire: Wire::new(socket, PATIENCE)? })
    }

    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Writes the bytes as one piece. Errors are left for the reading side to find: a server that refuses may close first.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.wire.write(bytes);
    }

    /// Writes the bytes one at a time.
    pub fn send_bytewise(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.wire.write(std::slice::from_ref(byte)).is_err() {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Writes the bytes one at a time, or as one piece.
    pub fn send_as(&mut self, bytewise: bool, bytes: &[u8]) {
        if bytewise {
            self.send_bytewise(bytes);
        } else {
            self.send(bytes);
        }
    }

    /// The head of the next response, interim ones included.
    ///
    /// # Errors
    /// A closed connection, a timeout, or bytes that are not a strict head.
    pub fn any_head(&mut self) -> io::Result<(u16, Head)> {
        let head = self.wire.head()?.ok_or_else(|| invalid("closed without a response"))?;
        Ok((status(&head)?, head))
    }

    /// The head of the next final response and the state of its body.
    ///
    /// # Errors
    /// As [`Client::any_head`].
    pub fn head_for(&mut self, method: &str) -> io::Result<(Response, Body)> {
        let mut response = Response::default();
        loop {
            let (code, head) = self.any_head()?;
            if (100..200).contains(&code) && code != 101 {
                response.interim.push(head);
                continue;
            }
            let body = Body::new(framing(&head, Some(code), Some(method))?);
            (response.status, response.head) = (code, head);
            return Ok((response, body));
        }
    }

    /// The next complete response.
    ///
    /// # Errors
    /// As [`Client::any_head`], and a body that is cut or malformed.
    pub fn response_to(&mut self, method: &str) -> io::Result<Response> {
        let (mut response, mut body) = self.head_for(method)?;
        response.body = self.wire.whole(&mut body)?;
        response.trailers = body.trailers;
        Ok(response)
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// As [`Client::response_to`].
    pub fn exchange(&mut self, method: &str, request: &[u8]) -> io::Result<Response> {
        self.send(request);
        self.response_to(method)
    }

    /// A GET without a body, with these extra field lines (each ending in CRLF).
    ///
    /// # Panics
    /// When no strict response comes.
    pub fn get(&mut self, path: &str, host: &str, extra: &str) -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n");
        self.exchange("GET", request.as_bytes()).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// Whether the server closes without sending another byte; waits for it.
    pub fn closed(&mut self) -> bool {
        if !self.wire.buffered().is_empty() {
            return false;
        }
        match self.wire.fill() {
            Ok(count) => count == 0,
            Err(error) => {
                matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
            }
        }
    }

    /// Leaves with a reset.
    ///
    /// # Panics
    /// Never on a connected socket.
    pub fn reset(self) {
        self.wire.reset_at_end().expect("a connected socket");
    }

    /// Whether nothing arrives for this long, on an open connection.
    pub fn silent_for(&mut self, time: Duration) -> bool {
        let limit = |client: &Self, time| client.wire.socket().set_read_timeout(Some(time));
        if !self.wire.buffered().is_empty() || limit(self, time).is_err() {
            return false;
        }
        let silent = self
            .wire
            .fill()
            .is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
        let _ = limit(self, PATIENCE);
        silent
    }
}

/// One GET on a connection of its own.
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Response {
    Client::connect(address).get(path, "gateway.test", "Connection: close\r\n")
}

/// One request with any method and body on a connection of its own.
///
/// # Panics
/// When no strict response comes.
#[must_use]
pub fn call(address: SocketAddr, method: &str, path: &str, extra: &str, body: &str) -> Response {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{extra}{length}\r\n{body}"
    );
    Client::connect(address)
        .exchange(method, request.as_bytes())
        .unwrap_or_else(|error| panic!("{method} {path} at {address}: {error}"))
}
