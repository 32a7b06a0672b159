use std::time::Duration;

use super::IdleTimeout;
use crate::policy::{Built, UpstreamSettings, testkit::build};

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
fn left_empty_the_timeout_is_60_seconds() {
    assert_eq!(timeout("{}"), Some(Duration::from_secs(60)));
    assert_eq!(timeout("timeout:"), Some(Duration::from_secs(60)));
}

#[test]
fn zero_keeps_connections_for_ever() {
    assert_eq!(timeout("timeout: 0"), Some(Duration::ZERO));
}
