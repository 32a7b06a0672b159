//! The counters of one policy that counts together with other replicas.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::{Notify, futures::OwnedNotified};

use super::{
    Allowance, Fallback, Quota, Verdict,
    keyed::{Counter, Keyed},
    lease::{Account, Lease, idle},
    service::{Ask, Service},
    view::{Found, View},
};
use crate::base::lock;
use crate::storage::{
    Key, Outcome,
    quota::{Answer, Call},
};

/// A request waits so long for an answer; from then on the storage counts as away until it answers.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// A request whose tokens go to others asks again for so long before it is refused.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Windows whose account is kept, for `/status`.
const ACCOUNTS: usize = 256;

/// Leases tokens for each key, and admits from them.
pub struct Ledger {
    quotas: Box<[Quota]>,
    period_max: u64,
    keys_max: Option<usize>,
    counters: Keyed<Entry>,
    /// Of the policy, as the storage knows it: stays the same when its configuration changes.
    name: String,
    fallback: Fallback,
    service: Arc<Service>,
    me: Weak<Self>,
    /// Keys with tokens, and when to look whether they are used.
    holders: Mutex<VecDeque<(u64, Arc<str>)>>,
    accounts: Mutex<VecDeque<WindowAccount>>,
}

struct Entry {
    key: Arc<str>,
    leases: Box<[Lease]>,
    /// Nobody else has this name; an entry that was forgotten and comes back has another.
    claimant: String,
    /// Told of every answer, where requests wait.
    answered: Option<Arc<Notify>>,
    /// Whether it stands among the holders.
    queued: bool,
}

impl Counter for Entry {
    fn end(&self) -> u64 {
        self.leases.iter().map(Lease::end).max().unwrap_or_default()
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    Counted(Verdict),
    /// The storage is away, and nobody knows whether there is quota.
    Unknown,
}

/// What a replica admitted in one window of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowAccount {
    /// The policy: its target and its binding.
    pub policy: String,
    /// Position of the limit in the policy.
    pub limit: usize,
    /// Name of limit and key in the storage: a digest, since keys may be credentials.
    pub key: String,
    /// Start of the window by the clock of the storage, milliseconds since 1970; `None` for one that the storage never
    /// told of.
    pub window: Option<u64>,
    pub admitted: u64,
    /// Tokens that the storage leased to this replica.
    pub granted: u64,
}

/// A request that found no token: an answer of the storage is on its way.
pub struct Waiting {
    ledger: Arc<Ledger>,
    key: String,
    /// Made under the lock, so that no answer is missed.
    answered: OwnedNotified,
}

impl Ledger {
    pub(super) fn new(
        service: Arc<Service>,
        name: String,
        quotas: Box<[Quota]>,
        keys_max: Option<usize>,
        fallback: Fallback,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            period_max: quotas.iter().map(|quota| quota.period).max().unwrap_or_default(),
            quotas,
            keys_max,
            counters: keys_max.map_or_else(Keyed::one, Keyed::many),
            name,
            fallback,
            service,
            me: me.clone(),
            holders: Mutex::default(),
            accounts: Mutex::default(),
        })
    }

    /// Whether these are its counters.
    pub(super) fn counts(
        &self,
        name: &str,
        quotas: &[Quota],
        keys_max: Option<usize>,
        fallback: Fallback,
    ) -> bool {
        self.name == name && *self.quotas == *quotas && self.keys_max == keys_max && self.fallback == fallback
    }

    /// Whether there is a storage to count in together.
    pub fn is_shared(&self) -> bool {
        self.service.storage.is_shared()
    }

    /// Charges a request to its key, if that can be done without waiting.
    ///
    /// # Errors
    /// What to wait with.
    pub fn charge(self: &Arc<Self>, key: &str) -> Result<Charge, Waiting> {
        let view = self.view();
        let idle_before = view.now.saturating_sub(self.period_max);
        let charged = |entry: &mut Entry| self.charge_entry(entry, &view);
        let charged = self.counters.with(key, idle_before, |key| self.entry(key), charged);
        charged.map_err(|answered| Waiting { ledger: Arc::clone(self), key: key.to_owned(), answered })
    }

    fn entry(&self, key: &Arc<str>) -> Entry {
        let lease = |limit| Lease::of(self.service.storage.district(|| self.key(key, limit)));
        Entry {
            key: Arc::clone(key),
            leases: (0..self.quotas.len()).map(lease).collect(),
            claimant: self.service.claimant(),
            answered: None,
            queued: false,
        }
    }

    fn charge_entry(&self, entry: &mut Entry, view: &View) -> Result<Charge, OwnedNotified> {
        let mut worst = Found::Token;
        for (lease, quota) in entry.leases.iter_mut().zip(&self.quotas) {
            worst = match (worst, lease.look(quota, view)) {
                (Found::Nothing, _) | (_, Found::Nothing) => Found::Nothing,
                (Found::Unknown, _) | (_, Found::Unknown) => Found::Unknown,
                (Found::Wait, _) | (_, Found::Wait) => Found::Wait,
                (Found::Token, Found::Token) => Found::Token,
            };
        }
        if worst == Found::Token {
            entry.leases.iter_mut().for_each(Lease::take);
        }
        for (limit, (lease, quota)) in entry.leases.iter_mut().zip(&self.quotas).enumerate() {
            let waits = worst == Found::Wait && lease.look(quota, view) == Found::Wait;
            if lease.should_ask(view, waits) {
                self.service.ask(Ask::Lease { ledger: self.me.clone(), key: Arc::clone(&entry.key), limit });
            }
        }
        match worst {
            Found::Wait => {
                let answered = entry.answered.get_or_insert_default();
                Err(Arc::clone(answered).notified_owned())
            }
            Found::Unknown => Ok(Charge::Unknown),
            Found::Token | Found::Nothing => {
                Ok(Charge::Counted(self.verdict(entry, view, worst == Found::Token)))
            }
        }
    }

    fn verdict(&self, entry: &Entry, view: &View, granted: bool) -> Verdict {
        let all = entry.leases.iter().zip(&self.quotas).map(|(lease, quota)| lease.allowance(quota, view));
        Verdict { granted, allowance: Allowance::told(all) }
    }

    fn refusal(&self, key: &str) -> Verdict {
        let view = self.view();
        let known = self.counters.with_known(key, |entry| self.verdict(entry, &view, false));
        let none = Verdict { granted: false, allowance: Allowance::told(std::iter::empty()) };
        known.map_or(none, |Verdict { granted, allowance }| {
            // Others were faster.
            Verdict { granted, allowance: Allowance { remaining: 0, ..allowance } }
        })
    }

    /// A request has waited too long for tokens of this key: what it waits for counts as away.
    fn suspect(&self, key: &str) {
        let view = self.view();
        self.counters.with_known(key, |entry| {
            for (limit, (lease, quota)) in entry.leases.iter_mut().zip(&self.quotas).enumerate() {
                if lease.look(quota, &view) == Found::Wait {
                    self.service.is_away(lease.district, self.key(&entry.key, limit), None);
                }
            }
        });
    }

    fn view(&self) -> View {
        self.service.view(self.fallback)
    }

    /// The call for tokens of one limit of a key, unless it is under way, and after how long it is to be sent.
    pub(super) fn call(&self, key: &Arc<str>, limit: usize) -> Option<(Pending, Duration)> {
        let view = self.view();
        let quota = self.quotas.get(limit)?;
        let ask = |entry: &mut Entry| {
            let lease = &mut entry.leases[limit];
            let call = lease.ask(quota, &view, &entry.claimant)?;
            let delay = lease.sends_at().saturating_sub(view.now);
            Some((self.pending(key, limit, lease, call), Duration::from_micros(delay)))
        };
        self.counters.with_known(key, ask)?
    }

    /// Takes note of what came of a call. Of one that an entry made which was forgotten since it says nothing.
    pub(super) fn answered(&self, concerned: &Concerned, call: &Call, outcome: &Outcome<Answer>) {
        let (&Concerned { ref key, limit, .. }, number) = (concerned, call.number);
        let view = self.view();
        let Some(quota) = self.quotas.get(limit) else { return };
        let over = self.counters.with_known(key, |entry| {
            if entry.claimant != call.claimant {
                return None;
            }
            let lease = &mut entry.leases[limit];
            let over = match outcome {
                Ok(answer) => {
                    if lease.is_forgotten(number, answer) {
                        self.service.was_forgotten();
                    }
                    lease.answered(quota, view.now, number, answer)
                }
                Err(_) => {
                    lease.failed(view.now, number);
                    None
                }
            };
            if lease.holds() && !entry.queued {
                entry.queued = true;
                lock(&self.holders).push_back((view.now + idle(quota), Arc::clone(&entry.key)));
            }
            if let Some(answered) = entry.answered.take() {
                answered.notify_waiters();
            }
            over
        });
        if let Some(account) = over.flatten() {
            let mut accounts = lock(&self.accounts);
            if accounts.len() == ACCOUNTS {
                accounts.pop_front();
            }
            accounts.push_back(self.account(key, limit, account));
        }
    }

    /// Calls that give back tokens which are not used.
    pub(super) fn sweep(&self) -> Vec<Pending> {
        let view = self.view();
        let mut pending = Vec::new();
        let due: Vec<Arc<str>> = {
            let mut holders = lock(&self.holders);
            let count = holders.iter().take_while(|(due, _)| *due <= view.now).count();
            holders.drain(..count).map(|(_, key)| key).collect()
        };
        for key in due {
            self.counters.with_known(&key, |entry| {
                for (limit, (lease, quota)) in entry.leases.iter_mut().zip(&self.quotas).enumerate() {
                    if let Some(call) = lease.give_back(quota, &view, &entry.claimant) {
                        pending.push(self.pending(&key, limit, lease, call));
                    }
                }
                let held = entry.leases.iter().zip(&self.quotas).filter(|(lease, _)| lease.holds());
                let next = held.map(|(_, quota)| idle(quota)).min();
                entry.queued = next.is_some();
                if let Some(next) = next {
                    lock(&self.holders).push_back((view.now + next, Arc::clone(&key)));
                }
            });
        }
        pending
    }

    pub(super) fn keys(&self) -> Vec<Arc<str>> {
        let mut keys = Vec::new();
        self.counters.for_each(|key, _| keys.push(Arc::clone(key)));
        keys
    }

    /// Calls that tell the storage what this replica has of these keys: all of it, or, at the end, what it used.
    pub(super) fn tell(&self, keys: &[Arc<str>], keep: bool) -> Vec<Pending> {
        let view = self.view();
        let mut pending = Vec::new();
        for key in keys {
            self.counters.with_known(key, |entry| {
                for (limit, (lease, quota)) in entry.leases.iter_mut().zip(&self.quotas).enumerate() {
                    if let Some(call) = lease.tell(quota, &view, &entry.claimant, keep) {
                        pending.push(self.pending(key, limit, lease, call));
                    }
                }
            });
        }
        pending
    }

    fn pending(&self, key: &Arc<str>, limit: usize, lease: &mut Lease, call: Call) -> Pending {
        let name = self.key(key, limit);
        // The storage may be another than before.
        lease.district = self.service.storage.district(|| name.clone());
        let (ledger, key, district) = (self.me.clone(), Arc::clone(key), lease.district);
        Pending { name, call, concerned: Concerned { ledger, key, limit, district } }
    }

    /// What was admitted in the last windows and in those that are open, of at most `max` keys.
    pub fn accounts(&self, max: usize) -> Vec<WindowAccount> {
        let mut all: Vec<_> = lock(&self.accounts).iter().cloned().collect();
        let mut open = Vec::new();
        self.counters.for_each(|key, entry| {
            if open.len() < max {
                let leases = entry.leases.iter().enumerate();
                open.extend(
                    leases.filter_map(|(limit, lease)| Some((Arc::clone(key), limit, lease.account()?))),
                );
            }
        });
        all.extend(open.into_iter().map(|(key, limit, account)| self.account(&key, limit, account)));
        all
    }

    fn account(&self, key: &str, limit: usize, account: Account) -> WindowAccount {
        WindowAccount {
            policy: self.name.clone(),
            limit,
            key: self.key(key, limit).to_string(),
            window: account.window.map(|window| window.start / 1000),
            admitted: account.admitted,
            granted: account.granted,
        }
    }

    fn key(&self, key: &str, limit: usize) -> Key {
        let limit = (limit as u64).to_be_bytes();
        self.service.keys.digested("quota", &[self.name.as_bytes(), &limit, key.as_bytes()])
    }
}

impl Waiting {
    /// Waits for one answer of the storage, which all share who wait for the key, and not for ever.
    pub async fn settle(self) -> Charge {
        let Self { ledger, key, mut answered } = self;
        let came = tokio::time::Instant::now();
        while came.elapsed() < WAIT_MAX {
            if tokio::time::timeout(PATIENCE, answered).await.is_err() {
                ledger.suspect(&key);
            }
            answered = match ledger.charge(&key) {
                Ok(charge) => return charge,
                Err(waiting) => waiting.answered,
            };
        }
        Charge::Counted(ledger.refusal(&key))
    }
}

impl Drop for Ledger {
    /// What is not used is given back, as far as the storage can be reached.
    fn drop(&mut self) {
        let calls: Vec<_> = self.tell(&self.keys(), false).into_iter().map(Pending::into_call).collect();
        if !calls.is_empty() {
            self.service.ask(Ask::Tell(calls));
        }
    }
}

/// A call to make, and whom its answer concerns.
pub(super) struct Pending {
    pub name: Key,
    pub call: Call,
    pub concerned: Concerned,
}

pub(super) struct Concerned {
    pub ledger: Weak<Ledger>,
    pub key: Arc<str>,
    pub limit: usize,
    pub district: u8,
}

impl Pending {
    /// Of one whose answer concerns nobody.
    pub fn into_call(self) -> (Key, Call) {
        (self.name, self.call)
    }
}
