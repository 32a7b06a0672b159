//! New connections of a pool, made for a request or in advance, and where its name leads.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{AcquireError, Connection, Pool};
use crate::{
    data_plane::{
        connect::{ConnectError, Connected, connect, judge},
        http1::client::ClientConnection,
        http2::shared::SharedConnection,
        resolver::Resolver,
        servers::Server,
        timers::Timers,
        worker::Worker,
    },
    snapshot::{EngineSettings, Permit, Speaks, UpstreamPlan},
    telemetry::metrics::ConnectFailure,
};

/// So many looks after its last request a pool asks no more where its name leads: a minute.
const LOOKS_MAX: u32 = 240;

/// What a request wants.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    pub plan: &'a Arc<UpstreamPlan>,
    /// A new connection: one of those that were open has failed it.
    pub fresh_only: bool,
    /// Those of HTTP/2 that have failed it, which are open still: any other is better.
    pub failed: &'a [Rc<SharedConnection>],
    /// Whatever the upstream speaks, HTTP/1.1.
    pub http1: bool,
    pub worker: &'a Worker,
    pub engine: &'a EngineSettings,
    pub request_id: &'a str,
}

/// What it takes to open a connection, whoever waits for it.
pub struct Opening {
    pub timers: Rc<Timers>,
    connect_timeout: Duration,
    pub head_bytes_max: usize,
    http1: bool,
    /// No request waits for it.
    in_advance: bool,
}

impl Opening {
    fn new(wanted: &Wanted<'_>, in_advance: bool) -> Self {
        let Wanted { worker, engine, http1, .. } = *wanted;
        let (timers, head_bytes_max) = (Rc::clone(&worker.timers), engine.head_bytes_max);
        let http1 = http1 && !in_advance;
        Self { timers, connect_timeout: engine.connect_timeout, head_bytes_max, http1, in_advance }
    }
}

/// A connection that is begun for a request. The request may be over before it comes to be, and so is this then.
struct Attempt<'a> {
    plan: &'a UpstreamPlan,
    failure: Option<ConnectFailure>,
}

impl<'a> Attempt<'a> {
    fn begin(plan: &'a UpstreamPlan) -> Self {
        plan.metrics.connect_attempt();
        Self { plan, failure: Some(ConnectFailure::Timeout) }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(failure) = self.failure {
            self.plan.metrics.connect_failed(failure);
        }
    }
}

impl Pool {
    /// A new connection, of the kind that the upstream chooses, or HTTP/1.1.
    ///
    /// # Errors
    /// [`AcquireError::Connect`].
    pub async fn open(
        self: &Rc<Self>,
        wanted: &Wanted<'_>,
        permit: Permit,
    ) -> Result<Connection, AcquireError> {
        let Wanted { plan, worker, engine, request_id, .. } = *wanted;
        let mut attempt = Attempt::begin(plan);
        let (host, port) = self.leads_to();
        match timeout(engine.connect_timeout, worker.resolver.resolve(host)).await {
            Ok(Ok(answer)) => self.servers.learn(&answer, port),
            failed => {
                let why = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "it took too long".to_owned(),
                };
                tracing::debug!(request_id, upstream = %plan.name, host, "cannot resolve: {why}");
            }
        }
        // Where none can be made in advance, those that are new have their turn.
        let servers = self.servers.candidates(!plan.gauges.line.has_spare());
        self.servers.advance();
        let opened = self.open_to(&servers, plan, permit, request_id, &Opening::new(wanted, false)).await;
        attempt.failure = match &opened {
            Err(AcquireError::Connect(error)) => Some(error.into()),
            Ok(_) | Err(AcquireError::Overflow) => None,
        };
        opened
    }

    /// The same, to the first of these that gives one.
    async fn open_to(
        self: &Rc<Self>,
        servers: &[Rc<Server>],
        plan: &Arc<UpstreamPlan>,
        permit: Permit,
        request_id: &str,
        opening: &Opening,
    ) -> Result<Connection, AcquireError> {
        let failed = |error: ConnectError| {
            // Who does not answer is not asked what it speaks by one request after the other.
            if self.speaks() == Speaks::Either && !opening.http1 {
                self.speaks.set(Speaks::Http1);
            }
            AcquireError::Connect(error)
        };
        let expected = self.speaks();
        let context = plan.endpoint.tls.as_ref().map(|tls| tls.context_for(opening.http1));
        let connected = connect(plan, servers, context, opening.connect_timeout, request_id).await;
        if !opening.in_advance {
            judge(plan, connected.as_ref().err());
        }
        let Connected { transport, http2, server } = connected.map_err(failed)?;
        if opening.in_advance && http2 != (self.speaks() == Speaks::Http2) {
            // One name, and servers of two kinds: those that speak as the others do have their turns.
            server.failed();
            return Err(failed(ConnectError::Refused));
        }
        if self.endpoint.speaks() == Speaks::Either && !opening.http1 {
            self.speaks.set(if http2 { Speaks::Http2 } else { Speaks::Http1 });
        }
        if !http2 {
            let home = (Rc::downgrade(self), Rc::downgrade(&server));
            return Ok(Connection::Http1(ClientConnection::new(transport, home, plan, permit)));
        }
        // Many connected at once, each for one request; those that came first share theirs.
        if expected == Speaks::Http1
            && let Some(slot) = self.shared.at_hand(plan, Some(&server), &[])
        {
            return Ok(Connection::Http2(slot));
        }
        let slot = self.shared.begin(transport, &server, plan, opening, permit).await;
        slot.map(Connection::Http2).map_err(failed)
    }

    /// Where its connections go: to the upstream, or to the forward proxy.
    fn leads_to(&self) -> (&str, u16) {
        match &self.endpoint.proxy {
            Some(via) => (&via.proxy.host, via.proxy.port),
            None => (&self.endpoint.host, self.endpoint.port),
        }
    }

    /// How many its name has, as far as that is known.
    pub fn addresses(&self) -> usize {
        self.servers.count()
    }

    /// Looks where its name leads now, as long as it is used.
    pub(super) fn follow(&self, resolver: &Resolver, now: Instant) {
        let looks = self.looks.get() + 1;
        let (host, port) = self.leads_to();
        if looks <= LOOKS_MAX {
            self.looks.set(looks);
            if let Some(answer) = resolver.known(host) {
                self.servers.learn(&answer, port);
            }
        }
        self.servers.forgive(now);
    }

    pub(super) fn warm_untried(self: &Rc<Self>, wanted: &Wanted<'_>) {
        if let Some(untried) = self.servers.untried() {
            self.warm(&untried, wanted);
        }
    }

    /// Connects to an address in advance, so that no request has to find out whether it can be reached.
    pub(super) fn warm(self: &Rc<Self>, server: &Rc<Server>, wanted: &Wanted<'_>) {
        if !server.take_turn_to_warm() || self.shared.is_full_to(server) {
            return;
        }
        let Some(permit) = wanted.plan.gauges.line.spare() else { return };
        let (pool, plan, opening) = (Rc::clone(self), Arc::clone(wanted.plan), Opening::new(wanted, true));
        let servers = [Rc::clone(server)];
        actix_rt::spawn(async move {
            if let Ok(Connection::Http1(connection)) =
                pool.open_to(&servers, &plan, permit, "", &opening).await
            {
                pool.give_back(connection);
            }
        });
    }
}
