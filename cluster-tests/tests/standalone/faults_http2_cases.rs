//! What a server of HTTP/2 may do wrong: a sentence, the method it is asked by, what it does, what a client of HTTP/1.1 sees,
//! and how often the server was asked. The first connection of a case may differ from the second, which a retry makes.

use std::ops::RangeInclusive;

use cluster_tests::http2::code::{
    CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM,
};
use cluster_tests::http2::flag::{ACK, END_HEADERS, END_STREAM, NONE, WHOLE};
use cluster_tests::http2::{block, data, frame, kind, reset, settings, window_update};
use cluster_tests::http2_server::{Act, Served, head, whole};

/// What the client sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A complete response.
    Status(u16),
    /// The head of a 200, and a body that breaks off.
    Cut,
    /// Not even a head.
    Nothing,
}

use Seen::{Cut, Status};

pub type Tries = RangeInclusive<usize>;
pub type Case = (&'static str, &'static str, Act, &'static [Seen], Tries);

const GET: &str = "GET";
/// Not idempotent, without a body.
const POST: &str = "POST";
/// The same with a body of one byte, which has passed through when the answer comes.
pub const UPLOAD: &str = "POST with a body";

const BAD_GATEWAY: &[Seen] = &[Status(502)];
const UNAVAILABLE: &[Seen] = &[Status(503)];
const TIMEOUT: &[Seen] = &[Status(504)];
const SERVED: &[Seen] = &[Status(200)];
const IS_CUT: &[Seen] = &[Cut];

const ONCE: Tries = 1..=1;
const TWICE: Tries = 2..=2;
/// Nothing of it was begun.
const FOUR_TIMES: Tries = 4..=4;
/// The server may break off before it has read what it was asked.
const AT_MOST_ONCE: Tries = 0..=1;
const AT_MOST_TWICE: Tries = 0..=2;

const OK: (&str, &str) = (":status", "200");

/// The head of an answer whose body is to follow.
fn begun(stream: u32) -> Vec<u8> {
    head(stream, END_HEADERS, &[OK])
}

fn bodiless(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    head(stream, WHOLE, fields)
}

/// An answer that is right but for these fields.
fn with(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    bodiless(stream, &[&[OK], fields].concat())
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(kind::GOAWAY, NONE, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// On the first connection these bytes; whoever comes again, on another, is answered.
fn first(c: &mut Served, bytes: impl FnOnce(u32) -> Vec<u8>) -> Option<()> {
    let stream = c.asked()?;
    let answer = if c.number > 0 { whole(stream) } else { bytes(stream) };
    c.send(&answer);
    Some(())
}

/// The same, and then the end of the first.
fn first_only(c: &mut Served, bytes: impl FnOnce(u32) -> Vec<u8>) -> Option<()> {
    first(c, bytes)?;
    (c.number > 0).then_some(())
}

/// A body begins; the gateway has it when the rest comes.
fn begins_then(c: &mut Served, bytes: impl FnOnce(u32) -> Vec<u8>) -> Option<()> {
    let stream = c.asked()?;
    c.send(&[begun(stream), data(stream, NONE, b"abc")].concat());
    c.has_been_read()?;
    c.send(&bytes(stream));
    Some(())
}

/// How connections begin.
#[rustfmt::skip]
pub const BEGINNINGS: &[Case] = &[
    ("closes instead of a word", GET, |_| None, UNAVAILABLE, AT_MOST_TWICE),
    ("bytes that are no frames", GET, |c| { c.send(&[0xff; 64]); Some(()) }, BAD_GATEWAY, AT_MOST_ONCE),
    ("an answer in HTTP/1.1", GET, |c| { c.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); Some(()) }, BAD_GATEWAY, AT_MOST_ONCE),
    ("SETTINGS of five bytes", GET, |c| { c.send(&frame(kind::SETTINGS, NONE, 0, &[0, 3, 0, 0, 0])); Some(()) }, BAD_GATEWAY, AT_MOST_ONCE),
    ("SETTINGS on a stream", GET, |c| { c.send(&frame(kind::SETTINGS, NONE, 1, &[])); Some(()) }, BAD_GATEWAY, AT_MOST_ONCE),
    ("INITIAL_WINDOW_SIZE beyond 2^31 - 1", GET, |c| { c.send(&settings(&[(4, 0x8000_0000)])); Some(()) }, BAD_GATEWAY, AT_MOST_ONCE),
    ("MAX_FRAME_SIZE of 0", GET, |c| { c.send(&settings(&[(5, 0)])); Some(()) }, BAD_GATEWAY, AT_MOST_ONCE),
    ("no streams are allowed", GET, |c| { c.send(&settings(&[(3, 0)])); c.request()?; Some(()) }, TIMEOUT, AT_MOST_ONCE),
    ("no window for a body, ever", UPLOAD, |c| { c.send(&settings(&[(4, 0)])); c.request()?; Some(()) }, TIMEOUT, AT_MOST_ONCE),
    ("SETTINGS never come, an answer does", GET, |c| { let stream = c.request()?; c.send(&whole(stream)); Some(()) }, SERVED, ONCE),
    ("no answer", GET, |c| { c.asked()?; Some(()) }, TIMEOUT, ONCE),
];

/// Frames and heads.
#[rustfmt::skip]
pub const MESSAGES: &[Case] = &[
    ("a frame larger than was allowed", GET, |c| c.answer(|s| [begun(s), data(s, END_STREAM, &[0; 16_385])].concat()), &[Cut, Status(502)], ONCE),
    ("DATA before HEADERS", GET, |c| c.answer(|s| data(s, END_STREAM, b"x")), BAD_GATEWAY, ONCE),
    ("DATA on stream 0", GET, |c| c.answer(|_| data(0, NONE, b"x")), BAD_GATEWAY, ONCE),
    ("HEADERS on stream 0", GET, |c| c.answer(|_| bodiless(0, &[OK])), BAD_GATEWAY, ONCE),
    ("HEADERS on a stream that was never begun", GET, |c| c.answer(|s| bodiless(s + 100, &[OK])), BAD_GATEWAY, ONCE),
    ("HEADERS on a stream of the server's own", GET, |c| c.answer(|_| bodiless(2, &[OK])), BAD_GATEWAY, ONCE),
    ("RST_STREAM of a stream that was never begun", GET, |c| c.answer(|s| reset(s + 100, CANCEL)), BAD_GATEWAY, ONCE),
    ("WINDOW_UPDATE by 0", GET, |c| c.answer(|_| window_update(0, 0)), BAD_GATEWAY, ONCE),
    ("a window beyond 2^31 - 1", GET, |c| c.answer(|_| window_update(0, 0x7fff_ffff)), BAD_GATEWAY, ONCE),
    ("PING of seven bytes", GET, |c| c.answer(|_| frame(kind::PING, NONE, 0, &[0; 7])), BAD_GATEWAY, ONCE),
    ("PUSH_PROMISE, which was not allowed", GET, |c| c.answer(|s| frame(kind::PUSH_PROMISE, END_HEADERS, s, &[&[0, 0, 0, 2][..], &block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")])].concat())), BAD_GATEWAY, ONCE),
    ("another frame within a header block", GET, |c| c.answer(|s| [head(s, END_STREAM, &[OK]), frame(kind::PING, NONE, 0, &[0; 8])].concat()), BAD_GATEWAY, ONCE),
    ("an index beyond the tables", GET, |c| c.answer(|s| frame(kind::HEADERS, WHOLE, s, &[0xff, 0x20])), BAD_GATEWAY, ONCE),
    ("no :status", GET, |c| c.answer(|s| bodiless(s, &[("a", "b")])), BAD_GATEWAY, ONCE),
    ("two :status", GET, |c| c.answer(|s| bodiless(s, &[OK, OK])), BAD_GATEWAY, ONCE),
    ("a :status that is no number", GET, |c| c.answer(|s| bodiless(s, &[(":status", "abc")])), BAD_GATEWAY, ONCE),
    (":status 99", GET, |c| c.answer(|s| bodiless(s, &[(":status", "99")])), BAD_GATEWAY, ONCE),
    (":status 600", GET, |c| c.answer(|s| bodiless(s, &[(":status", "600")])), BAD_GATEWAY, ONCE),
    (":status 101", GET, |c| c.answer(|s| bodiless(s, &[(":status", "101")])), BAD_GATEWAY, ONCE),
    (":status 101 without an end", GET, |c| c.answer(|s| head(s, END_HEADERS, &[(":status", "101")])), BAD_GATEWAY, ONCE),
    ("an interim answer that ends the stream", GET, |c| c.answer(|s| bodiless(s, &[(":status", "103")])), BAD_GATEWAY, ONCE),
    ("DATA after an interim answer", GET, |c| c.answer(|s| [head(s, END_HEADERS, &[(":status", "103")]), data(s, END_STREAM, b"x")].concat()), BAD_GATEWAY, ONCE),
    ("65 interim answers", GET, |c| c.answer(|s| [head(s, END_HEADERS, &[(":status", "103")]).repeat(65), whole(s)].concat()), BAD_GATEWAY, ONCE),
    (":status behind another field", GET, |c| c.answer(|s| bodiless(s, &[("a", "b"), OK])), BAD_GATEWAY, ONCE),
    ("a pseudo field of requests, which `h2` passes over", GET, |c| c.answer(|s| [head(s, END_HEADERS, &[OK, (":path", "/")]), data(s, END_STREAM, b"x")].concat()), SERVED, ONCE),
    ("an unknown pseudo field", GET, |c| c.answer(|s| bodiless(s, &[OK, (":what", "x")])), BAD_GATEWAY, ONCE),
    ("a name in upper case", GET, |c| c.answer(|s| with(s, &[("Bad", "x")])), BAD_GATEWAY, ONCE),
    ("a name with a space", GET, |c| c.answer(|s| with(s, &[("b d", "x")])), BAD_GATEWAY, ONCE),
    ("a line end in a value", GET, |c| c.answer(|s| with(s, &[("a", "b\r\nset-cookie: c")])), BAD_GATEWAY, ONCE),
    ("`connection`", GET, |c| c.answer(|s| with(s, &[("connection", "close")])), BAD_GATEWAY, ONCE),
    ("`keep-alive`", GET, |c| c.answer(|s| with(s, &[("keep-alive", "x")])), BAD_GATEWAY, ONCE),
    ("`proxy-connection`", GET, |c| c.answer(|s| with(s, &[("proxy-connection", "x")])), BAD_GATEWAY, ONCE),
    ("`transfer-encoding`", GET, |c| c.answer(|s| with(s, &[("transfer-encoding", "chunked")])), BAD_GATEWAY, ONCE),
    ("`upgrade`", GET, |c| c.answer(|s| with(s, &[("upgrade", "websocket")])), BAD_GATEWAY, ONCE),
    ("two lengths", GET, |c| c.answer(|s| with(s, &[("content-length", "0"), ("content-length", "1")])), BAD_GATEWAY, ONCE),
    ("a length that is no number", GET, |c| c.answer(|s| with(s, &[("content-length", "-1")])), BAD_GATEWAY, ONCE),
    ("a length, but no body", GET, |c| c.answer(|s| with(s, &[("content-length", "3")])), &[Cut, Status(502)], ONCE),
    ("more fields than a head may have", GET, |c| c.answer(|s| with(s, &[("a", "b"); 257])), BAD_GATEWAY, ONCE),
    ("a head larger than one may be", GET, |c| c.answer(large_head), BAD_GATEWAY, ONCE),
];

/// 80,000 bytes in one field, over several frames.
fn large_head(stream: u32) -> Vec<u8> {
    let value = "x".repeat(80_000);
    let block = block(&[OK, ("a", &value)]);
    let mut parts = block.chunks(16_000);
    let first = frame(kind::HEADERS, END_STREAM, stream, parts.next().unwrap_or_default());
    let rest = parts.flat_map(|part| frame(kind::CONTINUATION, NONE, stream, part));
    let last = frame(kind::CONTINUATION, END_HEADERS, stream, &[]);
    first.into_iter().chain(rest).chain(last).collect()
}

/// Bodies, and ends that come too early or not at all.
#[rustfmt::skip]
pub const ENDS: &[Case] = &[
    ("more DATA than its length, in one frame", GET, |c| c.answer(|s| [head(s, END_HEADERS, &[OK, ("content-length", "3")]), data(s, END_STREAM, b"abcdef")].concat()), IS_CUT, ONCE),
    ("less DATA than its length", GET, |c| c.answer(|s| [head(s, END_HEADERS, &[OK, ("content-length", "9")]), data(s, END_STREAM, b"abc")].concat()), IS_CUT, ONCE),
    ("DATA beyond the window", GET, |c| c.answer(|s| [begun(s), data(s, NONE, &[0; 16_384]).repeat(256)].concat()), &[Cut, Status(502)], ONCE),
    ("a second head that does not end the stream", GET, |c| begins_then(c, begun), IS_CUT, ONCE),
    ("trailers in upper case", GET, |c| begins_then(c, |s| bodiless(s, &[("Bad", "x")])), IS_CUT, ONCE),
    ("a body that stops without an end", GET, |c| begins_then(c, |_| Vec::new()), IS_CUT, ONCE),
    ("the connection closes within a body", GET, |c| { begins_then(c, |_| Vec::new())?; None }, IS_CUT, ONCE),
    ("garbage within a body", GET, |c| begins_then(c, |_| vec![0xff; 64]), IS_CUT, ONCE),
    ("RST_STREAM REFUSED_STREAM right behind a head", GET, |c| c.answer(|s| [begun(s), reset(s, REFUSED_STREAM)].concat()), IS_CUT, ONCE),
    ("RST_STREAM CANCEL right behind a head", GET, |c| c.answer(|s| [begun(s), reset(s, CANCEL)].concat()), IS_CUT, ONCE),
    ("RST_STREAM NO_ERROR right behind a head", GET, |c| c.answer(|s| [begun(s), reset(s, NO_ERROR)].concat()), IS_CUT, ONCE),
    ("RST_STREAM NO_ERROR right behind a whole body", GET, |c| c.answer(|s| [whole(s), reset(s, NO_ERROR)].concat()), SERVED, ONCE),
    ("RST_STREAM REFUSED_STREAM within a body", GET, |c| begins_then(c, |s| reset(s, REFUSED_STREAM)), IS_CUT, ONCE),
    ("RST_STREAM CANCEL within a body", GET, |c| begins_then(c, |s| reset(s, CANCEL)), IS_CUT, ONCE),
    ("RST_STREAM ENHANCE_YOUR_CALM within a body", GET, |c| begins_then(c, |s| reset(s, ENHANCE_YOUR_CALM)), IS_CUT, ONCE),
    ("RST_STREAM NO_ERROR within a body", GET, |c| begins_then(c, |s| reset(s, NO_ERROR)), IS_CUT, ONCE),
    ("RST_STREAM REFUSED_STREAM before a head, to a POST", POST, |c| first(c, |s| reset(s, REFUSED_STREAM)), SERVED, TWICE),
    ("RST_STREAM REFUSED_STREAM before a head, to a body that has passed", UPLOAD, |c| first(c, |s| reset(s, REFUSED_STREAM)), SERVED, TWICE),
    ("RST_STREAM CANCEL before a head, to a body that has passed", UPLOAD, |c| c.answer(|s| reset(s, CANCEL)), UNAVAILABLE, ONCE),
    ("RST_STREAM CANCEL before a head, to a POST", POST, |c| c.answer(|s| reset(s, CANCEL)), UNAVAILABLE, ONCE),
    ("RST_STREAM ENHANCE_YOUR_CALM before a head, to a POST", POST, |c| c.answer(|s| reset(s, ENHANCE_YOUR_CALM)), UNAVAILABLE, ONCE),
    ("RST_STREAM INTERNAL_ERROR before a head, to a POST", POST, |c| c.answer(|s| reset(s, INTERNAL_ERROR)), UNAVAILABLE, ONCE),
    ("RST_STREAM NO_ERROR before a head, to a POST", POST, |c| c.answer(|s| reset(s, NO_ERROR)), UNAVAILABLE, ONCE),
    ("RST_STREAM REFUSED_STREAM before a head", GET, |c| first(c, |s| reset(s, REFUSED_STREAM)), SERVED, TWICE),
    ("RST_STREAM CANCEL before a head", GET, |c| first(c, |s| reset(s, CANCEL)), SERVED, TWICE),
    ("every stream is refused", GET, |c| { c.send(&settings(&[])); while let Some(stream) = c.request() { c.send(&reset(stream, REFUSED_STREAM)); if c.requests() == 4 { return Some(()); } } None }, UNAVAILABLE, FOUR_TIMES),
    ("RST_STREAM after an interim answer", GET, |c| c.answer(|s| [head(s, END_HEADERS, &[(":status", "103")]), reset(s, CANCEL)].concat()), UNAVAILABLE, ONCE),
    ("the connection closes before a head, to a POST", POST, |c| { c.asked()?; None }, UNAVAILABLE, ONCE),
    ("the connection closes before a head", GET, |c| first_only(c, |_| Vec::new()), SERVED, TWICE),
    ("GOAWAY that does not cover a POST", POST, |c| first_only(c, |_| goaway(0, NO_ERROR)), SERVED, TWICE),
    ("GOAWAY that does not cover a body that has passed", UPLOAD, |c| first_only(c, |_| goaway(0, NO_ERROR)), SERVED, TWICE),
    ("GOAWAY for an error that does not cover a POST", POST, |c| first_only(c, |_| goaway(0, ENHANCE_YOUR_CALM)), SERVED, TWICE),
    ("GOAWAY that covers a POST, and the end", POST, |c| first_only(c, |s| goaway(s, NO_ERROR)), UNAVAILABLE, ONCE),
    ("GOAWAY for an error that covers a POST, and the end", POST, |c| first_only(c, |s| goaway(s, PROTOCOL_ERROR)), UNAVAILABLE, ONCE),
    ("GOAWAY that covers a request, and its answer", GET, |c| first_only(c, |s| [goaway(s, NO_ERROR), whole(s)].concat()), SERVED, ONCE),
    ("GOAWAY each time", POST, |c| { c.answer(|_| goaway(0, NO_ERROR))?; None }, UNAVAILABLE, FOUR_TIMES),
    ("GOAWAY within a body that covers it, and the rest", GET, |c| begins_then(c, |s| [goaway(s, NO_ERROR), data(s, END_STREAM, b"d")].concat()), SERVED, ONCE),
    ("GOAWAY within a body that does not cover it", GET, |c| { begins_then(c, |_| goaway(0, INTERNAL_ERROR))?; None }, IS_CUT, ONCE),
];

/// Work without end. What the gateway gives up itself is for the request as if the server had closed: one retry.
#[rustfmt::skip]
pub const FLOODS: &[Case] = &[
    ("PING", GET, |c| { c.asked()?; c.flood(|_| frame(kind::PING, NONE, 0, &[7; 8])) }, UNAVAILABLE, TWICE),
    ("SETTINGS", GET, |c| { c.asked()?; c.flood(|_| settings(&[])) }, UNAVAILABLE, TWICE),
    ("acknowledgements that nothing asked for", GET, |c| { c.asked()?; c.flood(|_| frame(kind::SETTINGS, ACK, 0, &[])) }, BAD_GATEWAY, ONCE),
    ("WINDOW_UPDATE", GET, |c| { c.asked()?; c.flood(|_| window_update(0, 1)) }, UNAVAILABLE, TWICE),
    ("unknown frames", GET, |c| { c.asked()?; c.flood(|_| frame(0x77, NONE, 0, b"")) }, UNAVAILABLE, TWICE),
    ("empty CONTINUATION", GET, |c| { let s = c.asked()?; c.send(&head(s, NONE, &[OK])); c.flood(|_| frame(kind::CONTINUATION, NONE, s, &[])) }, UNAVAILABLE, TWICE),
    ("CONTINUATION without end", GET, |c| { let s = c.asked()?; c.send(&head(s, NONE, &[OK])); c.flood(|_| frame(kind::CONTINUATION, NONE, s, &[0, 1, b'a', 1, b'b'].repeat(1000))) }, UNAVAILABLE, TWICE),
    ("10,000 interim answers", GET, |c| c.answer(|s| [head(s, END_HEADERS, &[(":status", "103")]).repeat(10_000), whole(s)].concat()), BAD_GATEWAY, ONCE),
    ("empty DATA", GET, |c| { let s = c.asked()?; c.send(&begun(s)); c.flood(|_| data(s, NONE, b"")) }, IS_CUT, ONCE),
];
