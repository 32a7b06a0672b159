//! The catalog as the resolver of resources sees it, with the policies that the vendor ships and
//! this gateway does not have yet (policies reference 1.1, part B).

use super::catalog::{self, CATALOG};
use crate::{
    policy,
    resources::{Direction, PolicyFacts, PolicyNames},
};

/// All policy names.
pub struct Catalog;

/// Names of the vendor's policies that are reported as "not supported yet". One that enters
/// [`CATALOG`] leaves this list.
const NOT_YET: &[(&str, Direction)] = &[
    ("a2a-agent-card-rewrite-flex", Direction::Inbound),
    ("access-block-flex", Direction::Inbound),
    ("client-id-enforcement-flex", Direction::Inbound),
    ("credential-injection-api-key-flex", Direction::Outbound),
    ("credential-injection-basic-auth-flex", Direction::Outbound),
    ("credential-injection-oauth2-flex", Direction::Outbound),
    ("credential-injection-oauth2-obo-flex", Direction::Outbound),
    ("health-check-flex", Direction::Inbound),
    ("http-caching-flex", Direction::Inbound),
    ("intask-authorization-code-policy-flex", Direction::Outbound),
    ("json-threat-protection-flex", Direction::Inbound),
    ("jwt-generation-flex", Direction::Outbound),
    ("jwt-validation-flex", Direction::Inbound),
    ("ldap-authentication-flex", Direction::Inbound),
    ("message-logging-outbound-flex", Direction::Outbound),
    ("native-aws-lambda", Direction::Outbound),
    ("native-aws-signature-flex", Direction::Outbound),
    ("native-ext-authz-flex", Direction::Inbound),
    ("native-ext-proc-flex", Direction::Inbound),
    ("oauth-protected-resource-metadata-policy-flex", Direction::Inbound),
    ("oauth2-token-introspection-flex", Direction::Inbound),
    ("openidconnect-access-token-enforcement-flex", Direction::Inbound),
    ("rate-limiting-sla-based-flex", Direction::Inbound),
    ("spec-validation-flex", Direction::Inbound),
    ("tls", Direction::Tls),
    ("tls-outbound", Direction::Tls),
    ("tracing-flex", Direction::Inbound),
    ("websocket-connection-limit-flex", Direction::Inbound),
    ("xml-threat-protection-flex", Direction::Inbound),
];

impl PolicyNames for Catalog {
    fn find(&self, name: &str) -> Option<PolicyFacts> {
        if let Some(entry) = catalog::find(name) {
            let direction = match entry.direction {
                policy::Direction::Inbound => Direction::Inbound,
                policy::Direction::Outbound => Direction::Outbound,
                policy::Direction::Routing => Direction::Routing,
            };
            let facts =
                PolicyFacts { name: entry.name, direction, cors_first: entry.always_first, supported: true };
            return Some(facts);
        }
        let (name, direction) = NOT_YET.iter().find(|(known, _)| *known == name)?;
        Some(PolicyFacts { name, direction: *direction, cors_first: false, supported: false })
    }

    fn names(&self) -> Vec<&str> {
        CATALOG.iter().map(|entry| entry.name).chain(NOT_YET.iter().map(|(name, _)| *name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_either_there_or_not_yet() {
        for (name, _) in NOT_YET {
            assert!(catalog::find(name).is_none(), "{name} is in the catalog: take it off the list");
        }
    }

    #[test]
    fn every_built_in_policy_of_local_mode_is_known() {
        let local_mode = "http-basic-authentication-flex ldap-authentication-flex native-ext-authz-flex \
             native-ext-proc-flex http-caching-flex json-threat-protection-flex jwt-validation-flex \
             oauth2-token-introspection-flex openidconnect-access-token-enforcement-flex \
             spec-validation-flex tls tls-outbound";
        for name in local_mode.split_whitespace() {
            assert!(Catalog.find(name).is_some(), "{name}");
        }
    }
}
