//! An upstream that speaks HTTP/2 by hand: well-behaved, unless a test gives it an act to play.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::http2::{Http2, block, data, flag, frame, kind, settings};
use crate::{eventually, lock};

/// What is done with a connection, from its preface on. `None` ends the connection; otherwise it is well-behaved from
/// there on.
pub type Act = fn(&mut Served) -> Option<()>;

/// What every well-behaved answer carries.
pub const BODY: &[u8] = b"a body";

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    act: Mutex<Option<Act>>,
    connections: AtomicUsize,
    requests: Arc<AtomicUsize>,
    accepted: AtomicUsize,
    open: Mutex<HashMap<usize, TcpStream>>,
}

/// A running server; it accepts nobody any more when the value goes.
pub struct Http2Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Http2Upstream {
    /// # Panics
    /// When no socket can be opened.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port of loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if state.stop.load(Ordering::SeqCst) {
                    return;
                }
                let id = state.accepted.fetch_add(1, Ordering::SeqCst);
                if let Ok(twin) = socket.try_clone() {
                    lock(&state.open).insert(id, twin);
                }
                let state = Arc::clone(&state);
                std::thread::spawn(move || {
                    serve(socket, &state);
                    lock(&state.open).remove(&id);
                });
            }
        });
        Self { address, shared }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `h2://127.0.0.1:PORT`, for a service's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("h2://{}", self.address)
    }

    /// Plays this on every connection that is made from now on; `None`: behaves. Counting begins anew.
    pub fn play(&self, act: Option<Act>) {
        *lock(&self.shared.act) = act;
        self.shared.connections.store(0, Ordering::SeqCst);
        self.shared.requests.store(0, Ordering::SeqCst);
    }

    /// Ends this side of every connection.
    pub fn half_close(&self) {
        for socket in lock(&self.shared.open).values() {
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    /// Ends every connection, and waits until the gateway has ended them too.
    pub fn end_connections(&self) {
        self.half_close();
        eventually("the connections end", || lock(&self.shared.open).is_empty().then_some(()));
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        lock(&self.shared.open).len()
    }

    /// Requests that came since [`Http2Upstream::play`].
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Connections made since [`Http2Upstream::play`].
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(socket: TcpStream, shared: &Shared) {
    let act = *lock(&shared.act);
    let number = shared.connections.fetch_add(1, Ordering::SeqCst);
    let requests = Arc::clone(&shared.requests);
    let Ok(wire) = Http2::accepted(socket) else { return };
    let mut served = Served { wire, number, requests };
    let goes_on = match act {
        Some(act) => act(&mut served),
        None => {
            served.send(&settings(&[]));
            Some(())
        }
    };
    if goes_on.is_some() {
        served.behave();
    }
}

/// A connection as its server sees it.
pub struct Served {
    pub wire: Http2,
    /// Which connection of the act it is, from 0.
    pub number: usize,
    requests: Arc<AtomicUsize>,
}

impl Served {
    pub fn send(&mut self, bytes: &[u8]) {
        self.wire.send(bytes);
    }

    /// Requests of all connections of the act so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The stream of the next request that is complete; `None` when the connection ends first.
    pub fn request(&mut self) -> Option<u32> {
        loop {
            let frame = self.wire.receive().ok()??;
            if frame.kind == kind::HEADERS {
                self.wire.fields(&frame).ok()?;
                self.requests.fetch_add(1, Ordering::SeqCst);
            }
            if matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.has(flag::END_STREAM) {
                return Some(frame.stream);
            }
        }
    }

    /// Sends SETTINGS as a server should and waits for a request.
    pub fn asked(&mut self) -> Option<u32> {
        self.send(&settings(&[]));
        self.request()
    }

    /// As [`Served::asked`], and sends these bytes as the answer.
    pub fn answer(&mut self, bytes: impl FnOnce(u32) -> Vec<u8>) -> Option<()> {
        let stream = self.asked()?;
        self.send(&bytes(stream));
        Some(())
    }

    /// Waits until the gateway has read everything that was sent: it answers a PING.
    pub fn has_been_read(&mut self) -> Option<()> {
        self.send(&frame(kind::PING, flag::NONE, 0, b"sentinel"));
        loop {
            let frame = self.wire.receive().ok()??;
            if frame.kind == kind::PING && frame.has(flag::ACK) {
                return Some(());
            }
        }
    }

    /// Sends pieces made from a counter, far beyond any limit, while what comes back is thrown away; then waits until the
    /// gateway has ended the connection.
    pub fn flood(&mut self, piece: impl Fn(u32) -> Vec<u8>) -> Option<()> {
        const PIECES: u32 = 200_000;
        let draining = self.drain().ok()?;
        for at in (0..PIECES).step_by(200) {
            let bytes: Vec<u8> = (at..at + 200).flat_map(&piece).collect();
            if !self.wire.try_send(&bytes) {
                break;
            }
        }
        let _ = draining.join();
        None
    }

    fn drain(&self) -> io::Result<JoinHandle<()>> {
        let mut socket = self.wire.socket().try_clone()?;
        Ok(std::thread::spawn(move || {
            let mut scrap = vec![0; 64 * 1024];
            while socket.read(&mut scrap).is_ok_and(|count| count > 0) {}
        }))
    }

    fn behave(&mut self) {
        while let Some(stream) = self.request() {
            self.send(&whole(stream));
        }
    }
}

/// HEADERS with these fields.
#[must_use]
pub fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, &block(fields))
}

/// A complete answer.
#[must_use]
pub fn whole(stream: u32) -> Vec<u8> {
    [head(stream, flag::END_HEADERS, &[(":status", "200")]), data(stream, flag::END_STREAM, BODY)].concat()
}
