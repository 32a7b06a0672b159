//! A limit that three replicas share, under load over all of them, while replicas, Redis and what lies between them fail
//! (`docs/cluster-limits.md`). Windows cannot be seen from outside: each replica tells in `/status` what it admitted in
//! which, and what clients saw must agree.
//!
//! Windows are short here. `PORTCULLIS_CHAOS=full` makes them ten seconds, and a run or an outage a minute.

use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use cluster_tests::config::{api_with, configuration};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::load::{Counted, Spread, longest_pause};
use cluster_tests::redis::{MASTER_NAME, Redis, Sentinels, Terms};
use cluster_tests::replicas::{Crew, Place, Replicas};
use cluster_tests::upstream::Upstream;
use cluster_tests::{alone, eventually};
use serde_json::{Value, json};

const LIMIT: u64 = 1000;
const REPLICAS: usize = 3;
/// What one call may bring that nobody has seen yet.
const ON_ITS_WAY: u64 = 128;

fn full() -> bool {
    std::env::var("PORTCULLIS_CHAOS").is_ok_and(|word| word == "full")
}

fn period() -> Duration {
    Duration::from_millis(if full() { 10_000 } else { 2000 })
}

/// How long the load runs.
fn run() -> Duration {
    if full() { Duration::from_secs(60) } else { period() * 5 }
}

/// How long Redis is gone, where it is gone for long.
fn outage() -> Duration {
    if full() { Duration::from_secs(60) } else { period().mul_f64(2.2) }
}

struct Cluster<R = Redis> {
    replicas: Replicas,
    redis: R,
    _upstream: Upstream,
    _turn: MutexGuard<'static, ()>,
}

/// Three replicas, each with a way to Redis that can be broken and a wall clock of its own. `block`: what
/// `blockOnUnknownQuota` says.
fn cluster(block: Option<bool>, terms: Terms) -> Cluster {
    let turn = alone();
    let redis = Redis::start(terms);
    let crew = Crew::of(REPLICAS).through(redis.address()).with_clocks();
    start(crew, redis, block, turn, |place| json!({"address": place.redis()}))
}

fn start<R>(
    crew: Crew,
    redis: R,
    block: Option<bool>,
    turn: MutexGuard<'static, ()>,
    storage: impl Fn(&Place) -> Value,
) -> Cluster<R> {
    let upstream = Upstream::echo("up");
    let url = upstream.url();
    let replicas = crew.start(|place| {
        let mut config = json!({
            "rateLimits": [{"maximumRequests": LIMIT, "timePeriodInMilliseconds": period().as_millis() as u64}],
        });
        if let Some(block) = block {
            config["blockOnUnknownQuota"] = json!(block);
        }
        let limit = json!([{"policyRef": {"name": "rate-limiting-flex"}, "config": config}]);
        Plan::new().workers(1).with(
            "api.yaml",
            &[
                configuration("shared", json!({"sharedStorage": {"redis": storage(place)}})),
                api_with("api", &place.url(), &url, limit),
            ],
        )
    });
    for index in 0..REPLICAS {
        connected(&replicas[index]);
    }
    Cluster { replicas, redis, _upstream: upstream, _turn: turn }
}

fn connected(gateway: &Gateway) {
    eventually("a replica that reaches Redis", || {
        let status = gateway.admin("GET", "/status").json();
        (status["sharedStorage"]["connected"] == json!(true)).then_some(())
    });
}

/// Of one replica: by the start of the window, what it admitted and what it was granted.
type Accounts = BTreeMap<u64, (u64, u64)>;

fn accounts(gateway: &Gateway) -> Accounts {
    let status = gateway.admin("GET", "/status").json();
    let limits = status["limits"].as_array().cloned().unwrap_or_default();
    let account = |limit: &Value| {
        let figure = |name: &str| limit[name].as_u64();
        Some((figure("window")?, (figure("admitted")?, figure("granted")?)))
    };
    limits.iter().filter_map(account).collect()
}

/// A load of 200 clients. Demand is about a third above the limit, so that tokens last for most of a window, or, where
/// `greedy`, as much as the machine can do.
fn load(replicas: &Replicas, greedy: bool) -> Spread {
    let mut load = Spread::over(&replicas.addresses(), 200, "/");
    if !greedy {
        load.pause = period() * 200 * 3 / 4 / LIMIT as u32;
    }
    load
}

/// What all replicas admitted, by window.
fn sums<'a>(all: impl IntoIterator<Item = &'a Accounts>) -> BTreeMap<u64, u64> {
    let mut sums = BTreeMap::new();
    for (window, (admitted, _)) in all.into_iter().flatten() {
        *sums.entry(*window).or_default() += admitted;
    }
    sums
}

impl<R> Cluster<R> {
    fn accounts(&self) -> Vec<Accounts> {
        (0..REPLICAS).map(|index| accounts(&self.replicas[index])).collect()
    }

    /// Runs the load, with something that happens meanwhile; what clients saw.
    fn under_load(&mut self, greedy: bool, happens: impl FnOnce(&mut Self)) -> Counted {
        let running = load(&self.replicas, greedy).start();
        let begun = Instant::now();
        happens(self);
        std::thread::sleep(run().saturating_sub(begun.elapsed()));
        running.stop()
    }

    /// Waits until a window has begun that was not there, and somewhat longer.
    fn within_a_window(&self, part: f64) {
        let last = |accounts: &[Accounts]| accounts.iter().flat_map(|one| one.keys().copied()).max();
        let before = last(&self.accounts());
        eventually("the next window", || (last(&self.accounts()) > before).then_some(()));
        std::thread::sleep(period().mul_f64(part));
    }
}

/// No window above the limit, and each that is complete at least at 99 % less what was lost of it, where clients asked for
/// more than there is.
fn assert_exact(counted: &Counted, sums: &BTreeMap<u64, u64>, lost: &BTreeMap<u64, u64>) {
    println!("admitted by window: {sums:?}, lost: {lost:?}");
    assert!(sums.len() >= 3, "{sums:?}");
    for (window, admitted) in sums {
        assert!(*admitted <= LIMIT, "{admitted} in window {window} of {sums:?}");
    }
    let asked = counted.answers.len() as f64 * period().as_secs_f64() / run().as_secs_f64();
    if asked < LIMIT as f64 * 1.15 {
        println!("no statement about the least: this machine asked {asked:.0} times in a window only");
        return;
    }
    let stall = longest_pause(counted.answers.iter().map(|answer| answer.answered));
    if stall > period() / 8 {
        println!("no statement about the least: this machine stood still for {stall:?}");
        return;
    }
    // The first began before the load was whole, the last when it ended.
    for (window, admitted) in sums.iter().skip(1).take(sums.len() - 2) {
        let lost = lost.get(window).copied().unwrap_or_default();
        assert!(
            admitted + lost >= LIMIT * 99 / 100,
            "{admitted} in window {window} of {sums:?}, {lost} lost"
        );
    }
}

/// Where Redis is not touched, one window follows the other.
fn assert_no_gap(sums: &BTreeMap<u64, u64>) {
    let windows: Vec<u64> = sums.keys().copied().collect();
    let tile = |pair: &[u64]| pair[1] - pair[0] <= period().as_millis() as u64 + 1;
    assert!(windows.windows(2).all(tile), "a time without a window: {sums:?}");
}

fn assert_clients_agree(counted: &Counted, sums: &BTreeMap<u64, u64>, unseen: u64) {
    let seen = counted.status(200) as u64;
    let told: u64 = sums.values().sum();
    assert!(seen <= told && told <= seen + unseen, "clients saw {seen}, replicas tell of {told}");
    assert!(
        counted.by_status().keys().all(|status| [200, 429].contains(status)),
        "{:?}",
        counted.by_status()
    );
}

#[test]
fn undisturbed_each_window_admits_its_limit() {
    for greedy in [false, true] {
        let mut cluster = cluster(Some(true), Terms::new());
        let counted = cluster.under_load(greedy, |_| {});
        let sums = sums(&cluster.accounts());
        assert_no_gap(&sums);
        assert_exact(&counted, &sums, &BTreeMap::new());
        assert_clients_agree(&counted, &sums, 0);
        assert_eq!(counted.failures, []);
    }
}

#[test]
fn a_replica_that_is_killed_takes_what_it_held_with_it_and_no_more() {
    let mut cluster = cluster(Some(true), Terms::new());
    let mut killed = Accounts::new();
    let counted = cluster.under_load(false, |cluster| {
        cluster.within_a_window(0.3);
        killed = accounts(&cluster.replicas[0]);
        cluster.replicas.kill(0);
        std::thread::sleep(period() / 2);
        cluster.replicas.start_again(0);
    });
    let after = cluster.accounts();
    // What it admitted between the last look and its end only its clients know.
    let alive: u64 = after[0].values().map(|(admitted, _)| admitted).sum();
    let seen = counted.of(0).status(200) as u64 - alive;
    let earlier: u64 = killed.values().rev().skip(1).map(|(admitted, _)| admitted).sum();
    let (window, (_, granted)) = killed.pop_last().expect("it admitted something");
    let admitted = seen - earlier;
    killed.insert(window, (admitted, granted));
    // What it was granted it was granted before the last look, or by a call after that.
    let held = granted + ON_ITS_WAY - admitted.min(granted);
    let sums = sums(after.iter().chain([&killed]));
    assert_no_gap(&sums);
    assert_exact(&counted, &sums, &[(window, held)].into());
}

#[test]
fn a_replica_that_is_cut_off_keeps_what_it_held_and_no_more() {
    let mut cluster = cluster(Some(true), Terms::new());
    let mut window = 0;
    let counted = cluster.under_load(false, |cluster| {
        cluster.within_a_window(0.2);
        window = *accounts(&cluster.replicas[0]).last_key_value().expect("it admitted something").0;
        cluster.replicas.proxy(0).partition();
        std::thread::sleep(period());
        cluster.replicas.proxy(0).heal();
    });
    let after = cluster.accounts();
    let sums = sums(&after);
    // An answer that was on its way is lost as well.
    let held = after[0].get(&window).map_or(0, |(admitted, granted)| granted - admitted) + ON_ITS_WAY;
    // In the window after, it got tokens again when the proxy healed, or none.
    let next = window + period().as_millis() as u64;
    assert_no_gap(&sums);
    assert_exact(&counted, &sums, &[(window, held), (next, ON_ITS_WAY)].into());
    assert_clients_agree(&counted, &sums, 0);
}

#[test]
fn a_redis_that_stands_still_admits_nothing_twice() {
    let mut cluster = cluster(Some(true), Terms::new());
    let counted = cluster.under_load(true, |cluster| {
        cluster.within_a_window(0.2);
        cluster.redis.pause();
        std::thread::sleep(period().mul_f64(0.3));
        cluster.redis.resume();
    });
    let sums = sums(&cluster.accounts());
    assert_exact(&counted, &sums, &BTreeMap::new());
    assert_clients_agree(&counted, &sums, 0);
}

#[test]
fn a_redis_that_comes_back_with_its_data_goes_on_in_the_window() {
    let mut cluster = cluster(Some(true), Terms::new().append_only());
    let counted = cluster.under_load(true, |cluster| {
        for _ in 0..2 {
            cluster.within_a_window(0.2);
            let gone = Instant::now();
            cluster.redis.kill();
            cluster.redis.restart();
            println!("Redis was back after {:?}", gone.elapsed());
        }
    });
    let sums = sums(&cluster.accounts());
    assert_exact(&counted, &sums, &BTreeMap::new());
    assert_clients_agree(&counted, &sums, 0);
}

#[test]
fn a_redis_that_comes_back_without_its_data_costs_at_most_what_it_forgot() {
    let mut cluster = cluster(Some(true), Terms::new());
    let counted = cluster.under_load(false, |cluster| {
        cluster.within_a_window(0.3);
        cluster.redis.kill();
        cluster.redis.restart_empty();
        for index in 0..REPLICAS {
            connected(&cluster.replicas[index]);
        }
    });
    let sums = sums(&cluster.accounts());
    println!("admitted by window: {sums:?}");
    // The bound that the protocol derives is twice the limit; replicas tell at once what they have, so that hardly anything
    // comes on top.
    for (window, admitted) in &sums {
        assert!(*admitted <= LIMIT + LIMIT / 10, "{admitted} in window {window} of {sums:?}");
    }
    assert_clients_agree(&counted, &sums, 0);
}

#[test]
fn a_failover_to_a_redis_that_lags_costs_at_most_what_it_had_not_seen() {
    let turn = alone();
    let sentinels = Sentinels::start();
    let addresses: Vec<_> = sentinels.addresses().iter().map(ToString::to_string).collect();
    let storage = json!({"sentinel": {"addresses": addresses, "masterName": MASTER_NAME}});
    let mut cluster = start(Crew::of(REPLICAS), sentinels, Some(true), turn, |_| storage.clone());
    let counted = cluster.under_load(false, |cluster| {
        cluster.within_a_window(0.1);
        cluster.redis.detach_replica();
        // It lags by what is granted meanwhile; sentinels do not elect one that was away for long.
        std::thread::sleep(period().min(Duration::from_secs(3)).mul_f64(1.2));
        let old = cluster.redis.master();
        assert_ne!(cluster.redis.failover(), old);
        for index in 0..REPLICAS {
            connected(&cluster.replicas[index]);
        }
    });
    let sums = sums(&cluster.accounts());
    println!("admitted by window: {sums:?}");
    for (window, admitted) in &sums {
        assert!(*admitted <= 2 * LIMIT, "{admitted} in window {window} of {sums:?}");
    }
    let (last, _) = sums.last_key_value().expect("something was admitted");
    let at_the_end = sums.range(..last).next_back().expect("more than one window");
    assert!(*at_the_end.1 >= LIMIT / 2, "the new master counts like the old one: {sums:?}");
    assert_clients_agree(&counted, &sums, 0);
}

#[test]
fn wall_clocks_that_jump_change_nothing() {
    let mut cluster = cluster(Some(true), Terms::new());
    let counted = cluster.under_load(false, |cluster| {
        for (index, seconds) in [(0, 5), (1, -5), (0, -5), (1, 5)] {
            cluster.within_a_window(0.4);
            cluster.replicas.clock(index).jump(seconds);
        }
    });
    let sums = sums(&cluster.accounts());
    assert_no_gap(&sums);
    assert_exact(&counted, &sums, &BTreeMap::new());
    assert_clients_agree(&counted, &sums, 0);
}

#[test]
fn without_redis_each_replica_admits_its_share_and_a_redis_that_is_back_makes_no_burst() {
    let mut cluster = cluster(None, Terms::new());
    eventually("replicas that know of each other", || {
        let knows = |index: usize| cluster.replicas[index].metric("portcullis_cluster_replicas", &[]) == 3.0;
        (0..REPLICAS).all(knows).then_some(())
    });
    let mut back = Duration::ZERO;
    let counted = cluster.under_load(true, |cluster| {
        let begun = Instant::now();
        cluster.within_a_window(0.5);
        cluster.redis.kill();
        std::thread::sleep(outage());
        cluster.redis.restart();
        back = begun.elapsed();
        std::thread::sleep(period().mul_f64(1.5));
    });
    // Windows of the protocol tile, those of a replica alone go on with them: any time as long as a window has a part of two.
    let asked: Vec<Duration> =
        counted.answers.iter().filter(|one| one.status == 200).map(|one| one.answered).collect();
    let mut most = 0;
    let mut until = 0;
    for (first, from) in asked.iter().enumerate() {
        while asked.get(until).is_some_and(|at| *at < *from + period()) {
            until += 1;
        }
        most = most.max((until - first) as u64);
    }
    println!("at most {most} in any {:?}, Redis was back after {back:?}", period());
    assert!(most <= 2 * LIMIT, "{most} in one period");
    assert!(
        counted.by_status().keys().all(|status| [200, 429].contains(status)),
        "{:?}",
        counted.by_status()
    );
    assert_eq!(counted.failures, []);
    // While Redis was away, the shares of all made the limit.
    let away = asked.iter().filter(|at| **at > back.saturating_sub(period()) && **at < back).count() as u64;
    assert!((LIMIT / 2..=2 * LIMIT).contains(&away), "{away} admitted in the last period without Redis");
}
