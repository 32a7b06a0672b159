//! Connections to upstreams, per worker: those that idle are used last in, first out, no lock, no hashing.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use super::{
    connect::ConnectError,
    http1::client::ClientConnection,
    http2::shared::{SharedConnection, SharedConnections, Slot},
    resolver::Resolver,
    servers::{Idle, Server, Servers},
    worker::Worker,
};
use crate::snapshot::{
    Endpoint, EndpointId, Permit, Speaks, UpstreamPlan,
    line::{ConnectionLine, Grant, Next, Place},
};

mod opening;
mod recalls;

pub use opening::{Opening, Wanted};
pub use recalls::{Recall, Recalls};

/// Idle connections that one worker keeps to one address at the most.
const IDLE_MAX: usize = 1024;

/// The pools of one worker, by [`crate::snapshot::EndpointId`].
#[derive(Default)]
pub struct Pools {
    by_endpoint: RefCell<Vec<Option<Rc<Pool>>>>,
}

/// The connections of one worker to one endpoint, for all upstreams that are there.
pub struct Pool {
    endpoint: Arc<Endpoint>,
    speaks: Cell<Speaks>,
    servers: Servers,
    /// Looks since its last request.
    looks: Cell<u32>,
    /// On their way from who gave them back to who waited for them.
    set_aside: RefCell<Vec<Rc<ClientConnection>>>,
    /// Its connections, if it speaks HTTP/2.
    pub shared: Rc<SharedConnections>,
}

/// The upstreams of a snapshot, by their lines: these stay over reloads.
pub type ByLine<'a> = HashMap<*const ConnectionLine, &'a Arc<UpstreamPlan>>;

/// What a request is sent on.
pub enum Connection {
    Http1(Rc<ClientConnection>),
    /// A place on a connection that is shared.
    Http2(Slot),
}

impl Connection {
    /// The one that other requests use, too.
    pub fn shared(&self) -> Option<Rc<SharedConnection>> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(slot) => Some(Rc::clone(&slot.connection)),
        }
    }
}

/// Why a request gets no connection.
#[derive(Clone, Debug)]
pub enum AcquireError {
    /// A limit of the circuit breaker (configuration reference 7.2).
    Overflow,
    Connect(ConnectError),
}

impl Pools {
    /// The pool of an upstream. An id may have belonged to another endpoint before: then its pool is
    /// not this one's.
    pub fn pool(&self, plan: &UpstreamPlan) -> Rc<Pool> {
        let endpoint = &plan.endpoint;
        let mut pools = self.by_endpoint.borrow_mut();
        let index = endpoint.id as usize;
        if pools.len() <= index {
            pools.resize_with(index + 1, || None);
        }
        let pool = pools[index].get_or_insert_with(|| Pool::new(endpoint));
        if !Arc::ptr_eq(&pool.endpoint, endpoint) {
            *pool = Pool::new(endpoint);
        }
        // Its name is followed as long as it is used.
        pool.looks.set(0);
        Rc::clone(pool)
    }

    /// Closes connections that idle too long or are of no use any more.
    pub fn reap(&self, resolver: &Resolver, now: Instant) {
        for pool in self.all() {
            pool.follow(resolver, now);
            pool.reap(now);
            // Also those that a change of its endpoint has left at another pool than who waits for them.
            pool.recall();
        }
    }

    /// Gives idle connections of an endpoint to requests that wait, on whatever worker.
    pub fn recall(&self, endpoint: EndpointId) {
        let pool = self.by_endpoint.borrow().get(endpoint as usize).cloned().flatten();
        if let Some(pool) = pool {
            pool.recall();
        }
    }

    fn all(&self) -> Vec<Rc<Pool>> {
        self.by_endpoint.borrow().iter().flatten().cloned().collect()
    }

    /// Serves these from now on. Timeouts are in force for connections that idle, too; endpoints that are gone are
    /// forgotten, and their idle connections close.
    pub fn reload(&self, upstreams: &[Arc<UpstreamPlan>]) {
        // Not by their ids: two changes between two looks, and an id means another endpoint.
        let here: HashSet<_> = upstreams.iter().map(|plan| Arc::as_ptr(&plan.endpoint)).collect();
        for pool in self.by_endpoint.borrow_mut().iter_mut() {
            if pool.as_ref().is_some_and(|pool| !here.contains(&Arc::as_ptr(&pool.endpoint))) {
                *pool = None;
            }
        }
        let by_line: ByLine<'_> =
            upstreams.iter().map(|plan| (Arc::as_ptr(&plan.gauges.line), plan)).collect();
        for pool in self.all() {
            pool.shared.reload(&by_line);
            pool.servers.for_each(|server| {
                for idle in server.idle.borrow().iter() {
                    idle.connection.reload(&by_line);
                }
            });
        }
    }
}

impl Pool {
    fn new(endpoint: &Arc<Endpoint>) -> Rc<Self> {
        Rc::new(Self {
            endpoint: Arc::clone(endpoint),
            speaks: Cell::new(endpoint.speaks()),
            servers: Servers::default(),
            looks: Cell::new(0),
            set_aside: RefCell::default(),
            shared: Rc::default(),
        })
    }

    /// What the upstream speaks, as far as it has told.
    pub fn speaks(&self) -> Speaks {
        self.speaks.get()
    }

    /// What costs no wait, to the address whose turn it is rather than to another: a place, or an idle connection, unless
    /// others wait for one; who comes later does not overtake them.
    pub fn at_hand(self: &Rc<Self>, wanted: &Wanted<'_>) -> Option<Connection> {
        let plan = wanted.plan;
        let server = self.servers.next();
        let (connection, is_its) = if self.speaks() != Speaks::Http1 {
            if self.shared.is_waited_for() {
                return None;
            }
            let slot = self.shared.at_hand(plan, server.as_ref(), wanted.failed)?;
            let is_its = server.as_ref().is_none_or(|server| slot.connection.leads_to(server));
            (Connection::Http2(slot), is_its)
        } else if wanted.fresh_only || plan.gauges.line.waiting() > 0 {
            return None;
        } else if let Some(own) = server.as_ref().and_then(|server| Self::take_idle(server, plan)) {
            (Connection::Http1(own), true)
        } else {
            (Connection::Http1(self.take_any_idle(plan)?), server.is_none())
        };
        self.servers.advance();
        match server {
            Some(server) if !is_its => self.warm(&server, wanted),
            _ => self.warm_untried(wanted),
        }
        Some(connection)
    }

    /// Whether an upgrade, which HTTP/2 has none of, takes a connection of another kind than other requests.
    pub fn upgrades_apart(&self) -> bool {
        // Not by what it has told: it may choose HTTP/2 for the next connection.
        self.endpoint.tls.as_ref().is_some_and(|tls| tls.http1.is_some())
    }

    /// A connection for one request that none is at hand for: a new one, else the next that is free.
    ///
    /// # Errors
    /// [`AcquireError`]. Waiting has no limit of its own: the caller's deadline ends it.
    pub async fn acquire(self: &Rc<Self>, wanted: &Wanted<'_>) -> Result<Connection, AcquireError> {
        let plan = wanted.plan;
        if wanted.http1
            && let Some(connection) = self.idle_for(wanted)
        {
            return Ok(Connection::Http1(connection));
        }
        self.warm_untried(wanted);
        if self.speaks() != Speaks::Http1 && !wanted.http1 {
            // Nothing: meanwhile the upstream has chosen HTTP/1.1.
            if let Some(found) = self.shared.acquire(self, wanted).await? {
                return Ok(found);
            }
        }
        let permit = match plan.gauges.line.permit() {
            Some(permit) => permit,
            None => match self.stand_in_line(wanted).await? {
                Turn::Connection(connection) => return Ok(Connection::Http1(connection)),
                Turn::Permit(permit) => permit,
            },
        };
        let opened = self.open(wanted, permit).await;
        // Who takes no more connections may still serve those that it has.
        match opened {
            Err(_) if let Some(connection) = self.idle_for(wanted) => Ok(Connection::Http1(connection)),
            opened => opened,
        }
    }

    /// An idle connection that may be used although none was at hand.
    fn idle_for(&self, wanted: &Wanted<'_>) -> Option<Rc<ClientConnection>> {
        if wanted.fresh_only || wanted.plan.gauges.line.waiting() > 0 {
            return None;
        }
        self.take_any_idle(wanted.plan)
    }

    /// Tells this pool from all others in a line, those of other workers and of other endpoints. Who waits
    /// here keeps it alive.
    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Waits for what becomes free.
    async fn stand_in_line(self: &Rc<Self>, wanted: &Wanted<'_>) -> Result<Turn, AcquireError> {
        let Wanted { plan, fresh_only, .. } = *wanted;
        // A retry on a new connection makes room with one that is idle.
        if fresh_only && let Some(connection) = self.servers.find_map(|server| server.remove_idle_of(plan)) {
            return Ok(Turn::Permit(connection.into_permit()));
        }
        loop {
            let waiting = Waiting::begin(plan, wanted.worker, self.id(), true)?;
            let mut in_line = InLine { pool: self, waiting };
            match in_line.waiting.place.granted().await {
                Grant::Permit(permit) => return Ok(Turn::Permit(permit)),
                Grant::Connection => {
                    let Some(connection) = self.take_set_aside(plan) else { continue };
                    if fresh_only || !connection.is_fresh() || connection.server().is_none() {
                        return Ok(Turn::Permit(connection.into_permit()));
                    }
                    connection.serve(plan, None);
                    plan.metrics.reused();
                    return Ok(Turn::Connection(connection));
                }
            }
        }
    }

    /// To whatever address.
    fn take_any_idle(&self, plan: &Arc<UpstreamPlan>) -> Option<Rc<ClientConnection>> {
        self.servers.find_map(|server| Self::take_idle(server, plan))
    }

    /// The connection to an address that was used last, is still good, and may be used for an upstream.
    fn take_idle(server: &Server, plan: &Arc<UpstreamPlan>) -> Option<Rc<ClientConnection>> {
        let line = &plan.gauges.line;
        loop {
            // One that counts for another upstream counts for this one from now on, if it may have one more.
            let counted = server.idle.borrow().last()?.connection.counts_for(plan);
            let permit = if counted { None } else { line.permit() };
            let connection = if counted || permit.is_some() {
                let last = server.idle.borrow().len() - 1;
                server.remove_idle(last)
            } else {
                server.remove_idle_of(plan)?
            };
            // A lowered limit closes those that are too many.
            let is_admitted = permit.is_some() || !line.is_exceeded();
            if is_admitted && connection.is_fresh() {
                connection.serve(plan, permit);
                plan.metrics.reused();
                return Some(connection);
            }
        }
    }

    /// The connection that was given to a request of an upstream: there is one for each that was told so.
    fn take_set_aside(&self, plan: &UpstreamPlan) -> Option<Rc<ClientConnection>> {
        let mut set_aside = self.set_aside.borrow_mut();
        let at = set_aside.iter().position(|connection| connection.counts_for(plan))?;
        Some(set_aside.swap_remove(at))
    }

    /// Takes a connection back whose exchange ended in order.
    pub fn give_back(&self, connection: Rc<ClientConnection>) {
        // The name leads elsewhere by now: it closes.
        let Some(server) = connection.server() else { return };
        let next = connection.user().gauges.line.next(self.id());
        match next {
            Next::Nobody if server.idle.borrow().len() < IDLE_MAX => {
                connection.user().metrics.idle_added();
                server.idle.borrow_mut().push(Idle { connection, since: Instant::now() });
            }
            Next::Here => self.set_aside.borrow_mut().push(connection),
            // It closes, and who is next may open one.
            Next::Nobody | Next::Elsewhere => {}
        }
    }

    fn recall(&self) {
        self.shared.recall();
        loop {
            let wanted = |idle: &Idle| idle.connection.user().gauges.line.openers() > 0;
            let found = self.servers.find_map(|server| {
                let at = server.idle.borrow().iter().position(wanted)?;
                Some(server.remove_idle(at))
            });
            let Some(connection) = found else { return };
            self.give_back(connection);
        }
    }

    fn reap(&self, now: Instant) {
        self.shared.reap(now);
        let mut closed = Vec::new();
        self.servers.for_each(|server| {
            server.idle.borrow_mut().retain(|idle| {
                let user = idle.connection.user();
                let expired = !user.idle_timeout.is_zero() && now - idle.since >= user.idle_timeout;
                let keep = !expired && !user.gauges.line.is_exceeded() && idle.connection.is_fresh();
                if !keep {
                    user.metrics.idle_removed();
                    // At once, so that no more close than there are too many.
                    drop(Rc::clone(&idle.connection).into_permit());
                    closed.push(Rc::clone(&idle.connection));
                }
                keep
            });
        });
    }
}

/// What a request was given.
enum Turn {
    Connection(Rc<ClientConnection>),
    /// To open one.
    Permit(Permit),
}

/// A request that waits for a connection, and is counted as pending.
pub struct Waiting {
    plan: Arc<UpstreamPlan>,
    pub place: Place,
}

impl Waiting {
    /// # Errors
    /// [`AcquireError::Overflow`]: as many wait as may wait.
    pub fn begin(
        plan: &Arc<UpstreamPlan>,
        worker: &Worker,
        pool: usize,
        opens: bool,
    ) -> Result<Self, AcquireError> {
        let place = plan.gauges.line.join(pool, plan.limits.pending_requests_max, opens);
        let Some(place) = place else {
            plan.metrics.overflow();
            return Err(AcquireError::Overflow);
        };
        plan.metrics.pending_added();
        if opens {
            worker.recalls.tell_all(plan.endpoint.id);
        }
        Ok(Self { plan: Arc::clone(plan), place })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.plan.metrics.pending_removed();
    }
}

/// A request that waits at a pool. What it was given and has not taken when it leaves goes on.
struct InLine<'a> {
    pool: &'a Pool,
    waiting: Waiting,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        if let Some(Grant::Connection) = self.waiting.place.leave()
            && let Some(connection) = self.pool.take_set_aside(&self.waiting.plan)
        {
            self.pool.give_back(connection);
        }
    }
}
