//! Floor 1, shared state: what the replicas of one gateway have in common, in Redis, or in this process where no
//! Redis is configured (configuration reference 8; decisions 31 to 41).
//!
//! [`Storage`] is a handle for the life of the process. Which Redis it leads to follows the configuration, so nobody
//! who holds it is rebuilt when that changes. Every call has a deadline and fails rather than waits: who calls has an
//! answer of its own for [`Unavailable`].

mod channels;
mod fleet;
mod keys;
mod memory;
pub mod quota;
pub mod redis;

use std::{
    fmt, io,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::base::lock;

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tokio::{runtime::Handle, sync::broadcast};

use channels::Channels;
pub use fleet::Fleet;
pub use keys::{Channel, Key, Keys};
use memory::Memory;
use redis::{Calls, NodeStatus, Plan, Redis};

/// What the replicas share. Clones lead to the same place.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

/// The largest value: a cached response of 1 MB with its head (policies reference 3.4), sealed.
pub const VALUE_BYTES_MAX: usize = 2 << 20;

/// Nodes of a storage that are told apart; more share.
pub const DISTRICTS: u8 = 64;

struct Inner {
    /// Serves as long as `shared` is empty.
    memory: Memory,
    fleet: Fleet,
    shared: ArcSwapOption<Redis>,
    channels: Arc<Channels>,
    /// Of all that were in force since the start: they are counters.
    calls: Arc<Calls>,
    /// One changes it at a time; how many losses those counted that were in force before.
    attaching: Mutex<u64>,
}

/// The storage did not answer within its deadline, or with an error. The text is for logs: it holds no secret and no
/// value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

pub type Outcome<T> = Result<T, Unavailable>;

/// A value with the number that decides which of two is newer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    pub version: u64,
    pub value: Vec<u8>,
}

/// What is in force, for people and metrics.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `memory`, `standalone`, `sentinel` or `cluster`.
    pub backend: &'static str,
    /// With all nodes; always true of memory.
    pub connected: bool,
    pub nodes: Vec<NodeStatus>,
    /// Since the start, whichever Redis it was.
    pub calls_answered: u64,
    pub calls_unavailable: u64,
    /// What all of them took together.
    pub calls_micros: u64,
}

/// A member as [`Storage::beat`] tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    pub member: String,
    /// What it said of itself.
    pub value: Vec<u8>,
    /// Since it said so, by the clock of the storage.
    pub age: Duration,
}

impl Storage {
    /// In this process alone.
    pub fn in_memory() -> Self {
        Self(Arc::new(Inner {
            memory: Memory::default(),
            shared: ArcSwapOption::empty(),
            channels: Arc::default(),
            calls: Arc::default(),
            attaching: Mutex::default(),
            fleet: Fleet::default(),
        }))
    }

    /// The replicas that share this storage.
    pub fn fleet(&self) -> &Fleet {
        &self.0.fleet
    }

    /// Goes over to this Redis, whose connections live on `runtime`; without one, to this process's memory. Nothing
    /// happens if it is in force. Calls under way are answered by what was in force before.
    ///
    /// # Errors
    /// What the plan describes cannot be made; what was in force is kept.
    pub fn attach(&self, plan: Option<&Plan>, runtime: &Handle) -> Result<(), String> {
        let mut losses = lock(&self.0.attaching);
        let before = self.0.shared.load_full();
        if before.as_ref().map(|redis| redis.digest) == plan.map(Plan::digest) {
            return Ok(());
        }
        let next =
            plan.map(|plan| Redis::open(plan, runtime, &self.0.channels, &self.0.calls)).transpose()?;
        let place = next.as_ref().map(|redis| redis.place);
        // One that is away, or refuses the password, may have begun anew unseen.
        let was_there = before.as_ref().is_some_and(|before| before.status().connected);
        self.0.shared.store(next.map(Arc::new));
        if let Some(before) = before {
            // Another storage remembers nothing of what this one did.
            *losses += before.losses() + u64::from(place != Some(before.place) || !was_there);
        }
        self.0.channels.gap_in_all();
        Ok(())
    }

    /// How often the storage may have lost what it remembered: another number than before, and what was stored since
    /// may be gone (decision 36). A restart of Redis counts unless it is declared durable, and so does a failover.
    pub fn losses(&self) -> u64 {
        let before = lock(&self.0.attaching);
        *before + self.0.shared.load().as_ref().map_or(0, |redis| redis.losses())
    }

    /// What is in force.
    pub fn status(&self) -> Status {
        match &*self.0.shared.load() {
            Some(redis) => redis.status(),
            None => Status { backend: "memory", connected: true, ..Status::default() },
        }
    }

    /// In which district of the storage a key lies, below [`DISTRICTS`]: in a cluster its node, as long as the map stays;
    /// one may be away while others answer. Where all keys lie together, in the first, and the key is not made.
    pub fn district(&self, key: impl FnOnce() -> Key) -> u8 {
        self.0.shared.load().as_ref().map_or(0, |redis| redis.district(key))
    }

    /// Whether other replicas see what is stored here.
    pub fn is_shared(&self) -> bool {
        self.0.shared.load().is_some()
    }
}

/// A thread for the connections of storages, for the life of the process: neither what workers nor what the control
/// path are busy with delays an answer.
///
/// # Errors
/// Of the system.
pub fn start_thread() -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let handle = runtime.handle().clone();
    let live = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("storage".to_owned()).spawn(live)?;
    Ok(handle)
}

macro_rules! on_backend {
    ($self:ident, $($call:tt)*) => {
        match $self.0.shared.load_full() {
            None => $self.0.memory.$($call)*,
            Some(redis) => redis.$($call)*.await,
        }
    };
}

/// Values. None is larger than [`VALUE_BYTES_MAX`].
impl Storage {
    /// The values of these keys, in their order; in a cluster the keys may live on different nodes.
    ///
    /// # Errors
    /// [`Unavailable`], as for every call.
    pub async fn get(&self, keys: &[Key]) -> Outcome<Vec<Option<Vec<u8>>>> {
        on_backend!(self, get(keys))
    }

    /// Stores a value for a time.
    ///
    /// # Errors
    /// [`Unavailable`]; the value may be there all the same.
    pub async fn set(&self, key: &Key, value: &[u8], ttl: Duration) -> Outcome<()> {
        on_backend!(self, set(key, value, ttl))
    }

    /// Stores a value where there is none; tells whether it did. The way to take a lock.
    ///
    /// # Errors
    /// As [`Storage::set`].
    pub async fn set_if_absent(&self, key: &Key, value: &[u8], ttl: Duration) -> Outcome<bool> {
        on_backend!(self, set_if_absent(key, value, ttl))
    }

    /// Removes a key if it holds this value; tells whether it did. The way to give a lock back.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn remove_if(&self, key: &Key, value: &[u8]) -> Outcome<bool> {
        on_backend!(self, remove_if(key, value))
    }

    /// Removes keys; they may live on different nodes.
    ///
    /// # Errors
    /// [`Unavailable`]; some may be gone.
    pub async fn remove(&self, keys: &[Key]) -> Outcome<()> {
        on_backend!(self, remove(keys))
    }

    /// Gives what stands under a key a new life; tells whether there was anything.
    ///
    /// # Errors
    /// [`Unavailable`]; it may have been given.
    pub async fn prolong(&self, key: &Key, ttl: Duration) -> Outcome<bool> {
        on_backend!(self, prolong(key, ttl))
    }

    /// Adds one to a number that starts at zero, and prolongs its life; the new number.
    ///
    /// # Errors
    /// [`Unavailable`]; it may have been added.
    pub async fn increment(&self, key: &Key, ttl: Duration) -> Outcome<u64> {
        on_backend!(self, increment(key, ttl))
    }

    /// Stores a value for good if its version is above that of what is stored; tells whether it did.
    ///
    /// # Errors
    /// [`Unavailable`]; it may have been stored.
    pub async fn advance(&self, key: &Key, value: &Versioned) -> Outcome<bool> {
        on_backend!(self, advance(key, value))
    }

    /// What [`Storage::advance`] stored.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn versioned(&self, key: &Key) -> Outcome<Option<Versioned>> {
        on_backend!(self, versioned(key))
    }
}

/// Lists in which the first to come is the first to go.
impl Storage {
    /// Enters a member at the end of a list, unless it is there; members older than `ttl` and those beyond `max` go,
    /// oldest first. Those that went.
    ///
    /// # Errors
    /// [`Unavailable`]; it may have been entered.
    pub async fn enlist(&self, list: &Key, member: &str, max: usize, ttl: Duration) -> Outcome<Vec<String>> {
        on_backend!(self, enlist(list, member, max, ttl))
    }

    /// Takes a member off a list.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn delist(&self, list: &Key, member: &str) -> Outcome<()> {
        on_backend!(self, delist(list, member))
    }

    /// Empties a list of up to `max` members, oldest first, which are returned; call again while there are any.
    ///
    /// # Errors
    /// [`Unavailable`]; they may be gone.
    pub async fn drain(&self, list: &Key, max: usize) -> Outcome<Vec<String>> {
        on_backend!(self, drain(list, max))
    }
}

/// Members and messages.
impl Storage {
    /// Says that a member lives, and what it says of itself; the members that said so within `gone_after`, this one
    /// among them, by name. Those that did not are forgotten.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn beat(
        &self,
        members: &Key,
        member: &str,
        value: &[u8],
        gone_after: Duration,
    ) -> Outcome<Vec<Beat>> {
        on_backend!(self, beat(members, member, value, gone_after))
    }

    /// Takes a member off, at its own end.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn leave(&self, members: &Key, member: &str) -> Outcome<()> {
        on_backend!(self, leave(members, member))
    }

    /// Sends a message to all who listen now. It may get lost: whoever needs it looks again now and then.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn publish(&self, channel: &Channel, message: &[u8]) -> Outcome<()> {
        match self.0.shared.load_full() {
            None => {
                self.0.channels.publish(channel.as_str(), message);
                Ok(())
            }
            Some(redis) => redis.publish(channel, message).await,
        }
    }
}

/// Listens to a channel.
impl Storage {
    /// What is published from now on.
    pub fn subscribe(&self, channel: &Channel) -> Subscription {
        Subscription(self.0.channels.subscribe(channel))
    }
}

/// Messages of a channel, as they come.
pub struct Subscription(broadcast::Receiver<Heard>);

/// What a subscription says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Message(Vec<u8>),
    /// Messages may have been missed: whoever follows something looks at it now.
    Gap,
}

impl Subscription {
    /// The next message; waits for ever where none comes.
    pub async fn next(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(heard) => heard,
            Err(broadcast::error::RecvError::Lagged(_)) => Heard::Gap,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Exact limits.
impl Storage {
    /// Leases tokens of limits; each call, by its index, is answered on its own, as soon as its answer is there.
    pub async fn lease(
        &self,
        calls: &[(Key, quota::Call)],
        answered: impl FnMut(usize, Outcome<quota::Answer>),
    ) {
        on_backend!(self, lease(calls, answered));
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::{redis::plan::Address, *};

    #[actix_rt::test]
    async fn calls_are_counted_on_when_another_redis_takes_over() {
        let (storage, runtime) = (Storage::in_memory(), Handle::current());
        // Nobody listens there.
        let nowhere = Plan::standalone(Address::new("127.0.0.1".to_owned(), 1));
        let nowhere = Plan { deadline: Duration::from_millis(1), ..nowhere };
        let key = Keys::of("shop").named("key");
        for database in 0..3 {
            storage.attach(Some(&Plan { database, ..nowhere.clone() }), &runtime).expect("a plan");
            assert_eq!(storage.status().calls_unavailable, u64::from(database));
            storage.get(slice::from_ref(&key)).await.expect_err("nobody is there");
        }
    }
}
