//! Bodies: what is decoded and what is sent do not depend on how the bytes fall into pieces.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use super::{mutate, oracle, random};
use crate::{
    data_plane::http1::{
        chunked::{Decoder, Found},
        head::Framing,
        sender::{SendError, SendFraming, Sender, Sink},
    },
    http::{Body, BodyError, BodySource, Headers, Length, Step},
};

const VALID: [&str; 5] = [
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n1 ; c = \"d \\\" e\";f\r\n!\r\n000\r\n\r\n",
    "A\r\n0123456789\r\n0\r\nx-sum: 1\r\nx-more:  2 \r\n\r\n",
    "1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0;last\r\nX: y\r\n\r\n",
    "0\r\n\r\n",
];

/// The decoder fed in pieces that end where `cut` says. The body, its trailers and its wire length
/// once it has ended.
fn decode(bytes: &[u8], mut cut: impl FnMut(usize) -> usize) -> Result<Option<oracle::Decoded>, BodyError> {
    let mut decoder = Decoder::new(Framing::Chunked);
    let (mut body, mut at, mut end) = (Vec::new(), 0, 0);
    loop {
        let (framing, found) = decoder.advance(&bytes[at..end])?;
        at += framing;
        match found {
            Found::Data(length) => {
                let taken = cut(length).clamp(1, length);
                body.extend_from_slice(&bytes[at..at + taken]);
                decoder.taken(taken);
                at += taken;
            }
            Found::End => {
                let trailers = decoder.take_trailers().unwrap_or_default();
                let trailers =
                    trailers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
                return Ok(Some((body, trailers, at)));
            }
            Found::Nothing if end == bytes.len() => return Ok(None),
            Found::Nothing => end += cut(bytes.len() - end).clamp(1, bytes.len() - end),
        }
    }
}

#[test]
fn chunked_framing_means_to_us_what_it_means_to_a_parser_that_reads_the_grammar() {
    let mut random = random();
    let mut accepted = 0;
    for _ in 0..60_000 {
        let valid = VALID[random.usize(..VALID.len())].as_bytes();
        let bytes = mutate(&mut random, valid);
        let shown = String::from_utf8_lossy(&bytes);
        let expected = oracle::chunked(&bytes).map(|(body, mut trailers, length)| {
            trailers.retain(|(name, _)| !name.eq_ignore_ascii_case("te"));
            (body, trailers, length)
        });
        let at_once = decode(&bytes, |all| all);
        let by_one = decode(&bytes, |_| 1);
        let by_chance = decode(&bytes, |all| random.usize(..=all));
        assert_eq!(at_once.as_ref().ok().cloned().flatten(), expected, "{shown:?}");
        assert_eq!(by_one.ok().flatten(), expected, "{shown:?} by one");
        assert_eq!(by_chance.ok().flatten(), expected, "{shown:?} by chance");
        accepted += usize::from(expected.is_some());
    }
    assert!(accepted > 1_000, "{accepted}");
}

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

/// Accepts any number of bytes, or none for now.
struct Narrow {
    written: Vec<u8>,
    random: fastrand::Rng,
}

impl Sink for Narrow {
    fn poll_write(&mut self, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
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
}

fn send(
    body: Rc<Pieces>,
    framing: SendFraming,
    random: &mut fastrand::Rng,
) -> (Vec<u8>, Result<(), SendError>) {
    let mut sink = Narrow { written: Vec::new(), random: random.fork() };
    let mut sender = Sender::new(b"HEAD\r\n\r\n".to_vec(), framing);
    let mut body = Body::wire(body);
    let mut cx = Context::from_waker(Waker::noop());
    let outcome = loop {
        if let Poll::Ready(outcome) = sender.poll_send(&mut cx, &mut sink, &mut body, &|| {}) {
            break outcome;
        }
    };
    assert_eq!(sender.bytes(), sink.written.len() as u64);
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
