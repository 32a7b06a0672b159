//! One request, from its head to its outcome.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use super::{
    super::{
        chunked::Decoder,
        encode::ResponseRules,
        head::{Framing, RequestHead},
        wire::BUFFER_BYTES,
    },
    After, ServerConnection,
    closing::LINGER,
    refusal::Refusal,
};
use crate::{
    data_plane::{serve, timers::Timer, worker::Worker},
    http::{Body, BodySource, Method, Request, Response, Version},
    policy::{Exchange, RequestId},
    snapshot::{EngineSettings, Snapshot},
    telemetry::{self, metrics::RequestRecord},
};

impl ServerConnection {
    /// Serves one request and sends its response.
    pub(super) async fn answer(
        self: &Rc<Self>,
        worker: &Worker,
        snapshot: &Snapshot,
        head: RequestHead,
    ) -> After {
        let started = Instant::now();
        let engine = &snapshot.engine;
        let (version, connection, framing) = (head.version, head.connection, head.framing);
        if let (Framing::Length(length), Some(max)) = (framing, engine.request_body_bytes_max)
            && length > max
        {
            return self.refuse(worker, snapshot, Refusal::BodyTooLarge).await;
        }
        self.begin_body(engine, &head);
        let mut request = self.request(head);
        let metric_method = request.method.as_str().as_bytes().into();
        let to_head = request.method == Method::Head;
        let id =
            request.headers.get("x-request-id").and_then(RequestId::parse).unwrap_or_else(RequestId::random);
        let exchange = Exchange::new(
            Rc::clone(&self.peer),
            id,
            SystemTime::now(),
            engine.response_timeout,
            engine.stream_idle,
        )
        .with_server(worker.server_name(engine));
        let instance = serve::find(snapshot, &mut request);
        let logged = engine.access_log.then(|| (request.method.clone(), request.path().to_owned()));
        if let Some(instance) = instance {
            instance.metrics.started();
        }
        let serving = serve::serve(worker, snapshot, instance, request, &exchange, &**self);
        let response = self.unless_gone(serving).await;
        let (status, sent, after) = match response {
            None => (0, 0, After::Close),
            Some(response) => {
                let persists = match version {
                    Version::Http10 => connection.keep_alive && !connection.close,
                    _ => !connection.close,
                };
                // Where the client was never told to send its body, the next bytes have no known
                // meaning: it is told that the connection ends here (RFC 9110 section 10.1.1).
                let unasked = self.interims.continue_wanted.get();
                let close = !persists || unasked || self.listener.is_draining() || worker.is_draining();
                let rules = ResponseRules { version, to_head, close };
                let status = response.status;
                let (sent, after) = self.send(response, rules, &exchange).await;
                (status, sent, after)
            }
        };
        self.watch.disarm(Timer::StreamIdle);
        let elapsed = started.elapsed();
        let request_bytes = self.body.received.get();
        if let Some(instance) = instance {
            let record =
                RequestRecord { method: metric_method, status, elapsed, request_bytes, response_bytes: sent };
            instance.metrics.finished(&record);
        }
        if let Some((method, path)) = logged {
            telemetry::log::request(&telemetry::log::RequestLine {
                api: instance.map(|instance| &instance.name),
                request_id: exchange.request_id(),
                peer: self.peer.remote.ip(),
                method: method.as_str(),
                target: &path,
                status,
                elapsed,
                request_bytes,
                response_bytes: sent,
            });
        }
        after
    }

    fn begin_body(&self, engine: &EngineSettings, head: &RequestHead) {
        self.wire.borrow_mut().decoder = Decoder::new(head.framing);
        self.interims.begin(head);
        self.body.received.set(0);
        self.body.bytes_max.set(engine.request_body_bytes_max);
    }

    fn request(self: &Rc<Self>, head: RequestHead) -> Request {
        let body = match head.framing {
            Framing::None => Body::Empty,
            _ => Body::wire(Rc::clone(self) as Rc<dyn BodySource>),
        };
        Request {
            method: head.method,
            version: head.version,
            headers: head.headers,
            body,
            peer: Rc::clone(&self.peer),
            path: head.path,
            query: head.query,
            authority: head.authority,
        }
    }

    pub(super) async fn refuse(&self, worker: &Worker, snapshot: &Snapshot, refusal: Refusal) -> After {
        worker.metrics.request_refused(refusal.reason());
        let response = Response::json_error(refusal.status(), refusal.text());
        let exchange = Exchange::new(
            Rc::clone(&self.peer),
            RequestId::random(),
            SystemTime::now(),
            Duration::ZERO,
            LINGER,
        )
        .with_server(worker.server_name(&snapshot.engine));
        let response = exchange.stamped(response);
        let rules = ResponseRules { version: Version::Http11, to_head: false, close: true };
        let _ = self.send(response, rules, &exchange).await;
        After::Linger
    }

    /// Waits for a response; `None` when the client went away before it.
    async fn unless_gone(&self, serving: impl Future<Output = Response>) -> Option<Response> {
        let mut serving = pin!(serving);
        poll_fn(|cx| {
            if let Poll::Ready(response) = serving.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            self.write_interims(cx);
            if self.client_is_gone(cx) { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Whether the client closed its side. Bytes of a next request are kept, up to one buffer.
    pub(super) fn client_is_gone(&self, cx: &mut Context<'_>) -> bool {
        let mut wire = self.wire.borrow_mut();
        if !wire.decoder.is_done() {
            // Whoever reads the body will notice.
            return false;
        }
        loop {
            if wire.input.unread().len() >= BUFFER_BYTES {
                return false;
            }
            let arrived = match wire.input.is_empty() {
                true => wire.poll_arrival(cx),
                false => wire.poll_fill(cx, BUFFER_BYTES),
            };
            match arrived {
                Poll::Pending => return false,
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => {}
            }
        }
    }
}
