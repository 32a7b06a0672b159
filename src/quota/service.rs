//! What all ledgers of a process share: the storage, and the task that asks it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, mpsc};

use super::{
    Fallback, Ledger, Quota,
    ledger::{PATIENCE, Pending, WindowAccount},
    view::View,
};
use crate::{
    base::{Clock, lock, seal::random},
    storage::{Key, Keys, Outcome, Storage, Unavailable, quota::Call},
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
/// A loss that shows in one answer shows in many.
const LOSSES_APART: u64 = 10_000_000;
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
    /// Districts of the storage that are away, a bit each: calls have failed for so long as a request waits, or a request
    /// has waited so long.
    away: AtomicU64,
    /// Districts in which the last call failed.
    failing: Mutex<BTreeMap<u8, Failing>>,
    /// How often the storage has lost its memory, as last seen; when the last was, 0 for never.
    losses: AtomicU64,
    lost_at: AtomicU64,
    calls: AtomicU64,
    failures: AtomicU64,
    asks: mpsc::UnboundedSender<Ask>,
    ledgers: Mutex<Vec<Weak<Ledger>>>,
}

struct Failing {
    since: u64,
    last: u64,
    /// What was asked for: where it is answered again, so are calls.
    key: Key,
}

/// What a ledger wants. There is at most one of the first kind for each lease.
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
            process: u128::from_be_bytes(random()),
            entries: AtomicU64::new(0),
            away: AtomicU64::new(0),
            failing: Mutex::default(),
            losses: AtomicU64::new(storage.losses() + storage.fleet().losses()),
            lost_at: AtomicU64::new(0),
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
        self.0.is_away(0, self.0.keys.digested("test", &[]), None);
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
            self.0.storage.lease(batch, |_, _| ()).await;
        }
    }

    /// What each policy admitted in the last windows and in those that are open, of keys by their digests.
    pub fn accounts(&self) -> Vec<WindowAccount> {
        self.0.live().iter().flat_map(|ledger| ledger.accounts(KEYS_SHOWN)).collect()
    }

    /// Counters for a page of metrics.
    pub fn expose(&self, page: &mut Exposition) {
        let (calls, failures) = (self.0.calls.load(Relaxed), self.0.failures.load(Relaxed));
        let away = u64::from(self.0.away.load(Relaxed) != 0);
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
            "1 while limits, all or some, are counted without the storage.",
            away,
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
            away: self.away.load(Relaxed),
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

    /// Limits of a district fall back until it answers. `cause`: an error; else a request has waited too long.
    pub fn is_away(&self, district: u8, key: Key, cause: Option<&Unavailable>) {
        let now = self.clock.micros();
        lock(&self.failing).entry(district).or_insert(Failing { since: now, last: now, key });
        if self.away.fetch_or(1 << district, Relaxed) == 0 {
            let cause = cause.map_or("no answer in time", |error| &error.0);
            tracing::warn!("the shared storage is away ({cause}): limits fall back until it answers");
        }
    }

    /// A call failed. A connection may have been cut: as long as a request waits, the next call may be answered.
    fn has_failed(&self, district: u8, key: Key, cause: &Unavailable) {
        let now = self.clock.micros();
        let patience = PATIENCE.as_micros() as u64;
        let since = {
            let mut failing = lock(&self.failing);
            let found = failing.entry(district).or_insert_with(|| Failing {
                since: now,
                last: now,
                key: key.clone(),
            });
            // Another may have read the clock later, and be here before.
            if now.saturating_sub(found.last) > patience {
                found.since = now;
            }
            found.last = now;
            found.since
        };
        if now.saturating_sub(since) >= patience {
            self.is_away(district, key, Some(cause));
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

    /// The storage does not know what it granted: it has lost its memory, even where it is declared durable.
    pub fn was_forgotten(&self) {
        let (now, last) = (self.clock.micros(), self.lost_at.load(Relaxed));
        if last == 0 || now - last > LOSSES_APART {
            self.lost_at.store(now, Relaxed);
            self.storage.fleet().lost();
            tracing::warn!(
                "the shared storage has forgotten what was granted in windows that are open; limits may have admitted more"
            );
        }
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

    /// While the storage is away nobody may ask it: whether it is there again is seen here. By a call like any other, but
    /// for no tokens: a storage that answers reads alone is away.
    fn try_again(self: &Arc<Self>) {
        let failing: Vec<_> = lock(&self.failing).iter().map(|(at, one)| (*at, one.key.clone())).collect();
        for (district, key) in failing {
            let service = Arc::clone(self);
            let asks = Call {
                claimant: format!("{:032x}", self.process),
                number: self.clock.micros(),
                window: None,
                claim: 0,
                granted: false,
                want: 0,
                limit: 0,
                period: TRY_AGAIN.as_micros() as u64,
                replicas: 1,
                rank: 0,
                lost: false,
            };
            tokio::spawn(async move {
                let answered = |_, outcome: Outcome<_>| {
                    if outcome.is_ok() {
                        service.has_answered(district);
                    }
                };
                service.storage.lease(&[(key.beside("try"), asks)], answered).await;
            });
        }
    }

    fn has_answered(&self, district: u8) {
        lock(&self.failing).remove(&district);
        let bit = 1 << district;
        if self.away.load(Relaxed) & bit != 0 && self.away.fetch_and(!bit, Relaxed) == bit {
            tracing::info!("the shared storage answers again: limits are counted together");
        }
    }

    /// Makes calls and hands out the answers.
    async fn make(&self, pending: Vec<Pending>) {
        let (calls, concerned): (Vec<_>, Vec<_>) =
            pending.into_iter().map(|Pending { name, call, concerned }| ((name, call), concerned)).unzip();
        let answered = |index: usize, outcome| {
            let concerned = &concerned[index];
            let (name, call) = &calls[index];
            self.calls.fetch_add(1, Relaxed);
            match &outcome {
                Ok(_) => self.has_answered(concerned.district),
                Err(error) => {
                    self.failures.fetch_add(1, Relaxed);
                    self.has_failed(concerned.district, name.clone(), error);
                }
            }
            if let Some(ledger) = concerned.ledger.upgrade() {
                ledger.answered(concerned, call, &outcome);
            }
        };
        self.storage.lease(&calls, answered).await;
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

    fn look_for_losses(&self, places: &Arc<Semaphore>) {
        if self.service.notices_loss() {
            tokio::spawn(Arc::clone(&self.service).tell_after_loss(Arc::clone(places)));
        }
    }

    /// Makes calls for ever.
    pub async fn run(mut self) {
        let places = Arc::new(Semaphore::new(CALLS));
        let mut sweep = tokio::time::interval(SWEEP);
        let mut retry = tokio::time::interval(TRY_AGAIN);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asks = Vec::new();
        loop {
            let (mut pending, mut sweeps) = (Vec::new(), false);
            tokio::select! {
                count = self.asks.recv_many(&mut asks, BATCH) => {
                    if count == 0 {
                        return;
                    }
                }
                _ = retry.tick(), if self.service.away.load(Relaxed) != 0 => self.service.try_again(),
                _ = sweep.tick() => sweeps = true,
            }
            // One that came while nobody asked: these calls are to say so.
            self.look_for_losses(&places);
            if sweeps {
                pending.extend(self.service.live().iter().flat_map(|ledger| ledger.sweep()));
            }
            for ask in asks.drain(..) {
                match ask {
                    Ask::Lease { ledger, key, limit } => {
                        match ledger.upgrade().and_then(|ledger| ledger.call(&key, limit)) {
                            Some((call, delay)) if !delay.is_zero() => self.send_later(call, delay, &places),
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
                                storage.lease(calls, |_, _| ()).await;
                            }
                        });
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As in two processes that begin in one copy of a machine.
    #[test]
    fn claimants_of_two_processes_differ_whatever_the_generator_begins_with() {
        let claimant = || {
            fastrand::seed(1);
            Quotas::unserved().0.claimant()
        };
        assert_ne!(claimant(), claimant());
    }
}
