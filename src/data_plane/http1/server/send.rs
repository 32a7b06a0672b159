//! Sending a response, and what becomes of a request body that nobody wanted.

use std::{future::poll_fn, task::Poll};

use super::{
    super::{
        encode::{self, ResponseRules},
        sender::{SendFraming, Sender},
    },
    After, ServerConnection,
    closing::{LINGER, SKIPPED_BYTES_MAX},
};
use crate::{
    data_plane::{
        panic::{Panicked, guard},
        timers::Timer,
        worker::Worker,
    },
    http::{Body, Response, Step},
    policy::Exchange,
};

impl ServerConnection {
    /// Sends a response. Gives what is to follow.
    ///
    /// # Errors
    /// [`Panicked`] before the first byte: something else can still be sent.
    pub(super) async fn send(
        &self,
        worker: &Worker,
        response: Response,
        rules: ResponseRules<'_>,
        exchange: &Exchange,
    ) -> Result<After, Panicked> {
        self.tally.status.set(response.status);
        let mut head = self.final_head();
        let framing = encode::response(&mut head, &response, rules);
        let mut body = response.body;
        let mut sender = Sender::new(head, framing);
        if framing == SendFraming::None {
            body = Body::Empty;
        }
        let is_last = rules.close || framing == SendFraming::UntilClose;
        if is_last {
            sender.set_last();
        }
        self.watch.arm(Timer::StreamIdle, exchange.stream_idle_timeout());
        let mut is_idle = false;
        let outcome = poll_fn(|cx| {
            let mut sink = &self.wire;
            let progress = || self.watch.restart(Timer::StreamIdle);
            let outcome = guard(worker, exchange, || sender.poll_send(cx, &mut sink, &mut body, &progress));
            self.tally.sent.set(sender.bytes());
            // An upstream that is silent for long must not be kept waiting for a client that left.
            // When the drain of its address is over, what is still under way is cut (decision 18).
            is_idle = outcome.is_pending() && self.watch.is_due(Timer::StreamIdle);
            if is_idle || outcome.is_pending() && (self.listener.is_closed() || self.client_is_gone(cx)) {
                return Poll::Ready(Ok(None));
            }
            outcome.map(|outcome| outcome.map(Result::ok))
        })
        .await;
        // The response is over: what still sends the request's body ends here too.
        drop(body);
        match outcome {
            Ok(Some(())) => {}
            Err(panicked) if !sender.has_begun() => return Err(panicked),
            Ok(None) | Err(_) => {
                // What waits for a client that does not read would stay with the kernel for as long as that client likes.
                let cut = is_idle || framing == SendFraming::UntilClose;
                return Ok(if cut { After::Reset } else { After::Close });
            }
        }
        let after = match is_last {
            // Closing over a pipelined request would reset the connection and with it the response.
            true => After::Linger,
            false => self.skip_body().await,
        };
        Ok(after)
    }

    /// Reads what is left of a request body that nobody wanted, if it is little.
    async fn skip_body(&self) -> After {
        if self.wire.borrow().decoder.is_done() {
            return After::NextRequest;
        }
        if self.interims.continue_wanted.get() {
            // The client may or may not send the body now: the connection has no known state.
            return After::Linger;
        }
        self.watch.arm(Timer::Connection, LINGER);
        let mut left = SKIPPED_BYTES_MAX;
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
}
