//! Inline services, routes and policies become parts with the names of the reference (3.1), so that
//! the inline and the resource model are one from here on.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    envelope::Resource,
    kinds::{
        Spec,
        api_instance::{ApiInstance, InlinePolicy, InlineService},
        policy_binding::{DEFAULT_ORDER, PolicyRef},
    },
    model::{BoundPolicy, Destination, ListenAddress, Route, Rule, ServiceAddress},
};
use crate::{
    base::{ResourceName, Subject},
    document::{RawNode, Spanned},
};

/// An instance on its way to be resolved.
pub(super) struct InstanceDraft {
    pub name: ResourceName,
    pub subject: Subject,
    pub labels: BTreeMap<String, String>,
    pub address: Spanned<ListenAddress>,
    pub policies: Vec<Binding>,
    pub routes: Vec<RouteDraft>,
}

/// A route and where it came from, for the order among equals.
pub(super) struct RouteDraft {
    pub route: Route,
    pub automated: bool,
    /// Position among the inline routes.
    pub index: usize,
}

pub(super) struct ServiceDraft {
    pub name: ResourceName,
    /// The Service, or the ApiInstance that it is written in.
    pub subject: Subject,
    pub address: Spanned<ServiceAddress>,
    pub policies: Vec<Binding>,
}

/// A policy to be bound: an inline one, or a `PolicyBinding` without its target.
#[derive(Clone)]
pub(super) struct Binding {
    pub name: ResourceName,
    pub subject: Subject,
    pub policy: PolicyRef,
    pub config: RawNode,
    pub config_field: Arc<str>,
    pub rules: Vec<Rule>,
    pub order: i32,
    /// Position among inline policies; separate bindings come after them.
    pub index: usize,
    /// Which of its name it is among inline policies, from 1.
    pub nth: usize,
    /// Names of the policies in the list that an inline policy stands in, itself included.
    pub siblings: Arc<[String]>,
    pub automated: bool,
    /// The version that was served before, in place of this one, which cannot be built.
    pub kept: Option<Box<BoundPolicy>>,
}

/// The position of what is not inline: after everything that is.
pub(super) const NOT_INLINE: usize = usize::MAX;

/// The parts of an `ApiInstance`.
pub(super) fn instance(resource: &Resource, spec: &ApiInstance) -> (InstanceDraft, Vec<ServiceDraft>) {
    let name = &resource.subject.name;
    let mut routes = Vec::new();
    let mut services = Vec::new();
    for service in &spec.services {
        let service_name = generated(name, &format!("{}-{}", name.name, service.key.value));
        for (at, inline) in service.routes.iter().enumerate() {
            let destination = Destination {
                weight: 1,
                service: service_name.clone(),
                path: inline.destination_path.clone(),
                location: inline.place.location(),
            };
            let route = Route {
                name: generated(name, &format!("{}-route-{}", service_name.name, at + 1)),
                rules: inline.rules.clone(),
                destinations: vec![destination],
                order: DEFAULT_ORDER,
                location: inline.place.location(),
            };
            routes.push(RouteDraft { route, automated: false, index: routes.len() });
        }
        services.push(inline_service(resource, service_name, service));
    }
    let draft = InstanceDraft {
        name: name.clone(),
        subject: resource.subject.clone(),
        labels: resource.labels.clone(),
        address: spec.address.clone(),
        policies: policies(resource, &name.name, &spec.policies),
        routes,
    };
    (draft, services)
}

fn inline_service(resource: &Resource, name: ResourceName, service: &InlineService) -> ServiceDraft {
    ServiceDraft {
        policies: policies(resource, &name.name, &service.policies),
        name,
        subject: resource.subject.clone(),
        address: service.address.clone(),
    }
}

/// The name of a policy as it may be written, too.
pub(super) fn bare(policy: &str) -> &str {
    policy.strip_suffix("-flex").unwrap_or(policy)
}

/// `<owner>-<policy>-<n>`, from 1.
fn policies(resource: &Resource, owner: &str, inline: &[InlinePolicy]) -> Vec<Binding> {
    let siblings: Arc<[String]> = inline.iter().map(|policy| policy.policy.name.value.clone()).collect();
    let bind = |(index, policy): (usize, &InlinePolicy)| Binding {
        name: generated(
            &resource.subject.name,
            &format!("{owner}-{}-{}", policy.policy.name.value, index + 1),
        ),
        subject: resource.subject.clone(),
        policy: policy.policy.clone(),
        config: policy.config.clone(),
        config_field: format!("{}.config", policy.field).into(),
        rules: policy.rules.clone(),
        order: policy.order,
        index,
        nth: siblings[..=index].iter().filter(|name| bare(name) == bare(&policy.policy.name.value)).count(),
        siblings: Arc::clone(&siblings),
        automated: false,
        kept: None,
    };
    inline.iter().enumerate().map(bind).collect()
}

/// A `PolicyBinding` as a policy to be bound.
pub(super) fn binding(resource: &Resource, automated: bool) -> Option<Binding> {
    let Some(Spec::PolicyBinding(spec)) = &resource.spec else { return None };
    Some(Binding {
        name: resource.subject.name.clone(),
        subject: resource.subject.clone(),
        policy: spec.policy.clone(),
        config: spec.config.clone(),
        config_field: "spec.config".into(),
        rules: spec.rules.clone(),
        order: spec.order,
        index: NOT_INLINE,
        nth: 1,
        siblings: Arc::default(),
        automated,
        kept: None,
    })
}

fn generated(owner: &ResourceName, name: &str) -> ResourceName {
    ResourceName { namespace: owner.namespace.clone(), name: name.into() }
}
