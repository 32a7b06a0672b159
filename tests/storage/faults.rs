//! What breaks between the gateway and Redis: calls fail at once or within their deadline, and all is well again when
//! Redis is.

use std::time::{Duration, Instant};

use cluster_tests::redis::{Redis, Terms};
use futures_util::future::join_all;
use portcullis::storage::{
    Heard, Key, Keys, Storage,
    quota::{Answer, Call},
    redis::plan::Plan,
};

use super::{
    GATEWAY, THREAD, address, attached, attached_as_is, backends, connected, contract, credentials,
    eventually, forged, leased, run,
};

const LIFE: Duration = Duration::from_secs(60);

fn key(name: &str) -> Key {
    Keys::of(GATEWAY).digested("fault", &[name.as_bytes()])
}

async fn fails(storage: &Storage) -> String {
    eventually("a call fails", async || storage.set(&key("a"), b"1", LIFE).await.err()).await.0
}

#[test]
fn without_a_connection_calls_fail_at_once_and_a_restarted_redis_is_found_again() {
    let mut redis = Redis::start(Terms::new().append_only());
    run(async {
        let plan = Plan::standalone(address(redis.address()));
        let storage = attached(&plan).await;
        let durable = attached(&Plan { durable: true, ..plan.clone() }).await;
        let mut heard = storage.subscribe(&Keys::of(GATEWAY).channel("test"));
        contract::holds(&storage).await;
        redis.kill();
        eventually("it is known to be gone", async || (!storage.status().connected).then_some(())).await;
        let begun = Instant::now();
        for _ in 0..1000 {
            let error = storage.set(&key("a"), b"1", LIFE).await.expect_err("nobody there");
            assert!(error.0.contains("no connection"), "{error}");
        }
        assert!(begun.elapsed() < Plan::DEADLINE * 100, "nothing was waited for: {:?}", begun.elapsed());
        assert!(storage.status().nodes[0].last_error.is_some());
        redis.restart();
        connected(&storage).await;
        connected(&durable).await;
        contract::holds(&storage).await;
        assert_eq!((storage.losses(), durable.losses()), (1, 0), "unless it is declared to keep everything");
        eventually("a listener looks anew", async || {
            let heard = tokio::time::timeout(Duration::from_millis(100), heard.next()).await;
            (heard == Ok(Heard::Gap)).then_some(())
        })
        .await;
    });
}

/// Redis reads its append-only file as the user `default`.
#[test]
fn what_was_leased_survives_a_restart_where_all_users_are_as_documented() {
    let mut redis = Redis::start(backends::guarded().append_only());
    run(async {
        let credentials = credentials("gw", "secret");
        let plan = Plan { credentials, ..Plan::standalone(address(redis.address())) };
        let storage = attached(&plan).await;
        let limit = key("limit");
        let call = |claimant: &str| Call { claimant: claimant.to_owned(), want: 4, ..forged::call() };
        let Ok(Answer::Leased(first)) = leased(&storage, &[(limit.clone(), call("a"))]).await.remove(0)
        else {
            panic!("a lease")
        };
        redis.restart();
        connected(&storage).await;
        let Ok(Answer::Leased(second)) = leased(&storage, &[(limit.clone(), call("b"))]).await.remove(0)
        else {
            panic!("a lease")
        };
        assert_eq!(second.window, first.window);
        assert_eq!(second.rest + second.grant, first.rest);
    });
}

#[test]
fn a_connection_that_is_cut_is_made_again_and_nothing_counts_as_lost() {
    let redis = Redis::standalone();
    run(async {
        let storage = attached(&Plan::standalone(address(redis.address()))).await;
        for round in 0..3 {
            storage.set(&key("a"), b"1", LIFE).await.expect("stored");
            redis.cli(&["client", "kill", "type", "normal"]);
            eventually("it is back", async || storage.set(&key("a"), b"1", LIFE).await.ok()).await;
            assert_eq!(storage.losses(), 0, "round {round}");
        }
        contract::holds(&storage).await;
    });
}

#[test]
fn a_redis_that_is_silent_costs_a_deadline_and_then_nothing() {
    let redis = Redis::standalone();
    run(async {
        let storage = attached_as_is(&Plan::standalone(address(redis.address()))).await;
        storage.set(&key("large"), &vec![1; 1 << 20], LIFE).await.expect("stored");
        redis.pause();
        let error = storage.set(&key("a"), b"1", LIFE).await.expect_err("no answer");
        assert!(error.0.contains("no answer within 500ms"), "{error}");
        let error = storage.get(&[key("large")]).await.expect_err("no answer");
        assert!(error.0.contains("no answer within 500ms") || error.0.contains("no connection"), "{error}");
        eventually("the silent connection is given up", async || (!storage.status().connected).then_some(()))
            .await;
        let error = storage.set(&key("a"), b"1", LIFE).await.expect_err("no connection");
        assert!(error.0.contains("no connection"), "{error}");
        redis.resume();
        connected(&storage).await;
        eventually("all is well", async || storage.set(&key("a"), b"1", LIFE).await.ok()).await;
        assert_eq!(storage.losses(), 0, "it is the same process");
    });
}

#[test]
fn a_connection_for_large_values_whose_answer_nobody_waits_for_is_closed() {
    let redis = Redis::standalone();
    run(async {
        let storage = attached_as_is(&Plan::standalone(address(redis.address()))).await;
        let connections = || redis.cli(&["client", "list"]).lines().count();
        let before = connections();
        let large = vec![1; 1 << 20];
        storage.set(&key("large"), &large, LIFE).await.expect("stored");
        assert_eq!(connections(), before + 1, "it is kept for the next");
        redis.pause();
        storage.set(&key("large"), &large, LIFE).await.expect_err("no answer");
        redis.resume();
        eventually("it is closed", async || (connections() == before).then_some(())).await;
    });
}

#[test]
fn more_small_calls_than_fit_fail_at_once_and_large_ones_wait_for_a_connection_and_take_no_place_of_them() {
    let redis = Redis::standalone();
    run(async {
        let plan = Plan { deadline: Duration::from_secs(20), ..Plan::standalone(address(redis.address())) };
        let storage = attached_as_is(&plan).await;
        let (large, large_key, small_key) = (vec![1; 1 << 20], key("large"), key("small"));
        redis.pause();
        // As long as the silence is not noticed.
        let large_ones = join_all((0..100).map(|_| storage.set(&large_key, &large, LIFE)));
        let small_ones = join_all((0..3000).map(|_| storage.set(&small_key, b"1", LIFE)));
        let (resumed, large_ones, small_ones) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                redis.resume();
            },
            large_ones,
            small_ones
        );
        let () = resumed;
        let busy = |outcomes: &[Result<(), portcullis::storage::Unavailable>]| {
            outcomes
                .iter()
                .filter(|outcome| outcome.as_ref().is_err_and(|error| error.0.contains("too many")))
                .count()
        };
        assert!(large_ones.iter().all(Result::is_ok), "{large_ones:?}");
        assert_eq!(busy(&small_ones), 3000 - 1024);
        eventually("all is well", async || storage.set(&key("a"), b"1", LIFE).await.ok()).await;
        let outcomes = join_all((0..64).map(|_| storage.set(&large_key, &large, LIFE))).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        // One for small things, one that listens, and those for large ones.
        let clients = redis.cli(&["client", "list"]).lines().count();
        assert!((3..=1 + 1 + 16 + 1).contains(&clients), "{clients} connections");
    });
}

#[test]
fn a_wrong_password_and_missing_rights_are_said_without_the_password() {
    let redis = Redis::start(Terms::new().named_users_only().user("gw on >secret ~gw:* &gw:* +ping +get"));
    run(async {
        let plan =
            Plan { credentials: credentials("gw", "hunter2"), ..Plan::standalone(address(redis.address())) };
        let storage = Storage::in_memory();
        storage.attach(Some(&plan), &THREAD).expect("a plan");
        let error = eventually("it is refused", async || storage.status().nodes[0].last_error.clone()).await;
        assert!(error.contains("WRONGPASS") && !error.contains("hunter2"), "{error}");
        assert!(fails(&storage).await.contains("WRONGPASS"));
        let plan = Plan { credentials: credentials("gw", "secret"), ..plan };
        let storage = attached(&plan).await;
        assert!(fails(&storage).await.contains("NOPERM"));
    });
}

#[test]
fn a_storage_that_is_spoken_to_in_another_way_has_lost_nothing() {
    let redis = Redis::start(backends::guarded().user("other on >new ~gw:* &gw:* +@all"));
    run(async {
        let plan =
            Plan { credentials: credentials("gw", "secret"), ..Plan::standalone(address(redis.address())) };
        let storage = attached(&plan).await;
        storage.set(&key("a"), b"1", LIFE).await.expect("stored");
        let plan = Plan { credentials: credentials("other", "new"), deadline: 2 * Plan::DEADLINE, ..plan };
        storage.attach(Some(&plan), &THREAD).expect("a plan");
        connected(&storage).await;
        assert_eq!(storage.get(&[key("a")]).await, Ok(vec![Some(b"1".to_vec())]));
        assert_eq!(storage.losses(), 0);
        let other = Plan { database: 1, ..plan };
        storage.attach(Some(&other), &THREAD).expect("a plan");
        assert_eq!(storage.losses(), 1, "another database knows nothing of it");
        connected(&storage).await;
        let refused = Plan { credentials: credentials("other", "old"), ..other.clone() };
        storage.attach(Some(&refused), &THREAD).expect("a plan");
        assert_eq!(storage.losses(), 1);
        storage.attach(Some(&other), &THREAD).expect("a plan");
        assert_eq!(storage.losses(), 2, "nobody has seen whether it began anew");
    });
}

#[test]
fn the_storage_goes_over_to_another_one_and_back_while_it_is_used() {
    let (one, other) = (Redis::standalone(), Redis::standalone());
    run(async {
        let storage = Storage::in_memory();
        let channel = Keys::of(GATEWAY).channel("test");
        let mut heard = storage.subscribe(&channel);
        storage.set(&key("a"), b"memory", LIFE).await.expect("stored");
        assert!(!storage.is_shared());
        let mut losses = storage.losses();
        for (redis, name) in [(&one, b"one"), (&other, b"two"), (&one, b"one")] {
            let plan = Plan::standalone(address(redis.address()));
            storage.attach(Some(&plan), &THREAD).expect("a plan");
            storage.attach(Some(&plan), &THREAD).expect("the same: nothing happens");
            connected(&storage).await;
            // Messages of the one before may still be on their way.
            while heard.next().await != Heard::Gap {}
            eventually("a message of the new one", async || {
                redis.cli(&["publish", channel.as_str(), "hello"]);
                let heard = tokio::time::timeout(Duration::from_millis(50), heard.next()).await;
                (heard == Ok(Heard::Message(b"hello".to_vec()))).then_some(())
            })
            .await;
            storage.set(&key("a"), name, LIFE).await.expect("stored");
            assert!(storage.is_shared() && storage.losses() >= losses);
            losses = storage.losses();
        }
        assert!(losses >= 2, "another storage remembers nothing: {losses}");
        assert_eq!(other.cli(&["get", key("a").as_str()]), "two");
        storage.attach(None, &THREAD).expect("memory");
        assert_eq!(storage.get(&[key("a")]).await, Ok(vec![Some(b"memory".to_vec())]));
        contract::holds(&storage).await;
        // The connections of what is not in force any more are closed.
        eventually("closed", async || (one.cli(&["client", "list"]).lines().count() == 1).then_some(()))
            .await;
    });
}
