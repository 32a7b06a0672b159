//! What a `PolicyBinding` applies to (configuration reference 3.3, 5.4).

use std::collections::BTreeSet;

use super::Resolver;
use crate::{
    base::{ResourceName, Subject, suggest::closest},
    document::Spanned,
    resources::{
        envelope::Resource,
        kinds::policy_binding::{PolicyRef, Target, TargetKind, lenient_policy, lenient_target},
        names::{Direction, PolicyFacts},
        store::Entry,
    },
};

/// Values of a label that a message tells.
const SHOWN: usize = 5;

/// Targets that exist.
pub(super) enum Targets {
    Instances(Vec<ResourceName>),
    Service(ResourceName),
}

impl Targets {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Instances(names) if names.is_empty())
    }
}

impl Resolver<'_> {
    /// The targets of a binding; `None` if there are none, which is reported.
    pub(super) fn targets(
        &mut self,
        resource: &Resource,
        target: &Target,
        policy: &PolicyRef,
    ) -> Option<Targets> {
        let subject = &resource.subject;
        // What TLS is meant for cannot be guessed, and plain text is not what was meant.
        let is_tls = self.is_tls(&policy.name);
        let found = match target {
            Target::Selector { labels } => {
                let selected = self.selected(labels);
                if selected.is_empty() {
                    self.report_unselective(subject, labels);
                }
                Some(Targets::Instances(selected))
            }
            Target::Named { kind, name, namespace } => {
                let wanted = self.full_name(resource, name, namespace.as_deref());
                let found = self.named(*kind, &wanted, policy);
                if found.is_none() {
                    self.report_missing(subject, *kind, name, &wanted, is_tls);
                }
                found
            }
        };
        self.tls_astray |= is_tls && found.as_ref().is_none_or(Targets::is_empty);
        found
    }

    fn full_name(&self, resource: &Resource, name: &str, namespace: Option<&str>) -> ResourceName {
        ResourceName::new(namespace.unwrap_or(&resource.subject.name.namespace), name)
    }

    /// Every instance that carries all the labels; selectors see all namespaces.
    fn selected(&self, labels: &[(Spanned<String>, String)]) -> Vec<ResourceName> {
        let matches = |draft: &&super::InstanceDraft| {
            labels.iter().all(|(name, value)| draft.labels.get(name.as_str()) == Some(value))
        };
        self.instances.values().filter(matches).map(|draft| draft.name.clone()).collect()
    }

    fn named(&self, kind: Option<TargetKind>, name: &ResourceName, policy: &PolicyRef) -> Option<Targets> {
        let instance = self.instances.contains_key(name).then(|| Targets::Instances(vec![name.clone()]));
        let service = self.services.contains_key(name).then(|| Targets::Service(name.clone()));
        match kind {
            Some(TargetKind::ApiInstance) => instance,
            Some(TargetKind::Service) => service,
            // A policy for upstreams can only mean the Service.
            None if self.is_outbound(&policy.name) => service.or(instance),
            None => instance.or(service),
        }
    }

    pub(super) fn facts(&self, policy: &str) -> Option<PolicyFacts> {
        super::policies::spellings(policy).find_map(|name| self.inputs.policies.find(&name))
    }

    fn is_outbound(&self, policy: &str) -> bool {
        self.facts(policy).is_some_and(|facts| {
            facts.direction == Direction::Outbound || facts.name == super::policies::TLS_OUTBOUND
        })
    }

    /// Whether a policy is TLS of ports.
    pub(super) fn is_tls(&self, policy: &str) -> bool {
        self.facts(policy).is_some_and(|facts| facts.name == super::policies::TLS)
    }

    /// Labels that no instance carries: one that comes later may, or a slip leaves APIs without a policy.
    fn report_unselective(&mut self, subject: &Subject, labels: &[(Spanned<String>, String)]) {
        let carried = || self.instances.values().flat_map(|draft| &draft.labels);
        let is_carried = |name: &String, value: &String| carried().any(|label| label == (name, value));
        let Some((name, value)) = labels.iter().find(|(name, value)| !is_carried(name, value)) else {
            let Some((name, _)) = labels.first() else { return };
            let problem =
                name.warning("no ApiInstance has all of these labels; the binding applies to nothing");
            return self.report.add(subject, problem);
        };
        let label = format!("`{}: {value}`", **name);
        let mut problem =
            name.warning(format!("no ApiInstance has the label {label}; the binding applies to nothing"));
        let values: BTreeSet<&String> =
            carried().filter(|(other, _)| **other == **name).map(|(_, value)| value).collect();
        let names = carried().map(|(other, _)| other.as_str());
        if !values.is_empty() {
            let some: Vec<String> = values.iter().take(SHOWN).map(|value| format!("`{value}`")).collect();
            problem = problem.help(format!("`{}` is {} where there is one", **name, some.join(", ")));
        } else if let Some(close) = closest(name, names) {
            problem = problem.help(format!("did you mean `{close}`?"));
        }
        self.report.add(subject, problem);
    }

    fn report_missing(
        &mut self,
        subject: &Subject,
        kind: Option<TargetKind>,
        written: &Spanned<String>,
        wanted: &ResourceName,
        is_error: bool,
    ) {
        let kind_name = if kind == Some(TargetKind::Service) { "Service" } else { "ApiInstance" };
        let invalid = |kind: &str| self.invalid.contains(&Subject::new(kind, wanted.clone()));
        let reason = if invalid(kind_name) || (kind.is_none() && invalid("Service")) {
            format!("the target {kind_name} {wanted} is not valid; the binding is not applied")
        } else {
            format!("there is no {kind_name} {wanted}; the binding is not applied")
        };
        let mut problem = if is_error { written.error(&reason) } else { written.warning(&reason) };
        let other = match kind {
            Some(TargetKind::ApiInstance) if self.services.contains_key(wanted) => Some("Service"),
            Some(TargetKind::Service) if self.instances.contains_key(wanted) => Some("ApiInstance"),
            _ => None,
        };
        if let Some(other) = other {
            problem = problem.help(format!("there is a {other} of that name: write `kind: {other}`"));
        }
        let names: Vec<&ResourceName> = match kind {
            Some(TargetKind::Service) => self.services.keys().collect(),
            Some(TargetKind::ApiInstance) => self.instances.keys().collect(),
            None => self.instances.keys().chain(self.services.keys()).collect(),
        };
        if let Some(help) = similar(wanted, &names) {
            problem = problem.help(help);
        }
        self.report.add(subject, problem);
        self.report.not_ready(subject, &reason);
    }

    /// An invalid binding without a good version: what it was meant for is not served without it.
    pub(super) fn refuse_invalid(&mut self, resource: &Resource, entry: &Entry) {
        let cause = entry.not_ready.as_deref().unwrap_or("invalid");
        let reason = format!("{} is not valid: {cause}", resource.subject);
        // An API without its policy can answer 503; without its TLS it must not answer at all.
        let is_tls = lenient_policy(&resource.written).is_some_and(|policy| self.is_tls(policy));
        self.tls_astray |= is_tls;
        let take_out = if is_tls { Self::close_instance } else { Self::block_instance };
        match lenient_target(&resource.written) {
            Some(Target::Selector { labels }) => {
                for name in self.selected(&labels) {
                    take_out(self, &name, &reason);
                }
            }
            Some(Target::Named { kind, name, namespace }) => {
                let wanted = self.full_name(resource, &name, namespace.as_deref());
                if kind != Some(TargetKind::Service) && self.instances.contains_key(&wanted) {
                    take_out(self, &wanted, &reason);
                } else if kind != Some(TargetKind::ApiInstance) {
                    self.block_service(&wanted, &reason);
                }
            }
            // What is for upstreams protects nothing from clients.
            None if lenient_policy(&resource.written).is_some_and(|policy| self.is_outbound(policy)) => {}
            // Nobody knows whom it was to protect: everybody it may have meant is taken out.
            None => {
                let namespace = &resource.subject.name.namespace;
                let near: Vec<_> =
                    self.instances.keys().filter(|name| &name.namespace == namespace).cloned().collect();
                for name in near {
                    take_out(self, &name, &reason);
                }
            }
        }
    }
}

/// "did you mean": the same name in another namespace, or a similar one.
pub(super) fn similar(wanted: &ResourceName, names: &[&ResourceName]) -> Option<String> {
    if let Some(elsewhere) = names.iter().find(|name| name.name == wanted.name) {
        let namespace = &elsewhere.namespace;
        return Some(format!("there is one in namespace `{namespace}`: write `namespace: {namespace}`"));
    }
    let same = names.iter().filter(|name| name.namespace == wanted.namespace).map(|name| &*name.name);
    closest(&wanted.name, same).map(|close| format!("did you mean `{close}`?"))
}
