//! Who fills an entry: one of all replicas, and for how long the others wait for it.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::shared::{Order, Shared};
use crate::{
    base::Digest,
    storage::{Key, Outcome, Unavailable},
};

/// How long a replica may take to fill an entry before another one does.
const LOCK: Duration = Duration::from_secs(10);
/// For how long nobody waits for anybody, once a response could not be stored.
const PASS: Duration = Duration::from_secs(5);
const PASS_MARK: &[u8] = b"pass";
/// Entries that are on their way to the storage at the same time, of this policy in this replica. Beyond it they are
/// not stored.
const STORING_MAX: usize = 64;

/// Whether somebody is fetching what was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    Nobody,
    /// Whoever has this token.
    Somebody(Digest),
    /// It would not help: what comes is not stored, or not used unasked.
    Useless,
}

/// Work for the storage that nobody waits for.
pub fn beside(work: impl Future<Output = ()> + Send + 'static) {
    // Outside of a runtime, as at the end of the process, there is nobody to do it.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(work);
    }
}

/// Work for the storage that is done even if who waits for it is gone.
pub async fn to_the_end(work: impl Future<Output = ()> + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        // A panic in it has been reported where it was.
        Ok(runtime) => drop(runtime.spawn(work).await),
        Err(_) => work.await,
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
    pub async fn take(shared: &Arc<Shared>, fills: &Digest) -> Outcome<Option<Self>> {
        let mut fill = Self::without(shared, fills);
        // From here on it is given back, also where the answer never comes.
        fill.held = true;
        fill.held = shared.storage.set_if_absent(&fill.lock, &fill.token, LOCK).await?;
        Ok(Some(fill).filter(|fill| fill.held))
    }

    /// Of one that has waited for the right in vain: all that it can do is to say that it is of no use.
    pub fn without(shared: &Arc<Shared>, fills: &Digest) -> Self {
        let token = fastrand::u128(..).to_be_bytes().to_vec();
        Self { shared: Arc::clone(shared), lock: shared.lock_key(fills), token, held: false, useless: false }
    }

    /// The response cannot be stored, or not be used again unasked: nobody needs to wait for the next one.
    pub fn useless(&mut self) {
        self.useless = true;
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.held && !self.useless {
            return;
        }
        let (shared, lock) = (Arc::clone(&self.shared), self.lock.clone());
        let (token, useless) = (std::mem::take(&mut self.token), self.useless);
        beside(async move {
            // Where the storage cannot be told, the lock ends by itself.
            let _ = match useless {
                true => shared.storage.set(&lock, PASS_MARK, PASS).await,
                false => shared.storage.remove_if(&lock, &token).await.map(drop),
            };
        });
    }
}

impl Filling {
    pub fn of(lock: Option<Vec<u8>>) -> Self {
        match lock {
            None => Self::Nobody,
            Some(mark) if mark == PASS_MARK => Self::Useless,
            Some(token) => Self::Somebody(Digest::of(&token)),
        }
    }
}

/// Stores beside the request, then gives the right to fill back.
pub fn store_beside(
    shared: &Arc<Shared>,
    orders: Vec<Order>,
    fill: Option<Fill>,
    failed: impl FnOnce(&Unavailable) + Send + 'static,
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
