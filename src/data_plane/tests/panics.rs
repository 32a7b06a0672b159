//! A panic ends the request that met it, and nothing else.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    bench::{Bench, ROOMY, answer_all, run, upstream},
    http2_in,
};
use crate::{
    http::{Body, BodyError, BodySource, Headers, Length, Request, Response, Step},
    policy::{Handling, Next, Policy},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const SECRET: &str = "the-payload-of-the-panic";

/// Panics where the path says.
struct Panics;

impl Policy for Panics {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        match request.path() {
            "/request" => panic!("{SECRET}"),
            "/response" => Handling::wait(async move {
                let _response = next.run(request).await;
                panic!("{SECRET}")
            }),
            "/body/first" => Handling::answer(broken_body(0)),
            "/body/later" => Handling::answer(broken_body(3)),
            _ => next.pass(request),
        }
    }
}

/// A body that panics after so many bytes.
fn broken_body(bytes: usize) -> Response {
    let mut response = Response::empty(200);
    response.body = Body::wire(Rc::new(PanickingBody { left: Cell::new(bytes) }));
    response
}

struct PanickingBody {
    left: Cell<usize>,
}

impl BodySource for PanickingBody {
    fn length(&self) -> Length {
        Length::Unknown
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        assert!(self.left.get() > 0, "{SECRET}");
        Poll::Ready(Ok(Step::Data))
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        // More than is gathered before it is written, so that some of it is out before the panic.
        take(&[b'x'; 40_000]);
        self.left.set(self.left.get() - 1);
    }

    fn trailers(&self) -> Option<Headers> {
        None
    }

    fn release(&self) {}
}

#[test]
fn a_panic_is_a_500_that_says_nothing_and_closes_its_connection_only() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::behind(&listener, ROOMY, vec![Arc::new(Panics)]).await;
        answer_all(listener, OK);
        let mut bystander = bench.connect().await;
        for (count, path) in ["/request", "/response", "/body/first"].into_iter().enumerate() {
            let mut client = bench.connect().await;
            client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            let answer = client.message().await.expect("an answer");
            assert_eq!((answer.status(), answer.has("connection: close")), ("500", true), "{path}");
            assert_eq!(answer.body, br#"{"error":"Internal Server Error"}"#);
            assert!(!answer.head.contains(SECRET));
            assert_eq!(client.rest().await, (Vec::new(), true), "{path}");
            assert_eq!(bench.metric("portcullis_panics_total"), Some((count + 1).to_string()));
            bystander.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(bystander.message().await.expect("an answer").body, b"ok", "{path}");
        }
    });
}

#[test]
fn a_panic_in_a_body_that_was_begun_breaks_the_response_off() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::behind(&listener, ROOMY, vec![Arc::new(Panics)]).await;
        answer_all(listener, OK);
        let mut client = bench.connect().await;
        client.send("GET /body/later HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.head().await.expect("a head").status(), "200");
        let (rest, _) = client.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "it must not look complete");
        assert_eq!(bench.metric("portcullis_panics_total").as_deref(), Some("1"));
        assert_eq!(bench.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.body, b"ok");
    });
}

#[test]
fn over_http_2_a_panic_ends_its_stream_and_no_other() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::behind(&listener, ROOMY, vec![Arc::new(Panics)]).await;
        answer_all(listener, OK);
        let mut client = http2_in::connect(&bench).await;
        for path in ["/request", "/response"] {
            let answer = http2_in::get(&mut client, path).await.expect("an answer");
            let (status, body) = http2_in::whole(answer).await;
            assert_eq!(
                (status, body.as_slice()),
                (500, &br#"{"error":"Internal Server Error"}"#[..]),
                "{path}"
            );
        }
        // What was not written yet goes with the stream, the head perhaps among it.
        let error = match http2_in::get(&mut client, "/body/later").await {
            Err(error) => error,
            Ok(mut broken) => loop {
                match broken.body_mut().data().await {
                    Some(Ok(part)) => {
                        broken.body_mut().flow_control().release_capacity(part.len()).expect("received");
                    }
                    Some(Err(error)) => break error,
                    None => panic!("the body looks whole"),
                }
            },
        };
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
        assert_eq!(bench.metric("portcullis_panics_total").as_deref(), Some("3"));
        let answer = http2_in::get(&mut client, "/").await.expect("the connection lives");
        assert_eq!(http2_in::whole(answer).await, (200, b"ok".to_vec()));
    });
}
