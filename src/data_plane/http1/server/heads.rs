//! Waiting for a request and reading its head.

use std::{future::poll_fn, task::Poll};

use super::{
    super::{
        head::{HeadRules, RequestHead, parse_request},
        sender::Sink,
    },
    ServerConnection,
};
use crate::{
    data_plane::{http2, refusal::Refusal, timers::Timer, worker::Worker},
    http::Scheme,
    snapshot::EngineSettings,
};

/// What came of waiting for a head.
pub(super) enum Arrival {
    Head(RequestHead),
    /// The preface of HTTP/2, which is still unread.
    Http2,
    /// The socket was said to be readable and was not (a new one always is), or an empty line came: the client still idles.
    Nothing,
    /// The client closed.
    End,
}

impl ServerConnection {
    /// Waits for the first byte of a request, holding no buffer meanwhile. `false`: none will come.
    pub(super) async fn next_bytes(&self, worker: &Worker) -> bool {
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
            let mut wire = self.wire.borrow_mut();
            if let Poll::Ready(arrived) = wire.poll_arrival(cx) {
                return Poll::Ready(arrived.is_ok_and(|bytes| bytes > 0));
            }
            // TLS keeps back what it says last in a handshake; no response takes it along now. If that fails, the
            // next read tells.
            let _ = wire.transport.poll_flush(cx);
            if self.watch.is_due(Timer::Connection) || self.listener.is_closed() {
                return Poll::Ready(false);
            }
            Poll::Pending
        })
        .await
    }

    pub(super) async fn read_head(&self, engine: &EngineSettings) -> Result<Arrival, Refusal> {
        let rules = HeadRules { fields_max: engine.head_fields_max, merge_slashes: engine.merge_slashes };
        self.watch.arm(Timer::Connection, engine.head_timeout);
        let mut searched = 0;
        // Over TLS, ALPN decides (RFC 9113 section 3.3).
        let may_be_http2 = self.is_new.get() && self.peer.scheme == Scheme::Http;
        let outcome = poll_fn(|cx| {
            let mut wire = self.wire.borrow_mut();
            loop {
                let unread = wire.input.unread();
                // One empty line before a request is passed over (RFC 9112 section 2.2).
                if unread.starts_with(b"\r\n") && !self.has_blank_line.replace(true) {
                    searched = 0;
                    wire.input.consume(2);
                    continue;
                }
                let is_preface = may_be_http2 && http2::begins_preface(unread);
                if is_preface && unread.len() >= http2::PREFACE.len() {
                    return Poll::Ready(Ok(Arrival::Http2));
                }
                // Nothing new can be decided without another line end.
                if !is_preface && unread[searched.min(unread.len())..].contains(&b'\n') {
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
        if !matches!(outcome, Ok(Arrival::Nothing)) {
            self.is_new.set(false);
            self.has_blank_line.set(false);
        }
        outcome
    }
}
