//! One request, from its head to its outcome.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::{
    super::{
        chunked::Decoder,
        encode::ResponseRules,
        head::{Framing, RequestHead},
        wire::BUFFER_BYTES,
    },
    After, ServerConnection,
    closing::{LINGER, SKIPPED_BYTES_MAX},
};
use crate::{
    data_plane::{
        handshake::{Standing, standing},
        panic::{Panicked, guard},
        refusal::{Asked, Refusal},
        serving::{Refused, Serving},
        timers::Timer,
        worker::Worker,
    },
    http::{Body, BodySource, Length, Method, Origin, Request, Response, Version},
    policy::Exchange,
    snapshot::{EngineSettings, Snapshot},
};

impl ServerConnection {
    /// Serves one request and sends its response.
    pub(super) async fn answer(
        self: &Rc<Self>,
        worker: &Worker,
        snapshot: &Snapshot,
        head: RequestHead,
    ) -> After {
        let engine = &snapshot.engine;
        let (version, connection, framing) = (head.version, head.connection, head.framing);
        if let (Framing::Length(length), Some(max)) = (framing, engine.request_body_bytes_max)
            && length > max
        {
            return self.refuse(worker, snapshot, Refusal::BodyTooLarge, || head.asked()).await;
        }
        let standing = standing(snapshot, &self.peer);
        if standing == Standing::Unproven {
            return self.refuse(worker, snapshot, Refusal::Unproven, || head.asked()).await;
        }
        self.begin_body(engine, &head);
        let mut request = self.request(head);
        let to_head = request.method == Method::Head;
        let serving = Serving::begin(worker, snapshot, &mut request, &**self);
        let exchange = &serving.exchange;
        let served = self.unless_gone(worker, exchange, serving.response(request)).await;
        let after = match served {
            None => After::Close,
            Some(served) => {
                let persists = match version {
                    Version::Http10 => connection.keep_alive && !connection.close,
                    _ => !connection.close,
                };
                // Where the client was never told to send its body, the next bytes have no known
                // meaning: it is told that the connection ends here (RFC 9110 section 10.1.1).
                let unasked = self.interims.continue_wanted.get();
                let broken = self.body_is_broken.get();
                let outdated = standing == Standing::Outdated;
                let draining = self.listener.is_draining() || worker.is_draining();
                let close =
                    !persists || unasked || broken || outdated || draining || self.leaves_much(&served);
                let rules = ResponseRules { version, to_head, close, upgrade: None };
                let after = self.finish(worker, served, rules, exchange).await;
                // A client that said so itself sends nothing more: nothing is waited for.
                let over = matches!(after, After::Linger) && !persists && self.has_all();
                if over { After::Close } else { after }
            }
        };
        self.watch.disarm(Timer::StreamIdle);
        after
    }

    /// Whether all that came is read, and all that was announced has come.
    fn has_all(&self) -> bool {
        let wire = self.wire.borrow();
        wire.decoder.is_done() && wire.input.is_empty()
    }

    /// The gateway has answered itself, and of the request so much is left that it is not read: the connection ends.
    fn leaves_much(&self, served: &Result<Response, Panicked>) -> bool {
        let left = self.wire.borrow().decoder.length();
        served.as_ref().is_ok_and(|response| response.origin == Origin::Gateway)
            && matches!(left, Length::Known(left) if left > SKIPPED_BYTES_MAX)
    }

    fn begin_body(&self, engine: &EngineSettings, head: &RequestHead) {
        self.wire.borrow_mut().decoder = Decoder::new(head.framing);
        self.interims.begin(head);
        self.body_is_broken.set(false);
        self.body_bytes_max.set(engine.request_body_bytes_max);
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
            upgrade: head.upgrade,
            whole_server: head.whole_server,
        }
    }

    /// Sends what came of serving. Gives what is to follow.
    async fn finish(
        &self,
        worker: &Worker,
        served: Result<Response, Panicked>,
        rules: ResponseRules<'_>,
        exchange: &Exchange,
    ) -> After {
        let finished = match served {
            Ok(response) => self.send_or_switch(worker, response, rules, exchange).await,
            Err(panicked) => Err(panicked),
        };
        if let Ok(finished) = finished {
            return finished;
        }
        self.upgraded.take();
        let response = exchange.stamped(Response::json_error(500, "Internal Server Error"));
        let rules = ResponseRules { close: true, ..rules };
        self.send(worker, response, rules, exchange).await.unwrap_or(After::Reset)
    }

    pub(super) async fn refuse(
        &self,
        worker: &Worker,
        snapshot: &Snapshot,
        refusal: Refusal,
        asked: impl FnOnce() -> Asked,
    ) -> After {
        let asked = asked();
        let to_head = asked.method == Some(Method::Head);
        let (response, refused) = Refused::begin(worker, snapshot, self, refusal, || asked, LINGER);
        let rules = ResponseRules { version: Version::Http11, to_head, close: true, upgrade: None };
        let _ = self.send(worker, response, rules, &refused.exchange).await;
        After::Linger
    }

    /// Waits for a response; `None` when the client went away before it.
    async fn unless_gone(
        &self,
        worker: &Worker,
        exchange: &Exchange,
        serving: impl Future<Output = Response>,
    ) -> Option<Result<Response, Panicked>> {
        let mut serving = pin!(serving);
        poll_fn(|cx| {
            if let Poll::Ready(served) = guard(worker, exchange, || serving.as_mut().poll(cx)) {
                return Poll::Ready(Some(served));
            }
            self.write_interims(cx);
            let over = self.listener.is_closed() || self.client_is_gone(cx);
            if over { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Whether the client closed its side. Bytes of the body and of a next request are kept, up to one buffer.
    pub(super) fn client_is_gone(&self, cx: &mut Context<'_>) -> bool {
        let mut wire = self.wire.borrow_mut();
        let has_body = !wire.decoder.is_done();
        if has_body && self.tally.received.get() > 0 {
            // Whoever reads it will notice.
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
                // Somebody may be waiting for just that.
                Poll::Ready(Ok(_)) if has_body => cx.waker().wake_by_ref(),
                Poll::Ready(Ok(_)) => {}
            }
        }
    }
}
