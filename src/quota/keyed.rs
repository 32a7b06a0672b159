//! What is counted for each key, shared by all worker threads.
//!
//! Keys are spread over shards with a lock each, held for some tens of nanoseconds and never across
//! an await. In a shard the keys also stand in the order in which their windows end, so that the
//! one to make room is found without a search.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard},
};

use crate::base::{Digest, lock};

/// Keys of one policy (policies reference 3.1): at about 250 bytes each where a replica counts alone, 580 where replicas
/// count together, 250 or 580 MB.
pub const KEYS_MAX: usize = 1_000_000;

/// Enough that workers rarely meet at a lock.
const SHARDS: usize = 16;

/// Longer keys are kept as their digest, so that keys have a size that can be counted on.
const KEY_BYTES_MAX: usize = 64;

/// Idle keys dropped when a new one comes: more than one, so that their number falls.
const DROPPED_AT_ONCE: usize = 2;

/// What stands under a key.
pub trait Counter {
    /// When the last of its windows ends, microseconds on the clock of whoever counts.
    fn end(&self) -> u64;
}

/// A counter for each key, or one for all.
pub struct Keyed<T>(Counters<T>);

enum Counters<T> {
    /// Without a key selector.
    One(Mutex<Option<T>>),
    Many {
        shards: Box<[Mutex<Shard<T>>]>,
        /// Keyed by chance, so that nobody can choose keys that fall into one shard.
        hasher: RandomState,
        keys_max: usize,
    },
}

struct Shard<T> {
    keys: HashMap<Arc<str>, Entry<T>>,
    /// The end of the last window of each key.
    ends: BTreeSet<(u64, Arc<str>)>,
}

struct Entry<T> {
    key: Arc<str>,
    counter: T,
}

impl<T: Counter> Keyed<T> {
    /// One counter, whatever the key.
    pub fn one() -> Self {
        Self(Counters::One(Mutex::default()))
    }

    /// A counter per key, about `keys_max` of them.
    pub fn many(keys_max: usize) -> Self {
        let shards = if keys_max < SHARDS * SHARDS { 1 } else { SHARDS };
        let shard = || Mutex::new(Shard { keys: HashMap::new(), ends: BTreeSet::new() });
        Self(Counters::Many {
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            keys_max: keys_max.div_ceil(shards).max(1),
        })
    }

    /// Does something with the counter of a key, which is made where there is none. Counters whose windows ended
    /// before `idle_before` may go to make room.
    pub fn with<R>(
        &self,
        key: &str,
        idle_before: u64,
        make: impl FnOnce(&Arc<str>) -> T,
        act: impl FnOnce(&mut T) -> R,
    ) -> R {
        match &self.0 {
            Counters::One(counter) => act(lock(counter).get_or_insert_with(|| make(&Arc::from("")))),
            Counters::Many { keys_max, .. } => {
                let key = bounded(key);
                let mut shard = self.shard(&key);
                let act = match shard.with(&key, act) {
                    Ok(result) => return result,
                    Err(act) => act,
                };
                shard.make_room(idle_before, *keys_max);
                shard.insert(&key, make, act)
            }
        }
    }

    /// The same where there is one already.
    pub fn with_known<R>(&self, key: &str, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        match &self.0 {
            Counters::One(counter) => lock(counter).as_mut().map(act),
            Counters::Many { .. } => {
                let key = bounded(key);
                self.shard(&key).with(&key, act).ok()
            }
        }
    }

    /// Does something with every counter, in no order; a shard is locked meanwhile.
    pub fn for_each(&self, mut act: impl FnMut(&Arc<str>, &T)) {
        match &self.0 {
            Counters::One(counter) => {
                if let Some(counter) = &*lock(counter) {
                    act(&Arc::from(""), counter);
                }
            }
            Counters::Many { shards, .. } => {
                for shard in shards {
                    lock(shard).keys.values().for_each(|entry| act(&entry.key, &entry.counter));
                }
            }
        }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard<T>> {
        let Counters::Many { shards, hasher, .. } = &self.0 else {
            unreachable!("asked for only where there are many")
        };
        // Neither the lowest nor the highest bits, which the map inside uses.
        lock(&shards[(hasher.hash_one(key) >> 32) as usize % shards.len()])
    }
}

impl<T: Counter> Shard<T> {
    /// Does something with a counter that is there; gives it back where there is none.
    fn with<R, A: FnOnce(&mut T) -> R>(&mut self, key: &str, act: A) -> Result<R, A> {
        let Some(entry) = self.keys.get_mut(key) else { return Err(act) };
        let before = entry.counter.end();
        let result = act(&mut entry.counter);
        let after = entry.counter.end();
        if after != before {
            self.ends.remove(&(before, Arc::clone(&entry.key)));
            self.ends.insert((after, Arc::clone(&entry.key)));
        }
        Ok(result)
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

    fn insert<R>(
        &mut self,
        key: &str,
        make: impl FnOnce(&Arc<str>) -> T,
        act: impl FnOnce(&mut T) -> R,
    ) -> R {
        let key: Arc<str> = key.into();
        let mut counter = make(&key);
        let result = act(&mut counter);
        self.ends.insert((counter.end(), Arc::clone(&key)));
        self.keys.insert(Arc::clone(&key), Entry { key, counter });
        result
    }
}

fn bounded(key: &str) -> Cow<'_, str> {
    match key.len() {
        ..=KEY_BYTES_MAX => Cow::Borrowed(key),
        // No shorter key is equal: a digest alone has 64 characters.
        _ => Cow::Owned(format!("sha256:{}", Digest::of(key))),
    }
}
