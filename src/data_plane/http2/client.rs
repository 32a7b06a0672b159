//! One exchange with an upstream that speaks HTTP/2: a stream of a shared connection. As with HTTP/1.1,
//! whoever polls the response also drives the upload.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
};

use h2::{Reason, client::ResponseFuture};
use http::uri::Scheme;

use super::{
    body::Incoming,
    meter::Meter,
    sender::{SendError, Sender},
    shared::Slot,
    translate,
};
use crate::{
    data_plane::{
        client_side::ClientSide,
        envoy,
        http1::{
            awaited::INTERIMS_MAX,
            client::{CONTINUE_WAIT, ExchangeLimits},
            fault::{ExchangeError, Fault},
        },
        timers::{Timer, Watch},
    },
    http::{Body, BodyError, BodySource, Headers, Length, Origin, Request, Response, Step},
    snapshot::Ticket,
};

/// A stream to an upstream, until its response has been read.
pub struct ClientStream {
    state: RefCell<Option<Open>>,
    incoming: RefCell<Option<Incoming>>,
    watch: Rc<Watch>,
    meter: Rc<Meter>,
    failed: Cell<bool>,
    /// The client waits for `100 (Continue)`, and so does its body, until the upstream asks for it.
    held: Cell<bool>,
}

/// What ends with the exchange.
struct Open {
    sender: Sender,
    body: Body,
    slot: Slot,
    /// Bytes that the connection had written when the request was handed to it.
    written_before: u64,
    /// Counts the request in flight against the limits of the upstream.
    _request: Ticket,
}

/// What goes out.
pub struct Outgoing<'r> {
    /// Its body is taken.
    pub request: &'r mut Request,
    pub authority: &'r str,
    pub scheme: Scheme,
}

/// Sends a request and waits for the head of its final response. Interim responses are passed on.
///
/// # Errors
/// [`ExchangeError`], with what a retry needs to know.
pub async fn exchange(
    slot: Slot,
    outgoing: Outgoing<'_>,
    limits: ExchangeLimits,
    client: &dyn ClientSide,
    ticket: Ticket,
) -> Result<Response, ExchangeError> {
    let Outgoing { request, authority, scheme } = outgoing;
    let follows = match request.body.length() {
        Length::Known(0) => None,
        length => Some(length),
    };
    let Ok(head) = translate::outgoing(request, authority, scheme, follows) else {
        return Err(unsent(Fault::RequestBody(BodyError::Malformed), request));
    };
    let written_before = slot.connection.meter.written();
    let begun = slot.connection.requests().send_request(head, follows.is_none());
    let Ok((response, sending)) = begun else {
        // The connection takes no more requests: it is as if this one had never been tried.
        slot.connection.retire();
        return Err(unsent(Fault::Closed, request));
    };
    slot.connection.meter.sent();
    let sender = Sender::new(sending, follows);
    let body = std::mem::take(&mut request.body);
    let watch = Rc::clone(client.watch());
    let held = body.awaits_continue();
    if held {
        watch.arm(Timer::Continue, CONTINUE_WAIT);
    }
    let meter = Rc::clone(&slot.connection.meter);
    let stream = Rc::new(ClientStream {
        state: RefCell::new(Some(Open { sender, body, slot, written_before, _request: ticket })),
        incoming: RefCell::default(),
        watch,
        meter,
        failed: Cell::new(false),
        held: Cell::new(held),
    });
    stream.head(response, limits, client).await
}

/// The error of a request of which nothing has been sent.
fn unsent(fault: Fault, request: &mut Request) -> ExchangeError {
    let body = std::mem::take(&mut request.body);
    ExchangeError { fault, begun: false, body_untouched: true, answered: false, body }
}

impl ClientStream {
    async fn head(
        self: Rc<Self>,
        mut response: ResponseFuture,
        limits: ExchangeLimits,
        client: &dyn ClientSide,
    ) -> Result<Response, ExchangeError> {
        let watch = &self.watch;
        let mut waiting = false;
        let mut interims = 0;
        let mut interim_bytes = 0;
        let mut answered = false;
        let outcome = poll_fn(|cx| {
            if watch.is_due(Timer::Continue) {
                self.held.set(false);
            }
            if let Poll::Ready(Err(error)) = self.poll_upload(cx) {
                return Poll::Ready(Err(Failure::Local(Fault::RequestBody(error))));
            }
            if !waiting && self.is_sent() {
                // The response timeout starts when the request has been sent.
                waiting = true;
                watch.await_response(limits.response_timeout);
            }
            while let Poll::Ready(Some(Ok(head))) = response.poll_informational(cx) {
                self.meter.took();
                answered = true;
                interims += 1;
                let fields = head.headers().iter();
                interim_bytes += fields.map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
                let too_many = interims > INTERIMS_MAX || interim_bytes > limits.head_bytes_max;
                if too_many || head.status() == 101 {
                    return Poll::Ready(Err(Failure::Local(Fault::Malformed("interim responses"))));
                }
                watch.restart(Timer::StreamIdle);
                let mut fields = translate::message_fields(head.headers());
                envoy::from_interim(&mut fields);
                client.interim(head.status().as_u16(), &fields);
                if head.status() == 100 && self.held.replace(false) {
                    // The body is asked for: the upload goes on with the next turn.
                    cx.waker().wake_by_ref();
                }
            }
            match std::pin::Pin::new(&mut response).poll(cx) {
                Poll::Ready(head) => Poll::Ready(head.map_err(Failure::Peer)),
                Poll::Pending if watch.is_due(Timer::Response) => {
                    Poll::Ready(Err(Failure::Local(Fault::ResponseTimeout)))
                }
                Poll::Pending if watch.is_due(Timer::StreamIdle) => {
                    Poll::Ready(Err(Failure::Local(Fault::StreamIdle)))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        watch.disarm(Timer::Response);
        watch.disarm(Timer::Continue);
        // Answered without asking for the body: it is not sent.
        self.failed.set(self.failed.get() || self.held.get());
        let head = outcome.map_err(|failure| self.fail(failure, answered))?;
        self.meter.took();
        let (parts, body) = head.into_parts();
        let (headers, length) = translate::incoming(&parts)
            .map_err(|what| self.fail(Failure::Local(Fault::Malformed(what)), true))?;
        let incoming = Incoming::new(body, length, Rc::clone(&self.meter));
        let body = if incoming.is_ended() {
            self.release();
            Body::Empty
        } else {
            *self.incoming.borrow_mut() = Some(incoming);
            Body::wire(Rc::clone(&self) as Rc<dyn BodySource>)
        };
        Ok(Response {
            status: parts.status.as_u16(),
            headers,
            body,
            origin: Origin::Upstream,
            declared_length: length,
            stamped: false,
        })
    }

    fn is_sent(&self) -> bool {
        self.state.borrow().as_ref().is_none_or(|open| open.sender.is_sent())
    }

    fn poll_upload(&self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let mut state = self.state.borrow_mut();
        let Some(Open { sender, body, .. }) = state.as_mut() else { return Poll::Ready(Ok(())) };
        if sender.is_sent() || self.failed.get() || self.held.get() {
            return Poll::Ready(Ok(()));
        }
        let progress = || self.watch.restart(Timer::StreamIdle);
        sender.poll_send(cx, body, &self.meter, &progress).map(|outcome| match outcome {
            Ok(()) => Ok(()),
            Err(SendError::Body(error)) => Err(error),
            Err(SendError::Peer) => {
                // The upstream no longer reads; it may have answered all the same.
                self.failed.set(true);
                Ok(())
            }
        })
    }

    /// Ends the stream and tells what a retry needs to know.
    fn fail(&self, failure: Failure, answered: bool) -> ExchangeError {
        let state = self.state.take();
        let mut refused = None;
        // Nothing that this request is made of has left, if nothing has left since.
        let mut is_unwritten = false;
        let (body, untouched) = match state {
            Some(Open { sender, body, slot, written_before, .. }) => {
                is_unwritten = self.meter.written() == written_before;
                refused = self.meter.refused().map(|failure| Fault::Tls(failure.reason));
                if matches!(&failure, Failure::Peer(error) if error.is_go_away() || error.is_io()) {
                    slot.connection.retire();
                }
                (body, sender.bytes() == 0)
            }
            None => (Body::Empty, false),
        };
        let (fault, processed) = failure.explain();
        let fault = refused.unwrap_or(fault);
        let begun = processed && !(is_unwritten && fault == Fault::Closed);
        ExchangeError { fault, begun, body_untouched: untouched, answered, body }
    }
}

/// What ended an exchange before its response.
enum Failure {
    Local(Fault),
    Peer(h2::Error),
}

impl Failure {
    /// The fault, and whether the upstream may have begun to process the request. It has not where it
    /// refuses the stream, or says GOAWAY with a smaller stream identifier (RFC 9113 section 8.7).
    fn explain(self) -> (Fault, bool) {
        match self {
            Self::Local(fault) => (fault, true),
            Self::Peer(error) if error.is_remote() && error.is_go_away() => (Fault::Closed, false),
            Self::Peer(error) if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) => {
                (Fault::Closed, false)
            }
            // An end that `h2` has decided on for reasons of its own is no fault of this exchange.
            Self::Peer(error) if error.is_go_away() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) => {
                (Fault::Closed, true)
            }
            Self::Peer(error) if error.is_library() => (Fault::Malformed("HTTP/2"), true),
            Self::Peer(_) => (Fault::Closed, true),
        }
    }
}

impl BodySource for ClientStream {
    fn length(&self) -> Length {
        self.incoming.borrow().as_ref().map_or(Length::Known(0), Incoming::length)
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        if let Poll::Ready(Err(_)) = self.poll_upload(cx) {
            // The client's side broke while its response was under way.
            return Poll::Ready(Err(BodyError::Disconnected));
        }
        let incoming = self.incoming.borrow();
        let Some(incoming) = incoming.as_ref() else { return Poll::Ready(Err(BodyError::Disconnected)) };
        let step = incoming.poll_ready(cx, &|| self.watch.restart(Timer::StreamIdle));
        if step.is_pending() && self.watch.is_due(Timer::StreamIdle) {
            return Poll::Ready(Err(BodyError::IdleTimeout));
        }
        step
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        if let Some(incoming) = self.incoming.borrow().as_ref() {
            incoming.lend(take);
        }
    }

    fn trailers(&self) -> Option<Headers> {
        self.incoming.borrow().as_ref().and_then(Incoming::trailers)
    }

    /// What is not finished is reset.
    fn release(&self) {
        self.incoming.take();
        self.state.take();
    }
}
