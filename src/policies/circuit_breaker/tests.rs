use super::CircuitBreaker;
use crate::policy::{
    Built, CircuitLimits, UpstreamSettings,
    testkit::{build, problems},
};

fn limits(config: &str) -> CircuitLimits {
    match build::<CircuitBreaker>(config) {
        (
            Some(Built::Upstream(UpstreamSettings { idle_timeout: None, limits: Some(limits), tls: None })),
            problems,
        ) => {
            assert_eq!(problems, [""; 0]);
            limits
        }
        (_, problems) => panic!("no limits: {problems:?}"),
    }
}

const ALL: CircuitLimits = CircuitLimits {
    connections_max: Some(64),
    pending_requests_max: Some(128),
    requests_max: Some(256),
    retries_max: Some(2),
};

#[test]
fn thresholds_limit_connections_pending_requests_requests_and_retries() {
    let config = "thresholds: {maxConnections: 64, maxPendingRequests: 128, maxRequests: 256, maxRetries: 2}";
    assert_eq!(limits(config), ALL);
}

#[test]
fn the_spelling_of_the_parameter_table_is_accepted_too() {
    let config = "thresholds: {maximumConnections: 64, maximumPendingRequests: 128, maximumRequests: 256,
      maximumRetries: 2}";
    assert_eq!(limits(config), ALL);
}

#[test]
fn both_spellings_of_one_threshold_are_an_error() {
    let config = "thresholds: {maxRequests: 1, maximumRequests: 2}";
    assert!(build::<CircuitBreaker>(config).0.is_none());
    assert_eq!(problems::<CircuitBreaker>(config).len(), 1);
}

#[test]
fn all_thresholds_are_optional() {
    assert_eq!(limits("{}"), CircuitLimits::default());
    assert_eq!(limits("thresholds: {}"), CircuitLimits::default());
    let only = CircuitLimits { requests_max: Some(5), ..CircuitLimits::default() };
    assert_eq!(limits("thresholds: {maxRequests: '5', maxRetries: }"), only);
}

#[test]
fn a_limit_of_connection_pools_is_accepted_without_effect() {
    assert_eq!(
        problems::<CircuitBreaker>("thresholds: {maxConnectionPools: 9}"),
        ["W config.thresholds.maxConnectionPools: this limit has no effect here"]
    );
}

#[test]
fn a_limit_of_zero_requests_is_a_warning() {
    assert_eq!(
        problems::<CircuitBreaker>("thresholds: {maxRequests: 0, maxRetries: 0, maxPendingRequests: 0}"),
        ["W config.thresholds.maxRequests: 0 refuses every request"]
    );
}

#[test]
fn a_negative_limit_is_an_error() {
    assert!(build::<CircuitBreaker>("thresholds: {maxConnections: -1}").0.is_none());
}

#[test]
fn an_unknown_threshold_is_ignored_with_a_warning() {
    let (built, problems) = build::<CircuitBreaker>("thresholds: {maxConections: 1}");
    assert!(built.is_some());
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("W config.thresholds.maxConections"), "{problems:?}");
}
