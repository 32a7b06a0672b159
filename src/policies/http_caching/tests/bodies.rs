//! Policies reference 3.4, the response path: bodies pass while they are collected.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll},
};

use super::*;
use crate::http::{Body, BodyError, BodySource, Headers, Length, Step};

/// A body that arrives in pieces.
struct Pieces {
    pieces: RefCell<VecDeque<Result<&'static [u8], BodyError>>>,
    length: Option<u64>,
    trailers: bool,
}

impl BodySource for Pieces {
    fn length(&self) -> Length {
        let left = self.pieces.borrow().iter().flatten().map(|piece| piece.len() as u64).sum();
        self.length.map_or(Length::Unknown, |_| Length::Known(left))
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        Poll::Ready(match self.pieces.borrow().front() {
            None => Ok(Step::End),
            Some(Ok(_)) => Ok(Step::Data),
            Some(Err(error)) => Err(*error),
        })
    }

    fn lend(&self, take: &mut dyn FnMut(&[u8]) -> usize) {
        let mut pieces = self.pieces.borrow_mut();
        if let Some(Ok(piece)) = pieces.front_mut() {
            let taken = take(piece);
            *piece = &piece[taken..];
            if piece.is_empty() {
                pieces.pop_front();
            }
        }
    }

    fn trailers(&self) -> Option<Headers> {
        self.trailers.then(|| {
            let mut headers = Headers::new();
            headers.append("grpc-status", "0").expect("valid");
            headers
        })
    }

    fn release(&self) {}
}

pub fn pieces(pieces: &[Result<&'static [u8], BodyError>], length: Option<u64>, trailers: bool) -> Response {
    let pieces = RefCell::new(pieces.iter().copied().collect());
    Response { body: Body::wire(Rc::new(Pieces { pieces, length, trailers })), ..upstream(200, &[], "") }
}

fn streaming(
    parts: &'static [Result<&'static [u8], BodyError>],
    length: Option<u64>,
    trailers: bool,
) -> Cached {
    Cached::answering("{}", move |_| pieces(parts, length, trailers))
}

/// Takes up to `most` bytes of what is at hand.
fn take(body: &mut Body, most: usize) -> usize {
    let mut taken = 0;
    body.lend(&mut |bytes| {
        taken = bytes.len().min(most);
        taken
    });
    taken
}

/// Takes all of a body that is at hand; how much that was.
pub fn receive(mut response: Response) -> usize {
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut received = 0;
    while response.body.poll_ready(&mut context) == Poll::Ready(Ok(Step::Data)) {
        received += take(&mut response.body, usize::MAX);
    }
    received
}

const MB: usize = 1 << 20;
pub static LARGE: [u8; MB + 1] = [b'x'; MB + 1];

#[test]
fn a_body_passes_while_it_is_collected_and_is_stored_when_it_is_complete() {
    let cached = streaming(&[Ok(b"one"), Ok(b"two")], None, false);
    let mut first = cached.send("GET", "/", &[]);
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert_eq!(first.body.poll_ready(&mut context), Poll::Ready(Ok(Step::Data)));
    assert_eq!((take(&mut first.body, 2), take(&mut first.body, 9), take(&mut first.body, 9)), (2, 1, 3));
    cached.send("GET", "/", &[]);
    assert_eq!(cached.calls(), 2, "nothing is stored before the end");
    assert_eq!(first.body.poll_ready(&mut context), Poll::Ready(Ok(Step::End)));
    assert_eq!(cached.get("/", &[]), "onetwo");
    assert_eq!(cached.calls(), 2);
}

#[test]
fn a_body_of_known_length_is_stored_though_nobody_asks_for_its_end() {
    let cached = streaming(&[Ok(b"all")], Some(3), false);
    let mut first = cached.send("GET", "/", &[]);
    assert_eq!(first.body.length(), Length::Known(3));
    take(&mut first.body, 9);
    drop(first);
    assert_eq!((cached.get("/", &[]), cached.calls()), ("all".to_owned(), 1));
}

#[test]
fn an_incomplete_body_is_not_stored() {
    for length in [None, Some(6)] {
        // The client goes away.
        let cached = streaming(&[Ok(b"one"), Ok(b"two")], length, false);
        take(&mut cached.send("GET", "/", &[]).body, 3);
        cached.send("GET", "/", &[]);
        assert_eq!(cached.calls(), 2);
        // The origin breaks off.
        let cached = streaming(&[Ok(b"one"), Err(BodyError::Disconnected)], length, false);
        let mut body = cached.send("GET", "/", &[]).body;
        take(&mut body, 3);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(matches!(body.poll_ready(&mut context), Poll::Ready(Err(BodyError::Disconnected))));
        drop(body);
        cached.send("GET", "/", &[]);
        assert_eq!(cached.calls(), 2);
        assert_eq!(cached.cache.budget.bytes(), 0);
    }
}

#[test]
fn a_body_of_1_mb_is_stored_and_a_larger_one_is_passed_on_without() {
    static WHOLE: [Result<&[u8], BodyError>; 2] = [Ok(LARGE.split_at(MB).0), Ok(b"")];
    for (parts, length, calls) in [
        (&WHOLE[..1], None, 1),
        (&WHOLE[..1], Some(MB as u64), 1),
        (&[Ok(&LARGE[..])][..], None, 2),
        (&[Ok(&LARGE[..])][..], Some(MB as u64 + 1), 2),
    ] {
        let parts: Vec<_> = parts.to_vec();
        let cached = Cached::answering("{}", move |_| pieces(&parts, length, false));
        for _ in 0..2 {
            assert!(receive(cached.send("GET", "/", &[])) >= MB);
        }
        assert_eq!(cached.calls(), calls, "{length:?}");
    }
    let cached = Cached::answering("{}", |_| upstream(200, &[], &"x".repeat(MB + 1)));
    cached.send("GET", "/", &[]);
    cached.send("GET", "/", &[]);
    assert_eq!(cached.calls(), 2);
}

#[test]
fn a_response_with_trailers_is_not_stored_by_a_condition_that_reads_it_either() {
    let cached =
        Cached::answering("responseExpression: '#[payload != null]'", |_| pieces(&[Ok(b"x")], None, true));
    for _ in 0..2 {
        let mut response = cached.send("GET", "/", &[]);
        assert_eq!(take(&mut response.body, 9), 1);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert_eq!(response.body.poll_ready(&mut context), Poll::Ready(Ok(Step::End)));
        let trailers = response.body.trailers().expect("they are passed on");
        assert_eq!(trailers.get("grpc-status"), Some(&b"0"[..]));
    }
    assert_eq!(cached.calls(), 2);
}

/// Of a gRPC call that failed at once.
#[test]
fn a_response_with_a_grpc_status_in_its_head_is_not_stored() {
    let cached = Cached::answering("{}", |_| upstream(200, &[("grpc-status", "14")], ""));
    for _ in 0..2 {
        cached.send("GET", "/", &[]);
    }
    assert_eq!(cached.calls(), 2);
}

#[test]
fn a_response_with_trailers_is_not_stored_and_they_are_passed_on() {
    let cached = streaming(&[Ok(b"x")], None, true);
    let mut first = cached.send("GET", "/", &[]);
    take(&mut first.body, 9);
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert_eq!(first.body.poll_ready(&mut context), Poll::Ready(Ok(Step::End)));
    assert!(first.body.trailers().is_some_and(|trailers| trailers.contains("grpc-status")));
    cached.send("GET", "/", &[]);
    assert_eq!(cached.calls(), 2);
}

#[test]
fn a_body_on_its_way_counts_for_the_budget_and_no_room_means_that_it_is_not_stored() {
    let mut services = services();
    services.caching.budget = Arc::new(crate::policy::Budget::new(4));
    let clock = Clock::manual();
    let cached = Cached::with("{}", &services, &clock, |_| pieces(&[Ok(b"one"), Ok(b"two")], None, false));
    let mut body = cached.send("GET", "/", &[]).body;
    take(&mut body, 9);
    assert_eq!(services.caching.budget.bytes(), 3);
    take(&mut body, 9);
    assert_eq!(services.caching.budget.bytes(), 0);
}

#[test]
fn hits_share_the_memory_of_the_body() {
    let cached = Cached::new("{}", &[]);
    cached.get("/", &[]);
    let bodies = [cached.send("GET", "/", &[]).body, cached.send("GET", "/", &[]).body];
    let pointers = bodies.map(|body| match body {
        Body::Whole(bytes) => bytes.as_ptr(),
        _ => panic!("at hand"),
    });
    assert_eq!(pointers[0], pointers[1]);
}

#[test]
fn a_response_condition_may_read_the_payload_and_gives_up_over_the_limit() {
    let config = "responseExpression: '#[payload.ok == true]'";
    for (body, calls) in [(r#"{"ok":true}"#, 1), (r#"{"ok":false}"#, 2)] {
        let cached =
            Cached::answering(config, move |_| upstream(200, &[("content-type", "application/json")], body));
        assert_eq!(cached.get("/", &[]), body);
        assert_eq!(cached.get("/", &[]), body);
        assert_eq!(cached.calls(), calls, "{body}");
    }
    let clock = Clock::manual();
    let policy = policy(config, &services(), &clock);
    let cached = Cached::holding(3, policy, &clock, |_| upstream(200, &[], "large"));
    assert_eq!(
        (cached.get("/", &[]), cached.get("/", &[]), cached.calls()),
        ("large".into(), "large".into(), 2)
    );
}
