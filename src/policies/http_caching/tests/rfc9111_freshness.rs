//! RFC 9111 section 4.2: freshness, age and what may be served stale; section 5.2.1: what clients ask for.

use super::*;

const STRICT: &str = "rfc9111: true";

/// Whether a GET with these directives, so many seconds after the first, is answered from the cache.
fn serves(response: &[(&'static str, &'static str)], after: u64, request: &str) -> bool {
    let cached = Cached::new(STRICT, response);
    cached.get("/", &[]);
    cached.pass(after);
    let fields = [("cache-control", request)];
    cached.get("/", if request.is_empty() { &[] } else { &fields }) == "1"
}

const MINUTE: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[test]
fn a_response_is_fresh_while_its_lifetime_exceeds_its_age_section_4_2() {
    assert!(serves(MINUTE, 59, ""));
    assert!(!serves(MINUTE, 60, ""));
}

#[test]
fn the_lifetime_is_s_maxage_else_max_age_else_expires_less_date_section_4_2_1() {
    let all = [
        ("date", START),
        ("expires", "Sun, 06 Nov 1994 08:49:47 GMT"),
        ("cache-control", "max-age=20, s-maxage=30"),
    ];
    assert!(serves(&all, 29, "") && !serves(&all, 30, ""));
    let without = [all[0], all[1], ("cache-control", "max-age=20")];
    assert!(serves(&without, 19, "") && !serves(&without, 20, ""));
    assert!(serves(&all[..2], 9, "") && !serves(&all[..2], 10, ""));
}

#[test]
fn a_lifetime_that_is_not_valid_or_said_twice_is_stale_section_4_2_1() {
    for value in ["max-age=a", "max-age=60, max-age=70", "max-age=-1"] {
        assert!(!serves(&[("cache-control", value)], 0, ""), "{value}");
    }
    let twice = [("expires", "Sun, 06 Nov 1994 09:49:37 GMT"), ("expires", "Sun, 06 Nov 1994 09:49:38 GMT")];
    assert!(!serves(&twice, 0, ""));
}

#[test]
fn an_invalid_expires_and_especially_0_is_in_the_past_section_5_3() {
    for value in ["0", "tomorrow", "Sun, 06 Nov 2094 09:49:37 PST"] {
        assert!(!serves(&[("expires", value)], 0, ""), "{value}");
    }
}

#[test]
fn nothing_is_kept_or_fresh_beyond_ttl() {
    let cached =
        Cached::new("{rfc9111: true, ttl: 10}", &[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    cached.get("/", &[]);
    cached.pass(10);
    assert_eq!(cached.get("/", &[("cache-control", "max-stale")]), "2");
    assert_eq!(cached.bench.upstream_header("if-none-match"), None);
}

#[test]
fn the_age_is_the_larger_of_what_date_and_what_age_say_section_4_2_3() {
    let hour_ago = ("date", "Sun, 06 Nov 1994 07:49:37 GMT");
    for (headers, expected) in [
        (&[hour_ago, ("age", "5")][..], 3600),
        (&[("date", START), ("age", "50")], 50),
        (&[("age", "50, 70")], 50),
        (&[("age", "x")], 0),
        (&[("age", "-5")], 0),
        (&[("date", "Sun, 06 Nov 1994 09:49:37 GMT")], 0),
    ] {
        let mut headers = headers.to_vec();
        headers.push(("cache-control", "max-age=9000"));
        let cached = Cached::new(STRICT, &headers);
        cached.get("/", &[]);
        assert_eq!(age(&cached.send("GET", "/", &[])), Some(expected), "{headers:?}");
    }
    assert!(!serves(&[("age", "50"), ("cache-control", "max-age=60")], 10, ""));
    assert!(serves(&[("age", "50"), ("cache-control", "max-age=60")], 9, ""));
}

#[test]
fn the_time_that_the_response_took_counts_for_its_age_section_4_2_3() {
    let clock = Clock::manual();
    let slow = clock.clone();
    let cached = Cached::with(STRICT, &services(), &clock, move |_| {
        slow.advance(Duration::from_secs(8));
        upstream(200, &[("age", "2"), ("cache-control", "max-age=60")], "x")
    });
    cached.get("/", &[]);
    assert_eq!(age(&cached.send("GET", "/", &[])), Some(10));
}

#[test]
fn max_age_of_the_request_refuses_what_is_older_section_5_2_1_1() {
    assert!(serves(MINUTE, 5, "max-age=5"));
    assert!(!serves(MINUTE, 6, "max-age=5"));
    assert!(!serves(MINUTE, 1, "max-age=0"));
}

#[test]
fn max_stale_accepts_what_is_stale_by_no_more_section_5_2_1_2() {
    assert!(serves(MINUTE, 70, "max-stale=10"));
    assert!(!serves(MINUTE, 71, "max-stale=10"));
    assert!(serves(MINUTE, 300, "max-stale"));
    assert!(!serves(MINUTE, 70, "max-stale, max-age=65"));
}

#[test]
fn min_fresh_wants_what_stays_fresh_section_5_2_1_3() {
    assert!(serves(MINUTE, 50, "min-fresh=10"));
    assert!(!serves(MINUTE, 51, "min-fresh=10"));
    assert!(!serves(MINUTE, 70, "min-fresh=10, max-stale"));
}

#[test]
fn no_cache_of_the_request_wants_a_validation_section_5_2_1_4() {
    assert!(!serves(MINUTE, 0, "no-cache"));
    let cached = Cached::new(STRICT, MINUTE);
    cached.get("/", &[]);
    assert_eq!(cached.get("/", &[("pragma", "no-cache")]), "2", "section 5.4");
}

#[test]
fn no_store_of_the_request_may_be_answered_from_what_is_stored_section_5_2_1_5() {
    assert!(serves(MINUTE, 0, "no-store"));
}

#[test]
fn only_if_cached_is_a_stored_response_or_504_section_5_2_1_7() {
    let cached = Cached::new(STRICT, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    let only = [("cache-control", "only-if-cached")];
    assert_eq!(cached.send("GET", "/", &only).status, 504);
    cached.get("/", &[]);
    assert_eq!(cached.send("GET", "/", &only).status, 200);
    cached.pass(60);
    assert_eq!(cached.send("GET", "/", &only).status, 504);
    assert_eq!(cached.send("GET", "/", &[("cache-control", "only-if-cached, max-stale")]).status, 200);
    assert_eq!(cached.send("GET", "/", &[only[0], ("range", "bytes=0-0")]).status, 504, "of none a part");
    assert_eq!(cached.calls(), 1);
}

#[test]
fn what_is_stale_is_not_served_unless_the_client_allows_it_section_4_2_4() {
    assert!(!serves(MINUTE, 61, ""));
    assert!(!serves(&[("cache-control", "max-age=60, stale-if-error=600")], 61, ""));
}

#[test]
fn an_origin_that_cannot_be_reached_makes_nothing_stale_servable_section_4_2_4() {
    let calls = Cell::new(0);
    let cached = Cached::answering(STRICT, move |_| {
        calls.set(calls.get() + 1);
        if calls.get() == 1 { upstream(200, MINUTE, "x") } else { upstream(503, &[], "down") }
    });
    cached.get("/", &[]);
    cached.pass(60);
    assert_eq!(cached.send("GET", "/", &[]).status, 503);
}

#[test]
fn must_revalidate_proxy_revalidate_and_s_maxage_forbid_stale_whatever_the_client_says_section_4_2_4() {
    for value in
        ["max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60", "max-age=60, no-cache"]
    {
        assert!(!serves(&[("cache-control", value), ("etag", "\"a\"")], 61, "max-stale"), "{value}");
    }
}
