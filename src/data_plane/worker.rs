//! The workers: one thread each for all listeners, sharing nothing (decision 23).

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_rt::Arbiter;
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};

use super::{
    acceptor::{Listener, accept},
    handshake::Handshakes,
    pool::{Pools, Recall, Recalls},
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

/// Large for the allocator (mimalloc), and never touched.
const ASKED_FOR_BYTES: usize = 8 * 1024 * 1024;

/// What the control path tells a worker. Few and small: the channel needs no bound.
enum WorkerCommand {
    /// Accept on this socket.
    Open { address: SocketAddr, socket: std::net::TcpListener },
    /// Stop accepting on an address; its connections have this long to end.
    Close { address: SocketAddr, drain: Duration },
    /// The process is going to end: every response closes its connection.
    Drain,
    /// The drain is over: what is still under way is cut.
    End,
}

/// What all workers of a process have in common.
#[derive(Clone)]
pub struct Shared {
    pub snapshots: SnapshotReader,
    pub resolver: Arc<Resolver>,
    pub registry: Arc<Registry>,
    pub recalls: Arc<Recalls>,
}

/// One worker, on its own thread.
pub struct Worker {
    /// Tells all workers that a request waits for a connection.
    pub recalls: Arc<Recalls>,
    /// Tells this one.
    recalled: Arc<Recall>,
    pub pins: Pins,
    pub pools: Pools,
    pub timers: Rc<Timers>,
    pub resolver: Arc<Resolver>,
    pub metrics: Arc<GatewayMetrics>,
    /// Places for TLS handshakes under way.
    pub handshakes: Handshakes,
    /// For answers to requests that no instance serves.
    pub no_policies: Chain,
    /// Requests under way.
    pub requests: Cell<usize>,
    draining: Cell<bool>,
    server: RefCell<Option<Rc<str>>>,
    listeners: RefCell<HashMap<SocketAddr, Rc<Listener>>>,
    /// Of addresses that have gone, while their connections have time to end.
    leaving: RefCell<Vec<Weak<Listener>>>,
}

impl Worker {
    pub(super) fn new(shared: Shared) -> Rc<Self> {
        let handshakes_max = shared.snapshots.load().engine.tls_handshakes_max;
        let recalled = shared.recalls.join();
        Rc::new(Self {
            recalls: shared.recalls,
            recalled,
            pins: shared.snapshots.pins(),
            pools: Pools::default(),
            timers: Timers::new(),
            resolver: shared.resolver,
            metrics: shared.registry.gateway(),
            handshakes: Handshakes::new(handshakes_max),
            no_policies: Chain::default(),
            requests: Cell::new(0),
            draining: Cell::new(false),
            server: RefCell::default(),
            listeners: RefCell::default(),
            leaving: RefCell::default(),
        })
    }

    /// Ends with the channel, or when a task has panicked that the worker cannot do without; the channel
    /// is closed then, which tells the control path ([`Workers::death`]).
    async fn run(self: Rc<Self>, mut commands: UnboundedReceiver<WorkerCommand>, mut vital: JoinSet<()>) {
        vital.spawn_local(Rc::clone(&self.timers).run());
        vital.spawn_local(Rc::clone(&self).reap());
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                ended = vital.join_next() => match ended {
                    // The accept loop of an address that was closed.
                    Some(Ok(())) => continue,
                    _ => None,
                },
            };
            let Some(command) = command else { break };
            match command {
                WorkerCommand::Open { address, socket } => {
                    if let Err(error) = self.open(address, socket, &mut vital) {
                        tracing::error!(%address, %error, "cannot listen");
                    }
                }
                WorkerCommand::Close { address, drain } => self.close(address, drain),
                WorkerCommand::Drain => self.drain(),
                WorkerCommand::End => self.end(),
            }
        }
        // What is left serves on until the process ends.
        self.draining.set(true);
        vital.detach_all();
    }

    /// Every response closes its connection from now on; clients of HTTP/2 are told at once.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.timers.wake_all();
    }

    /// Cuts what is under way, so that it is counted and logged.
    fn end(&self) {
        for listener in self.listeners.borrow().values() {
            listener.drain();
            listener.close();
        }
        for listener in self.leaving.borrow().iter().filter_map(Weak::upgrade) {
            listener.close();
        }
        self.timers.wake_all();
    }

    fn open(
        self: &Rc<Self>,
        address: SocketAddr,
        socket: std::net::TcpListener,
        vital: &mut JoinSet<()>,
    ) -> io::Result<()> {
        let socket = TcpListener::from_std(socket)?;
        let listener = Listener::new(address);
        self.listeners.borrow_mut().insert(address, Rc::clone(&listener));
        vital.spawn_local(accept(Rc::clone(self), listener, socket));
        Ok(())
    }

    fn close(self: &Rc<Self>, address: SocketAddr, drain: Duration) {
        let Some(listener) = self.listeners.borrow_mut().remove(&address) else { return };
        listener.drain();
        self.leaving.borrow_mut().push(Rc::downgrade(&listener));
        self.leaving.borrow_mut().retain(|listener| listener.strong_count() > 0);
        self.timers.wake_all();
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
            tokio::select! {
                _ = interval.tick() => {}
                wanted = self.recalled.wanted() => {
                    wanted.into_iter().for_each(|endpoint| self.pools.recall(endpoint));
                    continue;
                }
            }
            let snapshot = self.pins.pin();
            if snapshot.generation != generation {
                generation = snapshot.generation;
                self.pools.reload(&snapshot.upstreams);
            }
            self.pools.reap(&self.resolver, Instant::now());
            // The allocator looks for memory to give back when a large piece is freed: without this, a
            // worker that has nothing to do after a burst would keep what the burst took.
            drop(std::hint::black_box(Vec::<u8>::with_capacity(ASKED_FOR_BYTES)));
        }
    }

    /// A place for one more client connection, or `None` at the limit.
    pub fn connection_slot(&self) -> Option<ConnectionSlot> {
        let limit = self.pins.pin().engine.connections_max;
        self.metrics.admit(limit).then(|| ConnectionSlot(Arc::clone(&self.metrics)))
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
pub struct ConnectionSlot(Arc<GatewayMetrics>);

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.connection_closed();
        if std::thread::panicking() {
            self.0.panicked();
        }
    }
}

/// The control path's end of a worker.
struct WorkerHandle {
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
                    actix_rt::spawn(Worker::new(shared).run(receiver, JoinSet::new()));
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

    pub fn end(&self) {
        for handle in &self.handles {
            handle.tell(WorkerCommand::End);
        }
    }

    /// Waits until a worker has lost what it cannot do without, and gives its number.
    pub async fn death(&self) -> usize {
        let deaths = self.handles.iter().map(|handle| Box::pin(handle.commands.closed()));
        futures_util::future::select_all(deaths).await.1
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.shared.registry.gateway().connections()
    }
}

impl WorkerHandle {
    fn tell(&self, command: WorkerCommand) {
        if self.commands.send(command).is_err() {
            tracing::error!("a worker has ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        resources::kinds::GatewaySettings,
        settings::Settings,
        snapshot::{Snapshot, snapshot_cell},
    };

    fn shared() -> Shared {
        let engine = EngineSettings::of(&Settings::default(), &GatewaySettings::default());
        let registry = Arc::new(Registry::new(2));
        let resolver = Resolver::new(Duration::from_secs(5), Default::default(), registry.gateway());
        Shared {
            snapshots: snapshot_cell(Snapshot::empty(engine)).1,
            resolver: Arc::new(resolver),
            registry,
            recalls: Arc::default(),
        }
    }

    #[actix_rt::test]
    async fn a_worker_whose_thread_ends_is_noticed() {
        let workers = Workers::start(2, shared());
        workers.handles[1]._arbiter.stop();
        assert_eq!(workers.death().await, 1);
    }

    #[actix_rt::test]
    async fn a_worker_that_loses_a_vital_task_to_a_panic_is_noticed() {
        let (commands, receiver) = unbounded_channel();
        let worker = Worker::new(shared());
        let mut vital = JoinSet::new();
        vital.spawn_local(async { panic!("as the test wants it") });
        Rc::clone(&worker).run(receiver, vital).await;
        assert!(commands.is_closed());
        assert!(worker.is_draining(), "its connections are told to close");
    }
}
