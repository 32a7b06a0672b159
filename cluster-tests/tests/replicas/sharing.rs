//! The configuration that replicas share (decision 38), and what they know of each other (decision 31).

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::{Duration, Instant},
};

use cluster_tests::{
    binary,
    client::Client,
    config::{api, configuration},
    eventually,
    gateway::{Gateway, Plan},
    redis::Redis,
    replicas::{Crew, Place, Replicas},
    upstream::Upstream,
};
use serde_json::{Value, json};

/// The port that is written; each replica listens on one of its own instead.
const WRITTEN: &str = "http://127.0.0.1:8081";

/// A folder with keys, and with a folder for each replica's state.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new(binary::portcullis()).arg("cluster-key").output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let file = folder.path().join("keys");
        fs::write(&file, made.stdout).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        Self(folder)
    }

    /// What every replica has: the keys, a state of its own, the way to Redis, and no API.
    fn plan(&self, place: &Place, share: &str) -> Plan {
        let path = |name: &str| self.0.path().join(name).display().to_string();
        let settings = [
            format!("cluster.share_config={share}"),
            format!("cluster.key_file={}", path("keys")),
            format!("state.folder={}", path(&place.id)),
            "dynamic_port.enabled=true".to_owned(),
            "dynamic_port.variable=PORT".to_owned(),
            "shutdown.drain=100ms".to_owned(),
        ];
        let plan = Plan::new().with("redis.yaml", &[storage(&place.redis())]);
        let plan = plan.environment("PORT", &place.ports[0].to_string());
        settings.iter().fold(plan, |plan, setting| plan.argument("--set").argument(setting))
    }

    /// One that publishes an API, and others that follow; each through a proxy to Redis.
    fn crew(&self, count: usize, redis: &Redis, upstream: &Upstream) -> Replicas {
        Crew::of(count).through(redis.address()).start(|place| match place.index {
            0 => self.plan(place, "publish").with("apis.yaml", &[api("orders", WRITTEN, &upstream.url())]),
            _ => self.plan(place, "follow"),
        })
    }
}

fn storage(redis: &str) -> Value {
    configuration("storage", json!({"sharedStorage": {"redis": {"address": redis}}}))
}

/// Which upstream a replica leads to.
fn leads_to(replicas: &Replicas, index: usize) -> Option<String> {
    let address = replicas.place(index).address();
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    // Nobody listens before there is a configuration.
    let answer = Client::try_connect(address).ok()?.exchange("GET", request.as_bytes()).ok()?;
    (answer.status == 200).then(|| answer.json()["upstream"].as_str().unwrap_or_default().to_owned())
}

fn await_upstream(replicas: &Replicas, indexes: &[usize], name: &str) {
    for &index in indexes {
        eventually(&format!("replica {index} leads to {name}"), || {
            leads_to(replicas, index).filter(|upstream| upstream == name)
        });
    }
}

/// What a replica says of the cluster.
fn cluster(gateway: &Gateway) -> Value {
    gateway.admin("GET", "/status").json()["cluster"].clone()
}

/// What one replica says of another, once that is so.
fn await_replica(teller: &Gateway, id: &str, fact: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("what is said of {id}"), || {
        let view = cluster(teller);
        let found = view["replicas"].as_array()?.iter().find(|replica| replica["id"] == id)?.clone();
        fact(&found).then_some(found)
    })
}

fn await_same(replicas: &Replicas, count: usize) {
    eventually("all run the same", || {
        let view = cluster(&replicas[0]);
        let seen = view["replicas"].as_array()?.len();
        (view["sameDigest"] == true && seen == count).then_some(())
    });
}

/// `portcullis replicas`, its exit code and what it prints.
fn ask(gateway: &Gateway, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary::portcullis());
    command.args(["replicas", "--admin", &gateway.admin_address().to_string()]).args(more);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn key(replicas: &Replicas) -> String {
    format!("gw:{}:configuration", replicas.id())
}

#[test]
fn a_change_reaches_all_replicas_that_follow_and_all_run_the_same() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let (redis, keys) = (Redis::standalone(), Keys::new());
    let replicas = keys.crew(4, &redis, &one);
    await_upstream(&replicas, &[0, 1, 2, 3], "one");
    await_same(&replicas, 4);
    let changed = Instant::now();
    replicas[0].put("apis.yaml", &[api("orders", WRITTEN, &two.url())]);
    await_upstream(&replicas, &[0, 1, 2, 3], "two");
    println!("a saved file was in force on 4 replicas after {:?}", changed.elapsed());
    await_same(&replicas, 4);
    eventually("each replica tells of all", || {
        let (code, table) = ask(&replicas[2], &[]);
        let told = table.contains("r3 (asked)") && table.contains("4 replicas, the same configuration");
        (code == Some(0) && told).then_some(())
    });
    let (code, json) = ask(&replicas[0], &["--format", "json"]);
    let view: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, &view["sameDigest"], view["replicas"].as_array().unwrap().len()),
        (Some(0), &json!(true), 4)
    );
    let versions: Vec<&Value> = view["replicas"].as_array().unwrap().iter().map(|r| &r["record"]).collect();
    assert!(versions[0].is_u64() && versions.iter().all(|version| *version == versions[0]), "{view}");
    let metric = |name: &str| replicas[1].metric(name, &[]);
    eventually("the metrics of it", || {
        let told = (metric("portcullis_cluster_replicas"), metric("portcullis_cluster_same_digest"));
        (told == (4.0, 1.0)).then_some(())
    });
}

#[test]
fn a_replica_that_cannot_apply_a_change_keeps_the_old_and_is_shown_so_while_the_others_go_on() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let (redis, keys) = (Redis::standalone(), Keys::new());
    let replicas = Crew::of(4).through(redis.address()).start(|place| match place.index {
        0 => keys
            .plan(place, "publish")
            .environment("PATIENCE", "9")
            .with("apis.yaml", &[api("orders", WRITTEN, &one.url())]),
        2 => keys.plan(place, "follow"),
        _ => keys.plan(place, "follow").environment("PATIENCE", "9"),
    });
    await_upstream(&replicas, &[0, 1, 2, 3], "one");
    let patience = configuration("patience", json!({"timeouts": {"streamIdleSeconds": "$PATIENCE"}}));
    replicas[0].put("apis.yaml", &[api("orders", WRITTEN, &two.url()), patience]);
    await_upstream(&replicas, &[0, 1, 3], "two");
    let shown = await_replica(&replicas[0], "r3", |replica| replica["state"] == "rejected");
    let reason = shown["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("PATIENCE") && reason.contains("shared:") && reason.contains("apis.yaml:"),
        "{reason}"
    );
    assert_eq!(leads_to(&replicas, 2).as_deref(), Some("one"));
    assert!(replicas[2].ready());
    eventually("another replica tells of it", || {
        let (code, table) = ask(&replicas[1], &[]);
        let told = table.contains("rejected") && table.contains("DIFFERENT") && table.contains("PATIENCE");
        (told && code == Some(1)).then_some(())
    });
    replicas[0].says("the replicas do not run the same configuration");
    // What it can apply, it applies.
    replicas[0].put("apis.yaml", &[api("orders", WRITTEN, &one.url())]);
    await_upstream(&replicas, &[0, 1, 2, 3], "one");
    await_same(&replicas, 4);
}

#[test]
fn a_new_replica_starts_without_files_and_with_redis_away_from_what_it_knew_last() {
    let one = Upstream::echo("one");
    let (mut redis, keys) = (Redis::standalone(), Keys::new());
    let mut replicas = keys.crew(2, &redis, &one);
    await_upstream(&replicas, &[1], "one");
    let kept = keys.0.path().join("r2");
    let kept = eventually("the last known good configuration on disk", || {
        fs::read_dir(&kept)
            .ok()?
            .next()?
            .ok()
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "sealed"))
    });
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(kept.path()).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"orders"), "it is sealed");
    replicas.kill(0);
    replicas.kill(1);
    redis.kill();
    replicas.start_again(1);
    await_upstream(&replicas, &[1], "one");
    assert_eq!(ask(&replicas[1], &[]).0, Some(69), "whether all run the same nobody knows");
    // Without it, there is nothing to serve, and the replica waits.
    replicas.kill(1);
    fs::write(kept.path(), &bytes[..bytes.len() - 1]).unwrap();
    replicas[1].start_again();
    replicas[1].says("is of no use");
    assert!(!replicas[1].ready());
    // Nor does Redis know anything, until somebody publishes.
    redis.restart_empty();
    replicas.start_again(0);
    await_upstream(&replicas, &[0, 1], "one");
}

#[test]
fn forged_truncated_and_replayed_records_are_refused_and_reported() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let (redis, keys) = (Redis::standalone(), Keys::new());
    let mut replicas = keys.crew(2, &redis, &one);
    await_upstream(&replicas, &[0, 1], "one");
    let (key, older) = (key(&replicas), format!("{}:older", key(&replicas)));
    assert_eq!(redis.cli(&["copy", &key, &older]), "1");
    replicas[0].put("apis.yaml", &[api("orders", WRITTEN, &two.url())]);
    await_upstream(&replicas, &[0, 1], "two");
    let version = redis.cli(&["hget", &key, "version"]);
    // Nobody mends it.
    replicas.kill(0);
    let refused = |replicas: &Replicas, index: usize, reason: &str| {
        replicas[index].metric("portcullis_shared_config_refused_total", &[reason])
    };
    let await_refused = |replicas: &Replicas, index: usize, reason: &str, above: f64| {
        eventually(reason, || (refused(replicas, index, reason) > above).then_some(()));
        assert_eq!(leads_to(replicas, index).as_deref(), Some("two"));
    };
    redis.cli(&["hset", &key, "version", "00000009000000000000", "value", "forged"]);
    await_refused(&replicas, 1, "not_believed", 0.0);
    replicas[1].says("it is not sealed for this gateway and its version");
    assert_eq!(redis.cli(&["copy", &older, &key, "replace"]), "1");
    await_refused(&replicas, 1, "older", 0.0);
    // The replica has the newer one, and puts it back.
    eventually("the newer record in Redis", || {
        (redis.cli(&["hget", &key, "version"]) == version).then_some(())
    });
    let cut = "redis.call('HSET', KEYS[1], 'value', string.sub(redis.call('HGET', KEYS[1], 'value'), 1, -2))";
    redis.cli(&["eval", cut, "1", &key]);
    await_refused(&replicas, 1, "not_believed", 1.0);
    // A publisher writes over what nobody can read, whatever version it claims.
    for claimed in ["18446744073709551615", "99999999999999999999"] {
        replicas.kill(0);
        redis.cli(&["hset", &key, "version", claimed, "value", "forged"]);
        replicas.start_again(0);
        eventually("a record of the publisher", || {
            let stored = redis.cli(&["hget", &key, "version"]);
            (stored != claimed && !stored.is_empty()).then_some(())
        });
    }
    await_upstream(&replicas, &[0, 1], "two");
    await_same(&replicas, 2);
    // It is told to those that come later, too.
    replicas.kill(1);
    replicas.start_again(1);
    await_upstream(&replicas, &[1], "two");
}

#[test]
fn what_is_forged_into_the_list_of_replicas_is_ignored() {
    let one = Upstream::echo("one");
    let (redis, keys) = (Redis::standalone(), Keys::new());
    let replicas = keys.crew(2, &redis, &one);
    await_same(&replicas, 2);
    let members = format!("gw:{}:members", replicas.id());
    let now = redis.cli(&["time"]);
    let seconds: u64 = now.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap();
    let word = |text: &str| format!("{} {text}", seconds * 1_000_000 + 3_000_000);
    redis.cli(&["hset", &members, "ghost", &word(r#"{"life":1,"beat":1}"#), "\u{7}", &word("x")]);
    replicas[0].says("entries in the list of replicas are none of this gateway's");
    let view = cluster(&replicas[0]);
    assert_eq!(view["replicas"].as_array().map(Vec::len), Some(2), "{view}");
    assert!(replicas[0].ready() && leads_to(&replicas, 0).is_some());
}

#[test]
fn a_replica_that_ends_takes_its_leave_and_one_that_is_killed_is_gone_after_a_while() {
    let one = Upstream::echo("one");
    let (redis, keys) = (Redis::standalone(), Keys::new());
    let mut replicas = keys.crew(3, &redis, &one);
    await_same(&replicas, 3);
    let gone = |replicas: &Replicas, id: &str| {
        eventually("a replica that is gone", || {
            let view = cluster(&replicas[0]);
            let there = view["replicas"].as_array()?.iter().any(|replica| replica["id"] == id);
            (!there).then_some(())
        });
    };
    replicas.kill(1);
    gone(&replicas, "r2");
    replicas[2].signal("TERM");
    replicas[2].wait(Duration::from_secs(30));
    let members = format!("gw:{}:members", replicas.id());
    assert_eq!(redis.cli(&["hexists", &members, "r3"]), "0");
    gone(&replicas, "r3");
}

#[test]
fn of_two_publishers_with_other_files_the_last_change_has_the_word_and_both_say_so() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let (redis, keys) = (Redis::standalone(), Keys::new());
    let replicas = Crew::of(3).through(redis.address()).start(|place| match place.index {
        0 => keys.plan(place, "publish").with("apis.yaml", &[api("orders", WRITTEN, &one.url())]),
        1 => keys.plan(place, "publish").with("apis.yaml", &[api("orders", WRITTEN, &two.url())]),
        _ => keys.plan(place, "follow"),
    });
    await_upstream(&replicas, &[2], "two");
    replicas[0].says("has published other files");
    replicas[0].put("apis.yaml", &[api("orders-again", WRITTEN, &one.url())]);
    await_upstream(&replicas, &[2], "one");
    replicas[1].says("has published other files");
    assert_eq!(leads_to(&replicas, 1).as_deref(), Some("two"));
}

#[test]
fn what_has_errors_or_no_api_is_not_shared() {
    let one = Upstream::echo("one");
    let (redis, keys) = (Redis::standalone(), Keys::new());
    let replicas = keys.crew(2, &redis, &one);
    await_same(&replicas, 2);
    replicas[0].put("apis.yaml", &[api("orders", "http://nonsense", &one.url())]);
    replicas[0].says("is not shared, those who follow keep what they have: it has errors");
    replicas[0].put_text("apis.yaml", "");
    replicas[0].says("is not shared, those who follow keep what they have: there is no ApiInstance in it");
    assert_eq!(leads_to(&replicas, 1).as_deref(), Some("one"));
    // Only `Configuration` is a follower's own.
    replicas[1].apply("more.yaml", &[api("more", WRITTEN, &one.url())]);
    replicas[1].says("this replica takes it from the shared configuration");
    assert_eq!(leads_to(&replicas, 1).as_deref(), Some("one"));
}
