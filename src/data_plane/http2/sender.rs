//! Sends a body on a stream, as fast as the peer's flow control lets it.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use h2::{Reason, SendStream};

use super::{
    chunk::{CHUNK_BYTES, Chunk, SMALL_BYTES_MAX, SmallUnsent},
    meter::Meter,
    translate,
};
use crate::http::{Body, BodyError, Length, Step};

/// Steps of one turn, after which the other streams of the connection get theirs.
const STEPS_MAX: usize = 16;

/// Pieces that are gathered into one chunk at the most.
const PIECES_MAX: usize = 1024;

#[derive(Debug)]
pub enum SendError {
    /// The peer has reset the stream, or the connection is gone.
    Peer,
    /// The body broke off at its source; the stream has been reset, so that it never looks whole.
    Body(BodyError),
}

/// The sending half of a stream whose head is on its way.
pub struct Sender {
    stream: SendStream<Chunk>,
    /// What is left of the announced length.
    left: Option<u64>,
    bytes: u64,
    ended: bool,
    small: Option<Rc<SmallUnsent>>,
}

impl Sender {
    /// `follows` is the length of the body; `None`: the head has ended the stream.
    pub fn new(stream: SendStream<Chunk>, follows: Option<Length>) -> Self {
        let left = match follows {
            Some(Length::Known(length)) => Some(length),
            _ => None,
        };
        Self { stream, left, bytes: 0, ended: follows.is_none(), small: None }
    }

    /// Whether all of it has been handed over.
    pub fn is_sent(&self) -> bool {
        self.ended
    }

    /// Payload handed over so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the peer has reset the stream.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(|_| ())
    }

    /// Sends until the body has ended. `progress` is called whenever bytes have moved.
    ///
    /// # Errors
    /// [`SendError`]: which side has failed.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        meter: &Meter,
        progress: &dyn Fn(),
    ) -> Poll<Result<(), SendError>> {
        for _ in 0..STEPS_MAX {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            // First of all, and even when nothing can be sent now: polling the body is what moves the
            // other direction.
            let Poll::Ready(step) = body.poll_ready(cx) else {
                // What this stream has no use for now is the other streams': they share one window.
                self.stream.reserve_capacity(0);
                ready!(self.poll_reset(cx));
                return Poll::Ready(Err(SendError::Peer));
            };
            match self.checked(step)? {
                Step::Data => {
                    if let Some(small) = &self.small
                        && small.poll_room(cx).is_pending()
                    {
                        ready!(self.poll_reset(cx));
                        return Poll::Ready(Err(SendError::Peer));
                    }
                    let room = ready!(self.poll_room(cx))?;
                    let (mut chunk, last) = self.gather(cx, body, room)?;
                    meter.sent();
                    progress();
                    if last {
                        self.end(body, Some(chunk))?;
                    } else {
                        if chunk.remaining() < SMALL_BYTES_MAX {
                            chunk.count_small(self.small.get_or_insert_default());
                        }
                        self.send(chunk, false)?;
                    }
                }
                Step::End => self.end(body, None)?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until the peer takes more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, SendError>> {
        loop {
            match self.stream.capacity() {
                0 => self.stream.reserve_capacity(CHUNK_BYTES),
                room => return Poll::Ready(Ok(room)),
            }
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(SendError::Peer)),
            }
        }
    }

    /// What is at hand, and whether it is the last: whoever has no more to say says so with the last bytes.
    /// Small pieces leave together, because peers count frames.
    fn gather(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        room: usize,
    ) -> Result<(Chunk, bool), SendError> {
        let mut chunk = self.take(body, room)?;
        for _ in 1..PIECES_MAX {
            match body.poll_ready(cx) {
                Poll::Ready(step) => match self.checked(step)? {
                    Step::End => return Ok((chunk, true)),
                    Step::Data if chunk.remaining() >= SMALL_BYTES_MAX.min(room) => break,
                    Step::Data => {
                        let more = self.take(body, room - chunk.remaining())?;
                        chunk = chunk.followed_by(more);
                    }
                },
                Poll::Pending => break,
            }
        }
        Ok((chunk, false))
    }

    fn take(&mut self, body: &mut Body, room: usize) -> Result<Chunk, SendError> {
        let left = self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        if left == 0 {
            // More than was announced: the source is not to be trusted.
            return Err(self.broken(BodyError::Malformed));
        }
        let max = room.min(left).min(CHUNK_BYTES);
        let mut chunk = Chunk::empty();
        let mut size = 0;
        body.lend(&mut |bytes| {
            size = bytes.len().min(max);
            chunk = Chunk::copied(&bytes[..size]);
            size
        });
        self.bytes += size as u64;
        self.left = self.left.map(|left| left - size as u64);
        Ok(chunk)
    }

    fn end(&mut self, body: &Body, last: Option<Chunk>) -> Result<(), SendError> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(self.broken(BodyError::Disconnected));
        }
        match body.trailers() {
            None => self.send(last.unwrap_or_else(Chunk::empty), true)?,
            Some(trailers) => {
                if let Some(last) = last {
                    self.send(last, false)?;
                }
                self.stream.send_trailers(translate::fields(&trailers)).map_err(|_| SendError::Peer)?;
            }
        }
        self.ended = true;
        Ok(())
    }

    fn send(&mut self, chunk: Chunk, end: bool) -> Result<(), SendError> {
        self.stream.send_data(chunk, end).map_err(|_| SendError::Peer)
    }

    fn checked(&mut self, step: Result<Step, BodyError>) -> Result<Step, SendError> {
        step.map_err(|error| self.broken(error))
    }

    fn broken(&mut self, error: BodyError) -> SendError {
        self.ended = true;
        self.stream.send_reset(Reason::CANCEL);
        SendError::Body(error)
    }
}
