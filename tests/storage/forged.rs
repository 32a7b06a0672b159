//! Records that somebody else has written, into a real Redis: each is an error, is left out or gives way, and nothing
//! panics, waits or grows.

use std::time::Duration;

use cluster_tests::redis::{Redis, Terms};
use portcullis::storage::{
    Key, Keys, Storage, Versioned,
    quota::{Answer, Call},
    redis::plan::Plan,
};

use super::{GATEWAY, address, attached, contract, leased, run};

const LIFE: Duration = Duration::from_secs(60);

pub fn call() -> Call {
    Call {
        claimant: "a".to_owned(),
        number: 1,
        window: None,
        claim: 0,
        granted: false,
        want: 10,
        limit: 100,
        period: LIFE.as_micros() as u64,
        replicas: 1,
        rank: 0,
        lost: false,
    }
}

/// Runs every operation on a key; what it says is up to the record, that it ends is not.
async fn all(storage: &Storage, key: &Key, which: usize) {
    let keys = [key.clone()];
    match which {
        0 => drop(storage.get(&keys).await),
        1 => drop(storage.versioned(key).await),
        2 => drop(leased(storage, &[(key.clone(), call())]).await),
        3 => drop(storage.beat(key, "me", b"hello", LIFE).await),
        4 => drop(storage.enlist(key, "me", 3, LIFE).await),
        5 => drop(storage.drain(key, 10).await),
        6 => drop(storage.delist(key, "me").await),
        7 => drop(storage.leave(key, "me").await),
        8 => drop(storage.increment(key, LIFE).await),
        9 => drop(storage.advance(key, &Versioned { version: 1, value: Vec::new() }).await),
        10 => drop(storage.set_if_absent(key, b"1", LIFE).await),
        11 => drop(storage.remove_if(key, b"1").await),
        _ => drop(storage.set(key, b"1", LIFE).await),
    }
}

const OPERATIONS: usize = 13;

#[test]
fn records_of_every_type_under_every_key_end_in_an_answer_and_are_taken_over_by_ours() {
    let redis = Redis::standalone();
    let long = "9".repeat(400);
    let wrongs: Vec<Vec<&str>> = vec![
        vec!["set", "K", "forged"],
        vec!["set", "K", "-9223372036854775808"],
        vec!["set", "K", "9223372036854775807"],
        vec!["rpush", "K", "a", "b"],
        vec!["sadd", "K", "a", "b"],
        vec!["zadd", "K", "inf", "a", "-inf", "b", "nan1", "c"],
        vec!["zadd", "K", "inf", "a", "-inf", "b"],
        vec!["hset", "K", "start", "-1", "end", "1e308", "recovering", "2", "ca", "5"],
        vec!["hset", "K", "start", "5", "end", "4", "version", "9", "value", "x"],
        vec!["hset", "K", "start", &long, "end", &long, "version", &long, "value", &long, "ca", &long],
        vec!["hset", "K", "start", "1", "end", "4503599627370496", "ca", "4503599627370496 4503599627370496"],
        vec!["hset", "K", "version", "99999999999999999999", "value", "x"],
        vec!["hset", "K", "version", "0000000000000000000x", "value", "x"],
        vec!["hset", "K", "version", "00000000000000000007"],
        vec!["hset", "K", "me", "no time", "you", "99999999999999999999 x", "", " ", "them", "1 x"],
        vec!["xadd", "K", "*", "a", "b"],
        vec!["pfadd", "K", "a"],
    ];
    run(async {
        let storage = attached(&Plan::standalone(address(redis.address()))).await;
        let keys = Keys::of(GATEWAY);
        for (row, wrong) in wrongs.iter().enumerate() {
            for which in 0..OPERATIONS {
                let key = keys.digested("forged", &[&row.to_be_bytes(), &which.to_be_bytes()]);
                let command: Vec<&str> =
                    wrong.iter().map(|word| if *word == "K" { key.as_str() } else { *word }).collect();
                redis.cli(&command);
                all(&storage, &key, which).await;
            }
            // The next of ours finds its way.
            let key = keys.digested("taken over", &[&row.to_be_bytes()]);
            let forge = || {
                let command: Vec<&str> =
                    wrong.iter().map(|word| if *word == "K" { key.as_str() } else { *word }).collect();
                redis.cli(&["del", key.as_str()]);
                redis.cli(&command);
            };
            forge();
            let answer = leased(&storage, &[(key.clone(), call())]).await.remove(0);
            match answer {
                Ok(Answer::Leased(leased)) => assert!(leased.grant <= 10, "{wrong:?}"),
                Ok(Answer::Stale) => {}
                Err(error) => panic!("{wrong:?}: {error}"),
            }
            forge();
            let beats = storage.beat(&key, "us", b"x", LIFE).await.expect("an answer");
            assert!(beats.iter().any(|beat| beat.member == "us"), "{wrong:?}");
            forge();
            storage.enlist(&key, "us", 3, LIFE).await.expect("an answer");
            assert!(
                storage.drain(&key, 100).await.expect("an answer").contains(&"us".to_owned()),
                "{wrong:?}"
            );
            forge();
            assert!(storage.increment(&key, LIFE).await.expect("an answer") >= 1, "{wrong:?}");
            forge();
            storage.set(&key, b"ours", LIFE).await.expect("stored");
            assert_eq!(storage.get(std::slice::from_ref(&key)).await, Ok(vec![Some(b"ours".to_vec())]));
        }
        assert_eq!(storage.status().nodes[0].last_error, None, "and the connection is the same");
        contract::holds(&storage).await;
    });
}

#[test]
fn a_value_that_is_too_large_is_none_and_never_comes_here() {
    let redis = Redis::standalone();
    run(async {
        let storage = attached(&Plan::standalone(address(redis.address()))).await;
        let key = Keys::of(GATEWAY).digested("huge", &[b"a"]);
        let grow = |kind: &str| {
            let fill = match kind {
                "string" => "redis.call('SETRANGE', KEYS[1], 300000000, 'x')",
                "value" => {
                    "redis.call('HSET', KEYS[1], 'version', string.rep('0', 20), 'value', string.rep('x', 9000000))"
                }
                "member" => {
                    "redis.call('HSET', KEYS[1], string.rep('n', 9000), '1 x', 'other', '1 ' .. string.rep('x', 9000000))"
                }
                "members" => {
                    "for i = 1, 5000 do redis.call('HSET', KEYS[1], 'm' .. i, redis.call('TIME')[1] .. '000000 x') end"
                }
                _ => "for i = 1, 5000 do redis.call('ZADD', KEYS[1], i, string.rep('x', 4000) .. i) end",
            };
            redis.cli(&["del", key.as_str()]);
            redis.cli(&["eval", fill, "1", key.as_str()]);
        };
        let before = redis
            .info("total_net_output_bytes")
            .and_then(|bytes| bytes.parse::<u64>().ok())
            .expect("a number");
        grow("string");
        assert_eq!(storage.get(std::slice::from_ref(&key)).await, Ok(vec![None]));
        grow("value");
        assert_eq!(storage.versioned(&key).await, Ok(None));
        grow("member");
        let beats = storage.beat(&key, "me", b"", LIFE).await.expect("an answer");
        assert_eq!(beats.len(), 1);
        grow("members");
        let beats = storage.beat(&key, "me", b"", LIFE).await.expect("an answer");
        assert_eq!(beats.len(), 1, "more than any gateway has are none of it");
        grow("list");
        let gone = storage.enlist(&key, "me", 10, LIFE).await.expect("an answer");
        assert!(gone.len() <= 1000);
        assert!(storage.drain(&key, 100_000).await.expect("an answer").len() <= 1000);
        let after = redis
            .info("total_net_output_bytes")
            .and_then(|bytes| bytes.parse::<u64>().ok())
            .expect("a number");
        assert!(after - before < 20_000_000, "{} bytes came", after - before);
        contract::holds(&storage).await;
    });
}

#[test]
fn scripts_survive_being_flushed() {
    let redis = Redis::start(Terms::new());
    run(async {
        let storage = attached(&Plan::standalone(address(redis.address()))).await;
        for _ in 0..3 {
            contract::holds(&storage).await;
            assert_eq!(redis.cli(&["script", "flush"]), "OK");
        }
        assert_eq!(storage.status().calls_unavailable, 0);
    });
}
