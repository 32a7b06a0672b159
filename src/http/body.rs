//! Message bodies: streamed from a connection's buffer without a copy, or whole.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};

use super::Headers;

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Exactly this many bytes.
    Known(u64),
    /// Ends where the source says so.
    Unknown,
}

/// What a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// At least one byte can be lent.
    Data,
    /// No more bytes; trailers can be taken.
    End,
}

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The peer closed or reset the connection.
    Disconnected,
    /// The peer broke the framing (RFC 9112 section 7.1).
    Malformed,
    /// Nothing moved for the stream idle timeout.
    IdleTimeout,
    /// The body is larger than the configured limit.
    TooLarge,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected => "the peer closed the connection inside the body",
            Self::Malformed => "malformed chunked framing",
            Self::IdleTimeout => "stream idle timeout",
            Self::TooLarge => "body over the size limit",
        })
    }
}

impl std::error::Error for BodyError {}

/// A connection that is receiving a body. The bytes stay in the connection's buffer until the
/// consumer has taken them, which is the back-pressure: an unread body is not read from the socket.
pub trait BodySource {
    fn length(&self) -> Length;

    /// Waits until bytes can be lent or the body has ended.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>>;

    /// Shows the bytes at hand to `take`, which answers how many it has taken.
    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize);

    /// The trailer fields, once after [`Step::End`].
    fn trailers(&self) -> Option<Headers>;

    /// Whether whoever sends it waits for `100 (Continue)` (RFC 9110 section 10.1.1). The first
    /// [`Self::poll_ready`] tells it to go on.
    fn awaits_continue(&self) -> bool {
        false
    }

    /// The consumer has dropped the body, finished or not.
    fn release(&self);
}

/// A body on the wire; dropping it tells the connection.
pub struct WireBody(Rc<dyn BodySource>);

impl WireBody {
    pub fn new(source: Rc<dyn BodySource>) -> Self {
        Self(source)
    }
}

impl Drop for WireBody {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The body of a request or a response.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    /// At hand in full.
    Whole(Bytes),
    /// Still arriving.
    Wire(WireBody),
    /// What has been read already, then the rest.
    Resumed { read: Bytes, rest: WireBody },
}

/// A body at hand that has trailers: where they are to follow, no length is stated.
struct Trailed {
    rest: RefCell<Body>,
    trailers: RefCell<Option<Headers>>,
}

impl BodySource for Trailed {
    fn length(&self) -> Length {
        Length::Unknown
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        self.rest.borrow_mut().poll_ready(cx)
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        self.rest.borrow_mut().lend(take);
    }

    fn trailers(&self) -> Option<Headers> {
        self.trailers.take()
    }

    fn release(&self) {}
}

/// A body whose trailers somebody changes before others see them.
struct Revised<F> {
    rest: RefCell<Body>,
    revise: F,
}

impl<F: Fn(&mut Headers)> BodySource for Revised<F> {
    fn length(&self) -> Length {
        self.rest.borrow().length()
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        self.rest.borrow_mut().poll_ready(cx)
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        self.rest.borrow_mut().lend(take);
    }

    fn trailers(&self) -> Option<Headers> {
        let mut trailers = self.rest.borrow().trailers()?;
        (self.revise)(&mut trailers);
        (!trailers.is_empty()).then_some(trailers)
    }

    fn awaits_continue(&self) -> bool {
        self.rest.borrow().awaits_continue()
    }

    fn release(&self) {
        self.rest.take();
    }
}

/// Outcome of [`Body::collect`].
pub enum Collected {
    /// And the trailers, if there were any.
    Whole(Bytes, Option<Headers>),
    /// Over the limit. The body is as good as before: nothing of it is lost.
    TooLarge(Body),
}

impl Body {
    /// At hand in full.
    pub fn whole(bytes: Bytes, trailers: Option<Headers>) -> Self {
        match trailers {
            Some(trailers) => Self::wire(Rc::new(Trailed {
                rest: RefCell::new(Self::Whole(bytes)),
                trailers: RefCell::new(Some(trailers)),
            })),
            None if bytes.is_empty() => Self::Empty,
            None => Self::Whole(bytes),
        }
    }

    pub fn wire(source: Rc<dyn BodySource>) -> Self {
        Self::Wire(WireBody::new(source))
    }

    /// The same, its trailers as `revise` leaves them.
    #[must_use]
    pub fn revising_trailers(self, revise: impl Fn(&mut Headers) + 'static) -> Self {
        match self {
            Self::Empty | Self::Whole(_) => self,
            body => Self::wire(Rc::new(Revised { rest: RefCell::new(body), revise })),
        }
    }

    /// The same behind bytes that were read of it before.
    #[must_use]
    pub fn behind(self, mut read: Bytes) -> Self {
        let together = |read: &Bytes, more: &Bytes| [&read[..], &more[..]].concat().into();
        match self {
            body if read.is_empty() => body,
            Self::Empty => Self::Whole(read),
            Self::Whole(more) => Self::Whole(together(&read, &more)),
            Self::Wire(rest) => Self::Resumed { read, rest },
            Self::Resumed { read: more, rest } => {
                read = together(&read, &more);
                Self::Resumed { read, rest }
            }
        }
    }

    pub fn length(&self) -> Length {
        match self {
            Self::Empty => Length::Known(0),
            Self::Whole(bytes) => Length::Known(bytes.len() as u64),
            Self::Wire(wire) => wire.0.length(),
            Self::Resumed { read, rest } => match rest.0.length() {
                Length::Known(more) => Length::Known(more + read.len() as u64),
                Length::Unknown => Length::Unknown,
            },
        }
    }

    /// The length that a message states of it; an empty body is not told apart from none.
    pub fn stated_length(&self) -> Option<u64> {
        match self.length() {
            Length::Known(0) | Length::Unknown => None,
            Length::Known(length) => Some(length),
        }
    }

    /// Whether it is known to have no bytes.
    pub fn is_empty(&self) -> bool {
        self.length() == Length::Known(0)
    }

    /// As [`BodySource::awaits_continue`].
    pub fn awaits_continue(&self) -> bool {
        matches!(self, Self::Wire(wire) if wire.0.awaits_continue())
    }

    /// Whether the whole body is at hand, so that it can be sent twice.
    pub fn is_at_hand(&self) -> bool {
        matches!(self, Self::Empty | Self::Whole(_)) || self.is_empty()
    }

    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        match self {
            Self::Empty => Poll::Ready(Ok(Step::End)),
            Self::Whole(bytes) | Self::Resumed { read: bytes, .. } if !bytes.is_empty() => {
                Poll::Ready(Ok(Step::Data))
            }
            Self::Whole(_) => Poll::Ready(Ok(Step::End)),
            Self::Wire(wire) | Self::Resumed { rest: wire, .. } => wire.0.poll_ready(cx),
        }
    }

    pub fn lend(&mut self, take: &mut dyn FnMut(&[u8]) -> usize) {
        match self {
            Self::Empty => {}
            Self::Whole(bytes) | Self::Resumed { read: bytes, .. } if !bytes.is_empty() => {
                let taken = take(bytes);
                bytes.advance(taken);
            }
            Self::Whole(_) => {}
            Self::Wire(wire) | Self::Resumed { rest: wire, .. } => wire.0.lend(take),
        }
    }

    pub fn trailers(&self) -> Option<Headers> {
        match self {
            Self::Empty | Self::Whole(_) => None,
            Self::Wire(wire) | Self::Resumed { rest: wire, .. } => wire.0.trailers(),
        }
    }

    /// Reads the body into memory, `limit` bytes at the most.
    ///
    /// # Errors
    /// [`BodyError`] when the body breaks off.
    pub async fn collect(mut self, limit: usize) -> Result<Collected, BodyError> {
        match self {
            Self::Empty => return Ok(Collected::Whole(Bytes::new(), None)),
            Self::Whole(bytes) if bytes.len() <= limit => return Ok(Collected::Whole(bytes, None)),
            Self::Whole(_) => return Ok(Collected::TooLarge(self)),
            Self::Wire(_) | Self::Resumed { .. } => {}
        }
        if matches!(self.length(), Length::Known(length) if length > limit as u64) {
            return Ok(Collected::TooLarge(self));
        }
        let mut read = BytesMut::new();
        loop {
            if read.len() > limit {
                let (Self::Wire(rest) | Self::Resumed { rest, .. }) = self else {
                    return Ok(Collected::TooLarge(Self::Whole(read.freeze())));
                };
                return Ok(Collected::TooLarge(Self::Resumed { read: read.freeze(), rest }));
            }
            match poll_fn(|cx| self.poll_ready(cx)).await? {
                Step::End => {
                    let trailers = self.trailers().filter(|trailers| !trailers.is_empty());
                    return Ok(Collected::Whole(read.freeze(), trailers));
                }
                Step::Data => self.lend(&mut |bytes| {
                    read.extend_from_slice(bytes);
                    bytes.len()
                }),
            }
        }
    }

    /// Reads and drops the rest, `limit` bytes at the most; whether the end was reached.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, limit: &mut u64) -> Poll<Result<bool, BodyError>> {
        loop {
            if ready!(self.poll_ready(cx))? == Step::End {
                return Poll::Ready(Ok(true));
            }
            let mut dropped = 0;
            self.lend(&mut |bytes| {
                dropped = bytes.len() as u64;
                bytes.len()
            });
            *limit = limit.saturating_sub(dropped);
            if *limit == 0 {
                return Poll::Ready(Ok(false));
            }
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        if text.is_empty() { Self::Empty } else { Self::Whole(text.into()) }
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        if text.is_empty() { Self::Empty } else { Self::Whole(Bytes::from_static(text.as_bytes())) }
    }
}

/// Never the content.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({:?})", self.length())
    }
}
