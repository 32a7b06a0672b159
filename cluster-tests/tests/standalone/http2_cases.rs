//! What a client may do wrong with frames, streams and connections (RFC 9113 sections 3 to 7, RFC 7541): a sentence that begins
//! with the section, the outcomes that it allows, what is sent.

use cluster_tests::http2::Outcome::{self, Alive, Closed, GoAway, Reset, Status};
use cluster_tests::http2::code::{
    CANCEL, COMPRESSION_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, REFUSED_STREAM,
    STREAM_CLOSED,
};
use cluster_tests::http2::flag::{ACK, END_HEADERS, END_STREAM, NONE, PADDED, PRIORITY, WHOLE};
use cluster_tests::http2::{
    Http2, PREFACE, block, data, frame, get, kind, post, request, reset, settings, window_update,
};

/// A sentence, what is accepted, what is done.
pub type Case = (&'static str, &'static [Outcome], fn(&mut Http2));

const PROTOCOL: &[Outcome] = &[GoAway(PROTOCOL_ERROR)];
const SIZE: &[Outcome] = &[GoAway(FRAME_SIZE_ERROR)];
const FLOW: &[Outcome] = &[GoAway(FLOW_CONTROL_ERROR)];
const COMPRESSION: &[Outcome] = &[GoAway(COMPRESSION_ERROR)];
/// Section 5.4.1: a stream error may be treated as a connection error.
const PROTOCOL_HERE: &[Outcome] = &[Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR)];
const SIZE_HERE: &[Outcome] = &[Reset(FRAME_SIZE_ERROR), GoAway(FRAME_SIZE_ERROR)];
const FLOW_HERE: &[Outcome] = &[Reset(FLOW_CONTROL_ERROR), GoAway(FLOW_CONTROL_ERROR)];
const STREAM_IS_CLOSED: &[Outcome] = &[Reset(STREAM_CLOSED), GoAway(STREAM_CLOSED)];
const SERVED: &[Outcome] = &[Status(200)];
const IGNORED: &[Outcome] = &[Alive];

/// The gateway takes nothing of a body that the upstream has not asked for.
const EXPECTING: &[(&str, &str)] = &[("expect", "100-continue")];

/// The upstream takes a second to answer this, so the stream is open on the gateway's side.
const SLOW: &str = "/slow";

fn answered(client: &mut Http2, stream: u32) {
    client.send(&get(stream, "/"));
    client.until_answered(stream).expect("the first request is served");
}

/// HEADERS that do not end their block.
fn begun(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_STREAM, stream, &request("GET", "/", &[]))
}

fn rest(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::CONTINUATION, flags, stream, &block(fields))
}

fn headers(flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, 1, payload)
}

/// A block that begins with these bytes and goes on as a request.
fn after(first: &[u8]) -> Vec<u8> {
    headers(WHOLE, &[first, &request("GET", "/", &[])].concat())
}

/// A request whose block ends with these bytes.
fn before(last: &[u8]) -> Vec<u8> {
    headers(WHOLE, &[&request("GET", "/", &[]), last].concat())
}

fn ping(flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind::PING, flags, stream, payload)
}

fn priority(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind::PRIORITY, NONE, stream, payload)
}

fn goaway(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::GOAWAY, NONE, stream, &[&[0; 4][..], &code.to_be_bytes()].concat())
}

fn raw_settings(flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind::SETTINGS, flags, stream, payload)
}

fn preface(client: &mut Http2, then: &[u8]) {
    client.send(&[PREFACE, then].concat());
}

/// Cases that begin with a preface of their own.
#[rustfmt::skip]
pub const BEGINNINGS: &[Case] = &[
    ("3.4: the preface and SETTINGS begin a connection", IGNORED, |c| preface(c, &settings(&[]))),
    ("3.4: a request may follow at once", SERVED, |c| preface(c, &[settings(&[]), get(1, "/")].concat())),
    ("3.4: a preface that differs is no HTTP/2", &[Closed, GoAway(PROTOCOL_ERROR)], |c| c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r\0\0\0\x04\0\0\0\0\0")),
    ("3.4: the first frame is SETTINGS, not PING", PROTOCOL, |c| preface(c, &ping(NONE, 0, &[0; 8]))),
    ("3.4: the first frame is SETTINGS, not HEADERS", PROTOCOL, |c| preface(c, &get(1, "/"))),
    ("3.4: the first frame is SETTINGS, not WINDOW_UPDATE", PROTOCOL, |c| preface(c, &window_update(0, 1))),
    ("3.4: the first SETTINGS are not an acknowledgement", PROTOCOL, |c| preface(c, &raw_settings(ACK, 0, &[]))),
    ("3.4: the preface comes once", &[GoAway(PROTOCOL_ERROR), GoAway(FRAME_SIZE_ERROR)], |c| preface(c, &[&settings(&[]), PREFACE].concat())),
    ("6.5: the first SETTINGS are held to the rules, too", PROTOCOL, |c| preface(c, &settings(&[(2, 2)]))),
];

/// Sections 4 and 5.
#[rustfmt::skip]
pub const FRAMES: &[Case] = &[
    ("4.1: a frame of an unknown type is ignored", SERVED, |c| c.send(&[frame(0x77, 0xff, 0, b"whatever"), get(1, "/")].concat())),
    ("4.1: a frame of an unknown type on a stream that is idle is ignored", SERVED, |c| c.send(&[frame(0xfe, 0xff, 1, b"whatever"), get(1, "/")].concat())),
    ("4.1: unknown flags of PING are ignored", IGNORED, |c| c.send(&ping(0xfe, 0, &[1; 8]))),
    ("4.1: unknown flags of HEADERS are ignored", SERVED, |c| c.send(&headers(WHOLE | 0xd2, &request("GET", "/", &[])))),
    ("4.1: unknown flags of DATA are ignored", SERVED, |c| c.send(&[post(1, "/", &[]), data(1, END_STREAM | 0xf6, b"x")].concat())),
    ("4.1: the reserved bit of a stream identifier is ignored", IGNORED, |c| c.send(&ping(NONE, 0x8000_0000, &[1; 8]))),
    ("4.1: the reserved bit of a request's stream identifier is ignored", SERVED, |c| c.send(&get(0x8000_0001, "/"))),
    ("4.2: DATA of 16,384 bytes is within the limit", SERVED, |c| c.send(&[post(1, "/", &[]), data(1, END_STREAM, &[b'x'; 16_384])].concat())),
    ("4.2: DATA of 16,385 bytes is beyond it", SIZE_HERE, |c| c.send(&[post(1, "/", &[]), data(1, END_STREAM, &[b'x'; 16_385])].concat())),
    ("4.2: HEADERS of 16,385 bytes end the connection", SIZE, |c| c.send(&headers(WHOLE, &[0; 16_385]))),
    ("4.2: SETTINGS of 16,386 bytes end the connection", SIZE, |c| c.send(&raw_settings(NONE, 0, &[0; 16_386]))),
    ("4.2: an unknown frame of 16,385 bytes is too large", &[GoAway(FRAME_SIZE_ERROR), Reset(FRAME_SIZE_ERROR), Alive], |c| c.send(&frame(0x77, NONE, 0, &[0; 16_385]))),
    ("4.2: a length of 16 MiB is refused before its payload comes", SIZE, |c| c.send(&[0xff, 0xff, 0xff, kind::HEADERS, WHOLE, 0, 0, 0, 1])),
    ("4.3: a header block that cannot be decoded ends the connection", COMPRESSION, |c| c.send(&headers(WHOLE, &[0x40, 0x7f]))),
    ("4.3: PING within a header block", PROTOCOL, |c| c.send(&[begun(1), ping(NONE, 0, &[0; 8])].concat())),
    ("4.3: PRIORITY within a header block", PROTOCOL, |c| c.send(&[begun(1), priority(1, &[0, 0, 0, 0, 1])].concat())),
    ("4.3: HEADERS of another stream within a header block", PROTOCOL, |c| c.send(&[begun(1), get(3, "/")].concat())),
    ("4.3: a block is decoded even where its stream is refused", SERVED, |c| { let fields = [&[0x40, 1, b'x', 1][..], b"y", &request("GET", "/", &[])].concat(); c.watched = 3; c.send(&[frame(kind::HEADERS, WHOLE, 1, &[&fields[..], &block(&[("connection", "close")])].concat()), frame(kind::HEADERS, WHOLE, 3, &[&request("GET", "/", &[])[..], &[0xbe]].concat())].concat()); }),
    ("5.1: DATA on an idle stream", PROTOCOL, |c| c.send(&data(1, END_STREAM, b"x"))),
    ("5.1: RST_STREAM on an idle stream", PROTOCOL, |c| c.send(&reset(1, CANCEL))),
    ("5.1: WINDOW_UPDATE on an idle stream", PROTOCOL, |c| c.send(&window_update(1, 1))),
    ("5.1: CONTINUATION on an idle stream", PROTOCOL, |c| c.send(&rest(1, END_HEADERS, &[("a", "b")]))),
    ("5.1: PRIORITY on an idle stream is allowed", IGNORED, |c| c.send(&priority(1, &[0, 0, 0, 0, 1]))),
    ("5.1: DATA on a stream that is half-closed", STREAM_IS_CLOSED, |c| c.send(&[get(1, SLOW), data(1, END_STREAM, b"x")].concat())),
    ("5.1: HEADERS on a stream that is half-closed", STREAM_IS_CLOSED, |c| c.send(&[get(1, SLOW), get(1, "/")].concat())),
    ("5.1: CONTINUATION on a stream that is half-closed", PROTOCOL, |c| c.send(&[get(1, SLOW), rest(1, END_HEADERS, &[("a", "b")])].concat())),
    ("5.1: WINDOW_UPDATE on a stream that is half-closed is allowed", SERVED, |c| c.send(&[get(1, SLOW), window_update(1, 1)].concat())),
    ("5.1: PRIORITY on a stream that is half-closed is allowed", SERVED, |c| c.send(&[get(1, SLOW), priority(1, &[0, 0, 0, 0, 1])].concat())),
    ("5.1: RST_STREAM on a stream that is half-closed cancels it", IGNORED, |c| c.send(&[get(1, SLOW), reset(1, CANCEL)].concat())),
    ("5.1: DATA after RST_STREAM", &[Reset(STREAM_CLOSED), GoAway(STREAM_CLOSED)], |c| c.send(&[post(1, "/", &[]), reset(1, CANCEL), data(1, END_STREAM, b"x")].concat())),
    ("5.1: HEADERS after RST_STREAM", STREAM_IS_CLOSED, |c| c.send(&[post(1, "/", &[]), reset(1, CANCEL), get(1, "/")].concat())),
    ("5.1: CONTINUATION after RST_STREAM", &[GoAway(PROTOCOL_ERROR), GoAway(STREAM_CLOSED)], |c| c.send(&[post(1, "/", &[]), reset(1, CANCEL), rest(1, END_HEADERS, &[("a", "b")])].concat())),
    ("5.1: WINDOW_UPDATE after RST_STREAM is tolerated", IGNORED, |c| c.send(&[post(1, "/", &[]), reset(1, CANCEL), window_update(1, 1)].concat())),
    ("5.1: PRIORITY after RST_STREAM is allowed", IGNORED, |c| c.send(&[post(1, "/", &[]), reset(1, CANCEL), priority(1, &[0, 0, 0, 0, 1])].concat())),
    ("5.1: DATA on a closed stream", STREAM_IS_CLOSED, |c| { answered(c, 1); c.send(&data(1, END_STREAM, b"x")); }),
    ("5.1: HEADERS on a closed stream", &[Reset(STREAM_CLOSED), GoAway(STREAM_CLOSED), GoAway(PROTOCOL_ERROR)], |c| { answered(c, 1); c.send(&get(1, "/")); }),
    ("5.1: CONTINUATION on a closed stream", &[GoAway(PROTOCOL_ERROR), GoAway(STREAM_CLOSED)], |c| { answered(c, 1); c.send(&rest(1, END_HEADERS, &[("a", "b")])); }),
    ("5.1: WINDOW_UPDATE on a closed stream is tolerated", IGNORED, |c| { answered(c, 1); c.send(&window_update(1, 1)); }),
    ("5.1: RST_STREAM on a closed stream is tolerated", IGNORED, |c| { answered(c, 1); c.send(&reset(1, CANCEL)); }),
    ("5.1: PRIORITY on a closed stream is allowed", IGNORED, |c| { answered(c, 1); c.send(&priority(1, &[0, 0, 0, 0, 1])); }),
    ("5.1.1: a client's stream has an odd number", PROTOCOL, |c| c.send(&get(2, "/"))),
    ("5.1.1: a stream's number is higher than those before", PROTOCOL, |c| { answered(c, 5); c.send(&get(3, "/")); }),
    ("5.1.1: a number below one that is open is closed", PROTOCOL, |c| c.send(&[get(5, SLOW), get(3, "/")].concat())),
    ("5.1.1: DATA on a number that was skipped", &[GoAway(STREAM_CLOSED), GoAway(PROTOCOL_ERROR), Reset(STREAM_CLOSED)], |c| { answered(c, 5); c.watched = 3; c.send(&data(3, END_STREAM, b"x")); }),
    ("5.1.1: numbers may be skipped", SERVED, |c| { c.watched = 1001; c.send(&get(1001, "/")); }),
    ("5.1.1: the highest number there is is served", SERVED, |c| { c.watched = 0x7fff_ffff; c.send(&get(0x7fff_ffff, "/")); }),
    ("5.1.2: more streams than the gateway allows", &[Reset(REFUSED_STREAM), Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR)], |c| { c.watched = 257; for stream in 0..=128 { c.send(&post(2 * stream + 1, "/", &[])); } c.send(&reset(1, CANCEL)); }),
    ("5.1.2: as many streams as the gateway allows", SERVED, |c| { c.watched = 255; for stream in 0..127 { c.send(&post(2 * stream + 1, "/", &[])); } c.send(&get(255, "/")); }),
    ("5.2.1: more DATA than the stream's window", FLOW_HERE, |c| c.send(&[post(1, "/hold", EXPECTING), data(1, NONE, &[0; 16_384]).repeat(17)].concat())),
    ("5.3.2: PRIORITY of a stream that depends on itself is ignored or an error", &[Alive, Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR)], |c| c.send(&priority(1, &[0, 0, 0, 1, 1]))),
    ("5.3.2: HEADERS with priority fields are served", SERVED, |c| c.send(&headers(WHOLE | PRIORITY, &[&[0x80, 0, 0, 0, 200][..], &request("GET", "/", &[])].concat()))),
    ("5.3.2: HEADERS whose stream depends on itself", &[Status(200), Reset(PROTOCOL_ERROR), GoAway(PROTOCOL_ERROR)], |c| c.send(&headers(WHOLE | PRIORITY, &[&[0, 0, 0, 1, 200][..], &request("GET", "/", &[])].concat()))),
    ("5.5: an unknown frame within a header block", PROTOCOL, |c| c.send(&[begun(1), frame(0x77, NONE, 0, b"x"), rest(1, END_HEADERS, &[("a", "b")])].concat())),
    ("5.5: an unknown frame between HEADERS and DATA is ignored", SERVED, |c| c.send(&[post(1, "/", &[]), frame(0x77, 0xff, 1, b"x"), data(1, END_STREAM, b"x")].concat())),
    ("5.5: an unknown setting is ignored", IGNORED, |c| c.send(&settings(&[(0xff, 7), (0x0a0a, 0xffff_ffff)]))),
];

/// Section 6.
#[rustfmt::skip]
pub const TYPES: &[Case] = &[
    ("6.1: DATA on stream 0", PROTOCOL, |c| c.send(&data(0, END_STREAM, b"x"))),
    ("6.1: DATA with padding is served", SERVED, |c| c.send(&[post(1, "/", &[("content-length", "1")]), data(1, END_STREAM | PADDED, b"\x05x\0\0\0\0\0")].concat())),
    ("6.1: DATA of padding alone is served", SERVED, |c| c.send(&[post(1, "/", &[]), data(1, END_STREAM | PADDED, b"\x05\0\0\0\0\0")].concat())),
    ("6.1: DATA whose padding is as long as the payload", PROTOCOL, |c| c.send(&[post(1, "/", &[]), data(1, END_STREAM | PADDED, b"\x06xxxxx")].concat())),
    ("6.1: DATA whose padding is longer than the payload", PROTOCOL, |c| c.send(&[post(1, "/", &[]), data(1, END_STREAM | PADDED, b"\xffx")].concat())),
    ("6.1: DATA with the padding flag and no payload", &[GoAway(PROTOCOL_ERROR), GoAway(FRAME_SIZE_ERROR)], |c| c.send(&[post(1, "/", &[]), data(1, END_STREAM | PADDED, b"")].concat())),
    ("6.1: padding counts for flow control", FLOW_HERE, |c| { let full = [&[255][..], &[0; 16_383]].concat(); c.send(&[post(1, "/hold", EXPECTING), data(1, PADDED, &full).repeat(16), data(1, NONE, &[0; 1000])].concat()); }),
    ("6.2: HEADERS on stream 0", PROTOCOL, |c| c.send(&get(0, "/"))),
    ("6.2: HEADERS with padding are served", SERVED, |c| c.send(&headers(WHOLE | PADDED, &[&[3][..], &request("GET", "/", &[]), &[0; 3]].concat()))),
    ("6.2: HEADERS with padding and priority are served", SERVED, |c| c.send(&headers(WHOLE | PADDED | PRIORITY, &[&[3, 0, 0, 0, 0, 9][..], &request("GET", "/", &[]), &[0; 3]].concat()))),
    ("6.2: HEADERS whose padding is longer than the payload", PROTOCOL, |c| c.send(&headers(WHOLE | PADDED, &[&[255][..], &request("GET", "/", &[])].concat()))),
    ("6.2: HEADERS with the padding flag and no payload", &[GoAway(PROTOCOL_ERROR), GoAway(FRAME_SIZE_ERROR)], |c| c.send(&headers(WHOLE | PADDED, &[]))),
    ("6.2: HEADERS with the priority flag and less than five bytes", &[GoAway(PROTOCOL_ERROR), GoAway(FRAME_SIZE_ERROR)], |c| c.send(&headers(WHOLE | PRIORITY, &[0, 0, 0, 0]))),
    ("6.2: HEADERS whose padding reaches into the priority fields", &[GoAway(PROTOCOL_ERROR), GoAway(FRAME_SIZE_ERROR)], |c| c.send(&headers(WHOLE | PADDED | PRIORITY, &[3, 0, 0, 0, 0, 9, 1]))),
    ("6.3: PRIORITY on stream 0", PROTOCOL, |c| c.send(&priority(0, &[0, 0, 0, 1, 1]))),
    ("6.3: PRIORITY of four bytes", SIZE_HERE, |c| c.send(&[get(1, SLOW), priority(1, &[0, 0, 0, 3])].concat())),
    ("6.3: PRIORITY of six bytes", SIZE_HERE, |c| c.send(&[get(1, SLOW), priority(1, &[0, 0, 0, 3, 1, 1])].concat())),
    ("6.4: RST_STREAM on stream 0", PROTOCOL, |c| c.send(&reset(0, CANCEL))),
    ("6.4: RST_STREAM of three bytes", SIZE, |c| c.send(&[get(1, SLOW), frame(kind::RST_STREAM, NONE, 1, &[0; 3])].concat())),
    ("6.4: RST_STREAM of five bytes", SIZE, |c| c.send(&[get(1, SLOW), frame(kind::RST_STREAM, NONE, 1, &[0; 5])].concat())),
    ("6.4: RST_STREAM without payload", SIZE, |c| c.send(&[get(1, SLOW), frame(kind::RST_STREAM, NONE, 1, &[])].concat())),
    ("6.4: RST_STREAM while a body is awaited ends the stream alone", SERVED, |c| { c.watched = 3; c.send(&[post(1, "/", &[]), reset(1, CANCEL), get(3, "/")].concat()); }),
    ("6.5: SETTINGS on a stream", PROTOCOL, |c| c.send(&raw_settings(NONE, 1, &[0, 3, 0, 0, 0, 9]))),
    ("6.5: acknowledged SETTINGS on a stream", PROTOCOL, |c| c.send(&raw_settings(ACK, 1, &[]))),
    ("6.5: SETTINGS of five bytes", SIZE, |c| c.send(&raw_settings(NONE, 0, &[0, 3, 0, 0, 0]))),
    ("6.5: SETTINGS of seven bytes", SIZE, |c| c.send(&raw_settings(NONE, 0, &[0, 3, 0, 0, 0, 9, 0]))),
    ("6.5: acknowledged SETTINGS with a payload", SIZE, |c| c.send(&raw_settings(ACK, 0, &[0, 3, 0, 0, 0, 9]))),
    ("6.5: an acknowledgement that nothing asked for is tolerated", &[Alive, GoAway(PROTOCOL_ERROR)], |c| c.send(&raw_settings(ACK, 0, &[]))),
    ("6.5: SETTINGS are acknowledged", IGNORED, |c| { c.until(0, kind::SETTINGS).expect("the gateway's own"); while !c.until(0, kind::SETTINGS).expect("an acknowledgement").has(ACK) {} }),
    ("6.5.2: ENABLE_PUSH of 0", IGNORED, |c| c.send(&settings(&[(2, 0)]))),
    ("6.5.2: ENABLE_PUSH of 1", IGNORED, |c| c.send(&settings(&[(2, 1)]))),
    ("6.5.2: ENABLE_PUSH of 2", PROTOCOL, |c| c.send(&settings(&[(2, 2)]))),
    ("6.5.2: INITIAL_WINDOW_SIZE of 2^31 - 1", IGNORED, |c| c.send(&settings(&[(4, 0x7fff_ffff)]))),
    ("6.5.2: INITIAL_WINDOW_SIZE of 2^31", FLOW, |c| c.send(&settings(&[(4, 0x8000_0000)]))),
    ("6.5.2: MAX_FRAME_SIZE of 16,383", PROTOCOL, |c| c.send(&settings(&[(5, 16_383)]))),
    ("6.5.2: MAX_FRAME_SIZE of 0", PROTOCOL, |c| c.send(&settings(&[(5, 0)]))),
    ("6.5.2: MAX_FRAME_SIZE of 2^24 - 1", IGNORED, |c| c.send(&settings(&[(5, 0x00ff_ffff)]))),
    ("6.5.2: MAX_FRAME_SIZE of 2^24", PROTOCOL, |c| c.send(&settings(&[(5, 0x0100_0000)]))),
    ("6.5.2: HEADER_TABLE_SIZE of any value", SERVED, |c| c.send(&[settings(&[(1, 0)]), settings(&[(1, 0xffff_ffff)]), settings(&[(1, 0)]), get(1, "/")].concat())),
    ("6.5.2: MAX_CONCURRENT_STREAMS of 0 concerns the gateway's streams", SERVED, |c| c.send(&[settings(&[(3, 0)]), get(1, "/")].concat())),
    ("6.5.2: MAX_HEADER_LIST_SIZE is advice", SERVED, |c| c.send(&[settings(&[(6, 1)]), get(1, "/")].concat())),
    ("6.5.3: the last of several values holds", IGNORED, |c| c.send(&settings(&[(4, 100), (4, 1), (5, 16_384), (5, 20_000)]))),
    ("6.6: PUSH_PROMISE from a client", PROTOCOL, |c| c.send(&frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &request("GET", "/", &[])].concat()))),
    ("6.6: PUSH_PROMISE on an open stream", PROTOCOL, |c| c.send(&[get(1, SLOW), frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &request("GET", "/", &[])].concat())].concat())),
    ("6.6: PUSH_PROMISE on stream 0", PROTOCOL, |c| c.send(&frame(kind::PUSH_PROMISE, END_HEADERS, 0, &[0, 0, 0, 2]))),
    ("6.7: PING is answered with what it carried", IGNORED, |c| { c.send(&ping(NONE, 0, b"12345678")); while c.until(0, kind::PING).expect("an answer").payload != b"12345678" {} }),
    ("6.7: an answer to no PING is ignored", IGNORED, |c| c.send(&ping(ACK, 0, b"12345678"))),
    ("6.7: PING on a stream", PROTOCOL, |c| c.send(&ping(NONE, 1, &[0; 8]))),
    ("6.7: PING of seven bytes", SIZE, |c| c.send(&ping(NONE, 0, &[0; 7]))),
    ("6.7: PING of nine bytes", SIZE, |c| c.send(&ping(NONE, 0, &[0; 9]))),
    ("6.7: PING without payload", SIZE, |c| c.send(&ping(NONE, 0, &[]))),
    ("6.8: GOAWAY on a stream", PROTOCOL, |c| c.send(&goaway(1, 0))),
    ("6.8: GOAWAY of seven bytes", SIZE, |c| c.send(&frame(kind::GOAWAY, NONE, 0, &[0; 7]))),
    ("6.8: what was begun before a client's GOAWAY is served", SERVED, |c| c.send(&[get(1, SLOW), goaway(0, 0)].concat())),
    ("6.9: WINDOW_UPDATE by 0 of the connection", PROTOCOL, |c| c.send(&window_update(0, 0))),
    ("6.9: WINDOW_UPDATE by 0 of a stream", PROTOCOL_HERE, |c| c.send(&[get(1, SLOW), window_update(1, 0)].concat())),
    ("6.9: WINDOW_UPDATE of three bytes", SIZE, |c| c.send(&frame(kind::WINDOW_UPDATE, NONE, 0, &[0; 3]))),
    ("6.9: WINDOW_UPDATE of five bytes on a stream", SIZE, |c| c.send(&[get(1, SLOW), frame(kind::WINDOW_UPDATE, NONE, 1, &[0, 0, 0, 1, 0])].concat())),
    ("6.9: the reserved bit of an increment is ignored", IGNORED, |c| c.send(&window_update(0, 0x8000_0001))),
    ("6.9.1: a window of the connection beyond 2^31 - 1", FLOW, |c| c.send(&[window_update(0, 0x7fff_ffff), window_update(0, 0x7fff_ffff)].concat())),
    ("6.9.1: a window of a stream beyond 2^31 - 1", FLOW_HERE, |c| c.send(&[get(1, SLOW), window_update(1, 0x7fff_ffff), window_update(1, 0x7fff_ffff)].concat())),
    ("6.9.1: no more DATA comes than the window allows", IGNORED, |c| { c.send(&[settings(&[(4, 1)]), get(1, "/")].concat()); assert_eq!(c.until(1, kind::DATA).expect("one byte").payload.len(), 1); }),
    ("6.9.1: an empty DATA frame needs no window", SERVED, |c| c.send(&[post(1, "/", &[]), data(1, NONE, b""), data(1, END_STREAM, b"")].concat())),
    ("6.9.2: SETTINGS change the windows of open streams", IGNORED, |c| { c.send(&[settings(&[(4, 0)]), get(1, "/")].concat()); c.until(1, kind::HEADERS).expect("a head"); c.send(&settings(&[(4, 1)])); assert_eq!(c.until(1, kind::DATA).expect("one byte").payload.len(), 1); }),
    ("6.9.2: a window can become negative and recovers", IGNORED, |c| { c.send(&[settings(&[(4, 3)]), get(1, "/")].concat()); c.until(1, kind::DATA).expect("three bytes"); c.send(&[settings(&[(4, 2)]), window_update(1, 2)].concat()); assert_eq!(c.until(1, kind::DATA).expect("one byte").payload.len(), 1); }),
    ("6.9.2: SETTINGS that bring an open window beyond 2^31 - 1", FLOW, |c| { c.send(&[settings(&[(4, 0)]), get(1, SLOW), window_update(1, 0x7fff_ffff), settings(&[(4, 1)])].concat()); }),
    ("6.10: a block in several CONTINUATION frames is served", SERVED, |c| c.send(&[begun(1), rest(1, NONE, &[("a", "b")]), rest(1, NONE, &[]), rest(1, END_HEADERS, &[("c", "d")])].concat())),
    ("6.10: a block that is cut within a field is served", SERVED, |c| { let block = request("GET", "/", &[]); c.send(&[headers(END_STREAM, &block[..9]), frame(kind::CONTINUATION, END_HEADERS, 1, &block[9..])].concat()); }),
    ("6.10: CONTINUATION on stream 0", PROTOCOL, |c| c.send(&[begun(1), rest(0, END_HEADERS, &[("a", "b")])].concat())),
    ("6.10: CONTINUATION of another stream", PROTOCOL, |c| c.send(&[begun(1), rest(3, END_HEADERS, &[("a", "b")])].concat())),
    ("6.10: DATA instead of CONTINUATION", PROTOCOL, |c| c.send(&[begun(1), data(1, END_STREAM, b"x")].concat())),
    ("6.10: RST_STREAM instead of CONTINUATION", PROTOCOL, |c| c.send(&[begun(1), reset(1, CANCEL)].concat())),
    ("6.10: SETTINGS after CONTINUATION that does not end the block", PROTOCOL, |c| c.send(&[begun(1), rest(1, NONE, &[("a", "b")]), settings(&[])].concat())),
    ("6.10: CONTINUATION after a block that has ended", PROTOCOL, |c| c.send(&[get(1, SLOW), rest(1, END_HEADERS, &[("a", "b")])].concat())),
    ("6.10: CONTINUATION after CONTINUATION that ended the block", PROTOCOL, |c| c.send(&[begun(1), rest(1, END_HEADERS, &[("a", "b")]), rest(1, END_HEADERS, &[("c", "d")])].concat())),
    ("6.10: CONTINUATION after DATA", PROTOCOL, |c| c.send(&[post(1, "/", &[]), data(1, NONE, b"x"), rest(1, END_HEADERS, &[("a", "b")])].concat())),
    ("7: GOAWAY with an unknown code", &[Alive, Closed, GoAway(0)], |c| c.send(&goaway(0, 0xff))),
    ("7: RST_STREAM with an unknown code", IGNORED, |c| c.send(&[get(1, SLOW), reset(1, 0xff)].concat())),
    ("RFC 7541 2.3.3: an index beyond the tables", COMPRESSION, |c| c.send(&before(&[0xff, 0x20]))),
    ("RFC 7541 2.3.3: a name's index beyond the tables", COMPRESSION, |c| c.send(&before(&[0x0f, 0x40, 1, b'x']))),
    ("RFC 7541 4.2: a table size after the first field", COMPRESSION, |c| c.send(&before(&[0x20]))),
    ("RFC 7541 4.2: a table size before the first field", SERVED, |c| c.send(&after(&[0x20]))),
    ("RFC 7541 5.1: an integer that has no end", COMPRESSION, |c| c.send(&before(&[[0xff].as_slice(), &[0xff; 12], &[1]].concat()))),
    ("RFC 7541 5.2: a text longer than the block", COMPRESSION, |c| c.send(&before(&[0, 1, b'x', 9, b'y']))),
    ("RFC 7541 5.2: Huffman padding of more than seven bits", COMPRESSION, |c| c.send(&before(&[0, 1, b'x', 0x82, 0x1f, 0xff]))),
    ("RFC 7541 5.2: Huffman padding of zeros", COMPRESSION, |c| c.send(&before(&[0, 1, b'x', 0x81, 0x18]))),
    ("RFC 7541 5.2: the end of string within a text", COMPRESSION, |c| c.send(&before(&[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]))),
    ("RFC 7541 6.1: index 0", COMPRESSION, |c| c.send(&before(&[0x80]))),
    ("RFC 7541 6.3: a table larger than SETTINGS allow", COMPRESSION, |c| c.send(&after(&[0x3f, 0xe2, 0x1f]))),
];
