//! One request of a client: a stream, from its head to its outcome.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::{
    frame::Reason,
    grpc,
    head::RequestHead,
    io::LINGER,
    server::{Connection, channel::Channel, input::Arrival, link::Link, sender::Sender},
    slots::Inbox,
};
use crate::{
    data_plane::{
        client_side::{ClientSide, Tally},
        handshake::{Standing, standing},
        panic::guard,
        refusal::Refusal,
        serving::{Refused, Serving},
        timers::{Timer, Watch},
        worker::Worker,
    },
    http::{Body, BodyError, BodySource, Headers, Length, Peer, Request, Response, Step, Version},
    policy::Exchange,
};

/// A stream while its request is served.
pub struct Stream {
    link: Rc<Link>,
    channel: Rc<Channel>,
    peer: Rc<Peer>,
    watch: Rc<Watch>,
    tally: Tally,
    bytes_max: Cell<Option<u64>>,
    /// The client waits for `100 (Continue)`; it is sent when the body is first asked for.
    continue_wanted: Cell<bool>,
    /// The final head is on its way.
    answered: Cell<bool>,
}

/// Serves one request after the other, for ever. Dropping this resets the stream and ends its exchange with the upstream.
pub async fn serve_each(connection: &Connection<'_>, inbox: Rc<Inbox<Arrival>>) {
    let mut watch = connection.worker.timers.watch();
    loop {
        let arrival = inbox.next().await;
        let channel = Rc::clone(&arrival.channel);
        // Nothing is begun for what has been reset already.
        if channel.is_closed() {
            connection.link.leave(&channel);
            connection
                .reject("http2_reset", || arrival.head.map_or_else(|(_, asked)| asked, |head| head.asked()));
            continue;
        }
        {
            let mut answering = pin!(answer(connection, arrival, Rc::clone(&watch)));
            poll_fn(|cx| {
                watch.register(cx);
                channel.sleeper.register(cx);
                answering.as_mut().poll(cx)
            })
            .await;
        }
        if Rc::strong_count(&watch) == 1 {
            watch.disarm_all();
        } else {
            // Somebody holds on to the deadlines of that stream.
            watch = connection.worker.timers.watch();
        }
    }
}

async fn answer(connection: &Connection<'_>, arrival: Arrival, watch: Rc<Watch>) {
    let worker = connection.worker;
    let pin = worker.pins.pin();
    let engine = &pin.engine;
    let Arrival { channel, head, to_head, is_grpc } = arrival;
    let stream = Rc::new(Stream {
        link: Rc::clone(&connection.link),
        channel,
        peer: Rc::clone(&connection.peer),
        watch,
        tally: Tally::default(),
        bytes_max: Cell::new(engine.request_body_bytes_max),
        continue_wanted: Cell::new(false),
        answered: Cell::new(false),
    });
    let head = head.and_then(|head| {
        if engine.request_body_bytes_max.is_some_and(|max| head.length.is_some_and(|length| length > max)) {
            return Err((Refusal::BodyTooLarge, head.asked()));
        }
        let standing = standing(&pin, &connection.peer);
        if standing != Standing::AsNew {
            connection.is_outdated();
        }
        if standing == Standing::Unproven { Err((Refusal::Unproven, head.asked())) } else { Ok(head) }
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
        let body = if self.channel.is_ended() {
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
            if self.channel.is_closed() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Sends a response.
    async fn send(&self, worker: &Worker, mut response: Response, to_head: bool, exchange: &Exchange) {
        self.watch.arm(Timer::StreamIdle, exchange.stream_idle_timeout());
        let has_room = poll_fn(|cx| {
            if self.channel.is_closed() || self.watch.is_due(Timer::StreamIdle) {
                return Poll::Ready(false);
            }
            if self.link.poll_output(&self.channel).is_ready() {
                return Poll::Ready(true);
            }
            // What arrives of the body does not wait where it is in the way of others.
            match guard(worker, exchange, || response.body.poll_ready(cx)) {
                Poll::Ready(Err(_)) => {
                    self.link.reset(self.channel.id, Reason::Internal);
                    Poll::Ready(false)
                }
                _ => Poll::Pending,
            }
        });
        if !has_room.await {
            return;
        }
        // The body has its time from here on.
        self.watch.restart(Timer::StreamIdle);
        self.answered.set(true);
        let (declared, follows) = lengths(&response, to_head);
        self.link.head(&self.channel, response.status, &response.headers, declared, follows.is_none());
        let Some(follows) = follows else { return };
        let mut sender = Sender::new(&self.link, &self.channel, follows);
        let mut body = response.body;
        poll_fn(|cx| {
            let progress = || self.watch.restart(Timer::StreamIdle);
            let outcome = guard(worker, exchange, || sender.poll_send(cx, &mut body, &progress));
            self.tally.sent.set(sender.bytes());
            match outcome {
                Poll::Ready(Err(_)) if !self.channel.is_closed() => {
                    self.link.reset(self.channel.id, Reason::Internal);
                }
                Poll::Ready(_) => {}
                Poll::Pending if self.watch.is_due(Timer::StreamIdle) => {
                    self.link.reset(self.channel.id, Reason::Cancel);
                }
                Poll::Pending => return Poll::Pending,
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.link.leave(&self.channel);
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
        if !(100..200).contains(&status) || self.channel.is_closed() {
            return;
        }
        // A client that does not read has no use for hints; the one that it waits for is short.
        let bare = Headers::new();
        let headers = match self.link.has_room() {
            true => headers,
            false if status == 100 => &bare,
            false => return,
        };
        self.link.head(&self.channel, status, headers, None, false);
    }
}

impl BodySource for Stream {
    fn length(&self) -> Length {
        self.channel.length()
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        if self.continue_wanted.get() {
            self.interim(100, &Headers::new());
        }
        if self.bytes_max.get().is_some_and(|max| self.tally.received.get() > max) {
            return Poll::Ready(Err(BodyError::TooLarge));
        }
        let step = self.channel.poll_ready();
        if step.is_pending() && self.watch.is_due(Timer::StreamIdle) {
            return Poll::Ready(Err(BodyError::IdleTimeout));
        }
        step
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        let taken = self.channel.lend(take);
        if taken > 0 {
            self.watch.restart(Timer::StreamIdle);
        }
        self.tally.received.set(self.tally.received.get() + taken as u64);
        self.link.release(Some(&self.channel), taken);
    }

    fn trailers(&self) -> Option<Headers> {
        self.channel.trailers()
    }

    fn awaits_continue(&self) -> bool {
        self.continue_wanted.get()
    }

    fn release(&self) {
        self.link.release(None, self.channel.stop());
    }
}

/// What `content-length` of a response says, and the length of the body that follows its head; `None`: no body follows.
fn lengths(response: &Response, to_head: bool) -> (Option<u64>, Option<Length>) {
    let length = response.body.length();
    let bodiless = to_head || matches!(response.status, 204 | 304);
    let declared = match length {
        _ if response.status == 204 => None,
        // The end of the stream says as much.
        Length::Known(0) => response.declared_length,
        Length::Known(length) => response.declared_length.filter(|_| bodiless).or(Some(length)),
        Length::Unknown => response.declared_length.filter(|_| bodiless),
    };
    let follows = (!bodiless && length != Length::Known(0)).then_some(length);
    (declared, follows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_without_a_body_declare_its_length_only_where_one_is_known() {
        let mut message = Response::empty(304);
        message.declared_length = Some(12);
        assert_eq!(lengths(&message, false), (Some(12), None));
        assert_eq!(lengths(&Response::empty(204), false), (None, None));
        assert_eq!(lengths(&Response::empty(200), false), (None, None));
        assert_eq!(lengths(&Response::json_error(404, "gone"), true), (Some(16), None));
        assert_eq!(lengths(&Response::empty(200), true), (None, None));
    }
}
