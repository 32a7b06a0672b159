//! Starts everything in order, and ends it in order (configuration reference 10.3).

use std::{
    io,
    pin::pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actix::{Actor, Addr, Arbiter};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::{
    config_cache::{self, ConfigCache, Leave},
    file_watcher::{self, FileWatcher, Follow},
    health::Health,
    listeners::Listeners,
    probes::{Probes, StartProbes},
    reconciler::{InForce, NotApplied, Parts, Reconciler, ReloadNow, Reloaded},
    storage_metrics,
};
use crate::{
    base::{lock, seal::KeyRing},
    cluster::view::ClusterView,
    data_plane::{Workers, resolver::Resolver, worker::Shared},
    quota::Quotas,
    resources::{kinds::GatewaySettings, load::Lookup},
    settings::Settings,
    snapshot::{EngineSettings, Reconciliation, Snapshot, snapshot_cell},
    storage::{self, Storage},
    telemetry::{log::Log, metrics::Registry},
};

/// A drain ends early when no client has been connected for this long (decision 18).
const QUIET: Duration = Duration::from_secs(5);
/// Lines still queued at the end have this long to be written.
const FLUSH: Duration = Duration::from_secs(2);
/// The other replicas are told that this one ends.
const LEAVE: Duration = Duration::from_secs(2);
/// The first generation, however large the configuration.
const FIRST_LOOK: Duration = Duration::from_secs(120);
/// A starting gateway is not ready for want of the shared storage this long.
const FIRST_CONNECTION: Duration = Duration::from_secs(2);
/// What the drain has left is cut, and has this long to notice.
const CUT: Duration = Duration::from_millis(500);
/// Tokens of shared limits have this long to be given back at the end.
const GIVE_BACK: Duration = Duration::from_secs(1);
/// How often it is looked whether all actors live.
const ROLL_CALL: Duration = Duration::from_secs(1);

/// A running gateway, as the admin API and the process see it.
#[derive(Clone)]
pub struct Gateway {
    pub settings: Arc<Settings>,
    pub registry: Arc<Registry>,
    pub health: Arc<Health>,
    pub log: Arc<Log>,
    pub storage: Storage,
    pub reconciler: Addr<Reconciler>,
    pub listeners: Addr<Listeners>,
    pub probes: Addr<Probes>,
    pub watcher: Addr<FileWatcher>,
    pub quotas: Quotas,
    pub config_cache: Addr<ConfigCache>,
    pub started: Instant,
    workers: Arc<Workers>,
}

/// The signals that a gateway answers. From here on none of them ends the process by itself.
pub struct Signals {
    reload: Signal,
    reopen: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// # Errors
    /// Of the system.
    pub fn receive() -> io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one that ends the process.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Gateway {
    /// Starts workers and actors and applies the first generation. `keys`: of `cluster.key_file`. Call inside an actix
    /// system.
    ///
    /// # Errors
    /// When files of the configuration cannot be read, or the control path does not answer.
    pub async fn start(
        settings: Settings,
        keys: Option<Arc<KeyRing>>,
        log: Log,
        environment: Lookup,
        start_probes: StartProbes,
    ) -> Result<Self, NotApplied> {
        let settings = Arc::new(settings);
        let log = Arc::new(log);
        let registry = Arc::new(Registry::new(settings.workers));
        let lines = Arc::clone(&log);
        registry.add_collector(move |page| lines.expose(page));
        let nothing = Snapshot::empty(EngineSettings::of(&settings, &GatewaySettings::default()));
        let (publisher, snapshots) = snapshot_cell(nothing);
        let shared = Shared {
            snapshots,
            resolver: Arc::new(Resolver::new(
                settings.dns.refresh,
                settings.dns.hosts.clone(),
                registry.gateway(),
            )),
            registry: Arc::clone(&registry),
            recalls: Arc::default(),
        };
        let workers = Arc::new(Workers::start(settings.workers, shared));
        let listeners = Listeners::new(Arc::clone(&workers), settings.shutdown.drain).start();
        let health = Arc::new(Health::default());
        health.wait();
        let storage = Storage::in_memory();
        storage.fleet().expect(settings.cluster.expected_replicas);
        let (quotas, asker) = Quotas::new(storage.clone(), &settings.gateway.id);
        // A thread of its own: neither requests nor the compiler delay an answer of the storage.
        let storage_runtime = storage::start_thread().map_err(|error| {
            NotApplied::Failed(format!("the thread of the shared storage does not start: {error}"))
        })?;
        storage_runtime.spawn(asker.run());
        let counted = quotas.clone();
        registry.add_collector(move |page| counted.expose(page));
        let shared_by_all = storage.clone();
        registry.add_collector(move |page| storage_metrics::expose(&shared_by_all, page));
        let wanted =
            Reconciliation::new(Arc::clone(&settings), environment, Arc::clone(&registry), keys.clone())
                .sharing(storage.clone(), quotas.clone());
        let probes = Probes::new(start_probes, Arc::clone(&health)).start();
        let (tells, in_force) = watch::channel(InForce::default());
        let parts = Parts {
            listeners: listeners.clone(),
            probes: probes.clone(),
            health: Arc::clone(&health),
            metrics: registry.gateway(),
            log: Arc::clone(&log),
            in_force: tells,
            storage: storage.clone(),
            storage_runtime,
        };
        let writing = wanted.writing();
        // A thread of their own: a file system that hangs (a network mount) keeps nobody else, and no signal, waiting.
        let files = Arbiter::new().handle();
        let reconciler =
            Reconciler::start_in_arbiter(&files, move |_| Reconciler::new(wanted, publisher, parts));
        let watcher = FileWatcher::new(
            settings.config.paths.clone(),
            settings.sync.debounce,
            settings.sync.debounce_max,
            writing,
            reconciler.clone(),
        );
        let watcher = FileWatcher::start_in_arbiter(&files, move |_| watcher);
        let view = Arc::new(Mutex::new(ClusterView::default()));
        let seen = Arc::clone(&view);
        registry.add_collector(move |page| {
            lock(&seen).expose(page);
        });
        let config_cache = ConfigCache::new(config_cache::Parts {
            settings: Arc::clone(&settings),
            ring: keys,
            storage: storage.clone(),
            reconciler: reconciler.clone(),
            in_force,
            view,
        });
        let gateway = Self {
            settings,
            registry,
            health,
            log,
            storage,
            reconciler,
            listeners,
            probes,
            watcher,
            quotas,
            config_cache: config_cache.start(),
            started: Instant::now(),
            workers,
        };
        // Watching begins before the first look: what changes in between is not missed.
        let _ = gateway.watcher.send(file_watcher::Describe).timeout(FIRST_LOOK).await;
        gateway.reload().await?;
        actix_rt::spawn(gateway.clone().await_storage());
        tracing::info!(
            target: "flex-gateway-envoy",
            "all dependencies initialized. starting workers"
        );
        Ok(gateway)
    }

    /// Lets the gateway be ready once the shared storage is connected, or has had its time: requests that a balancer
    /// sends to a replica that is ready find its limits and its cache.
    async fn await_storage(self) {
        let begun = Instant::now();
        while !self.storage.status().connected && begun.elapsed() < FIRST_CONNECTION {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.health.go_on();
    }

    /// Looks at the configuration now and waits until it is in force.
    ///
    /// # Errors
    /// When what was found is not in force, or the control path does not answer in time.
    pub async fn reload(&self) -> Result<Reloaded, NotApplied> {
        let answer = self.reconciler.send(ReloadNow).timeout(FIRST_LOOK).await;
        let answer = answer.unwrap_or_else(|error| {
            Err(NotApplied::Failed(format!("the reconciler does not answer: {error}")))
        });
        if let Ok(reloaded) = &answer
            && self.watcher.try_send(Follow(reloaded.files.clone())).is_err()
        {
            tracing::warn!("changes of certificates in files are found by the next rescan only");
        }
        answer
    }

    /// Serves until a signal ends it: SIGHUP reloads, SIGUSR1 reopens log files, SIGTERM and SIGINT
    /// drain.
    ///
    /// # Errors
    /// When a part has died that the gateway cannot do without: it has drained then, and a supervisor is
    /// meant to start a new process.
    pub async fn run(&self, mut signals: Signals) -> io::Result<()> {
        let mut death = pin!(self.death());
        let mut dead = None;
        loop {
            tokio::select! {
                part = death.as_mut() => {
                    tracing::error!("{part} has died: ending, so that a new process takes over");
                    dead = Some(part);
                    break;
                }
                _ = signals.reload.recv() => self.reload_meanwhile(),
                _ = signals.reopen.recv() => self.log.reopen(),
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
            }
        }
        let mut drain = pin!(self.drain());
        loop {
            tokio::select! {
                () = drain.as_mut() => break,
                _ = signals.reload.recv() => tracing::info!("the configuration is not reloaded while the gateway ends"),
                // A drain may take as long as it takes to rotate logs.
                _ = signals.reopen.recv() => self.log.reopen(),
                // A second signal ends at once.
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
            }
        }
        self.cut().await;
        if tokio::time::timeout(GIVE_BACK, self.quotas.give_back()).await.is_err() {
            tracing::debug!("the shared storage takes no tokens back");
        }
        // Who does not take its leave is gone for the others a little later.
        let _ = self.config_cache.send(Leave).timeout(LEAVE).await;
        tracing::info!("stopped");
        self.log.flush(FLUSH);
        dead.map_or(Ok(()), |part| Err(io::Error::other(format!("{part} has died"))))
    }

    /// Reloads while other signals are heeded.
    fn reload_meanwhile(&self) {
        let gateway = self.clone();
        actix_rt::spawn(async move {
            if let Err(error) = gateway.reload().await {
                tracing::error!("{error}");
            }
        });
    }

    /// Waits until a part has died, and names it. A worker without its accept loop or its timers, and an
    /// actor after a panic, never come back by themselves, and nobody would notice.
    async fn death(&self) -> String {
        let mut worker = pin!(self.workers.death());
        loop {
            tokio::select! {
                index = worker.as_mut() => return format!("worker {index}"),
                () = tokio::time::sleep(ROLL_CALL) => {}
            }
            let actors = [
                ("the reconciler", self.reconciler.connected()),
                ("the listeners actor", self.listeners.connected()),
                ("the file watcher", self.watcher.connected()),
                ("the probes actor", self.probes.connected()),
                ("the config cache", self.config_cache.connected()),
            ];
            if let Some((name, _)) = actors.iter().find(|(_, lives)| !lives) {
                return (*name).to_owned();
            }
        }
    }

    /// Ends what the drain has left, so that it has its line in the log.
    async fn cut(&self) {
        self.workers.end();
        let begun = Instant::now();
        while self.workers.connections() > 0 && begun.elapsed() < CUT {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every response closes its connection; new connections are accepted to the end.
    async fn drain(&self) {
        let period = self.settings.shutdown.drain;
        tracing::info!("draining for up to {} s", period.as_secs_f32());
        self.health.drain();
        self.workers.drain();
        if self.watcher.try_send(file_watcher::Stop).is_err() {
            tracing::debug!("the file watcher has ended");
        }
        let begun = Instant::now();
        let mut quiet_since = None;
        while begun.elapsed() < period {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.workers.connections() > 0 {
                quiet_since = None;
            } else if quiet_since.get_or_insert_with(Instant::now).elapsed() >= QUIET {
                return;
            }
        }
    }
}
