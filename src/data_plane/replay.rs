//! What a request that may be sent again (decision 4) needs of its body: what has been taken of it, while that is little.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{http1::fault::ExchangeError, pool::Connection};
use crate::http::{Body, BodyError, BodySource, Headers, Length, Request, Step};

/// Bytes that are kept of a body, at most, until the response begins. A longer one is sent once.
pub const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Where the body comes from that is sent the second time.
pub enum Replay {
    AtHand(Body),
    Kept(Rc<Kept>),
    /// From its source, if that has not been touched.
    Untouched,
}

impl Replay {
    /// For a request that is about to be sent on a connection.
    pub fn of(request: &mut Request, connection: &Connection) -> Self {
        let may_be_taken = match connection {
            // Sent as far as the peer takes it, and perhaps refused all the same (RFC 9113 section 8.7).
            Connection::Http2(_) => true,
            // What is not idempotent is sent again only if none of it was written.
            Connection::Http1(_) => request.method.is_idempotent(),
        };
        match &request.body {
            Body::Whole(bytes) => Self::AtHand(Body::Whole(bytes.clone())),
            body if body.is_empty() => Self::AtHand(Body::Empty),
            body if may_be_taken && Kept::fits(body) => {
                let kept = Kept::new(std::mem::take(&mut request.body));
                request.body = Body::wire(Rc::clone(&kept) as Rc<dyn BodySource>);
                Self::Kept(kept)
            }
            _ => Self::Untouched,
        }
    }

    /// The whole body once more, after an exchange that failed.
    pub fn body(self, error: ExchangeError) -> Option<Body> {
        match self {
            Self::AtHand(body) => Some(body),
            Self::Kept(kept) => kept.take_back(),
            Self::Untouched => error.body_untouched.then_some(error.body),
        }
    }

    /// It will not be sent again.
    pub fn forget(self) {
        if let Self::Kept(kept) = self {
            kept.taken.take();
        }
    }
}

/// A body that remembers what was taken of it.
pub struct Kept {
    rest: RefCell<Body>,
    /// `None`: more than is kept.
    taken: RefCell<Option<Vec<u8>>>,
    ended: Cell<bool>,
    trailers: RefCell<Option<Headers>>,
}

impl Kept {
    fn fits(body: &Body) -> bool {
        match body.length() {
            Length::Known(length) => length <= KEPT_BYTES_MAX as u64,
            Length::Unknown => true,
        }
    }

    fn new(rest: Body) -> Rc<Self> {
        let expected = match rest.length() {
            Length::Known(length) => length as usize,
            Length::Unknown => 0,
        };
        Rc::new(Self {
            rest: RefCell::new(rest),
            taken: RefCell::new(Some(Vec::with_capacity(expected.min(KEPT_BYTES_MAX)))),
            ended: Cell::new(false),
            trailers: RefCell::default(),
        })
    }

    fn keep(&self, bytes: &[u8]) {
        let mut taken = self.taken.borrow_mut();
        match &mut *taken {
            Some(kept) if kept.len() + bytes.len() <= KEPT_BYTES_MAX => kept.extend_from_slice(bytes),
            _ => *taken = None,
        }
    }

    fn take_back(&self) -> Option<Body> {
        let taken = Bytes::from(self.taken.take()?);
        let rest = self.rest.take();
        if self.ended.get() {
            let trailers = self.trailers.take().or_else(|| rest.trailers());
            return Some(Body::whole(taken, trailers.filter(|trailers| !trailers.is_empty())));
        }
        Some(rest.behind(taken))
    }
}

impl BodySource for Kept {
    fn length(&self) -> Length {
        self.rest.borrow().length()
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        let step = self.rest.borrow_mut().poll_ready(cx);
        if let Poll::Ready(Ok(Step::End)) = step {
            self.ended.set(true);
        }
        step
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        self.rest.borrow_mut().lend(&mut |bytes| {
            let count = take(bytes);
            self.keep(&bytes[..count]);
            count
        });
    }

    fn trailers(&self) -> Option<Headers> {
        let trailers = self.rest.borrow().trailers();
        if self.taken.borrow().is_some() {
            self.trailers.replace(trailers.clone());
        }
        trailers
    }

    fn awaits_continue(&self) -> bool {
        self.rest.borrow().awaits_continue()
    }

    fn release(&self) {}
}
