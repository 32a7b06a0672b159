//! A TCP proxy between two local addresses that does to connections what networks do: slow them down, stall them, swallow
//! them, refuse and reset them. Faults change while it runs, each way by itself, and existing connections follow at once.

mod connection;
mod pipe;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use connection::Connection;
use socket2::{Domain, Socket, Type};

use crate::{eventually, lock, ports};

/// From here the proxy connects to itself to wake its acceptor: no client of a test does.
const WAKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// What is done to the bytes of one way. [`Faults::default`] does nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// Each piece goes on so much later.
    pub delay: Duration,
    /// At most so much later still, by chance; the order is kept.
    pub jitter: Duration,
    /// The chance of a piece, 0 to 1, to be lost and sent again: its connection stalls for [`Faults::stall`].
    pub loss: f64,
    /// What a loss costs, as a retransmission timeout of TCP does.
    pub stall: Duration,
    /// Nothing goes on, and nothing is lost: it comes when this ends, as TCP sends again after a partition.
    pub partition: bool,
    /// Bytes are taken and forgotten, connections stay. One that lost bytes this way stays silent when this ends, as
    /// behind a firewall that forgot it: a stream with a gap is nothing that TCP delivers.
    pub black_hole: bool,
    /// Bytes per second of one connection.
    pub bandwidth: Option<u64>,
}

/// Ways through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
    Both,
}

impl Way {
    fn indexes(self) -> std::ops::Range<usize> {
        match self {
            Self::ToServer => 0..1,
            Self::ToClient => 1..2,
            Self::Both => 0..2,
        }
    }
}

#[derive(Default)]
struct State {
    /// To the server, to the client.
    faults: [Faults; 2],
    refuse: bool,
    stop: bool,
    /// Nobody listens.
    closed: bool,
    open: Vec<Arc<Connection>>,
}

struct Shared {
    address: SocketAddr,
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
    connections: AtomicU64,
    /// Passed on: to the server, to the client.
    bytes: [Arc<AtomicU64>; 2],
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A running proxy; it ends with the value, and its connections with it.
pub struct FaultProxy {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// A proxy without faults on a port of its own, before this server, which need not be there yet.
    ///
    /// # Panics
    /// When its port cannot be opened.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let listener = TcpListener::bind(address).expect("a port that was just free");
        let shared = Arc::new(Shared {
            address,
            target,
            state: Mutex::default(),
            changed: Condvar::new(),
            connections: AtomicU64::new(0),
            bytes: Default::default(),
        });
        let inner = Arc::clone(&shared);
        let acceptor = Some(std::thread::spawn(move || accept(&inner, listener)));
        Self { shared, acceptor }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Puts these faults in the place of those that were there. Existing connections follow at once, also with what is on its
    /// way.
    pub fn set(&self, way: Way, faults: Faults) {
        let mut state = self.shared.state();
        for index in way.indexes() {
            state.faults[index] = faults;
            for connection in &state.open {
                connection.pipe(index).set(faults);
            }
        }
    }

    /// [`FaultProxy::set`] for both ways: each piece so much later, both there and back.
    pub fn delay(&self, delay: Duration) {
        self.set(Way::Both, Faults { delay, ..Faults::default() });
    }

    /// [`FaultProxy::set`] for both ways: [`Faults::partition`].
    pub fn partition(&self) {
        self.set(Way::Both, Faults { partition: true, ..Faults::default() });
    }

    /// [`FaultProxy::set`] for both ways: [`Faults::black_hole`].
    pub fn black_hole(&self) {
        self.set(Way::Both, Faults { black_hole: true, ..Faults::default() });
    }

    /// New connections are refused; those that are there stay. In force when it returns.
    pub fn refuse(&self) {
        self.shared.state().refuse = true;
        self.await_acceptor(true);
    }

    /// No faults any more, and new connections are accepted. In force when it returns.
    pub fn heal(&self) {
        self.set(Way::Both, Faults::default());
        self.shared.state().refuse = false;
        self.await_acceptor(false);
    }

    /// Ends all connections with a reset (RST), on both sides. They are gone when it returns.
    ///
    /// # Panics
    /// When they do not end within the harness's patience.
    pub fn reset_connections(&self) {
        let gone = std::mem::take(&mut self.shared.state().open);
        let gone: Vec<_> = gone
            .into_iter()
            .map(|connection| {
                connection.reset();
                Arc::downgrade(&connection)
            })
            .collect();
        eventually("connections that were reset are gone", || {
            gone.iter().all(|connection| connection.strong_count() == 0).then_some(())
        });
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.state().open.len()
    }

    /// Bytes that were passed on so far.
    #[must_use]
    pub fn bytes(&self, way: Way) -> u64 {
        way.indexes().map(|index| self.shared.bytes[index].load(Ordering::Relaxed)).sum()
    }

    fn await_acceptor(&self, closed: bool) {
        self.shared.changed.notify_all();
        eventually("the proxy's port follows", || {
            if closed {
                self.wake();
            }
            (self.shared.state().closed == closed).then_some(())
        });
    }

    /// The acceptor looks at the state when one comes from [`WAKER`]; before it everyone who was there earlier is accepted.
    fn wake(&self) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((WAKER, 0)).into()).expect("loopback has many addresses");
        // Nobody listens any more: nobody is to be woken.
        let _ = socket.connect(&self.shared.address.into());
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.changed.notify_all();
        self.wake();
        if let Some(acceptor) = self.acceptor.take() {
            // It may have panicked; the test says so by itself.
            let _ = acceptor.join();
        }
        for connection in std::mem::take(&mut self.shared.state().open) {
            connection.reset();
        }
    }
}

/// Accepts until the proxy stops; while it refuses, nobody listens.
fn accept(shared: &Arc<Shared>, mut listener: TcpListener) {
    loop {
        if let Ok((client, from)) = listener.accept()
            && from.ip() != WAKER
        {
            serve(shared, client);
            continue;
        }
        if shared.state().refuse {
            drop(listener);
            match reopened(shared) {
                Some(again) => listener = again,
                None => return,
            }
        }
        if shared.state().stop {
            return;
        }
    }
}

/// Says that nobody listens, and listens again when the proxy no longer refuses; `None` when it stops.
fn reopened(shared: &Shared) -> Option<TcpListener> {
    let mut state = shared.state();
    state.closed = true;
    loop {
        if state.stop {
            return None;
        }
        // Nobody else of this process gets the port; another one may hold it for a moment.
        if !state.refuse
            && let Ok(listener) = TcpListener::bind(shared.address)
        {
            state.closed = false;
            return Some(listener);
        }
        let waited = shared.changed.wait_timeout(state, Duration::from_millis(20));
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn serve(shared: &Arc<Shared>, client: TcpStream) {
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let Ok(connection) = connect(&shared, client) else {
            return;
        };
        connection.run(&shared.bytes);
        shared.state().open.retain(|other| !Arc::ptr_eq(other, &connection));
    });
}

/// A connection to the server, known to all who change faults; when there is none the client sees a reset.
fn connect(shared: &Shared, client: TcpStream) -> io::Result<Arc<Connection>> {
    let server = TcpStream::connect(shared.target).inspect_err(|_| {
        let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
    })?;
    let mut state = shared.state();
    let connection = Arc::new(Connection::new(client, server, state.faults)?);
    if state.stop {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    state.open.push(Arc::clone(&connection));
    Ok(connection)
}
