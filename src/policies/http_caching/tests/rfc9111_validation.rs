//! RFC 9111 section 4.3: validation.

use super::*;

const STRICT: &str = "rfc9111: true";
const CHANGED: &str = "Sun, 06 Nov 1994 07:00:00 GMT";

/// An origin whose response has these validators; asked about, it answers 304 with `fresh`.
fn origin(
    validators: &'static [(&'static str, &'static str)],
    fresh: &'static [(&'static str, &'static str)],
) -> Cached {
    let calls = Cell::new(0);
    Cached::answering(STRICT, move |request| {
        calls.set(calls.get() + 1);
        let conditional =
            ["if-none-match", "if-modified-since"].iter().any(|it| request.headers.contains(it));
        match conditional {
            true => upstream(304, fresh, ""),
            false => {
                let mut headers = validators.to_vec();
                headers.extend([
                    ("cache-control", "max-age=60"),
                    ("content-type", "text/plain"),
                    ("x-a", "old"),
                ]);
                upstream(200, &headers, &calls.get().to_string())
            }
        }
    })
}

#[test]
fn a_stale_response_is_asked_about_with_its_validators_section_4_3_1() {
    let cached = origin(&[("etag", "\"a\""), ("last-modified", CHANGED)], &[("etag", "\"a\"")]);
    cached.get("/", &[]);
    cached.pass(60);
    let response = cached.send("GET", "/", &[]);
    assert_eq!(cached.bench.upstream_header("if-none-match").as_deref(), Some("\"a\""));
    assert_eq!(cached.bench.upstream_header("if-modified-since").as_deref(), Some(CHANGED));
    assert_eq!((response.status, header(&response, "x-a").as_deref()), (200, Some("old")));
    assert_eq!(body_text(response), "1");
}

#[test]
fn a_stored_response_does_not_grow_with_each_304() {
    let fresh = &[("etag", "\"a\""), ("cache-control", "max-age=60"), ("x-a", "new"), ("x-b", "1")];
    let cached = origin(&[("etag", "\"a\"")], fresh);
    let keys = super::super::keys::RequestKeys::of_target("/", &Request::for_test("GET", "/", &[]));
    let sizes: Vec<_> = (0..30)
        .map(|_| {
            cached.get("/", &[("cache-control", "max-age=0")]);
            let kept = cached.cache.place.memory.get(&keys.full, cached.clock.micros()).expect("stored");
            let super::super::entry::Kept::Response(entry) = &*kept else { panic!("it does not vary") };
            entry.headers.capacity()
        })
        .collect();
    assert_eq!(sizes[1], sizes[29], "{sizes:?}");
    assert!(sizes[29] < 1024, "{sizes:?}");
}

#[test]
fn entity_tags_that_are_no_text_are_told_apart_section_4_3_2() {
    let tag = |byte: u8| [b'"', byte, b'"'];
    let cached = Cached::answering(STRICT, move |_| {
        let mut response = upstream(200, &[("cache-control", "max-age=60")], "x");
        response.headers.append("etag", tag(0xe9)).expect("valid");
        response
    });
    cached.get("/", &[]);
    for (byte, status) in [(0xe8, 200), (0xe9, 304)] {
        let mut request = Request::for_test("GET", "/", &[]);
        request.headers.append("if-none-match", tag(byte)).expect("valid");
        assert_eq!(cached.bench.send(request).status, status, "{byte:x}");
    }
    assert_eq!(cached.calls(), 1);
}

#[test]
fn without_validators_the_response_is_fetched_anew_section_4_3_1() {
    let cached = origin(&[], &[]);
    cached.get("/", &[]);
    cached.pass(60);
    assert_eq!(cached.get("/", &[]), "2");
    assert_eq!(cached.bench.upstream_header("if-none-match"), None);
}

#[test]
fn a_304_freshens_the_stored_response_section_4_3_4() {
    let fresh = &[("etag", "\"a\""), ("cache-control", "max-age=100"), ("x-a", "new"), ("x-b", "1")];
    let cached = origin(&[("etag", "\"a\"")], fresh);
    cached.get("/", &[]);
    cached.pass(60);
    cached.get("/", &[]);
    cached.pass(99);
    let response = cached.send("GET", "/", &[]);
    assert_eq!(cached.calls(), 2);
    assert_eq!(age(&response), Some(99), "counted from the validation");
    for (name, value) in [("x-a", "new"), ("x-b", "1"), ("cache-control", "max-age=100")] {
        assert_eq!(header(&response, name).as_deref(), Some(value));
    }
    assert_eq!(header(&response, "content-type").as_deref(), Some("text/plain"));
    assert_eq!(body_text(response), "1");
}

#[test]
fn fields_that_describe_the_stored_body_are_not_updated_section_3_2() {
    let fresh =
        &[("etag", "\"a\""), ("content-type", "x/y"), ("content-encoding", "gzip"), ("content-range", "x")];
    let cached = origin(&[("etag", "\"a\"")], fresh);
    cached.get("/", &[]);
    cached.pass(60);
    let response = cached.send("GET", "/", &[]);
    assert_eq!(header(&response, "content-type").as_deref(), Some("text/plain"));
    assert!(header(&response, "content-encoding").is_none() && header(&response, "content-range").is_none());
}

#[test]
fn a_304_without_validators_speaks_of_the_one_that_was_asked_about_section_4_3_4() {
    let cached = origin(&[("last-modified", CHANGED)], &[("cache-control", "max-age=60")]);
    cached.get("/", &[]);
    cached.pass(60);
    assert_eq!(cached.get("/", &[]), "1");
    assert_eq!(cached.get("/", &[]), "1");
    assert_eq!(cached.calls(), 2);
}

#[test]
fn a_304_about_another_response_updates_nothing_and_the_response_is_fetched_section_4_3_4() {
    for fresh in [&[("etag", "\"b\"")][..], &[("last-modified", START)]] {
        let cached = origin(&[("etag", "\"a\""), ("last-modified", CHANGED)], Box::leak(Box::from(fresh)));
        cached.get("/", &[]);
        cached.pass(60);
        assert_eq!(cached.get("/", &[]), "3", "{fresh:?}");
        assert_eq!(cached.bench.upstream_header("if-none-match"), None);
    }
}

#[test]
fn a_full_response_replaces_the_stored_one_section_4_3_3() {
    let calls = Cell::new(0);
    let cached = Cached::answering(STRICT, move |_| {
        calls.set(calls.get() + 1);
        upstream(200, &[("etag", "\"a\""), ("cache-control", "max-age=60")], &calls.get().to_string())
    });
    cached.get("/", &[]);
    cached.pass(60);
    assert_eq!(cached.get("/", &[]), "2");
    assert_eq!(cached.get("/", &[]), "2");
}

#[test]
fn a_server_error_is_forwarded_section_4_3_3() {
    let calls = Cell::new(0);
    let cached = Cached::answering(STRICT, move |_| {
        calls.set(calls.get() + 1);
        match calls.get() {
            2 => upstream(500, &[], "broken"),
            _ => upstream(200, &[("etag", "\"a\""), ("cache-control", "max-age=60")], "good"),
        }
    });
    cached.get("/", &[]);
    cached.pass(60);
    assert_eq!(cached.send("GET", "/", &[]).status, 500);
    assert_eq!(cached.send("GET", "/", &[]).status, 200);
    assert_eq!(cached.calls(), 3);
}

#[test]
fn a_client_that_asks_conditionally_asks_for_its_own_response_section_4_3_2() {
    let cached = origin(&[("etag", "\"a\"")], &[("etag", "\"b\"")]);
    cached.get("/", &[]);
    cached.pass(60);
    let response = cached.send("GET", "/", &[("if-none-match", "\"b\"")]);
    assert_eq!(response.status, 304);
    assert_eq!(cached.bench.upstream_header("if-none-match").as_deref(), Some("\"b\""));
    assert_eq!(cached.calls(), 2);
}

#[test]
fn a_304_for_a_client_freshens_the_stored_response_that_it_speaks_of_section_4_3_4() {
    let cached = origin(&[("etag", "\"a\"")], &[("etag", "\"a\""), ("cache-control", "max-age=60")]);
    cached.get("/", &[]);
    cached.pass(60);
    assert_eq!(cached.send("GET", "/", &[("if-none-match", "\"a\"")]).status, 304);
    assert_eq!(cached.get("/", &[]), "1");
    assert_eq!(cached.calls(), 2);
}

#[test]
fn conditions_on_a_fresh_response_are_evaluated_by_the_cache_section_4_3_2() {
    let cached = origin(&[("etag", "\"a\""), ("last-modified", CHANGED)], &[]);
    cached.get("/", &[]);
    assert_eq!(cached.send("GET", "/", &[("if-none-match", "\"a\"")]).status, 304);
    assert_eq!(cached.send("GET", "/", &[("if-none-match", "\"b\"")]).status, 200);
    assert_eq!(cached.send("GET", "/", &[("if-modified-since", CHANGED)]).status, 304);
    assert_eq!(cached.calls(), 1);
}

#[test]
fn a_response_that_says_no_cache_is_validated_each_time_section_5_2_2_4() {
    let cached = Cached::answering(STRICT, |request| match request.headers.contains("if-none-match") {
        true => upstream(304, &[("etag", "\"a\"")], ""),
        false => upstream(200, &[("etag", "\"a\""), ("cache-control", "no-cache")], "x"),
    });
    for _ in 0..3 {
        assert_eq!(cached.get("/", &[]), "x");
    }
    assert_eq!(cached.calls(), 3);
    assert!(cached.bench.upstream_header("if-none-match").is_some());
}

#[test]
fn a_304_that_forbids_storing_is_used_once() {
    let cached = origin(&[("etag", "\"a\"")], &[("etag", "\"a\""), ("cache-control", "no-store")]);
    cached.get("/", &[]);
    cached.pass(60);
    assert_eq!(cached.get("/", &[]), "1");
    assert_eq!(cached.get("/", &[]), "1");
    assert_eq!(cached.calls(), 3);
}
