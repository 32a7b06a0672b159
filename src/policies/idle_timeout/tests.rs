use std::time::Duration;

use super::IdleTimeout;
use crate::policy::{
    Built, UpstreamSettings,
    testkit::{build, problems},
};

fn settings(config: &str) -> UpstreamSettings {
    match build::<IdleTimeout>(config) {
        (Some(Built::Upstream(settings)), problems) if problems.is_empty() => settings,
        (_, problems) => panic!("no settings: {problems:?}"),
    }
}

fn timeout(config: &str) -> Option<Duration> {
    settings(config).idle_timeout
}

#[test]
fn it_sets_how_long_a_connection_may_idle_and_nothing_else() {
    let settings = settings("timeout: 20");
    assert_eq!(settings.idle_timeout, Some(Duration::from_secs(20)));
    assert!(settings.limits.is_none() && settings.tls.is_none());
}

#[test]
fn the_unit_is_the_second_and_fractions_are_allowed() {
    assert_eq!(timeout("timeout: 1.5"), Some(Duration::from_millis(1500)));
    assert_eq!(timeout("timeout: '7'"), Some(Duration::from_secs(7)));
}

#[test]
fn left_empty_the_timeout_is_60_seconds() {
    assert_eq!(timeout("{}"), Some(Duration::from_secs(60)));
    assert_eq!(timeout("timeout:"), Some(Duration::from_secs(60)));
}

#[test]
fn zero_keeps_connections_for_ever() {
    assert_eq!(timeout("timeout: 0"), Some(Duration::ZERO));
}

#[test]
fn anything_but_a_number_of_zero_or_more_is_an_error() {
    assert_eq!(
        problems::<IdleTimeout>("timeout: -20"),
        ["E config.timeout: -20 is no time span: expected seconds, zero or more"]
    );
}
