//! Owns what is wanted, and is the only publisher of snapshots.

mod described;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorFuture, ActorFutureExt, Addr, AsyncContext, AtomicResponse, Context, Handler, Message,
    ResponseActFuture, SpawnHandle, WrapFuture,
};
use serde::Serialize;
use tokio::{runtime::Handle, sync::watch};

pub use self::described::{Describe, Described};
use super::{
    health::{Deployment, Health},
    listeners::{Listeners, Open, Retain},
    probes::{ProbePort, Probes, Serve},
};
use crate::{
    base::{Diagnostic, Diagnostics, Severity, Subject, plural},
    resources::{
        Instance, ResolvedModel, SharedFile, SharedFiles,
        kinds::{GatewaySettings, shared_storage::SharedStorage},
        writing::WRITING_AT_MOST,
    },
    settings::RESERVED_PORT,
    snapshot::{Generation, Look, Reconciliation, SnapshotPublisher, plan::covers, tls},
    storage::Storage,
    telemetry::{log::Log, metrics::GatewayMetrics},
};

/// How long the listeners may take to bind.
const LISTENERS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long until an address that could not be bound is tried again: what held it may be another
/// process that is just ending.
const BIND_AGAIN: Duration = Duration::from_secs(1);
/// How late the system may tell that a file was closed.
const UNHEARD: Duration = Duration::from_millis(50);

pub struct Reconciler {
    wanted: Reconciliation,
    publisher: SnapshotPublisher,
    parts: Parts,
    last: Reloaded,
    model: Option<Arc<ResolvedModel>>,
    /// Of the generation in force, addresses apart.
    found: Diagnostics,
    not_ready: Vec<(Subject, String)>,
    files: Arc<[SharedFile]>,
    shared_version: Option<u64>,
    /// API instances that are written, and the addresses of those that do more than refuse.
    configured: usize,
    answering: Vec<SocketAddr>,
    /// Addresses that could not be bound, with the reason: tried again by each look, and there is one
    /// a second as long as there are any.
    unbound: BTreeMap<SocketAddr, String>,
    bind_again: Option<SpawnHandle>,
    /// What is held at the moment.
    look_again: Option<SpawnHandle>,
    reported: Vec<Diagnostic>,
}

/// What a generation concerns besides the workers.
pub struct Parts {
    pub listeners: Addr<Listeners>,
    pub probes: Addr<Probes>,
    pub health: Arc<Health>,
    pub metrics: Arc<GatewayMetrics>,
    pub log: Arc<Log>,
    pub storage: Storage,
    /// Where connections of the storage live.
    pub storage_runtime: Handle,
    pub in_force: watch::Sender<InForce>,
}

/// What is in force, for whoever tells other replicas.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// 0 before the first.
    pub generation: u64,
    pub digest: String,
    /// API instances that are written.
    pub apis: usize,
    /// Of the configuration itself: addresses apart, which may be taken here alone.
    pub written_errors: usize,
    pub errors: usize,
    pub first_error: Option<String>,
    /// The files that the resources stand in; none unless this replica publishes.
    pub files: Arc<[SharedFile]>,
    /// Version of the shared configuration that they come from.
    pub shared_version: Option<u64>,
}

impl Reconciler {
    pub fn new(wanted: Reconciliation, publisher: SnapshotPublisher, parts: Parts) -> Self {
        Self {
            wanted,
            publisher,
            parts,
            last: Reloaded::default(),
            model: None,
            found: Diagnostics::default(),
            not_ready: Vec::new(),
            files: Arc::default(),
            shared_version: None,
            configured: 0,
            answering: Vec::new(),
            unbound: BTreeMap::new(),
            bind_again: None,
            look_again: None,
            reported: Vec::new(),
        }
    }
}

impl Actor for Reconciler {
    type Context = Context<Self>;
}

/// Looks at the folders now. Answered when what was found is in force.
#[derive(Message)]
#[rtype(result = "Result<Reloaded, NotApplied>")]
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
    /// Files that the configuration names.
    #[serde(skip)]
    pub files: Vec<PathBuf>,
}

/// Why a look put nothing in force; what was in force stays.
#[derive(Debug)]
pub enum NotApplied {
    /// At the start only: files that do not say what they hold may hold the policies that protect an
    /// API of another file, and there is no last good version.
    Broken(Vec<Diagnostic>),
    /// The gateway's own fault. The next look tries again.
    Failed(String),
}

impl fmt::Display for NotApplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(found) => {
                write!(f, "the configuration cannot be read in {}", plural(found.len(), "place"))
            }
            Self::Failed(cause) => f.write_str(cause),
        }
    }
}

/// Puts the configuration in force that replicas share. Answered when it is, or why not: then what was in force before
/// is in force still.
#[derive(Message)]
#[rtype(result = "Result<Reloaded, String>")]
pub struct Offer(pub SharedFiles);

impl Handler<Offer> for Reconciler {
    type Result = AtomicResponse<Self, Result<Reloaded, String>>;

    fn handle(&mut self, Offer(shared): Offer, _: &mut Context<Self>) -> Self::Result {
        match self.wanted.accept(&shared, Instant::now()) {
            Ok(generation) => {
                let opened = self.open_first(generation);
                AtomicResponse::new(Box::pin(
                    opened.map(|answer, _, _| answer.map_err(|error: NotApplied| error.to_string())),
                ))
            }
            Err(refused) => {
                self.parts.metrics.reload_failed();
                AtomicResponse::new(Box::pin(std::future::ready(Err(refused)).into_actor(self)))
            }
        }
    }
}

/// Looks again, whatever happens until then.
fn look_in(delay: Duration, ctx: &mut Context<Reconciler>) -> SpawnHandle {
    ctx.run_later(delay, |_, ctx| {
        if ctx.address().try_send(ReloadNow).is_err() {
            tracing::warn!("a look at the configuration was lost; the next one will make up for it");
        }
    })
}

type Outcome = ResponseActFuture<Reconciler, Result<Reloaded, NotApplied>>;

impl Handler<ReloadNow> for Reconciler {
    type Result = AtomicResponse<Self, Result<Reloaded, NotApplied>>;

    fn handle(&mut self, _: ReloadNow, _: &mut Context<Self>) -> Self::Result {
        AtomicResponse::new(Box::pin(self.writers().then(|(), act, ctx| act.look(ctx))))
    }
}

impl Reconciler {
    /// Waits a moment for files that are being written: that one was closed may not have been heard yet. The first look has nothing to
    /// fall back on, and waits longer.
    fn writers(&self) -> impl ActorFuture<Self, Output = ()> + use<> {
        let writing = self.wanted.writing();
        let until = Instant::now() + if self.model.is_none() { WRITING_AT_MOST } else { UNHEARD };
        let closed = async move {
            while writing.left(Instant::now()).is_some() && Instant::now() < until {
                tokio::time::sleep(UNHEARD / 10).await;
            }
        };
        closed.into_actor(self)
    }

    fn look(&mut self, ctx: &mut Context<Self>) -> Outcome {
        // A configuration that the compiler was not made for must not end what is served.
        let looked = catch_unwind(AssertUnwindSafe(|| self.wanted.look(Instant::now())));
        let Ok((look, again)) = looked else {
            return self.at_once(Err(self.not_applied("the configuration made the gateway panic")));
        };
        if let Some(pending) = self.look_again.take() {
            ctx.cancel_future(pending);
        }
        self.look_again = again
            .map(|at| look_in(at.saturating_duration_since(Instant::now()) + Duration::from_millis(5), ctx));
        match look {
            Look::Unchanged => self.try_again(),
            Look::Changed(generation) if self.model.is_none() && !generation.broken.is_empty() => {
                self.at_once(Err(NotApplied::Broken(generation.broken)))
            }
            Look::Changed(generation) => Box::pin(self.open_first(generation)),
        }
    }

    fn at_once(&self, answer: Result<Reloaded, NotApplied>) -> Outcome {
        Box::pin(std::future::ready(answer).into_actor(self))
    }

    fn not_applied(&self, cause: &str) -> NotApplied {
        self.parts.metrics.reload_failed();
        tracing::error!("{cause}: what was served before is served on, and the next look tries again");
        NotApplied::Failed(cause.to_owned())
    }

    /// New addresses are open before anything is published.
    fn open_first(
        &mut self,
        generation: Box<Generation>,
    ) -> impl ActorFuture<Self, Output = Result<Reloaded, NotApplied>> + use<> {
        let open = self.parts.listeners.send(Open(generation.snapshot.listeners.clone()));
        let open = open.timeout(LISTENERS_TIMEOUT).into_actor(self);
        open.map(|opened, act: &mut Self, ctx| match opened {
            Ok(failed) => Ok(act.publish(*generation, failed, ctx)),
            Err(error) => {
                act.wanted.repeat();
                Err(act.not_applied(&format!("the listeners do not answer ({error})")))
            }
        })
    }

    /// Ports that somebody else held may be free by now.
    fn try_again(&mut self) -> Outcome {
        self.serve_probes();
        if self.unbound.is_empty() {
            return self.at_once(Ok(self.unchanged()));
        }
        let tried = self.unbound.keys().copied().collect();
        let open = self.parts.listeners.send(Open(tried)).timeout(LISTENERS_TIMEOUT).into_actor(self);
        Box::pin(open.map(|opened, act: &mut Self, ctx| {
            if let Ok(failed) = opened {
                act.settle(failed, ctx);
            }
            Ok(act.unchanged())
        }))
    }

    fn unchanged(&self) -> Reloaded {
        Reloaded { changed: false, ..self.last.clone() }
    }

    /// One atomic switch; then what is gone is retired.
    fn publish(
        &mut self,
        generation: Generation,
        failed: Vec<(SocketAddr, String)>,
        ctx: &mut Context<Self>,
    ) -> Reloaded {
        let Generation { model, snapshot, log, diagnostics, not_ready, files, shared_version, .. } =
            generation;
        self.files = files.into();
        self.shared_version = shared_version;
        let wanted: BTreeSet<SocketAddr> = snapshot.listeners.clone();
        self.last = Reloaded {
            changed: true,
            generation: snapshot.generation,
            digest: snapshot.digest.short(),
            errors: 0,
            warnings: 0,
            files: model.files.iter().map(|file| file.path.clone()).collect(),
        };
        self.configured = model.instances_written();
        let answering = snapshot.instances().filter(|plan| plan.blocked.is_none());
        self.answering = answering.map(|plan| plan.address()).collect();
        self.parts.metrics.certificates_expire(tls::expiries(&snapshot));
        self.attach_storage(&model.settings);
        self.publisher.publish(snapshot);
        if self.parts.listeners.try_send(Retain(wanted)).is_err() {
            tracing::error!("addresses that are gone stay open until the next change");
        }
        self.found = diagnostics;
        self.found.extend(self.parts.log.apply(&log));
        self.not_ready = not_ready;
        self.model = Some(model);
        self.settle(failed, ctx);
        self.serve_probes();
        let Reloaded { generation, digest, errors, warnings, .. } = &self.last;
        self.parts.metrics.reloaded(*generation, digest, *errors == 0);
        let (served, apis) = (self.served(), self.configured);
        tracing::info!(target: "flex-gateway-envoy", "cds: added/updated");
        tracing::info!(
            "generation {generation} ({digest}) applied: {served} of {apis} API instances served, {}, {}",
            plural(*errors, "error"),
            plural(*warnings, "warning")
        );
        self.last.clone()
    }

    /// What policies share follows the configuration; those that go on are not rebuilt.
    fn attach_storage(&self, settings: &GatewaySettings) {
        let plan = match &settings.shared_storage {
            Some(SharedStorage::Redis(plan)) => Some(&**plan),
            Some(SharedStorage::Local) | None => None,
        };
        if let Err(error) = self.parts.storage.attach(plan, &self.parts.storage_runtime) {
            tracing::error!("the shared storage stays as it was: {error}");
        }
    }

    /// Takes note of which addresses could not be bound: in the log, in readiness, in the state.
    fn settle(&mut self, unbound: Vec<(SocketAddr, String)>, ctx: &mut Context<Self>) {
        self.unbound = unbound.into_iter().collect();
        if let Some(pending) = self.bind_again.take() {
            ctx.cancel_future(pending);
        }
        if !self.unbound.is_empty() {
            self.bind_again = Some(look_in(BIND_AGAIN, ctx));
        }
        let mut found = self.found.clone();
        found.extend(self.unbound.keys().filter_map(|address| {
            let mut there = self.unreachable().filter(|(at, ..)| *at == address);
            let (_, first, reason) = there.next()?;
            let found = Diagnostic::error(reason)
                .about(&Subject::new("ApiInstance", first.name.clone()))
                .at(first.location.clone())
                .field("spec.address")
                .help("free the address, which is tried again each second, or change it");
            Some(match there.count() {
                0 => found,
                more => found.help(format!("it is the address of {}", plural(more, "more ApiInstance"))),
            })
        }));
        self.last.errors = found.count(Severity::Error);
        self.last.warnings = found.count(Severity::Warning);
        let deployment = Deployment { apis: self.served(), ..deployment(&self.found, self.unbound.len()) };
        self.parts.health.deployed(deployment);
        self.parts.metrics.apis(deployment.apis, self.configured);
        self.report(&found);
        self.parts.in_force.send_replace(InForce {
            generation: self.last.generation,
            digest: self.last.digest.clone(),
            apis: self.configured,
            written_errors: self.found.count(Severity::Error),
            errors: self.last.errors,
            first_error: found.iter().find(|found| found.is_error()).map(Diagnostic::one_line),
            files: Arc::clone(&self.files),
            shared_version: self.shared_version,
        });
    }

    /// How many API instances answer with more than a refusal.
    fn served(&self) -> usize {
        let open = |at: &&SocketAddr| !self.unbound.keys().any(|unbound| covers(unbound, at));
        self.answering.iter().filter(open).count()
    }

    /// Instances whose address is not open, with that address and the reason.
    fn unreachable(&self) -> impl Iterator<Item = (&SocketAddr, &Instance, String)> {
        let instances = self.model.iter().flat_map(|model| &model.instances);
        instances.filter_map(|instance| {
            let at = SocketAddr::new(instance.address.host, instance.address.port);
            let (address, cause) = self.unbound.iter().find(|(address, _)| covers(address, &at))?;
            Some((address, instance, format!("cannot listen on {address}: {cause}")))
        })
    }

    fn serve_probes(&self) {
        let probe = self.model.as_ref().and_then(|model| model.settings.probe.as_ref());
        let wanted = probe.filter(|probe| probe.enabled).and_then(|probe| {
            let port = probe.port.as_ref()?.value;
            if port == RESERVED_PORT {
                return None;
            }
            Some(ProbePort { port, path: probe.path.clone() })
        });
        if self.parts.probes.try_send(Serve(wanted)).is_err() {
            tracing::error!("the probe port stays as it was until the next look");
        }
    }

    /// Each finding once, when it is new. Source lines stay out: they may hold a password.
    fn report(&mut self, diagnostics: &Diagnostics) {
        for found in diagnostics.iter().filter(|found| !self.reported.contains(found)) {
            let line = found.one_line();
            match found.severity {
                Severity::Error => tracing::error!("{line}"),
                Severity::Warning => tracing::warn!("{line}"),
            }
        }
        self.reported = diagnostics.iter().cloned().collect();
    }
}

/// Errors by class (configuration reference 10.1): bindings and policy configurations, everything else
/// in resources, and what the engine could not do.
fn deployment(found: &Diagnostics, envoy_errors: usize) -> Deployment {
    let of_policy = |found: &&Diagnostic| {
        let kind = found.subject.as_ref().map(|subject| &*subject.kind);
        let field = found.field.as_deref().unwrap_or_default();
        kind == Some("PolicyBinding")
            || kind.is_some() && (field.contains("policies[") || field.contains("config"))
    };
    let errors = found.iter().filter(|found| found.is_error());
    let (policy, api): (Vec<_>, Vec<_>) = errors.partition(of_policy);
    Deployment { apis: 0, api_errors: api.len(), policy_errors: policy.len(), envoy_errors }
}
