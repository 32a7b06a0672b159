//! The counters of all keys, exact over all worker threads.
//!
//! Keys are spread over shards with a lock each, held for some tens of nanoseconds and never across
//! an await. In a shard the keys also stand in the order in which their windows end, so that the
//! one to make room is found without a search.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::windows::{Quota, Verdict, Windows};
use crate::base::Digest;

/// Keys of one policy: at about 250 bytes each, 250 MB (policies reference 3.1).
pub const KEYS_MAX: usize = 1_000_000;

/// Enough that workers rarely meet at a lock.
const SHARDS: usize = 16;

/// Longer keys are kept as their digest, so that keys have a size that can be counted on.
const KEY_BYTES_MAX: usize = 64;

/// Idle keys dropped when a new one comes: more than one, so that their number falls.
const DROPPED_AT_ONCE: usize = 2;

/// Counts the requests of every key.
pub struct Buckets {
    quotas: Box<[Quota]>,
    /// The longest window.
    period_max: u64,
    counters: Counters,
}

enum Counters {
    /// Without a key selector.
    One(Mutex<Option<Windows>>),
    Keyed {
        shards: Box<[Mutex<Shard>]>,
        /// Keyed by chance, so that nobody can choose keys that fall into one shard.
        hasher: RandomState,
        keys_max: usize,
    },
}

#[derive(Default)]
struct Shard {
    keys: HashMap<Arc<str>, Entry>,
    /// The end of the last window of each key.
    ends: BTreeSet<(u64, Arc<str>)>,
}

struct Entry {
    key: Arc<str>,
    windows: Windows,
}

impl Buckets {
    /// One bucket for all requests.
    pub fn one(quotas: Box<[Quota]>) -> Self {
        Self::new(quotas, Counters::One(Mutex::default()))
    }

    /// A bucket per key, about `keys_max` of them.
    pub fn keyed(quotas: Box<[Quota]>, keys_max: usize) -> Self {
        let shards = if keys_max < SHARDS * SHARDS { 1 } else { SHARDS };
        Self::new(
            quotas,
            Counters::Keyed {
                shards: (0..shards).map(|_| Mutex::default()).collect(),
                hasher: RandomState::new(),
                keys_max: keys_max.div_ceil(shards).max(1),
            },
        )
    }

    fn new(quotas: Box<[Quota]>, counters: Counters) -> Self {
        let period_max = quotas.iter().map(|quota| quota.period).max().unwrap_or_default();
        Self { quotas, period_max, counters }
    }

    /// Charges a request to the bucket of its key. `now`: microseconds on the policy's clock.
    pub fn charge(&self, key: &str, now: u64) -> Verdict {
        match &self.counters {
            Counters::One(windows) => {
                let mut windows = lock(windows);
                windows.get_or_insert_with(|| Windows::starting(&self.quotas, now)).charge(&self.quotas, now)
            }
            Counters::Keyed { shards, hasher, keys_max } => {
                let key = bounded(key);
                // Neither the lowest nor the highest bits, which the map inside uses.
                let index = (hasher.hash_one(&*key) >> 32) as usize % shards.len();
                let mut shard = lock(&shards[index]);
                match shard.charge(&key, &self.quotas, now) {
                    Some(verdict) => verdict,
                    None => {
                        shard.make_room(now.saturating_sub(self.period_max), *keys_max);
                        shard.insert(&key, &self.quotas, now)
                    }
                }
            }
        }
    }

    /// How many keys are counted.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        match &self.counters {
            Counters::One(windows) => usize::from(lock(windows).is_some()),
            Counters::Keyed { shards, .. } => shards.iter().map(|shard| lock(shard).keys.len()).sum(),
        }
    }
}

impl Shard {
    /// Charges a known key.
    fn charge(&mut self, key: &str, quotas: &[Quota], now: u64) -> Option<Verdict> {
        let entry = self.keys.get_mut(key)?;
        let before = entry.windows.end(quotas);
        let verdict = entry.windows.charge(quotas, now);
        let after = entry.windows.end(quotas);
        if after != before {
            self.ends.remove(&(before, Arc::clone(&entry.key)));
            self.ends.insert((after, Arc::clone(&entry.key)));
        }
        Some(verdict)
    }

    /// Drops some of the keys whose windows ended before `idle_before`, and, where there are too
    /// many keys, the one whose windows end first.
    fn make_room(&mut self, idle_before: u64, keys_max: usize) {
        for _ in 0..DROPPED_AT_ONCE {
            if self.ends.first().is_none_or(|(end, _)| *end > idle_before) {
                break;
            }
            self.drop_first();
        }
        if self.keys.len() >= keys_max {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((_, key)) = self.ends.pop_first() {
            self.keys.remove(&key);
        }
    }

    fn insert(&mut self, key: &str, quotas: &[Quota], now: u64) -> Verdict {
        let key: Arc<str> = key.into();
        let mut windows = Windows::starting(quotas, now);
        let verdict = windows.charge(quotas, now);
        self.ends.insert((windows.end(quotas), Arc::clone(&key)));
        self.keys.insert(Arc::clone(&key), Entry { key, windows });
        verdict
    }
}

fn bounded(key: &str) -> Cow<'_, str> {
    match key.len() {
        ..=KEY_BYTES_MAX => Cow::Borrowed(key),
        // No shorter key is equal: a digest alone has 64 characters.
        _ => Cow::Owned(format!("sha256:{}", Digest::of(key))),
    }
}

/// A panic elsewhere while the lock was held leaves counters that are still counters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
