//! Our transport as `h2` wants it, metered; and the end of a connection, so that its GOAWAY arrives.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::Meter;
use crate::data_plane::{
    http1::{sender::Sink, wire::Transport},
    timers::{Timer, Watch},
};

/// How long, and how much, is read from a peer after the last frame, so that closing does not take it away
/// from it.
pub const LINGER: Duration = Duration::from_secs(2);

/// How long a peer that has done nothing wrong may be silent meanwhile. It may have much to read that is in
/// the kernel's hands already, and what it says about that, once everything is closed, would be answered
/// with a reset that takes the rest away from it.
pub const FAREWELL: Duration = Duration::from_secs(10);
const LINGER_BYTES_MAX: usize = 256 * 1024;
const LINGER_STEP_BYTES: usize = 8 * 1024;

/// The end of a connection: reads on until the peer closes, but not for long.
pub struct Linger {
    left: usize,
}

impl Default for Linger {
    fn default() -> Self {
        Self { left: LINGER_BYTES_MAX }
    }
}

impl Linger {
    pub fn poll(&mut self, cx: &mut Context<'_>, transport: &mut Transport, watch: &Watch) -> Poll<()> {
        let mut scratch = [0; 4096];
        loop {
            if self.left == 0 || watch.is_due(Timer::Connection) {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(transport.poll_read_into(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    // However little: who says one byte at a time is not listened to for ever.
                    self.left = self.left.saturating_sub(buffer.filled().len().max(LINGER_STEP_BYTES));
                    watch.restart(Timer::Connection);
                }
                _ => return Poll::Ready(()),
            }
        }
    }
}

pub struct Io {
    transport: Transport,
    meter: Rc<Meter>,
    watch: Rc<Watch>,
    ending: Option<Linger>,
}

impl Io {
    /// `watch` times the end of the connection.
    pub fn new(transport: Transport, meter: Rc<Meter>, watch: Rc<Watch>) -> Self {
        Self { transport, meter, watch, ending: None }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.meter.is_flooded() {
            // `h2` would read on for as long as there is something; its driver wants to know first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = into.filled().len();
        ready!(me.transport.poll_read_into(cx, into)).inspect_err(|error| me.meter.failed(error))?;
        me.meter.received(&into.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Sink::poll_write(&mut self.transport, cx, parts))?;
        self.meter.wrote(written);
        Poll::Ready(Ok(written))
    }

    /// Frames go out as they lie: the payload of DATA is not copied behind its head.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Sink::poll_flush(&mut self.transport, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.ending.is_none() {
            me.meter.end();
            ready!(me.transport.poll_shutdown(cx))?;
            me.watch.arm(Timer::Connection, me.meter.patience_at_end());
        }
        me.ending.get_or_insert_default().poll(cx, &mut me.transport, &me.watch).map(Ok)
    }
}
