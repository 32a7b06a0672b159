//! The streams that have closed not long ago: their frames may still be on their way.

use std::{cell::RefCell, collections::VecDeque};

/// Streams that are remembered, of either kind.
const CLOSED_MAX: usize = 128;

/// How a stream has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It was reset here: what the client had sent before it knew is ignored (RFC 9113 section 5.1).
    Here,
    /// The client has reset it, or both have said all.
    There,
}

/// See the [module](self).
#[derive(Default)]
pub struct Ended {
    here: RefCell<VecDeque<u32>>,
    there: RefCell<VecDeque<u32>>,
}

impl Ended {
    pub fn remember(&self, stream: u32, how: Closed) {
        let mut streams = match how {
            Closed::Here => self.here.borrow_mut(),
            Closed::There => self.there.borrow_mut(),
        };
        if streams.len() == CLOSED_MAX {
            streams.pop_front();
        }
        streams.push_back(stream);
    }

    /// How a stream came to its end, if that is remembered.
    pub fn how(&self, stream: u32) -> Option<Closed> {
        match () {
            () if self.here.borrow().contains(&stream) => Some(Closed::Here),
            () if self.there.borrow().contains(&stream) => Some(Closed::There),
            () => None,
        }
    }
}
