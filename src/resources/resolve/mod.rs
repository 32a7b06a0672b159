//! Follows every reference and decides what is served, what answers 503 and what stays closed.
//!
//! One rule above all: an API is never served without a policy that was meant for it. A binding that
//! cannot be built takes its target out (configuration reference 15, Do 3; decision 12).

mod digests;
mod files;
mod last_good;
mod listeners;
mod policies;
mod routes;
mod settings;
mod targets;

use std::collections::{BTreeMap, HashMap, HashSet};

pub use files::NamedFile;
pub use policies::spellings;

use super::{
    envelope::Resource,
    kinds::Spec,
    model::{Extension, Instance, ResolvedModel, ResourceState, Service, TlsBinding},
    names::PolicyNames,
    normalise::{self, Binding, InstanceDraft, RouteDraft, ServiceDraft},
    store::ResourceSet,
};
use crate::{
    base::{Diagnostic, Diagnostics, ResourceName, Subject},
    document::Problem,
    settings::DynamicPort,
};

/// What resolving depends on besides the resources.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub policies: &'a dyn PolicyNames,
    /// Environment variables, for `$NAME` in policies.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Replaces a port in addresses of instances (configuration reference 13).
    pub dynamic_port: Option<DynamicPort>,
    /// What is served now: on a clash of base paths the active instance wins (4.2).
    pub previous: Option<&'a ResolvedModel>,
}

/// Resolves a generation of resources.
pub fn resolve(set: &ResourceSet, inputs: Inputs<'_>) -> ResolvedModel {
    let mut resolver = Resolver::new(set, inputs);
    resolver.collect();
    resolver.bind_inline();
    resolver.bind_separate();
    resolver.hold_new_instances();
    let settings = resolver.settings();
    let instances = resolver.open_instances(&settings);
    let services = resolver.finish_services();
    let resources = resolver.states();
    let mut diagnostics = Diagnostics::default();
    diagnostics.extend(set.diagnostics.iter().cloned());
    diagnostics.extend(resolver.report.diagnostics);
    diagnostics.tidy();
    ResolvedModel {
        instances,
        services,
        tls: resolver.tls,
        dynamic_port: inputs.dynamic_port,
        settings,
        extensions: resolver.extensions,
        files: resolver.files,
        resources,
        diagnostics,
    }
}

/// Findings, and what they mean for single resources.
#[derive(Default)]
struct Report {
    diagnostics: Vec<Diagnostic>,
    not_ready: HashMap<Subject, String>,
}

impl Report {
    /// Reports a finding; an error makes its resource not ready.
    fn add(&mut self, subject: &Subject, problem: Problem) {
        if problem.is_error() {
            self.not_ready(subject, &problem.message);
        }
        self.diagnostics.push(problem.about(subject));
    }

    fn add_all(&mut self, subject: &Subject, problems: Vec<Problem>) {
        problems.into_iter().for_each(|problem| self.add(subject, problem));
    }

    /// The first reason stays.
    fn not_ready(&mut self, subject: &Subject, reason: &str) {
        self.not_ready.entry(subject.clone()).or_insert_with(|| reason.to_owned());
    }
}

/// How far a part is out of service.
#[derive(Default)]
struct Outages {
    /// Answers 503.
    blocked: HashMap<ResourceName, String>,
    /// Its port is not opened for it.
    closed: HashMap<ResourceName, String>,
}

struct Resolver<'a> {
    set: &'a ResourceSet,
    inputs: Inputs<'a>,
    report: Report,
    instances: BTreeMap<ResourceName, InstanceDraft>,
    services: BTreeMap<ResourceName, ServiceDraft>,
    instance_outages: Outages,
    service_outages: Outages,
    tls: Vec<TlsBinding>,
    /// A `tls` binding is written that is not valid, or applies to nothing.
    tls_astray: bool,
    files: Vec<NamedFile>,
    extensions: Vec<Extension>,
    /// Names of instances and services that exist, but not in a valid form.
    invalid: HashSet<Subject>,
}

impl<'a> Resolver<'a> {
    fn new(set: &'a ResourceSet, inputs: Inputs<'a>) -> Self {
        Self {
            set,
            inputs,
            report: Report::default(),
            instances: BTreeMap::new(),
            services: BTreeMap::new(),
            instance_outages: Outages::default(),
            service_outages: Outages::default(),
            tls: Vec::new(),
            tls_astray: false,
            files: Vec::new(),
            extensions: Vec::new(),
            invalid: HashSet::new(),
        }
    }

    /// Everything that can be referred to.
    fn collect(&mut self) {
        let set = self.set;
        for entry in &set.entries {
            let resource = &*entry.resource;
            let name = resource.subject.name.clone();
            match &resource.spec {
                Some(Spec::ApiInstance(spec)) => {
                    let (draft, services) = normalise::instance(resource, spec);
                    self.instances.insert(name, draft);
                    services.into_iter().for_each(|service| self.add_service(service));
                }
                Some(Spec::Service(spec)) => self.add_service(ServiceDraft {
                    name,
                    subject: resource.subject.clone(),
                    address: spec.address.clone(),
                    policies: Vec::new(),
                }),
                Some(Spec::Extension(spec)) => self.extensions.push(Extension {
                    name,
                    extends: spec.extends.clone(),
                    implementation: spec.implementation,
                    location: resource.place.location(),
                }),
                Some(Spec::PolicyBinding(_) | Spec::Configuration(_) | Spec::Secret | Spec::Contract) => {}
                None => {
                    self.invalid.insert(resource.subject.clone());
                }
            }
        }
    }

    /// A generated name may meet a written one, or another: the one that is served stays, else the first in order.
    fn add_service(&mut self, service: ServiceDraft) {
        let Some(first) = self.services.remove(&service.name) else {
            self.services.insert(service.name.clone(), service);
            return;
        };
        let served = self.inputs.previous.and_then(|model| model.service(&service.name));
        let is_served = served.is_some_and(|served| served.subject == service.subject);
        let (stays, out) = if is_served { (service, first) } else { (first, service) };
        let message = format!("the Service {} exists twice; this one is left out", out.name);
        let mut problem = Problem::error(&out.address.place, &*out.address.field, &message)
            .help(format!("the one that counts is in {}, at {}", stays.subject, stays.address.location()))
            .help("an inline service is named `<ApiInstance>-<service>`; rename one of them");
        // Its routes name what stays, and its requests are not meant for that.
        let api = &out.subject.name;
        if self.instances.get(api).is_some_and(|draft| draft.subject == out.subject) {
            problem = problem.help(format!("the ApiInstance {api} answers 503 until this is solved"));
            self.block_instance(api, &message);
        }
        self.report.add(&out.subject, problem);
        self.services.insert(stays.name.clone(), stays);
    }

    fn bind_inline(&mut self) {
        let names: Vec<ResourceName> = self.instances.keys().cloned().collect();
        for name in names {
            let inline = self.instances.get_mut(&name).map(|draft| std::mem::take(&mut draft.policies));
            for binding in inline.unwrap_or_default() {
                self.bind(binding, targets::Targets::Instances(vec![name.clone()]));
            }
        }
        let names: Vec<ResourceName> = self.services.keys().cloned().collect();
        for name in names {
            let inline = self.services.get_mut(&name).map(|draft| std::mem::take(&mut draft.policies));
            for binding in inline.unwrap_or_default() {
                self.bind(binding, targets::Targets::Service(name.clone()));
            }
        }
    }

    fn bind_separate(&mut self) {
        let set = self.set;
        for entry in &set.entries {
            let resource: &Resource = &entry.resource;
            match &resource.spec {
                Some(Spec::PolicyBinding(spec)) => {
                    let automated =
                        matches!(spec.target, super::kinds::policy_binding::Target::Selector { .. });
                    let Some(binding) = normalise::binding(resource, automated) else { continue };
                    if let Some(targets) = self.targets(resource, &spec.target, &spec.policy) {
                        self.bind(binding, targets);
                    }
                }
                None if resource.kind == super::Kind::PolicyBinding => self.refuse_invalid(resource, entry),
                _ => {}
            }
        }
    }

    /// What a file that cannot be read holds may be the policy of an API that comes with another file.
    /// Those that are served go on; one that is not yet waits, answering 503. (At the first load the
    /// gateway does not start.)
    fn hold_new_instances(&mut self) {
        let (Some(previous), Some(broken)) = (self.inputs.previous, self.set.broken().next()) else { return };
        let served = |name| previous.instance(name).is_some_and(|before| before.blocked.is_none());
        let new: Vec<_> = self.instances.keys().filter(|name| !served(name)).cloned().collect();
        let file = broken.location.as_ref().map_or("a file".to_owned(), |at| format!("`{}`", at.file));
        for name in new {
            let message =
                format!("{name} is not served yet: {file} cannot be read and may hold its policies");
            self.block_instance(&name, &message);
            let Some(draft) = self.instances.get(&name) else { continue };
            let found = draft.address.error(message).help(format!("correct {file}; {name} is served then"));
            self.report.add(&draft.subject, found);
        }
    }

    fn finish_services(&mut self) -> Vec<Service> {
        let mut services = Vec::new();
        for (name, mut draft) in std::mem::take(&mut self.services) {
            let blocked = self.service_outages.blocked.remove(&name);
            let policies = policies::in_order(std::mem::take(&mut draft.policies), &self.inputs);
            let location = draft.address.location();
            let mut service = Service {
                name,
                subject: draft.subject,
                address: draft.address.value,
                policies,
                location,
                digest: crate::base::Digest::of(""),
                blocked,
            };
            service.digest = digests::service(&service);
            services.push(service);
        }
        services
    }

    fn finish_instance(&mut self, mut draft: InstanceDraft) -> Instance {
        let blocked = self.instance_outages.blocked.remove(&draft.name);
        let policies = policies::in_order(std::mem::take(&mut draft.policies), &self.inputs);
        let mut routes = draft.routes;
        let key =
            |draft: &RouteDraft| (draft.route.order, !draft.automated, draft.index, draft.route.name.clone());
        routes.sort_by_key(key);
        let location = draft.address.location();
        let mut instance = Instance {
            name: draft.name,
            labels: draft.labels,
            address: draft.address.value,
            policies,
            routes: routes.into_iter().map(|draft| draft.route).collect(),
            location,
            digest: crate::base::Digest::of(""),
            blocked,
        };
        instance.digest = digests::instance(&instance, self.inputs.dynamic_port);
        instance
    }

    fn states(&mut self) -> Vec<ResourceState> {
        let set = self.set;
        let state = |entry: &super::store::Entry| {
            let resource = &entry.resource;
            let found = self.report.not_ready.get(&resource.subject);
            let reason = entry.not_ready.clone().or_else(|| found.cloned());
            ResourceState {
                subject: resource.subject.clone(),
                api_version: resource.api_version.clone(),
                labels: resource.labels.clone(),
                origin: resource.origin.location(),
                spec: resource.written.clone(),
                ready: reason.map_or(Ok(()), Err),
            }
        };
        set.entries.iter().map(state).collect()
    }

    /// Takes an instance out of service: 503 on every path.
    fn block_instance(&mut self, name: &ResourceName, reason: &str) {
        let Some(draft) = self.instances.get(name) else { return };
        self.report.not_ready(&draft.subject, reason);
        self.instance_outages.blocked.entry(name.clone()).or_insert_with(|| reason.to_owned());
    }

    fn block_service(&mut self, name: &ResourceName, reason: &str) {
        let Some(draft) = self.services.get(name) else { return };
        self.report.not_ready(&draft.subject, reason);
        self.service_outages.blocked.entry(name.clone()).or_insert_with(|| reason.to_owned());
    }

    fn close_instance(&mut self, name: &ResourceName, reason: &str) {
        let Some(draft) = self.instances.get(name) else { return };
        self.report.not_ready(&draft.subject, reason);
        self.instance_outages.closed.entry(name.clone()).or_insert_with(|| reason.to_owned());
    }

    fn attach(&mut self, binding: &Binding, targets: &targets::Targets) {
        match targets {
            targets::Targets::Instances(names) => {
                for name in names {
                    if let Some(draft) = self.instances.get_mut(name) {
                        draft.policies.push(binding.clone());
                    }
                }
            }
            targets::Targets::Service(name) => {
                if let Some(draft) = self.services.get_mut(name) {
                    draft.policies.push(binding.clone());
                }
            }
        }
    }
}
