//! Which policy a binding means, whether it may be bound there, and its place in the chain.

use std::{collections::BTreeSet, sync::Arc};

use super::{Inputs, Resolver, digests, files::substitute_files, targets::Targets};
use crate::{
    base::{ResourceName, suggest::closest},
    document::{Node, Problem, substitute_environment, unset_secrets},
    resources::{
        kinds::policy_binding::{DEFAULT_ORDER, LIST_POLICIES},
        model::{BoundPolicy, TlsBinding},
        names::{Direction, PolicyFacts},
        normalise::{Binding, NOT_INLINE},
    },
};

pub(super) const TLS: &str = "tls";
pub(super) const TLS_OUTBOUND: &str = "tls-outbound";

/// Policies that act on the connections of a service, not on single requests.
const CONNECTION_WIDE: [&str; 3] = ["circuit-breaker-flex", "idle-timeout-flex", TLS_OUTBOUND];

/// What `policyRef` refers to.
enum Referred {
    BuiltIn { facts: PolicyFacts, spelled: Option<String> },
    Custom(ResourceName),
    Unknown,
}

impl Resolver<'_> {
    /// Binds a policy to its targets, or takes them out of service.
    pub(super) fn bind(&mut self, binding: Binding, targets: Targets) {
        let written = &binding.policy.name;
        match self.referred(&binding) {
            Referred::Unknown => {
                let message = format!("unknown policy `{}`", written.value);
                let mut problem = written.error(&message);
                let names = self.inputs.policies.names();
                if let Some(close) = closest(written, names.iter().copied()) {
                    problem = problem.help(format!("did you mean `{close}`?"));
                }
                problem = problem.help(LIST_POLICIES);
                self.refuse(&binding, &targets, problem, &message);
            }
            Referred::Custom(name) => {
                let message = format!("`{name}` is a custom policy; custom policies are not supported yet");
                let problem = written.warning(&message);
                self.refuse(&binding, &targets, problem, &message);
            }
            Referred::BuiltIn { facts, spelled } => {
                if let Some(spelled) = spelled {
                    let problem = written.warning(format!("`{}` is read as `{spelled}`", written.value));
                    self.report.add(&binding.subject, problem.help(format!("write `{spelled}`")));
                }
                self.bind_known(binding, targets, facts);
            }
        }
    }

    fn bind_known(&mut self, mut binding: Binding, targets: Targets, facts: PolicyFacts) {
        let service = matches!(targets, Targets::Service(_));
        if let Some(problem) = misplaced(&binding, facts, service) {
            let message = problem.message.clone();
            // A policy for upstreams protects nothing from clients, so nothing is lost without it.
            if facts.direction == Direction::Outbound {
                self.report.add(&binding.subject, problem);
            } else {
                self.refuse(&binding, &targets, problem, &message);
            }
            return;
        }
        if !facts.supported {
            let message = format!("the policy `{}` is not supported yet", facts.name);
            let problem = binding.policy.name.warning(&message);
            self.refuse(&binding, &targets, problem, &message);
            return;
        }
        let of_connections = CONNECTION_WIDE.contains(&facts.name);
        let whole = match facts.direction {
            _ if of_connections => "service",
            Direction::Port => "port",
            _ => "API",
        };
        let whole_only = facts.cors_first || facts.direction == Direction::Port || of_connections;
        if whole_only && !binding.rules.is_empty() {
            let message = format!("`{}` cannot be limited by rules; they are ignored", facts.name);
            let problem =
                binding.policy.name.warning(message).help(format!("it applies to the whole {whole}"));
            self.report.add(&binding.subject, problem);
            binding.rules.clear();
        }
        let of_tls = facts.direction == Direction::Port || facts.name == TLS_OUTBOUND;
        if of_tls && binding.order != DEFAULT_ORDER {
            let message = format!("`order` has no effect on `{}`", facts.name);
            let problem =
                binding.policy.name.warning(message).help("TLS comes before all policies: remove it");
            self.report.add(&binding.subject, problem);
        }
        self.advise_on_paths(&binding, &targets);
        let (config, mut problems) =
            substitute_environment(&binding.config, &binding.config_field, self.inputs.environment);
        // Those that cost secrets are errors when the policy is built.
        let secrets = unset_secrets(&config, &binding.config_field);
        problems.retain(|problem| secrets.iter().all(|secret| secret.field != problem.field));
        self.report.add_all(&binding.subject, problems);
        let config = if of_tls { self.with_files(&binding, &config) } else { config };
        binding.config.0 = if config.is_null() {
            Node::mapping(binding.policy.name.place.clone(), Vec::new())
        } else {
            config
        };
        binding.policy.name.value = facts.name.to_owned();
        match (facts.direction, targets) {
            (Direction::Routing, targets) => self.bind_route(&binding, &targets, facts.name),
            (Direction::Port, Targets::Instances(instances)) => {
                self.tls.push(TlsBinding { policy: bound(binding), instances, ports: BTreeSet::new() });
            }
            (_, targets) => self.attach(&binding, &targets),
        }
    }

    fn with_files(&mut self, binding: &Binding, config: &Node) -> Node {
        let mut problems = Vec::new();
        let config = substitute_files(config, &binding.config_field, &mut self.files, &mut problems);
        self.report.add_all(&binding.subject, problems);
        config
    }

    /// Exact name first, then with `-flex`, then without; the namespace given or its own first, then
    /// `default`, where the built-in policies are (configuration reference 5.1, policies 1.1).
    fn referred(&self, binding: &Binding) -> Referred {
        let written: &str = &binding.policy.name;
        let own = binding.policy.namespace.as_deref().unwrap_or(&binding.name.namespace);
        for spelling in spellings(written) {
            let custom = |namespace: &str| {
                let name = ResourceName::new(namespace, &spelling);
                self.extensions.iter().any(|extension| extension.name == name).then_some(name)
            };
            if own != crate::base::ids::DEFAULT_NAMESPACE
                && let Some(name) = custom(own)
            {
                return Referred::Custom(name);
            }
            if let Some(facts) = self.inputs.policies.find(&spelling) {
                let spelled = (spelling != written).then_some(spelling);
                return Referred::BuiltIn { facts, spelled };
            }
            if let Some(name) = custom(crate::base::ids::DEFAULT_NAMESPACE) {
                return Referred::Custom(name);
            }
        }
        Referred::Unknown
    }

    /// Reports why a policy is not in force. Where it was before an update it stays as it was; other
    /// targets answer 503.
    pub(super) fn refuse(
        &mut self,
        binding: &Binding,
        targets: &Targets,
        mut problem: Problem,
        reason: &str,
    ) {
        self.tls_astray |= self.is_tls(&binding.policy.name);
        let service = matches!(targets, Targets::Service(_));
        let all = if let Targets::Instances(names) = targets { names.len() } else { 1 };
        let blocked = self.keep_last_good(binding, targets);
        match blocked.as_slice() {
            [] => {}
            [name] => {
                let kind = if service { "Service" } else { "ApiInstance" };
                problem = problem.help(format!("the {kind} {name} answers 503 until this is solved"));
            }
            many => {
                let count = many.len();
                problem = problem.help(format!("{count} instances answer 503 until this is solved"));
            }
        }
        if blocked.len() < all {
            problem = problem.help("the version before the update stays in force");
        }
        self.report.add(&binding.subject, problem);
        self.report.not_ready(&binding.subject, reason);
        let outage = format!(
            "the policy `{}` of {} cannot be applied: {reason}",
            binding.policy.name.value, binding.name
        );
        for name in &blocked {
            if service {
                self.block_service(name, &outage);
            } else {
                self.block_instance(name, &outage);
            }
        }
    }

    /// The base path must not be repeated in a rule (configuration reference 4.1).
    fn advise_on_paths(&mut self, binding: &Binding, targets: &Targets) {
        let Targets::Instances(names) = targets else { return };
        let [name] = names.as_slice() else { return };
        let Some(base) = self.instances.get(name).map(|draft| draft.address.base_path.clone()) else {
            return;
        };
        self.advise_on_rules(&binding.subject, &binding.rules, &base);
    }

    pub(super) fn advise_on_rules(
        &mut self,
        subject: &crate::base::Subject,
        rules: &[crate::resources::model::Rule],
        base: &str,
    ) {
        let base = base.trim_end_matches('/');
        for path in rules.iter().filter_map(|rule| rule.path.as_ref()) {
            let repeated = path.strip_prefix(base).is_some_and(|rest| rest.starts_with(['/', '(']));
            if !base.is_empty() && repeated {
                let message = format!("the rule repeats the base path: it matches `{base}{}`", path.value);
                let help =
                    format!("paths in rules are relative to `{base}`: write `{}`", &path[base.len()..]);
                self.report.add(subject, path.warning(message).help(help));
            }
        }
    }
}

/// The names that a written one may stand for, in the order in which they are tried.
pub fn spellings(written: &str) -> impl Iterator<Item = String> {
    let shorter = written.strip_suffix("-flex").map(str::to_owned);
    [Some(written.to_owned()), Some(format!("{written}-flex")), shorter].into_iter().flatten()
}

/// Why a policy cannot be bound to this kind of target.
fn misplaced(binding: &Binding, facts: PolicyFacts, service: bool) -> Option<Problem> {
    let name = &binding.policy.name;
    let wants_service = match facts.direction {
        Direction::Outbound => true,
        Direction::Inbound | Direction::Routing => false,
        Direction::Port => facts.name == TLS_OUTBOUND,
    };
    if wants_service == service {
        return None;
    }
    Some(if wants_service {
        let problem = name
            .error(format!("`{}` acts on upstreams: it can be bound to a Service only", facts.name))
            .help("write `targetRef: {kind: Service, name: …}`; inline, put it under `spec.services.<name>.policies`");
        if facts.name == TLS_OUTBOUND {
            problem.help(format!("for the port of an API use `{TLS}`"))
        } else {
            problem
        }
    } else {
        let problem = name
            .error(format!("`{}` acts on APIs: it can be bound to an ApiInstance only", facts.name))
            .help("write `targetRef: {kind: ApiInstance, name: …}`; inline, put it under `spec.policies`");
        if facts.name == TLS {
            problem.help(format!("for an upstream use `{TLS_OUTBOUND}`"))
        } else {
            problem
        }
    })
}

/// The chain in the order of decision 10: CORS; `order`; automated before others; list position;
/// namespace, name.
pub(super) fn in_order(mut bindings: Vec<Binding>, inputs: &Inputs<'_>) -> Vec<BoundPolicy> {
    let first =
        |binding: &Binding| inputs.policies.find(&binding.policy.name).is_some_and(|facts| facts.cors_first);
    bindings.sort_by_cached_key(|binding| {
        (!first(binding), binding.order, !binding.automated, binding.index, binding.name.clone())
    });
    bindings.into_iter().map(bound).collect()
}

fn state_name(binding: &Binding) -> Arc<str> {
    match binding.index {
        NOT_INLINE => binding.name.to_string().into(),
        // No resource has such a name.
        _ => format!("inline {} {}", binding.policy.name.value, binding.nth).into(),
    }
}

fn bound(binding: Binding) -> BoundPolicy {
    if let Some(kept) = binding.kept {
        return *kept;
    }
    let location = binding.policy.name.location();
    let digest = digests::policy(&binding.policy.name, &binding.config, &binding.rules);
    BoundPolicy {
        state_name: state_name(&binding),
        binding: binding.name,
        subject: binding.subject,
        policy: binding.policy.name.value,
        config: binding.config.0,
        config_field: binding.config_field,
        rules: binding.rules,
        order: binding.order,
        automated: binding.automated,
        location,
        digest,
    }
}
