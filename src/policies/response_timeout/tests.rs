use std::time::Duration;

use super::ResponseTimeout;
use crate::policy::testkit::{Bench, step};

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
fn zero_disables() {
    assert_eq!(timeout("timeout: 0"), Duration::ZERO);
}

#[test]
fn left_empty_the_timeout_is_15_seconds() {
    assert_eq!(timeout("{}"), Duration::from_secs(15));
    assert_eq!(timeout("timeout:"), Duration::from_secs(15));
}
