//! The cache of one policy in the memory of its replica, which all workers share: first in, first out, and no more
//! than the replica's budget.
//!
//! One lock, held for some hundred nanoseconds and never across an await: what is found is shared, not copied.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    disk::Mirror,
    entry::{Kept, Varies},
    freshness::Timing,
};
use crate::{
    base::{Digest, lock},
    policy::{Budget, budget::Holder},
};

/// Invalidations that are remembered one by one. Beyond it the oldest counts for the whole cache.
const INVALIDATIONS_MAX: usize = 4096;

pub struct Memory {
    shelf: Mutex<Shelf>,
    entries_max: usize,
    budget: Arc<Budget>,
    mirror: Option<Arc<Mirror>>,
}

#[derive(Default)]
struct Shelf {
    slots: HashMap<Digest, Slot>,
    /// By when they were stored.
    order: BTreeMap<u64, Digest>,
    invalidations: Invalidations,
}

struct Slot {
    kept: Arc<Kept>,
    subject: Digest,
    stored: u64,
    /// When the request for it began: an invalidation after that means it too.
    began: u64,
    bytes: usize,
}

/// What was invalidated when.
#[derive(Default)]
struct Invalidations {
    /// Everything that began before.
    all: u64,
    by_subject: HashMap<Digest, u64>,
    order: BTreeMap<u64, Digest>,
}

impl Memory {
    pub fn new(entries_max: usize, budget: &Arc<Budget>, mirror: Option<Arc<Mirror>>) -> Arc<Self> {
        let memory =
            Arc::new(Self { shelf: Mutex::default(), entries_max, budget: Arc::clone(budget), mirror });
        budget.register(&memory);
        memory
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shelf)
    }

    /// A mark for a request that begins now: what it stores later is not stored if it was invalidated in between.
    pub fn begin(&self) -> u64 {
        self.budget.tick()
    }

    /// What is stored under a key and neither forgotten nor invalidated.
    pub fn get(&self, key: &Digest, now: u64) -> Option<Arc<Kept>> {
        let mut shelf = self.shelf();
        let slot = shelf.slots.get(key)?;
        if slot.kept.timing().kept_for(now).is_some() && !shelf.invalidations.mean(slot) {
            return Some(Arc::clone(&slot.kept));
        }
        self.remove_from(&mut shelf, key);
        None
    }

    /// Stores under a key, in place of what was there, unless an invalidation meant it since `began`, or what is there was
    /// asked for later: a slow client's response does not replace a newer one.
    pub fn put(&self, key: Digest, subject: Digest, began: u64, kept: Arc<Kept>, now: u64) {
        let bytes = kept.bytes();
        if bytes > self.budget.bytes_max() {
            return;
        }
        let mut shelf = self.shelf();
        let slot = Slot { kept, subject, stored: self.budget.tick(), began, bytes };
        let is_newer = |there: &Slot| there.began > began && there.kept.timing().kept_for(now).is_some();
        if shelf.invalidations.mean(&slot) || shelf.slots.get(&key).is_some_and(is_newer) {
            return;
        }
        self.remove_from(&mut shelf, &key);
        // Whatever is over goes too, so that their number falls.
        for _ in 0..2 {
            let first = shelf.order.first_key_value().map(|(_, key)| *key);
            let over = |key: &Digest| shelf.slots[key].kept.timing().kept_for(now).is_none();
            match first.filter(over) {
                Some(over) => self.remove_from(&mut shelf, &over),
                None => break,
            }
        }
        while shelf.slots.len() >= self.entries_max {
            let Some(first) = shelf.order.first_key_value().map(|(_, key)| *key) else { break };
            self.remove_from(&mut shelf, &first);
        }
        self.tell(&key, Some(&slot));
        shelf.order.insert(slot.stored, key);
        shelf.slots.insert(key, slot);
        self.budget.take(bytes);
        drop(shelf);
        self.budget.make_room();
    }

    /// Stores what came from the disk, unless there is something newer; whether anything is under its key now.
    pub fn restore(&self, key: Digest, subject: Digest, kept: Arc<Kept>, now: u64) -> bool {
        let known = self.shelf().slots.contains_key(&key);
        if !known && kept.timing().kept_for(now).is_some() {
            // Whatever has been invalidated since the start means it.
            self.put(key, subject, 1, kept, now);
        }
        self.shelf().slots.contains_key(&key)
    }

    /// How the responses under `key` vary by `names`: as those do that are there, or anew.
    pub fn varies(
        &self,
        key: Digest,
        subject: Digest,
        began: u64,
        names: Vec<String>,
        timing: Timing,
    ) -> Varies {
        let known = match self.shelf().slots.get(&key).map(|slot| Arc::clone(&slot.kept)).as_deref() {
            Some(Kept::Varies(known)) => Some(known.clone()),
            _ => None,
        };
        let varies = Varies::with(known, names, timing);
        self.put(key, subject, began, Arc::new(Kept::Varies(varies.clone())), timing.at);
        varies
    }

    /// Everything under this subject is gone, and what is on its way to be stored there too.
    pub fn invalidate(&self, subject: Digest, keys: &[Digest]) {
        let mut shelf = self.shelf();
        let now = self.budget.tick();
        shelf.invalidations.add(subject, now);
        keys.iter().for_each(|key| self.remove_from(&mut shelf, key));
        if self.mirror.is_some() {
            // Nothing of it may come back after a restart.
            let meant = shelf.slots.iter().filter(|(_, slot)| slot.subject == subject);
            let meant: Vec<Digest> = meant.map(|(key, _)| *key).collect();
            meant.iter().for_each(|key| self.remove_from(&mut shelf, key));
        }
    }

    /// Everything is gone, and what is on its way to be stored too.
    pub fn invalidate_all(&self) {
        let mut shelf = self.shelf();
        shelf.invalidations = Invalidations { all: self.budget.tick(), ..Invalidations::default() };
        let keys: Vec<Digest> = shelf.slots.keys().copied().collect();
        keys.iter().for_each(|key| self.remove_from(&mut shelf, key));
    }

    fn remove_from(&self, shelf: &mut Shelf, key: &Digest) {
        let Some(slot) = shelf.slots.remove(key) else { return };
        shelf.order.remove(&slot.stored);
        self.budget.give_back(slot.bytes);
        self.tell(key, None);
    }

    fn tell(&self, key: &Digest, slot: Option<&Slot>) {
        if let Some(mirror) = &self.mirror {
            mirror.changed(*key, slot.map(|slot| (Arc::clone(&slot.kept), slot.subject)));
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.shelf().slots.len()
    }
}

impl Holder for Memory {
    fn oldest(&self) -> Option<u64> {
        self.shelf().order.first_key_value().map(|(stored, _)| *stored)
    }

    fn give_up(&self, oldest: u64) {
        let mut shelf = self.shelf();
        if let Some(key) = shelf.order.get(&oldest).copied() {
            self.remove_from(&mut shelf, &key);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(mirror) = &self.mirror {
            mirror.close();
        }
        let shelf = self.shelf.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.give_back(shelf.slots.values().map(|slot| slot.bytes).sum());
    }
}

impl Invalidations {
    fn mean(&self, slot: &Slot) -> bool {
        slot.began <= self.all || self.by_subject.get(&slot.subject).is_some_and(|at| slot.began <= *at)
    }

    fn add(&mut self, subject: Digest, now: u64) {
        if let Some(before) = self.by_subject.insert(subject, now) {
            self.order.remove(&before);
        }
        self.order.insert(now, subject);
        while self.order.len() > INVALIDATIONS_MAX {
            let Some((at, subject)) = self.order.pop_first() else { break };
            self.all = at;
            self.by_subject.remove(&subject);
        }
    }
}
