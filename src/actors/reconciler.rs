//! Owns what is wanted, and is the only publisher of snapshots.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, AtomicResponse, Context, Handler, Message, MessageResult,
    WrapFuture,
};
use serde::Serialize;

use super::{
    health::{Deployment, Health},
    listeners::{Listeners, Open, Retain},
    probes::{ProbePort, Probes, Serve},
};
use crate::{
    base::{Diagnostic, Diagnostics, Severity},
    resources::ResolvedModel,
    snapshot::{Generation, Look, Reconciliation, SnapshotPublisher},
    telemetry::{log::Log, metrics::GatewayMetrics},
};

/// How long the listeners may take to bind.
const LISTENERS_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Reconciler {
    wanted: Reconciliation,
    publisher: SnapshotPublisher,
    listeners: Addr<Listeners>,
    health: Arc<Health>,
    metrics: Arc<GatewayMetrics>,
    log: Arc<Log>,
    state: ReconcilerState,
    probes: Option<Addr<Probes>>,
    /// Addresses that could not be bound: tried again by each look.
    unbound: BTreeSet<SocketAddr>,
    model: Option<Arc<ResolvedModel>>,
    not_ready: Vec<(String, String)>,
    reported: Vec<Diagnostic>,
}

impl Reconciler {
    pub fn new(
        wanted: Reconciliation,
        publisher: SnapshotPublisher,
        listeners: Addr<Listeners>,
        health: Arc<Health>,
        metrics: Arc<GatewayMetrics>,
        log: Arc<Log>,
    ) -> Self {
        Self {
            wanted,
            publisher,
            listeners,
            health,
            metrics,
            log,
            state: ReconcilerState::default(),
            probes: None,
            unbound: BTreeSet::new(),
            model: None,
            not_ready: Vec::new(),
            reported: Vec::new(),
        }
    }
}

impl Actor for Reconciler {
    type Context = Context<Self>;
}

/// Looks at the folders now. Answered when what was found is in force.
#[derive(Message)]
#[rtype(result = "Reloaded")]
pub struct ReloadNow;

/// What a look came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reloaded {
    /// Whether a new snapshot was published.
    pub changed: bool,
    pub generation: u64,
    pub digest: String,
    pub errors: usize,
    pub warnings: usize,
}

impl Handler<ReloadNow> for Reconciler {
    type Result = AtomicResponse<Self, Reloaded>;

    fn handle(&mut self, _: ReloadNow, ctx: &mut Context<Self>) -> Self::Result {
        let (look, again) = self.wanted.look(Instant::now());
        if let Some(at) = again {
            let delay = at.saturating_duration_since(Instant::now()) + Duration::from_millis(5);
            ctx.run_later(delay, |_, ctx| {
                if ctx.address().try_send(ReloadNow).is_err() {
                    tracing::warn!("a look at the configuration was lost; the next one will make up for it");
                }
            });
        }
        let Look::Changed(generation) = look else {
            self.bind_again(ctx);
            let unchanged = Reloaded { changed: false, ..self.state.last.clone() };
            return AtomicResponse::new(Box::pin(async { unchanged }.into_actor(self)));
        };
        let open = self.listeners.send(Open(generation.snapshot.listeners.clone()));
        let open = open.timeout(LISTENERS_TIMEOUT);
        AtomicResponse::new(Box::pin(async move { (open.await, generation) }.into_actor(self).map(
            |(opened, generation), act, _| {
                let failed = opened.unwrap_or_else(|error| {
                    tracing::error!(%error, "the listeners do not answer");
                    Vec::new()
                });
                act.publish(*generation, &failed)
            },
        )))
    }
}

impl Reconciler {
    /// One atomic switch; then what is gone is retired.
    fn publish(&mut self, generation: Generation, failed: &[(SocketAddr, String)]) -> Reloaded {
        let Generation { model, snapshot, log, diagnostics, not_ready } = generation;
        let mut diagnostics = diagnostics;
        diagnostics.extend(failed.iter().map(|(address, cause)| {
            Diagnostic::error(format!("cannot listen on {address}: {cause}"))
                .help("free the address or change `spec.address`, then reload")
        }));
        let wanted: BTreeSet<SocketAddr> = snapshot.listeners.clone();
        let summary = Reloaded {
            changed: true,
            generation: snapshot.generation,
            digest: snapshot.digest.short(),
            errors: diagnostics.count(Severity::Error),
            warnings: diagnostics.count(Severity::Warning),
        };
        let served = snapshot.instances().filter(|instance| instance.blocked.is_none()).count();
        let apis = snapshot.instances().count();
        diagnostics.extend(self.log.apply(&log));
        self.publisher.publish(snapshot);
        if self.listeners.try_send(Retain(wanted)).is_err() {
            tracing::error!("addresses that are gone stay open until the next change");
        }
        self.report(&diagnostics);
        self.metrics.reloaded(summary.generation, &summary.digest);
        self.unbound = failed.iter().map(|(address, _)| *address).collect();
        self.serve_probes(&model);
        self.health.deployed(deployment(&diagnostics, apis, failed.len()));
        tracing::info!(target: "flex-gateway-envoy", "cds: added/updated");
        tracing::info!(
            "generation {} ({}) applied: {served} of {apis} API instances served, {} errors, {} warnings",
            summary.generation,
            summary.digest,
            summary.errors,
            summary.warnings
        );
        self.not_ready =
            not_ready.into_iter().map(|(subject, reason)| (subject.to_string(), reason)).collect();
        self.model = Some(model);
        self.state.last = summary.clone();
        summary
    }

    /// Addresses that somebody else held may be free by now.
    fn bind_again(&mut self, ctx: &mut Context<Self>) {
        if self.unbound.is_empty() {
            return;
        }
        let tried = self.unbound.clone();
        let open = self.listeners.send(Open(tried)).timeout(LISTENERS_TIMEOUT);
        ctx.spawn(open.into_actor(self).map(move |failed, act, _| {
            if let Ok(failed) = failed {
                act.unbound = failed.into_iter().map(|(address, _)| address).collect();
                let envoy_errors = act.unbound.len();
                act.health.deployed(Deployment { envoy_errors, ..act.health.last() });
            }
        }));
    }

    fn serve_probes(&self, model: &ResolvedModel) {
        let wanted = model.settings.probe.as_ref().filter(|probe| probe.enabled).and_then(|probe| {
            let port = probe.port.as_ref()?.value;
            Some(ProbePort { port, path: probe.path.clone() })
        });
        if let Some(probes) = &self.probes
            && probes.try_send(Serve(wanted)).is_err()
        {
            tracing::error!("the probe port stays as it was");
        }
    }

    /// Each finding once, when it is new. Source lines stay out: they may hold a password.
    fn report(&mut self, diagnostics: &Diagnostics) {
        for found in diagnostics.iter().filter(|found| !self.reported.contains(found)) {
            let line = one_line(found);
            match found.severity {
                Severity::Error => tracing::error!("{line}"),
                Severity::Warning => tracing::warn!("{line}"),
            }
        }
        self.reported = diagnostics.iter().cloned().collect();
    }
}

/// `<Kind> <namespace>/<name>: <reason>` (configuration reference 15), with place and remedy.
fn one_line(found: &Diagnostic) -> String {
    let mut line = String::new();
    if let Some(subject) = &found.subject {
        line.push_str(&format!("{subject}: "));
    }
    line.push_str(&found.message);
    if let Some(field) = &found.field {
        line.push_str(&format!(" ({field})"));
    }
    if let Some(location) = &found.location {
        line.push_str(&format!(" at {location}"));
    }
    for help in &found.help {
        line.push_str(&format!("; help: {help}"));
    }
    line
}

/// Errors by class (configuration reference 10.1): bindings and policy configurations, everything
/// else in resources, and what the engine could not do.
fn deployment(diagnostics: &Diagnostics, apis: usize, envoy_errors: usize) -> Deployment {
    let errors = diagnostics.iter().filter(|found| found.is_error() && found.subject.is_some());
    let of_policy = |found: &&Diagnostic| {
        let kind = found.subject.as_ref().map(|subject| &*subject.kind);
        let field = found.field.as_deref().unwrap_or_default();
        kind == Some("PolicyBinding") || field.contains("policies[") || field.contains("config")
    };
    let (policy, api): (Vec<_>, Vec<_>) = errors.partition(of_policy);
    let in_files = diagnostics.iter().filter(|found| found.is_error() && found.subject.is_none()).count();
    let api_errors = api.len() + in_files.saturating_sub(envoy_errors);
    Deployment { apis, api_errors, policy_errors: policy.len(), envoy_errors }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct ReconcilerState {
    pub last: Reloaded,
}

/// Asks for the state and the resources behind it.
#[derive(Message)]
#[rtype(result = "Described")]
pub struct Describe;

pub struct Described {
    pub state: ReconcilerState,
    pub model: Option<Arc<ResolvedModel>>,
    /// Instances and services that are not in force as written: `Kind namespace/name`, reason.
    pub not_ready: Vec<(String, String)>,
}

impl Handler<Describe> for Reconciler {
    type Result = MessageResult<Describe>;

    fn handle(&mut self, _: Describe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(Described {
            state: self.state.clone(),
            model: self.model.clone(),
            not_ready: self.not_ready.clone(),
        })
    }
}

/// Names the actor that owns the probe port; it gets what `spec.probe` asks for.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ProbesAre(pub Addr<Probes>);

impl Handler<ProbesAre> for Reconciler {
    type Result = ();

    fn handle(&mut self, ProbesAre(probes): ProbesAre, _: &mut Context<Self>) {
        self.probes = Some(probes);
        if let Some(model) = self.model.clone() {
            self.serve_probes(&model);
        }
    }
}
