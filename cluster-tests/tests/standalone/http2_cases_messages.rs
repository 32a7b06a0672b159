//! What a client may do wrong with messages (RFC 9113 section 8): a sentence that begins with the section, the outcomes that it
//! allows, what is sent. Malformed requests are stream errors of type PROTOCOL_ERROR, or answered with 400 (section 8.1.1).

use cluster_tests::http2::Outcome::{self, GoAway, Reset, Status};
use cluster_tests::http2::code::{ENHANCE_YOUR_CALM, PROTOCOL_ERROR, STREAM_CLOSED};
use cluster_tests::http2::flag::{END_HEADERS, END_STREAM, NONE, WHOLE};
use cluster_tests::http2::{Http2, block, data, frame, get, kind, post, request};

use crate::http2_cases::Case;

const MALFORMED: &[Outcome] = &[Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR), Status(400)];
const SERVED: &[Outcome] = &[Status(200)];

fn whole(client: &mut Http2, fields: &[(&str, &str)]) {
    client.send(&frame(kind::HEADERS, WHOLE, 1, &block(fields)));
}

/// A GET with these fields behind its pseudo fields.
fn with(client: &mut Http2, fields: &[(&str, &str)]) {
    client.send(&frame(kind::HEADERS, WHOLE, 1, &request("GET", "/", fields)));
}

/// A POST, pieces of its body, and trailers if there are any.
fn body(client: &mut Http2, fields: &[(&str, &str)], pieces: &[&[u8]], trailers: &[(&str, &str)]) {
    let mut bytes = post(1, "/", fields);
    for (at, piece) in pieces.iter().enumerate() {
        let last = at + 1 == pieces.len() && trailers.is_empty();
        bytes.extend(data(1, if last { END_STREAM } else { NONE }, piece));
    }
    if !trailers.is_empty() {
        bytes.extend(frame(kind::HEADERS, WHOLE, 1, &block(trailers)));
    }
    client.send(&bytes);
}

const M: (&str, &str) = (":method", "GET");
const S: (&str, &str) = (":scheme", "http");
const P: (&str, &str) = (":path", "/");
const A: (&str, &str) = (":authority", "gateway.test");

/// Section 8.
#[rustfmt::skip]
pub const MESSAGES: &[Case] = &[
    ("8.1: a body and trailers are served", SERVED, |c| body(c, &[], &[b"ab", b"cd"], &[("checksum", "1")])),
    ("8.1: trailers without a body are served", SERVED, |c| body(c, &[], &[], &[("checksum", "1")])),
    ("8.1: trailers that do not end the stream", MALFORMED, |c| c.send(&[post(1, "/", &[]), data(1, NONE, b"x"), frame(kind::HEADERS, END_HEADERS, 1, &block(&[("a", "b")]))].concat())),
    ("8.1: a second head instead of a body", MALFORMED, |c| c.send(&[post(1, "/", &[]), post(1, "/", &[])].concat())),
    ("8.1: DATA after trailers", &[Reset(STREAM_CLOSED), GoAway(STREAM_CLOSED), GoAway(PROTOCOL_ERROR)], |c| c.send(&[post(1, "/slow", &[]), frame(kind::HEADERS, WHOLE, 1, &block(&[("a", "b")])), data(1, END_STREAM, b"x")].concat())),
    ("8.1: two requests on two streams are served", SERVED, |c| { c.watched = 3; c.send(&[post(1, "/", &[]), get(3, "/")].concat()); }),
    ("8.1: a request after a malformed one is served", SERVED, |c| { with(c, &[("connection", "close")]); c.watched = 3; c.send(&get(3, "/")); }),
    ("8.1.1: content-length above the DATA", MALFORMED, |c| body(c, &[("content-length", "2")], &[b"x"], &[])),
    ("8.1.1: content-length below the DATA", MALFORMED, |c| body(c, &[("content-length", "1")], &[b"xy"], &[])),
    ("8.1.1: content-length above several DATA frames", MALFORMED, |c| body(c, &[("content-length", "5")], &[b"x", b"y"], &[])),
    ("8.1.1: content-length below several DATA frames", MALFORMED, |c| body(c, &[("content-length", "3")], &[b"xy", b"zz"], &[])),
    ("8.1.1: content-length and no DATA", MALFORMED, |c| with(c, &[("content-length", "1")])),
    ("8.1.1: content-length above the DATA before trailers", MALFORMED, |c| body(c, &[("content-length", "9")], &[b"x"], &[("a", "b")])),
    ("8.1.1: content-length and trailers alone", MALFORMED, |c| body(c, &[("content-length", "9")], &[], &[("a", "b")])),
    ("8.1.1: content-length that agrees is served", SERVED, |c| body(c, &[("content-length", "3")], &[b"x", b"", b"yz"], &[("a", "b")])),
    ("8.1.1: content-length of 0 and no DATA is served", SERVED, |c| with(c, &[("content-length", "0")])),
    ("8.1.1: content-length that is no number", MALFORMED, |c| body(c, &[("content-length", "x")], &[b"x"], &[])),
    ("8.1.1: content-length with a sign", MALFORMED, |c| body(c, &[("content-length", "+1")], &[b"x"], &[])),
    ("8.1.1: two content-lengths that differ", MALFORMED, |c| body(c, &[("content-length", "1"), ("content-length", "2")], &[b"x"], &[])),
    ("8.2: a name in upper case", MALFORMED, |c| with(c, &[("X-Test", "ok")])),
    ("8.2: a name with one letter in upper case", MALFORMED, |c| with(c, &[("x-tesT", "ok")])),
    ("8.2: a name in upper case in trailers", MALFORMED, |c| body(c, &[], &[b"x"], &[("X-Test", "ok")])),
    ("8.2.1: a name that is empty", MALFORMED, |c| with(c, &[("", "ok")])),
    ("8.2.1: a name with a blank", MALFORMED, |c| with(c, &[("a b", "ok")])),
    ("8.2.1: a name with NUL", MALFORMED, |c| with(c, &[("a\0b", "ok")])),
    ("8.2.1: a name with CR", MALFORMED, |c| with(c, &[("a\rb", "ok")])),
    ("8.2.1: a name with LF", MALFORMED, |c| with(c, &[("a\nb", "ok")])),
    ("8.2.1: a name with DEL", MALFORMED, |c| with(c, &[("a\u{7f}b", "ok")])),
    ("8.2.1: a name with a byte above 127", MALFORMED, |c| with(c, &[("a\u{e9}b", "ok")])),
    ("8.2.1: a name with a colon inside", MALFORMED, |c| with(c, &[("a:b", "ok")])),
    ("8.2.1: a value with NUL", MALFORMED, |c| with(c, &[("a", "x\0y")])),
    ("8.2.1: a value with CR", MALFORMED, |c| with(c, &[("a", "x\ry")])),
    ("8.2.1: a value with LF", MALFORMED, |c| with(c, &[("a", "x\ny")])),
    ("8.2.1: a value that begins with a blank", MALFORMED, |c| with(c, &[("a", " x")])),
    ("8.2.1: a value that ends with a blank", MALFORMED, |c| with(c, &[("a", "x ")])),
    ("8.2.1: a value that begins with a tab", MALFORMED, |c| with(c, &[("a", "\tx")])),
    ("8.2.1: a value that ends with a tab", MALFORMED, |c| with(c, &[("a", "x\t")])),
    ("8.2.1: a value with LF in trailers", MALFORMED, |c| body(c, &[], &[b"x"], &[("a", "x\ny")])),
    ("8.2.1: a value with bytes above 127 is served", SERVED, |c| with(c, &[("a", "\u{e9}")])),
    ("8.2.1: an empty value is served", SERVED, |c| with(c, &[("a", "")])),
    ("8.2.2: connection", MALFORMED, |c| with(c, &[("connection", "keep-alive")])),
    ("8.2.2: keep-alive", MALFORMED, |c| with(c, &[("keep-alive", "timeout=5")])),
    ("8.2.2: proxy-connection", MALFORMED, |c| with(c, &[("proxy-connection", "keep-alive")])),
    ("8.2.2: transfer-encoding", MALFORMED, |c| with(c, &[("transfer-encoding", "chunked")])),
    ("8.2.2: upgrade", MALFORMED, |c| with(c, &[("upgrade", "websocket")])),
    ("8.2.2: connection in trailers", MALFORMED, |c| body(c, &[], &[b"x"], &[("connection", "close")])),
    ("8.2.2: te with anything but trailers", MALFORMED, |c| with(c, &[("te", "trailers, deflate")])),
    ("8.2.2: te with trailers is served", SERVED, |c| with(c, &[("te", "trailers")])),
    ("8.2.3: cookies in several fields are served", SERVED, |c| with(c, &[("cookie", "a=1"), ("cookie", "b=2")])),
    ("8.3: an unknown pseudo field", MALFORMED, |c| whole(c, &[M, S, P, A, (":test", "ok")])),
    ("8.3: a pseudo field of responses", MALFORMED, |c| whole(c, &[M, S, P, A, (":status", "200")])),
    ("8.3: a pseudo field in trailers", MALFORMED, |c| body(c, &[], &[b"x"], &[(":method", "GET")])),
    ("8.3: an unknown pseudo field in trailers", MALFORMED, |c| body(c, &[], &[b"x"], &[(":test", "GET")])),
    ("8.3: a pseudo field after a regular one", MALFORMED, |c| whole(c, &[M, S, A, ("a", "b"), P])),
    ("8.3: a name of a colon alone", MALFORMED, |c| whole(c, &[M, S, P, A, (":", "x")])),
    ("8.3: a pseudo field in upper case", MALFORMED, |c| whole(c, &[(":METHOD", "GET"), S, P, A])),
    ("8.3.1: no :method", MALFORMED, |c| whole(c, &[S, P, A])),
    ("8.3.1: no :scheme", MALFORMED, |c| whole(c, &[M, P, A])),
    ("8.3.1: no :path", MALFORMED, |c| whole(c, &[M, S, A])),
    ("8.3.1: no pseudo fields", MALFORMED, |c| whole(c, &[("a", "b")])),
    ("8.3.1: no fields", MALFORMED, |c| whole(c, &[])),
    ("8.3.1: :path twice", MALFORMED, |c| whole(c, &[M, S, P, P, A])),
    ("8.3.1: :method twice", MALFORMED, |c| whole(c, &[M, M, S, P, A])),
    ("8.3.1: :scheme twice", MALFORMED, |c| whole(c, &[M, S, S, P, A])),
    ("8.3.1: :authority twice", MALFORMED, |c| whole(c, &[M, S, P, A, A])),
    ("8.3.1: :path that is empty", MALFORMED, |c| whole(c, &[M, S, (":path", ""), A])),
    ("8.3.1: :path that does not begin with a slash", MALFORMED, |c| whole(c, &[M, S, (":path", "a"), A])),
    ("8.3.1: :path with a fragment", &[Reset(PROTOCOL_ERROR), Status(400)], |c| whole(c, &[M, S, (":path", "/a#b"), A])),
    ("8.3.1: :path of an asterisk with GET", MALFORMED, |c| whole(c, &[M, S, (":path", "*"), A])),
    ("8.3.1: :path of an asterisk with OPTIONS is valid", &[Status(200), Status(404)], |c| whole(c, &[(":method", "OPTIONS"), S, (":path", "*"), A])),
    ("8.3.1: :authority with user information", MALFORMED, |c| whole(c, &[M, S, P, (":authority", "user@gateway.test")])),
    ("8.3.1: :authority that is empty", MALFORMED, |c| whole(c, &[M, S, P, (":authority", "")])),
    ("8.3.1: neither :authority nor host", MALFORMED, |c| whole(c, &[M, S, P])),
    ("8.3.1: host in the place of :authority is served", SERVED, |c| whole(c, &[M, S, P, ("host", "gateway.test")])),
    ("8.3.1: host that differs from :authority", MALFORMED, |c| with(c, &[("host", "other.test")])),
    ("8.3.1: host that agrees with :authority is served", SERVED, |c| with(c, &[("host", "gateway.test")])),
    ("8.3.1: pseudo fields in any order are served", SERVED, |c| whole(c, &[A, P, S, M])),
    ("8.4: a server is sent no push", MALFORMED, |c| c.send(&frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]))),
    ("8.5: CONNECT with :scheme and :path", &[Reset(PROTOCOL_ERROR), Status(400), Status(405)], |c| whole(c, &[(":method", "CONNECT"), S, P, A])),
    ("8.5: CONNECT is not served", &[Status(405), Status(501), Reset(PROTOCOL_ERROR)], |c| whole(c, &[(":method", "CONNECT"), A])),
    ("8.5: CONNECT without :authority", MALFORMED_OR_405, |c| whole(c, &[(":method", "CONNECT")])),
    ("RFC 8441 4: :protocol without SETTINGS that allow it", MALFORMED_OR_405, |c| whole(c, &[(":method", "CONNECT"), S, P, A, (":protocol", "websocket")])),
    ("10.5.1: a header list beyond the limit", &[Status(431), Reset(PROTOCOL_ERROR), GoAway(ENHANCE_YOUR_CALM)], |c| { let value = "x".repeat(9000); let long: Vec<(&str, &str)> = vec![("a", &value); 8]; let fields = request("GET", "/", &long); let mut bytes = Vec::new(); for (at, part) in fields.chunks(16_000).enumerate() { let (kind, flags) = if at == 0 { (kind::HEADERS, END_STREAM) } else { (kind::CONTINUATION, NONE) }; bytes.extend(frame(kind, flags, 1, part)); } bytes.extend(frame(kind::CONTINUATION, END_HEADERS, 1, &[])); c.send(&bytes); }),
];

const MALFORMED_OR_405: &[Outcome] =
    &[Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR), Status(400), Status(405)];
