//! From folders to the next snapshot: what `run` does on each change and `validate` does once.

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use super::{Compiled, Compiler, EngineSettings, Snapshot, plan::covers, tls};
use crate::{
    base::{Diagnostic, Diagnostics, Subject, plural, seal::KeyRing},
    document::is_unset,
    policies::names::Catalog,
    policy::{Budget, Caching},
    quota::Quotas,
    resources::{
        Inputs, ResolvedModel, ResourceSet, ResourceStore, SharedFile, SharedFiles,
        kinds::{GatewaySettings, logging::LogOutput, shared_storage::SharedStorage},
        load::Lookup,
        resolve,
        variables::Variables,
        writing::Writing,
    },
    settings::{Settings, ShareConfig},
    storage::{Keys, Storage},
    telemetry::{
        log::{LogPlan, OutputPlan},
        metrics::Registry,
    },
};

/// What is wanted, and what came of it so far.
pub struct Reconciliation {
    settings: Arc<Settings>,
    environment: Lookup,
    store: ResourceStore,
    compiler: Compiler,
    model: Option<Arc<ResolvedModel>>,
    /// What was found last is not in force: the next look makes it again.
    repeat: bool,
}

/// One generation.
pub struct Generation {
    pub model: Arc<ResolvedModel>,
    pub snapshot: Snapshot,
    pub log: LogPlan,
    /// Of the resolver, the compiler and the log outputs.
    pub diagnostics: Diagnostics,
    /// Instances and services that are not in force as written.
    pub not_ready: Vec<(Subject, String)>,
    /// Files, or documents in them, that do not say which resource they hold.
    pub broken: Vec<Diagnostic>,
    /// What the resources stand in, for others to have the same; empty unless this replica publishes.
    pub files: Vec<SharedFile>,
    /// Version of the shared configuration that the resources come from.
    pub shared_version: Option<u64>,
}

/// Outcome of a look at the folders.
pub enum Look {
    /// Nothing differs from the generation before.
    Unchanged,
    Changed(Box<Generation>),
}

impl Reconciliation {
    /// `keys`: of `cluster.key_file`, where there is one that can be read.
    pub fn new(
        settings: Arc<Settings>,
        environment: Lookup,
        registry: Arc<Registry>,
        keys: Option<Arc<KeyRing>>,
    ) -> Self {
        let compiler = Compiler::new(registry, &settings.gateway.name, tls::default_outbound);
        let compiler = compiler.caching(caching(&settings, keys));
        let follows = settings.cluster.share_config == ShareConfig::Follow;
        let store = ResourceStore::new(Arc::clone(&environment));
        let store = store.with_hold(settings.sync.hold).following(follows);
        Self { settings, environment, store, compiler, model: None, repeat: false }
    }

    /// Who watches the files tells it which of them are being written.
    pub fn writing(&self) -> Writing {
        self.store.writing()
    }

    /// What policies share with those of other replicas.
    #[must_use]
    pub fn sharing(mut self, storage: Storage, quotas: Quotas) -> Self {
        self.compiler = self.compiler.sharing(storage, quotas);
        self
    }

    /// Reads what has changed and compiles it. The time, if any, is when to look again although
    /// nothing more changes (a file that became empty is held for a moment).
    pub fn look(&mut self, now: Instant) -> (Look, Option<Instant>) {
        let scan = self.store.rescan(&self.settings.config.paths, now);
        let as_read = |model: &ResolvedModel| model.files.iter().all(|file| !file.has_changed());
        if !scan.changed && self.model.as_deref().is_some_and(as_read) && !self.repeat {
            return (Look::Unchanged, scan.hold_until);
        }
        // Stays, should anything below panic.
        self.repeat = true;
        let generation = self.generation(&scan.set);
        self.repeat = false;
        (Look::Changed(Box::new(generation)), scan.hold_until)
    }

    /// What the folders hold, for whoever looks once.
    pub fn read(mut self, now: Instant) -> Generation {
        let scan = self.store.rescan(&self.settings.config.paths, now);
        self.generation(&scan.set)
    }

    /// Takes the configuration that replicas share, all of it or nothing: with one error in it, what was in force
    /// before is in force still, here and in what the next look gives.
    ///
    /// # Errors
    /// Why it is refused, in one line that may be logged.
    pub fn accept(&mut self, shared: &SharedFiles, now: Instant) -> Result<Box<Generation>, String> {
        let (compiler, model) = (self.compiler.clone(), self.model.clone());
        let replaced = self.store.take_shared(shared);
        let made = catch_unwind(AssertUnwindSafe(|| {
            let set = self.store.rescan(&self.settings.config.paths, now).set;
            self.generation(&set)
        }));
        let objection = match made {
            Ok(generation) => match self.objection(&generation.diagnostics) {
                None => return Ok(Box::new(generation)),
                Some(objection) => objection,
            },
            Err(_) => "it made the gateway panic".to_owned(),
        };
        self.store.put_back(replaced);
        (self.compiler, self.model) = (compiler, model);
        Err(objection)
    }

    /// What stands against a shared configuration: its first error. Errors of this replica's own files are its own. A
    /// variable that others have and this replica lacks is an error too: its name would serve as a password.
    fn objection(&self, found: &Diagnostics) -> Option<String> {
        let own = |found: &&Diagnostic| {
            found.location.as_ref().is_some_and(|at| !at.file.starts_with(SharedFiles::PREFIX))
        };
        let bad = |found: &&Diagnostic| found.is_error() || is_unset(&found.message);
        let mut errors = found.iter().filter(bad).filter(|found| !own(found));
        let first = errors.next()?.one_line();
        let more = errors.count();
        Some(if more == 0 { first } else { format!("{first} (and {})", plural(more, "more error")) })
    }

    fn generation(&mut self, set: &ResourceSet) -> Generation {
        let mut model = resolve(
            set,
            Inputs {
                policies: &Catalog,
                environment: &*self.environment,
                dynamic_port: self.settings.dynamic_port,
                previous: self.model.as_deref(),
            },
        );
        let engine = EngineSettings::of(&self.settings, &model.settings);
        let Compiled { snapshot, diagnostics, mut not_ready } = self.compiler.compile(&model, engine);
        let log = log_plan(&model.settings);
        let mut all = model.diagnostics.clone();
        all.extend(diagnostics);
        all.extend(self.compiler.check_unread(set, &*self.environment));
        all.extend(log.check());
        all.extend(self.proxy_protocol_advice(&model.settings));
        all.extend(self.nowhere_to_share(&model.settings));
        all.extend(self.admin_port_taken(&model));
        let entries = set.entries.iter().map(|entry| &*entry.resource);
        let variables = Variables::of(entries, &self.environment);
        if !variables.is_empty() {
            all.iter_mut().for_each(|found| variables.hide_in_finding(found));
            not_ready.iter_mut().for_each(|(_, reason)| variables.hide_in(reason));
            let refused = model.resources.iter_mut().filter_map(|state| state.ready.as_mut().err());
            refused.for_each(|reason| variables.hide_in(reason));
        }
        all.tidy();
        let model = Arc::new(model);
        self.model = Some(Arc::clone(&model));
        let publishes = self.settings.cluster.share_config == ShareConfig::Publish;
        Generation {
            model,
            snapshot,
            log,
            diagnostics: all,
            not_ready,
            broken: set.broken().cloned().collect(),
            files: if publishes { set.files() } else { Vec::new() },
            shared_version: self.store.shared_version(),
        }
    }

    /// The vendor has no such setting; without it whoever connects may claim any address.
    fn proxy_protocol_advice(&self, settings: &GatewaySettings) -> Option<Diagnostic> {
        let enabled = settings.proxy_protocol.as_ref().filter(|enabled| enabled.value)?;
        self.settings.proxy_protocol.trusted_sources.is_empty().then(|| {
            let message = "whoever can connect may claim any client address in a PROXY header";
            enabled
                .warning(message)
                .help("name the load balancers' networks in the setting `proxy_protocol.trusted_sources`")
                .into()
        })
    }

    fn nowhere_to_share(&self, settings: &GatewaySettings) -> Option<Diagnostic> {
        let shares = self.settings.cluster.share_config != ShareConfig::Off;
        let somewhere = matches!(settings.shared_storage, Some(SharedStorage::Redis(_)));
        (shares && !somewhere).then(|| {
            Diagnostic::error("configuration is to be shared, but there is no shared storage")
                .field("cluster.share_config")
                .help("write `sharedStorage.redis` in a `Configuration` of this replica's own files")
        })
    }

    /// Addresses of APIs and probes that the admin API has: one of the two would not be opened.
    fn admin_port_taken(&self, model: &ResolvedModel) -> Vec<Diagnostic> {
        let Some(admin) = self.settings.admin.address else { return Vec::new() };
        let taken = |found: Diagnostic| {
            found.help("choose another port, or move the admin API: the setting `admin.address`")
        };
        let mut all = Vec::new();
        for instance in &model.instances {
            let address = SocketAddr::new(instance.address.host, instance.address.port);
            if covers(&address, &admin) || covers(&admin, &address) {
                let found = Diagnostic::error(format!("{admin} is the address of the admin API"))
                    .about(&Subject::new("ApiInstance", instance.name.clone()))
                    .at(instance.location.clone())
                    .field("spec.address");
                all.push(taken(found));
            }
        }
        let probe = model.settings.probe.as_ref().filter(|probe| probe.enabled);
        if let Some(port) =
            probe.and_then(|probe| probe.port.as_ref()).filter(|port| port.value == admin.port())
        {
            all.push(taken(port.error(format!("{admin} is the address of the admin API")).into()));
        }
        all
    }

    /// The last generation was not put in force: the next look makes it again.
    pub fn repeat(&mut self) {
        self.repeat = true;
    }
}

/// What caches keep their entries with.
fn caching(settings: &Settings, seals: Option<Arc<KeyRing>>) -> Caching {
    Caching {
        keys: Keys::of(&settings.gateway.id),
        seals,
        state_folder: settings.state.folder.as_deref().map(Arc::from),
        budget: Arc::new(Budget::new(settings.limits.cache)),
    }
}

/// `spec.logging` in the form that the log takes. Outputs of types that do not exist yet have been
/// reported and receive nothing.
fn log_plan(settings: &GatewaySettings) -> LogPlan {
    let proxy = settings.forward_proxy.clone();
    let Some(logging) = &settings.logging else { return LogPlan { proxy, ..LogPlan::default() } };
    let outputs: Vec<OutputPlan> = logging.outputs.iter().filter_map(output_plan).collect();
    let there = |names: &[String]| {
        names.iter().filter(|name| outputs.iter().any(|output| *output.name == **name)).cloned().collect()
    };
    LogPlan {
        level: logging.level,
        runtime: there(&logging.runtime_outputs),
        access: there(&logging.access_outputs),
        outputs,
        proxy,
    }
}

fn output_plan(output: &LogOutput) -> Option<OutputPlan> {
    let parameters = output.parameters.iter().map(|(key, values)| {
        let exposed = values.iter().map(|value| value.expose().clone()).collect();
        (key.value.clone(), key.map_ref().map(|()| exposed))
    });
    Some(OutputPlan { name: output.name.clone(), kind: output.kind?, parameters: parameters.collect() })
}
