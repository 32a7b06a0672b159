//! The workers: one thread each for all listeners, sharing nothing (decision 23).

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_rt::Arbiter;
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::{
    acceptor::{Listener, accept},
    pool::Pools,
    resolver::Resolver,
    timers::Timers,
};
use crate::{
    policy::Chain,
    snapshot::{EngineSettings, SnapshotReader, cell::Pins},
    telemetry::metrics::{GatewayMetrics, Registry, enter_worker},
};

/// How often idle upstream connections are looked at.
const REAP_PERIOD: Duration = Duration::from_millis(250);

/// What the control path tells a worker. Few and small: the channel needs no bound.
pub enum WorkerCommand {
    /// Accept on this socket.
    Open { address: SocketAddr, socket: std::net::TcpListener },
    /// Stop accepting on an address; its connections have this long to end.
    Close { address: SocketAddr, drain: Duration },
    /// The process is going to end: every response closes its connection.
    Drain,
}

/// What all workers of a process have in common.
#[derive(Clone)]
pub struct Shared {
    pub snapshots: SnapshotReader,
    pub resolver: Arc<Resolver>,
    pub registry: Arc<Registry>,
    /// Open client connections of the process.
    pub connections: Arc<AtomicUsize>,
}

/// One worker, on its own thread.
pub struct Worker {
    pub pins: Pins,
    pub pools: Pools,
    pub timers: Rc<Timers>,
    pub resolver: Arc<Resolver>,
    pub metrics: Arc<GatewayMetrics>,
    /// For answers to requests that no instance serves.
    pub no_policies: Chain,
    connections: Arc<AtomicUsize>,
    draining: Cell<bool>,
    server: RefCell<Option<Rc<str>>>,
    listeners: RefCell<HashMap<SocketAddr, Rc<Listener>>>,
}

impl Worker {
    pub(super) fn new(shared: Shared) -> Rc<Self> {
        Rc::new(Self {
            pins: shared.snapshots.pins(),
            pools: Pools::default(),
            timers: Timers::new(),
            resolver: shared.resolver,
            metrics: shared.registry.gateway(),
            no_policies: Chain::default(),
            connections: shared.connections,
            draining: Cell::new(false),
            server: RefCell::default(),
            listeners: RefCell::default(),
        })
    }

    async fn run(self: Rc<Self>, mut commands: UnboundedReceiver<WorkerCommand>) {
        actix_rt::spawn(Rc::clone(&self.timers).run());
        actix_rt::spawn(Rc::clone(&self).reap());
        while let Some(command) = commands.recv().await {
            match command {
                WorkerCommand::Open { address, socket } => {
                    if let Err(error) = self.open(address, socket) {
                        tracing::error!(%address, %error, "cannot listen");
                    }
                }
                WorkerCommand::Close { address, drain } => self.close(address, drain),
                WorkerCommand::Drain => self.draining.set(true),
            }
        }
    }

    fn open(self: &Rc<Self>, address: SocketAddr, socket: std::net::TcpListener) -> io::Result<()> {
        let socket = TcpListener::from_std(socket)?;
        let listener = Listener::new(address);
        self.listeners.borrow_mut().insert(address, Rc::clone(&listener));
        actix_rt::spawn(accept(Rc::clone(self), listener, socket));
        Ok(())
    }

    fn close(self: &Rc<Self>, address: SocketAddr, drain: Duration) {
        let Some(listener) = self.listeners.borrow_mut().remove(&address) else { return };
        listener.drain();
        let timers = Rc::clone(&self.timers);
        actix_rt::spawn(async move {
            tokio::time::sleep(drain).await;
            listener.close();
            timers.wake_all();
        });
    }

    async fn reap(self: Rc<Self>) {
        let mut interval = tokio::time::interval(REAP_PERIOD);
        let mut generation = 0;
        loop {
            interval.tick().await;
            let snapshot = self.pins.pin();
            if snapshot.generation != generation {
                generation = snapshot.generation;
                self.pools.retain(|id| snapshot.upstreams.iter().any(|upstream| upstream.id == id));
            }
            self.pools.reap(Instant::now());
        }
    }

    /// A place for one more client connection, or `None` at the limit.
    pub fn connection_slot(&self) -> Option<ConnectionSlot> {
        let limit = self.pins.pin().engine.connections_max;
        if self.connections.fetch_add(1, Ordering::AcqRel) >= limit {
            self.connections.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        self.metrics.connection_accepted();
        Some(ConnectionSlot {
            connections: Arc::clone(&self.connections),
            metrics: Arc::clone(&self.metrics),
        })
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    pub fn client_idle(&self) -> Duration {
        self.pins.pin().engine.client_idle
    }

    /// The value of `server` as this worker shares it between requests.
    pub fn server_name(&self, engine: &EngineSettings) -> Option<Rc<str>> {
        let wanted = engine.server.as_deref()?;
        let mut kept = self.server.borrow_mut();
        match &*kept {
            Some(name) if **name == *wanted => Some(Rc::clone(name)),
            _ => {
                let name: Rc<str> = wanted.into();
                *kept = Some(Rc::clone(&name));
                Some(name)
            }
        }
    }
}

/// Counts an open client connection.
pub struct ConnectionSlot {
    connections: Arc<AtomicUsize>,
    metrics: Arc<GatewayMetrics>,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
        self.metrics.connection_closed();
        if std::thread::panicking() {
            self.metrics.panicked();
        }
    }
}

/// The control path's end of a worker.
pub struct WorkerHandle {
    commands: UnboundedSender<WorkerCommand>,
    _arbiter: Arbiter,
}

/// All workers of the process.
pub struct Workers {
    handles: Vec<WorkerHandle>,
    pub shared: Shared,
}

impl Workers {
    /// Starts `count` threads. Call inside an actix system.
    pub fn start(count: usize, shared: Shared) -> Self {
        let handles = (0..count)
            .map(|index| {
                let (commands, receiver) = unbounded_channel();
                let arbiter = Arbiter::new();
                let shared = shared.clone();
                arbiter.spawn_fn(move || {
                    enter_worker(index);
                    actix_rt::spawn(Worker::new(shared).run(receiver));
                });
                WorkerHandle { commands, _arbiter: arbiter }
            })
            .collect();
        Self { handles, shared }
    }

    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Hands one socket to each worker.
    pub fn open(&self, address: SocketAddr, sockets: Vec<std::net::TcpListener>) {
        for (handle, socket) in self.handles.iter().zip(sockets) {
            handle.tell(WorkerCommand::Open { address, socket });
        }
    }

    pub fn close(&self, address: SocketAddr, drain: Duration) {
        for handle in &self.handles {
            handle.tell(WorkerCommand::Close { address, drain });
        }
    }

    pub fn drain(&self) {
        for handle in &self.handles {
            handle.tell(WorkerCommand::Drain);
        }
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }
}

impl WorkerHandle {
    fn tell(&self, command: WorkerCommand) {
        if self.commands.send(command).is_err() {
            tracing::error!("a worker has ended");
        }
    }
}
