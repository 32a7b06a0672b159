//! Redis as the harness starts it, breaks it and brings it back.

use std::time::Duration;

use cluster_tests::redis::{Redis, RedisCluster, Sentinels, Terms};

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_paused_redis_does_not_answer_and_answers_after_resume() {
    let redis = Redis::standalone();
    assert_eq!(redis.cli(&["set", "a", "1"]), "OK");
    redis.pause();
    assert_eq!(redis.cli_within(SHORT, &["get", "a"]), None);
    redis.resume();
    assert_eq!(redis.cli(&["get", "a"]), "1");
}

#[test]
fn a_killed_redis_is_gone_and_comes_back_at_its_address_with_what_it_kept() {
    for (terms, kept) in [(Terms::new().append_only(), "1"), (Terms::new(), "")] {
        let mut redis = Redis::start(terms);
        let address = redis.address();
        redis.cli(&["set", "a", "1"]);
        let run = redis.info("run_id").expect("a run id");
        redis.kill();
        assert!(!redis.running() && redis.cli_within(SHORT, &["ping"]).is_none());
        redis.restart();
        assert_eq!((redis.cli(&["get", "a"]).as_str(), redis.address()), (kept, address));
        assert_ne!(redis.info("run_id"), Some(run));
        redis.cli(&["set", "a", "2"]);
        redis.restart_empty();
        assert_eq!(redis.cli(&["get", "a"]), "", "wiped");
    }
}

#[test]
fn a_paused_redis_ends_with_its_value() {
    let redis = Redis::standalone();
    let address = redis.address();
    redis.pause();
    drop(redis);
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn users_have_the_rights_that_their_lines_give_them() {
    let redis =
        Redis::start(Terms::new().named_users_only().user("gw on >secret ~gw:a:* resetchannels +get +set"));
    assert_eq!(redis.cli_as("gw", "secret", &["set", "gw:a:x", "1"]), "OK");
    assert!(redis.cli_as("gw", "secret", &["get", "gw:b:x"]).starts_with("NOPERM"));
    assert!(redis.cli_as("gw", "secret", &["time"]).starts_with("NOPERM"));
    assert!(redis.cli_as("gw", "wrong", &["get", "gw:a:x"]).contains("WRONGPASS"));
    assert!(redis.cli_as("default", "", &["get", "gw:a:x"]).contains("WRONGPASS"));
    assert_eq!(redis.cli(&["get", "gw:a:x"]), "1", "the harness itself comes in");
}

#[test]
fn tls_is_spoken_alone_or_beside_plain_tcp_and_may_ask_for_a_certificate() {
    let both = Redis::start(Terms::new().plain_and_tls());
    assert_ne!(both.address(), both.tls_address());
    assert_eq!(both.cli(&["ping"]), "PONG", "plain");
    let alone = Redis::start(Terms::new().tls().client_certificate());
    assert_eq!((alone.address(), alone.cli(&["ping"]).as_str()), (alone.tls_address(), "PONG"));
    for (redis, certificate, served) in [(&both, false, true), (&alone, false, false), (&alone, true, true)] {
        let certificates = redis.certificates();
        let port = redis.tls_address().port().to_string();
        let mut run = std::process::Command::new("redis-cli");
        run.args(["-p", &port, "--tls", "--cacert"]).arg(certificates.authority.certificate());
        if certificate {
            run.arg("--cert").arg(&certificates.client.0).arg("--key").arg(&certificates.client.1);
        }
        let said = run.arg("ping").output().expect("redis-cli").stdout;
        assert_eq!(said.starts_with(b"PONG"), served, "{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn a_failover_elects_the_replica_and_the_old_master_comes_back_as_one() {
    let mut topology = Sentinels::start();
    let (old, spare) = (topology.master(), topology.other_node().address());
    topology.master_node().cli(&["set", "a", "1"]);
    let node = topology.other_node();
    cluster_tests::eventually("the replica has it", || (node.cli(&["get", "a"]) == "1").then_some(()));
    assert_eq!(topology.failover(), spare);
    assert_eq!(topology.master_node().cli(&["get", "a"]), "1");
    topology.rejoin();
    // On a busy machine the sentinels may elect once more.
    let mut both = [topology.master(), topology.other_node().address()];
    both.sort();
    let mut expected = [old, spare];
    expected.sort();
    assert_eq!(both, expected);
    cluster_tests::eventually("one of them follows", || {
        let role = topology.other_node().info("role")?;
        (role == "slave").then_some(())
    });
}

#[test]
fn sentinels_follow_over_tls_with_users_and_a_password_and_a_detached_replica_has_lost_what_came_after() {
    let terms = Terms::new().tls().named_users_only().user("gw on >secret ~* &* +@all");
    let mut topology = Sentinels::with(terms, Some("guarded"));
    let spare = topology.other_node().address();
    topology.master_node().cli_as("gw", "secret", &["set", "a", "1"]);
    let node = topology.other_node();
    cluster_tests::eventually("the replica has it", || (node.cli(&["get", "a"]) == "1").then_some(()));
    topology.detach_replica();
    assert_eq!(topology.master_node().cli(&["set", "a", "2"]), "OK");
    assert_eq!(topology.failover(), spare);
    assert_eq!(topology.master_node().cli_as("gw", "secret", &["get", "a"]), "1");
    topology.attach_replica();
    topology.rejoin();
    assert_eq!(
        topology.other_node().cli(&["get", "a"]),
        "1",
        "the old master took over what the new one has"
    );
}

#[test]
fn a_moved_slot_answers_moved_and_one_under_way_ask() {
    for terms in [Terms::new().user("gw on >secret ~* &* +@all"), Terms::new().tls()] {
        let mut cluster = RedisCluster::with(terms);
        let slot = cluster.slot("a");
        let from = cluster.owner(slot);
        let to = (from + 1) % cluster.addresses().len();
        assert_eq!(cluster.node(from).cli(&["set", "a", "1"]), "OK");
        let there = format!("{slot} {}", cluster.addresses()[to]);
        cluster.open_move(slot, from, to);
        assert_eq!(cluster.node(from).cli(&["get", "a"]), "1", "still here");
        assert_eq!(cluster.node(from).cli(&["get", "{a}new"]), format!("ASK {there}"));
        cluster.move_keys(slot, from, to);
        cluster.close_move(slot, to);
        assert_eq!(cluster.node(from).cli(&["get", "a"]), format!("MOVED {there}"));
        assert_eq!(cluster.node(to).cli(&["get", "a"]), "1");
        cluster.move_slot(slot, to, from);
        assert_eq!(cluster.node(from).cli(&["get", "a"]), "1");
        cluster.node(to).restart_empty();
        cluster.await_well();
    }
}
