//! One request from its head to its outcome: what is the same for every protocol of the client.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{client_side::ClientSide, refusal::Refusal, serve, timers::Timer, worker::Worker};
use crate::{
    http::{Method, Peer, Request, Response},
    policy::{Exchange, RequestId},
    snapshot::{InstancePlan, Snapshot},
    telemetry::{
        self,
        metrics::{self, RequestRecord},
    },
};

/// A request that is being served.
pub struct Serving<'s> {
    pub exchange: Exchange,
    worker: &'s Worker,
    snapshot: &'s Snapshot,
    instance: Option<&'s Arc<InstancePlan>>,
    started: Instant,
    method: metrics::Method,
    /// Method and path for the access log.
    logged: Option<(Method, String)>,
    finished: bool,
    /// There are as many as there may be.
    is_too_much: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// 0: the client went away before there was a response.
    pub status: u16,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

impl<'s> Serving<'s> {
    /// Finds who serves a request whose head is complete. What is dropped without [`Self::finish`]
    /// counts as a request whose client went away.
    pub fn begin(worker: &'s Worker, snapshot: &'s Snapshot, request: &mut Request) -> Self {
        let started = Instant::now();
        let engine = &snapshot.engine;
        let id =
            request.headers.get("x-request-id").and_then(RequestId::parse).unwrap_or_else(RequestId::random);
        let exchange = Exchange::new(
            Rc::clone(&request.peer),
            id,
            SystemTime::now(),
            engine.response_timeout,
            engine.stream_idle,
        )
        .with_server(worker.server_name(engine));
        let method = request.method.as_str().as_bytes().into();
        let instance = serve::find(snapshot, request);
        let logged = engine.access_log.then(|| (request.method.clone(), request.path().to_owned()));
        if let Some(instance) = instance {
            instance.metrics.started();
        }
        let under_way = worker.requests.get() + 1;
        worker.requests.set(under_way);
        let is_too_much = under_way > engine.requests_max;
        Self { exchange, worker, snapshot, instance, started, method, logged, finished: false, is_too_much }
    }

    /// Runs the chain and gives its response.
    pub async fn response(&self, request: Request, client: &dyn ClientSide) -> Response {
        if self.is_too_much {
            self.worker.metrics.request_refused("overload");
            return serve::refuse_overload(self.worker, request, &self.exchange).await;
        }
        // From here on the client's silence has an end: a policy may read the body before the upstream
        // is asked.
        client.watch().arm(Timer::StreamIdle, self.exchange.stream_idle_timeout());
        serve::serve(self.worker, self.snapshot, self.instance, request, &self.exchange, client).await
    }

    /// Counts and logs the outcome.
    pub fn finish(mut self, outcome: Outcome) {
        self.finished = true;
        self.record(outcome);
    }

    fn record(&self, outcome: Outcome) {
        let Outcome { status, request_bytes, response_bytes } = outcome;
        let elapsed = self.started.elapsed();
        if let Some(instance) = self.instance {
            let record =
                RequestRecord { method: self.method, status, elapsed, request_bytes, response_bytes };
            instance.metrics.finished(&record);
        }
        if let Some((method, path)) = &self.logged {
            telemetry::log::request(&telemetry::log::RequestLine {
                api: self.instance.map(|instance| &instance.name),
                request_id: self.exchange.request_id(),
                peer: self.exchange.peer().remote.ip(),
                method: method.as_str(),
                target: path,
                status,
                elapsed,
                request_bytes,
                response_bytes,
            });
        }
    }
}

impl Drop for Serving<'_> {
    /// All streams of a connection end with it, wherever they are.
    fn drop(&mut self) {
        self.worker.requests.set(self.worker.requests.get() - 1);
        if !self.finished {
            self.record(Outcome { status: 0, request_bytes: 0, response_bytes: 0 });
        }
    }
}

/// The answer to what is refused before it is a request, and the exchange to send it in. `idle` is how long
/// the client may take to read it.
pub fn refuse(
    worker: &Worker,
    snapshot: &Snapshot,
    peer: &Rc<Peer>,
    refusal: Refusal,
    idle: Duration,
) -> (Response, Exchange) {
    worker.metrics.request_refused(refusal.reason());
    let response = Response::json_error(refusal.status(), refusal.text());
    let exchange =
        Exchange::new(Rc::clone(peer), RequestId::random(), SystemTime::now(), Duration::ZERO, idle)
            .with_server(worker.server_name(&snapshot.engine));
    (exchange.stamped(response), exchange)
}
