//! `sharedStorage` of a `Configuration` (configuration reference 8.1).

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde::Deserialize;

use super::{sound, tls_parameters::read_tls};
use crate::{
    base::{Secret, secret::behind_user},
    document::{OneOrMany, Problem, RawNode, Spanned},
    storage::redis::plan::{Address, Credentials, Plan, Topology},
    tls::RedisParameters,
};

/// Where shared state lives.
#[derive(Clone, Debug)]
pub enum SharedStorage {
    /// In this process.
    Local,
    Redis(Arc<Plan>),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WrittenStorage {
    redis: Option<Spanned<Redis>>,
    local: Option<Local>,
    /// Of 1.13: replicas that form a store of their own.
    object_store: Option<Spanned<RawNode>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Redis {
    address: Option<Spanned<String>>,
    username: Option<Spanned<String>>,
    /// As samples of the vendor spell it.
    user: Option<Spanned<String>>,
    password: Option<Spanned<Secret>>,
    db: Option<Spanned<u32>>,
    sentinel: Option<Spanned<Sentinel>>,
    cluster: Option<Spanned<Cluster>>,
    tls: Option<Spanned<RawNode>>,
    appendfsync: Option<Appendfsync>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sentinel {
    addresses: OneOrMany<Spanned<String>>,
    master_name: String,
    username: Option<Spanned<String>>,
    password: Option<Spanned<Secret>>,
}

/// Ours (decision 32).
#[derive(Deserialize)]
struct Cluster {
    addresses: OneOrMany<Spanned<String>>,
}

/// Ours: how Redis is declared to keep what is written (decision 36).
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Appendfsync {
    Always,
    Everysec,
    No,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Local {
    enabled: bool,
}

/// `None`: nothing is said, or nothing that is sound.
pub(super) fn read(written: &Spanned<WrittenStorage>, problems: &mut Vec<Problem>) -> Option<SharedStorage> {
    if let Some(store) = &written.object_store {
        let problem = store.warning("`objectStore` is not supported yet; it has no effect");
        problems.push(problem.help("use `redis`"));
    }
    let local = written.local.as_ref().is_some_and(|local| local.enabled);
    let Some(redis) = &written.redis else { return local.then_some(SharedStorage::Local) };
    if local {
        problems.push(redis.error("`redis` and `local` cannot be used at once").help("remove one of them"));
        return None;
    }
    let tls = redis.tls.as_ref().filter(|tls| !tls.value.is_null());
    let context = tls.map(|tls| read_tls(tls, problems, RedisParameters::read));
    let topology = topology(redis, problems);
    let credentials = Credentials {
        username: username(redis, problems),
        password: redis.password.as_ref().map(|password| password.value.clone()).filter(is_given),
    };
    advise(redis, tls.is_some(), credentials.password.is_some(), problems);
    // What is left out because it is wrong has been reported.
    let tls = match context {
        None => None,
        Some(context) => Some(Arc::new(context?)),
    };
    let plan = Plan {
        topology: topology?,
        credentials,
        database: redis.db.as_ref().map_or(0, |db| db.value),
        tls,
        deadline: DEADLINE,
        durable: redis.appendfsync == Some(Appendfsync::Always),
    };
    Some(SharedStorage::Redis(Arc::new(plan)))
}

const DEADLINE: Duration = Plan::DEADLINE;

fn topology(redis: &Spanned<Redis>, problems: &mut Vec<Problem>) -> Option<Topology> {
    if let (Some(sentinel), Some(_)) = (&redis.sentinel, &redis.cluster) {
        let problem = sentinel.error("`sentinel` and `cluster` cannot be used at once");
        problems.push(problem.help("nodes of a cluster fail over by themselves: remove `sentinel`"));
        return None;
    }
    let single = redis.address.as_ref().map(|address| self::address(address, problems));
    if let (Some(address), true) = (&redis.address, redis.sentinel.is_some() || redis.cluster.is_some()) {
        let teller = if redis.sentinel.is_some() { "sentinel" } else { "cluster" };
        problems.push(address.warning(format!("`address` has no effect beside `{teller}`")));
    }
    if let Some(sentinel) = &redis.sentinel {
        let sentinels = addresses(sentinel, &sentinel.addresses, problems)?;
        let credentials = Credentials {
            username: sentinel
                .username
                .as_ref()
                .map(|name| name.value.clone())
                .filter(|name| !name.is_empty()),
            password: sentinel.password.as_ref().map(|password| password.value.clone()).filter(is_given),
        };
        return Some(Topology::Sentinel { sentinels, master: sentinel.master_name.clone(), credentials });
    }
    if let Some(cluster) = &redis.cluster {
        if let Some(db) = redis.db.as_ref().filter(|db| db.value != 0) {
            problems.push(db.error("a cluster has database 0 only").help("remove `db`"));
        }
        return addresses(cluster, &cluster.addresses, problems).map(Topology::Cluster);
    }
    if single.is_none() && sound(problems) {
        problems.push(
            redis
                .error("`redis` needs an `address`")
                .help("write `address: HOST:6379`, or `sentinel`, or `cluster`"),
        );
    }
    single.flatten().map(Topology::Standalone)
}

fn addresses<T>(
    holder: &Spanned<T>,
    written: &OneOrMany<Spanned<String>>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Address>> {
    if written.is_empty() && sound(problems) {
        problems.push(holder.error("`addresses` is empty").help("write at least one `HOST:PORT`"));
    }
    let read: Vec<_> = written.iter().map(|written| address(written, problems)).collect();
    read.into_iter().collect::<Option<Vec<_>>>().filter(|read| !read.is_empty())
}

fn address(written: &Spanned<String>, problems: &mut Vec<Problem>) -> Option<Address> {
    let address = Address::parse(written);
    if address.is_none() {
        let problem = written.error(format!("`{}` is not `HOST:PORT`", behind_user(written)));
        problems.push(if written.contains("://") {
            problem.help(
                "leave scheme and user out: `tls` switches TLS on, `username` and `password` are fields",
            )
        } else {
            problem
        });
    }
    address
}

fn username(redis: &Redis, problems: &mut Vec<Problem>) -> Option<String> {
    if let (Some(name), Some(other)) = (&redis.username, &redis.user)
        && name.value != other.value
    {
        problems.push(other.error("`user` and `username` differ").help("write `username` only"));
    }
    let name = redis.username.as_ref().or(redis.user.as_ref())?;
    if !name.is_empty() && !redis.password.as_ref().is_some_and(|password| is_given(&password.value)) {
        problems.push(name.warning("a user without a `password` is not logged in").help("write `password`"));
    }
    Some(name.value.clone()).filter(|name| !name.is_empty())
}

fn is_given(password: &Secret) -> bool {
    !password.expose().is_empty()
}

/// What is accepted, and better not done (decision 32).
fn advise(redis: &Spanned<Redis>, tls: bool, password: bool, problems: &mut Vec<Problem>) {
    let sentinels = redis.sentinel.iter().flat_map(|sentinel| sentinel.addresses.iter());
    let nodes = redis.cluster.iter().flat_map(|cluster| cluster.addresses.iter());
    let mut all = sentinels.chain(nodes).chain(&redis.address);
    if let Some(address) = all.find(|address| !is_loopback(address)).filter(|_| !tls) {
        problems.push(
            address
                .warning("what is stored goes to Redis in plain text, and so does the password")
                .help("write `tls: {trustedCA: …}`"),
        );
    }
    if !password {
        problems.push(
            redis
                .warning("Redis is used without a password: whoever reaches it can read and change all that is stored")
                .help("write `username` and `password`; the operations guide shows which rights the user needs"),
        );
    }
}

fn is_loopback(address: &str) -> bool {
    // What is wrong has been reported.
    let Some(address) = Address::parse(address) else { return true };
    address.host == "localhost" || address.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
