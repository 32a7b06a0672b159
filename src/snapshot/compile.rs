//! From the resolved model to a snapshot, reusing what has not changed.

mod policies;
mod ports;
mod rules;
mod tls;
mod unread;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use policies::{KeptBuilt, KeptPolicy, PolicyKey, cannot_be_built};
use rules::compile_rules;
use tls::KeptContext;

use super::{
    DestinationPlan, EngineSettings, InstancePlan, RoutePlan, Snapshot, UpstreamGauges, UpstreamPlan,
    endpoint::Endpoints,
    upstream::{UpstreamLimits, UpstreamProxy},
};
use crate::{
    base::{Diagnostic, Diagnostics, Digest, ResourceName, Subject},
    policy::{Caching, Chain, UpstreamSettings},
    quota::Quotas,
    resources::{Instance, ResolvedModel, Route, Service, kinds::shared_storage::SharedStorage},
    storage::Storage,
    telemetry::metrics::Registry,
    tls::{Outbound, OutboundContext},
};

/// What a model became.
pub struct Compiled {
    pub snapshot: Snapshot,
    /// What the compiler found, beyond what the resolver had found.
    pub diagnostics: Diagnostics,
    /// Instances and services that are not in force as written, with the reason.
    pub not_ready: Vec<(Subject, String)>,
}

/// Keeps compiled parts from one snapshot to the next. A clone keeps the same parts: it is how to go back.
#[derive(Clone)]
pub struct Compiler {
    registry: Arc<Registry>,
    replica_name: Arc<str>,
    quotas: Quotas,
    tls_default: TlsDefault,
    storage: Storage,
    caching: Caching,
    policies: HashMap<PolicyKey, KeptPolicy>,
    /// By name and address.
    gauges: HashMap<(ResourceName, String), Arc<UpstreamGauges>>,
    endpoints: Endpoints,
    upstreams: HashMap<ResourceName, (Digest, Arc<UpstreamPlan>)>,
    instances: HashMap<ResourceName, (Digest, Arc<InstancePlan>)>,
    /// By port.
    contexts: HashMap<u16, KeptContext>,
    /// Towards upstreams, by the digest of what describes them: sessions go on over reloads.
    outbound: HashMap<Digest, Arc<OutboundContext>>,
    generation: u64,
}

/// Describes the TLS towards upstreams that have no context of their own (configuration reference 6.3).
pub type TlsDefault = fn() -> Result<Arc<Outbound>, String>;

/// Problems and results of one run.
struct Run<'m> {
    engine: EngineSettings,
    /// Whether a shared storage is configured.
    shares: bool,
    diagnostics: Diagnostics,
    not_ready: Vec<(Subject, String)>,
    policies: HashMap<PolicyKey, KeptPolicy>,
    /// Under which keys the policies stood that go on under another.
    moved: HashSet<PolicyKey>,
    upstreams: HashMap<&'m ResourceName, Arc<UpstreamPlan>>,
    gauges: HashMap<(ResourceName, String), Arc<UpstreamGauges>>,
    endpoints: Endpoints,
    outbound: HashMap<Digest, Arc<OutboundContext>>,
}

impl Compiler {
    pub fn new(registry: Arc<Registry>, replica_name: impl AsRef<str>, tls_default: TlsDefault) -> Self {
        Self {
            registry,
            replica_name: Arc::from(replica_name.as_ref()),
            quotas: Quotas::unserved(),
            tls_default,
            storage: Storage::in_memory(),
            caching: Caching::default(),
            policies: HashMap::new(),
            gauges: HashMap::new(),
            endpoints: Endpoints::default(),
            upstreams: HashMap::new(),
            instances: HashMap::new(),
            contexts: HashMap::new(),
            outbound: HashMap::new(),
            generation: 0,
        }
    }

    /// What policies share with those of other replicas, and count together with them; else it is theirs alone.
    #[must_use]
    pub fn sharing(mut self, storage: Storage, quotas: Quotas) -> Self {
        self.storage = storage;
        self.quotas = quotas;
        self
    }

    /// What caches keep their entries with; else the defaults, and nothing survives a restart.
    #[must_use]
    pub fn caching(mut self, caching: Caching) -> Self {
        self.caching = caching;
        self
    }

    /// Compiles a model. Never fails as a whole: what is broken is closed, the rest is served.
    pub fn compile(&mut self, model: &ResolvedModel, engine: EngineSettings) -> Compiled {
        let mut engine_digest = Digest::builder().part(format!("{engine:?}"));
        // A secret's `Debug` is the same for all.
        engine_digest
            .add(engine.forward_proxy.as_ref().and_then(|proxy| proxy.authorization()).unwrap_or(""));
        let engine_digest = engine_digest.finish();
        let redis = match &model.settings.shared_storage {
            Some(SharedStorage::Redis(plan)) => Some(plan),
            Some(SharedStorage::Local) | None => None,
        };
        let mut run = Run {
            engine,
            shares: redis.is_some(),
            diagnostics: Diagnostics::default(),
            not_ready: Vec::new(),
            policies: HashMap::new(),
            moved: HashSet::new(),
            upstreams: HashMap::new(),
            gauges: HashMap::new(),
            endpoints: Endpoints::after(&self.endpoints),
            outbound: HashMap::new(),
        };
        let mut upstreams = HashMap::new();
        for service in &model.services {
            let digest = Digest::builder().part(service.digest.to_string()).part(engine_digest.to_string());
            let digest = digest.finish();
            let plan = self.upstream(service, digest, &mut run);
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
        self.gauges = run.gauges;
        self.endpoints = run.endpoints;
        self.outbound = run.outbound;
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
            storage_tls: redis.and_then(|plan| plan.tls.clone()),
        };
        let mut said = HashSet::new();
        run.not_ready.retain(|entry| said.insert(entry.clone()));
        Compiled { snapshot, diagnostics: run.diagnostics, not_ready: run.not_ready }
    }

    fn upstream(&self, service: &Service, digest: Digest, run: &mut Run<'_>) -> Arc<UpstreamPlan> {
        let key = (service.name.clone(), service.address.to_string());
        if let Some((kept, plan)) = self.upstreams.get(&service.name)
            && *kept == digest
            && plan.blocked.is_none()
            && !tls::may_clash(service)
            && self.keep_policies(&service.name, &service.policies, run)
        {
            run.gauges.insert(key, Arc::clone(&plan.gauges));
            run.endpoints.keep(&plan.endpoint);
            if let Some(tls) = &plan.endpoint.tls {
                run.outbound.insert(tls.context.described.digest, Arc::clone(&tls.context));
            }
            return Arc::clone(plan);
        }
        let subject = Subject::new("Service", service.name.clone());
        let mut blocked = service.blocked.clone();
        let mut settings = UpstreamSettings::default();
        // With the policies that they come from.
        let mut contexts = Vec::new();
        let mut steps = Vec::new();
        for policy in &service.policies {
            match self.policy(policy, &service.name, &service.policies, run) {
                Some((KeptBuilt::Upstream(found), _)) => {
                    let overruled = settings.idle_timeout.and(found.idle_timeout).is_some()
                        || settings.limits.and(found.limits).is_some();
                    if overruled {
                        let what = format!("`{}` of the Service {}", policy.policy, service.name);
                        let found = Diagnostic::warning(format!("this {what} takes the place of another"));
                        let found = found.about(&policy.subject).at(policy.location.clone());
                        run.diagnostics.push(found.help("a Service has one: remove the other"));
                    }
                    settings.idle_timeout = found.idle_timeout.or(settings.idle_timeout);
                    settings.limits = found.limits.or(settings.limits);
                    contexts.extend(found.tls.map(|described| (policy, described)));
                }
                Some((KeptBuilt::Step(instance), rules)) => {
                    steps.push(self.step(policy, &service.name, instance, rules));
                }
                Some((KeptBuilt::Route | KeptBuilt::Inbound(_), _)) => {}
                None => blocked = blocked.or_else(|| Some(cannot_be_built(policy))),
            }
        }
        let (tls, tls_binding) = match self.upstream_tls(service, contexts, run) {
            Ok(tls) => tls.unzip(),
            Err(cause) => {
                let message = format!("TLS to `{}` is not possible: {cause}", service.address.host);
                run.diagnostics.push(
                    Diagnostic::error(message)
                        .about(&subject)
                        .at(service.location.clone())
                        .field("spec.address"),
                );
                blocked = blocked.or(Some(cause));
                (None, None)
            }
        };
        let proxy = run.engine.forward_proxy.as_ref().filter(|proxy| proxy.serves(&service.address.host));
        let proxy = proxy.map(|proxy| UpstreamProxy::new(proxy, &service.address, tls.is_some()));
        if let Some(reason) = &blocked {
            run.not_ready.push((subject, reason.clone()));
        }
        let endpoint = run.endpoints.endpoint(&self.endpoints, &service.address, tls, proxy);
        let limits = UpstreamLimits::resolve(settings.limits.unwrap_or_default(), run.engine.circuit);
        let gauges = self.gauges.get(&key).cloned();
        let gauges = gauges.unwrap_or_else(|| UpstreamGauges::new(limits.connections_max));
        run.gauges.insert(key, Arc::clone(&gauges));
        Arc::new(UpstreamPlan {
            endpoint,
            tls_binding: tls_binding.flatten(),
            name: service.name.clone(),
            authority: authority(&service.address.host).into(),
            address: service.address.clone(),
            chain: Chain::new(steps, run.engine.buffered_body_bytes_max),
            idle_timeout: settings.idle_timeout.unwrap_or(run.engine.upstream_idle),
            limits,
            gauges,
            metrics: self.registry.upstream(&service.name),
            blocked,
        })
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
            match self.policy(policy, &instance.name, &instance.policies, run) {
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
            chain: Chain::new(steps, run.engine.buffered_body_bytes_max),
            routes,
            blocked,
            metrics: self.registry.api(&instance.name),
        })
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
