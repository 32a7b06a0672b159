use super::*;
use crate::policy::{
    ViolationKind,
    testkit::{body_text, header},
};

const TWO_A_SECOND: &str = "rateLimits: [{maximumRequests: 2, timePeriodInMilliseconds: 1000}]";

#[test]
fn a_request_beyond_the_quota_is_refused_with_429() {
    let limited = Limited::new(TWO_A_SECOND);
    assert_eq!(limited.statuses(2), [200, 200]);
    let refused = limited.get(&[]);
    assert_eq!(refused.status, 429);
    assert_eq!(header(&refused, "content-type").as_deref(), Some("application/json; charset=UTF-8"));
    assert_eq!(header(&refused, "retry-after"), None);
    assert_eq!(body_text(refused), r#"{"error":"Too Many Requests"}"#);
    assert_eq!(limited.bench.upstream_calls(), 2);
}

#[test]
fn a_refusal_is_a_violation_by_the_client() {
    let limited = Limited::new(TWO_A_SECOND);
    limited.statuses(3);
    let violation = limited.bench.exchange.violation().expect("recorded");
    assert_eq!(violation.kind, ViolationKind::Violation);
}

#[test]
fn the_window_starts_with_the_first_request() {
    let limited = Limited::new(TWO_A_SECOND);
    limited.pass_ms(700);
    assert_eq!(limited.statuses(3), [200, 200, 429]);
    limited.pass_ms(999);
    assert_eq!(limited.statuses(1), [429]);
    limited.pass_ms(1);
    assert_eq!(limited.statuses(3), [200, 200, 429]);
}

#[test]
fn windows_tile() {
    let limited = Limited::new(TWO_A_SECOND);
    assert_eq!(limited.statuses(1), [200]);
    // The second window runs from 1000 to 2000, although its first request comes at 1900.
    limited.pass_ms(1900);
    assert_eq!(limited.statuses(3), [200, 200, 429]);
    limited.pass_ms(100);
    assert_eq!(limited.statuses(3), [200, 200, 429]);
}

#[test]
fn after_an_unused_window_the_next_request_starts_afresh() {
    let limited = Limited::new(TWO_A_SECOND);
    assert_eq!(limited.statuses(1), [200]);
    limited.pass_ms(2500);
    assert_eq!(limited.statuses(3), [200, 200, 429]);
    limited.pass_ms(999);
    assert_eq!(limited.statuses(1), [429]);
    limited.pass_ms(1);
    assert_eq!(limited.statuses(1), [200]);
}

#[test]
fn every_limit_must_have_quota() {
    let limited = Limited::new(
        "rateLimits:
- {maximumRequests: 2, timePeriodInMilliseconds: 1000}
- {maximumRequests: 3, timePeriodInMilliseconds: 10000}",
    );
    assert_eq!(limited.statuses(3), [200, 200, 429]);
    limited.pass_ms(1000);
    assert_eq!(limited.statuses(2), [200, 429]);
    limited.pass_ms(1000);
    assert_eq!(limited.statuses(1), [429]);
    limited.pass_ms(8000);
    assert_eq!(limited.statuses(3), [200, 200, 429]);
}

#[test]
fn a_refused_request_charges_no_limit() {
    let limited = Limited::new(
        "rateLimits:
- {maximumRequests: 1, timePeriodInMilliseconds: 1000}
- {maximumRequests: 3, timePeriodInMilliseconds: 10000}",
    );
    assert_eq!(limited.statuses(6), [200, 429, 429, 429, 429, 429]);
    for _ in 0..2 {
        limited.pass_ms(1000);
        assert_eq!(limited.statuses(1), [200]);
    }
    limited.pass_ms(1000);
    assert_eq!(limited.statuses(1), [429]);
}

#[test]
fn a_window_of_more_than_24_days_is_allowed_and_one_of_more_than_ten_years_is_ten_years() {
    const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;
    for period in [10 * YEAR, 9_999_999_999_999, u64::MAX] {
        let config = format!("rateLimits: [{{maximumRequests: 1, timePeriodInMilliseconds: {period}}}]");
        let limited = Limited::new(&config);
        assert_eq!(limited.statuses(2), [200, 429]);
        limited.pass_ms(10 * YEAR - 1);
        assert_eq!(limited.statuses(1), [429], "{period}");
        limited.pass_ms(1);
        assert_eq!(limited.statuses(1), [200], "{period}");
    }
}

#[test]
fn a_window_under_10_seconds_is_kept_as_written() {
    let limited = Limited::new(
        "rateLimits: [{maximumRequests: 10, timePeriodInMilliseconds: 5000}]
clusterizable: true
exposeHeaders: true",
    );
    assert_eq!(told(&limited.get(&[])), Some((10, 9, 5000)));
}
