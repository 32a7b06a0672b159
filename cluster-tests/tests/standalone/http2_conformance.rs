//! The rules of RFC 9113 that a client can break, each alone, by a client that writes its frames by hand.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::Duration;

use cluster_tests::config::api;
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::http2::code::NO_ERROR;
use cluster_tests::http2::flag::{END_STREAM, NONE, WHOLE};
use cluster_tests::http2::{
    Http2, Outcome, data, frame, get, kind, post, request, reset, settings, window_update,
};
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;

use crate::http2_cases::{BEGINNINGS, Case, FRAMES, TYPES};
use crate::http2_cases_messages::MESSAGES;

/// Answers what is whole; takes its time for `/slow`, and reads no body for `/hold`.
fn upstream() -> Upstream {
    Upstream::start(|exchange| {
        match exchange.request.target.as_str() {
            "/slow" => std::thread::sleep(Duration::from_secs(1)),
            "/hold" => std::thread::sleep(Duration::from_secs(10)),
            _ => {}
        }
        exchange.body()?;
        exchange.reply(200, "", b"a body")
    })
}

fn in_front_of(upstream: &Upstream) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let api = api("api", &format!("http://127.0.0.1:{port}"), &upstream.url());
    (Plan::new().with("api.yaml", &[api]).start(), ([127, 0, 0, 1], port).into())
}

/// Whether a stream of this connection is served.
fn serves(client: &mut Http2, stream: u32) -> Result<(), String> {
    client.send(&get(stream, "/"));
    client.until_answered(stream).map_err(|error| error.to_string())
}

fn judge(case: &Case, mut client: Http2, address: SocketAddr) -> Result<(), String> {
    let (_, accepted, act) = case;
    act(&mut client);
    let outcome = client.outcome(accepted).map_err(|error| format!("nothing to judge by: {error}"))?;
    if !accepted.contains(&outcome) {
        return Err(format!("{outcome:?} instead of {accepted:?}"));
    }
    if let Outcome::Reset(_) = outcome {
        serves(&mut client, 0x7fff_fffd)
            .map_err(|why| format!("a stream error, but no further stream: {why}"))?;
    }
    serves(&mut Http2::connect(address), 1).map_err(|why| format!("the next connection: {why}"))
}

/// Runs every case on a connection of its own and reports all that went wrong at once.
fn run(cases: &[Case], connect: fn(SocketAddr) -> Http2) {
    let upstream = upstream();
    let (_gateway, address) = in_front_of(&upstream);
    let problems: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            judge(case, connect(address), address).err().map(|why| format!("{}: {why}", case.0))
        })
        .collect();
    assert!(problems.is_empty(), "{} of {} cases:\n{}", problems.len(), cases.len(), problems.join("\n"));
    println!("{} cases", cases.len());
}

#[test]
fn a_connection_begins_as_rfc_9113_section_3_says() {
    run(BEGINNINGS, Http2::connect_silently);
}

#[test]
fn frames_and_streams_are_held_to_rfc_9113_sections_4_and_5() {
    run(FRAMES, Http2::connect);
}

#[test]
fn each_type_of_frame_is_held_to_rfc_9113_section_6_and_header_blocks_to_rfc_7541() {
    run(TYPES, Http2::connect);
}

#[test]
fn messages_are_held_to_rfc_9113_section_8() {
    run(MESSAGES, Http2::connect);
}

/// As much as fits in no buffer on the way.
const LARGE_BYTES: usize = 8 << 20;

/// What the client takes at a time.
const STEP_BYTES: usize = 1 << 20;

#[test]
fn streams_that_send_take_turns_and_a_small_answer_passes_between_them() {
    const STREAMS: usize = 8;
    let all = Barrier::new(STREAMS);
    let upstream = Upstream::start(move |exchange| {
        if exchange.request.target != "/large" {
            return exchange.reply(200, "", b"x");
        }
        let body = vec![b'x'; LARGE_BYTES];
        all.wait();
        exchange.reply(200, "", &body)
    });
    let (_gateway, address) = in_front_of(&upstream);
    let mut client = Http2::connect(address);
    client.send(&settings(&[(4, 0x7fff_ffff)]));
    (0..STREAMS as u32).for_each(|at| client.send(&get(numbered(at), "/large")));
    let small = numbered(STREAMS as u32);
    let mut received = [0; STREAMS + 1];
    let (mut heads, mut ended, mut granted) = (0, 0, 65_535);
    let (mut at_first_end, mut at_small) = (None, None);
    while ended <= STREAMS {
        let total: usize = received.iter().sum();
        // A window is opened when the one before is used up: all of them have something to send by then. Heads need none.
        if total == granted && (heads == STREAMS && at_small.is_none() || heads > STREAMS) {
            if heads == STREAMS && total > LARGE_BYTES {
                client.send(&get(small, "/"));
                at_small = Some(total);
                continue;
            }
            client.send(&window_update(0, STEP_BYTES as u32));
            granted += STEP_BYTES;
        }
        let frame = client.receive().expect("a frame").expect("an open connection");
        if frame.kind == kind::HEADERS {
            heads += 1;
        }
        if frame.kind != kind::DATA {
            continue;
        }
        received[frame.stream as usize / 2] += frame.payload.len();
        if frame.has(END_STREAM) {
            ended += 1;
            if frame.stream == small {
                let passed = total - at_small.expect("it was asked for");
                assert!(passed <= 2 * STEP_BYTES, "{passed}");
            } else {
                at_first_end.get_or_insert(received);
            }
        }
    }
    let first = at_first_end.expect("an end");
    assert!(first[..STREAMS].iter().all(|&bytes| bytes > LARGE_BYTES / 8), "{first:?}");
}

/// What a flood may cost: everything that one connection may make the gateway hold, several times.
const FLOOD_KIB_MAX: u64 = 16 * 1024;

/// Writes pieces made from a counter, far beyond any limit, while the answers are read; the last GOAWAY's code, `None` when the
/// connection is closed without one.
fn flood(address: SocketAddr, first: &[u8], piece: fn(u32) -> Vec<u8>) -> Option<u32> {
    const PIECES: u32 = 200_000;
    let mut client = Http2::connect(address);
    client.send(first);
    let mut writer = client.twin();
    let writing = std::thread::spawn(move || {
        for at in (0..PIECES).step_by(200) {
            let bytes: Vec<u8> = (at..at + 200).flat_map(piece).collect();
            if !writer.try_send(&bytes) {
                return true;
            }
        }
        false
    });
    let mut code = None;
    while let Ok(Some(frame)) = client.receive() {
        if frame.kind == kind::GOAWAY {
            code = Some(frame.number(4));
        }
    }
    drop(client);
    assert!(writing.join().expect("the flood ends"), "all of the flood was taken");
    code
}

/// The number of the stream of a piece, from 1.
const fn numbered(at: u32) -> u32 {
    2 * at + 1
}

type Flood = (&'static str, fn() -> Vec<u8>, fn(u32) -> Vec<u8>);

#[rustfmt::skip]
const FLOODS: &[Flood] = &[
    ("rapid reset", Vec::new, |at| [get(numbered(at), "/"), reset(numbered(at), 8)].concat()),
    ("resets that the gateway is brought to", Vec::new, |at| [get(numbered(at), "/"), window_update(numbered(at), 0)].concat()),
    ("HEADERS of a stream that was reset", || [post(1, "/", &[]), window_update(1, 0)].concat(), |_| frame(kind::HEADERS, WHOLE, 1, &request("GET", "/", &[]))),
    ("malformed requests", Vec::new, |at| frame(kind::HEADERS, WHOLE, numbered(at), &request("GET", "/", &[("BAD", "x")]))),
    ("PING", Vec::new, |_| frame(kind::PING, NONE, 0, &[7; 8])),
    ("SETTINGS", Vec::new, |_| settings(&[])),
    ("SETTINGS that change something", Vec::new, |at| settings(&[(4, at)])),
    ("PRIORITY", Vec::new, |at| frame(kind::PRIORITY, NONE, numbered(at), &[0, 0, 0, 0, 1])),
    ("WINDOW_UPDATE", Vec::new, |_| window_update(0, 1)),
    ("WINDOW_UPDATE of a stream", || post(1, "/", &[]), |_| window_update(1, 1)),
    ("unknown frames", Vec::new, |_| frame(0x77, NONE, 0, b"")),
    ("empty DATA", || post(1, "/", &[]), |_| data(1, NONE, b"")),
    ("empty CONTINUATION", || frame(kind::HEADERS, NONE, 1, &request("GET", "/", &[])), |_| frame(kind::CONTINUATION, NONE, 1, &[])),
    ("CONTINUATION without end", || frame(kind::HEADERS, NONE, 1, &request("GET", "/", &[])), |_| frame(kind::CONTINUATION, NONE, 1, &[0, 1, b'a', 1, b'b'].repeat(1000))),
];

#[test]
fn floods_end_the_connection_in_bounded_memory() {
    let upstream = upstream();
    let (gateway, address) = in_front_of(&upstream);
    serves(&mut Http2::connect(address), 1).expect("a first request");
    let before = gateway.resident_kib();
    let mut problems = Vec::new();
    for (name, first, piece) in FLOODS {
        let code = flood(address, &first(), *piece);
        let grown = gateway.resident_peak_kib().saturating_sub(before);
        println!("{name}: GOAWAY {code:?}, {grown} KiB at the most so far");
        if code.is_none_or(|code| code == NO_ERROR) {
            problems.push(format!("{name}: ended with {code:?} instead of GOAWAY and its reason"));
        }
        if grown >= FLOOD_KIB_MAX {
            problems.push(format!("{name}: {grown} KiB"));
        }
        if let Err(why) = serves(&mut Http2::connect(address), 1) {
            problems.push(format!("{name}: the next connection: {why}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
