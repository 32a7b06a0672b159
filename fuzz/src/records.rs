//! Whatever a Redis answers, and however it is cut: the limits hold, and what is made of an answer is what it may be.
//!
//! An input is the bytes of an answer. The frames are followed beside the parser of the `redis` crate: where the one
//! says that an answer ends the other must not wait for more, or a limit would be counted in the wrong place.

use portcullis::storage::{
    VALUE_BYTES_MAX,
    quota::{Answer, Call},
    redis::{
        frames::Frames,
        plan::Address,
        reply::{self, BEAT_BYTES_MAX, Fetched, MEMBERS_MAX, NAME_BYTES_MAX},
        slots::SLOTS,
    },
};
use redis::Value;

pub fn check(bytes: &[u8]) {
    let mut frames = Frames::default();
    let whole = frames.follow(bytes);
    for cut in super::cuts(bytes) {
        let mut halves = Frames::default();
        let outcome = halves.follow(&bytes[..cut]).and_then(|()| halves.follow(&bytes[cut..]));
        assert_eq!(outcome, whole, "cut at {cut}");
        assert_eq!(halves.answers(), frames.answers(), "cut at {cut}");
    }
    if whole.is_err() {
        return;
    }
    match redis::parse_redis_value(bytes) {
        Ok(value) => {
            assert!(frames.answers() > 0, "an answer that did not end");
            check_answer(&value);
        }
        Err(error) => {
            let waits = error.is_io_error();
            assert!(!waits || frames.answers() == 0, "an answer that ends, for which the parser waits");
        }
    }
}

pub fn is_accepted(bytes: &[u8]) -> bool {
    let read = Frames::default().follow(bytes).ok().and_then(|()| redis::parse_redis_value(bytes).ok());
    read.is_some_and(|value| {
        let here = Address::new("redis", 6379);
        reply::value(value.clone()).is_ok()
            || reply::versioned(value.clone()).is_ok()
            || reply::beats(value.clone()).is_ok()
            || reply::leased(value.clone(), &call()).is_ok()
            || reply::hello(value.clone()).is_ok()
            || reply::shares(value.clone(), &here).is_ok()
            || matches!(&value, Value::ServerError(error) if reply::redirection(error, &here).is_ok())
    })
}

fn call() -> Call {
    Call {
        claimant: "a".to_owned(),
        number: 1,
        window: None,
        claim: 3,
        granted: true,
        want: 10,
        limit: 100,
        period: 1_000_000,
        replicas: 2,
        rank: 0,
        lost: false,
    }
}

/// Every answer may come to any question.
fn check_answer(value: &Value) {
    if let Ok(Fetched::Value(bytes)) = reply::value(value.clone()) {
        assert!(bytes.len() <= VALUE_BYTES_MAX);
    }
    if let Ok(Fetched::Value(versioned)) = reply::versioned(value.clone()) {
        assert!(versioned.value.len() <= VALUE_BYTES_MAX);
    }
    if let Ok(members) = reply::members(value.clone()) {
        assert!(members.len() <= MEMBERS_MAX && members.iter().all(|member| member.len() <= NAME_BYTES_MAX));
    }
    if let Ok(beats) = reply::beats(value.clone()) {
        assert!(beats.len() <= MEMBERS_MAX);
        assert!(
            beats
                .iter()
                .all(|beat| beat.member.len() <= NAME_BYTES_MAX && beat.value.len() <= BEAT_BYTES_MAX)
        );
        assert!(beats.is_sorted_by(|one, other| one.member < other.member));
    }
    let call = call();
    if let Ok(Answer::Leased(leased)) = reply::leased(value.clone(), &call) {
        assert!(leased.grant <= call.want && leased.rest <= call.limit);
        assert!(
            leased.window.start < leased.window.end && leased.left <= leased.window.end - leased.window.start
        );
    }
    let here = Address::new("redis", 6379);
    if let Ok(shares) = reply::shares(value.clone(), &here) {
        assert!(shares.iter().all(|share| share.first <= share.last && share.last < SLOTS));
        assert!(shares.iter().all(|share| Address::parse(&share.master.to_string()).is_some()), "{shares:?}");
    }
    if let Ok(server) = reply::hello(value.clone()) {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(plain(&server.version) && plain(&server.mode) && plain(&server.role));
    }
    if let Ok(address) = reply::address(value.clone()) {
        assert!(Address::parse(&address.to_string()).is_some(), "{address:?}");
    }
    if let Value::ServerError(error) = value
        && let Ok((slot, to)) = reply::redirection(error, &here)
    {
        assert!(slot < SLOTS && Address::parse(&to.to_string()).is_some(), "{to:?}");
    }
    let _ = reply::role(value);
    let _ = reply::number(value);
    let _ = reply::flag(value.clone());
    let _ = reply::done(value.clone());
}
