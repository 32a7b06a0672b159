//! The cache of one binding in the storage that the replicas share.
//!
//! An entry carries the numbers that its cache and its subject had when the request for it began. An invalidation
//! counts them up, in one call and for all replicas: whatever was stored with other numbers, before or after, is not
//! found. Freshness is measured by the storage's clock, as an entry, or the mark that it is fresh, ends there: no
//! replica's wall clock can prolong it.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    entry::{Kept, Stamp, Varies, decode, encode},
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

/// How long a replica may take to fill an entry before another one does.
const LOCK: Duration = Duration::from_secs(10);
/// For how long nobody waits for anybody, once a response could not be stored.
const PASS: Duration = Duration::from_secs(5);
const PASS_MARK: &[u8] = b"pass";
/// Entries that are on their way to the storage at the same time, of this policy in this replica. Beyond it they are
/// not stored.
const STORING_MAX: usize = 64;
/// Beyond the life of any entry, so that a number is never forgotten before what was stored with another one.
const NUMBERS_BEYOND: Duration = Duration::from_secs(24 * 3600);
/// Members of the list that are taken off in one call, and calls for one invalidation.
const DRAINED_AT_ONCE: usize = 256;
const DRAINS_MAX: usize = 4096;

pub struct Shared {
    storage: Storage,
    keys: Keys,
    namespace: Digest,
    seals: Option<Arc<KeyRing>>,
    clock: Clock,
    entries_max: usize,
    /// The longest life of an entry.
    life: Duration,
    /// Entries are kept beyond their freshness, which is a mark of its own.
    keeps_stale: bool,
    storing: AtomicUsize,
}

/// What a look found.
pub struct Looked {
    pub kept: Option<Arc<Kept>>,
    /// How the responses vary, where they do.
    pub varies: Option<Varies>,
    /// What an entry is stored with that is asked for now.
    pub generations: [u64; 2],
    pub filling: Filling,
}

/// Whether somebody is fetching what was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    Nobody,
    Somebody,
    /// It would not help: what comes is not stored.
    Useless,
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
        namespace: Digest,
        clock: Clock,
        entries_max: usize,
        life: Duration,
        keeps_stale: bool,
    ) -> Self {
        Self {
            storage: services.storage.clone(),
            keys: services.caching.keys.clone(),
            namespace,
            seals: services.caching.seals.clone(),
            clock,
            entries_max,
            life,
            keeps_stale,
            storing: AtomicUsize::new(0),
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

    fn lock_key(&self, keys: &RequestKeys) -> Key {
        self.key("cache-lock", keys.full.as_bytes())
    }

    fn generation_keys(&self, subject: &Digest) -> [Key; 2] {
        [self.key("cache-number", b""), self.key("cache-number", subject.as_bytes())]
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
        let [all, subject] = self.generation_keys(&keys.subject);
        let mut asked = vec![all, subject, self.lock_key(keys)];
        let candidates = if to_head { &[keys.full, keys.head][..] } else { &[keys.full] };
        for key in candidates {
            asked.extend([self.entry_key(key), self.mark_key(key)]);
        }
        let mut found = self.storage.get(&asked).await?.into_iter();
        let mut next = || found.next().flatten();
        let generations = [number(next()), number(next())];
        let filling = match next() {
            None => Filling::Nobody,
            Some(mark) if mark == PASS_MARK => Filling::Useless,
            Some(_) => Filling::Somebody,
        };
        let mut looked = Looked { kept: None, varies: None, generations, filling };
        for key in candidates {
            let (entry, mark) = (next(), next());
            match self.open(key, entry, mark, keys, generations) {
                Some(Kept::Varies(varies)) => {
                    if let Some(request) = request {
                        let key = varies.key(key, request);
                        let found = self.storage.get(&[self.entry_key(&key), self.mark_key(&key)]).await?;
                        let [entry, mark] = <[_; 2]>::try_from(found).unwrap_or_default();
                        let kept = self.open(&key, entry, mark, keys, generations);
                        looked.kept = kept.filter(|kept| matches!(kept, Kept::Response(_))).map(Arc::new);
                    }
                    looked.varies.get_or_insert(varies);
                }
                Some(kept) => looked.kept = Some(Arc::new(kept)),
                None => {}
            }
            if looked.kept.is_some() {
                break;
            }
        }
        Ok(looked)
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
        let plain = match &self.seals {
            Some(seals) => seals.open(Purpose::HttpCache, self.entry_key(key).as_str().as_bytes(), &entry)?,
            None => entry,
        };
        let (mut kept, stamp) = decode(&Bytes::from(plain), self.clock.micros(), self.clock.wall())?;
        if stamp.generations != generations || stamp.subject != keys.subject {
            return None;
        }
        if let Kept::Response(entry) = &mut kept
            && self.keeps_stale
            && mark.as_deref() != Some(&stamp.number.to_be_bytes())
        {
            entry.timing.fresh_for = entry.timing.fresh_for.min(0);
        }
        kept.timing().kept_for(self.clock.micros()).map(|_| kept)
    }

    /// Takes the lock under which an entry is filled; tells whether it did.
    ///
    /// # Errors
    /// As of the storage.
    async fn lock(&self, lock: &Key, token: &[u8]) -> Outcome<bool> {
        self.storage.set_if_absent(lock, token, LOCK).await
    }

    /// Gives the lock back, or says that it is no use to wait for one.
    ///
    /// # Errors
    /// As of the storage.
    async fn unlock(&self, lock: &Key, token: &[u8], useless: bool) -> Outcome<()> {
        if useless {
            return self.storage.set(lock, PASS_MARK, PASS).await;
        }
        self.storage.remove_if(lock, token).await.map(drop)
    }

    /// Stores entries; whether there was a place for them. What falls out of the list is removed.
    ///
    /// # Errors
    /// As of the storage; some may be stored.
    pub async fn store(&self, orders: Vec<Order>) -> Outcome<()> {
        let list = self.key("cache-list", b"");
        for Order { key, stamp, kept } in orders {
            let now = self.clock.micros();
            let Some(life) = kept.timing().kept_for(now) else { continue };
            let (name, member) = (self.entry_key(&key), key.to_string());
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
        self.storage.increment(&number, self.life + NUMBERS_BEYOND).await?;
        let keys: Vec<Key> = keys.iter().map(|key| self.entry_key(key)).collect();
        if keys.is_empty() { Ok(()) } else { self.storage.remove(&keys).await }
    }

    /// Nothing is found any more, by any replica.
    ///
    /// # Errors
    /// As of the storage; it may be found.
    pub async fn invalidate_all(&self) -> Outcome<()> {
        let [number, _] = self.generation_keys(&self.namespace);
        self.storage.increment(&number, self.life + NUMBERS_BEYOND).await.map(drop)
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

/// Work for the storage that nobody waits for.
pub fn beside(work: impl Future<Output = ()> + Send + 'static) {
    // Outside of a runtime, as at the end of the process, there is nobody to do it.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(work);
    }
}

/// The right, and the duty, to fill an entry. Dropped, it lets another one try.
pub struct Fill {
    shared: Arc<Shared>,
    lock: Key,
    token: Vec<u8>,
    held: bool,
    useless: bool,
}

impl Fill {
    /// Takes the right, if nobody has it.
    ///
    /// # Errors
    /// As of the storage.
    pub async fn take(shared: &Arc<Shared>, keys: &RequestKeys) -> Outcome<Option<Self>> {
        let token = fastrand::u128(..).to_be_bytes().to_vec();
        let lock = shared.lock_key(keys);
        // From here on it is given back, also where the answer never comes.
        let mut fill = Self { shared: Arc::clone(shared), lock, token, held: true, useless: false };
        fill.held = shared.lock(&fill.lock, &fill.token).await?;
        Ok(Some(fill).filter(|fill| fill.held))
    }

    /// The response cannot be stored: nobody needs to wait for the next one.
    pub fn useless(mut self) {
        self.useless = true;
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        let (shared, lock) = (Arc::clone(&self.shared), self.lock.clone());
        let (token, useless) = (std::mem::take(&mut self.token), self.useless);
        beside(async move {
            let _ = shared.unlock(&lock, &token, useless).await;
        });
    }
}

/// Stores beside the request, then gives the right to fill back.
pub fn store_beside(
    shared: &Arc<Shared>,
    orders: Vec<Order>,
    fill: Option<Fill>,
    failed: impl FnOnce(&crate::storage::Unavailable) + Send + 'static,
) {
    if shared.storing.fetch_add(1, Ordering::Relaxed) >= STORING_MAX {
        shared.storing.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let shared = Arc::clone(shared);
    beside(async move {
        let outcome = shared.store(orders).await;
        shared.storing.fetch_sub(1, Ordering::Relaxed);
        if let Err(unavailable) = outcome {
            failed(&unavailable);
        }
        drop(fill);
    });
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
