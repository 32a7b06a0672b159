//! The upstream's side: one exchange at a time on a connection, duplex without a second task.
//!
//! The request body lives here while it is sent, and whoever polls the response also drives the
//! upload; so a response may start before the request has ended.

use std::{
    cell::{Cell, Ref, RefCell},
    future::{Future, poll_fn},
    io,
    pin::pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use super::{
    awaited::Awaited,
    chunked::Decoder,
    fault::{ExchangeError, Fault},
    head::{Framing, ResponseHead, parse_response},
    sender::{SendError, SendFraming, Sender},
    wire::{Transport, Wire},
};
use crate::{
    data_plane::{
        client_side::ClientSide,
        envoy,
        pool::{ByLine, Pool},
        servers::Server,
        timers::{Timer, Watch},
    },
    http::{Body, BodyError, BodySource, Headers, Length, Step, Version},
    snapshot::{Permit, Ticket, UpstreamPlan},
    tls::Failure,
};

/// A connection to an upstream.
pub struct ClientConnection {
    me: Weak<Self>,
    home: Home,
    /// The upstream that it serves, or has served last.
    user: RefCell<Arc<UpstreamPlan>>,
    /// Counts it among the connections of that upstream, as long as it is open.
    permit: RefCell<Permit>,
    wire: RefCell<Wire>,
    upload: RefCell<Option<Upload>>,
    watch: RefCell<Option<Rc<Watch>>>,
    /// Counts the request in flight against the limits of the upstream.
    request: RefCell<Option<Ticket>>,
    keep_alive: Cell<bool>,
    /// It has served before: the upstream may be closing it.
    reused: Cell<bool>,
}

/// The pool that a connection goes back to, and the address that it leads to.
pub type Home = (Weak<Pool>, Weak<Server>);

struct Upload {
    sender: Sender,
    body: Body,
    /// The head goes out, the body waits for `100 (Continue)`.
    held: bool,
}

/// How long a body waits for the upstream's `100 (Continue)`: services that do not know the
/// expectation never send one (RFC 9110 section 10.1.1). What curl waits, too.
pub const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// What goes out.
pub struct Outgoing<'a> {
    /// Encoded head.
    pub head: Vec<u8>,
    pub framing: SendFraming,
    pub body: Body,
    /// The body waits until the upstream asks for it, answers, or has had its time.
    pub held: bool,
    /// The request is HEAD: its response has no body.
    pub to_head: bool,
    /// The protocols that are asked for.
    pub upgrade: Option<&'a str>,
}

/// Limits of one exchange.
#[derive(Clone, Copy)]
pub struct ExchangeLimits {
    pub response_timeout: Duration,
    pub head_bytes_max: usize,
}

impl ClientConnection {
    pub fn new(transport: Transport, home: Home, user: &Arc<UpstreamPlan>, permit: Permit) -> Rc<Self> {
        user.metrics.opened();
        Rc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            home,
            user: RefCell::new(Arc::clone(user)),
            permit: RefCell::new(permit),
            wire: RefCell::new(Wire::new(transport)),
            upload: RefCell::default(),
            watch: RefCell::default(),
            request: RefCell::default(),
            keep_alive: Cell::new(true),
            reused: Cell::new(false),
        })
    }

    /// Where it leads, as long as its pool's name leads there.
    pub fn server(&self) -> Option<Rc<Server>> {
        self.home.1.upgrade().filter(|server| !server.is_gone())
    }

    /// The upstream that it serves, or has served last.
    pub fn user(&self) -> Ref<'_, Arc<UpstreamPlan>> {
        self.user.borrow()
    }

    /// Whether it counts among the connections of an upstream.
    pub fn counts_for(&self, upstream: &UpstreamPlan) -> bool {
        self.permit.borrow().is_of(&upstream.gauges.line)
    }

    /// Serves an upstream from now on, counted by this permit if it did not count there yet.
    pub fn serve(&self, upstream: &Arc<UpstreamPlan>, permit: Option<Permit>) {
        self.reused.set(true);
        if !Arc::ptr_eq(&self.user.borrow(), upstream) {
            upstream.metrics.opened();
            self.user.replace(Arc::clone(upstream)).metrics.closed();
        }
        if let Some(permit) = permit {
            drop(self.permit.replace(permit));
        }
    }

    /// What it serves is as these have it from now on, if one of them is what it counts for.
    pub fn reload(&self, upstreams: &ByLine<'_>) {
        let line = Arc::as_ptr(&self.user().gauges.line);
        if let Some(upstream) = upstreams.get(&line) {
            self.user.replace(Arc::clone(upstream));
        }
    }

    pub fn is_reused(&self) -> bool {
        self.reused.get()
    }

    /// What it was counted by, for a connection in its stead.
    pub fn into_permit(self: Rc<Self>) -> Permit {
        self.permit.replace(Permit::void())
    }

    /// For a tunnel: from the switch of protocols on, the bytes are nobody else's.
    pub fn wire(&self) -> &RefCell<Wire> {
        &self.wire
    }

    /// An idle connection on which something arrives (a close, or bytes nobody asked for) is of no
    /// use any more. No system call while nothing does.
    pub fn is_fresh(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        if !wire.input.is_empty() {
            return false;
        }
        // A task that has done much is told "pending" whatever is there (tokio's budget): not here, where it
        // would make a closed connection look fresh.
        let arrival = tokio::task::unconstrained(poll_fn(|cx| wire.poll_arrival(cx)));
        pin!(arrival).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Sends a request and waits for the head of its final response. Interim responses are passed on
    /// to the client. The body of the response is [`Self::response_body`].
    ///
    /// # Errors
    /// [`ExchangeError`], with what a retry needs to know.
    pub async fn exchange(
        &self,
        outgoing: Outgoing<'_>,
        limits: ExchangeLimits,
        client: &dyn ClientSide,
        request: Ticket,
    ) -> Result<ResponseHead, ExchangeError> {
        let watch = client.watch();
        let mut awaited = Awaited {
            to_head: outgoing.to_head,
            upgrade: outgoing.upgrade,
            head_bytes_max: limits.head_bytes_max,
            interims: 0,
            interim_bytes: 0,
            undecided: false,
        };
        let received_before = self.wire.borrow().received;
        *self.request.borrow_mut() = Some(request);
        *self.watch.borrow_mut() = Some(Rc::clone(watch));
        let sender = Sender::new(outgoing.head, outgoing.framing);
        *self.upload.borrow_mut() = Some(Upload { sender, body: outgoing.body, held: outgoing.held });
        if outgoing.held {
            watch.arm(Timer::Continue, CONTINUE_WAIT);
        }
        let mut waiting = false;
        let outcome = poll_fn(|cx| {
            let outcome = self.poll_head(cx, &mut awaited, client);
            if !waiting && self.is_request_sent() {
                // The response timeout starts when the request has been sent.
                waiting = true;
                watch.await_response(limits.response_timeout);
            }
            match outcome {
                Poll::Pending if watch.is_due(Timer::Response) => Poll::Ready(Err(Fault::ResponseTimeout)),
                Poll::Pending if watch.is_due(Timer::StreamIdle) => Poll::Ready(Err(Fault::StreamIdle)),
                other => other,
            }
        })
        .await;
        watch.disarm(Timer::Response);
        watch.disarm(Timer::Continue);
        outcome.map_err(|fault| {
            self.keep_alive.set(false);
            self.request.take();
            let upload = self.upload.take();
            let answered = self.wire.borrow().received > received_before;
            match upload {
                Some(Upload { sender, body, .. }) => ExchangeError {
                    fault,
                    begun: sender.has_begun(),
                    body_untouched: sender.bytes() == 0,
                    answered,
                    body,
                },
                None => {
                    ExchangeError { fault, begun: true, body_untouched: false, answered, body: Body::Empty }
                }
            }
        })
    }

    fn poll_head(
        &self,
        cx: &mut Context<'_>,
        awaited: &mut Awaited<'_>,
        client: &dyn ClientSide,
    ) -> Poll<Result<ResponseHead, Fault>> {
        if client.watch().is_due(Timer::Continue) {
            self.let_body_go(client.watch());
        }
        loop {
            if let Poll::Ready(Err(error)) = self.poll_upload(cx, client.watch()) {
                return Poll::Ready(Err(Fault::RequestBody(error)));
            }
            if let Some(head) = ready!(self.poll_heads(cx, awaited, client))? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Reads heads up to the final one, which is the result. `None`: the upstream asks for the body.
    fn poll_heads(
        &self,
        cx: &mut Context<'_>,
        awaited: &mut Awaited<'_>,
        client: &dyn ClientSide,
    ) -> Poll<Result<Option<ResponseHead>, Fault>> {
        let malformed = |what| Poll::Ready(Err(Fault::Malformed(what)));
        let mut wire = self.wire.borrow_mut();
        loop {
            while awaited.undecided && !wire.input.is_empty() {
                let parsed = parse_response(wire.input.unread(), awaited.to_head).map_err(Fault::Head)?;
                let Some((mut head, length)) = parsed else {
                    awaited.undecided = false;
                    break;
                };
                if length > awaited.head_bytes_max {
                    return malformed("response head over the limit");
                }
                wire.input.consume(length);
                match head.status {
                    101 if !(awaited.agrees(&head) && self.is_request_sent()) => {
                        return malformed("upgrade that was not asked for");
                    }
                    100 | 102..=199 if !awaited.admits(length) => return malformed("interim responses"),
                    100 | 102..=199 => {
                        envoy::from_interim(&mut head.headers);
                        client.interim(head.status, &head.headers);
                    }
                    _ => {
                        self.begin_response(&mut wire, &head);
                        return Poll::Ready(Ok(Some(head)));
                    }
                }
                if head.status == 100 && self.let_body_go(client.watch()) {
                    return Poll::Ready(Ok(None));
                }
            }
            if wire.input.unread().len() >= awaited.head_bytes_max {
                return malformed("response head over the limit");
            }
            let unread_max = awaited.head_bytes_max.max(super::wire::BUFFER_BYTES);
            let arrived = match ready!(wire.poll_fill(cx, unread_max)) {
                Ok(0) => return Poll::Ready(Err(Fault::Closed)),
                Err(error) => return Poll::Ready(Err(self.ended_by(&error, wire.received))),
                Ok(arrived) => arrived,
            };
            client.watch().restart(Timer::StreamIdle);
            // Nothing new can be decided without another line end.
            let unread = wire.input.unread();
            awaited.undecided = unread[unread.len() - arrived..].contains(&b'\n');
        }
    }

    fn ended_by(&self, error: &io::Error, received: u64) -> Fault {
        match Failure::of_first_read(error) {
            Some(failure) if received == 0 => {
                self.user().refused_by_tls(&failure);
                Fault::Tls(failure.reason)
            }
            _ => Fault::Closed,
        }
    }

    fn is_request_sent(&self) -> bool {
        self.upload.borrow().as_ref().is_none_or(|upload| upload.sender.is_sent())
    }

    /// The body need not wait any more; whether it did.
    fn let_body_go(&self, watch: &Watch) -> bool {
        watch.disarm(Timer::Continue);
        match &mut *self.upload.borrow_mut() {
            Some(upload) => std::mem::take(&mut upload.held),
            None => false,
        }
    }

    fn begin_response(&self, wire: &mut Wire, head: &ResponseHead) {
        wire.decoder = Decoder::new(head.framing);
        let persists = match head.version {
            Version::Http10 => head.connection.keep_alive && !head.connection.close,
            _ => !head.connection.close,
        };
        if !persists || head.framing == Framing::UntilClose {
            self.keep_alive.set(false);
        }
        // Answered without asking for the body: it is not sent, and what the upstream expects next on
        // this connection is not known (RFC 9110 section 10.1.1). A tunnel has no upload.
        if self.upload.borrow_mut().take_if(|upload| upload.held || head.status == 101).is_some() {
            self.keep_alive.set(false);
        }
    }

    /// The body that follows the head; empty, with the connection back home, if there is none.
    pub fn response_body(&self, head: &ResponseHead) -> Body {
        match self.me.upgrade() {
            Some(me) if head.framing != Framing::None => Body::wire(me),
            _ => {
                self.release();
                Body::Empty
            }
        }
    }

    fn poll_upload(&self, cx: &mut Context<'_>, watch: &Watch) -> Poll<Result<(), BodyError>> {
        let mut slot = self.upload.borrow_mut();
        let Some(Upload { sender, body, held }) = slot.as_mut() else { return Poll::Ready(Ok(())) };
        if sender.is_sent() {
            return Poll::Ready(Ok(()));
        }
        let mut sink = &self.wire;
        let progress = || watch.restart(Timer::StreamIdle);
        let outcome = match held {
            true => sender.poll_send_head(cx, &mut sink, &progress),
            false => sender.poll_send(cx, &mut sink, body, &progress),
        };
        match outcome {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(SendError::Body(error))) => Poll::Ready(Err(error)),
            Poll::Ready(Err(SendError::Peer(_))) => {
                // The upstream no longer reads; it may have answered all the same.
                self.keep_alive.set(false);
                sender.give_up();
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.user().metrics.closed();
    }
}

impl BodySource for ClientConnection {
    fn length(&self) -> Length {
        self.wire.borrow().decoder.length()
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        let Some(watch) = self.watch.borrow().clone() else {
            return Poll::Ready(Err(BodyError::Disconnected));
        };
        if let Poll::Ready(Err(_)) = self.poll_upload(cx, &watch) {
            // The client's side broke while its response was under way.
            return Poll::Ready(Err(BodyError::Disconnected));
        }
        let step = self.wire.borrow_mut().poll_body(cx, &|| watch.restart(Timer::StreamIdle));
        if step.is_pending() && watch.is_due(Timer::StreamIdle) {
            return Poll::Ready(Err(BodyError::IdleTimeout));
        }
        step
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        self.wire.borrow_mut().lend(take);
    }

    fn trailers(&self) -> Option<Headers> {
        self.wire.borrow_mut().decoder.take_trailers()
    }

    /// Back to the pool if both directions ended in order, else closed.
    fn release(&self) {
        let upload_sent = self.upload.take().is_none_or(|upload| upload.sender.is_sent());
        self.watch.take();
        self.request.take();
        let mut wire = self.wire.borrow_mut();
        // What a panic left behind is not trusted.
        let ended =
            wire.decoder.is_done() && wire.input.is_empty() && !wire.closed && !std::thread::panicking();
        if !(ended && upload_sent && self.keep_alive.get()) {
            return;
        }
        wire.input.rest();
        drop(wire);
        if let (Some(home), Some(me)) = (self.home.0.upgrade(), self.me.upgrade()) {
            home.give_back(me);
        }
    }
}
