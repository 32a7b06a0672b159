//! The cache of one binding in the storage that the replicas share.
//!
//! An entry carries the numbers that its cache and its subject had when the request for it began. An invalidation
//! removes such a number, in one call and for all replicas: whatever was stored with it, before or after, is not found,
//! and neither is what was stored with a number that Redis has lost. The next request that has something to store makes
//! another one, at random. Freshness is measured by the storage's clock, as an entry, or the mark that it is fresh, ends
//! there: no replica's wall clock can prolong it.
//!
//! What many requests of this replica look for at once is asked for once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::{
    bodies::Bodies,
    entry::{Kept, Stamp, Varies, decode, encode, parse},
    fill::{Filling, beside},
    flights::Flights,
    freshness::micros_between,
    keys::RequestKeys,
};
use crate::{
    base::{
        Digest,
        seal::{KeyRing, Purpose},
    },
    policy::{Clock, scope::RequestHead},
    storage::{Key, Keys, Outcome, Storage, VALUE_BYTES_MAX},
};

/// Between two attempts at an invalidation that did not reach the storage.
const OWED_AGAIN: Duration = Duration::from_millis(500);
/// How long a request may take from its look to the storing of its response: the life of a number with which nothing
/// was stored yet.
const NUMBER: Duration = Duration::from_secs(60);
/// From the head of a response to its end; beyond, another one may have been stored meanwhile, which is not replaced.
const LONG: Duration = Duration::from_secs(1);
/// Members of the list that are taken off in one call, and calls for one invalidation.
const DRAINED_AT_ONCE: usize = 256;
const DRAINS_MAX: usize = 4096;

pub struct Shared {
    pub(super) storage: Storage,
    keys: Keys,
    /// Whose invalidations count: those of every configuration that the binding has had.
    binding: Digest,
    namespace: Digest,
    seals: Option<Arc<KeyRing>>,
    clock: Clock,
    entries_max: usize,
    /// The longest life of an entry.
    life: Duration,
    /// Entries are kept beyond their freshness, which is a mark of its own.
    keeps_stale: bool,
    looks: Flights<Digest, Outcome<Arc<Found>>>,
    locks: Flights<Digest, Outcome<Filling>>,
    bodies: Bodies,
    pub(super) storing: AtomicUsize,
    /// When nothing lives any more that an invalidation meant which has not reached the storage; 0: there is none.
    owes: AtomicU64,
}

/// What a look found.
pub struct Looked {
    pub kept: Option<Arc<Kept>>,
    /// How the responses vary, where they do.
    pub varies: Option<Varies>,
    /// What an entry is stored with that is asked for now. 0: there is no such number.
    pub generations: [u64; 2],
    pub filling: Filling,
    /// Whose lock that is.
    pub fills: Digest,
}

/// What stands under some keys.
struct Found {
    generations: [u64; 2],
    filling: Filling,
    kept: Vec<Option<Arc<Kept>>>,
}

/// Where and with what a response is stored.
pub struct Order {
    pub key: Digest,
    pub stamp: Stamp,
    pub kept: Kept,
}

impl Shared {
    pub fn new(
        services: &crate::policy::PolicyServices,
        [binding, namespace]: [Digest; 2],
        clock: Clock,
        entries_max: usize,
        life: Duration,
        keeps_stale: bool,
    ) -> Self {
        Self {
            storage: services.storage.clone(),
            keys: services.caching.keys.clone(),
            binding,
            namespace,
            seals: services.caching.seals.clone(),
            clock,
            entries_max,
            life,
            keeps_stale,
            looks: Flights::default(),
            locks: Flights::default(),
            bodies: Bodies::new(&services.caching.budget),
            storing: AtomicUsize::new(0),
            owes: AtomicU64::new(0),
        }
    }

    /// Whether there is a storage that others see. The memory of this process is none: it has no ceiling.
    pub fn is_in_force(&self) -> bool {
        // Unit tests have no other.
        cfg!(test) || self.storage.is_shared()
    }

    fn key(&self, kind: &str, of: &[u8]) -> Key {
        self.keys.digested(kind, &[self.namespace.as_bytes(), of])
    }

    pub(super) fn entry_key(&self, key: &Digest) -> Key {
        self.key("cache", key.to_string().as_bytes())
    }

    fn mark_key(&self, key: &Digest) -> Key {
        self.key("cache-fresh", key.as_bytes())
    }

    pub(super) fn lock_key(&self, key: &Digest) -> Key {
        self.key("cache-lock", key.as_bytes())
    }

    fn generation_keys(&self, subject: &Digest) -> [Key; 2] {
        let key = |of: &[u8]| self.keys.digested("cache-number", &[self.binding.as_bytes(), of]);
        [key(b""), key(subject.as_bytes())]
    }

    /// What is stored for a request: under its own key, for HEAD also what was stored of HEAD.
    ///
    /// # Errors
    /// [`crate::storage::Unavailable`], as of the storage.
    pub async fn look(
        &self,
        keys: &RequestKeys,
        request: Option<&RequestHead<'_>>,
        to_head: bool,
    ) -> Outcome<Looked> {
        let candidates = if to_head { &[keys.full, keys.head][..] } else { &[keys.full] };
        let fills = if to_head { keys.head } else { keys.full };
        let found = self.looks.join(fills, self.find(keys, candidates, fills, None)).await?;
        let Found { generations, filling, .. } = *found;
        let mut looked = Looked { kept: None, varies: None, generations, filling, fills };
        for (key, kept) in candidates.iter().zip(&found.kept) {
            let kept = match kept.as_deref() {
                Some(Kept::Varies(varies)) => {
                    looked.varies.get_or_insert_with(|| varies.clone());
                    let Some(request) = request else { continue };
                    let variant = varies.key(key, request);
                    // Two that found other numbers do not share what they find with them.
                    let flight = Digest::builder().part(variant.as_bytes());
                    let flight = generations.iter().fold(flight, |flight, n| flight.part(n.to_be_bytes()));
                    let find = self.find(keys, std::slice::from_ref(&variant), variant, Some(generations));
                    let found = self.looks.join(flight.finish(), find).await?;
                    (looked.filling, looked.fills) = (found.filling, variant);
                    found.kept.first().cloned().flatten()
                }
                _ => kept.clone(),
            };
            looked.kept = better(looked.kept, kept, self.clock.micros());
        }
        Ok(looked)
    }

    /// What stands under these keys, and the lock of `fills`. The numbers are asked for, unless they are given.
    async fn find(
        &self,
        keys: &RequestKeys,
        candidates: &[Digest],
        fills: Digest,
        generations: Option<[u64; 2]>,
    ) -> Outcome<Arc<Found>> {
        let mut asked = vec![self.lock_key(&fills)];
        for key in candidates {
            asked.extend([self.entry_key(key), self.mark_key(key)]);
        }
        if generations.is_none() {
            asked.extend(self.generation_keys(&keys.subject));
        }
        let mut found = self.storage.get(&asked).await?.into_iter();
        let mut next = || found.next().flatten();
        let filling = Filling::of(next());
        let values: Vec<_> = candidates.iter().map(|key| (key, next(), next())).collect();
        let generations = generations.unwrap_or_else(|| [number(next()), number(next())]);
        let open = |(key, entry, mark)| self.open(key, entry, mark, keys, generations).map(Arc::new);
        Ok(Arc::new(Found { generations, filling, kept: values.into_iter().map(open).collect() }))
    }

    /// Whether somebody is filling an entry.
    ///
    /// # Errors
    /// As of the storage.
    pub async fn filling(&self, fills: Digest) -> Outcome<Filling> {
        let ask =
            async { Ok(Filling::of(self.storage.get(&[self.lock_key(&fills)]).await?.pop().flatten())) };
        self.locks.join(fills, ask).await
    }

    /// What an entry is stored with for which a request begins: the numbers that a look has found, and new ones in place
    /// of those that are not there.
    ///
    /// # Errors
    /// As of the storage.
    pub async fn begin(&self, keys: &RequestKeys, mut generations: [u64; 2]) -> Outcome<[u64; 2]> {
        for (key, generation) in self.generation_keys(&keys.subject).iter().zip(&mut generations) {
            if *generation != 0 {
                continue;
            }
            // Any but 0, in the range of Redis' numbers.
            let new = fastrand::u64(1..1 << 63);
            *generation = match self.storage.set_if_absent(key, new.to_string().as_bytes(), NUMBER).await? {
                true => new,
                false => number(self.storage.get(std::slice::from_ref(key)).await?.pop().flatten()),
            };
        }
        Ok(generations)
    }

    fn open(
        &self,
        key: &Digest,
        entry: Option<Vec<u8>>,
        mark: Option<Vec<u8>>,
        keys: &RequestKeys,
        generations: [u64; 2],
    ) -> Option<Kept> {
        let entry = entry.filter(|entry| entry.len() <= VALUE_BYTES_MAX)?;
        let plain = self.unsealed(&self.entry_key(key), entry)?;
        let (mut kept, stamp) = decode(&plain, self.clock.micros(), self.clock.wall())?;
        let counts = stamp.generations == generations && !generations.contains(&0);
        if !counts || stamp.subject != keys.subject || kept.timing().kept_for(self.clock.micros()).is_none() {
            return None;
        }
        if let Kept::Response(entry) = &mut kept {
            if self.keeps_stale && mark.as_deref() != Some(&stamp.number.to_be_bytes()) {
                entry.timing.fresh_for = entry.timing.fresh_for.min(0);
            }
            entry.body = self.bodies.hold(stamp.number, std::mem::take(&mut entry.body))?;
        }
        Some(kept)
    }

    fn unsealed(&self, name: &Key, entry: Vec<u8>) -> Option<Bytes> {
        let plain = match &self.seals {
            Some(seals) => seals.open(Purpose::HttpCache, name.as_str().as_bytes(), &entry)?,
            None => entry,
        };
        Some(Bytes::from(plain))
    }

    /// Whether what stands under a name came later than this, by the wall clocks of those who stored them.
    async fn is_overtaken(&self, name: &Key, stamp: &Stamp, came: u64) -> Outcome<bool> {
        let there = self.storage.get(std::slice::from_ref(name)).await?.pop().flatten();
        let there = there.filter(|there| there.len() <= VALUE_BYTES_MAX);
        let there = there.and_then(|there| parse(&self.unsealed(name, there)?));
        Ok(there.is_some_and(|(_, other, stored)| other.generations == stamp.generations && stored > came))
    }

    /// Stores entries; whether there was a place for them. What falls out of the list is removed.
    ///
    /// # Errors
    /// As of the storage; some may be stored.
    pub async fn store(&self, orders: Vec<Order>) -> Outcome<()> {
        let list = self.key("cache-list", b"");
        for Order { key, stamp, kept } in orders {
            if stamp.generations.contains(&0) {
                continue;
            }
            let now = self.clock.micros();
            let Some(life) = kept.timing().kept_for(now) else { continue };
            let (name, member) = (self.entry_key(&key), key.to_string());
            let took = now.saturating_sub(kept.timing().at);
            let came = micros_between(SystemTime::UNIX_EPOCH, self.clock.wall()).saturating_sub(took);
            if took > LONG.as_micros() as u64 && self.is_overtaken(&name, &stamp, came).await? {
                continue;
            }
            let plain = encode(&kept, &stamp, now, self.clock.wall());
            let value = match &self.seals {
                Some(seals) => seals.seal(Purpose::HttpCache, name.as_str().as_bytes(), &plain),
                None => plain,
            };
            if value.len() > VALUE_BYTES_MAX {
                continue;
            }
            self.storage.set(&name, &value, life).await?;
            let fresh_for = u64::try_from(kept.timing().fresh_for(now)).unwrap_or(0);
            if self.keeps_stale && matches!(kept, Kept::Response(_)) && fresh_for > 0 {
                let fresh_for = Duration::from_micros(fresh_for);
                self.storage.set(&self.mark_key(&key), &stamp.number.to_be_bytes(), fresh_for).await?;
            }
            // How responses vary is stored together with one of them, with the same numbers.
            if matches!(kept, Kept::Response(_)) {
                for number in &self.generation_keys(&stamp.subject) {
                    self.storage.prolong(number, self.life + NUMBER).await?;
                }
            }
            // To the end of the list: it counts from when it was stored last.
            self.storage.delist(&list, &member).await?;
            let gone = self.storage.enlist(&list, &member, self.entries_max, self.life).await?;
            self.remove(&gone).await?;
        }
        Ok(())
    }

    async fn remove(&self, members: &[String]) -> Outcome<()> {
        let keys: Vec<Key> = members.iter().map(|member| self.key("cache", member.as_bytes())).collect();
        if keys.is_empty() { Ok(()) } else { self.storage.remove(&keys).await }
    }

    /// Nothing of this subject is found any more, by any replica.
    ///
    /// # Errors
    /// As of the storage; it may be found.
    pub async fn invalidate(&self, subject: &Digest, keys: &[Digest]) -> Outcome<()> {
        let [_, number] = self.generation_keys(subject);
        let entries = keys.iter().map(|key| self.entry_key(key));
        self.storage.remove(&std::iter::once(number).chain(entries).collect::<Vec<_>>()).await
    }

    /// Nothing is found any more, by any replica.
    ///
    /// # Errors
    /// As of the storage; it may be found.
    pub async fn invalidate_all(&self) -> Outcome<()> {
        let [number, _] = self.generation_keys(&self.namespace);
        self.storage.remove(&[number]).await
    }

    /// Whether what is in the storage may have been invalidated without the storage knowing.
    pub fn owes(&self) -> bool {
        self.owed() != 0
    }

    /// Until when an invalidation is owed; 0: there is none.
    pub(super) fn owed(&self) -> u64 {
        self.owes.load(Ordering::Acquire)
    }

    /// An invalidation has failed: beside everything else it is tried again, as one of all entries, until it is there
    /// or nothing of what it meant lives.
    pub fn owe(self: &Arc<Self>) {
        let end = self.clock.micros().saturating_add(self.life.as_micros() as u64);
        // Each is told apart from those before, so that none is taken for paid with an earlier one.
        let longer = |owed: u64| Some(end.max(owed.saturating_add(1)));
        if self.owes.fetch_update(Ordering::AcqRel, Ordering::Acquire, longer) != Ok(0) {
            return;
        }
        let shared = Arc::clone(self);
        beside(async move {
            loop {
                let owed = shared.owed();
                if shared.invalidate_all().await.is_err() && shared.clock.micros() < owed {
                    shared.clock.sleep(OWED_AGAIN).await;
                } else if shared.owes.compare_exchange(owed, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    break;
                }
            }
        });
    }

    /// As if what says that the response is fresh had ended in the storage.
    #[cfg(test)]
    pub async fn forget_marks(&self, storage: &Storage, keys: &RequestKeys) {
        storage.remove(&[self.mark_key(&keys.full)]).await.expect("it answers");
    }

    /// Gives the memory of what [`Shared::invalidate_all`] has made unreachable back to the storage.
    pub async fn sweep(&self) -> Outcome<()> {
        let list = self.key("cache-list", b"");
        for _ in 0..DRAINS_MAX {
            let gone = self.storage.drain(&list, DRAINED_AT_ONCE).await?;
            if gone.is_empty() {
                break;
            }
            self.remove(&gone).await?;
        }
        Ok(())
    }
}

/// Of two for one request the fresh one, else the younger (RFC 9111 section 4).
pub fn better(one: Option<Arc<Kept>>, other: Option<Arc<Kept>>, now: u64) -> Option<Arc<Kept>> {
    let worth = |kept: &Arc<Kept>| {
        let timing = kept.timing();
        (timing.fresh_for(now) > 0, std::cmp::Reverse(timing.age(now)))
    };
    one.into_iter().chain(other).filter(|kept| matches!(**kept, Kept::Response(_))).max_by_key(worth)
}

/// A number as the storage has it. One that cannot be is like no other: nothing is found.
fn number(value: Option<Vec<u8>>) -> u64 {
    match value {
        None => 0,
        Some(digits) => {
            std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
        }
    }
}
