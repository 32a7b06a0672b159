//! One node: a connection for small calls that all share, some more for large values, and the task that keeps the
//! first one alive.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use deadpool::managed::{Manager, Metrics, Pool, RecycleError, RecycleResult};
use redis::{Cmd, Value};
use serde::Serialize;
use tokio::{
    sync::{Notify, Semaphore},
    task::{AbortHandle, JoinHandle},
};

use super::{
    cluster::Cluster,
    link::{Dialer, Link, Peer, Server},
    marker::Marker,
    plan::Address,
    sentinel::Sentinels,
};
use crate::base::{Trouble, lock};
use crate::storage::{Outcome, Unavailable};

/// Small calls that may be under way at a time; more fail at once.
const QUICK_MAX: usize = 1024;
/// Connections for large values; calls wait for one.
const BULK_CONNECTIONS_MAX: usize = 16;
/// A connection on which nothing is heard for so long after a question is given up.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(1);
/// For one answer of a sentinel.
pub(super) const SENTINEL_PATIENCE: Duration = Duration::from_millis(500);
/// How often an idle connection is tried, and the master asked after.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A connection that lived so long was a good one: when it ends the next is tried for at once.
const STEADY_AFTER: Duration = Duration::from_secs(1);
/// Between attempts to connect: first none, then this, then twice as much each time.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Which connection a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// What is asked and answered is small.
    Quick,
    /// The same, for calls whose number the caller limits.
    Lookup,
    /// One call at a time on a connection, so that a large value delays nobody.
    Bulk,
}

/// Where a node is.
pub(super) enum Target {
    At(Address),
    /// Wherever the sentinels say that the master is.
    Master(Sentinels),
}

/// A node. It is left when this is dropped.
pub(super) struct Node {
    inner: Arc<Inner>,
    task: AbortHandle,
}

struct Inner {
    dialer: Arc<Dialer>,
    target: Target,
    link: ArcSwapOption<Link>,
    quick: Semaphore,
    bulk: Pool<Bulk>,
    state: Mutex<State>,
    leave: Notify,
    losses: Arc<Losses>,
}

#[derive(Default)]
struct State {
    connected: Option<Instant>,
    last_error: Option<String>,
    trouble: Trouble,
}

/// How often what a storage remembers may have been lost.
#[derive(Default)]
pub(super) struct Losses(std::sync::atomic::AtomicU64);

/// A node as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Of the node; where sentinels tell it and none has yet, empty.
    pub address: String,
    pub connected: bool,
    pub connected_seconds: Option<u64>,
    #[serde(flatten)]
    pub server: Option<Server>,
    pub last_error: Option<String>,
}

impl Node {
    /// A node, which is connected to from now on.
    pub fn start(target: Target, dialer: Arc<Dialer>, losses: Arc<Losses>) -> Result<Self, String> {
        let bulk = Bulk { dialer: Arc::clone(&dialer), address: ArcSwapOption::empty() };
        let bulk = Pool::builder(bulk)
            .max_size(BULK_CONNECTIONS_MAX)
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|error| error.to_string())?;
        let runtime = dialer.runtime.clone();
        let inner = Arc::new(Inner {
            dialer,
            target,
            link: ArcSwapOption::empty(),
            quick: Semaphore::new(QUICK_MAX),
            bulk,
            state: Mutex::default(),
            leave: Notify::new(),
            losses,
        });
        let task = runtime.spawn(supervise(Arc::clone(&inner))).abort_handle();
        Ok(Self { inner, task })
    }

    /// Asks; errors of the server are answers. Waits for nothing but the answer, with a large value also for a connection.
    /// The deadline is the caller's.
    ///
    /// # Errors
    /// [`Unavailable`]: there is no connection, too much is under way, or the connection was lost.
    pub async fn ask(&self, lane: Lane, command: &Cmd, redirected: bool) -> Outcome<Value> {
        let inner = &*self.inner;
        let Some(link) = inner.link.load_full() else { return Err(inner.not_connected()) };
        let busy = |_| Unavailable(format!("too many calls to {} are under way", link.address));
        let _place = match lane {
            Lane::Quick => Some(inner.quick.try_acquire().map_err(busy)?),
            Lane::Lookup | Lane::Bulk => None,
        };
        let answer = match lane {
            Lane::Quick | Lane::Lookup => ask(&link, command, redirected).await,
            Lane::Bulk => inner.ask_bulk(command, redirected).await,
        };
        answer.map_err(Unavailable)
    }

    /// It turned out not to be what was wanted: another connection, perhaps to another address.
    pub fn leave(&self) {
        self.inner.leave.notify_one();
    }

    pub fn is_connected(&self) -> bool {
        self.inner.link.load().is_some()
    }

    /// Where it is, if it is connected.
    pub fn address(&self) -> Option<Address> {
        self.inner.link.load().as_ref().map(|link| link.address.clone())
    }

    /// Where it is, if it says that it is a node of a cluster, and was not expected to.
    pub fn seed_of_a_cluster(&self) -> Option<Address> {
        let link = self.inner.link.load();
        link.as_ref().filter(|link| link.server.mode == "cluster").map(|link| link.address.clone())
    }

    /// The cluster that it is part of.
    pub fn cluster_from(&self, seed: Address) -> Cluster {
        Cluster::start(vec![seed], Arc::clone(&self.inner.dialer), Arc::clone(&self.inner.losses))
    }

    pub fn status(&self) -> NodeStatus {
        let link = self.inner.link.load_full();
        let state = self.inner.state();
        let address = match (&link, &self.inner.target) {
            (Some(link), _) => link.address.to_string(),
            (None, Target::At(address)) => address.to_string(),
            (None, Target::Master(_)) => String::new(),
        };
        NodeStatus {
            address,
            connected: link.is_some(),
            connected_seconds: link.as_ref().and(state.connected).map(|since| since.elapsed().as_secs()),
            server: link.map(|link| link.server.clone()),
            last_error: state.last_error.clone(),
        }
    }
}

impl NodeStatus {
    /// Of a node that has not been found yet.
    pub(super) fn unknown(last_error: Option<String>) -> Self {
        Self { address: String::new(), connected: false, connected_seconds: None, server: None, last_error }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
        self.inner.bulk.close();
    }
}

async fn ask(link: &Link, command: &Cmd, redirected: bool) -> Result<Value, String> {
    if redirected { link.ask_redirected(command).await } else { link.ask(command).await }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn not_connected(&self) -> Unavailable {
        let cause = self.state().last_error.clone();
        Unavailable(format!("no connection with Redis: {}", cause.as_deref().unwrap_or("none was made yet")))
    }

    async fn ask_bulk(&self, command: &Cmd, redirected: bool) -> Result<Value, String> {
        let _swept = Swept(&self.bulk);
        let mut taken = self.bulk.get().await.map_err(|error| error.to_string())?;
        // Until the answer is there it is of no use for anyone else.
        taken.busy = true;
        let answer = ask(&taken.link, command, redirected).await;
        taken.busy = answer.is_err();
        answer
    }

    fn connected(&self, link: &Arc<Link>) {
        self.bulk.manager().address.store(Some(Arc::new(link.address.clone())));
        {
            let mut state = self.state();
            state.connected = Some(Instant::now());
            state.trouble.ends();
        }
        let Server { version, mode, .. } = &link.server;
        tracing::info!("shared storage: connected to Redis {version} ({mode}) at {}", link.address);
        self.link.store(Some(Arc::clone(link)));
    }

    /// One line for each time that it is lost; what follows until it is back is the same again.
    fn failed(&self, cause: String) {
        let mut state = self.state();
        state.trouble.note(&format_args!("shared storage: {cause}; trying again"));
        state.connected = None;
        state.last_error = Some(cause);
    }

    /// Until the connection has to be replaced; why.
    async fn watch(&self, link: &Link, driver: &mut JoinHandle<()>) -> String {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut *driver => return format!("{} has closed the connection", link.address),
                () = self.leave.notified() => {
                    return format!("{} is not the master any more", link.address);
                }
                _ = look.tick() => {}
            }
            if link.silent() > SILENCE_MAX {
                return format!("{} has been silent for {SILENCE_MAX:?}", link.address);
            }
            tokio::select! {
                _ = &mut *driver => return format!("{} has closed the connection", link.address),
                found = self.target.check(&self.dialer, link) => if let Err(cause) = found {
                    return cause;
                }
            }
        }
    }
}

/// Keeps a node connected, for as long as it is not aborted.
async fn supervise(inner: Arc<Inner>) {
    let mut retry = Retry::default();
    let mut marker = Marker::new(inner.dialer.durable);
    loop {
        match inner.target.dial(&inner.dialer).await {
            Ok((link, mut driver)) => {
                let link = Arc::new(link);
                if marker.is_lost(&link).await {
                    inner.losses.count();
                }
                inner.connected(&link);
                let since = Instant::now();
                let cause = inner.watch(&link, &mut driver).await;
                inner.link.store(None);
                inner.bulk.retain(|_, _| false);
                inner.failed(cause);
                if since.elapsed() > STEADY_AFTER {
                    retry = Retry::default();
                }
            }
            Err(cause) => inner.failed(cause),
        }
        tokio::time::sleep(retry.next()).await;
    }
}

/// How long until the next attempt.
#[derive(Default)]
pub(super) struct Retry {
    wait: Duration,
}

impl Retry {
    pub fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).clamp(RETRY_FIRST, RETRY_MAX);
        // Replicas that lost the same Redis do not come back in step.
        wait.mul_f32(0.5 + fastrand::f32() / 2.0)
    }
}

impl Losses {
    pub fn count(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    pub fn so_far(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Makes the connections for large values, where the node is now.
struct Bulk {
    dialer: Arc<Dialer>,
    address: ArcSwapOption<Address>,
}

struct BulkLink {
    link: Link,
    /// An answer is still to come that nobody waits for.
    busy: bool,
}

/// Once this is dropped, after a call or with one whose time is over, no connection waits in the pool for what nobody
/// reads.
struct Swept<'a>(&'a Pool<Bulk>);

impl Drop for Swept<'_> {
    fn drop(&mut self) {
        self.0.retain(|taken, _| !taken.busy);
    }
}

impl Manager for Bulk {
    type Type = BulkLink;
    type Error = String;

    async fn create(&self) -> Result<BulkLink, String> {
        let Some(address) = self.address.load_full() else { return Err("no connection".to_owned()) };
        let dialer = Arc::clone(&self.dialer);
        // It outlives the call that asks for it, and the runtime of that call too.
        let dialled =
            self.dialer.runtime.spawn(async move { dialer.dial(&address, Peer::Data, None).await }).await;
        let (link, _) = dialled.map_err(|_| "the storage has ended".to_owned())??;
        Ok(BulkLink { link, busy: false })
    }

    async fn recycle(&self, taken: &mut BulkLink, _: &Metrics) -> RecycleResult<String> {
        let here = self.address.load().as_ref().is_some_and(|address| **address == taken.link.address);
        match taken.busy || taken.link.is_over() || !here {
            true => Err(RecycleError::message("of no use any more")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_made_at_once_and_then_ever_later_up_to_a_second() {
        let mut retry = Retry::default();
        assert_eq!(retry.next(), Duration::ZERO);
        let mut longest = RETRY_FIRST;
        for _ in 0..10 {
            let wait = retry.next();
            assert!((longest / 2..=longest).contains(&wait), "{wait:?} of {longest:?}");
            longest = (longest * 2).min(RETRY_MAX);
        }
        assert_eq!(longest, RETRY_MAX);
    }
}
