//! The storage in Redis: one node, one that sentinels choose, or a cluster (configuration reference 8.1; decisions 31
//! to 33, 41).
//!
//! | module | what it does |
//! | --- | --- |
//! | `plan` | which Redis, and how it is spoken to |
//! | `wire`, `frames` | the stream of a connection, and what may come in it |
//! | `link` | a connection: TCP, TLS, who we are, which version it is |
//! | `node` | the connections with one node, kept alive |
//! | `routes`, `sentinel`, `cluster`, `slots` | which node a call goes to |
//! | `scripts`, `reply` | what is asked, and what may be answered |
//! | `listener` | messages |
//! | `marker` | whether a node is still the process that it was |
//!
//! A small call waits for its answer and for nothing else: not for a connection, not for a place. Lookups and calls with
//! large values may wait for a place, within their deadline. Connections live on one runtime, calls come from any.

mod cluster;
pub mod frames;
mod link;
mod listener;
mod marker;
mod node;
pub mod plan;
pub mod reply;
mod routes;
mod scripts;
mod sentinel;
pub mod slots;
mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use redis::{Cmd, ServerErrorKind, Value, cmd};
use tokio::{runtime::Handle, sync::Semaphore, task::AbortHandle, time::timeout};

pub use self::{link::Server, node::NodeStatus, plan::Plan};
use self::{
    link::{Dialer, is},
    node::{Lane, Losses},
    reply::{BEAT_BYTES_MAX, Fetched, MEMBERS_MAX, NAME_BYTES_MAX},
    routes::Routes,
    scripts::Script,
    slots::slot,
};
use super::{
    Beat, Channel, DISTRICTS, Key, Outcome, Unavailable, VALUE_BYTES_MAX, Versioned, channels::Channels,
    quota,
};
use crate::base::Digest;

/// What Redis needs of a user for all of this (decision 33): `ID` is the gateway's id as it stands in keys. Which
/// commands a script calls counts too.
pub const ACL: &str = "resetkeys resetchannels ~gw:ID:* &gw:ID:* -@all +ping +select +role +cluster|slots +asking \
     +evalsha +eval +time +get +set +del +strlen +incr +pexpire +hset +hget +hmget +hgetall +hdel +hlen +hstrlen \
     +hexists +zadd +zcard +zcount +zrange +zrevrange +zrem +zremrangebyrank +publish +subscribe";

/// A value up to this size goes with all other small things; a larger one takes a connection for itself.
const SMALL_BYTES: usize = 16 << 10;
/// Lookups that are under way at a time. More wait, within their deadline: they take no place from calls that cannot.
const LOOKUPS_MAX: usize = 256;
/// The longest life, about a hundred years: Redis refuses what it cannot add to its clock.
const LIFE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A Redis. It is left when this is dropped.
pub(super) struct Redis {
    pub digest: Digest,
    pub place: Digest,
    topology: &'static str,
    deadline: Duration,
    routes: Arc<Routes>,
    losses: Arc<Losses>,
    listener: AbortHandle,
    lookups: Semaphore,
    calls: Arc<Calls>,
}

/// What became of calls.
#[derive(Default)]
pub(super) struct Calls {
    answered: AtomicU64,
    unavailable: AtomicU64,
    micros: AtomicU64,
}

impl Redis {
    /// Starts to connect, on this runtime. `calls` goes on where another Redis left it.
    ///
    /// # Errors
    /// What the plan describes cannot be made.
    pub fn open(
        plan: &Plan,
        runtime: &Handle,
        channels: &Arc<Channels>,
        calls: &Arc<Calls>,
    ) -> Result<Self, String> {
        let dialer = Arc::new(Dialer::new(plan, runtime.clone())?);
        let losses = Arc::new(Losses::default());
        let routes = Arc::new(Routes::start(plan, &dialer, &losses)?);
        let listening = listener::listen(dialer, Arc::clone(&routes), Arc::clone(channels));
        Ok(Self {
            digest: plan.digest(),
            place: plan.place(),
            topology: plan.topology.as_str(),
            deadline: plan.deadline,
            routes,
            losses,
            listener: runtime.spawn(listening).abort_handle(),
            lookups: Semaphore::new(LOOKUPS_MAX),
            calls: Arc::clone(calls),
        })
    }

    /// How often what it remembers may have been lost since it was opened (decision 36).
    pub fn losses(&self) -> u64 {
        self.losses.so_far()
    }

    pub fn district(&self, key: impl FnOnce() -> Key) -> u8 {
        (self.routes.place(key) % usize::from(DISTRICTS)) as u8
    }

    pub fn status(&self) -> super::Status {
        let nodes = self.routes.status();
        super::Status {
            backend: self.topology,
            connected: !nodes.is_empty() && nodes.iter().all(|node| node.connected),
            nodes,
            calls_answered: self.calls.answered.load(Ordering::Relaxed),
            calls_unavailable: self.calls.unavailable.load(Ordering::Relaxed),
            calls_micros: self.calls.micros.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// How a call is made.
impl Redis {
    /// One call, within its deadline.
    async fn within<T>(&self, call: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let begun = Instant::now();
        let outcome = timeout(self.deadline, call)
            .await
            .unwrap_or_else(|_| Err(Unavailable(format!("no answer within {:?}", self.deadline))));
        let count = if outcome.is_ok() { &self.calls.answered } else { &self.calls.unavailable };
        count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.calls.micros.fetch_add(micros, Ordering::Relaxed);
        outcome
    }

    async fn command(&self, key: &Key, lane: Lane, command: &Cmd) -> Outcome<Value> {
        self.routes.ask(Some(slot(key)), lane, command).await
    }

    async fn run(&self, script: &Script, key: &Key, lane: Lane, arguments: &[&[u8]]) -> Outcome<Value> {
        let answer = self.command(key, lane, &script.by_name(Some(key), arguments)).await?;
        match &answer {
            Value::ServerError(error) if is(error, ServerErrorKind::NoScript) => {
                self.command(key, lane, &script.by_text(Some(key), arguments)).await
            }
            _ => Ok(answer),
        }
    }
}

/// Values.
impl Redis {
    pub async fn get(&self, keys: &[Key]) -> Outcome<Vec<Option<Vec<u8>>>> {
        self.within(async {
            // It is never closed.
            let _place = self.lookups.acquire().await;
            join_all(keys.iter().map(|key| self.get_one(key))).await.into_iter().collect()
        })
        .await
    }

    async fn get_one(&self, key: &Key) -> Outcome<Option<Vec<u8>>> {
        self.fetch(&scripts::GET, key, reply::value).await
    }

    /// A small value at once, a large one by another connection. What is larger than any of ours is not ours.
    async fn fetch<T>(
        &self,
        script: &Script,
        key: &Key,
        read: impl Fn(Value) -> Result<Fetched<T>, reply::Malformed>,
    ) -> Outcome<Option<T>> {
        let mut lane = Lane::Lookup;
        loop {
            let max = if lane == Lane::Lookup { SMALL_BYTES } else { VALUE_BYTES_MAX };
            let answer = self.run(script, key, lane, &[max.to_string().as_bytes()]).await?;
            match read(answer)? {
                Fetched::Value(value) => return Ok(Some(value)),
                Fetched::Large(bytes) if lane == Lane::Lookup && bytes <= VALUE_BYTES_MAX as u64 => {
                    lane = Lane::Bulk;
                }
                Fetched::Nothing | Fetched::Large(_) => return Ok(None),
            }
        }
    }

    pub async fn set(&self, key: &Key, value: &[u8], ttl: Duration) -> Outcome<()> {
        let lane = lane_of(value)?;
        let mut set = cmd("SET");
        set.arg(key.as_str()).arg(value).arg("PX").arg(millis(ttl));
        self.within(async { Ok(reply::done(self.command(key, lane, &set).await?)?) }).await
    }

    pub async fn set_if_absent(&self, key: &Key, value: &[u8], ttl: Duration) -> Outcome<bool> {
        let lane = lane_of(value)?;
        let mut set = cmd("SET");
        set.arg(key.as_str()).arg(value).arg("NX").arg("PX").arg(millis(ttl));
        self.within(async { Ok(reply::flag(self.command(key, lane, &set).await?)?) }).await
    }

    pub async fn remove_if(&self, key: &Key, value: &[u8]) -> Outcome<bool> {
        let lane = lane_of(value)?;
        let arguments = [value];
        let run = self.run(&scripts::REMOVE_IF, key, lane, &arguments);
        self.within(async { Ok(reply::flag(run.await?)?) }).await
    }

    pub async fn remove(&self, keys: &[Key]) -> Outcome<()> {
        let remove = |key: &Key| {
            let mut del = cmd("DEL");
            del.arg(key.as_str());
            let key = key.clone();
            async move { Ok::<_, Unavailable>(reply::flag(self.command(&key, Lane::Quick, &del).await?)?) }
        };
        self.within(async {
            join_all(keys.iter().map(remove)).await.into_iter().collect::<Outcome<Vec<bool>>>().map(drop)
        })
        .await
    }

    pub async fn prolong(&self, key: &Key, ttl: Duration) -> Outcome<bool> {
        let mut expire = cmd("PEXPIRE");
        expire.arg(key.as_str()).arg(millis(ttl));
        self.within(async { Ok(reply::flag(self.command(key, Lane::Quick, &expire).await?)?) }).await
    }

    pub async fn increment(&self, key: &Key, ttl: Duration) -> Outcome<u64> {
        let ttl = millis(ttl).to_string();
        let arguments = [ttl.as_bytes()];
        let run = self.run(&scripts::INCREMENT, key, Lane::Quick, &arguments);
        self.within(async { Ok(reply::number(&run.await?)?) }).await
    }

    pub async fn advance(&self, key: &Key, value: &Versioned) -> Outcome<bool> {
        let lane = lane_of(&value.value)?;
        let version = format!("{:020}", value.version);
        let arguments = [version.as_bytes(), &value.value];
        let run = self.run(&scripts::ADVANCE, key, lane, &arguments);
        self.within(async { Ok(reply::flag(run.await?)?) }).await
    }

    pub async fn versioned(&self, key: &Key) -> Outcome<Option<Versioned>> {
        self.within(self.fetch(&scripts::VERSIONED, key, reply::versioned)).await
    }
}

/// Lists.
impl Redis {
    pub async fn enlist(&self, list: &Key, member: &str, max: usize, ttl: Duration) -> Outcome<Vec<String>> {
        let numbers =
            [max as u64, micros(ttl), MEMBERS_MAX as u64, NAME_BYTES_MAX as u64].map(|n| n.to_string());
        let mut arguments = vec![named(member)?];
        arguments.extend(numbers.iter().map(|number| number.as_bytes()));
        let run = self.run(&scripts::ENLIST, list, Lane::Quick, &arguments);
        self.within(async { Ok(reply::members(run.await?)?) }).await
    }

    pub async fn delist(&self, list: &Key, member: &str) -> Outcome<()> {
        self.take_off("ZREM", list, member).await
    }

    pub async fn drain(&self, list: &Key, max: usize) -> Outcome<Vec<String>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let numbers = [max.min(MEMBERS_MAX), NAME_BYTES_MAX].map(|number| number.to_string());
        let arguments = [numbers[0].as_bytes(), numbers[1].as_bytes()];
        let run = self.run(&scripts::DRAIN, list, Lane::Quick, &arguments);
        self.within(async { Ok(reply::members(run.await?)?) }).await
    }

    /// What is no list, or has no such member, needs nothing done to it.
    async fn take_off(&self, verb: &str, from: &Key, member: &str) -> Outcome<()> {
        let mut command = cmd(verb);
        command.arg(from.as_str()).arg(member);
        let taken = async {
            match self.command(from, Lane::Quick, &command).await? {
                Value::ServerError(_) => Ok(()),
                answer => Ok(reply::flag(answer).map(drop)?),
            }
        };
        self.within(taken).await
    }
}

/// Members and messages.
impl Redis {
    pub async fn beat(
        &self,
        members: &Key,
        member: &str,
        value: &[u8],
        gone_after: Duration,
    ) -> Outcome<Vec<Beat>> {
        if value.len() > BEAT_BYTES_MAX {
            return Err(Unavailable(format!("a member says more than {BEAT_BYTES_MAX} bytes of itself")));
        }
        let numbers = [micros(gone_after), MEMBERS_MAX as u64, NAME_BYTES_MAX as u64, BEAT_BYTES_MAX as u64]
            .map(|number| number.to_string());
        let mut arguments = vec![named(member)?, value];
        arguments.extend(numbers.iter().map(|number| number.as_bytes()));
        let run = self.run(&scripts::BEAT, members, Lane::Quick, &arguments);
        self.within(async { Ok(reply::beats(run.await?)?) }).await
    }

    pub async fn leave(&self, members: &Key, member: &str) -> Outcome<()> {
        self.take_off("HDEL", members, member).await
    }

    pub async fn publish(&self, channel: &Channel, message: &[u8]) -> Outcome<()> {
        let mut publish = cmd("PUBLISH");
        publish.arg(channel.as_str()).arg(message);
        let lane = lane_of(message)?;
        self.within(async { Ok(reply::number(&self.routes.ask(None, lane, &publish).await?).map(drop)?) })
            .await
    }
}

/// Exact limits.
impl Redis {
    pub async fn lease(
        &self,
        calls: &[(Key, quota::Call)],
        mut answered: impl FnMut(usize, Outcome<quota::Answer>),
    ) {
        let lease = async |index: usize| {
            let (key, call) = &calls[index];
            (index, self.within(self.lease_one(key, call)).await)
        };
        let mut answers: FuturesUnordered<_> = (0..calls.len()).map(lease).collect();
        while let Some((index, outcome)) = answers.next().await {
            answered(index, outcome);
        }
    }

    async fn lease_one(&self, key: &Key, call: &quota::Call) -> Outcome<quota::Answer> {
        let window = call.window.unwrap_or(quota::Window { start: 0, end: 0 });
        let numbers = [
            call.number,
            window.start,
            window.end,
            call.claim,
            u64::from(call.granted),
            call.want,
            call.limit,
            call.period,
            call.replicas,
            call.rank,
            u64::from(call.lost),
        ]
        .map(|number| number.to_string());
        let mut arguments = vec![named(&call.claimant)?];
        arguments.extend(numbers.iter().map(|number| number.as_bytes()));
        Ok(reply::leased(self.run(&scripts::LEASE, key, Lane::Quick, &arguments).await?, call)?)
    }
}

fn lane_of(value: &[u8]) -> Outcome<Lane> {
    match value.len() {
        bytes if bytes <= SMALL_BYTES => Ok(Lane::Quick),
        bytes if bytes <= VALUE_BYTES_MAX => Ok(Lane::Bulk),
        bytes => {
            Err(Unavailable(format!("{bytes} bytes are more than {VALUE_BYTES_MAX}, the largest value")))
        }
    }
}

fn named(name: &str) -> Outcome<&[u8]> {
    match name.len() {
        ..=NAME_BYTES_MAX => Ok(name.as_bytes()),
        _ => Err(Unavailable(format!("a name is longer than {NAME_BYTES_MAX} bytes"))),
    }
}

/// At least one: what is set is there, if only for a moment.
fn millis(life: Duration) -> u64 {
    life.min(LIFE_MAX).as_micros().div_ceil(1000).max(1) as u64
}

fn micros(life: Duration) -> u64 {
    life.min(LIFE_MAX).as_micros().max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::ACL;

    #[test]
    fn the_rights_of_the_operations_guide_and_of_the_example_cluster_are_those_that_are_tested() {
        let rights = |id: &str| ACL.replace("ID", id);
        let guide = include_str!("../../../docs/operations.md");
        assert!(guide.contains(&rights("ID")), "write {}", rights("ID"));
        let example = include_str!("../../../config/cluster/redis.acl");
        assert!(example.contains(&rights("cluster")), "write {}", rights("cluster"));
        let default = "user default off ~* &* +@all";
        assert!(guide.contains(default) && example.contains(default), "write {default}");
    }
}
