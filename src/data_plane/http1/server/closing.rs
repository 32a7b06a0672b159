//! Ending a connection so that the client gets what was sent.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    super::wire::{BUFFER_BYTES, Transport},
    ServerConnection,
};
use crate::data_plane::timers::Timer;

/// How long, and how much, is read from a client after the last response, so that closing does not
/// take the response away from it (RFC 9112 section 9.6): what a fast client has sent before it looks at the response.
pub(super) const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Of a body that nobody wanted, how much is read for the sake of the requests behind it.
pub(super) const SKIPPED_BYTES_MAX: u64 = 256 * 1024;

impl ServerConnection {
    /// Ends this side, then reads on for a moment so that the client gets what was sent.
    pub(super) async fn linger(&self) {
        self.told(Transport::poll_shutdown).await;
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

    /// Ends a connection on which nothing is expected any more: closing the socket says so.
    pub(super) async fn end(&self) {
        self.told(Transport::poll_end).await;
    }

    /// TLS has a last record to send; a client that does not read it is not waited for.
    async fn told(&self, tell: fn(&mut Transport, &mut Context<'_>) -> Poll<io::Result<()>>) {
        self.watch.arm(Timer::Connection, LINGER);
        poll_fn(|cx| match tell(&mut self.wire.borrow_mut().transport, cx) {
            Poll::Pending if !self.watch.is_due(Timer::Connection) => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
    }
}
