//! What all ledgers of a process share: the storage, and the task that asks it.

use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, mpsc};

use super::{
    Fallback, Ledger, Quota,
    lease::View,
    ledger::{Pending, WindowAccount},
};
use crate::{
    base::{Clock, lock},
    storage::{Key, Keys, Storage, quota::Call},
    telemetry::metrics::{Exposition, Kind},
};

/// Calls that are sent in one go.
const BATCH: usize = 256;
/// Those that nobody waits for: they leave room for others.
const BATCH_BESIDE: usize = 64;
/// Between two attempts to reach a storage that is away.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// Calls under way; more wait. Half of what the storage lets in: others use it too.
const CALLS: usize = 512;
/// How often it is looked whether tokens are used.
const SWEEP: Duration = Duration::from_millis(50);
/// Keys of each policy whose open windows `/status` shows.
const KEYS_SHOWN: usize = 64;

/// The limits of this process that are counted together with other replicas. Clones are the same.
#[derive(Clone)]
pub struct Quotas(Arc<Service>);

pub(super) struct Service {
    pub storage: Storage,
    pub keys: Keys,
    clock: Clock,
    /// Of this life of this process.
    process: u128,
    entries: AtomicU64,
    /// The last call failed, or a request waited too long for one.
    down: AtomicBool,
    /// How often the storage has lost its memory, as last seen; when the last was, 0 for never.
    losses: AtomicU64,
    lost_at: AtomicU64,
    /// What was asked for when a call failed last: where it is answered again, so are calls.
    failed_at: Mutex<Option<Key>>,
    calls: AtomicU64,
    failures: AtomicU64,
    asks: mpsc::UnboundedSender<Ask>,
    ledgers: Mutex<Vec<Weak<Ledger>>>,
}

/// What a ledger wants. There is at most one of the first kind for each limit and key.
pub(super) enum Ask {
    Lease {
        ledger: Weak<Ledger>,
        key: Arc<str>,
        limit: usize,
    },
    /// Nobody waits for the answers.
    Tell(Vec<(Key, Call)>),
}

/// The task that makes the calls. It is run by whoever owns the storage's runtime.
pub struct Asker {
    service: Arc<Service>,
    asks: mpsc::UnboundedReceiver<Ask>,
}

impl Quotas {
    /// `gateway`: the id that replicas have in common.
    pub fn new(storage: Storage, gateway: &str) -> (Self, Asker) {
        Self::on(storage, gateway, Clock::system())
    }

    /// On this clock.
    pub fn on(storage: Storage, gateway: &str, clock: Clock) -> (Self, Asker) {
        let (sender, asks) = mpsc::unbounded_channel();
        let service = Arc::new(Service {
            keys: Keys::of(gateway),
            clock,
            process: fastrand::u128(..),
            entries: AtomicU64::new(0),
            down: AtomicBool::new(false),
            losses: AtomicU64::new(storage.losses() + storage.fleet().losses()),
            lost_at: AtomicU64::new(0),
            failed_at: Mutex::default(),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            storage,
            asks: sender,
            ledgers: Mutex::default(),
        });
        (Self(Arc::clone(&service)), Asker { service, asks })
    }

    /// The replicas that share the storage.
    #[cfg(test)]
    pub fn fleet(&self) -> &crate::storage::Fleet {
        self.0.storage.fleet()
    }

    /// As if a request had waited too long.
    #[cfg(test)]
    pub fn suspect(&self) {
        self.0.suspect();
    }

    /// For a process that serves nothing: nobody makes its calls.
    pub fn unserved() -> Self {
        Self::new(Storage::in_memory(), "").0
    }

    /// Counters for a policy. `name` names it for all replicas and for all its configurations; `keys_max`: a counter for
    /// each key, about so many of them, else one for all. A policy whose limits are what they were goes on with the counters
    /// that it has.
    pub fn ledger(
        &self,
        name: String,
        quotas: Box<[Quota]>,
        keys_max: Option<usize>,
        fallback: Fallback,
    ) -> Arc<Ledger> {
        let mut ledgers = self.0.ledgers();
        ledgers.retain(|ledger| ledger.strong_count() > 0);
        let mut live = ledgers.iter().filter_map(Weak::upgrade);
        if let Some(same) = live.find(|ledger| ledger.counts(&name, &quotas, keys_max, fallback)) {
            return same;
        }
        let ledger = Ledger::new(Arc::clone(&self.0), name, quotas, keys_max, fallback);
        ledgers.push(Arc::downgrade(&ledger));
        ledger
    }

    /// Gives back what this process has and does not need: it ends.
    pub async fn give_back(&self) {
        let told = self.0.live().into_iter().flat_map(|ledger| ledger.tell(&ledger.keys(), false));
        let calls: Vec<_> = told.map(Pending::into_call).collect();
        for batch in calls.chunks(BATCH) {
            self.0.storage.lease(batch).await;
        }
    }

    /// What each policy admitted in the last windows and in those that are open, of keys by their digests.
    pub fn accounts(&self) -> Vec<WindowAccount> {
        self.0.live().iter().flat_map(|ledger| ledger.accounts(KEYS_SHOWN)).collect()
    }

    /// Counters for a page of metrics.
    pub fn expose(&self, page: &mut Exposition) {
        let (calls, failures) = (self.0.calls.load(Relaxed), self.0.failures.load(Relaxed));
        let down = u64::from(self.0.down.load(Relaxed));
        page.single(
            "portcullis_quota_calls_total",
            Kind::Counter,
            "Calls for tokens of shared limits.",
            calls,
        );
        page.single(
            "portcullis_quota_failed_calls_total",
            Kind::Counter,
            "Such calls that failed.",
            failures,
        );
        page.single(
            "portcullis_quota_fallback",
            Kind::Gauge,
            "1 while limits are counted without the storage.",
            down,
        );
    }
}

impl Service {
    fn ledgers(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Ledger>>> {
        lock(&self.ledgers)
    }

    fn live(&self) -> Vec<Arc<Ledger>> {
        self.ledgers().iter().filter_map(Weak::upgrade).collect()
    }

    pub fn claimant(&self) -> String {
        format!("{:032x}.{:x}", self.process, self.entries.fetch_add(1, Relaxed))
    }

    pub fn view(&self, fallback: Fallback) -> View {
        View {
            now: self.clock.micros(),
            down: self.down.load(Relaxed),
            fallback,
            replicas: self.storage.fleet().replicas() as u64,
            rank: self.storage.fleet().rank() as u64,
            lost_at: Some(self.lost_at.load(Relaxed)).filter(|at| *at > 0),
        }
    }

    pub fn ask(&self, ask: Ask) {
        // Nobody asks any more when the process ends.
        let _ = self.asks.send(ask);
    }

    /// A request has waited too long.
    pub fn suspect(&self) {
        if !self.down.swap(true, Relaxed) {
            tracing::warn!("the shared storage does not answer in time: limits fall back until it does");
        }
    }

    /// Whether the storage has lost its memory since it was last looked.
    fn notices_loss(&self) -> bool {
        let losses = self.storage.losses() + self.storage.fleet().losses();
        let is_new = self.losses.swap(losses, Relaxed) != losses;
        if is_new {
            self.lost_at.store(self.clock.micros().max(1), Relaxed);
        }
        is_new
    }

    /// Tells the storage what this replica has, beside the calls that requests wait for, which tell it too. Another loss
    /// begins anew.
    async fn tell_after_loss(self: Arc<Self>, places: Arc<Semaphore>) {
        let losses = self.losses.load(Relaxed);
        let ledgers = self.ledgers().clone();
        for ledger in ledgers {
            let keys = ledger.upgrade().map(|ledger| ledger.keys()).unwrap_or_default();
            for keys in keys.chunks(BATCH_BESIDE) {
                let Ok(_place) = places.acquire_many(BATCH_BESIDE as u32).await else { return };
                if self.losses.load(Relaxed) != losses {
                    return;
                }
                let told = ledger.upgrade().map(|ledger| ledger.tell(keys, true)).unwrap_or_default();
                self.make(told).await;
            }
        }
    }

    /// While the storage is away nobody may ask it: whether it is there again is seen here.
    async fn try_again(&self) {
        let failed = lock(&self.failed_at).clone();
        let key = failed.unwrap_or_else(|| self.keys.digested("quota", &[b"try again"]));
        if self.storage.get(&[key]).await.is_ok() {
            self.is_back();
        }
    }

    fn is_back(&self) {
        if self.down.swap(false, Relaxed) {
            tracing::info!("the shared storage answers again: limits are counted together");
        }
    }

    /// Makes calls and hands out the answers.
    async fn make(&self, pending: Vec<Pending>) {
        let (calls, concerned): (Vec<_>, Vec<_>) = pending
            .into_iter()
            .map(|Pending { ledger, key, limit, name, call }| {
                let number = call.number;
                ((name, call), (ledger, key, limit, number))
            })
            .unzip();
        let outcomes = self.storage.lease(&calls).await;
        let answered = calls.into_iter().zip(concerned).zip(outcomes);
        for (((name, _), (ledger, key, limit, number)), outcome) in answered {
            self.calls.fetch_add(1, Relaxed);
            match &outcome {
                Ok(_) => self.is_back(),
                Err(error) => {
                    self.failures.fetch_add(1, Relaxed);
                    *lock(&self.failed_at) = Some(name);
                    if !self.down.swap(true, Relaxed) {
                        tracing::warn!(
                            "the shared storage is away ({error}): limits fall back until it answers"
                        );
                    }
                }
            }
            if let Some(ledger) = ledger.upgrade() {
                ledger.answered(&key, limit, number, &outcome);
            }
        }
    }
}

impl Asker {
    /// Of these there is one for each key at most, once a window.
    fn send_later(&self, call: Pending, delay: Duration, places: &Arc<Semaphore>) {
        let (service, places) = (Arc::clone(&self.service), Arc::clone(places));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let Ok(_place) = places.acquire().await else { return };
            service.make(vec![call]).await;
        });
    }

    /// Makes calls for ever.
    pub async fn run(mut self) {
        let places = Arc::new(Semaphore::new(CALLS));
        let mut sweep = tokio::time::interval(SWEEP);
        let mut retry = tokio::time::interval(TRY_AGAIN);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asks = Vec::new();
        loop {
            let mut pending = Vec::new();
            if self.service.notices_loss() {
                tokio::spawn(Arc::clone(&self.service).tell_after_loss(Arc::clone(&places)));
            }
            tokio::select! {
                count = self.asks.recv_many(&mut asks, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    for ask in asks.drain(..) {
                        match ask {
                            Ask::Lease { ledger, key, limit } => {
                                let call = ledger.upgrade().and_then(|ledger| ledger.call(&key, limit));
                                match call {
                                    Some((call, delay)) if !delay.is_zero() => {
                                        self.send_later(call, delay, &places);
                                    }
                                    call => pending.extend(call.map(|(call, _)| call)),
                                }
                            }
                            Ask::Tell(calls) => {
                                let (storage, places) = (self.service.storage.clone(), Arc::clone(&places));
                                tokio::spawn(async move {
                                    for calls in calls.chunks(BATCH_BESIDE) {
                                        let Ok(_place) = places.acquire_many(BATCH_BESIDE as u32).await else {
                                            return;
                                        };
                                        storage.lease(calls).await;
                                    }
                                });
                            }
                        }
                    }
                }
                _ = retry.tick(), if self.service.down.load(Relaxed) => {
                    let service = Arc::clone(&self.service);
                    tokio::spawn(async move { service.try_again().await });
                }
                _ = sweep.tick() => {
                    pending.extend(self.service.live().iter().flat_map(|ledger| ledger.sweep()));
                }
            }
            while !pending.is_empty() {
                let batch = pending.split_off(pending.len().saturating_sub(BATCH));
                let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
                let Ok(place) = Arc::clone(&places).acquire_many_owned(count).await else { return };
                let service = Arc::clone(&self.service);
                tokio::spawn(async move {
                    service.make(batch).await;
                    drop(place);
                });
            }
        }
    }
}
