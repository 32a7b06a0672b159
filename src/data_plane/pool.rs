//! Idle connections to upstreams, per worker: last in, first out, no lock, no hashing.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    connect::{ConnectError, connect},
    http1::client::ClientConnection,
    http2::shared::SharedConnections,
    resolver::Resolver,
};
use crate::snapshot::{Gauge, UpstreamId, UpstreamPlan};

/// Idle connections that one worker keeps for one upstream at the most.
const IDLE_MAX: usize = 1024;

/// The pools of one worker, by [`UpstreamId`].
#[derive(Default)]
pub struct Pools {
    by_upstream: RefCell<Vec<Option<Rc<UpstreamPool>>>>,
}

/// The idle connections of one upstream.
pub struct UpstreamPool {
    plan: RefCell<Arc<UpstreamPlan>>,
    idle: RefCell<Vec<Idle>>,
    waiting: Cell<usize>,
    given_back: Notify,
    /// Its connections, if it speaks HTTP/2.
    pub shared: Rc<SharedConnections>,
}

struct Idle {
    connection: Rc<ClientConnection>,
    since: Instant,
}

/// Why a request gets no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcquireError {
    /// A limit of the circuit breaker (configuration reference 7.2).
    Overflow,
    Connect(ConnectError),
}

impl Pools {
    /// The pool of an upstream, which from now on goes by this plan. An id may have belonged to
    /// another upstream before: then its pool is not this one's.
    pub fn pool(&self, plan: &Arc<UpstreamPlan>) -> Rc<UpstreamPool> {
        let mut pools = self.by_upstream.borrow_mut();
        let index = plan.id as usize;
        if pools.len() <= index {
            pools.resize_with(index + 1, || None);
        }
        let pool = pools[index].get_or_insert_with(|| UpstreamPool::new(Arc::clone(plan)));
        if !Arc::ptr_eq(&pool.plan.borrow(), plan) {
            if pool.is_of(plan) {
                pool.plan.replace(Arc::clone(plan));
            } else {
                *pool = UpstreamPool::new(Arc::clone(plan));
            }
        }
        Rc::clone(pool)
    }

    /// Closes connections that idle too long or are of no use any more.
    pub fn reap(&self, now: Instant) {
        let pools: Vec<_> = self.by_upstream.borrow().iter().flatten().cloned().collect();
        for pool in pools {
            pool.reap(now);
        }
    }

    /// Forgets upstreams that are gone; their idle connections close.
    pub fn retain(&self, keep: impl Fn(UpstreamId) -> bool) {
        let mut pools = self.by_upstream.borrow_mut();
        for (index, pool) in pools.iter_mut().enumerate() {
            if !keep(index as UpstreamId) {
                *pool = None;
            }
        }
    }
}

impl UpstreamPool {
    fn new(plan: Arc<UpstreamPlan>) -> Rc<Self> {
        Rc::new(Self {
            plan: RefCell::new(plan),
            idle: RefCell::default(),
            waiting: Cell::new(0),
            given_back: Notify::new(),
            shared: Rc::default(),
        })
    }

    /// Whether its connections lead where a plan says.
    fn is_of(&self, plan: &UpstreamPlan) -> bool {
        let current = self.plan.borrow();
        let same_way = match (&current.proxy, &plan.proxy) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is_like(other),
            _ => false,
        };
        current.name == plan.name && current.address == plan.address && same_way
    }

    /// A connection for one request: an idle one, else a new one, else the next that is free.
    ///
    /// # Errors
    /// [`AcquireError`]. Waiting has no limit of its own: the caller's deadline ends it.
    pub async fn acquire(
        self: &Rc<Self>,
        fresh_only: bool,
        resolver: &Resolver,
        connect_timeout: Duration,
        request_id: &str,
    ) -> Result<Rc<ClientConnection>, AcquireError> {
        // Who comes later does not overtake those who wait.
        if !fresh_only
            && self.idle.borrow().len() > self.waiting.get()
            && let Some(connection) = self.take_idle()
        {
            return Ok(connection);
        }
        let plan = Arc::clone(&self.plan.borrow());
        let mut pending = None;
        loop {
            // Listening begins before looking: what becomes free in between is not missed.
            let mut freed = pin!(plan.gauges.freed.notified());
            freed.as_mut().enable();
            if let Some(ticket) = plan.gauges.enter(Gauge::Connections, plan.limits.connections_max) {
                drop(pending);
                plan.metrics.connect_attempt();
                let transport =
                    connect(&plan, resolver, connect_timeout, request_id).await.map_err(|error| {
                        plan.metrics.connect_failed(error.into());
                        AcquireError::Connect(error)
                    })?;
                return Ok(ClientConnection::new(transport, Rc::downgrade(self), ticket));
            }
            // A retry on a new connection at the limit makes room with one of its own.
            if fresh_only && self.close_idle() {
                continue;
            }
            if pending.is_none() {
                let ticket = plan.gauges.enter(Gauge::PendingRequests, plan.limits.pending_requests_max);
                let ticket = ticket.ok_or_else(|| {
                    plan.metrics.overflow();
                    AcquireError::Overflow
                })?;
                pending = Some((ticket, Waiting::new(self)));
                // What became free before the ticket was taken has not seen it.
                continue;
            }
            tokio::select! {
                () = self.given_back.notified() => {}
                () = freed => {}
            }
            if !fresh_only && let Some(connection) = self.take_idle() {
                return Ok(connection);
            }
        }
    }

    /// Closes the connection that has been idle longest; whether there was one.
    fn close_idle(&self) -> bool {
        let oldest = {
            let mut idle = self.idle.borrow_mut();
            if idle.is_empty() { None } else { Some(idle.remove(0)) }
        };
        if oldest.is_some() {
            self.plan.borrow().metrics.idle_removed();
        }
        oldest.is_some()
    }

    /// The connection that was used last and is still good.
    fn take_idle(&self) -> Option<Rc<ClientConnection>> {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            self.plan.borrow().metrics.idle_removed();
            if idle.connection.is_fresh(&mut cx) {
                self.plan.borrow().metrics.reused();
                return Some(idle.connection);
            }
        }
    }

    /// Takes a connection back whose exchange ended in order.
    pub fn give_back(&self, connection: Rc<ClientConnection>) {
        let plan = self.plan.borrow();
        let here = self.waiting.get();
        // Requests that wait on another worker can only be served by closing this one; where some
        // wait here too, chance shares in proportion, so that no worker starves another.
        let pending = plan.gauges.count(Gauge::PendingRequests);
        let elsewhere = pending > here && fastrand::usize(..pending) >= here;
        let mut idle = self.idle.borrow_mut();
        if elsewhere || idle.len() >= IDLE_MAX {
            return;
        }
        idle.push(Idle { connection, since: Instant::now() });
        plan.metrics.idle_added();
        if here > 0 {
            self.given_back.notify_one();
        }
    }

    fn reap(&self, now: Instant) {
        let plan = Arc::clone(&self.plan.borrow());
        self.shared.reap(now, &plan);
        // One connection for each request that waits on another worker, not all of them.
        let mut wanted_elsewhere =
            if self.waiting.get() == 0 { plan.gauges.count(Gauge::PendingRequests) } else { 0 };
        let mut cx = Context::from_waker(Waker::noop());
        let mut closed = Vec::new();
        self.idle.borrow_mut().retain(|idle| {
            let expired = !plan.idle_timeout.is_zero() && now - idle.since >= plan.idle_timeout;
            let keep = !expired && wanted_elsewhere == 0 && idle.connection.is_fresh(&mut cx);
            if !keep {
                wanted_elsewhere = wanted_elsewhere.saturating_sub(1);
                closed.push(Rc::clone(&idle.connection));
            }
            keep
        });
        for _ in &closed {
            plan.metrics.idle_removed();
        }
    }
}

/// Counts a request that waits on this worker.
struct Waiting(Rc<UpstreamPool>);

impl Waiting {
    fn new(pool: &Rc<UpstreamPool>) -> Self {
        pool.waiting.set(pool.waiting.get() + 1);
        pool.plan.borrow().metrics.pending_added();
        Self(Rc::clone(pool))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        self.0.plan.borrow().metrics.pending_removed();
    }
}

impl Drop for UpstreamPool {
    fn drop(&mut self) {
        for _ in self.idle.borrow().iter() {
            self.plan.borrow().metrics.idle_removed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{ResourceName, Secret},
        outbound::ForwardProxy,
        policy::{Chain, CircuitLimits},
        resources::{ServiceAddress, ServiceScheme},
        snapshot::{
            UpstreamGauges,
            upstream::{UpstreamLimits, UpstreamProxy},
        },
        telemetry::metrics::Registry,
    };

    fn plan(port: u16) -> Arc<UpstreamPlan> {
        let name = ResourceName::new("default", "store");
        Arc::new(UpstreamPlan {
            id: 0,
            address: ServiceAddress {
                scheme: ServiceScheme::Http,
                host: "127.0.0.1".to_owned(),
                port,
                path: String::new(),
            },
            authority: "127.0.0.1".into(),
            chain: Chain::default(),
            idle_timeout: Duration::from_secs(60),
            limits: UpstreamLimits::resolve(CircuitLimits::default(), CircuitLimits::default()),
            gauges: Arc::new(UpstreamGauges::default()),
            metrics: Registry::new(1).upstream(&name),
            name,
            tls: None,
            proxy: None,
            blocked: None,
        })
    }

    #[test]
    fn the_connections_of_one_way_are_never_used_for_another() {
        let through = |password: &str| {
            let proxy = ForwardProxy::new("proxy.test", 3128);
            let proxy = Arc::new(proxy.with_credentials("u", &Secret::new(password.to_owned())));
            let plan = plan(9001);
            let proxy = Some(UpstreamProxy::new(&proxy, &plan.address, false));
            Arc::new(UpstreamPlan { proxy, ..Arc::into_inner(plan).unwrap() })
        };
        let pools = Pools::default();
        let direct = pools.pool(&plan(9001));
        let first = pools.pool(&through("a"));
        assert!(!Rc::ptr_eq(&direct, &first));
        assert!(Rc::ptr_eq(&first, &pools.pool(&through("a"))), "an equal way keeps the pool");
        assert!(!Rc::ptr_eq(&first, &pools.pool(&through("b"))), "other credentials");
        assert!(!Rc::ptr_eq(&first, &pools.pool(&plan(9001))), "direct again");
    }

    #[test]
    fn the_connections_of_one_address_are_never_used_for_another_that_got_its_id() {
        let pools = Pools::default();
        let first = pools.pool(&plan(9001));
        assert!(Rc::ptr_eq(&first, &pools.pool(&plan(9001))), "an equal plan keeps the pool");
        assert!(!Rc::ptr_eq(&first, &pools.pool(&plan(9002))));
    }
}
