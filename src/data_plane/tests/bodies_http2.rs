//! Bodies where one side speaks HTTP/2, or both do: as in `bodies`, whatever their sizes, pieces and windows.

use std::{future::poll_fn, rc::Rc, task::Poll};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream, client, server};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::{
    net::TcpListener,
    sync::{
        Notify,
        mpsc::{UnboundedSender, unbounded_channel},
    },
};

use super::{
    bench::{self, Bench, Message, Peer, ROOMY, framed, largest_piece, run, send_while_reading, upstream},
    http2_in,
    http2_out::{self, Incoming, head},
};
use crate::{
    data_plane::http1::tests::{oracle, random},
    http::Version::{self, Http2, Http11},
};

/// Exchanges at the same time; over HTTP/2 they share a connection.
const EXCHANGES: usize = 8;
const ROUNDS: usize = 4;
/// Two thirds of it are more than the gateway's window of a stream.
const BODY_BYTES_MAX: usize = 400_000;
/// `h2` bears a hundred that end nothing, on a connection.
const EMPTY_FRAMES_MAX: usize = 100 / EXCHANGES;

/// What ends a message in HTTP/2. In HTTP/1.1 only trailers are told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Head,
    LastData,
    EmptyData,
    Trailers,
}

/// What one side sends.
struct Content {
    body: Vec<u8>,
    /// The length is announced.
    known: bool,
    end: End,
    trailers: Vec<(String, Vec<u8>)>,
}

impl Content {
    fn new(random: &mut fastrand::Rng, bytes_max: usize) -> Self {
        let largest = [random.usize(..100), 20_000, BODY_BYTES_MAX, BODY_BYTES_MAX][random.usize(..4)];
        let largest = largest.min(bytes_max);
        let end = [End::Head, End::LastData, End::EmptyData, End::Trailers][random.usize(..4)];
        let size = if end == End::Head { 0 } else { random.usize(largest * 2 / 3..=largest) };
        let fields = if end == End::Trailers { random.usize(1..4) } else { 0 };
        Self {
            body: (0..size).map(|_| random.u8(..)).collect(),
            known: random.bool(),
            end,
            trailers: (0..fields)
                .map(|field| (format!("x-{field}"), random.u64(..).to_string().into_bytes()))
                .collect(),
        }
    }

    /// The rest of a head in HTTP/1.1, and the body.
    fn wire(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        let line = |(name, value): &(String, Vec<u8>)| format!("{name}: {}\r\n", value.escape_ascii());
        let trailers: String = self.trailers.iter().map(line).collect();
        framed(random, &self.body, !self.known, &trailers)
    }

    /// A message in HTTP/1.1 that has a length has no room for trailers.
    fn assert_passed(&self, seen: &Seen, from: Version, to: Version, what: &str) {
        let what = format!(
            "{what}, {} bytes, length known: {}, ends with {:?}",
            self.body.len(),
            self.known,
            self.end
        );
        assert!(seen.body == self.body, "{what}: {} bytes came out", seen.body.len());
        let from_length = from == Http11 && self.known;
        let to_length = to == Http11 && self.known && !self.body.is_empty();
        let trailers: &[_] = if from_length || to_length { &[] } else { &self.trailers };
        assert_eq!(seen.trailers, trailers, "{what}");
        if !self.body.is_empty() {
            assert_eq!(seen.length, self.known.then_some(self.body.len()), "{what}");
        }
    }
}

struct Exchange {
    up: Content,
    down: Content,
}

/// What the other side got.
struct Seen {
    length: Option<usize>,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
}

impl Seen {
    fn http1(message: Message) -> Self {
        let length = message.value("content-length").map(|length| length.parse().unwrap());
        Self { length, body: message.body, trailers: message.trailers }
    }

    async fn http2(head: &HeaderMap, body: RecvStream, random: &mut fastrand::Rng) -> Self {
        let length = head.get("content-length").map(|length| length.to_str().unwrap().parse().unwrap());
        let (body, trailers) = received(body, random).await;
        let field =
            |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
        Self { length, body, trailers: trailers.iter().map(field).collect() }
    }
}

/// Reads a body, and lets the peer send more when nothing is left to read, little by little.
async fn received(mut body: RecvStream, random: &mut fastrand::Rng) -> (Vec<u8>, HeaderMap) {
    let (mut bytes, mut owed) = (Vec::new(), 0);
    loop {
        let arrival = poll_fn(|cx| match body.poll_data(cx) {
            Poll::Pending if owed == 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
            Poll::Ready(data) => Poll::Ready(Some(data)),
        });
        match arrival.await {
            Some(None) => break,
            Some(Some(data)) => {
                let data = data.expect("the rest of the body");
                owed += data.len();
                bytes.extend_from_slice(&data);
            }
            None => {
                pause(random).await;
                let part = random.usize(1..=owed);
                owed -= part;
                body.flow_control().release_capacity(part).unwrap();
            }
        }
    }
    (bytes, body.trailers().await.expect("the end of the body").unwrap_or_default())
}

/// Lets the others get on.
async fn pause(random: &mut fastrand::Rng) {
    for _ in 0..random.usize(..4) {
        tokio::task::yield_now().await;
    }
}

/// Sends a body in frames of any size; its end waits for `may_end`.
async fn send(
    mut stream: SendStream<Bytes>,
    content: &Content,
    may_end: &Notify,
    random: &mut fastrand::Rng,
) {
    let largest = largest_piece(random, content.body.len());
    let mut empty_frames = random.usize(..=EMPTY_FRAMES_MAX);
    let mut rest = &content.body[..];
    while !rest.is_empty() {
        if empty_frames > 0 && random.u8(..8) == 0 {
            empty_frames -= 1;
            stream.send_data(Bytes::new(), false).unwrap();
        }
        if random.u8(..4) == 0 {
            pause(random).await;
        }
        stream.reserve_capacity(random.usize(1..=rest.len().min(largest)));
        while stream.capacity() == 0 {
            poll_fn(|cx| stream.poll_capacity(cx)).await.expect("an open stream").expect("an open stream");
        }
        // The last byte goes alone.
        let size = random.usize(1..=stream.capacity().min(largest)).min((rest.len() - 1).max(1));
        let piece = Bytes::copy_from_slice(&rest[..size]);
        rest.advance(size);
        if rest.is_empty() {
            may_end.notified().await;
        }
        stream.send_data(piece, rest.is_empty() && content.end == End::LastData).unwrap();
    }
    if content.body.is_empty() {
        may_end.notified().await;
    }
    match content.end {
        End::LastData if !content.body.is_empty() => {}
        End::Head | End::LastData | End::EmptyData => stream.send_data(Bytes::new(), true).unwrap(),
        End::Trailers => {
            let field =
                |(name, value): &(String, Vec<u8>)| (name.parse::<HeaderName>().unwrap(), value.clone());
            let fields = content.trailers.iter().map(field);
            let fields = fields.map(|(name, value)| (name, HeaderValue::try_from(value).unwrap()));
            stream.send_trailers(fields.collect()).unwrap();
        }
    }
}

/// One exchange of a client that speaks HTTP/1.1, on a connection of its own.
async fn ask_http1(bench: &Bench, number: usize, exchange: &Exchange, random: &mut fastrand::Rng) -> Seen {
    let head = format!("POST /{number} HTTP/1.1\r\nhost: api.test\r\n");
    let wire = [head.into_bytes(), exchange.up.wire(random)].concat();
    let mut client = bench.connect().await;
    let message = send_while_reading(&mut client, &wire, random).await.expect("a whole response");
    assert_eq!(message.status(), "200");
    Seen::http1(message)
}

async fn ask_http2(
    client: http2_in::Client,
    number: usize,
    exchange: &Exchange,
    random: &mut fastrand::Rng,
) -> Seen {
    let up = &exchange.up;
    let mut request = Request::builder().method("POST").uri(format!("http://api.test/{number}"));
    if up.known {
        request = request.header("content-length", up.body.len());
    }
    let mut client = client.ready().await.unwrap();
    let (response, stream) =
        client.send_request(request.body(()).unwrap(), up.end == End::Head).expect("a stream");
    let may_end = Notify::new();
    may_end.notify_one();
    let (mut pieces, reads_late) = (random.fork(), random.bool());
    let sent = async {
        if up.end != End::Head {
            send(stream, up, &may_end, &mut pieces).await;
        }
    };
    let answered = async {
        let (head, body) = response.await.expect("a response").into_parts();
        assert_eq!(head.status, 200);
        Seen::http2(&head.headers, body, random).await
    };
    if reads_late {
        sent.await;
        return answered.await;
    }
    tokio::join!(sent, answered).1
}

type Report = UnboundedSender<(usize, Seen)>;

/// An upstream that speaks HTTP/1.1. Like the other, it begins to answer when it has the head, and ends its
/// answer when it has the request: so neither body can wait for the other.
async fn answer_http1(
    listener: TcpListener,
    exchanges: Rc<[Exchange]>,
    mut random: fastrand::Rng,
    seen: Report,
) {
    loop {
        let peer = bench::accepted(&listener).await;
        let (exchanges, random, seen) = (Rc::clone(&exchanges), random.fork(), seen.clone());
        actix_rt::spawn(answer_connection(peer, exchanges, random, seen));
    }
}

async fn answer_connection(
    mut peer: Peer,
    exchanges: Rc<[Exchange]>,
    mut random: fastrand::Rng,
    seen: Report,
) {
    loop {
        while oracle::head_length(&peer.unread).is_none() {
            if !peer.more().await {
                return;
            }
        }
        let start = String::from_utf8_lossy(&peer.unread);
        let number = number_of(start.split(' ').nth(1).unwrap());
        let wire = exchanges[number].down.wire(&mut random);
        let answer = [b"HTTP/1.1 200 OK\r\n", &wire[..]].concat();
        let (start, end) = answer.split_at(answer.len() - 1);
        let message = send_while_reading(&mut peer, start, &mut random).await.expect("a whole request");
        peer.send(end).await;
        let _ = seen.send((number, Seen::http1(message)));
    }
}

/// The exchange that a path stands for.
fn number_of(path: &str) -> usize {
    path.trim_start_matches('/').parse().unwrap()
}

async fn answer_http2(
    listener: TcpListener,
    builder: server::Builder,
    exchanges: Rc<[Exchange]>,
    mut random: fastrand::Rng,
    seen: Report,
) {
    loop {
        let mut incoming = http2_out::requests(http2_out::accepted(&listener, &builder).await);
        let (exchanges, mut random, seen) = (Rc::clone(&exchanges), random.fork(), seen.clone());
        actix_rt::spawn(async move {
            while let Some(incoming) = incoming.recv().await {
                let (exchanges, random, seen) = (Rc::clone(&exchanges), random.fork(), seen.clone());
                actix_rt::spawn(answer_stream(incoming, exchanges, random, seen));
            }
        });
    }
}

async fn answer_stream(
    incoming: Incoming,
    exchanges: Rc<[Exchange]>,
    mut random: fastrand::Rng,
    seen: Report,
) {
    let (request, mut respond) = incoming;
    let number = number_of(request.uri().path());
    let down = &exchanges[number].down;
    let (parts, body) = request.into_parts();
    let whole = Notify::new();
    let mut pieces = random.fork();
    let sent = async {
        let mut head = head(200);
        if down.known {
            head.headers_mut().insert("content-length", down.body.len().into());
        }
        if down.end == End::Head {
            whole.notified().await;
            respond.send_response(head, true).unwrap();
        } else {
            send(respond.send_response(head, false).unwrap(), down, &whole, &mut pieces).await;
        }
    };
    let received = async {
        let request = Seen::http2(&parts.headers, body, &mut random).await;
        whole.notify_one();
        request
    };
    let ((), request) = tokio::join!(sent, received);
    let _ = seen.send((number, request));
}

/// What a peer lets the gateway send at once, on a stream and on the connection.
fn windows(random: &mut fastrand::Rng) -> (u32, u32) {
    let largest = 70_000 >> random.u32(..16);
    (random.u32(1..=largest), random.u32(10_000..=200_000))
}

/// Bodies of any size, framing, end and pieces, through windows of any size.
async fn pass(from: Version, to: Version) {
    let mut random = random();
    for round in 0..ROUNDS {
        let (client_windows, upstream_windows) = (windows(&mut random), windows(&mut random));
        // However small the window, there are not too many frames.
        let bytes_max = |side, (window, _)| if side == Http2 { window as usize * 300 } else { usize::MAX };
        let exchanges: Rc<[Exchange]> = (0..EXCHANGES)
            .map(|_| Exchange {
                up: Content::new(&mut random, bytes_max(to, upstream_windows)),
                down: Content::new(&mut random, bytes_max(from, client_windows)),
            })
            .collect();
        let listener = upstream().await;
        let (report, mut reports) = unbounded_channel();
        let bench =
            if to == Http2 { Bench::h2(&listener, ROOMY).await } else { Bench::new(&listener, ROOMY).await };
        let (plans, pieces) = (Rc::clone(&exchanges), random.fork());
        let answering = if to == Http2 {
            let mut builder = server::Builder::new();
            // As in `http2_in`.
            builder.data_frame_budget(1 << 30);
            builder
                .initial_window_size(upstream_windows.0)
                .initial_connection_window_size(upstream_windows.1);
            actix_rt::spawn(answer_http2(listener, builder, plans, pieces, report))
        } else {
            actix_rt::spawn(answer_http1(listener, plans, pieces, report))
        };
        let client = if from == Http2 {
            let mut builder = client::Builder::new();
            builder.initial_window_size(client_windows.0).initial_connection_window_size(client_windows.1);
            Some(http2_in::connect_with(&bench, builder).await)
        } else {
            None
        };
        let asked = exchanges.iter().enumerate().map(|(number, exchange)| {
            let (client, bench, mut random) = (client.clone(), &bench, random.fork());
            async move {
                match client {
                    Some(client) => ask_http2(client, number, exchange, &mut random).await,
                    None => ask_http1(bench, number, exchange, &mut random).await,
                }
            }
        });
        let answers = futures_util::future::join_all(asked).await;
        for (number, (exchange, answer)) in exchanges.iter().zip(&answers).enumerate() {
            let what = format!("round {round}, response {number}");
            exchange.down.assert_passed(answer, to, from, &what);
            let (number, request) = reports.recv().await.expect("a request");
            let what = format!("round {round}, request {number}");
            exchanges[number].up.assert_passed(&request, from, to, &what);
        }
        answering.abort();
    }
}

#[test]
fn bodies_pass_both_ways_at_once_from_a_client_of_http_2_to_an_upstream_of_http_1_1() {
    run(pass(Http2, Http11));
}

#[test]
fn bodies_pass_both_ways_at_once_from_a_client_of_http_1_1_to_an_upstream_of_http_2() {
    run(pass(Http11, Http2));
}

#[test]
fn bodies_pass_both_ways_at_once_where_both_sides_speak_http_2() {
    run(pass(Http2, Http2));
}

#[test]
fn behind_a_length_of_zero_there_is_room_for_trailers_if_there_are_any() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        let mut client = http2_in::connect(&bench).await;
        for (end, line) in
            [(End::EmptyData, "content-length: 0"), (End::Trailers, "transfer-encoding: chunked")]
        {
            let request = Request::post("http://api.test/").header("content-length", 0).body(()).unwrap();
            let (_response, mut stream) = client.send_request(request, false).unwrap();
            if end == End::Trailers {
                let field = (HeaderName::from_static("x-sum"), HeaderValue::from_static("1"));
                stream.send_trailers(HeaderMap::from_iter([field])).unwrap();
            } else {
                stream.send_data(Bytes::new(), true).unwrap();
            }
            let message = bench::accepted(&socket).await.message().await.expect("a request");
            assert!(message.has(line), "{}", message.head);
            assert_eq!(message.trailers.len(), usize::from(end == End::Trailers));
        }
    });
}
