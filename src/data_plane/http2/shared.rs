//! The connections to an upstream that speaks HTTP/2: few, shared by the requests of one worker.

use std::{
    cell::{Cell, Ref, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use h2::client::SendRequest;
use tokio::sync::Notify;

use super::{
    UPSTREAM_STREAMS_MAX,
    chunk::Chunk,
    drive::{builder, drive},
    io::Io,
    meter::Meter,
};
use crate::{
    data_plane::{
        connect::ConnectError,
        http1::wire::Transport,
        pool::{AcquireError, ByLine, Connection, Opening, Pool, Waiting, Wanted},
        servers::Server,
    },
    snapshot::{Permit, Speaks, UpstreamPlan, line::Grant},
};

/// Connections of one worker to one upstream. A second one is opened when the first has no room for
/// another stream; each costs the upstream memory, and more than a few add nothing.
const CONNECTIONS_MAX: usize = 8;

/// The connections of one worker to one upstream.
#[derive(Default)]
pub struct SharedConnections {
    open: RefCell<Vec<Rc<SharedConnection>>>,
    /// One is being opened: requests that come meanwhile wait for it.
    connecting: Cell<bool>,
    /// Requests of this worker that wait for a place, who came first in front, and what tells them to look.
    waiting: RefCell<VecDeque<Rc<Notify>>>,
}

/// One connection.
pub struct SharedConnection {
    server: Rc<Server>,
    /// The upstream whose request opened it, among whose connections it counts.
    opened_for: RefCell<Arc<UpstreamPlan>>,
    requests: SendRequest<Chunk>,
    pub meter: Rc<Meter>,
    streams: Cell<usize>,
    /// No new streams: it has ended, or its peer has said GOAWAY.
    ended: Cell<bool>,
    idle_since: Cell<Instant>,
}

/// A place on a connection for one stream.
pub struct Slot {
    pub connection: Rc<SharedConnection>,
    home: Rc<SharedConnections>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        connection.idle_since.set(Instant::now());
        if connection.is_idle() {
            connection.opened_for().metrics.idle_added();
            if !self.home.is_waited_for() {
                self.home.recall();
            }
        }
        self.home.wake_first();
    }
}

impl Drop for SharedConnection {
    fn drop(&mut self) {
        self.opened_for().metrics.idle_removed();
        self.opened_for().metrics.closed();
    }
}

impl SharedConnection {
    /// A handle to send one request with.
    pub fn requests(&self) -> SendRequest<Chunk> {
        self.requests.clone()
    }

    fn opened_for(&self) -> Ref<'_, Arc<UpstreamPlan>> {
        self.opened_for.borrow()
    }

    /// Takes no new streams from now on.
    pub fn retire(&self) {
        self.ended.set(true);
    }

    fn has_room(&self) -> bool {
        !self.ended.get()
            && self.streams.get()
                < self.requests.current_max_send_streams().min(UPSTREAM_STREAMS_MAX as usize)
    }

    fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    pub fn leads_to(&self, server: &Rc<Server>) -> bool {
        Rc::ptr_eq(&self.server, server)
    }

    /// Whether its peer still takes requests, and is where the name of the upstream leads.
    fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        !self.ended.get()
            && !self.server.is_gone()
            && !matches!(self.requests.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }
}

impl SharedConnections {
    /// A place for one stream that none is at hand for: on a new connection, else on the next that has room. `None`:
    /// the upstream has chosen HTTP/1.1, with a connection that another request made.
    ///
    /// # Errors
    /// [`AcquireError`]. Waiting has no limit of its own: the caller's deadline ends it.
    pub async fn acquire(
        self: &Rc<Self>,
        pool: &Rc<Pool>,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Connection>, AcquireError> {
        let plan = wanted.plan;
        let open = async |permit: Permit| {
            let opened = {
                let _connecting = Connecting::begin(self);
                pool.open(wanted, permit).await
            };
            match opened {
                // Who takes no more connections may still serve those that it has.
                Err(_) if let Some(slot) = self.any(plan) => Ok(Some(Connection::Http2(slot))),
                opened => opened.map(Some),
            }
        };
        let mut waiting: Option<Waiting> = None;
        let here = Here::begin(self);
        loop {
            // Who comes later leaves the places that there are to those in front, and opens no connection instead.
            let is_first = here.is_first();
            if is_first && let Some(slot) = self.at_hand(plan, None, wanted.failed) {
                return Ok(Some(Connection::Http2(slot)));
            }
            if pool.speaks() == Speaks::Http1 {
                return Ok(None);
            }
            let opens = self.may_open(pool) && (is_first || !self.has_room());
            if waiting.is_none()
                && opens
                && let Some(permit) = plan.gauges.line.permit()
            {
                drop(here);
                return open(permit).await;
            }
            // Rather one that is not the best than a wait.
            if is_first && let Some(slot) = self.any(plan) {
                return Ok(Some(Connection::Http2(slot)));
            }
            let Some(in_line) = &mut waiting else {
                waiting = Some(Waiting::begin(plan, wanted.worker, self.id(), opens)?);
                continue;
            };
            in_line.place.set_opens(opens);
            tokio::select! {
                () = here.told.notified() => {}
                grant = in_line.place.granted() => {
                    waiting = None;
                    if let Grant::Permit(permit) = grant && self.may_open(pool) {
                        drop(here);
                        return open(permit).await;
                    }
                }
            }
        }
    }

    /// Whether requests wait for a place.
    pub fn is_waited_for(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// There is room for a stream: the first takes it, and wakes the next.
    fn wake_first(&self) {
        if let Some(first) = self.waiting.borrow().front() {
            first.notify_one();
        }
    }

    /// Whether one more may be opened has changed.
    fn wake_all(&self) {
        self.waiting.borrow().iter().for_each(|one| one.notify_one());
    }

    /// Whether there is room on one that lasts.
    fn has_room(&self) -> bool {
        self.open.borrow().iter().any(|connection| connection.has_room() && !connection.meter.is_worn())
    }

    fn may_open(&self, pool: &Pool) -> bool {
        let open = self.open.borrow();
        let lasting = open.iter().filter(|connection| !connection.meter.is_worn()).count();
        !self.connecting.get() && lasting < CONNECTIONS_MAX * pool.addresses().max(1)
    }

    /// Whether there are as many connections to an address as there may be.
    pub fn is_full_to(&self, server: &Rc<Server>) -> bool {
        let open = self.open.borrow();
        open.iter().filter(|connection| connection.leads_to(server)).count() >= CONNECTIONS_MAX
    }

    /// A place on the connection that is busiest and still has room, so those that are not needed any more become idle;
    /// of those to this address, if there is one. Never on one that is worn out, or has failed this request.
    pub fn at_hand(
        self: &Rc<Self>,
        plan: &UpstreamPlan,
        server: Option<&Rc<Server>>,
        failed: &[Rc<SharedConnection>],
    ) -> Option<Slot> {
        self.busiest(plan, server, |connection| {
            !connection.meter.is_worn() && failed.iter().all(|failed| !Rc::ptr_eq(failed, connection))
        })
    }

    /// A place on whichever has room, where no better one can be had.
    fn any(self: &Rc<Self>, plan: &UpstreamPlan) -> Option<Slot> {
        self.busiest(plan, None, |_| true)
    }

    fn busiest(
        self: &Rc<Self>,
        plan: &UpstreamPlan,
        server: Option<&Rc<Server>>,
        is_good: impl Fn(&Rc<SharedConnection>) -> bool,
    ) -> Option<Slot> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| connection.is_open());
        let is_wanted =
            |connection: &SharedConnection| server.is_some_and(|server| connection.leads_to(server));
        let connection = open
            .iter()
            .filter(|connection| connection.has_room() && is_good(connection))
            .max_by_key(|connection| (is_wanted(connection), connection.streams.get()))?;
        plan.metrics.reused();
        Some(self.slot(connection))
    }

    fn slot(self: &Rc<Self>, connection: &Rc<SharedConnection>) -> Slot {
        if connection.is_idle() {
            connection.opened_for().metrics.idle_removed();
        }
        connection.streams.set(connection.streams.get() + 1);
        Slot { connection: Rc::clone(connection), home: Rc::clone(self) }
    }

    /// Speaks HTTP/2 on a new connection, and takes the first place on it.
    ///
    /// # Errors
    /// [`ConnectError::Refused`] when it has closed already.
    pub async fn begin(
        self: &Rc<Self>,
        transport: Transport,
        server: &Rc<Server>,
        plan: &Arc<UpstreamPlan>,
        opening: &Opening,
        permit: Permit,
    ) -> Result<Slot, ConnectError> {
        let meter = Rc::new(Meter::of_server());
        let watch = opening.timers.watch();
        let io = Io::new(transport, Rc::clone(&meter), Rc::clone(&watch));
        let handshake = builder(opening.head_bytes_max).handshake(io).await;
        let (requests, connection) = handshake.map_err(|_| ConnectError::Refused)?;
        plan.metrics.opened();
        plan.metrics.idle_added();
        let shared = Rc::new(SharedConnection {
            server: Rc::clone(server),
            opened_for: RefCell::new(Arc::clone(plan)),
            requests,
            meter,
            streams: Cell::new(0),
            ended: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
        });
        let slot = self.slot(&shared);
        let mut open = self.open.borrow_mut();
        // It takes the place of those that are worn out: they end with their streams.
        open.retain(|connection| !connection.meter.is_worn());
        open.push(Rc::clone(&shared));
        drop(open);
        let (weak, meter) = (Rc::downgrade(&shared), Rc::clone(&shared.meter));
        let (home, timers, plan) = (Rc::downgrade(self), Rc::clone(&opening.timers), Arc::clone(plan));
        drop(shared);
        actix_rt::spawn(async move {
            let busy = || weak.upgrade().is_some_and(|shared| shared.streams.get() > 0);
            drive(connection, &meter, &watch, &timers, busy).await;
            if let Some(failure) = meter.refused() {
                plan.refused_by_tls(failure);
            }
            if let Some(shared) = weak.upgrade() {
                shared.retire();
            }
            drop(permit);
            if let Some(home) = home.upgrade() {
                home.open.borrow_mut().retain(|connection| !connection.ended.get());
                home.wake_all();
            }
        });
        Ok(slot)
    }

    /// Tells these from all others in a line. Who waits here keeps them alive.
    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The upstreams that they were opened for are as these have them from now on.
    pub fn reload(&self, upstreams: &ByLine<'_>) {
        for connection in self.open.borrow().iter() {
            let line = Arc::as_ptr(&connection.opened_for().gauges.line);
            if let Some(upstream) = upstreams.get(&line) {
                connection.opened_for.replace(Arc::clone(upstream));
            }
        }
    }

    /// Closes what has idled for its upstream's idle timeout, and makes room for others in line.
    pub fn reap(&self, now: Instant) {
        let before = self.open.borrow().len();
        // Without a handle to send requests with, a connection says GOAWAY and closes.
        self.open.borrow_mut().retain(|connection| {
            let idle_timeout = connection.opened_for().idle_timeout;
            let idle = now.saturating_duration_since(connection.idle_since.get());
            let expired = connection.is_idle() && !idle_timeout.is_zero() && idle >= idle_timeout;
            connection.is_open() && !expired
        });
        let open = self.open.borrow().len();
        if open < before {
            self.wake_all();
        }
        // One that is never idle serves its worker for ever, while others wait, or while there are too many since the limit
        // was lowered: its streams end, and no more come.
        self.close_one(|connection| {
            let line = &connection.opened_for().gauges.line;
            (line.openers() > 0 && line.is_overdue(self.id())) || (open > 1 && line.is_exceeded())
        });
        // The peer may allow more streams than before.
        self.wake_first();
    }

    /// Closes one that is idle while requests of its upstream wait to open one: on another worker, because here
    /// they would use it.
    pub fn recall(&self) {
        self.close_one(|connection| {
            connection.is_idle() && connection.opened_for().gauges.line.openers() > 0
        });
    }

    fn close_one(&self, which: impl Fn(&SharedConnection) -> bool) {
        let at = self.open.borrow().iter().position(|connection| which(connection));
        if let Some(at) = at {
            let connection = self.open.borrow_mut().swap_remove(at);
            connection.retire();
        }
    }
}

/// A request of this worker that waits for a place.
struct Here {
    home: Rc<SharedConnections>,
    told: Rc<Notify>,
}

impl Here {
    fn begin(home: &Rc<SharedConnections>) -> Self {
        let told = Rc::default();
        home.waiting.borrow_mut().push_back(Rc::clone(&told));
        Self { home: Rc::clone(home), told }
    }

    fn is_first(&self) -> bool {
        self.home.waiting.borrow().front().is_some_and(|first| Rc::ptr_eq(first, &self.told))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.home.waiting.borrow_mut().retain(|one| !Rc::ptr_eq(one, &self.told));
        // There may be more room than this one needed.
        self.home.wake_first();
    }
}

/// Marks that a connection is being opened, however that ends.
struct Connecting(Rc<SharedConnections>);

impl Connecting {
    fn begin(home: &Rc<SharedConnections>) -> Self {
        home.connecting.set(true);
        // Those who stand in line to open one can wait for this.
        home.wake_all();
        Self(Rc::clone(home))
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.wake_all();
    }
}
