//! The catalog as the resolver of resources sees it, with the policies that the vendor ships and
//! this gateway does not have yet (policies reference 1.1, part B).

use super::catalog::{self, CATALOG};
use crate::resources::{Direction, PolicyFacts, PolicyNames};

/// All policy names.
pub struct Catalog;

/// Names of the vendor's policies that are reported as "not supported yet". One that enters
/// [`CATALOG`] leaves this list.
const NOT_YET: &[(&str, Direction)] = &[
    ("a-two-a-agent-card-flex", Direction::Inbound),
    ("a-two-a-pii-detector-flex", Direction::Inbound),
    ("a-two-a-prompt-decorator-flex", Direction::Inbound),
    ("a-two-a-quality-evaluation-flex", Direction::Inbound),
    ("a-two-a-schema-validation-flex", Direction::Inbound),
    ("a-two-a-token-rate-limit-flex", Direction::Inbound),
    ("a-two-a-v1-agent-card-flex", Direction::Inbound),
    ("a-two-a-v1-pii-detector-flex", Direction::Inbound),
    ("a-two-a-v1-prompt-decorator-flex", Direction::Inbound),
    ("a-two-a-v1-schema-validation-flex", Direction::Inbound),
    ("a-two-a-v1-token-rate-limit-flex", Direction::Inbound),
    ("a2a-agent-card-rewrite-flex", Direction::Inbound),
    ("a2a-v1-azure-guardrails-policy-v1-0-impl", Direction::Inbound),
    ("a2a-v1-bedrock-guardrails-policy-v1-0-impl", Direction::Inbound),
    ("a2a-v1-to-v03-transcoder", Direction::Inbound),
    ("access-block-flex", Direction::Inbound),
    ("agent-connection-telemetry-flex", Direction::Inbound),
    ("azure-content-safety-policy-v1-0-impl", Direction::Inbound),
    ("bedrock-guardrails-policy-v1-0-impl", Direction::Inbound),
    ("body-transformation-flex", Direction::Inbound),
    ("client-id-enforcement-flex", Direction::Inbound),
    ("credential-injection-api-key-flex", Direction::Outbound),
    ("credential-injection-basic-auth-flex", Direction::Outbound),
    ("credential-injection-oauth2-flex", Direction::Outbound),
    ("credential-injection-oauth2-obo-flex", Direction::Outbound),
    ("dataweave-body-transformation-flex", Direction::Inbound),
    ("dataweave-headers-transformation-flex", Direction::Inbound),
    ("dataweave-request-filter-flex", Direction::Inbound),
    ("f5-guardrails-policy-v1-0-impl", Direction::Inbound),
    ("graphql-access-control-flex", Direction::Inbound),
    ("graphql-introspection-control-flex", Direction::Inbound),
    ("graphql-operation-limits-flex", Direction::Inbound),
    ("graphql-schema-validation-flex", Direction::Inbound),
    ("graphql-static-query-complexity-flex", Direction::Inbound),
    ("header-transformation-flex", Direction::Inbound),
    ("health-check-flex", Direction::Inbound),
    ("injection-protection-flex", Direction::Inbound),
    ("intask-authorization-code-policy-flex", Direction::Outbound),
    ("javascript-scripting-flex", Direction::Inbound),
    ("json-threat-protection-flex", Direction::Inbound),
    ("jwt-generation-flex", Direction::Outbound),
    ("jwt-validation-flex", Direction::Inbound),
    ("ldap-authentication-flex", Direction::Inbound),
    ("llm-proxy-core-flex", Direction::Inbound),
    ("llm-token-rate-limit-flex", Direction::Inbound),
    ("mcp-attribute-access-control-policy-flex", Direction::Inbound),
    ("mcp-global-access-policy-flex", Direction::Inbound),
    ("mcp-pii-detector-policy-flex", Direction::Inbound),
    ("mcp-schema-validation-flex", Direction::Inbound),
    ("mcp-support-policy-flex", Direction::Inbound),
    ("mcp-tool-mapping-policy-flex", Direction::Inbound),
    ("mcp-tools-progressive-disclosure-policy-flex", Direction::Inbound),
    ("message-logging-outbound-flex", Direction::Outbound),
    ("model-based-routing-flex", Direction::Inbound),
    ("native-aws-lambda", Direction::Outbound),
    ("native-aws-signature-flex", Direction::Outbound),
    ("native-ext-authz-flex", Direction::Inbound),
    ("native-ext-proc-flex", Direction::Inbound),
    ("oauth-protected-resource-metadata-policy-flex", Direction::Inbound),
    ("oauth2-token-introspection-flex", Direction::Inbound),
    ("openidconnect-access-token-enforcement-flex", Direction::Inbound),
    ("rate-limiting-sla-based-flex", Direction::Inbound),
    ("script-evaluation-transformation", Direction::Inbound),
    ("soap-validation", Direction::Inbound),
    ("spec-validation-flex", Direction::Inbound),
    ("sse-logging-flex", Direction::Inbound),
    ("tracing-flex", Direction::Inbound),
    ("websocket-connection-limit-flex", Direction::Inbound),
    ("ws-security-policy-flex", Direction::Inbound),
    ("xml-threat-protection-flex", Direction::Inbound),
];

/// Names that are known but have no policy here yet.
pub fn not_yet() -> impl Iterator<Item = &'static str> {
    NOT_YET.iter().map(|(name, _)| *name)
}

impl PolicyNames for Catalog {
    fn find(&self, name: &str) -> Option<PolicyFacts> {
        if let Some(entry) = catalog::find(name) {
            let (name, direction, cors_first) = (entry.name, entry.direction, entry.always_first);
            return Some(PolicyFacts { name, direction, cors_first, supported: true });
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
