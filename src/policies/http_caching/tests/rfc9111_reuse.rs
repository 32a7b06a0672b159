//! RFC 9111 section 4: which stored response answers a request, and section 4.4: what makes it unusable.

use super::*;

const STRICT: &str = "rfc9111: true";
const FRESH: (&str, &str) = ("cache-control", "max-age=60");

#[test]
fn the_presented_target_uri_and_that_of_the_stored_response_match_section_4() {
    let cached = Cached::new(STRICT, &[FRESH]);
    assert_eq!(cached.get("/a?x=1", &[]), "1");
    // The default key has no query; the URI has.
    assert_eq!(cached.get("/a?x=2", &[]), "2");
    assert_eq!(cached.get("/a", &[]), "3");
    assert_eq!(cached.get("/a?", &[]), "4");
    assert_eq!(cached.get("/a?x=1", &[("host", "other.test")]), "5");
    assert_eq!(cached.get("/a?x=1", &[("host", "API.test")]), "1");
    let cached = Cached::new("{rfc9111: true, httpCachingKey: \"#['same']\"}", &[FRESH]);
    assert_eq!((cached.get("/a", &[]), cached.get("/b", &[])), ("1".to_owned(), "2".to_owned()));
}

#[test]
fn the_request_method_of_the_stored_response_allows_it_section_4() {
    let cached = Cached::new(STRICT, &[FRESH]);
    cached.send("HEAD", "/", &[]);
    cached.send("HEAD", "/", &[]);
    assert_eq!(cached.calls(), 1);
    assert_eq!(cached.get("/", &[]), "2");
    cached.send("HEAD", "/", &[]);
    assert_eq!(cached.calls(), 2);
}

#[test]
fn fields_that_vary_nominates_match_those_of_the_request_section_4_1() {
    let cached = Cached::new(STRICT, &[FRESH, ("vary", "Accept-Language"), ("vary", "X-Other")]);
    assert_eq!(cached.get("/", &[("accept-language", "de")]), "1");
    assert_eq!(cached.get("/", &[("accept-language", "en")]), "2");
    assert_eq!(cached.get("/", &[]), "3");
    assert_eq!(cached.get("/", &[("accept-language", "de"), ("x-other", "1")]), "4");
    assert_eq!(cached.get("/", &[("Accept-Language", "de")]), "1");
    assert_eq!(cached.get("/", &[("accept-language", "en"), ("x-else", "1")]), "2");
    assert_eq!(cached.get("/", &[]), "3");
}

#[test]
fn lines_of_a_nominated_field_are_combined_before_they_are_compared_section_4_1() {
    let cached = Cached::new(STRICT, &[FRESH, ("vary", "accept")]);
    assert_eq!(cached.get("/", &[("accept", "a"), ("accept", "b")]), "1");
    assert_eq!(cached.get("/", &[("accept", "a, b")]), "1");
    assert_eq!(cached.get("/", &[("accept", "b, a")]), "2");
}

#[test]
fn values_that_are_no_text_do_not_match_each_other_section_4_1() {
    for config in [STRICT, "honorVary: true"] {
        let cached = Cached::new(config, &[FRESH, ("vary", "x-user")]);
        let get = |name: &[u8]| {
            let mut request = Request::for_test("GET", "/", &[]);
            request.headers.append("x-user", name).expect("valid");
            body_text(cached.bench.send(request))
        };
        assert_eq!([get(b"M\xfcller"), get(b"M\xf6ller"), get(b"M\xfcller")], ["1", "2", "1"]);
    }
}

#[test]
fn a_stored_response_with_vary_asterisk_always_fails_to_match_section_4_1() {
    assert!(!Cached::stores(STRICT, &[FRESH, ("vary", "*")]));
    assert!(!Cached::stores(STRICT, &[FRESH, ("vary", "accept"), ("vary", "*")]));
}

#[test]
fn vary_on_host_and_on_the_length_of_the_body_reads_what_the_client_sent() {
    let cached = Cached::new(STRICT, &[FRESH, ("vary", "host, content-length")]);
    assert_eq!(cached.get("/", &[]), "1");
    assert_eq!(cached.get("/", &[]), "1");
    assert_eq!(cached.get("/", &[("host", "API.test")]), "2");
}

#[test]
fn when_responses_vary_by_other_fields_than_before_the_old_ones_are_not_found() {
    let calls = Cell::new(0);
    let cached = Cached::answering(STRICT, move |_| {
        calls.set(calls.get() + 1);
        let vary = if calls.get() == 1 { "accept" } else { "accept, x-user" };
        upstream(200, &[FRESH, ("vary", vary)], &calls.get().to_string())
    });
    assert_eq!(cached.get("/", &[("accept", "a")]), "1");
    assert_eq!(cached.get("/", &[("accept", "b")]), "2");
    assert_eq!(cached.get("/", &[("accept", "a"), ("x-user", "max")]), "3");
    assert_eq!(cached.get("/", &[("accept", "a")]), "4");
}

#[test]
fn no_cache_in_the_response_means_no_use_without_validation_section_5_2_2_4() {
    let cached = Cached::new(STRICT, &[("cache-control", "no-cache, max-age=60"), ("etag", "\"a\"")]);
    assert_eq!(cached.get("/", &[]), "1");
    assert_eq!(cached.get("/", &[("cache-control", "max-stale")]), "2");
    assert_eq!(cached.bench.upstream_header("if-none-match").as_deref(), Some("\"a\""));
}

#[test]
fn age_is_sent_with_what_is_not_validated_section_5_1() {
    let cached = Cached::new(STRICT, &[FRESH]);
    assert_eq!(age(&cached.send("GET", "/", &[])), None);
    cached.pass(3);
    assert_eq!(age(&cached.send("GET", "/", &[])), Some(3));
}

#[test]
fn an_unsafe_request_that_is_not_refused_invalidates_the_target_uri_section_4_4() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "UNKNOWN"] {
        let cached = Cached::new(
            "{rfc9111: true, httpCachingKey: \"#[attributes.method]\"}",
            &[FRESH, ("vary", "accept")],
        );
        cached.get("/a", &[("accept", "a")]);
        cached.get("/a", &[("accept", "b")]);
        cached.get("/b", &[]);
        cached.send(method, "/a", &[]);
        assert_eq!(cached.get("/a", &[("accept", "a")]), "5", "{method}");
        assert_eq!(cached.get("/a", &[("accept", "b")]), "6", "{method}");
        assert_eq!(cached.get("/b", &[]), "3", "{method}");
    }
}

#[test]
fn safe_methods_and_refused_requests_invalidate_nothing_section_4_4() {
    let cached = Cached::answering(STRICT, |request| match request.method.as_str() {
        "POST" => upstream(400, &[], ""),
        "PUT" => upstream(503, &[], ""),
        _ => upstream(200, &[FRESH], "x"),
    });
    cached.get("/", &[]);
    for method in ["OPTIONS", "TRACE", "POST", "PUT"] {
        cached.send(method, "/", &[]);
    }
    cached.get("/", &[]);
    assert_eq!(cached.calls(), 5);
    // A redirection is no error.
    let cached = Cached::answering(STRICT, |request| match request.method.as_str() {
        "POST" => upstream(303, &[], ""),
        _ => upstream(200, &[FRESH], "x"),
    });
    cached.get("/", &[]);
    cached.send("POST", "/", &[]);
    cached.get("/", &[]);
    assert_eq!(cached.calls(), 3);
}

#[test]
fn a_get_with_content_is_not_looked_up() {
    let cached = Cached::new(STRICT, &[FRESH]);
    cached.get("/", &[]);
    let mut request = Request::for_test("GET", "/", &[]);
    request.body = "query".into();
    assert_eq!(body_text(cached.bench.send(request)), "2");
}

#[test]
fn a_request_for_a_range_goes_to_the_origin_section_3_3() {
    let cached = Cached::new(STRICT, &[FRESH]);
    cached.get("/", &[]);
    assert_eq!(cached.get("/", &[("range", "bytes=0-0")]), "2");
}

#[test]
fn the_default_port_is_no_other_target_section_4_4() {
    let cached = Cached::new(STRICT, &[FRESH]);
    cached.get("/", &[("host", "api.test")]);
    assert_eq!(cached.get("/", &[("host", "API.test:80")]), "1");
    cached.send("PUT", "/", &[("host", "api.test:80")]);
    assert_eq!(cached.get("/", &[("host", "api.test")]), "3");
    assert_eq!(cached.get("/", &[("host", "api.test:443")]), "4", "another one of http");
}

#[test]
fn of_two_that_answer_head_the_younger_does_section_4() {
    let etag = Cell::new("\"a\"");
    let cached = Cached::answering(STRICT, move |request| {
        let now = etag.replace("\"b\"");
        upstream(200, &[FRESH, ("etag", now)], if request.method.as_str() == "GET" { "x" } else { "" })
    });
    cached.get("/", &[]);
    cached.pass(1);
    cached.send("HEAD", "/", &[("cache-control", "no-cache")]);
    let head = cached.send("HEAD", "/", &[]);
    assert_eq!((header(&head, "etag").as_deref(), cached.calls()), (Some("\"b\""), 2));
}
