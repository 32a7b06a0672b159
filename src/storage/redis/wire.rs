//! The stream of one connection: TCP or TLS, held to the limits of [`Frames`], with a pulse.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;

/// What carries the bytes.
pub(super) trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

pub(super) struct Wire {
    carrier: Box<dyn Carrier>,
    frames: Frames,
    pulse: Arc<Pulse>,
}

/// Since when a peer owes an answer without having sent anything.
pub(super) struct Pulse {
    began: Instant,
    /// Microseconds since then; 0: it owes none.
    asked: AtomicU64,
}

impl Wire {
    pub fn new(carrier: Box<dyn Carrier>, pulse: Arc<Pulse>) -> Self {
        Self { carrier, frames: Frames::default(), pulse }
    }
}

impl Pulse {
    pub fn new() -> Self {
        Self { began: Instant::now(), asked: AtomicU64::new(0) }
    }

    /// Something is asked now.
    pub fn asked(&self) {
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
        // An earlier question is what counts; whichever came first, then.
        let _ = self.asked.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How long the peer has been silent although it was asked.
    pub fn silent(&self) -> Duration {
        match self.asked.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            asked => self.began.elapsed().saturating_sub(Duration::from_micros(asked)),
        }
    }

    fn heard(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        let before = into.filled().len();
        ready!(Pin::new(&mut wire.carrier).poll_read(cx, into))?;
        let read = &into.filled()[before..];
        if !read.is_empty() {
            wire.pulse.heard();
            wire.frames
                .follow(read)
                .map_err(|excess| io::Error::new(io::ErrorKind::ConnectionAborted, excess))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().carrier).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().carrier).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().carrier).poll_shutdown(cx)
    }
}
