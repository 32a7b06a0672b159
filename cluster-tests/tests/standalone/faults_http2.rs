//! Upstreams of HTTP/2 that break its rules, each alone, by a server that writes its frames by hand.

use std::io;
use std::net::SocketAddr;

use cluster_tests::client::{Client, get};
use cluster_tests::http2::{data, flag, kind, settings};
use cluster_tests::http2_server::{BODY, Http2Upstream, head};

use crate::bodies::assert_steady;
use crate::faults::{assert_nothing_left, impatient_in_front_of};
use crate::faults_http2_cases::{BEGINNINGS, Case, ENDS, FLOODS, MESSAGES, Seen, UPLOAD};

/// One request of HTTP/1.1 and what comes of it.
fn ask(address: SocketAddr, method: &str) -> Result<Seen, String> {
    let mut client = Client::connect(address);
    let (method, body) = match method {
        UPLOAD => ("POST", "Content-Length: 1\r\n\r\nx"),
        _ => (method, "Content-Length: 0\r\n\r\n"),
    };
    client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{body}").as_bytes());
    let hung =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    let (response, mut body) = match client.head_for(method) {
        Ok(head) => head,
        Err(error) if hung(&error) => return Err("nothing comes".to_owned()),
        Err(_) => return Ok(Seen::Nothing),
    };
    match client.wire.whole(&mut body) {
        Ok(_) => Ok(Seen::Status(response.status)),
        Err(error) if hung(&error) => Err(format!("{}, and its body never ends", response.status)),
        Err(_) if response.status == 200 => Ok(Seen::Cut),
        Err(error) => Err(format!("a broken {}: {error}", response.status)),
    }
}

fn judge(case: &Case, upstream: &Http2Upstream, address: SocketAddr) -> Result<(), String> {
    let (_, method, act, accepted, tries) = case;
    upstream.play(Some(*act));
    let seen = ask(address, method)?;
    let asked = upstream.requests();
    println!("{}: {seen:?}, asked {asked} times", case.0);
    upstream.play(None);
    if !accepted.contains(&seen) {
        return Err(format!("{seen:?} instead of {accepted:?}, asked {asked} times"));
    }
    if !tries.contains(&asked) {
        return Err(format!("{seen:?}, but asked {asked} times instead of {tries:?}"));
    }
    let next = get(address, "/");
    if (next.status, next.body.as_slice()) != (200, BODY) {
        return Err(format!("the next request: {} {}", next.status, next.text()));
    }
    Ok(())
}

/// Runs every case, one after the other, and reports all that went wrong at once.
fn run(cases: &[Case]) {
    let upstream = Http2Upstream::start();
    let (mut gateway, address) = impatient_in_front_of(&upstream.url());
    assert_eq!(get(address, "/").body, BODY);
    let before = gateway.resident_kib();
    let mut problems = Vec::new();
    for case in cases {
        // One that is left over would be used instead of a new one.
        upstream.end_connections();
        problems.extend(judge(case, &upstream, address).err().map(|why| format!("{}: {why}", case.0)));
    }
    assert!(problems.is_empty(), "{} of {} cases:\n{}", problems.len(), cases.len(), problems.join("\n"));
    println!("{} cases", cases.len());
    assert!(gateway.running());
    assert_nothing_left(&gateway);
    assert_steady(&gateway, before);
}

#[test]
fn a_server_that_begins_wrongly_is_a_bad_gateway_and_one_that_says_nothing_a_timeout() {
    run(BEGINNINGS);
}

#[test]
fn an_answer_that_breaks_the_rules_of_http_2_is_a_502_and_no_byte_of_it_is_passed_on() {
    run(MESSAGES);
}

#[test]
fn an_answer_that_ends_too_early_is_cut_and_only_what_was_not_processed_is_sent_again() {
    run(ENDS);
}

#[test]
fn floods_of_a_server_end_its_connection_in_bounded_memory() {
    run(FLOODS);
}

/// Not a fault by itself: events and downloads may last for ever. The client decides.
#[test]
fn an_answer_without_end_passes_in_constant_memory_until_the_client_leaves() {
    const ENOUGH: usize = 64 * 1024 * 1024;
    let upstream = Http2Upstream::start();
    let (gateway, address) = impatient_in_front_of(&upstream.url());
    assert_eq!(get(address, "/").body, BODY);
    let before = gateway.resident_kib();
    upstream.end_connections();
    upstream.play(Some(|c| {
        c.send(&settings(&[]));
        // As much as the windows allow: what the gateway has passed on, it gives back.
        let (mut of_stream, mut of_connection, mut stream) = (65_535_i64, 65_535_i64, None);
        loop {
            while let Some(stream) = stream.filter(|_| of_stream.min(of_connection) >= 16_384) {
                c.send(&data(stream, flag::NONE, &[b'x'; 16_384]));
                (of_stream, of_connection) = (of_stream - 16_384, of_connection - 16_384);
            }
            let frame = c.wire.receive().ok()??;
            match frame.kind {
                kind::SETTINGS => {
                    let mut parameters = frame.payload.chunks(6);
                    let window = parameters.find(|parameter| parameter[..2] == [0, 4]);
                    let size = window.map(|window| [window[2], window[3], window[4], window[5]]);
                    of_stream = size.map_or(of_stream, |size| u32::from_be_bytes(size).into());
                }
                kind::HEADERS => {
                    c.wire.fields(&frame).ok()?;
                    c.send(&head(frame.stream, flag::END_HEADERS, &[(":status", "200")]));
                    stream = Some(frame.stream);
                }
                kind::WINDOW_UPDATE if frame.stream == 0 => of_connection += i64::from(frame.number(0)),
                kind::WINDOW_UPDATE => of_stream += i64::from(frame.number(0)),
                kind::RST_STREAM => return Some(()),
                _ => {}
            }
        }
    }));
    let mut client = Client::connect(address);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, mut body) = client.head_for("GET").expect("a head");
    let mut bytes = 0;
    while bytes < ENOUGH {
        bytes += client.wire.piece(&mut body).expect("more").expect("no end").len();
    }
    drop(client);
    // The stream was reset, the connection is good: the next request takes it.
    assert_eq!(get(address, "/").body, BODY);
    assert_eq!((upstream.connections(), upstream.requests()), (1, 1));
    assert_nothing_left(&gateway);
    assert_steady(&gateway, before);
}

/// The request and the end of the connection are there in the same moment: nothing of it is written (decision 4).
#[test]
fn a_request_that_finds_its_connection_closed_is_sent_again_whatever_its_method() {
    const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let upstream = Http2Upstream::start();
    let (gateway, address) = impatient_in_front_of(&upstream.url());
    let mut client = Client::connect(address);
    let mut answer = |before: &dyn Fn()| {
        client.send(POST);
        before();
        client.response_to("POST").expect("an answer").status
    };
    for _ in 0..5 {
        assert_eq!(answer(&|| ()), 200);
        gateway.signal("STOP");
        assert_eq!(
            answer(&|| {
                upstream.half_close();
                gateway.signal("CONT");
            }),
            200
        );
    }
    assert_eq!(upstream.requests(), 10, "each once");
}
