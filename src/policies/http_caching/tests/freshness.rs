//! Policies reference 3.4, freshness and eviction.

use super::*;

const HOUR_AGO: &str = "Sun, 06 Nov 1994 07:49:37 GMT";
const IN_AN_HOUR: &str = "Sun, 06 Nov 1994 09:49:37 GMT";

/// For how many whole seconds a response is served, up to a day.
fn served_for(config: &str, headers: &[(&'static str, &'static str)]) -> u64 {
    let cached = Cached::new(config, headers);
    cached.get("/", &[]);
    let (mut low, mut high) = (0_u64, 86_400);
    while low < high {
        let middle = (low + high).div_ceil(2);
        let cached = Cached::new(config, headers);
        cached.get("/", &[]);
        cached.pass(middle - 1);
        if cached.get("/", &[]) == "1" { low = middle } else { high = middle - 1 }
    }
    low
}

#[test]
fn with_directives_off_an_entry_is_served_for_ttl() {
    let off = "{useHttpCacheHeaders: false, ttl: 10}";
    assert_eq!(served_for(off, &[]), 10);
    assert_eq!(served_for(off, &[("cache-control", "no-store, private, max-age=0"), ("expires", "0")]), 10);
}

#[test]
fn the_lifetime_is_s_maxage_else_max_age_else_expires_else_ttl() {
    assert_eq!(served_for("{}", &[("cache-control", "max-age=20, s-maxage=30"), ("expires", START)]), 30);
    assert_eq!(served_for("{}", &[("cache-control", "max-age=20"), ("expires", START)]), 20);
    assert_eq!(served_for("ttl: 7200", &[("date", START), ("expires", IN_AN_HOUR)]), 3600);
    assert_eq!(served_for("{}", &[]), 600);
}

#[test]
fn the_lifetime_counts_from_date() {
    assert_eq!(served_for("ttl: 9000", &[("date", HOUR_AGO), ("cache-control", "max-age=3610")]), 10);
    assert_eq!(served_for("ttl: 9000", &[("date", HOUR_AGO), ("cache-control", "max-age=3600")]), 0);
    // A clock of the origin that is ahead makes nothing older or younger.
    assert_eq!(served_for("ttl: 9000", &[("date", IN_AN_HOUR), ("cache-control", "max-age=20")]), 20);
}

#[test]
fn the_lifetime_is_capped_by_ttl_counted_from_storing() {
    assert_eq!(served_for("ttl: 5", &[("cache-control", "max-age=1000")]), 5);
    assert_eq!(served_for("ttl: 5", &[("date", HOUR_AGO), ("cache-control", "max-age=86400")]), 5);
    // Without any lifetime `ttl` counts from storing, whatever `Date` says.
    assert_eq!(served_for("ttl: 5", &[("date", HOUR_AGO)]), 5);
}

#[test]
fn an_expires_that_is_no_date_has_expired_already() {
    for expires in ["0", "-1", "never", ""] {
        assert_eq!(served_for("{}", &[("expires", expires)]), 0, "{expires:?}");
    }
}

#[test]
fn obsolete_forms_of_dates_are_read() {
    for expires in
        ["Sunday, 06-Nov-94 08:49:57 GMT", "Sun Nov  6 08:49:57 1994", "Sun, 06 Nov 1994 08:49:57 GMT"]
    {
        assert_eq!(served_for("{}", &[("date", START), ("expires", expires)]), 20, "{expires}");
    }
}

#[test]
fn a_missing_date_is_the_time_when_the_request_was_received() {
    let cached = Cached::new("{}", &[]);
    let first = cached.send("GET", "/", &[]);
    assert_eq!(header(&first, "date").as_deref(), Some(START));
    cached.pass(7);
    let hit = cached.send("GET", "/", &[]);
    assert_eq!((header(&hit, "date").as_deref(), age(&hit)), (Some(START), Some(7)));
}

#[test]
fn on_every_hit_age_is_now_less_date_in_seconds() {
    let cached = Cached::new("{}", &[("date", HOUR_AGO), ("age", "5"), ("cache-control", "max-age=4000")]);
    assert_eq!(age(&cached.send("GET", "/", &[])), Some(5), "a miss is passed on as it came");
    cached.pass(3);
    let hit = cached.send("GET", "/", &[]);
    assert_eq!(age(&hit), Some(3603));
    assert_eq!(hit.headers.get_all("age").count(), 1);
}

#[test]
fn no_store_no_cache_and_private_are_not_stored() {
    for value in [
        "no-store",
        "no-cache",
        "private",
        "max-age=60, PRIVATE",
        "private=\"x-user\"",
        "no-cache=\"set-cookie\", max-age=60",
        "no-store=x",
    ] {
        assert!(!Cached::stores("{}", &[("cache-control", value)]), "{value}");
    }
    assert!(Cached::stores("{}", &[("cache-control", "public, max-age=60, x=\"private, no-store\"")]));
}

#[test]
fn the_statuses_that_are_stored_by_default() {
    let stored: Vec<u16> = (200..=599)
        .filter(|status| {
            let status = *status;
            let cached = Cached::answering("{}", move |_| upstream(status, &[], ""));
            cached.send("GET", "/", &[]);
            cached.send("GET", "/", &[]);
            cached.calls() == 1
        })
        .collect();
    // 206 only where the key depends on the range.
    assert_eq!(stored, [200, 203, 204, 300, 301, 404, 405, 410, 414, 501]);
}

#[test]
fn the_oldest_makes_room_regardless_of_use() {
    let cached = Cached::new("maxCacheEntries: 3", &[]);
    for path in ["/a", "/b", "/c", "/a", "/a", "/d"] {
        cached.get(path, &[]);
    }
    assert_eq!(cached.calls(), 4);
    for (path, body) in [("/b", "2"), ("/c", "3"), ("/d", "4"), ("/a", "5")] {
        assert_eq!(cached.get(path, &[]), body, "{path}");
    }
}

#[test]
fn replacing_a_key_does_not_count_twice() {
    let cached = Cached::new("maxCacheEntries: 2", &[]);
    cached.get("/a", &[]);
    cached.get("/b", &[]);
    cached.get("/a", &[("cache-control", "no-cache")]);
    let memory = &cached.cache.place.memory;
    assert_eq!(memory.len(), 2);
    assert_eq!((cached.get("/b", &[]), cached.get("/a", &[])), ("2".to_owned(), "3".to_owned()));
}

#[test]
fn memory_is_bounded_for_all_caches_of_the_replica_together() {
    let mut services = services();
    services.caching.budget = Arc::new(crate::policy::Budget::new(10_000));
    let clock = Clock::manual();
    let large = |_: &Request| upstream(200, &[], &"x".repeat(3000));
    let (one, other) =
        (Cached::with("{}", &services, &clock, large), Cached::with("{}", &services, &clock, large));
    for (cached, path) in [(&one, "/1"), (&other, "/1"), (&one, "/2"), (&other, "/2")] {
        cached.send("GET", path, &[]);
    }
    assert!(services.caching.budget.bytes() <= 10_000);
    // The first that was stored, of either, is gone.
    one.send("GET", "/1", &[]);
    assert_eq!((one.calls(), other.calls()), (3, 2));
    let huge = Cached::with("{}", &services, &clock, |_| upstream(200, &[], &"x".repeat(10_000)));
    huge.send("GET", "/", &[]);
    huge.send("GET", "/", &[]);
    assert_eq!(huge.calls(), 2);
    drop((one, other, huge));
    assert_eq!(services.caching.budget.bytes(), 0);
}
