//! One request from its head to its outcome: what is the same for every protocol of the client.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::{
    client_side::{ClientSide, Tally},
    refusal::{Asked, Refusal},
    serve,
    timers::Timer,
    worker::Worker,
};
use crate::{
    base::ResourceName,
    http::{Method, Peer, Request, Response},
    policy::{Exchange, RequestId},
    snapshot::{InstancePlan, Snapshot},
    telemetry::{
        self,
        metrics::{self, RequestRecord},
    },
};

/// A request that is being served. When it is dropped it is counted and logged as far as it got: the streams of a
/// connection end with it, wherever they are.
pub struct Serving<'s> {
    pub exchange: Exchange,
    worker: &'s Worker,
    snapshot: &'s Snapshot,
    client: &'s dyn ClientSide,
    instance: Option<&'s Arc<InstancePlan>>,
    method: metrics::Method,
    /// For the access log, where it is on.
    asked: Option<Asked>,
    /// There are as many as there may be.
    is_too_much: bool,
}

impl<'s> Serving<'s> {
    /// Finds who serves a request whose head is complete.
    pub fn begin(
        worker: &'s Worker,
        snapshot: &'s Snapshot,
        request: &mut Request,
        client: &'s dyn ClientSide,
    ) -> Self {
        client.tally().begin();
        let engine = &snapshot.engine;
        let id =
            request.headers.get("x-request-id").and_then(RequestId::parse).unwrap_or_else(RequestId::random);
        let peer = Rc::clone(&request.peer);
        let exchange = Exchange::new(peer, id, engine.response_timeout, engine.stream_idle)
            .with_server(worker.server_name(engine));
        let method = request.method.as_str().as_bytes().into();
        let instance = serve::find(snapshot, request);
        let asked = engine
            .access_log
            .then(|| Asked { method: Some(request.method.clone()), path: Some(request.path().to_owned()) });
        if let Some(instance) = instance {
            instance.metrics.started();
        }
        let under_way = worker.requests.get() + 1;
        worker.requests.set(under_way);
        let is_too_much = under_way > engine.requests_max;
        Self { exchange, worker, snapshot, client, instance, method, asked, is_too_much }
    }

    /// Runs the chain and gives its response.
    pub async fn response(&self, request: Request) -> Response {
        if self.is_too_much {
            self.worker.metrics.request_refused("overload");
            return serve::refuse_overload(self.worker, request, &self.exchange).await;
        }
        // From here on the client's silence has an end: a policy may read the body before the upstream
        // is asked.
        self.client.watch().arm(Timer::StreamIdle, self.exchange.stream_idle_timeout());
        serve::serve(self.worker, self.snapshot, self.instance, request, &self.exchange, self.client).await
    }

    fn record(&self) {
        let tally = self.client.tally();
        let (status, request_bytes, response_bytes) =
            (tally.status.get(), tally.received.get(), tally.sent.get());
        let elapsed = self.exchange.started().elapsed();
        if let Some(instance) = self.instance {
            let record =
                RequestRecord { method: self.method, status, elapsed, request_bytes, response_bytes };
            instance.metrics.finished(&record);
        }
        if let Some(asked) = &self.asked {
            log(self.instance.map(|instance| &instance.name), &self.exchange, asked, elapsed, tally);
        }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.worker.requests.set(self.worker.requests.get() - 1);
        self.record();
    }
}

/// What is refused before it is a request. When it is dropped it is logged, as a request is.
pub struct Refused<'s> {
    pub exchange: Exchange,
    client: &'s dyn ClientSide,
    /// For the access log, where it is on.
    asked: Option<Asked>,
}

impl<'s> Refused<'s> {
    /// Counts a refusal and gives its answer. `asked` is called where the access log is on; `idle` is how long the
    /// client may take to read the answer.
    pub fn begin(
        worker: &Worker,
        snapshot: &Snapshot,
        client: &'s dyn ClientSide,
        refusal: Refusal,
        asked: impl FnOnce() -> Asked,
        idle: Duration,
    ) -> (Response, Self) {
        worker.metrics.request_refused(refusal.reason());
        client.tally().begin();
        let response = Response::json_error(refusal.status(), refusal.text());
        let exchange =
            exchange_of_refusal(client.peer(), idle).with_server(worker.server_name(&snapshot.engine));
        let asked = snapshot.engine.access_log.then(asked);
        (exchange.stamped(response), Self { exchange, client, asked })
    }
}

impl Drop for Refused<'_> {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            log(None, &self.exchange, asked, self.exchange.started().elapsed(), self.client.tally());
        }
    }
}

/// Counts and logs what is refused without an answer.
pub fn reject(
    worker: &Worker,
    snapshot: &Snapshot,
    peer: &Rc<Peer>,
    reason: &'static str,
    asked: impl FnOnce() -> Asked,
) {
    worker.metrics.request_refused(reason);
    if snapshot.engine.access_log {
        let exchange = exchange_of_refusal(peer, Duration::ZERO);
        log(None, &exchange, &asked(), Duration::ZERO, &Tally::default());
    }
}

fn exchange_of_refusal(peer: &Rc<Peer>, idle: Duration) -> Exchange {
    Exchange::new(Rc::clone(peer), RequestId::random(), Duration::ZERO, idle)
}

fn log(api: Option<&ResourceName>, exchange: &Exchange, asked: &Asked, elapsed: Duration, tally: &Tally) {
    telemetry::log::request(&telemetry::log::RequestLine {
        api,
        request_id: exchange.request_id(),
        peer: exchange.peer().remote.ip(),
        method: asked.method.as_ref().map(Method::as_str),
        target: asked.path.as_deref(),
        status: tally.status.get(),
        elapsed,
        request_bytes: tally.received.get(),
        response_bytes: tally.sent.get(),
    });
}
