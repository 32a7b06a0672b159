//! One request of a client: a stream, from its head to its outcome.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use h2::{Reason, RecvStream, server::SendResponse};

use super::{
    body::Incoming,
    chunk::Chunk,
    grpc,
    io::LINGER,
    meter::Meter,
    sender::Sender,
    server::Connection,
    translate::{self, RequestHead},
};
use crate::{
    data_plane::{
        client_side::{ClientSide, Tally},
        handshake::{Standing, standing},
        http1::head::HeadRules,
        panic::guard,
        refusal::Refusal,
        serving::{Refused, Serving, reject},
        timers::{Timer, Watch},
        worker::Worker,
    },
    http::{Body, BodyError, BodySource, Headers, Length, Peer, Request, Response, Step, Version},
    policy::Exchange,
};

/// A stream while its request is served.
pub struct Stream {
    respond: RefCell<SendResponse<Chunk>>,
    peer: Rc<Peer>,
    incoming: Incoming,
    watch: Rc<Watch>,
    meter: Rc<Meter>,
    tally: Tally,
    bytes_max: Cell<Option<u64>>,
    /// The client waits for `100 (Continue)`; it is sent when the body is first asked for.
    continue_wanted: Cell<bool>,
    /// The final head is on its way.
    answered: Cell<bool>,
}

/// Serves one request. Dropping this resets the stream and ends its exchange with the upstream.
pub async fn serve(
    connection: &Connection<'_>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Chunk>,
) {
    let watch = connection.lend_watch();
    {
        let mut answering = pin!(answer(connection, request, respond, Rc::clone(&watch)));
        poll_fn(|cx| {
            watch.register(cx);
            answering.as_mut().poll(cx)
        })
        .await;
    }
    connection.take_back(watch);
}

async fn answer(
    connection: &Connection<'_>,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Chunk>,
    watch: Rc<Watch>,
) {
    let worker = connection.worker;
    let pin = worker.pins.pin();
    let engine = &pin.engine;
    let rules = HeadRules { fields_max: engine.head_fields_max, merge_slashes: engine.merge_slashes };
    let (parts, body) = request.into_parts();
    let to_head = parts.method == http::Method::HEAD;
    let content_type = parts.headers.get(http::header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|value| grpc::is_grpc_type(value.as_bytes()));
    let asked = || translate::asked(&parts, engine.merge_slashes);
    let head = match translate::request(&parts, rules) {
        Err(translate::Refused::Malformed(what)) => {
            tracing::debug!(peer = %connection.peer.remote, "malformed request: {what}");
            reject(worker, &pin, &connection.peer, "malformed_head", asked);
            return respond.send_reset(Reason::PROTOCOL_ERROR);
        }
        Err(translate::Refused::Answered(refusal)) => Err((refusal, asked())),
        Ok(head) if engine.request_body_bytes_max.is_some_and(|max| head.length.is_some_and(|l| l > max)) => {
            Err((Refusal::BodyTooLarge, asked()))
        }
        Ok(head) => match standing(&pin, &connection.peer) {
            Standing::AsNew => Ok(head),
            other => {
                connection.is_outdated();
                if other == Standing::Unproven { Err((Refusal::Unproven, asked())) } else { Ok(head) }
            }
        },
    };
    drop(parts);
    let stream = Rc::new(Stream {
        respond: RefCell::new(respond),
        peer: Rc::clone(&connection.peer),
        incoming: Incoming::new(body, head.as_ref().ok().and_then(|head| head.length)),
        watch,
        meter: Rc::clone(&connection.meter),
        tally: Tally::default(),
        bytes_max: Cell::new(engine.request_body_bytes_max),
        continue_wanted: Cell::new(false),
        answered: Cell::new(false),
    });
    let head = match head {
        Ok(head) => head,
        Err((refusal, asked)) => {
            let (response, refused) = Refused::begin(worker, &pin, &*stream, refusal, || asked, LINGER);
            stream.tally.status.set(response.status);
            let response = if is_grpc { grpc::in_shape(response) } else { response };
            stream.send(worker, response, to_head, &refused.exchange).await;
            return;
        }
    };
    let mut request = stream.request(head, connection);
    let serving = Serving::begin(worker, &pin, &mut request, &*stream);
    let response = stream.unless_gone(worker, &serving.exchange, serving.response(request)).await;
    if let Some(response) = response {
        // Counted as what it is, even where gRPC clients are told in their way.
        stream.tally.status.set(response.status);
        let response = if is_grpc { grpc::in_shape(response) } else { response };
        stream.send(worker, response, to_head, &serving.exchange).await;
    }
}

impl Stream {
    fn request(self: &Rc<Self>, head: RequestHead, connection: &Connection<'_>) -> Request {
        let body = if self.incoming.is_ended() {
            Body::Empty
        } else {
            self.continue_wanted.set(head.expects_continue);
            Body::wire(Rc::clone(self) as Rc<dyn BodySource>)
        };
        Request {
            method: head.method,
            version: Version::Http2,
            headers: head.headers,
            body,
            peer: Rc::clone(&connection.peer),
            path: head.path,
            query: head.query,
            authority: head.authority,
            upgrade: None,
            whole_server: head.whole_server,
        }
    }

    /// Waits for a response; `None` when the client has reset the stream, or is gone.
    async fn unless_gone(
        &self,
        worker: &Worker,
        exchange: &Exchange,
        serving: impl Future<Output = Response>,
    ) -> Option<Response> {
        let mut serving = pin!(serving);
        poll_fn(|cx| {
            if let Poll::Ready(served) = guard(worker, exchange, || serving.as_mut().poll(cx)) {
                let failed = |_| exchange.stamped(Response::json_error(500, "Internal Server Error"));
                return Poll::Ready(Some(served.unwrap_or_else(failed)));
            }
            self.respond.borrow_mut().poll_reset(cx).map(|_| None)
        })
        .await
    }

    /// Sends a response.
    async fn send(&self, worker: &Worker, response: Response, to_head: bool, exchange: &Exchange) {
        let (head, follows) = translate::response(&response, to_head);
        self.answered.set(true);
        let sending = self.respond.borrow_mut().send_response(head, follows.is_none());
        let Ok(sending) = sending else { return };
        self.meter.sent();
        // An answer that has no need of the request's body says so (RFC 9113 section 8.1): the stream is
        // reset with NO_ERROR once its last reference is dropped.
        let mut sender = Sender::new(sending, follows, Reason::INTERNAL_ERROR);
        let mut body = if follows.is_none() { Body::Empty } else { response.body };
        self.watch.arm(Timer::StreamIdle, exchange.stream_idle_timeout());
        poll_fn(|cx| {
            let progress = || self.watch.restart(Timer::StreamIdle);
            let outcome = guard(worker, exchange, || sender.poll_send(cx, &mut body, &self.meter, &progress));
            self.tally.sent.set(sender.bytes());
            if let Poll::Ready(Err(_)) = outcome {
                sender.reset(Reason::INTERNAL_ERROR);
            }
            if outcome.is_pending() && self.watch.is_due(Timer::StreamIdle) {
                sender.reset(Reason::CANCEL);
                return Poll::Ready(());
            }
            outcome.map(|_| ())
        })
        .await;
    }
}

impl ClientSide for Stream {
    fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }

    fn peer(&self) -> &Rc<Peer> {
        &self.peer
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn interim(&self, status: u16, headers: &Headers) {
        if self.answered.get() {
            return;
        }
        if status == 100 {
            self.continue_wanted.set(false);
        }
        if let Some(head) = translate::interim(status, headers) {
            // It is no loss where the stream is gone.
            let _ = self.respond.borrow_mut().send_informational(head);
        }
    }
}

impl BodySource for Stream {
    fn length(&self) -> Length {
        self.incoming.length()
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        if self.continue_wanted.get() {
            self.interim(100, &Headers::new());
        }
        if self.bytes_max.get().is_some_and(|max| self.tally.received.get() > max) {
            return Poll::Ready(Err(BodyError::TooLarge));
        }
        let step = self.incoming.poll_ready(cx, &|| self.watch.restart(Timer::StreamIdle));
        if step.is_pending() && self.watch.is_due(Timer::StreamIdle) {
            return Poll::Ready(Err(BodyError::IdleTimeout));
        }
        step
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        let taken = self.incoming.lend(take);
        self.tally.received.set(self.tally.received.get() + taken as u64);
    }

    fn trailers(&self) -> Option<Headers> {
        self.incoming.trailers()
    }

    fn awaits_continue(&self) -> bool {
        self.continue_wanted.get()
    }

    fn release(&self) {
        self.incoming.stop();
    }
}
