//! Bodies: what is sent does not depend on how the bytes fall into pieces. (What is decoded neither:
//! `tests/framing.rs`.)

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use super::{oracle, random};
use crate::{
    data_plane::http1::sender::{SendError, SendFraming, Sender, Sink},
    http::{Body, BodyError, BodySource, Headers, Length, Step},
};

/// A body that is not always ready and comes in pieces of any size.
struct Pieces {
    bytes: Vec<u8>,
    at: Cell<usize>,
    random: RefCell<fastrand::Rng>,
    length: Length,
    trailer: bool,
}

impl BodySource for Pieces {
    fn length(&self) -> Length {
        self.length
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        if self.random.borrow_mut().u8(..4) == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(if self.at.get() == self.bytes.len() { Step::End } else { Step::Data }))
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        let left = self.bytes.len() - self.at.get();
        let length = self.random.borrow_mut().usize(1..=left.min(40_000));
        self.at.set(self.at.get() + take(&self.bytes[self.at.get()..self.at.get() + length]));
    }

    fn trailers(&self) -> Option<Headers> {
        self.trailer.then(|| {
            let mut headers = Headers::new();
            headers.append("x-sum", "1").unwrap();
            headers
        })
    }

    fn release(&self) {}
}

/// Accepts any number of bytes, or none for now; none after the end.
struct Narrow {
    written: Vec<u8>,
    ended: bool,
    random: fastrand::Rng,
}

impl Sink for Narrow {
    fn poll_write(&mut self, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        assert!(!self.ended, "nothing follows the end");
        let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        if self.random.u8(..3) == 0 {
            return Poll::Pending;
        }
        let taken = self.random.usize(1..=all.len());
        self.written.extend_from_slice(&all[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.random.bool() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn end(&mut self) {
        self.ended = true;
    }
}

fn send(
    body: Rc<Pieces>,
    framing: SendFraming,
    random: &mut fastrand::Rng,
) -> (Vec<u8>, Result<(), SendError>) {
    let mut sink = Narrow { written: Vec::new(), ended: false, random: random.fork() };
    let mut sender = Sender::new(b"HEAD\r\n\r\n".to_vec(), framing);
    let is_last = random.bool();
    if is_last {
        sender.set_last();
    }
    let mut body = Body::wire(body);
    let mut cx = Context::from_waker(Waker::noop());
    let outcome = loop {
        if let Poll::Ready(outcome) = sender.poll_send(&mut cx, &mut sink, &mut body, &|| {}) {
            break outcome;
        }
    };
    assert_eq!(
        sink.ended,
        is_last && outcome.is_ok(),
        "the end is said of what is whole, if nothing follows"
    );
    assert!(sender.has_begun() && sender.bytes() < sink.written.len() as u64, "the head is not counted");
    (sink.written, outcome)
}

#[test]
fn a_sink_that_accepts_any_number_of_bytes_gets_the_same_bytes() {
    let mut random = random();
    for round in 0..400 {
        let size = if round % 4 == 0 { random.usize(..200_000) } else { random.usize(..300) };
        let bytes: Vec<u8> = (0..size).map(|_| random.u8(..)).collect();
        let known = random.bool();
        let source = Rc::new(Pieces {
            bytes: bytes.clone(),
            at: Cell::new(0),
            random: RefCell::new(random.fork()),
            length: if known { Length::Known(size as u64) } else { Length::Unknown },
            trailer: random.bool(),
        });
        let framing = if known { SendFraming::Length(size as u64) } else { SendFraming::Chunked };
        let (written, outcome) = send(Rc::clone(&source), framing, &mut random);
        assert!(outcome.is_ok());
        let wire = written.strip_prefix(b"HEAD\r\n\r\n").expect("the head comes first");
        if known {
            assert_eq!(wire, bytes);
        } else {
            let trailers =
                if source.trailer { vec![("x-sum".to_owned(), b"1".to_vec())] } else { Vec::new() };
            assert_eq!(oracle::chunked(wire), Some((bytes, trailers, wire.len())));
        }
    }
}

#[test]
fn a_body_that_is_not_as_long_as_announced_is_an_error_and_never_more_than_announced() {
    let mut random = random();
    for (announced, real) in [(10, 9), (10, 11), (1, 70_000), (70_000, 69_999)] {
        let source = Pieces {
            bytes: vec![b'x'; real],
            at: Cell::new(0),
            random: RefCell::new(random.fork()),
            length: Length::Known(announced),
            trailer: false,
        };
        let (written, outcome) = send(Rc::new(source), SendFraming::Length(announced), &mut random);
        assert!(matches!(outcome, Err(SendError::Body(_))), "{announced} announced, {real} came");
        assert!(written.len() as u64 <= 8 + announced);
    }
}
