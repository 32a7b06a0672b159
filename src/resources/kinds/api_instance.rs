//! `ApiInstance` (configuration reference 3.1).

use serde::Deserialize;

use super::{
    Ordered,
    policy_binding::{DEFAULT_ORDER, PolicyRef, check_policy_ref},
    typed,
};
use crate::{
    document::{Node, OneOrMany, Place, Problem, RawNode, Spanned},
    resources::{
        address::{listen_address, service_address},
        model::{ListenAddress, Rule, ServiceAddress},
        rules::{RuleSpec, RuleUse, read_rules},
    },
};

/// A valid instance, inline parts included.
#[derive(Clone, Debug)]
pub struct ApiInstance {
    pub address: Spanned<ListenAddress>,
    /// In the order written.
    pub services: Vec<InlineService>,
    pub policies: Vec<InlinePolicy>,
}

/// `spec.services.<key>`.
#[derive(Clone, Debug)]
pub struct InlineService {
    pub key: Spanned<String>,
    pub address: Spanned<ServiceAddress>,
    /// At least one: none written means one that takes all traffic.
    pub routes: Vec<InlineRoute>,
    /// Outbound.
    pub policies: Vec<InlinePolicy>,
}

#[derive(Clone, Debug)]
pub struct InlineRoute {
    /// Empty when there is none or it is `/`.
    pub destination_path: String,
    pub rules: Vec<Rule>,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub struct InlinePolicy {
    pub policy: PolicyRef,
    pub config: RawNode,
    pub rules: Vec<Rule>,
    pub order: i32,
    /// Field path of the policy, such as `spec.policies[0]`.
    pub field: String,
}

#[derive(Deserialize)]
struct Written {
    address: Spanned<String>,
    #[serde(default)]
    services: Ordered<WrittenService>,
    #[serde(default)]
    policies: OneOrMany<Spanned<WrittenPolicy>>,
}

#[derive(Deserialize)]
struct WrittenService {
    address: Spanned<String>,
    #[serde(default)]
    routes: OneOrMany<Spanned<WrittenRoute>>,
    #[serde(default)]
    policies: OneOrMany<Spanned<WrittenPolicy>>,
}

#[derive(Deserialize)]
struct WrittenRoute {
    #[serde(default)]
    config: RouteConfig,
    #[serde(default)]
    rules: OneOrMany<RuleSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RouteConfig {
    destination_path: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPolicy {
    policy_ref: PolicyRef,
    #[serde(default)]
    config: RawNode,
    #[serde(default)]
    rules: OneOrMany<RuleSpec>,
    order: Option<i32>,
}

pub(super) fn read(spec: &Node, problems: &mut Vec<Problem>) -> Option<ApiInstance> {
    let written: Written = typed(spec, "spec", problems)?;
    let address = listen_address(&written.address, problems);
    let services: Vec<_> =
        written.services.0.into_iter().map(|(key, service)| read_service(key, service, problems)).collect();
    let policies = read_policies(written.policies, problems);
    Some(ApiInstance {
        address: written.address.map(|_| address).transpose()?,
        services: services.into_iter().collect::<Option<_>>()?,
        policies,
    })
}

fn read_service(
    key: Spanned<String>,
    service: WrittenService,
    problems: &mut Vec<Problem>,
) -> Option<InlineService> {
    let address = service_address(&service.address, problems);
    let mut routes: Vec<_> = service.routes.0.into_iter().map(|route| read_route(route, problems)).collect();
    if routes.is_empty() {
        let place = key.place.clone();
        routes.push(InlineRoute { destination_path: String::new(), rules: Vec::new(), place });
    }
    let policies = read_policies(service.policies, problems);
    Some(InlineService { key, address: service.address.map(|_| address).transpose()?, routes, policies })
}

fn read_route(route: Spanned<WrittenRoute>, problems: &mut Vec<Problem>) -> InlineRoute {
    let place = route.place.clone();
    let route = route.value;
    InlineRoute {
        destination_path: destination_path(route.config.destination_path.as_ref(), problems),
        rules: read_rules(&route.rules, RuleUse::Route, problems),
        place,
    }
}

fn read_policies(
    policies: OneOrMany<Spanned<WrittenPolicy>>,
    problems: &mut Vec<Problem>,
) -> Vec<InlinePolicy> {
    let read = |policy: Spanned<WrittenPolicy>| {
        let field = policy.field.to_string();
        let policy = policy.value;
        check_policy_ref(&policy.policy_ref, problems);
        InlinePolicy {
            rules: read_rules(&policy.rules, RuleUse::Policy, problems),
            policy: policy.policy_ref,
            config: policy.config,
            order: policy.order.unwrap_or(DEFAULT_ORDER),
            field,
        }
    };
    policies.0.into_iter().map(read).collect()
}

/// The final form of a `destinationPath` (4.5): `/` is nothing, a missing slash is added.
pub fn destination_path(written: Option<&Spanned<String>>, problems: &mut Vec<Problem>) -> String {
    let Some(written) = written else { return String::new() };
    let text = written.trim();
    if text.is_empty() || text == "/" {
        return String::new();
    }
    if let Some(odd) = text.chars().find(|c| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#')) {
        problems.push(
            written
                .error(format!("a `destinationPath` cannot contain {odd:?}"))
                .help("write a path such as `/v2`; the query of the request is carried over unchanged"),
        );
    }
    if text.starts_with('/') { text.to_owned() } else { format!("/{text}") }
}
