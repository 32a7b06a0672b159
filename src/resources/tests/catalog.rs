//! A catalog with the names of the reference (policies 1.1), as the real one has them.

use crate::resources::{Direction, PolicyFacts, PolicyNames};

pub struct Catalog;

const POLICIES: &[(&str, Direction, bool)] = &[
    ("circuit-breaker-flex", Direction::Outbound, true),
    ("cors-flex", Direction::Inbound, true),
    ("header-injection-flex", Direction::Inbound, true),
    ("header-removal-flex", Direction::Inbound, true),
    ("http-basic-authentication-flex", Direction::Inbound, true),
    ("idle-timeout-flex", Direction::Outbound, true),
    ("ip-allowlist-flex", Direction::Inbound, true),
    ("ip-blocklist-flex", Direction::Inbound, true),
    ("jwt-validation-flex", Direction::Inbound, false),
    ("message-logging-flex", Direction::Inbound, true),
    ("native-aws-lambda", Direction::Outbound, false),
    ("rate-limiting-flex", Direction::Inbound, true),
    ("response-timeout-flex", Direction::Inbound, true),
    ("route", Direction::Routing, true),
    ("route-weighted", Direction::Routing, true),
    ("spike-control-flex", Direction::Inbound, true),
    ("stream-idle-timeout-flex", Direction::Inbound, true),
    ("tls", Direction::Port, true),
    ("tls-outbound", Direction::Port, false),
];

impl PolicyNames for Catalog {
    fn find(&self, name: &str) -> Option<PolicyFacts> {
        let (name, direction, supported) = POLICIES.iter().find(|(known, ..)| *known == name).copied()?;
        Some(PolicyFacts { name, direction, cors_first: name == "cors-flex", supported })
    }

    fn names(&self) -> Vec<&str> {
        POLICIES.iter().map(|(name, ..)| *name).collect()
    }
}
