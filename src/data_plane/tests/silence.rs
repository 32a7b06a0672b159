//! Upstreams of HTTP/2 that give no sign of life. Their frames are read and written by hand: `h2` would answer a PING by
//! itself.

use std::time::Duration;

use tokio::time::timeout;

use super::bench::{Bench, Message, Peer, ROOMY, accepted, run, upstream};

const HEADERS: u8 = 1;
const PING: u8 = 6;
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

/// SETTINGS without parameters.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The head of an answer to the first request: 200, and the end.
const ANSWER: &[u8] = &[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
/// Likewise, without the end.
const BEGUN: &[u8] = &[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
/// To the second.
const SECOND_ANSWER: &[u8] = &[0, 0, 1, 1, 5, 0, 0, 0, 3, 0x88];

/// Type, flags and payload of the next frame, `None` at the end of the connection.
async fn frame(peer: &mut Peer) -> Option<(u8, u8, Vec<u8>)> {
    loop {
        let [high, middle, low, kind, flags, ..] = peer.unread.as_slice() else {
            if peer.more().await {
                continue;
            }
            return None;
        };
        let (kind, flags) = (*kind, *flags);
        let length =
            HEAD_BYTES + usize::from(*high) * 0x10000 + usize::from(*middle) * 0x100 + usize::from(*low);
        if peer.unread.len() >= length {
            let frame: Vec<u8> = peer.unread.drain(..length).collect();
            return Some((kind, flags, frame[HEAD_BYTES..].to_vec()));
        }
        if !peer.more().await {
            return None;
        }
    }
}

/// A gateway that is patient with upstreams, whose client has asked for something, and the connection that it was asked on.
async fn asked() -> (Bench, Peer, Peer) {
    let socket = upstream().await;
    let bench = Bench::h2_with(&socket, ROOMY, |engine| {
        (engine.response_timeout, engine.stream_idle) = (Duration::ZERO, Duration::from_secs(3600));
    });
    let bench = bench.await;
    let mut client = bench.connect().await;
    ask(&mut client).await;
    let mut server = accepted(&socket).await;
    server.send(SETTINGS).await;
    while server.unread.len() < PREFACE_BYTES {
        assert!(server.more().await);
    }
    server.unread.drain(..PREFACE_BYTES);
    while frame(&mut server).await.expect("a request").0 != HEADERS {}
    (bench, client, server)
}

/// Not idempotent, so that it is not tried again.
async fn ask(client: &mut Peer) {
    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
}

/// Lets time pass, a second at a time, until a PING arrives (its payload) or the connection ends (`None`); how much has passed.
async fn until_asked_or_closed(bench: &Bench, server: &mut Peer) -> (Option<Vec<u8>>, u64) {
    let second = Duration::from_secs(1);
    until_asked_or_closed_by(second, bench, server).await
}

async fn until_asked_or_closed_by(
    step: Duration,
    bench: &Bench,
    server: &mut Peer,
) -> (Option<Vec<u8>>, u64) {
    for seconds in (0..400).step_by(step.as_secs() as usize) {
        loop {
            match timeout(Duration::from_millis(20), frame(server)).await {
                Ok(Some((PING, 0, payload))) => return (Some(payload), seconds),
                Ok(Some(_)) => {}
                Ok(None) => return (None, seconds),
                Err(_) => break,
            }
        }
        bench.worker.timers.skip(step);
    }
    panic!("neither asked nor closed within 400 s");
}

async fn answered(client: &mut Peer) -> Message {
    client.message().await.expect("a response")
}

#[test]
fn an_upstream_that_is_silent_for_20_s_while_a_request_waits_is_asked_and_given_up_10_s_later() {
    run(async {
        let (bench, mut client, mut server) = asked().await;
        let (ping, after) = until_asked_or_closed(&bench, &mut server).await;
        assert!(ping.is_some(), "closed without a question");
        // Real time passes too, and deadlines are looked at by ticks.
        assert!((19..=21).contains(&after), "asked after {after} s");
        let (ping, after) = until_asked_or_closed(&bench, &mut server).await;
        assert!(ping.is_none(), "asked twice");
        assert!((9..=11).contains(&after), "given up {after} s after the question");
        assert_eq!(answered(&mut client).await.status(), "503");
    });
}

#[test]
fn an_upstream_that_answers_the_question_has_all_the_time_of_the_request() {
    run(async {
        let (bench, mut client, mut server) = asked().await;
        for _ in 0..2 {
            asked_after_20_s(&bench, &mut server).await;
        }
        server.send(ANSWER).await;
        assert_eq!(answered(&mut client).await.status(), "200");
    });
}

/// The upstream is asked once more, and answers.
async fn asked_after_20_s(bench: &Bench, server: &mut Peer) {
    let (ping, after) = until_asked_or_closed(bench, server).await;
    assert!((19..=21).contains(&after), "asked after {after} s");
    pong(server, &ping.expect("the connection goes on")).await;
}

async fn pong(server: &mut Peer, ping: &[u8]) {
    server.send([&[0, 0, 8, PING, 1, 0, 0, 0, 0][..], ping].concat()).await;
}

/// Servers of gRPC end the connection of whoever asks more than three times in five minutes in which they say nothing.
#[test]
fn an_upstream_that_sends_nothing_of_a_message_is_asked_twice_and_then_once_in_five_minutes() {
    run(async {
        let (bench, mut client, mut server) = asked().await;
        for _ in 0..2 {
            asked_after_20_s(&bench, &mut server).await;
        }
        for _ in 0..2 {
            let ten_seconds = Duration::from_secs(10);
            let (ping, after) = until_asked_or_closed_by(ten_seconds, &bench, &mut server).await;
            assert!((300..=350).contains(&after), "asked after {after} s");
            pong(&mut server, &ping.expect("the connection goes on")).await;
        }
        // The head of a message, and everything begins anew.
        server.send(BEGUN).await;
        assert_eq!(client.head().await.expect("a head").status(), "200");
        asked_after_20_s(&bench, &mut server).await;
    });
}

/// Idle, it is not asked: there is nothing to lose.
#[test]
fn an_idle_connection_is_not_asked_and_serves_the_next_request() {
    run(async {
        let (bench, mut client, mut server) = asked().await;
        server.send(ANSWER).await;
        assert_eq!(answered(&mut client).await.status(), "200");
        for _ in 0..50 {
            bench.worker.timers.skip(Duration::from_secs(1));
            let quiet = timeout(Duration::from_millis(5), async {
                loop {
                    match frame(&mut server).await {
                        Some((PING, 0, _)) | None => return,
                        Some(_) => {}
                    }
                }
            });
            assert!(quiet.await.is_err(), "asked or closed while idle");
        }
        ask(&mut client).await;
        while frame(&mut server).await.expect("a request").0 != HEADERS {}
        server.send(SECOND_ANSWER).await;
        assert_eq!(answered(&mut client).await.status(), "200");
    });
}
