//! Sends the body of a response, as fast as the client's flow control lets it.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::{super::frame::Reason, channel::Channel, link::Link, output::Data};
use crate::http::{Body, BodyError, Headers, Length, Step};

/// Payload that is not worth a frame of its own where more is at hand: clients count frames.
const SMALL_BYTES_MAX: usize = 4 * 1024;

/// Pieces that are gathered into one frame at the most.
const PIECES_MAX: usize = 1024;

/// The stream has been reset, by the client or because its body broke off at its source: it never looks whole.
#[derive(Debug)]
pub struct Broken;

/// A body on its way; its head has been sent.
pub struct Sender<'s> {
    link: &'s Link,
    channel: &'s Rc<Channel>,
    /// What is left of the announced length.
    left: Option<u64>,
    bytes: u64,
    /// All else has been sent.
    trailers: Option<Headers>,
}

impl<'s> Sender<'s> {
    pub fn new(link: &'s Link, channel: &'s Rc<Channel>, follows: Length) -> Self {
        let left = match follows {
            Length::Known(length) => Some(length),
            Length::Unknown => None,
        };
        Self { link, channel, left, bytes: 0, trailers: None }
    }

    /// Payload handed over so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sends until the body has ended, a frame at a turn. `progress` is called whenever bytes have moved.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        progress: &dyn Fn(),
    ) -> Poll<Result<(), Broken>> {
        if self.channel.is_closed() {
            return Poll::Ready(Err(Broken));
        }
        if self.trailers.is_some() {
            return self.poll_trailers().map(Ok);
        }
        // First of all, and even when nothing can be sent now: polling the body is what moves the
        // other direction.
        match self.checked(ready!(body.poll_ready(cx)))? {
            Step::End => self.poll_end(body, None),
            Step::Data => {
                let room = ready!(self.link.poll_room(self.channel));
                let mut data = self.link.begin_data(self.channel);
                let outcome = self.gather(cx, body, room, &mut data);
                progress();
                match outcome {
                    Ok(true) => self.poll_end(body, Some(data)),
                    Ok(false) => {
                        // The other streams get their turn.
                        self.link.wait(self.channel);
                        Poll::Pending
                    }
                    Err(error) => Poll::Ready(Err(error)),
                }
            }
        }
    }

    /// Fills a frame with what is at hand; whether that was all of the body: whoever has no more to say says so with the last
    /// bytes.
    fn gather(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        room: usize,
        data: &mut Data,
    ) -> Result<bool, Broken> {
        let mut filled = self.take(body, room, data)?;
        for _ in 1..PIECES_MAX {
            let Poll::Ready(step) = body.poll_ready(cx) else { return Ok(false) };
            match self.checked(step)? {
                Step::End => return Ok(true),
                Step::Data if filled >= SMALL_BYTES_MAX.min(room) => return Ok(false),
                Step::Data => match self.take(body, room - filled, data)? {
                    0 => return Ok(false),
                    more => filled += more,
                },
            }
        }
        Ok(false)
    }

    /// Moves what the body lends into the frame; how much that was.
    fn take(&mut self, body: &mut Body, room: usize, data: &mut Data) -> Result<usize, Broken> {
        let left = self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        if left == 0 {
            // More than was announced: the source is not to be trusted.
            return Err(self.broken());
        }
        let mut size = 0;
        body.lend(&mut |bytes| {
            let piece = &bytes[..bytes.len().min(room).min(left)];
            if self.link.extend_data(self.channel, data, piece) {
                size = piece.len();
            }
            size
        });
        self.bytes += size as u64;
        self.left = self.left.map(|left| left - size as u64);
        Ok(size)
    }

    fn poll_end(&mut self, body: &Body, last: Option<Data>) -> Poll<Result<(), Broken>> {
        if self.left.is_some_and(|left| left > 0) {
            return Poll::Ready(Err(self.broken()));
        }
        self.trailers = body.trailers();
        if self.trailers.is_some() {
            return self.poll_trailers().map(Ok);
        }
        let last = last.unwrap_or_else(|| self.link.begin_data(self.channel));
        self.link.end_data(self.channel, &last);
        Poll::Ready(Ok(()))
    }

    fn poll_trailers(&mut self) -> Poll<()> {
        ready!(self.link.poll_output(self.channel));
        if let Some(trailers) = self.trailers.take() {
            self.link.trailers(self.channel, &trailers);
        }
        Poll::Ready(())
    }

    fn checked(&mut self, step: Result<Step, BodyError>) -> Result<Step, Broken> {
        step.map_err(|_| self.broken())
    }

    fn broken(&mut self) -> Broken {
        self.link.reset(self.channel.id, Reason::Internal);
        Broken
    }
}
