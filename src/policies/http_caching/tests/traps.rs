//! Policies reference 3.4, the table of traps.

use super::*;
use crate::policy::{Handling, Next, Rejection};
use std::future::Future as _;

#[test]
fn a_stored_head_never_answers_get_and_a_stored_get_answers_head() {
    let cached = Cached::answering("{}", |request| match request.method.as_str() {
        "HEAD" => Response { declared_length: Some(7), ..upstream(200, &[], "") },
        _ => upstream(200, &[], "1234567"),
    });
    assert_eq!(cached.send("HEAD", "/", &[]).declared_length, Some(7));
    assert_eq!(cached.send("HEAD", "/", &[]).declared_length, Some(7));
    assert_eq!(cached.calls(), 1);
    assert_eq!(cached.get("/", &[]), "1234567");
    assert_eq!(cached.calls(), 2);
    let head = cached.send("HEAD", "/", &[]);
    assert_eq!((head.declared_length, age(&head)), (Some(7), Some(0)));
    assert!(head.body.is_empty());
    assert_eq!(cached.calls(), 2);
}

/// RFC 9110 section 8.6: a length that the origin did not tell is not made up.
#[test]
fn a_stored_head_without_a_length_has_none_when_it_is_served() {
    let cached = Cached::answering("{}", |_| upstream(200, &[], ""));
    for _ in 0..2 {
        assert_eq!(cached.send("HEAD", "/", &[]).declared_length, None);
    }
    assert_eq!(cached.calls(), 1);
}

#[test]
fn with_honor_vary_a_response_that_is_soon_over_hides_no_other() {
    let cached = Cached::answering("honorVary: true", |request| {
        let brief = request.headers.get("accept") == Some(b"brief");
        upstream(
            200,
            &[("vary", "accept"), ("cache-control", if brief { "max-age=1" } else { "max-age=300" })],
            "x",
        )
    });
    cached.get("/", &[("accept", "long")]);
    cached.get("/", &[("accept", "brief")]);
    cached.clock.advance(Duration::from_secs(2));
    cached.get("/", &[("accept", "long")]);
    assert_eq!(cached.calls(), 2);
}

#[test]
fn many_invalidations_of_one_key_leave_the_others_alone() {
    let cached = Cached::new("{invalidationHeader: x-purge}", &[]);
    cached.get("/kept", &[]);
    for _ in 0..5000 {
        cached.get("/other", &[("x-purge", "invalidate")]);
    }
    let calls = cached.calls();
    cached.get("/kept", &[]);
    assert_eq!(cached.calls(), calls);
}

#[test]
fn vary_is_not_honoured_but_an_asterisk_is_not_stored() {
    let cached = Cached::new("{}", &[("vary", "accept")]);
    cached.get("/", &[("accept", "a")]);
    assert_eq!(cached.get("/", &[("accept", "b")]), "1");
    for value in ["*", "accept, *", "* , accept"] {
        assert!(!Cached::stores("{}", &[("vary", value)]), "{value}");
    }
}

#[test]
fn with_honor_vary_responses_are_told_apart_by_what_vary_names() {
    let cached = Cached::new("honorVary: true", &[("vary", "Accept, X-Other")]);
    assert_eq!(cached.get("/", &[("accept", "a")]), "1");
    assert_eq!(cached.get("/", &[("accept", "b")]), "2");
    assert_eq!(cached.get("/", &[("Accept", "a")]), "1");
    assert_eq!(cached.get("/", &[("accept", "b")]), "2");
    assert_eq!(cached.get("/", &[("accept", "a"), ("x-other", "")]), "3", "empty is not missing");
    assert_eq!(cached.get("/", &[("accept", "a"), ("x-unnamed", "1")]), "1");
}

#[test]
fn with_honor_vary_an_invalidation_means_all_of_a_key() {
    let cached = Cached::new("{honorVary: true, invalidationHeader: x-purge}", &[("vary", "accept")]);
    cached.get("/", &[("accept", "a")]);
    cached.get("/", &[("accept", "b")]);
    assert_eq!(cached.get("/", &[("accept", "a"), ("x-purge", "invalidate")]), "3");
    assert_eq!(cached.get("/", &[("accept", "b")]), "4");
}

#[test]
fn requests_with_authorization_are_stored_like_others() {
    let cached = Cached::new("{}", &[]);
    cached.get("/", &[("authorization", "Basic a")]);
    assert_eq!(cached.get("/", &[("authorization", "Basic b")]), "1");
    assert!(cached.cache.has_warned.load(std::sync::atomic::Ordering::Relaxed));
}

#[test]
fn a_key_that_depends_on_the_credentials_is_not_warned_of() {
    let cached = Cached::new("httpCachingKey: \"#[attributes.headers['Authorization'] default '']\"", &[]);
    cached.get("/", &[("authorization", "Basic a")]);
    assert_eq!(cached.get("/", &[("authorization", "Basic b")]), "2");
    assert!(!cached.cache.has_warned.load(std::sync::atomic::Ordering::Relaxed));
}

#[test]
fn a_request_with_range_is_neither_looked_up_nor_stored() {
    let cached = Cached::answering("{}", |request| match request.headers.contains("range") {
        true => upstream(206, &[("content-range", "bytes 0-0/3")], "a"),
        false => upstream(200, &[], "abc"),
    });
    assert_eq!(cached.send("GET", "/", &[("range", "bytes=0-0")]).status, 206);
    assert_eq!(cached.get("/", &[]), "abc");
    assert_eq!(cached.send("GET", "/", &[("range", "bytes=0-0")]).status, 206);
    assert_eq!(cached.calls(), 3);
}

#[test]
fn a_key_that_reads_range_stores_parts() {
    let config = "httpCachingKey: \"#[attributes.requestPath ++ (attributes.headers.Range default '')]\"";
    let cached = Cached::answering(config, |request| match request.headers.get("range") {
        Some(range) => upstream(206, &[], &String::from_utf8_lossy(range)),
        None => upstream(200, &[], "all"),
    });
    for range in ["bytes=0-0", "bytes=1-1", "bytes=0-0"] {
        let response = cached.send("GET", "/", &[("range", range)]);
        assert_eq!((response.status, body_text(response).as_str()), (206, range));
    }
    assert_eq!((cached.get("/", &[]), cached.calls()), ("all".to_owned(), 3));
}

#[test]
fn set_cookie_is_stored_as_it_is_or_left_out_when_asked() {
    for (config, kept) in [("{}", 2), ("stripSetCookie: true", 0)] {
        let cached = Cached::new(config, &[("set-cookie", "a=1"), ("Set-Cookie", "b=2")]);
        assert_eq!(cached.send("GET", "/", &[]).headers.get_all("set-cookie").count(), 2);
        assert_eq!(cached.send("GET", "/", &[]).headers.get_all("set-cookie").count(), kept, "{config}");
    }
}

#[test]
fn conditional_requests_go_to_the_origin_on_a_miss() {
    let cached = Cached::new("{}", &[("etag", "\"a\"")]);
    cached.send("GET", "/", &[("if-none-match", "\"b\""), ("if-modified-since", START)]);
    assert_eq!(cached.bench.upstream_header("if-none-match").as_deref(), Some("\"b\""));
    assert_eq!(cached.bench.upstream_header("if-modified-since").as_deref(), Some(START));
}

#[test]
fn a_304_of_the_origin_is_passed_on_and_not_stored() {
    for config in ["{}", "responseExpression: ''"] {
        let cached = Cached::answering(config, |_| upstream(304, &[("etag", "\"a\"")], ""));
        assert_eq!(cached.send("GET", "/", &[("if-none-match", "\"a\"")]).status, 304);
        cached.send("GET", "/", &[("if-none-match", "\"a\"")]);
        assert_eq!(cached.calls(), 2);
    }
}

#[test]
fn a_hit_answers_304_when_the_validator_matches() {
    let changed = "Sun, 06 Nov 1994 08:00:00 GMT";
    let headers =
        [("etag", "W/\"a,b\""), ("last-modified", changed), ("content-type", "text/plain"), ("x-a", "1")];
    let cached = Cached::new("{}", &headers);
    cached.get("/", &[]);
    let later = "Sun, 06 Nov 1994 08:30:00 GMT";
    let before = "Sun, 06 Nov 1994 07:30:00 GMT";
    for (asked, status) in [
        (&[("if-none-match", "\"a,b\"")][..], 304),
        (&[("if-none-match", "\"x\", W/\"a,b\"")], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"a\"")], 200),
        (&[("if-modified-since", changed)], 304),
        (&[("if-modified-since", later)], 304),
        (&[("if-modified-since", before)], 200),
        (&[("if-modified-since", "yesterday")], 200),
        // Entity tags outrank dates (RFC 9110 section 13.2.2).
        (&[("if-none-match", "\"x\""), ("if-modified-since", later)], 200),
    ] {
        for method in ["GET", "HEAD"] {
            let response = cached.send(method, "/", asked);
            assert_eq!(response.status, status, "{asked:?}");
            assert_eq!(header(&response, "x-a").as_deref(), Some("1"));
            let described = header(&response, "content-type").is_some();
            assert_eq!(described, status == 200, "a 304 does not describe a body");
            if status == 304 {
                assert!(
                    response.body.is_empty()
                        && header(&response, "etag").is_some()
                        && age(&response).is_some()
                );
            }
        }
    }
    assert_eq!(cached.calls(), 1);
}

#[test]
fn without_last_modified_the_date_decides() {
    let cached = Cached::new("{}", &[("date", START)]);
    cached.get("/", &[]);
    assert_eq!(cached.send("GET", "/", &[("if-modified-since", START)]).status, 304);
    let before = "Sun, 06 Nov 1994 08:49:36 GMT";
    assert_eq!(cached.send("GET", "/", &[("if-modified-since", before)]).status, 200);
}

#[test]
fn only_a_200_is_answered_304() {
    let cached = Cached::answering("{}", |_| upstream(404, &[("etag", "\"a\"")], ""));
    cached.send("GET", "/", &[]);
    assert_eq!(cached.send("GET", "/", &[("if-none-match", "\"a\"")]).status, 404);
    assert_eq!(cached.calls(), 1);
}

#[test]
fn conditions_that_only_the_origin_can_evaluate_go_there() {
    for name in ["if-match", "if-unmodified-since", "if-range"] {
        let cached = Cached::new("{}", &[]);
        cached.get("/", &[]);
        assert_eq!(cached.get("/", &[(name, "\"a\"")]), "2", "{name}");
        assert_eq!(cached.get("/", &[]), "1", "{name}");
    }
}

/// An upstream may make something else of a GET with content, and the key would not tell.
#[test]
fn a_get_with_content_that_the_key_does_not_read_is_neither_looked_up_nor_stored() {
    let get = |cached: &Cached, content: &'static str| {
        let mut request = Request::for_test("GET", "/", &[]);
        request.body = content.into();
        body_text(cached.bench.send(request))
    };
    let cached = Cached::new("{}", &[]);
    assert_eq!(get(&cached, "lang=evil"), "1");
    assert_eq!(get(&cached, ""), "2");
    assert_eq!(get(&cached, "lang=evil"), "3");
    assert_eq!(get(&cached, ""), "2");
    let keyed = Cached::new("httpCachingKey: \"#[payload default '']\"", &[]);
    assert_eq!(get(&keyed, "a"), "1");
    assert_eq!(get(&keyed, "b"), "2");
    assert_eq!(get(&keyed, "a"), "1");
}

#[test]
fn requests_whose_keys_are_no_texts_are_not_cached() {
    let cached =
        Cached::new("httpCachingKey: \"#[attributes.requestPath ++ attributes.queryParams.q]\"", &[]);
    assert_eq!(cached.get("/?q=M%FCller", &[]), "1");
    assert_eq!(cached.get("/?q=M%F6ller", &[]), "2");
    assert_eq!(cached.get("/?q=M%C3%BCller", &[]), "3");
    assert_eq!(cached.get("/?q=M%C3%BCller", &[]), "3");
}

#[test]
fn upgrades_are_not_cached() {
    let cached = Cached::new("{}", &[]);
    cached.get("/", &[]);
    let mut request = Request::for_test("GET", "/", &[]);
    request.upgrade = Some(request.headers.push_text(b"websocket"));
    assert_eq!(body_text(cached.bench.send(request)), "2");
    let cached = Cached::answering("responseExpression: ''", |_| upstream(101, &[], ""));
    cached.send("GET", "/", &[]);
    cached.send("GET", "/", &[]);
    assert_eq!(cached.calls(), 2);
}

#[test]
fn hop_by_hop_fields_and_those_of_proxies_are_removed_before_storing() {
    let cached = Cached::new(
        "{}",
        &[
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x"),
            ("trailer", "x"),
            ("keep-alive", "timeout=5"),
            ("x-kept", "1"),
        ],
    );
    cached.send("GET", "/", &[]);
    let hit = cached.send("GET", "/", &[]);
    let mut names: Vec<_> = hit.headers.iter().map(|(name, _)| name.to_owned()).collect();
    names.retain(|name| !matches!(&**name, "date" | "server"));
    assert_eq!(names, ["x-kept", "age"]);
}

/// Adds a field with the number of the response to it.
struct Numbers(std::sync::atomic::AtomicU64);

impl Policy for Numbers {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        Handling::wait(async move {
            let mut response = next.run(request).await;
            let number = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            response.headers.append("x-number", number.to_string()).expect("valid");
            Ok(response)
        })
    }
}

#[test]
fn headers_of_earlier_policies_are_added_on_every_hit_and_never_stored_those_of_later_ones_are() {
    let number = || -> Arc<dyn Policy> { Arc::new(Numbers(0.into())) };
    let cache: Arc<dyn Policy> = Arc::new(policy("{}", &services(), &Clock::manual()));
    let bench = Bench::chain(vec![number(), cache, number()]).answering(|_| upstream(200, &[], "x"));
    let numbers = || header(&bench.get("/", &[]), "x-number");
    assert_eq!(numbers().as_deref(), Some("0, 0"));
    assert_eq!(numbers().as_deref(), Some("0, 1"));
    assert_eq!(numbers().as_deref(), Some("0, 2"));
}

/// Refuses every second request.
struct Refuses(std::sync::atomic::AtomicBool);

impl Policy for Refuses {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        match self.0.fetch_not(std::sync::atomic::Ordering::Relaxed) {
            true => Handling::refuse(Rejection::json(404, "refused", "not for you")),
            false => next.pass(request),
        }
    }
}

#[test]
fn a_refusal_by_a_later_policy_is_not_stored() {
    let cache: Arc<dyn Policy> = Arc::new(policy("{}", &services(), &Clock::manual()));
    let chain = vec![cache, Arc::new(Refuses(true.into())) as Arc<dyn Policy>];
    let bench = Bench::chain(chain).answering(|_| upstream(200, &[], "x"));
    assert_eq!(
        [bench.get("/", &[]).status, bench.get("/", &[]).status, bench.get("/", &[]).status],
        [404, 200, 200]
    );
    assert_eq!(bench.upstream_calls(), 1);
}

#[test]
fn concurrent_misses_are_independent_in_memory() {
    let gate = Arc::new(Gate::default());
    let cache: Arc<dyn Policy> = Arc::new(policy("{}", &services(), &Clock::manual()));
    let bench = Bench::chain(vec![cache, Arc::clone(&gate) as _]).answering(|_| upstream(200, &[], "x"));
    let send = || Box::pin(bench.send_async(Request::for_test("GET", "/", &[])));
    let (mut first, mut second) = (send(), send());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    assert_eq!(gate.arrived(), 2);
    gate.open();
    assert!(first.as_mut().poll(&mut context).is_ready());
    assert!(second.as_mut().poll(&mut context).is_ready());
    assert_eq!(bench.upstream_calls(), 2);
}
