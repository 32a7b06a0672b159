//! The contract, on each backend.

use std::sync::Arc;

use cluster_tests::redis::{MASTER_NAME, Redis, RedisCluster, Sentinels, Terms};
use portcullis::{
    base::Secret,
    storage::{
        Keys, Storage,
        redis::{
            self,
            plan::{Credentials, Plan, Topology},
            slots,
        },
    },
};
use serde_json::json;

use super::{GATEWAY, address, addresses, attached, connected, contract, credentials, eventually, run, tls};

/// The line of `docs/operations.md`, for the gateway of the tests.
fn acl(name: &str, gateway: &str) -> String {
    format!("{name} on >secret {}", redis::ACL.replace("ID", gateway))
}

/// Nobody but a user with the documented rights.
pub fn guarded() -> Terms {
    Terms::new().named_users_only().user(&acl("gw", GATEWAY))
}

fn plan(topology: Topology) -> Plan {
    Plan { credentials: credentials("gw", "secret"), ..Plan::new(topology) }
}

#[test]
fn memory() {
    run(contract::holds(&Storage::in_memory()));
}

#[test]
fn redis_without_anything() {
    let redis = Redis::standalone();
    run(async { contract::holds(&attached(&Plan::standalone(address(redis.address()))).await).await });
}

#[test]
fn redis_with_a_password_and_another_database() {
    let redis = Redis::start(Terms::new().password("secret"));
    run(async {
        let password = Some(Secret::new("secret".to_owned()));
        let plan = Plan {
            credentials: Credentials { username: None, password },
            database: 3,
            ..Plan::standalone(address(redis.address()))
        };
        let storage = attached(&plan).await;
        contract::holds(&storage).await;
        let key = Keys::of(GATEWAY).named("here");
        storage.set(&key, b"x", std::time::Duration::from_secs(60)).await.expect("stored");
        assert_eq!(redis.cli(&["-n", "3", "get", key.as_str()]), "x");
        assert_eq!(redis.cli(&["-n", "0", "dbsize"]), "0");
    });
}

/// By rustls, with a certificate of ours; and by OpenSSL, with a suite that rustls does not have.
#[test]
fn redis_with_tls_and_the_documented_rights() {
    let redis = Redis::start(guarded().tls().client_certificate());
    let mut contexts = vec![json!({})];
    if cfg!(feature = "legacy-tls") {
        contexts.push(json!({ "ciphers": ["TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"], "maxversion": "1.2" }));
    }
    for more in contexts {
        let context = Arc::new(tls(redis.certificates(), true, more));
        let plan = Plan { tls: Some(context), ..plan(Topology::Standalone(address(redis.address()))) };
        run(async { contract::holds(&attached(&plan).await).await });
    }
}

#[test]
fn a_user_with_the_documented_rights_touches_nothing_of_another_gateway() {
    let redis = Redis::start(guarded());
    redis.cli(&["set", "gw:other:secret", "1"]);
    for command in [
        &["get", "gw:other:secret"][..],
        &["set", "gw:other:x", "1"],
        &["publish", "gw:other:x", "1"],
        &["subscribe", "gw:other:x"],
        &["eval", "return redis.call('GET', KEYS[1])", "1", "gw:other:secret"],
        &["eval", "return redis.call('GET', 'gw:other:secret')", "0"],
        &["keys", "*"],
        &["scan", "0"],
        &["randomkey"],
        &["dbsize"],
        &["info"],
        &["script", "flush"],
        &["flushall"],
        &["config", "get", "*"],
        &["acl", "list"],
        &["monitor"],
    ] {
        let said = redis.cli_as("gw", "secret", command);
        let refusals = ["NOPERM", "can't run this command", "can't access at least one of the keys"];
        let refused = refusals.iter().any(|refusal| said.contains(refusal));
        assert!(refused, "{command:?}: {said}");
    }
    run(async {
        let storage = attached(&plan(Topology::Standalone(address(redis.address())))).await;
        let refused = storage.get(&[Keys::of("other").named("secret")]).await.expect_err("no rights");
        assert!(refused.0.contains("NOPERM"), "{refused}");
        let refused = storage.publish(&Keys::of("other").channel("x"), b"").await.expect_err("no rights");
        assert!(refused.0.contains("NOPERM"), "{refused}");
        // Ours go on.
        contract::holds(&storage).await;
    });
}

#[test]
fn sentinels_with_a_failover() {
    let mut sentinels = Sentinels::with(guarded(), Some("guarded"));
    let topology = Topology::Sentinel {
        sentinels: addresses(&sentinels.addresses()),
        master: MASTER_NAME.to_owned(),
        credentials: Credentials { username: None, password: Some(Secret::new("guarded".to_owned())) },
    };
    let plan = plan(topology);
    run(async {
        let storage = attached(&plan).await;
        contract::holds(&storage).await;
        assert_eq!(storage.losses(), 0);
        let new = address(sentinels.failover());
        eventually("the new master is followed", async || {
            let status = storage.status();
            (status.connected && status.nodes[0].address == new.to_string()).then_some(())
        })
        .await;
        contract::holds(&storage).await;
        assert!(storage.losses() > 0, "the new master may know less");
        // A master that loses its office while it lives is left too.
        sentinels.rejoin();
        let demoted = sentinels.master();
        sentinels.node(demoted).pause();
        eventually("the other is master", async || {
            let status = storage.status();
            (status.connected && status.nodes[0].address != demoted.to_string()).then_some(())
        })
        .await;
        sentinels.node(demoted).resume();
        contract::holds(&storage).await;
    });
}

#[test]
fn sentinels_over_tls() {
    let mut sentinels = Sentinels::with(guarded().tls(), None);
    let context = Arc::new(tls(sentinels.master_node().certificates(), false, json!({})));
    let topology = Topology::Sentinel {
        sentinels: addresses(&sentinels.addresses()),
        master: MASTER_NAME.to_owned(),
        credentials: Credentials::default(),
    };
    let plan = Plan { tls: Some(context), ..plan(topology) };
    run(async { contract::holds(&attached(&plan).await).await });
}

#[test]
fn a_cluster_with_slots_that_move() {
    let mut cluster = RedisCluster::with(guarded());
    // One is enough to find the others.
    let plan = plan(Topology::Cluster(addresses(&cluster.addresses()[1..2])));
    run(async {
        let storage = attached(&plan).await;
        assert_eq!(storage.status().nodes.len(), 3);
        contract::holds(&storage).await;
        let keys = Keys::of(GATEWAY);
        let life = std::time::Duration::from_secs(60);
        let (moved, new) = (keys.digested("moved", &[b"a"]), keys.named("unmoved"));
        storage.set(&moved, b"1", life).await.expect("stored");
        let slot = slots::slot(&moved);
        assert_eq!(cluster.slot(moved.as_str()), slot);
        assert_eq!(cluster.slot(new.as_str()), slots::slot(&new));
        let from = cluster.owner(slot);
        let to = (from + 1) % 3;
        // While it moves its keys are on either side.
        cluster.open_move(slot, from, to);
        assert_eq!(
            storage.get(std::slice::from_ref(&moved)).await,
            Ok(vec![Some(b"1".to_vec())]),
            "not moved yet"
        );
        cluster.move_keys(slot, from, to);
        assert_eq!(
            storage.get(std::slice::from_ref(&moved)).await,
            Ok(vec![Some(b"1".to_vec())]),
            "asked at the other node"
        );
        storage.set(&moved, b"2", life).await.expect("stored at the other node");
        assert_eq!(storage.increment(&moved, life).await, Ok(3), "a script too");
        cluster.close_move(slot, to);
        assert_eq!(storage.get(std::slice::from_ref(&moved)).await, Ok(vec![Some(b"3".to_vec())]), "moved");
        assert_eq!(cluster.node(to).cli(&["get", moved.as_str()]), "3");
        contract::holds(&storage).await;
        assert_eq!(storage.losses(), 0, "a slot that moves takes its keys along");
        // A node that is gone takes its slots only.
        let asked = |node: &Redis| node.cli(&["info", "commandstats"]).lines().find_map(calls_for_the_map);
        let others = [0, 1, 2].map(|index| asked(cluster.node(index)));
        cluster.node(to).kill();
        let gone =
            eventually("its slots are gone", async || storage.get(std::slice::from_ref(&moved)).await.err())
                .await;
        assert!(!gone.0.is_empty());
        for index in (0..3).filter(|index| *index != to) {
            let node = cluster.node(index);
            eventually("all others are asked for the map", async || {
                (asked(node) > others[index]).then_some(())
            })
            .await;
        }
        cluster.node(to).restart();
        cluster.await_well();
        connected(&storage).await;
        contract::holds(&storage).await;
    });
}

/// How often a node has told the map, if this line of its statistics says so.
fn calls_for_the_map(line: &str) -> Option<u64> {
    let (calls, _) = line.strip_prefix("cmdstat_cluster|slots:calls=")?.split_once(',')?;
    calls.parse().ok()
}

#[test]
fn a_node_of_a_cluster_that_takes_over_from_one_that_is_gone_may_know_less() {
    let mut cluster = RedisCluster::start();
    let plan = Plan::new(Topology::Cluster(addresses(&cluster.addresses())));
    run(async {
        let storage = attached(&plan).await;
        let gone = cluster.node(0).cli(&["cluster", "myid"]);
        cluster.node(0).kill();
        for index in [1, 2] {
            assert_eq!(cluster.node(index).cli(&["cluster", "forget", &gone]), "OK");
        }
        assert_eq!(cluster.node(1).cli(&["cluster", "addslotsrange", "0", "5460"]), "OK");
        eventually("the map without it", async || {
            let status = storage.status();
            (status.connected && status.nodes.len() == 2).then_some(())
        })
        .await;
        assert_eq!(storage.losses(), 1);
    });
}

/// As the reference has it (8.1).
#[test]
fn a_cluster_through_a_single_address() {
    let cluster = RedisCluster::start();
    let plan = Plan::standalone(address(cluster.addresses()[0]));
    run(async {
        let storage = attached(&plan).await;
        eventually("the others are found", async || {
            let status = storage.status();
            (status.connected && status.nodes.len() == 3).then_some(())
        })
        .await;
        contract::holds(&storage).await;
    });
}

#[test]
fn a_cluster_over_tls() {
    let mut cluster = RedisCluster::with(guarded().tls());
    let context = Arc::new(tls(cluster.node(0).certificates(), false, json!({})));
    let plan = Plan { tls: Some(context), ..plan(Topology::Cluster(addresses(&cluster.addresses()))) };
    run(async { contract::holds(&attached(&plan).await).await });
}
