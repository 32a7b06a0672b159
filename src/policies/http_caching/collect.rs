//! A body that is collected while it is sent on: the client waits for nothing.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::entry::BODY_BYTES_MAX;
use crate::{
    http::{Body, BodyError, BodySource, Headers, Length, Step},
    policy::Budget,
};

/// Passes a body on and tells what it was, if it came whole.
pub struct Collector {
    body: RefCell<Body>,
    collected: RefCell<Option<Collected>>,
    trailers: RefCell<Option<Headers>>,
}

struct Collected {
    bytes: Counted,
    done: Box<dyn FnOnce(Option<Bytes>)>,
}

/// Bytes that count for the budget as long as they are held here.
struct Counted {
    bytes: Vec<u8>,
    budget: Arc<Budget>,
}

impl Counted {
    /// Whether there was room for more.
    fn push(&mut self, more: &[u8]) -> bool {
        if self.bytes.len() + more.len() > BODY_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(more);
        self.budget.take(more.len());
        self.budget.make_room();
        self.budget.bytes() <= self.budget.bytes_max()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes.len());
    }
}

impl Collector {
    /// `done` gets the body; `None` where it is too large or has trailers. It is dropped if the body breaks off.
    pub fn body(body: Body, budget: Arc<Budget>, done: impl FnOnce(Option<Bytes>) + 'static) -> Body {
        let collected = Collected { bytes: Counted { bytes: Vec::new(), budget }, done: Box::new(done) };
        Body::wire(Rc::new(Self {
            body: RefCell::new(body),
            collected: RefCell::new(Some(collected)),
            trailers: RefCell::default(),
        }))
    }

    fn ended(&self) {
        let trailers = self.body.borrow().trailers();
        let collected = self.collected.take();
        // Without its trailers it would be another response.
        let whole = trailers.as_ref().is_none_or(Headers::is_empty);
        if trailers.is_some() {
            self.trailers.replace(trailers);
        }
        if let Some(Collected { mut bytes, done }) = collected {
            if !whole {
                return done(None);
            }
            // No more memory than it needs.
            let whole = std::mem::take(&mut bytes.bytes).into_boxed_slice();
            bytes.budget.give_back(whole.len());
            drop(bytes);
            done(Some(Bytes::from(whole)));
        }
    }
}

impl BodySource for Collector {
    fn length(&self) -> Length {
        self.body.borrow().length()
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        let step = self.body.borrow_mut().poll_ready(cx);
        match step {
            Poll::Ready(Ok(Step::End)) => self.ended(),
            Poll::Ready(Err(_)) => drop(self.collected.take()),
            Poll::Ready(Ok(Step::Data)) | Poll::Pending => {}
        }
        step
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        let mut collected = self.collected.borrow_mut();
        self.body.borrow_mut().lend(&mut |bytes| {
            let taken = take(bytes);
            if collected.as_mut().is_some_and(|all| !all.bytes.push(&bytes[..taken]))
                && let Some(Collected { done, .. }) = collected.take()
            {
                done(None);
            }
            taken
        });
    }

    fn trailers(&self) -> Option<Headers> {
        self.trailers.take()
    }

    fn awaits_continue(&self) -> bool {
        self.body.borrow().awaits_continue()
    }

    fn release(&self) {
        // Who knew its length need not have asked for its end.
        let asked = self.collected.borrow().is_some() && !std::thread::panicking();
        if asked && self.length() == Length::Known(0) {
            let step = self.body.borrow_mut().poll_ready(&mut Context::from_waker(Waker::noop()));
            if step == Poll::Ready(Ok(Step::End)) {
                self.ended();
            }
        }
        drop(self.collected.take());
        self.body.take();
    }
}
