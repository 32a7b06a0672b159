//! From the resolved model to a snapshot, reusing what has not changed.
//!
//! A policy instance is known by target, binding and the digest of its configuration: as long as
//! these stay, the same object goes on, with its windows and counters. One that cannot be built
//! never opens its API: an update keeps the last good instance, without one the API answers 503
//! (decision 12).

mod ports;
mod rules;
mod tls;

use std::{collections::HashMap, sync::Arc};

use rules::compile_rules;
use tls::KeptContext;

use super::{
    DestinationPlan, EngineSettings, InstancePlan, RoutePlan, Snapshot, UpstreamGauges, UpstreamId,
    UpstreamPlan,
    upstream::{UpstreamLimits, UpstreamProxy, UpstreamTls},
};
use crate::{
    base::{Diagnostic, Diagnostics, Digest, ResourceName, Subject},
    policies::catalog,
    policy::{Built, Chain, PolicyServices, RuleSet, Step, UpstreamSettings, chain::PolicyObserver},
    resources::{BoundPolicy, Instance, ResolvedModel, Route, Service, ServiceScheme},
    telemetry::metrics::{PolicyLabel, PolicyMetrics, Registry},
};

/// What a model became.
pub struct Compiled {
    pub snapshot: Snapshot,
    /// What the compiler found, beyond what the resolver had found.
    pub diagnostics: Diagnostics,
    /// Instances and services that are not in force as written, with the reason.
    pub not_ready: Vec<(Subject, String)>,
}

/// Keeps compiled parts from one snapshot to the next.
pub struct Compiler {
    registry: Arc<Registry>,
    replica_name: Arc<str>,
    tls: TlsDefaults,
    policies: HashMap<PolicyKey, KeptPolicy>,
    upstream_ids: HashMap<(ResourceName, String), (UpstreamId, Arc<UpstreamGauges>)>,
    upstreams: HashMap<ResourceName, (Digest, Arc<UpstreamPlan>)>,
    instances: HashMap<ResourceName, (Digest, Arc<InstancePlan>)>,
    /// By port.
    contexts: HashMap<u16, KeptContext>,
    generation: u64,
}

type PolicyKey = (ResourceName, ResourceName);

#[derive(Clone)]
struct KeptPolicy {
    digest: Digest,
    built: KeptBuilt,
}

#[derive(Clone)]
enum KeptBuilt {
    Step(Arc<dyn crate::policy::Policy>),
    Upstream(UpstreamSettings),
    Route,
    Inbound(Arc<crate::tls::Inbound>),
}

/// Makes the TLS configuration of upstreams that have no context of their own: TLS 1.2, the roots
/// of the system (configuration reference 6.3, decision 28).
pub type TlsDefaults = Box<dyn Fn(&str) -> Result<UpstreamTls, String> + Send>;

/// Problems and results of one run.
struct Run<'m> {
    engine: EngineSettings,
    diagnostics: Diagnostics,
    not_ready: Vec<(Subject, String)>,
    policies: HashMap<PolicyKey, KeptPolicy>,
    upstreams: HashMap<&'m ResourceName, Arc<UpstreamPlan>>,
}

impl Compiler {
    pub fn new(registry: Arc<Registry>, replica_name: impl AsRef<str>, tls: TlsDefaults) -> Self {
        Self {
            registry,
            replica_name: Arc::from(replica_name.as_ref()),
            tls,
            policies: HashMap::new(),
            upstream_ids: HashMap::new(),
            upstreams: HashMap::new(),
            instances: HashMap::new(),
            contexts: HashMap::new(),
            generation: 0,
        }
    }

    /// Compiles a model. Never fails as a whole: what is broken is closed, the rest is served.
    pub fn compile(&mut self, model: &ResolvedModel, engine: EngineSettings) -> Compiled {
        let mut engine_digest = Digest::builder().part(format!("{engine:?}"));
        // A secret's `Debug` is the same for all.
        engine_digest
            .add(engine.forward_proxy.as_ref().and_then(|proxy| proxy.authorization()).unwrap_or(""));
        let engine_digest = engine_digest.finish();
        let mut run = Run {
            engine,
            diagnostics: Diagnostics::default(),
            not_ready: Vec::new(),
            policies: HashMap::new(),
            upstreams: HashMap::new(),
        };
        let mut upstream_ids = HashMap::new();
        let mut upstreams = HashMap::new();
        for service in &model.services {
            let digest = Digest::builder().part(service.digest.to_string()).part(engine_digest.to_string());
            let digest = digest.finish();
            let plan = self.upstream(service, digest, &mut run, &mut upstream_ids);
            upstreams.insert(service.name.clone(), (digest, Arc::clone(&plan)));
            run.upstreams.insert(&service.name, plan);
        }
        let tls = self.port_tls(model, &mut run);
        let mut instances = HashMap::new();
        for instance in &model.instances {
            if let Some(reason) = tls.closed.get(&instance.address.port) {
                let subject = Subject::new("ApiInstance", instance.name.clone());
                run.not_ready.push((subject, reason.clone()));
                continue;
            }
            let digest = instance_digest(instance, &run, engine_digest);
            let blocked = tls.blocked(&instance.name, instance.address.port);
            let plan = self.instance(instance, digest, blocked, &mut run);
            instances.insert(instance.name.clone(), (digest, plan));
        }
        // All at once, so that a panic above leaves what was compiled before as it was.
        self.upstreams = upstreams;
        self.upstream_ids = upstream_ids;
        self.policies = run.policies;
        self.generation += 1;
        let upstreams = model.services.iter().filter_map(|s| run.upstreams.get(&s.name).cloned()).collect();
        let plans = model.instances.iter().filter_map(|i| instances.get(&i.name));
        let plans: Vec<_> = plans.map(|(_, plan)| Arc::clone(plan)).collect();
        self.instances = instances;
        self.contexts = tls.kept;
        let snapshot = Snapshot {
            generation: self.generation,
            digest: Digest::builder()
                .part(model.digest().to_string())
                .part(engine_digest.to_string())
                .finish(),
            listeners: ports::listeners(&plans),
            ports: ports::routers(plans),
            tls: tls.contexts,
            engine: run.engine,
            upstreams,
        };
        Compiled { snapshot, diagnostics: run.diagnostics, not_ready: run.not_ready }
    }

    fn upstream(
        &self,
        service: &Service,
        digest: Digest,
        run: &mut Run<'_>,
        ids: &mut HashMap<(ResourceName, String), (UpstreamId, Arc<UpstreamGauges>)>,
    ) -> Arc<UpstreamPlan> {
        let key = (service.name.clone(), service.address.to_string());
        if let Some((kept, plan)) = self.upstreams.get(&service.name)
            && *kept == digest
            && plan.blocked.is_none()
            && self.keep_policies(&service.name, &service.policies, run)
        {
            ids.insert(key, (plan.id, Arc::clone(&plan.gauges)));
            return Arc::clone(plan);
        }
        let subject = Subject::new("Service", service.name.clone());
        let mut blocked = service.blocked.clone();
        let mut settings = UpstreamSettings::default();
        let mut steps = Vec::new();
        for policy in &service.policies {
            match self.policy(policy, &service.name, run) {
                Some((KeptBuilt::Upstream(found), _)) => {
                    settings.idle_timeout = found.idle_timeout.or(settings.idle_timeout);
                    settings.limits = found.limits.or(settings.limits);
                }
                Some((KeptBuilt::Step(instance), rules)) => {
                    steps.push(self.step(policy, &service.name, instance, rules));
                }
                Some((KeptBuilt::Route | KeptBuilt::Inbound(_), _)) => {}
                None => blocked = blocked.or_else(|| Some(cannot_be_built(policy))),
            }
        }
        let tls = match service.address.scheme {
            ServiceScheme::Https => match (self.tls)(&service.address.host) {
                Ok(tls) => Some(tls),
                Err(cause) => {
                    run.diagnostics.push(
                        Diagnostic::error(format!(
                            "TLS to `{}` is not possible: {cause}",
                            service.address.host
                        ))
                        .about(&subject)
                        .at(service.location.clone())
                        .field("spec.address"),
                    );
                    blocked = blocked.or(Some(cause));
                    None
                }
            },
            ServiceScheme::Http | ServiceScheme::H2 => None,
        };
        let proxy = run.engine.forward_proxy.as_ref().filter(|proxy| proxy.serves(&service.address.host));
        let proxy = proxy.map(|proxy| UpstreamProxy::new(proxy, &service.address, tls.is_some()));
        if let Some(reason) = &blocked {
            run.not_ready.push((subject, reason.clone()));
        }
        let (id, gauges) = self.upstream_ids.get(&key).cloned().unwrap_or_else(|| {
            let taken = |id: &UpstreamId| {
                ids.values().chain(self.upstream_ids.values()).any(|(taken, _)| taken == id)
            };
            let free = (0..).find(|id| !taken(id)).unwrap_or_default();
            (free, Arc::new(UpstreamGauges::default()))
        });
        ids.insert(key, (id, Arc::clone(&gauges)));
        Arc::new(UpstreamPlan {
            id,
            name: service.name.clone(),
            authority: authority(&service.address.host).into(),
            address: service.address.clone(),
            chain: Chain::new(steps),
            idle_timeout: settings.idle_timeout.unwrap_or(run.engine.upstream_idle),
            limits: UpstreamLimits::resolve(settings.limits.unwrap_or_default(), run.engine.circuit),
            gauges,
            metrics: self.registry.upstream(&service.name),
            tls,
            proxy,
            blocked,
        })
    }

    /// Carries the policies of a target over, if all of them are what the configuration names (and
    /// none a last good version).
    fn keep_policies(&self, target: &ResourceName, policies: &[BoundPolicy], run: &mut Run<'_>) -> bool {
        let mut kept = Vec::with_capacity(policies.len());
        for policy in policies {
            let key = (target.clone(), policy.binding.clone());
            match self.policies.get(&key).filter(|kept| kept.digest == policy.digest) {
                Some(policy) => kept.push((key, policy.clone())),
                None => return false,
            }
        }
        run.policies.extend(kept);
        true
    }

    fn instance(
        &self,
        instance: &Instance,
        digest: Digest,
        blocked: Option<String>,
        run: &mut Run<'_>,
    ) -> Arc<InstancePlan> {
        if let Some((kept, plan)) = self.instances.get(&instance.name)
            && *kept == digest
            && blocked.is_none()
            && plan.blocked.is_none()
            && points_to_current_upstreams(plan, run)
            && self.keep_policies(&instance.name, &instance.policies, run)
        {
            return Arc::clone(plan);
        }
        let subject = Subject::new("ApiInstance", instance.name.clone());
        let mut blocked = instance.blocked.clone().or(blocked);
        let mut steps = Vec::new();
        for policy in &instance.policies {
            match self.policy(policy, &instance.name, run) {
                Some((KeptBuilt::Step(built), rules)) => {
                    steps.push(self.step(policy, &instance.name, built, rules));
                }
                Some(_) => {}
                None => blocked = blocked.or_else(|| Some(cannot_be_built(policy))),
            }
        }
        let mut routes = Vec::with_capacity(instance.routes.len());
        for route in &instance.routes {
            match self.route(route, &subject, run) {
                Some(plan) => routes.push(plan),
                None => blocked = blocked.or_else(|| Some(format!("route {} has invalid rules", route.name))),
            }
        }
        if let Some(reason) = &blocked {
            run.not_ready.push((subject, reason.clone()));
        }
        let base_path = &instance.address.base_path;
        Arc::new(InstancePlan {
            name: instance.name.clone(),
            host: instance.address.host,
            port: instance.address.port,
            base_path: base_path.trim_end_matches('/').into(),
            slash_required: base_path.ends_with('/'),
            chain: Chain::new(steps),
            routes,
            blocked,
            metrics: self.registry.api(&instance.name),
        })
    }

    /// The instance of a policy and its rules; `None` if there is none that may be used.
    fn policy(
        &self,
        policy: &BoundPolicy,
        target: &ResourceName,
        run: &mut Run<'_>,
    ) -> Option<(KeptBuilt, RuleSet)> {
        let rules = compile_rules(&policy.rules, &policy.subject, &policy.location, run);
        let key = (target.clone(), policy.binding.clone());
        let last_good = self.policies.get(&key).cloned();
        if let Some(kept) = last_good.as_ref().filter(|kept| kept.digest == policy.digest) {
            run.policies.insert(key, kept.clone());
            return Some((kept.built.clone(), rules?));
        }
        let built = match self.build(policy, target, run) {
            Some(built) => KeptPolicy { digest: policy.digest, built },
            None => {
                let kept = last_good?;
                run.diagnostics.push(
                    Diagnostic::warning(format!(
                        "the last good configuration of `{}` stays in force",
                        policy.policy
                    ))
                    .about(&policy.subject)
                    .at(policy.location.clone())
                    .help(
                        "correct the errors above; the new configuration is applied as soon as it is valid",
                    ),
                );
                kept
            }
        };
        run.policies.insert(key, built.clone());
        Some((built.built, rules?))
    }

    fn build(&self, policy: &BoundPolicy, target: &ResourceName, run: &mut Run<'_>) -> Option<KeptBuilt> {
        let entry = catalog::find(&policy.policy)?;
        let mut services = PolicyServices::new(
            policy.binding.clone(),
            target.clone(),
            run.engine.buffered_body_bytes_max,
            Arc::clone(&self.replica_name),
        );
        services.observer = self.observer(policy, target);
        services.proxies_are_declared = !run.engine.trusted_proxies.is_empty();
        let outcome = entry.build(&policy.config, &policy.config_field, &services);
        let failed = outcome.problems.iter().any(crate::document::Problem::is_error);
        run.diagnostics.extend(outcome.problems.into_iter().map(|problem| problem.about(&policy.subject)));
        match outcome.built? {
            _ if failed => None,
            Built::Step(step) => Some(KeptBuilt::Step(step)),
            Built::Upstream(settings) => Some(KeptBuilt::Upstream(settings)),
            Built::Route => Some(KeptBuilt::Route),
            Built::Inbound(inbound) => Some(KeptBuilt::Inbound(inbound)),
        }
    }

    fn step(
        &self,
        policy: &BoundPolicy,
        target: &ResourceName,
        instance: Arc<dyn crate::policy::Policy>,
        rules: RuleSet,
    ) -> Step {
        Step {
            policy: instance,
            rules,
            binding: policy.binding.clone(),
            name: Arc::from(policy.policy.as_str()),
            observer: self.observer(policy, target),
        }
    }

    fn observer(&self, policy: &BoundPolicy, target: &ResourceName) -> Arc<dyn PolicyObserver> {
        Arc::new(Counted(self.registry.policy(&PolicyLabel {
            target: target.clone(),
            binding: Arc::from(policy.binding.to_string()),
            policy: Arc::from(policy.policy.as_str()),
        })))
    }

    fn route(&self, route: &Route, subject: &Subject, run: &mut Run<'_>) -> Option<RoutePlan> {
        let rules = compile_rules(&route.rules, subject, &route.location, run)?;
        let destinations: Vec<_> = route
            .destinations
            .iter()
            .map(|destination| {
                let upstream = run.upstreams.get(&destination.service).cloned();
                let base = upstream.as_ref().map_or("", |upstream| upstream.address.path.as_str());
                let prefix = format!("{base}{}", destination.path.trim_end_matches('/'));
                let prefix =
                    if prefix.is_empty() || prefix.starts_with('/') { prefix } else { format!("/{prefix}") };
                DestinationPlan { weight: destination.weight, prefix: prefix.into(), upstream }
            })
            .collect();
        let weight_total = destinations.iter().map(|destination| destination.weight).sum();
        Some(RoutePlan { rules, destinations, weight_total })
    }
}

fn points_to_current_upstreams(plan: &InstancePlan, run: &Run<'_>) -> bool {
    plan.routes.iter().flat_map(|route| &route.destinations).all(|destination| {
        destination
            .upstream
            .as_ref()
            .is_some_and(|old| run.upstreams.get(&old.name).is_some_and(|new| Arc::ptr_eq(old, new)))
    })
}

fn cannot_be_built(policy: &BoundPolicy) -> String {
    format!("policy {} of binding {} cannot be built", policy.policy, policy.binding)
}

/// Counts where the metrics of the policy are.
struct Counted(Arc<PolicyMetrics>);

impl PolicyObserver for Counted {
    fn refused(&self, status: u16) {
        self.0.rejected(status);
    }

    fn failed(&self) {
        self.0.failed();
    }
}

/// An IPv6 literal goes in brackets.
fn authority(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn instance_digest(instance: &Instance, run: &Run<'_>, engine: Digest) -> Digest {
    let mut digest = Digest::builder().part(instance.digest.to_string()).part(engine.to_string());
    for destination in instance.routes.iter().flat_map(|route| &route.destinations) {
        digest.add(if run.upstreams.contains_key(&destination.service) { "there" } else { "missing" });
    }
    digest.finish()
}
