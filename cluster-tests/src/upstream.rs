//! A scriptable HTTP/1.1 server: the script gets each request as it was received and writes whatever bytes it likes.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::wire::{Body, Head, Wire, framing, text};
use crate::{PATIENCE, lock};

/// How many requests are remembered: load tests send far more than anyone looks at.
const RECORDED_MAX: usize = 20_000;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub head: Head,
    pub method: String,
    pub target: String,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

/// One request in the hands of a script.
pub struct Exchange<'a> {
    pub request: Received,
    wire: &'a mut Wire,
    body: Body,
    close: bool,
}

impl Exchange<'_> {
    /// The next piece of the request's body, `None` at its end.
    ///
    /// # Errors
    /// A body that is cut or malformed.
    pub fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.wire.piece(&mut self.body)
    }

    /// The rest of the request's body.
    ///
    /// # Errors
    /// As [`Exchange::piece`].
    pub fn body(&mut self) -> io::Result<Vec<u8>> {
        self.wire.whole(&mut self.body)
    }

    /// Trailers of the request, once its body was read.
    #[must_use]
    pub fn trailers(&self) -> &[(String, String)] {
        &self.body.trailers
    }

    /// Writes exact bytes.
    ///
    /// # Errors
    /// As the socket.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write(bytes)
    }

    /// Writes a response with a length.
    ///
    /// # Errors
    /// As the socket.
    pub fn reply(&mut self, status: u16, extra: &str, body: &[u8]) -> io::Result<()> {
        let mut bytes =
            format!("HTTP/1.1 {status} Said\r\n{extra}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        if self.request.method != "HEAD" {
            bytes.extend_from_slice(body);
        }
        self.write(&bytes)
    }

    /// Answers with what was received: method, target, fields, body, trailers and the connection's number, as JSON.
    ///
    /// # Errors
    /// A request body that is cut, or as the socket.
    pub fn echo(&mut self, name: &str) -> io::Result<()> {
        let body = self.body()?;
        let request = &self.request;
        let seen = json!({
            "upstream": name, "method": request.method, "target": request.target, "fields": request.head.fields,
            "body": text(&body), "trailers": self.body.trailers, "connection": request.connection,
        });
        self.reply(200, "Content-Type: application/json\r\n", seen.to_string().as_bytes())
    }

    /// The connection itself, for what follows a switch of protocols.
    pub fn wire(&mut self) -> &mut Wire {
        self.wire
    }

    /// Closes the connection when the script returns. With unread request bytes the peer sees a reset.
    pub fn close(&mut self) {
        self.close = true;
    }

    /// Resets the connection when the script returns.
    ///
    /// # Errors
    /// As the socket.
    pub fn reset(&mut self) -> io::Result<()> {
        self.close = true;
        self.wire.reset_at_end()
    }

    /// Waits until the gateway closes this connection; true when it did within the harness's patience.
    pub fn until_closed(&mut self) -> bool {
        loop {
            match self.wire.fill() {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }
}

type Script = dyn Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync;

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    connections: AtomicUsize,
    received: Mutex<Vec<Received>>,
    problems: Mutex<Vec<String>>,
    open: Mutex<HashMap<usize, TcpStream>>,
}

/// A running server; ends with the value.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Serves every request by the script, which may keep the connection.
    ///
    /// # Panics
    /// When no socket can be opened.
    pub fn start(script: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("a constant address"), script)
    }

    /// As [`Upstream::start`], at an address of the caller's choice.
    ///
    /// # Panics
    /// When the socket cannot be opened.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener =
            TcpListener::bind(address).unwrap_or_else(|error| panic!("upstream at {address}: {error}"));
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let (state, script) = (Arc::clone(&shared), Arc::new(script));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if state.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (state, script) = (Arc::clone(&state), Arc::clone(&script));
                std::thread::spawn(move || serve(socket, &state, &*script));
            }
        });
        Self { address, shared }
    }

    /// Answers each request with what it received, see [`Exchange::echo`].
    #[must_use]
    pub fn echo(name: &'static str) -> Self {
        Self::start(move |exchange| exchange.echo(name))
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, for a service's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Heads of the requests received so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// Forgets them.
    pub fn forget(&self) {
        lock(&self.shared.received).clear();
        lock(&self.shared.problems).clear();
    }

    /// What this server could not parse strictly: bytes that the gateway should never have sent.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        lock(&self.shared.problems).clone()
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        lock(&self.shared.open).len()
    }

    /// Cuts every open connection.
    pub fn cut(&self) {
        for socket in lock(&self.shared.open).values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.cut();
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(socket: TcpStream, state: &Shared, script: &Script) {
    let connection = state.connections.fetch_add(1, Ordering::Relaxed);
    if let Ok(twin) = socket.try_clone() {
        lock(&state.open).insert(connection, twin);
    }
    if let Ok(mut wire) = Wire::new(socket, PATIENCE * 4)
        && let Err(error) = serve_all(&mut wire, connection, state, script)
        && error.kind() == io::ErrorKind::InvalidData
    {
        lock(&state.problems).push(error.to_string());
    }
    lock(&state.open).remove(&connection);
}

fn serve_all(wire: &mut Wire, connection: usize, state: &Shared, script: &Script) -> io::Result<()> {
    while let Some(head) = wire.head()? {
        let mut words = head.first_line.splitn(3, ' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let body = Body::new(framing(&head, None, None)?);
        let request = Received { head, method, target, connection };
        {
            let mut received = lock(&state.received);
            if received.len() < RECORDED_MAX {
                received.push(request.clone());
            }
        }
        let mut exchange = Exchange { request, wire: &mut *wire, body, close: false };
        script(&mut exchange)?;
        if exchange.close {
            return Ok(());
        }
        exchange.body()?;
    }
    Ok(())
}
