//! The client's side: reads heads, serves them in order, sends the responses.

mod body;
mod refusal;

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use refusal::Refusal;

use super::{
    chunked::Decoder,
    encode::{self, ResponseRules},
    head::{Framing, HeadRules, RequestHead, parse_request},
    sender::{SendFraming, Sender, buffer},
    wire::{BUFFER_BYTES, Transport, Wire},
};
use crate::{
    data_plane::{
        acceptor::Listener,
        serve,
        timers::{Timer, Watch},
        worker::Worker,
    },
    http::{Body, BodySource, Method, Peer, Request, Response, Step, Version},
    policy::{Exchange, RequestId},
    snapshot::{EngineSettings, Snapshot},
    telemetry::{self, metrics::RequestRecord},
};

/// How long, and how much, is read from a client after the last response, so that closing does not
/// take the response away from it (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 256 * 1024;

/// A connection from a client.
pub struct ServerConnection {
    wire: RefCell<Wire>,
    watch: Rc<Watch>,
    peer: Rc<Peer>,
    listener: Rc<Listener>,
    body: BodyState,
}

/// The body of the request in progress.
#[derive(Default)]
struct BodyState {
    /// The client waits for `100 (Continue)`; it is sent when the body is first asked for.
    continue_wanted: Cell<bool>,
    received: Cell<u64>,
    bytes_max: Cell<Option<u64>>,
}

/// What came of waiting for a head.
enum Arrival {
    Head(RequestHead),
    /// The socket was said to be readable and was not (a new one always is): the client still idles.
    Nothing,
    /// The client closed.
    End,
}

/// What follows a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    NextRequest,
    Close,
    /// The response broke off, and its end is the end of the connection: only a reset tells the
    /// client that something is missing.
    Reset,
    /// The client may still be sending.
    Linger,
}

/// Serves a connection until it closes. Counting it is the caller's.
pub async fn serve_connection(worker: &Worker, transport: Transport, peer: Peer, listener: Rc<Listener>) {
    let connection = Rc::new(ServerConnection {
        wire: RefCell::new(Wire::new(transport)),
        watch: worker.timers.watch(),
        peer: Rc::new(peer),
        listener,
        body: BodyState::default(),
    });
    let watch = Rc::clone(&connection.watch);
    let mut run = pin!(connection.run(worker));
    // One task polls everything of this connection, so one waker serves all its deadlines.
    poll_fn(|cx| {
        watch.register(cx);
        run.as_mut().poll(cx)
    })
    .await;
}

impl ServerConnection {
    async fn run(self: &Rc<Self>, worker: &Worker) {
        loop {
            if !self.next_bytes(worker).await {
                return;
            }
            let head = self.read_head(&worker.pins.pin().engine).await;
            // A head may be long in coming: what is in force when it is complete decides.
            let pin = worker.pins.pin();
            let snapshot: &Snapshot = &pin;
            let after = match head {
                Ok(Arrival::Head(head)) => self.answer(worker, snapshot, head).await,
                Ok(Arrival::Nothing) => After::NextRequest,
                Ok(Arrival::End) => return,
                Err(refusal) => self.refuse(worker, snapshot, refusal).await,
            };
            match after {
                After::NextRequest => {}
                After::Close => return self.shut_down().await,
                After::Reset => return self.wire.borrow().transport.reset_when_closed(),
                After::Linger => return self.linger().await,
            }
        }
    }

    /// Waits for the first byte of a request, holding no buffer meanwhile. `false`: none will come.
    async fn next_bytes(&self, worker: &Worker) -> bool {
        {
            let mut wire = self.wire.borrow_mut();
            if !wire.input.is_empty() {
                return true;
            }
            if wire.closed {
                return false;
            }
            wire.input.rest();
        }
        self.watch.disarm(Timer::StreamIdle);
        self.watch.arm(Timer::Connection, worker.client_idle());
        poll_fn(|cx| {
            if let Poll::Ready(arrived) = self.wire.borrow_mut().poll_arrival(cx) {
                return Poll::Ready(arrived.is_ok_and(|bytes| bytes > 0));
            }
            if self.watch.is_due(Timer::Connection) || self.listener.is_closed() {
                return Poll::Ready(false);
            }
            Poll::Pending
        })
        .await
    }

    async fn read_head(&self, engine: &EngineSettings) -> Result<Arrival, Refusal> {
        let rules = HeadRules { fields_max: engine.head_fields_max, merge_slashes: engine.merge_slashes };
        self.watch.arm(Timer::Connection, engine.head_timeout);
        let mut searched = 0;
        let mut blank_line = true;
        let outcome = poll_fn(|cx| {
            let mut wire = self.wire.borrow_mut();
            loop {
                let unread = wire.input.unread();
                // One empty line before a request is passed over (RFC 9112 section 2.2).
                if blank_line && unread.starts_with(b"\r\n") {
                    (blank_line, searched) = (false, 0);
                    wire.input.consume(2);
                    continue;
                }
                // Nothing new can be decided without another line end.
                if unread[searched.min(unread.len())..].contains(&b'\n') {
                    match parse_request(unread, rules) {
                        Ok(Some((head, length))) if length <= engine.head_bytes_max => {
                            wire.input.consume(length);
                            return Poll::Ready(Ok(Arrival::Head(head)));
                        }
                        Ok(Some(_)) => return Poll::Ready(Err(Refusal::HeadTooLarge)),
                        Ok(None) => {}
                        Err(error) => return Poll::Ready(Err(Refusal::Head(error))),
                    }
                }
                searched = unread.len();
                if searched > engine.head_bytes_max {
                    return Poll::Ready(Err(Refusal::HeadTooLarge));
                }
                match wire.poll_fill(cx, engine.head_bytes_max + 1) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(Arrival::End)),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending if wire.input.is_empty() => return Poll::Ready(Ok(Arrival::Nothing)),
                    Poll::Pending if self.watch.is_due(Timer::Connection) => {
                        return Poll::Ready(Err(Refusal::HeadTimeout));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        self.watch.disarm(Timer::Connection);
        outcome
    }

    /// Serves one request and sends its response.
    async fn answer(self: &Rc<Self>, worker: &Worker, snapshot: &Snapshot, head: RequestHead) -> After {
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
        let serving = serve::serve(worker, snapshot, instance, request, &exchange, &self.watch);
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
                let unasked = self.body.continue_wanted.get();
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
        self.body.continue_wanted.set(head.connection.expects_continue && head.framing != Framing::None);
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

    /// Waits for a response; `None` when the client went away before it.
    async fn unless_gone(&self, serving: impl Future<Output = Response>) -> Option<Response> {
        let mut serving = pin!(serving);
        poll_fn(|cx| {
            if let Poll::Ready(response) = serving.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            if self.client_is_gone(cx) { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Whether the client closed its side. Bytes of a next request are kept, up to one buffer.
    fn client_is_gone(&self, cx: &mut Context<'_>) -> bool {
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

    /// Sends a response. Gives the bytes written and what is to follow.
    async fn send(&self, response: Response, rules: ResponseRules, exchange: &Exchange) -> (u64, After) {
        let mut head = buffer();
        let framing = encode::response(&mut head, &response, rules);
        let mut body = response.body;
        let mut sender = Sender::new(head, framing);
        if framing == SendFraming::None {
            body = Body::Empty;
        }
        self.watch.arm(Timer::StreamIdle, exchange.stream_idle_timeout());
        let outcome = poll_fn(|cx| {
            let mut sink = &self.wire;
            let outcome =
                sender.poll_send(cx, &mut sink, &mut body, &|| self.watch.restart(Timer::StreamIdle));
            // An upstream that is silent for long must not be kept waiting for a client that left.
            if outcome.is_pending() && (self.watch.is_due(Timer::StreamIdle) || self.client_is_gone(cx)) {
                return Poll::Ready(None);
            }
            outcome.map(|outcome| outcome.ok())
        })
        .await;
        // The response is over: what still sends the request's body ends here too.
        drop(body);
        let sent = sender.bytes();
        if outcome.is_none() {
            let cut = framing == SendFraming::UntilClose;
            return (sent, if cut { After::Reset } else { After::Close });
        }
        let after = match rules.close || framing == SendFraming::UntilClose {
            // Closing over a pipelined request would reset the connection and with it the response.
            true => After::Linger,
            false => self.skip_body().await,
        };
        (sent, after)
    }

    /// Reads what is left of a request body that nobody wanted, if it is little.
    async fn skip_body(&self) -> After {
        if self.wire.borrow().decoder.is_done() {
            return After::NextRequest;
        }
        if self.body.continue_wanted.get() {
            // The client may or may not send the body now: the connection has no known state.
            return After::Linger;
        }
        self.watch.arm(Timer::Connection, LINGER);
        let mut left = LINGER_BYTES_MAX;
        let ended = poll_fn(|cx| {
            let mut wire = self.wire.borrow_mut();
            loop {
                match wire.poll_body(cx, &|| {}) {
                    Poll::Pending if self.watch.is_due(Timer::Connection) => return Poll::Ready(false),
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(Step::End)) => return Poll::Ready(true),
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Ready(Ok(Step::Data)) => wire.lend(&mut |bytes| {
                        left = left.saturating_sub(bytes.len() as u64);
                        bytes.len()
                    }),
                }
                if left == 0 {
                    return Poll::Ready(false);
                }
            }
        })
        .await;
        self.watch.disarm(Timer::Connection);
        if ended { After::NextRequest } else { After::Linger }
    }

    async fn refuse(&self, worker: &Worker, snapshot: &Snapshot, refusal: Refusal) -> After {
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

    /// Ends this side, then reads on for a moment so that the client gets what was sent.
    async fn linger(&self) {
        self.shut_down().await;
        self.watch.arm(Timer::Connection, LINGER);
        let mut left = LINGER_BYTES_MAX;
        poll_fn(|cx| {
            let mut wire = self.wire.borrow_mut();
            loop {
                let unread = wire.input.unread().len();
                left = left.saturating_sub(unread as u64);
                wire.input.consume(unread);
                if left == 0 || self.watch.is_due(Timer::Connection) {
                    return Poll::Ready(());
                }
                match wire.poll_fill(cx, BUFFER_BYTES) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(_)) => {}
                }
            }
        })
        .await;
    }

    /// TLS has a last record to send; a client that does not read it is not waited for.
    async fn shut_down(&self) {
        self.watch.arm(Timer::Connection, LINGER);
        poll_fn(|cx| match self.wire.borrow_mut().transport.poll_shutdown(cx) {
            Poll::Pending if !self.watch.is_due(Timer::Connection) => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
    }
}
