//! RFC 9111 section 3: what may be stored, sentence by sentence.

use super::*;
use crate::policy::{Exchange, Handling, Next};

const STRICT: &str = "{rfc9111: true, responseExpression: ''}";
const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn stores(headers: &[(&'static str, &'static str)]) -> bool {
    Cached::stores(STRICT, headers)
}

/// Whether a second GET is answered from what the first request, with these fields, had stored.
fn stores_for(request: &[(&str, &str)], headers: &[(&'static str, &'static str)]) -> bool {
    let cached = Cached::new(STRICT, headers);
    cached.get("/", request);
    cached.get("/", &[]) == "1"
}

#[test]
fn a_response_with_an_explicit_lifetime_is_stored_section_3() {
    for value in ["max-age=60", "s-maxage=60", "public, max-age=60"] {
        assert!(stores(&[("cache-control", value)]), "{value}");
    }
    assert!(stores(&[("date", START), ("expires", "Sun, 06 Nov 1994 08:50:37 GMT")]));
}

#[test]
fn the_request_method_must_be_understood_section_3() {
    for method in ["POST", "OPTIONS", "PUT", "BREW"] {
        let cached = Cached::new("{rfc9111: true, requestExpression: '', responseExpression: ''}", &[FRESH]);
        cached.send(method, "/", &[]);
        cached.send(method, "/", &[]);
        assert_eq!(cached.calls(), 2, "{method}");
        assert_eq!(cached.get("/", &[]), "3", "{method} does not answer GET");
    }
}

#[test]
fn the_response_status_code_must_be_final_section_3() {
    let cached = Cached::answering(STRICT, |_| upstream(101, &[FRESH], ""));
    cached.send("GET", "/", &[]);
    cached.send("GET", "/", &[]);
    assert_eq!(cached.calls(), 2);
}

#[test]
fn a_status_of_206_or_304_is_not_understood_and_not_stored_section_3() {
    for status in [206, 304] {
        let config = "{rfc9111: true, responseExpression: '', \
                      httpCachingKey: \"#[attributes.headers['range'] default '']\"}";
        let cached = Cached::answering(config, move |_| upstream(status, &[FRESH], ""));
        for range in [&[][..], &[("range", "bytes=0-0")]] {
            cached.send("GET", "/", range);
            cached.send("GET", "/", range);
        }
        assert_eq!(cached.calls(), 4, "{status}");
    }
}

#[test]
fn must_understand_allows_only_status_codes_that_are_understood_section_5_2_2_3() {
    for (status, stored) in [(200, true), (404, true), (299, false), (500, false)] {
        let cached = Cached::answering(STRICT, move |_| {
            upstream(status, &[("cache-control", "max-age=60, must-understand")], "")
        });
        cached.send("GET", "/", &[]);
        cached.send("GET", "/", &[]);
        assert_eq!(cached.calls() == 1, stored, "{status}");
    }
}

#[test]
fn no_store_in_the_response_means_not_stored_section_5_2_2_5() {
    assert!(!stores(&[("cache-control", "no-store, max-age=60")]));
    assert!(!stores(&[FRESH, ("cache-control", "no-store")]));
    assert!(!stores(&[("cache-control", "must-understand, no-store, max-age=60")]));
}

#[test]
fn no_store_in_the_request_means_that_no_part_of_its_response_is_stored_section_5_2_1_5() {
    assert!(!stores_for(&[("cache-control", "no-store")], &[FRESH]));
}

#[test]
fn private_means_not_stored_by_a_shared_cache_section_5_2_2_7() {
    assert!(!stores(&[("cache-control", "private, max-age=60")]));
    assert!(!stores(&[("cache-control", "private, s-maxage=60")]));
    assert!(!stores(&[("cache-control", "private=\"x-user\", max-age=60")]));
}

#[test]
fn without_a_lifetime_and_without_a_validator_nothing_is_stored_section_4_2_2() {
    assert!(!stores(&[]));
    assert!(!stores(&[("cache-control", "public")]), "no heuristic");
    // One with a validator is stored, and asked for each time.
    assert!(!stores(&[("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT")]));
}

#[test]
fn a_status_that_is_not_heuristically_cacheable_needs_explicit_words_section_3() {
    for (status, headers, stored) in [
        (299, &[("etag", "\"a\"")][..], false),
        (299, &[FRESH], true),
        (302, &[FRESH], true),
        (500, &[("etag", "\"a\"")], false),
    ] {
        let cached = Cached::answering(STRICT, move |_| upstream(status, headers, ""));
        cached.send("GET", "/", &[]);
        cached.send("GET", "/", &[]);
        assert_eq!(cached.calls() == 1, stored, "{status} {headers:?}");
        assert!(stored || cached.bench.upstream_header("if-none-match").is_none());
    }
}

#[test]
fn a_response_to_a_request_with_authorization_needs_leave_section_3_5() {
    let authorized = [("authorization", "Bearer a")];
    assert!(!stores_for(&authorized, &[FRESH]));
    assert!(!stores_for(&authorized, &[("expires", "Sun, 06 Nov 1994 09:50:37 GMT")]));
    for value in ["max-age=60, must-revalidate", "max-age=60, public", "s-maxage=60"] {
        assert!(stores_for(&authorized, &[("cache-control", value)]), "{value}");
    }
    assert!(!stores_for(&authorized, &[("cache-control", "max-age=60, proxy-revalidate")]));
}

/// As a policy that has established who the client is, and taken the credentials off.
struct Authenticates;

impl crate::policy::Policy for Authenticates {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        let exchange: &Exchange = next.exchange();
        exchange.authentication_mut().principal = Some("max".to_owned());
        next.pass(request)
    }
}

#[test]
fn who_was_authenticated_by_an_earlier_policy_counts_as_authorized() {
    let cache: Arc<dyn Policy> = Arc::new(policy(STRICT, &services(), &Clock::manual()));
    let bench =
        Bench::chain(vec![Arc::new(Authenticates), cache]).answering(|_| upstream(200, &[FRESH], "x"));
    bench.get("/", &[]);
    bench.get("/", &[]);
    assert_eq!(bench.upstream_calls(), 2);
}

#[test]
fn the_response_condition_only_restricts_further() {
    let cached = Cached::answering("{rfc9111: true}", |_| upstream(302, &[FRESH], ""));
    cached.send("GET", "/", &[]);
    cached.send("GET", "/", &[]);
    assert_eq!(cached.calls(), 2);
    assert!(!Cached::stores("{rfc9111: true, responseExpression: ''}", &[]));
}

#[test]
fn fields_of_the_connection_and_of_proxies_are_not_stored_section_3_1() {
    let cached =
        Cached::new(STRICT, &[FRESH, ("proxy-authenticate", "x"), ("keep-alive", "x"), ("x-kept", "1")]);
    cached.get("/", &[]);
    let hit = cached.send("GET", "/", &[]);
    assert_eq!(header(&hit, "x-kept").as_deref(), Some("1"));
    assert!(header(&hit, "proxy-authenticate").is_none() && header(&hit, "keep-alive").is_none());
}

#[test]
fn a_response_without_date_gets_one_from_the_recipient_rfc_9110_section_6_6_1() {
    let cached = Cached::new(STRICT, &[FRESH]);
    assert_eq!(header(&cached.send("GET", "/", &[]), "date").as_deref(), Some(START));
}
