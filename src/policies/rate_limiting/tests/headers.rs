use super::*;

const EXPOSED: &str = "rateLimits: [{maximumRequests: 2, timePeriodInMilliseconds: 1000}]
exposeHeaders: true";

#[test]
fn headers_are_exposed_on_accepted_responses_and_on_429() {
    let limited = Limited::new(EXPOSED);
    assert_eq!(told(&limited.get(&[])), Some((2, 1, 1000)));
    limited.pass_ms(250);
    assert_eq!(told(&limited.get(&[])), Some((2, 0, 750)));
    limited.pass_ms(250);
    let refused = limited.get(&[]);
    assert_eq!((refused.status, told(&refused)), (429, Some((2, 0, 500))));
}

#[test]
fn headers_are_not_exposed_by_default() {
    let limited = Limited::new("rateLimits: [{maximumRequests: 1, timePeriodInMilliseconds: 1000}]");
    for status in [200, 429] {
        let response = limited.get(&[]);
        assert_eq!((response.status, told(&response)), (status, None));
    }
}

#[test]
fn the_limit_with_the_smallest_remaining_quota_is_told() {
    let limited = Limited::new(
        "rateLimits:
- {maximumRequests: 100, timePeriodInMilliseconds: 1000}
- {maximumRequests: 5, timePeriodInMilliseconds: 60000}
exposeHeaders: true",
    );
    assert_eq!(told(&limited.get(&[])), Some((5, 4, 60_000)));
}

#[test]
fn among_equals_the_limit_with_the_longest_reset_is_told() {
    let limited = Limited::new(
        "rateLimits:
- {maximumRequests: 1, timePeriodInMilliseconds: 60000}
- {maximumRequests: 1, timePeriodInMilliseconds: 1000}
- {maximumRequests: 1, timePeriodInMilliseconds: 90000}
exposeHeaders: true",
    );
    assert_eq!(told(&limited.get(&[])), Some((1, 0, 90_000)));
}

#[test]
fn on_429_the_limit_that_refused_is_told() {
    let limited = Limited::new(
        "rateLimits:
- {maximumRequests: 1, timePeriodInMilliseconds: 1000}
- {maximumRequests: 2, timePeriodInMilliseconds: 60000}
exposeHeaders: true",
    );
    assert_eq!(limited.get(&[]).status, 200);
    assert_eq!(told(&limited.get(&[])), Some((1, 0, 1000)));
    limited.pass_ms(1000);
    assert_eq!(limited.get(&[]).status, 200);
    limited.pass_ms(1000);
    let refused = limited.get(&[]);
    assert_eq!((refused.status, told(&refused)), (429, Some((2, 0, 58_000))));
}

#[test]
fn the_reset_is_rounded_up_so_that_waiting_that_long_is_enough() {
    let limited = Limited::new(EXPOSED);
    limited.get(&[]);
    limited.clock.advance(Duration::from_micros(999_001));
    assert_eq!(told(&limited.get(&[])), Some((2, 0, 1)));
}

#[test]
fn headers_that_the_upstream_sent_are_replaced() {
    let mut limited = Limited::new(EXPOSED);
    limited.bench = limited.bench.answering(|_| {
        let mut response = Response::empty(200);
        response.headers.append("X-RateLimit-Remaining", "77").expect("valid");
        response
    });
    let response = limited.get(&[]);
    assert_eq!(header(&response, "x-ratelimit-remaining").as_deref(), Some("1"));
}

#[test]
fn the_outer_policy_replaces_the_headers_of_the_inner_one() {
    let policy = |max: u64| {
        let config = format!(
            "rateLimits: [{{maximumRequests: {max}, timePeriodInMilliseconds: 1000}}]\nexposeHeaders: true"
        );
        crate::policy::testkit::step::<RateLimiting>(&config)
    };
    let bench = Bench::chain(vec![policy(9), policy(1)]);
    for (status, remaining) in [(200, 8), (429, 7)] {
        let response = bench.get("/", &[]);
        assert_eq!(response.status, status);
        assert!(matches!(told(&response), Some((9, left, _)) if left == remaining), "{:?}", told(&response));
    }
}
