//! Policies reference 3.4, the request path.

use super::*;

const PURGE: &str = "invalidationHeader: x-purge";

#[test]
fn a_fresh_entry_answers_and_neither_later_policies_nor_the_origin_see_the_request() {
    let cached = Cached::new("{}", &[("x-a", "1")]);
    let first = cached.send("GET", "/a", &[]);
    assert_eq!((first.status, header(&first, "x-a").as_deref()), (200, Some("1")));
    assert_eq!(age(&first), None);
    let second = cached.send("GET", "/a", &[]);
    assert_eq!((second.status, header(&second, "x-a").as_deref()), (200, Some("1")));
    assert_eq!((age(&second), body_text(second)), (Some(0), "1".to_owned()));
    assert_eq!(cached.calls(), 1);
}

#[test]
fn the_default_key_has_neither_the_query_nor_the_method() {
    let cached = Cached::new("{}", &[]);
    assert_eq!(cached.get("/a?x=1", &[]), "1");
    assert_eq!(cached.get("/a?x=2", &[]), "1");
    assert_eq!(cached.get("/b", &[]), "2");
    assert_eq!(cached.send("HEAD", "/a", &[]).declared_length, Some(1));
    assert_eq!(cached.calls(), 2);
}

#[test]
fn invalidate_removes_the_entry_of_the_current_key_and_the_request_fills_it_again() {
    let cached = Cached::new(PURGE, &[]);
    cached.get("/a", &[]);
    cached.get("/b", &[]);
    assert_eq!(cached.get("/a", &[("x-purge", "invalidate")]), "3");
    assert_eq!(cached.get("/a", &[]), "3");
    assert_eq!(cached.get("/b", &[]), "2");
}

#[test]
fn invalidate_removes_what_was_stored_of_head_too() {
    let cached = Cached::new(PURGE, &[]);
    cached.send("HEAD", "/a", &[]);
    cached.send("POST", "/a", &[("x-purge", "invalidate")]);
    cached.send("HEAD", "/a", &[]);
    assert_eq!(cached.calls(), 3);
}

#[test]
fn invalidate_all_removes_every_entry_of_this_binding() {
    let cached = Cached::new(PURGE, &[]);
    cached.get("/a", &[]);
    cached.get("/b", &[]);
    assert_eq!(cached.get("/a", &[("x-purge", "invalidate-all")]), "3");
    assert_eq!(cached.get("/b", &[]), "4");
    assert_eq!(cached.get("/a", &[]), "3");
}

#[test]
fn other_values_and_names_invalidate_nothing() {
    let cached = Cached::new(PURGE, &[]);
    cached.get("/a", &[]);
    for (name, value) in
        [("x-purge", "INVALIDATE"), ("x-purge", "all"), ("x-purge", ""), ("x-other", "invalidate")]
    {
        assert_eq!(cached.get("/a", &[(name, value)]), "1", "{name}: {value}");
    }
    let without = Cached::new("{}", &[]);
    without.get("/a", &[]);
    assert_eq!(without.get("/a", &[("x-purge", "invalidate-all")]), "1");
}

#[test]
fn invalidation_works_for_requests_that_are_not_looked_up() {
    let cached = Cached::new(PURGE, &[]);
    cached.get("/a", &[]);
    cached.send("POST", "/a", &[("x-purge", "invalidate")]);
    assert_eq!(cached.get("/a", &[]), "3");
    cached.send("POST", "/z", &[("x-purge", "invalidate-all")]);
    assert_eq!(cached.get("/a", &[]), "5");
}

#[test]
fn a_request_expression_that_is_false_means_no_lookup_and_no_store() {
    let cached = Cached::new("requestExpression: \"#[attributes.headers['x-no'] == null]\"", &[]);
    assert_eq!(cached.get("/a", &[("x-no", "1")]), "1");
    assert_eq!(cached.get("/a", &[]), "2");
    assert_eq!(cached.get("/a", &[]), "2");
    assert_eq!(cached.get("/a", &[("x-no", "1")]), "3");
}

#[test]
fn null_and_errors_of_conditions_are_false() {
    for condition in ["#[null]", "#[attributes.method as Number]", "#['yes']"] {
        let cached = Cached::new(&format!("requestExpression: \"{condition}\""), &[]);
        cached.get("/", &[]);
        assert_eq!(cached.get("/", &[]), "2", "{condition}");
        let cached = Cached::new(&format!("responseExpression: \"{condition}\""), &[]);
        cached.get("/", &[]);
        assert_eq!(cached.get("/", &[]), "2", "{condition}");
    }
}

#[test]
fn by_default_get_and_head_are_looked_up_and_nothing_else() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
        let cached = Cached::new("{}", &[]);
        cached.send(method, "/", &[]);
        cached.send(method, "/", &[]);
        assert_eq!(cached.calls(), 2, "{method}");
    }
}

#[test]
fn a_key_that_is_null_or_an_error_means_that_the_policy_does_nothing() {
    for key in ["#[attributes.headers['x-none']]", "#[attributes.method as Number]", "#[[1, 2]]"] {
        let cached = Cached::new(&format!("httpCachingKey: \"{key}\""), &[]);
        assert_eq!(cached.get("/", &[]), "1", "{key}");
        assert_eq!(cached.get("/", &[]), "2", "{key}");
    }
}

#[test]
fn a_key_may_read_the_payload_and_one_over_the_limit_is_passed_on_without_the_cache() {
    let config = "{httpCachingKey: '#[payload.q]', requestExpression: '', invalidationHeader: x-purge}";
    let (calls, clock) = (Cell::new(0), Clock::manual());
    let cached = Cached::holding(8, policy(config, &services(), &clock), &clock, move |_| {
        calls.set(calls.get() + 1);
        upstream(200, &[], &calls.get().to_string())
    });
    let post = |body: &str| {
        let mut request = Request::for_test("POST", "/", &[("content-type", "application/json")]);
        request.body = body.to_owned().into();
        body_text(cached.bench.send(request))
    };
    assert_eq!([post(r#"{"q":1}"#), post(r#"{"q":1}"#), post(r#"{"q":2}"#)], ["1", "1", "2"]);
    assert_eq!([post(r#"{"q":12345}"#), post(r#"{"q":12345}"#)], ["3", "4"]);
    // What needs no key is done all the same.
    let mut request = Request::for_test("POST", "/", &[("x-purge", "invalidate-all")]);
    request.body = "x".repeat(9).into();
    assert_eq!(body_text(cached.bench.send(request)), "5");
    assert_eq!(post(r#"{"q":1}"#), "6");
}

#[test]
fn request_no_cache_skips_the_lookup_but_stores_the_new_response() {
    let cached = Cached::new("{}", &[]);
    cached.get("/", &[]);
    assert_eq!(cached.get("/", &[("cache-control", "no-cache")]), "2");
    assert_eq!(cached.get("/", &[]), "2");
}

#[test]
fn request_no_store_is_answered_from_the_cache_and_its_own_response_is_not_stored() {
    let cached = Cached::new("{}", &[]);
    assert_eq!(cached.get("/", &[("cache-control", "no-store")]), "1");
    assert_eq!(cached.get("/", &[]), "2");
    assert_eq!(cached.get("/", &[("cache-control", "no-store")]), "2");
}

#[test]
fn with_directives_off_a_clients_directives_mean_nothing() {
    let cached = Cached::new("useHttpCacheHeaders: false", &[]);
    cached.get("/", &[("cache-control", "no-store")]);
    assert_eq!(cached.get("/", &[("cache-control", "no-cache")]), "1");
}

#[test]
fn what_an_invalidation_meant_is_not_stored_by_a_request_that_began_before() {
    let cached = Cached::new("{}", &[("vary", "*")]);
    let memory = &cached.cache.place.memory;
    let (key, subject) = (crate::base::Digest::of("key"), crate::base::Digest::of("subject"));
    let kept = || Arc::new(super::entry::response("x"));
    let before = memory.begin();
    memory.invalidate(subject, &[]);
    memory.put(key, subject, before, kept(), 0);
    assert!(memory.get(&key, 0).is_none());
    let before = memory.begin();
    memory.invalidate_all();
    memory.put(key, subject, before, kept(), 0);
    assert!(memory.get(&key, 0).is_none());
    memory.put(key, subject, memory.begin(), kept(), 0);
    assert!(memory.get(&key, 0).is_some());
    // More than are remembered one by one: the oldest counts for all.
    let before = memory.begin();
    for number in 0..5000_u64 {
        memory.invalidate(crate::base::Digest::of(number.to_be_bytes()), &[]);
    }
    memory.put(key, subject, before, kept(), 0);
    assert!(memory.get(&key, 0).is_none());
}
