use std::time::Duration;

use super::ResponseTimeout;
use crate::policy::testkit::{Bench, problems, step};

/// The timeout that a request meets behind the policy.
fn timeout(config: &str) -> Duration {
    let bench = Bench::new(step::<ResponseTimeout>(config));
    assert_eq!(bench.get("/", &[]).status, 200);
    bench.exchange.response_timeout()
}

#[test]
fn it_overrides_the_value_of_the_gateway_in_both_directions() {
    let gateway = Bench::chain(Vec::new()).exchange.response_timeout();
    assert_eq!(gateway, Duration::from_secs(15));
    assert_eq!(timeout("timeout: 4"), Duration::from_secs(4));
    assert_eq!(timeout("timeout: 900"), Duration::from_secs(900));
}

#[test]
fn fractions_of_a_second_are_allowed() {
    assert_eq!(timeout("timeout: 0.25"), Duration::from_millis(250));
}

#[test]
fn zero_disables() {
    assert_eq!(timeout("timeout: 0"), Duration::ZERO);
}

#[test]
fn left_empty_the_timeout_is_15_seconds() {
    assert_eq!(timeout("{}"), Duration::from_secs(15));
    assert_eq!(timeout("timeout:"), Duration::from_secs(15));
}

#[test]
fn a_number_may_be_written_as_a_string() {
    assert_eq!(timeout("timeout: '4.5'"), Duration::from_millis(4500));
}

#[test]
fn an_absurdly_long_timeout_is_ten_years() {
    assert_eq!(timeout("timeout: 1e300"), Duration::from_secs(10 * 365 * 24 * 60 * 60));
}

#[test]
fn anything_but_a_number_of_zero_or_more_is_an_error() {
    assert_eq!(
        problems::<ResponseTimeout>("timeout: -1"),
        ["E config.timeout: -1 is no time span: expected seconds, zero or more"]
    );
    assert_eq!(problems::<ResponseTimeout>("timeout: 15s").len(), 1);
}
