//! Chunked bodies: however they fall into pieces they are one body, that of the grammar read slowly; and
//! what is sent on is that body.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use portcullis::{
    data_plane::http1::{
        chunked::{Decoder, Found},
        fields::is_forbidden_trailer,
        head::Framing,
        sender::{SendFraming, Sender, Sink},
    },
    http::{Body, BodyError, BodySource, Headers, Length, Step},
};

use super::{
    cuts,
    oracle::{self, Decoded},
};

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let shown = String::from_utf8_lossy(bytes);
    let at_once = decode(bytes, |_, left| left);
    assert_eq!(decode(bytes, |_, _| 1), at_once, "{shown:?} byte by byte");
    for cut in cuts(bytes) {
        assert_eq!(
            decode(bytes, |at, left| if at < cut { cut - at } else { left }),
            at_once,
            "{shown:?} at {cut}"
        );
    }
    let expected = oracle::chunked(bytes);
    match (&at_once, expected) {
        (Ok(Some((body, trailers, length))), Some((right_body, mut right_trailers, right_length))) => {
            right_trailers.retain(|(name, _)| !is_forbidden_trailer(name));
            assert_eq!((body, trailers, *length), (&right_body, &right_trailers, right_length), "{shown:?}");
            assert_eq!(
                oracle::chunked(&send(body, trailers)).map(|(body, trailers, _)| (body, trailers)),
                Some((right_body, right_trailers)),
                "{shown:?} sent on"
            );
        }
        (Ok(Some(_)), None) => panic!("not refused: {shown:?}"),
        (Ok(None) | Err(_), Some(_)) => {
            assert!(is_beyond_limits(bytes), "refused or waited for: {at_once:?} {shown:?}");
        }
        (Ok(None) | Err(_), None) => {}
    }
}

/// Whether a body is whole and right.
pub fn is_accepted(bytes: &[u8]) -> bool {
    matches!(decode(bytes, |_, left| left), Ok(Some(_)))
}

/// The grammar has no limits; the decoder does, all of them above this.
fn is_beyond_limits(bytes: &[u8]) -> bool {
    bytes.split(|&b| b == b'\n').any(|line| line.len() > 400)
        || bytes.len() > 4096
        || bytes.iter().filter(|&&b| b == b'\n').count() > 60
}

/// The decoder fed in pieces: `piece(at, left)` is how many bytes arrive next. The body, its trailers and
/// its length on the wire once it has ended.
fn decode(bytes: &[u8], piece: impl Fn(usize, usize) -> usize) -> Result<Option<Decoded>, BodyError> {
    let mut decoder = Decoder::new(Framing::Chunked);
    let (mut body, mut at, mut end) = (Vec::new(), 0, 0);
    loop {
        let (framing, found) = decoder.advance(&bytes[at..end])?;
        at += framing;
        match found {
            Found::Data(length) => {
                body.extend_from_slice(&bytes[at..at + length]);
                decoder.taken(length);
                at += length;
            }
            Found::End => {
                let trailers = decoder.take_trailers().unwrap_or_default();
                let trailers =
                    trailers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
                return Ok(Some((body, trailers, at)));
            }
            Found::Nothing if end == bytes.len() => return Ok(None),
            Found::Nothing => end += piece(end, bytes.len() - end).clamp(1, bytes.len() - end),
        }
    }
}

/// The body as we send it on.
fn send(body: &[u8], trailers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let source = Source { bytes: body.to_vec(), at: Cell::new(0), trailers: trailers.to_vec() };
    let mut body = Body::wire(Rc::new(source));
    let (mut sink, mut sender) = (Memory::default(), Sender::new(Vec::new(), SendFraming::Chunked));
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(outcome) = sender.poll_send(&mut cx, &mut sink, &mut body, &|| {}) {
            assert!(outcome.is_ok(), "{outcome:?}");
            return sink.0;
        }
    }
}

/// A body in memory whose length nobody knows before its end.
struct Source {
    bytes: Vec<u8>,
    at: Cell<usize>,
    trailers: Vec<(String, Vec<u8>)>,
}

impl BodySource for Source {
    fn length(&self) -> Length {
        Length::Unknown
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        Poll::Ready(Ok(if self.at.get() == self.bytes.len() { Step::End } else { Step::Data }))
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        self.at.set(self.at.get() + take(&self.bytes[self.at.get()..]));
    }

    fn trailers(&self) -> Option<Headers> {
        let mut headers = Headers::new();
        for (name, value) in &self.trailers {
            headers.append(name, value).expect("it was a field when it came");
        }
        Some(headers)
    }

    fn release(&self) {}
}

/// Takes a few bytes at a time.
#[derive(Default)]
struct Memory(Vec<u8>);

impl Sink for Memory {
    fn poll_write(&mut self, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Some(part) = parts.iter().find(|part| !part.is_empty()) else { return Poll::Ready(Ok(0)) };
        let taken = part.len().min(100);
        self.0.extend_from_slice(&part[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn end(&mut self) {}
}
