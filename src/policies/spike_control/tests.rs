//! Spike Control, sentence by sentence of policies reference 3.3.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::{
    document::deserialize,
    http::Response,
    policy::testkit::{Bench, body_text, header, problems, services, yaml},
};

/// The policy in front of an upstream, on a clock that the test moves.
struct Spikes {
    bench: Bench,
    clock: Clock,
}

/// A request under way.
type Flight<'a> = Pin<Box<dyn Future<Output = Response> + 'a>>;

impl Spikes {
    fn new(config: &str) -> Self {
        let read = deserialize::<Config>(&yaml(config), "config");
        assert_eq!(read.problems, []);
        let clock = Clock::manual();
        let policy = SpikeControl::new(&read.value.expect("no problem"), &services(), clock.clone());
        Self { bench: Bench::new(Arc::new(policy.expect("valid"))), clock }
    }

    /// Sends a request and lets it come as far as it can.
    fn send(&self) -> (Flight<'_>, Option<u16>) {
        let mut flight: Flight<'_> = Box::pin(self.bench.send_async(Request::for_test("GET", "/", &[])));
        let status = landed(&mut flight);
        (flight, status)
    }

    /// The statuses of requests that do not wait.
    fn statuses(&self, count: usize) -> Vec<Option<u16>> {
        (0..count).map(|_| self.send().1).collect()
    }

    fn pass_ms(&self, milliseconds: u64) {
        self.clock.advance(Duration::from_millis(milliseconds));
    }
}

fn landed(flight: &mut Flight<'_>) -> Option<u16> {
    match flight.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => Some(response.status),
        Poll::Pending => None,
    }
}

const TWO_A_SECOND: &str = "{maximumRequests: 2, timePeriodInMilliseconds: 1000, delayTimeInMillis: 499,
  delayAttempts: 1, queuingLimit: 5}";

#[test]
fn the_documented_timeline() {
    let spikes = Spikes::new(TWO_A_SECOND);
    // #1 at 0 ms and #2 at 700 ms pass.
    assert_eq!(spikes.send().1, Some(200));
    spikes.pass_ms(700);
    assert_eq!(spikes.send().1, Some(200));
    // #3 at 800 ms waits, #4 at 850 ms too.
    spikes.pass_ms(100);
    let (mut third, status) = spikes.send();
    assert_eq!(status, None);
    spikes.pass_ms(50);
    let (mut fourth, status) = spikes.send();
    assert_eq!(status, None);
    // At 1299 ms #1 has aged out, and #3 passes.
    spikes.pass_ms(448);
    assert_eq!(landed(&mut third), None);
    spikes.pass_ms(1);
    assert_eq!(landed(&mut third), Some(200));
    // At 1349 ms #4 finds nothing.
    spikes.pass_ms(50);
    assert_eq!(landed(&mut fourth), Some(429));
    // #5 arrives after #2 aged out.
    spikes.pass_ms(351);
    assert_eq!(spikes.send().1, Some(200));
    assert_eq!(spikes.bench.upstream_calls(), 4);
}

#[test]
fn a_slot_is_freed_exactly_one_period_after_it_was_granted() {
    let spikes = Spikes::new("{maximumRequests: 1, timePeriodInMilliseconds: 1000}");
    spikes.pass_ms(123);
    assert_eq!(spikes.statuses(2), [Some(200), Some(429)]);
    spikes.clock.advance(Duration::from_micros(999_999));
    assert_eq!(spikes.statuses(1), [Some(429)]);
    spikes.clock.advance(Duration::from_micros(1));
    assert_eq!(spikes.statuses(2), [Some(200), Some(429)]);
}

#[test]
fn the_window_slides_so_that_no_stretch_of_time_has_more() {
    let spikes = Spikes::new("{maximumRequests: 3, timePeriodInMilliseconds: 1000}");
    let mut accepted: Vec<u64> = Vec::new();
    let mut random = fastrand::Rng::with_seed(11);
    let mut now = 0;
    for _ in 0..2000 {
        let pause = random.u64(0..400);
        spikes.pass_ms(pause);
        now += pause;
        let recent = accepted.iter().filter(|&&at| now - at < 1000).count();
        let expected = if recent < 3 { 200 } else { 429 };
        assert_eq!(spikes.send().1, Some(expected), "at {now} ms");
        if expected == 200 {
            accepted.push(now);
        }
    }
}

#[test]
fn a_retried_request_is_recorded_when_it_is_accepted_not_when_it_arrived() {
    let spikes = Spikes::new(
        "{maximumRequests: 1, timePeriodInMilliseconds: 1000, delayTimeInMillis: 1500, queuingLimit: 1}",
    );
    assert_eq!(spikes.send().1, Some(200));
    let (mut retried, _) = spikes.send();
    spikes.pass_ms(1500);
    assert_eq!(landed(&mut retried), Some(200));
    spikes.pass_ms(999);
    let (waiting, status) = spikes.send();
    assert_eq!(status, None);
    drop(waiting);
    spikes.pass_ms(1);
    assert_eq!(spikes.send().1, Some(200));
}

#[test]
fn a_request_waits_before_each_attempt_and_is_refused_after_the_last() {
    let spikes = Spikes::new(
        "{maximumRequests: 1, timePeriodInMilliseconds: 5000, delayTimeInMillis: 100, delayAttempts: 3, queuingLimit: 1}",
    );
    assert_eq!(spikes.send().1, Some(200));
    let (mut waiting, status) = spikes.send();
    assert_eq!(status, None);
    for _ in 0..2 {
        spikes.pass_ms(100);
        assert_eq!(landed(&mut waiting), None);
    }
    spikes.pass_ms(100);
    assert_eq!(landed(&mut waiting), Some(429));
}

#[test]
fn without_attempts_nothing_waits() {
    let spikes = Spikes::new("{maximumRequests: 1, delayAttempts: 0, queuingLimit: 9}");
    assert_eq!(spikes.statuses(2), [Some(200), Some(429)]);
}

#[test]
fn with_a_queuing_limit_of_0_nothing_waits_whatever_the_attempts() {
    let spikes = Spikes::new("{maximumRequests: 1, delayAttempts: 9}");
    assert_eq!(spikes.statuses(2), [Some(200), Some(429)]);
}

#[test]
fn no_more_than_the_queuing_limit_wait_at_the_same_time() {
    let spikes = Spikes::new(
        "{maximumRequests: 1, timePeriodInMilliseconds: 1000, delayTimeInMillis: 1000, queuingLimit: 2}",
    );
    assert_eq!(spikes.send().1, Some(200));
    let (mut first, one) = spikes.send();
    let (mut second, two) = spikes.send();
    assert_eq!((one, two, spikes.send().1), (None, None, Some(429)));
    spikes.pass_ms(1000);
    assert_eq!((landed(&mut first), landed(&mut second)), (Some(200), Some(429)));
    let (_third, three) = spikes.send();
    assert_eq!(three, None, "both places are free again");
}

#[test]
fn waiting_requests_have_no_priority_over_newcomers() {
    let spikes = Spikes::new(
        "{maximumRequests: 1, timePeriodInMilliseconds: 1000, delayTimeInMillis: 1500, queuingLimit: 2}",
    );
    assert_eq!(spikes.send().1, Some(200));
    let (mut waiting, _) = spikes.send();
    spikes.pass_ms(1000);
    assert_eq!(spikes.send().1, Some(200));
    spikes.pass_ms(500);
    assert_eq!(landed(&mut waiting), Some(429));
}

#[test]
fn a_client_that_goes_away_while_it_waits_frees_its_place() {
    let spikes = Spikes::new("{maximumRequests: 1, queuingLimit: 1}");
    assert_eq!(spikes.send().1, Some(200));
    let (waiting, status) = spikes.send();
    assert_eq!((status, spikes.send().1), (None, Some(429)));
    drop(waiting);
    let (_next, status) = spikes.send();
    assert_eq!(status, None);
    assert_eq!(spikes.bench.upstream_calls(), 1);
}

#[test]
fn a_refusal_is_429_with_a_json_body() {
    let bench = Bench::new(crate::policy::testkit::step::<SpikeControl>("{}"));
    assert_eq!(bench.get("/", &[]).status, 200);
    let refused = bench.get("/", &[]);
    assert_eq!(refused.status, 429);
    assert_eq!(header(&refused, "x-ratelimit-limit"), None);
    assert_eq!(body_text(refused), r#"{"error":"Too Many Requests"}"#);
}

/// `x-ratelimit-limit`, `-remaining` and `-reset` of the next response.
fn told(spikes: &Spikes) -> (u16, Vec<Option<String>>) {
    let response = spikes.bench.get("/", &[]);
    let fields = ["limit", "remaining", "reset"];
    (response.status, fields.map(|name| header(&response, &format!("x-ratelimit-{name}"))).to_vec())
}

#[test]
fn the_reset_is_when_the_oldest_leaves_the_window_and_0_while_quota_remains() {
    let spikes = Spikes::new("{maximumRequests: 2, timePeriodInMilliseconds: 1000, exposeHeaders: true}");
    let fields = |list: [&str; 3]| list.map(|text| Some(text.to_owned())).to_vec();
    assert_eq!(told(&spikes), (200, fields(["2", "1", "0"])));
    spikes.pass_ms(300);
    assert_eq!(told(&spikes), (200, fields(["2", "0", "700"])));
    spikes.pass_ms(200);
    assert_eq!(told(&spikes), (429, fields(["2", "0", "500"])));
    spikes.pass_ms(500);
    assert_eq!(told(&spikes), (200, fields(["2", "0", "300"])));
}

#[test]
fn the_window_is_exact_over_all_threads() {
    let window = SlidingWindow::new(500, 1_000_000, 0);
    let accepted: usize = std::thread::scope(|scope| {
        let work = || (0..400).filter(|_| window.admit(3).is_some()).count();
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
    });
    assert_eq!(accepted, 500);
}

#[test]
fn a_clock_read_late_does_not_move_the_window_back() {
    let window = SlidingWindow::new(2, 1000, 0);
    assert!(window.admit(900).is_some() && window.admit(100).is_some());
    assert!(window.admit(1150).is_none(), "the second was accepted after the first");
    assert!(window.admit(1900).is_some());
}

#[test]
fn parameters_left_empty_have_their_defaults() {
    let read = deserialize::<Config>(&yaml("{maximumRequests: , delayAttempts: '1'}"), "config");
    let config = read.value.expect("valid");
    assert_eq!((config.maximum_requests, config.time_period_in_milliseconds), (1, 1000));
    assert_eq!((config.delay_time_in_millis, config.delay_attempts, config.queuing_limit), (1000, 1, 0));
    assert!(!config.expose_headers);
}

#[test]
fn a_window_without_length_is_an_error_and_a_quota_of_nothing_a_warning() {
    assert_eq!(
        problems::<SpikeControl>("{maximumRequests: 0}"),
        ["W config.maximumRequests: 0 refuses every request"]
    );
    assert_eq!(
        problems::<SpikeControl>("{timePeriodInMilliseconds: 0}"),
        ["E config.timePeriodInMilliseconds: a window of 0 milliseconds limits nothing: expected 1 or more"]
    );
    assert_eq!(
        problems::<SpikeControl>("{delayAttempts: -1}"),
        ["E config.delayAttempts: -1 is out of range: expected an integer from 0 to 4294967295"]
    );
}
