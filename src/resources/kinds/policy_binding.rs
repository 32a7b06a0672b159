//! `PolicyBinding` (configuration reference 3.3), and what it shares with inline policies.

use serde::Deserialize;

use super::{Ordered, sound, typed};
use crate::{
    document::{Node, OneOrMany, Problem, RawNode, Spanned},
    resources::{
        model::Rule,
        rules::{RuleSpec, RuleUse, read_rules},
    },
};

/// The position of a policy that states none (3.3; inline policies too, decision 10).
pub const DEFAULT_ORDER: i32 = 50;

/// A valid binding.
#[derive(Clone, Debug)]
pub struct PolicyBinding {
    pub target: Target,
    pub policy: PolicyRef,
    pub config: RawNode,
    pub order: i32,
    pub rules: Vec<Rule>,
}

/// What a binding applies to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A resource by name; without a kind an `ApiInstance`, else a `Service`.
    Named { kind: Option<TargetKind>, name: Spanned<String>, namespace: Option<String> },
    /// Every `ApiInstance` that carries all these labels.
    Selector { labels: Ordered<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    ApiInstance,
    Service,
}

/// A reference to a policy.
#[derive(Clone, Debug, Deserialize)]
pub struct PolicyRef {
    pub name: Spanned<String>,
    pub namespace: Option<String>,
    kind: Option<ExtensionKind>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum ExtensionKind {
    Extension,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    target_ref: Option<TargetRef>,
    policy_ref: PolicyRef,
    #[serde(default)]
    config: RawNode,
    order: Option<i32>,
    #[serde(default)]
    rules: OneOrMany<RuleSpec>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
enum RefKind {
    ApiInstance,
    Service,
    Selector,
}

#[derive(Deserialize)]
struct TargetRef {
    kind: Option<Spanned<RefKind>>,
    name: Option<Spanned<String>>,
    namespace: Option<Spanned<String>>,
    selector: Option<Spanned<Selector>>,
}

#[derive(Deserialize)]
struct Selector {
    kind: Option<SelectorKind>,
    #[serde(default)]
    labels: Ordered<String>,
}

#[derive(Clone, Copy, Deserialize)]
enum SelectorKind {
    ApiInstance,
}

pub(super) fn read(spec: &Node, problems: &mut Vec<Problem>) -> Option<PolicyBinding> {
    let written: Written = typed(spec, "spec", problems)?;
    let target = match written.target_ref {
        Some(target) => read_target(target, spec, problems),
        None => {
            let problem = Problem::error(&spec.place, "spec.targetRef", "`targetRef` is missing");
            problems.push(problem.help("name an ApiInstance or a Service under `spec.targetRef`"));
            None
        }
    };
    check_policy_ref(&written.policy_ref, problems);
    // Nested capture groups matter in routes only, and `route` is the only policy with routes.
    let usage = match written.policy_ref.name.as_str() {
        "route" | "route-weighted" => RuleUse::Route,
        _ => RuleUse::Policy,
    };
    let rules = read_rules(&written.rules, usage, problems);
    Some(PolicyBinding {
        target: target?,
        config: written.config,
        order: written.order.unwrap_or(DEFAULT_ORDER),
        rules,
        policy: written.policy_ref,
    })
}

pub(super) fn check_policy_ref(policy: &PolicyRef, problems: &mut Vec<Problem>) {
    // The only kind there is; reading it as an enum has refused all others.
    debug_assert!(matches!(policy.kind, None | Some(ExtensionKind::Extension)));
    if policy.name.is_empty() {
        problems.push(policy.name.error("the name of the policy is empty").help(LIST_POLICIES));
    }
}

/// Where to find the names of policies.
pub const LIST_POLICIES: &str = "`portcullis policies list` shows all policies";

fn read_target(target: TargetRef, spec: &Node, problems: &mut Vec<Problem>) -> Option<Target> {
    let place = spec.entry_ignore_case("targetRef").map_or(&spec.place, |(key, _)| &key.place);
    let selector = matches!(target.kind.as_deref(), Some(RefKind::Selector))
        || (target.kind.is_none() && target.name.is_none() && target.selector.is_some());
    if selector {
        for (what, extra) in [("name", &target.name), ("namespace", &target.namespace)] {
            if let Some(extra) = extra {
                problems.push(
                    extra
                        .warning(format!("`{what}` has no meaning for a selector; it is ignored"))
                        .help("choose instances by `selector.labels`"),
                );
            }
        }
        let selector = target.selector.map(|selector| selector.value);
        let labels = selector.map(|selector| {
            debug_assert!(matches!(selector.kind, None | Some(SelectorKind::ApiInstance)));
            selector.labels
        });
        return Some(Target::Selector { labels: labels.unwrap_or_default() });
    }
    if let Some(selector) = &target.selector {
        problems.push(
            selector
                .error("`selector` needs `kind: Selector`")
                .help("write `kind: Selector` to choose by labels, or remove `selector` to choose by name"),
        );
    }
    let kind = target.kind.as_deref().map(|kind| match kind {
        RefKind::Service => TargetKind::Service,
        RefKind::ApiInstance | RefKind::Selector => TargetKind::ApiInstance,
    });
    let Some(name) = target.name.filter(|name| !name.is_empty()) else {
        if sound(problems) {
            let problem = Problem::error(place, "spec.targetRef.name", "the name of the target is missing");
            problems.push(problem.help("name an ApiInstance or a Service, or write `kind: Selector`"));
        }
        return None;
    };
    let namespace = target.namespace.map(|namespace| namespace.value).filter(|text| !text.is_empty());
    Some(Target::Named { kind, name, namespace })
}

/// The policy that an invalid binding names.
pub fn lenient_policy(spec: &Node) -> Option<&str> {
    let node = spec.get_ignore_case("policyRef")?;
    let name = node.as_text().or_else(|| node.get_ignore_case("name")?.as_text())?;
    Some(&**name)
}

/// The target of a binding that is otherwise invalid, so that what it was meant to protect is not
/// served without it.
pub fn lenient_target(spec: &Node) -> Option<Target> {
    let node = spec.get_ignore_case("targetRef")?;
    if let Some(name) = node.as_text() {
        let name = Spanned::new(name.to_string(), node.place.clone(), "spec.targetRef");
        return Some(Target::Named { kind: None, name, namespace: None });
    }
    let mut only_target: Vec<Problem> = Vec::new();
    let target: TargetRef = typed(node, "spec.targetRef", &mut only_target)?;
    read_target(target, spec, &mut only_target)
}
