//! What clients may do to each other over the connection to an upstream that they share.

use h2::client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    bench::{Bench, Peer, ROOMY, run, upstream},
    http2_in::{self, get},
};
use crate::{
    data_plane::http2::{
        PREFACE,
        frame::{self, HEAD_BYTES, Head, flag, kind, setting},
    },
    snapshot::upstream::UpstreamLimits,
};

const MANY: UpstreamLimits = UpstreamLimits { requests_max: 1000, ..ROOMY };

/// `:status: 200`.
const OK: &[u8] = b"\x88";

/// One end of a connection that keeps no rule but those of its test.
struct ByHand {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl ByHand {
    /// The next connection that the gateway makes.
    async fn accepted(socket: &TcpListener) -> Self {
        let mut peer = Self { stream: socket.accept().await.unwrap().0, unread: Vec::new() };
        while peer.unread.len() < PREFACE.len() {
            assert!(peer.stream.read_buf(&mut peer.unread).await.unwrap() > 0);
        }
        peer.unread.drain(..PREFACE.len());
        peer.send(&[framed(kind::SETTINGS, 0, 0, b""), framed(kind::SETTINGS, flag::ACK, 0, b"")].concat())
            .await;
        peer
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("a gateway that reads");
    }

    async fn frame(&mut self) -> (Head, Vec<u8>) {
        loop {
            if let Some(head) = self.unread.first_chunk().map(Head::read)
                && self.unread.len() >= HEAD_BYTES + head.length
            {
                assert_ne!(head.kind, kind::GOAWAY, "the connection ends");
                let rest = self.unread.split_off(HEAD_BYTES + head.length);
                return (head, std::mem::replace(&mut self.unread, rest).split_off(HEAD_BYTES));
            }
            assert!(self.stream.read_buf(&mut self.unread).await.unwrap() > 0, "the connection has ended");
        }
    }

    /// The next stream about which there is a frame of this kind.
    async fn next(&mut self, wanted: u8) -> u32 {
        loop {
            let (head, _) = self.frame().await;
            if head.kind == wanted {
                return head.stream;
            }
        }
    }

    /// By how much a stream's window is opened next.
    async fn increment(&mut self, stream: u32) -> usize {
        loop {
            let (head, payload) = self.frame().await;
            if (head.kind, head.stream) == (kind::WINDOW_UPDATE, stream) {
                return u32::from_be_bytes(payload.try_into().unwrap()) as usize;
            }
        }
    }

    /// Answers the next request with a head; its stream.
    async fn answer(&mut self) -> u32 {
        let stream = self.next(kind::HEADERS).await;
        self.send(&framed(kind::HEADERS, flag::END_HEADERS, stream, OK)).await;
        stream
    }
}

fn framed(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, kind, flags, stream, payload);
    bytes
}

/// A client whose request is under way on the connection that others spoil.
struct Other {
    socket: TcpListener,
    client: Peer,
    stream: u32,
}

impl Other {
    /// The upstream's side of its connection, the gateway, and the client.
    async fn begin() -> (ByHand, Bench, Self) {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, MANY).await;
        let mut client = bench.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut peer = ByHand::accepted(&socket).await;
        let stream = peer.answer().await;
        (peer, bench, Self { socket, client, stream })
    }

    /// Nothing has happened to its request.
    async fn is_served_by(&mut self, peer: &mut ByHand) {
        peer.send(&framed(kind::DATA, flag::END_STREAM, self.stream, b"whole")).await;
        assert_eq!(self.client.message().await.expect("a whole response").body, b"whole");
    }
}

#[test]
fn clients_that_give_up_many_streams_at_once_end_no_others() {
    run(async {
        let (mut peer, bench, mut other) = Other::begin().await;
        for _ in 0..10 {
            let mut clients = Vec::new();
            let mut streams = Vec::new();
            for _ in 0..2 {
                let mut client = http2_in::connect(&bench).await;
                let responses: Vec<_> = (0..100).map(|_| get(&mut client, "/")).collect();
                let mut begun = Vec::new();
                for response in responses {
                    streams.push(peer.answer().await);
                    begun.push(response);
                }
                for response in begun {
                    clients.push((response.await.unwrap(), client.clone()));
                }
            }
            drop(clients);
            for _ in &streams {
                peer.next(kind::RST_STREAM).await;
            }
            // It had not heard.
            let late: Vec<u8> =
                streams.iter().flat_map(|stream| framed(kind::DATA, 0, *stream, &[b'x'; 1000])).collect();
            peer.send(&late).await;
        }
        other.is_served_by(&mut peer).await;
    });
}

/// Messages for a stream, as many as its window holds.
fn messages(stream: u32) -> Vec<u8> {
    framed(kind::DATA, 0, stream, &[b'm'; 20]).repeat(128 * 1024 / 20)
}

#[test]
fn clients_that_do_not_read_small_messages_end_no_others() {
    run(async {
        let (mut peer, bench, mut other) = Other::begin().await;
        let mut builder = client::Builder::new();
        builder.initial_window_size(0);
        let mut lazy = http2_in::connect_with(&bench, builder).await;
        let unread: Vec<_> = (0..12).map(|_| get(&mut lazy, "/")).collect();
        for _ in &unread {
            let stream = peer.answer().await;
            peer.send(&messages(stream)).await;
        }
        other.is_served_by(&mut peer).await;
    });
}

#[test]
fn clients_that_take_no_heads_end_no_others() {
    run(async {
        let (mut peer, bench, mut other) = Other::begin().await;
        // Its windows are open, and it never reads.
        let mut lazy = TcpStream::connect(bench.address).await.unwrap();
        let window = [&setting::INITIAL_WINDOW_SIZE.to_be_bytes()[..], &[0x7f, 0xff, 0xff, 0xff]].concat();
        let more = 0x7fff_0000_u32.to_be_bytes();
        lazy.write_all(PREFACE).await.unwrap();
        lazy.write_all(&framed(kind::SETTINGS, 0, 0, &window)).await.unwrap();
        lazy.write_all(&framed(kind::WINDOW_UPDATE, 0, 0, &more)).await.unwrap();
        let request = |stream| {
            framed(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, b"\x82\x86\x84\x01\x06a.test")
        };
        lazy.write_all(&request(1)).await.unwrap();
        let filler = peer.answer().await;
        // As much as it is given room for, until there is none: it waits in sockets and in the gateway.
        let (mut room, mut sent) = (128 * 1024, 0);
        loop {
            while room >= 16 * 1024 {
                peer.send(&framed(kind::DATA, 0, filler, &[b'x'; 16 * 1024])).await;
                (room, sent) = (room - 16 * 1024, sent + 16 * 1024);
            }
            let update = tokio::time::timeout(std::time::Duration::from_millis(500), peer.increment(filler));
            match update.await {
                Ok(increment) => room += increment,
                Err(_) => break,
            }
        }
        assert!(sent > 128 * 1024, "the window was opened again");
        for at in 1..=12 {
            lazy.write_all(&request(2 * at + 1)).await.unwrap();
            let stream = peer.answer().await;
            peer.send(&messages(stream)).await;
        }
        other.is_served_by(&mut peer).await;
    });
}

#[test]
fn what_comes_too_late_for_streams_that_were_reset_brings_a_new_connection_in_time() {
    run(async {
        let (mut worn, bench, mut other) = Other::begin().await;
        for _ in 0..3 {
            let mut client = bench.connect().await;
            client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
            let stream = worn.answer().await;
            client.head().await.unwrap();
            drop(client);
            worn.next(kind::RST_STREAM).await;
            worn.send(&messages(stream)).await;
        }
        // Once they have all arrived.
        worn.send(&framed(kind::PING, 0, 0, &[0; 8])).await;
        worn.next(kind::PING).await;
        let mut client = bench.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut fresh = ByHand::accepted(&other.socket).await;
        let stream = fresh.answer().await;
        fresh.send(&framed(kind::DATA, flag::END_STREAM, stream, b"new")).await;
        assert_eq!(client.message().await.unwrap().body, b"new");
        other.is_served_by(&mut worn).await;
        // Nobody uses it any more.
        while worn.stream.read_buf(&mut worn.unread).await.unwrap() > 0 {}
    });
}

#[test]
fn requests_on_a_connection_that_the_gateway_ends_for_its_frames_are_sent_again() {
    run(async {
        let (mut peer, bench, cut) = Other::begin().await;
        let mut waiting = bench.connect().await;
        waiting.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        peer.next(kind::HEADERS).await;
        peer.send(&framed(kind::DATA, 0, cut.stream, b"").repeat(200)).await;
        let mut fresh = ByHand::accepted(&cut.socket).await;
        let stream = fresh.answer().await;
        fresh.send(&framed(kind::DATA, flag::END_STREAM, stream, b"whole")).await;
        assert_eq!(waiting.message().await.unwrap().body, b"whole");
    });
}
