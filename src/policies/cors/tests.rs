//! Sentences of policies reference 2.12, and its rows in 8.3.

use super::*;
use crate::{
    policies::basic_authentication::BasicAuthentication,
    policy::testkit::{Bench, body_text, build, header, problems, step},
};

const CONSOLE: &str = "
publicResource: false
originGroups:
  - name: console
    origins: ['https://console.acme.test', 'https://beta.acme.test:8443']
    accessControlMaxAge: 600
    allowedMethods:
      - {methodName: GET, isAllowed: true}
      - {methodName: POST, allowed: true}
      - {methodName: DELETE, isAllowed: false}
    headers: [X-Request-Id, authorization]
    exposedHeaders: [x-ratelimit-remaining, x-more]
  - origins: ['*']
    headers: ['*']
";
const CONSOLE_ORIGIN: &str = "https://console.acme.test";
const NAMES: [&str; 6] =
    ["allow-origin", "allow-credentials", "allow-methods", "allow-headers", "max-age", "expose-headers"];

fn bench(config: &str) -> Bench {
    let (built, _) = build::<Cors>(config);
    let Some(Built::Step(policy)) = built else { panic!("built") };
    Bench::new(policy)
}

fn cors(response: &Response, name: &str) -> Option<String> {
    header(response, &format!("access-control-{name}"))
}

fn assert_fields(response: &Response, expected: &[(&str, &str)]) {
    for name in NAMES {
        let wanted = expected.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        assert_eq!(cors(response, name).as_deref(), wanted, "{name}");
    }
}

/// 200, an empty body and no CORS header.
fn assert_violation(bench: &Bench, response: Response) {
    assert_eq!(response.status, 200);
    assert_fields(&response, &[]);
    assert_eq!(header(&response, "vary").as_deref(), Some("Origin"));
    assert_eq!(body_text(response), "");
    assert_eq!(bench.upstream_calls(), 0);
}

fn preflight(bench: &Bench, origin: &str, method: &str, headers: Option<&str>) -> Response {
    let mut fields = vec![("Origin", origin), ("Access-Control-Request-Method", method)];
    fields.extend(headers.map(|names| ("access-control-request-headers", names)));
    bench.send(Request::for_test("OPTIONS", "/", &fields))
}

fn actual(bench: &Bench, method: &str, origin: &str) -> Response {
    bench.send(Request::for_test(method, "/", &[("origin", origin)]))
}

#[test]
fn without_origin_no_cors_headers_are_added_and_requests_pass_unchanged() {
    let bench = bench(CONSOLE);
    for method in ["GET", "POST", "DELETE"] {
        let response = bench.send(Request::for_test(method, "/", &[]));
        assert_fields(&response, &[]);
        assert_eq!(header(&response, "vary").as_deref(), Some("Origin"), "a cache in front has to know");
    }
    assert_eq!(bench.upstream_calls(), 3);
    let public = self::bench("{}").send(Request::for_test("GET", "/", &[]));
    assert_eq!(header(&public, "vary"), None);
}

#[test]
fn options_never_reaches_the_upstream() {
    for config in ["{}", CONSOLE] {
        let bench = bench(config);
        for fields in [&[("origin", CONSOLE_ORIGIN)], &[("origin", "https://other.test")]] {
            assert_violation(&bench, bench.send(Request::for_test("OPTIONS", "/", fields)));
        }
        for fields in [&[][..], &[("access-control-request-method", "GET")]] {
            let response = bench.send(Request::for_test("OPTIONS", "/", fields));
            assert_eq!(response.status, 200);
            assert_fields(&response, &[]);
            assert_eq!((body_text(response), bench.upstream_calls()), (String::new(), 0));
        }
    }
}

#[test]
fn a_public_resource_is_open_to_every_origin() {
    let bench = bench("{}");
    let response = preflight(&bench, "https://any.test", "PURGE", Some("x-a, Authorization"));
    assert_eq!(response.status, 200);
    assert_fields(
        &response,
        &[
            ("allow-origin", "*"),
            ("allow-methods", "PURGE"),
            ("allow-headers", "x-a, Authorization"),
            ("max-age", "30"),
        ],
    );
    assert_eq!(bench.upstream_calls(), 0);
    let response = actual(&bench, "PURGE", "https://any.test");
    assert_fields(&response, &[("allow-origin", "*")]);
    assert_eq!(header(&response, "vary"), None);
    assert_eq!(bench.upstream_calls(), 1);
}

#[test]
fn with_credentials_the_origin_is_echoed_and_the_answer_varies_by_it() {
    for config in [
        "{supportCredentials: true}",
        "{supportCredentials: true, publicResource: false, originGroups: [{origins: '*'}]}",
    ] {
        let bench = bench(config);
        let response = actual(&bench, "GET", "https://any.test");
        assert_fields(&response, &[("allow-origin", "https://any.test"), ("allow-credentials", "true")]);
        assert_eq!(header(&response, "vary").as_deref(), Some("Origin"));
        let response = preflight(&bench, "https://any.test", "GET", None);
        assert_eq!(cors(&response, "allow-credentials").as_deref(), Some("true"));
        assert_eq!(header(&response, "vary").as_deref(), Some("Origin"));
    }
}

#[test]
fn a_group_of_any_origin_answers_with_a_star() {
    let bench = bench(CONSOLE);
    assert_fields(&actual(&bench, "DELETE", "https://other.test"), &[("allow-origin", "*")]);
}

#[test]
fn the_group_that_lists_the_origin_wins_over_one_with_a_star() {
    let bench = bench(
        "{publicResource: false, originGroups: [{origins: ['*']}, {origins: ['https://a.test'], exposedHeaders: [x-a]}]}",
    );
    let response = actual(&bench, "GET", "https://a.test");
    assert_fields(&response, &[("allow-origin", "https://a.test"), ("expose-headers", "x-a")]);
}

#[test]
fn a_preflight_that_passes_carries_the_headers_of_its_group() {
    let bench = bench(CONSOLE);
    let response = preflight(&bench, CONSOLE_ORIGIN, "POST", Some("x-request-id,AUTHORIZATION"));
    assert_eq!(response.status, 200);
    assert_fields(
        &response,
        &[
            ("allow-origin", CONSOLE_ORIGIN),
            ("allow-methods", "GET, POST"),
            ("allow-headers", "X-Request-Id, authorization"),
            ("max-age", "600"),
        ],
    );
    assert_eq!(header(&response, "vary").as_deref(), Some("Origin"));
    assert_eq!(body_text(response), "");
    assert_eq!(bench.upstream_calls(), 0);
}

#[test]
fn the_method_must_be_present_and_allowed() {
    let bench = bench(CONSOLE);
    for method in ["DELETE", "PUT", "get", "G T"] {
        assert_violation(&bench, preflight(&bench, CONSOLE_ORIGIN, method, None));
    }
    let without = Request::for_test("OPTIONS", "/", &[("origin", CONSOLE_ORIGIN)]);
    assert_violation(&bench, bench.send(without));
}

#[test]
fn every_requested_header_must_be_allowed() {
    let bench = bench(CONSOLE);
    assert_violation(&bench, preflight(&bench, CONSOLE_ORIGIN, "GET", Some("x-request-id, x-other")));
    assert_violation(&bench, preflight(&bench, CONSOLE_ORIGIN, "GET", Some("x-request-id, b@d")));
}

#[test]
fn safelisted_request_headers_count_as_allowed() {
    let bench = bench("{publicResource: false, originGroups: [{origins: ['https://a.test']}]}");
    let response = preflight(
        &bench,
        "https://a.test",
        "GET",
        Some("accept, accept-language, content-language, Content-Type, range"),
    );
    assert_eq!(
        cors(&response, "allow-headers").as_deref(),
        Some("accept, accept-language, content-language, Content-Type, range")
    );
    let response = preflight(&bench, "https://a.test", "GET", None);
    assert_eq!(cors(&response, "allow-headers"), None);
}

#[test]
fn a_star_in_headers_mirrors_the_requested_list() {
    let response = preflight(&bench(CONSOLE), "https://other.test", "GET", Some("x-a, authorization"));
    assert_eq!(cors(&response, "allow-headers").as_deref(), Some("x-a, authorization"));
}

#[test]
fn the_default_methods_are_all_eight_and_head_with_get() {
    let bench = bench(CONSOLE);
    for method in ["DELETE", "GET", "PATCH", "POST", "PUT", "HEAD"] {
        let response = preflight(&bench, "https://other.test", method, None);
        assert_eq!(
            cors(&response, "allow-methods").as_deref(),
            Some("CONNECT, DELETE, GET, OPTIONS, PATCH, POST, PUT, TRACE"),
            "{method}"
        );
    }
    assert_fields(&preflight(&bench, "https://other.test", "PURGE", None), &[]);
}

#[test]
fn an_actual_request_with_an_unknown_origin_or_method_is_answered_locally() {
    let only = bench(
        "{publicResource: false, originGroups: [{origins: ['https://a.test'], allowedMethods: [{methodName: get}]}]}",
    );
    assert_violation(&only, actual(&only, "GET", "https://b.test"));
    assert_violation(&only, actual(&only, "POST", "https://a.test"));
    assert_eq!(actual(&only, "GET", "https://a.test").status, 200);
    assert_eq!(actual(&only, "HEAD", "https://a.test").status, 200);
    assert_eq!(only.upstream_calls(), 2);
}

#[test]
fn two_origins_are_a_violation() {
    for config in ["{}", CONSOLE] {
        let bench = bench(config);
        let fields = [("origin", CONSOLE_ORIGIN), ("origin", "https://other.test")];
        assert_violation(&bench, bench.get("/", &fields));
    }
}

#[test]
fn an_actual_request_that_passes_carries_origin_and_exposed_headers_only() {
    let bench = bench(CONSOLE);
    let response = actual(&bench, "GET", CONSOLE_ORIGIN);
    assert_fields(
        &response,
        &[("allow-origin", CONSOLE_ORIGIN), ("expose-headers", "x-ratelimit-remaining, x-more")],
    );
    assert_eq!(header(&response, "vary").as_deref(), Some("Origin"));
}

#[test]
fn cors_headers_of_the_upstream_are_removed() {
    let bench = bench(CONSOLE).answering(|_| {
        let mut response = Response::empty(200);
        for (name, value) in [
            ("Access-Control-Allow-Origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("Access-Control-Expose-Headers", "x-own"),
            ("vary", "Accept, origin"),
            ("x-other", "kept"),
        ] {
            response.headers.append(name, value).expect("a valid field");
        }
        response
    });
    let response = actual(&bench, "GET", "https://beta.acme.test:8443");
    assert_fields(
        &response,
        &[
            ("allow-origin", "https://beta.acme.test:8443"),
            ("expose-headers", "x-ratelimit-remaining, x-more"),
        ],
    );
    assert_eq!(header(&response, "vary").as_deref(), Some("Accept, origin"));
    assert_eq!(header(&response, "x-other").as_deref(), Some("kept"));
}

#[test]
fn origins_are_compared_without_regard_to_case_and_default_ports() {
    let bench = bench(
        "{publicResource: false, originGroups: [{origins: ['https://A.test:443', 'http://b.test', 'http://c.test:443']}]}",
    );
    for origin in ["https://a.test", "HTTPS://a.TEST:443", "http://b.test:80", "http://c.test:443"] {
        assert_eq!(cors(&actual(&bench, "GET", origin), "allow-origin").as_deref(), Some(origin));
    }
    for origin in ["http://a.test", "https://a.test:80", "http://c.test", "https://a.test.evil.test", ""] {
        assert_eq!(cors(&actual(&bench, "GET", origin), "allow-origin"), None, "{origin}");
    }
}

#[test]
fn null_matches_a_literal_null_or_a_star_only() {
    let listed = |origin: &str| {
        bench(&format!("{{publicResource: false, originGroups: [{{origins: ['{origin}']}}]}}"))
    };
    assert_eq!(cors(&actual(&listed("null"), "GET", "null"), "allow-origin").as_deref(), Some("null"));
    assert_eq!(cors(&actual(&listed("*"), "GET", "null"), "allow-origin").as_deref(), Some("*"));
    assert_eq!(cors(&actual(&listed("https://a.test"), "GET", "null"), "allow-origin"), None);
}

#[test]
fn not_public_without_groups_every_cross_origin_request_is_a_violation() {
    let (built, found) = build::<Cors>("{publicResource: false}");
    assert_eq!(found, ["W config.originGroups: no site is listed: browsers can use the API from none"]);
    let Some(Built::Step(policy)) = built else { panic!("built all the same") };
    let bench = Bench::new(policy);
    assert_violation(&bench, actual(&bench, "GET", "https://a.test"));
    assert_eq!(bench.get("/", &[]).status, 200);
    assert_eq!(bench.upstream_calls(), 1);
}

#[test]
fn what_is_blocked_is_recorded_as_a_violation() {
    let bench = bench("{publicResource: false, originGroups: [{origins: ['https://a.test']}]}");
    bench.get("/", &[]);
    actual(&bench, "GET", "https://a.test");
    preflight(&bench, "https://a.test", "GET", None);
    assert!(bench.exchange.violation().is_none());
    actual(&bench, "GET", "https://b.test");
    assert_eq!(bench.exchange.violation().map(|violation| violation.kind.as_str()), Some("VIOLATION"));
}

#[test]
fn a_private_network_preflight_gets_no_header_for_it() {
    let bench = bench("{}");
    let fields = [
        ("origin", "https://a.test"),
        ("access-control-request-method", "GET"),
        ("access-control-request-private-network", "true"),
    ];
    let response = bench.send(Request::for_test("OPTIONS", "/", &fields));
    assert_eq!(cors(&response, "allow-private-network"), None);
}

#[test]
fn refusals_by_later_policies_carry_cors_headers() {
    let basic = step::<BasicAuthentication>("{username: a, password: b}");
    let bench = Bench::chain(vec![step::<Cors>(CONSOLE), basic]);
    let response = actual(&bench, "GET", CONSOLE_ORIGIN);
    assert_eq!(response.status, 401);
    assert_eq!(cors(&response, "allow-origin").as_deref(), Some(CONSOLE_ORIGIN));
    assert_eq!(preflight(&bench, CONSOLE_ORIGIN, "GET", None).status, 200);
}

#[test]
fn credentials_for_every_site_are_warned_about() {
    let warning = "W config.supportCredentials: every site may act with the credentials of its visitors";
    assert_eq!(problems::<Cors>("{supportCredentials: true}"), [warning]);
    assert_eq!(
        problems::<Cors>(
            "{supportCredentials: 'true', publicResource: false, originGroups: [{origins: ['https://a.test']}]}"
        ),
        [""; 0]
    );
}

#[test]
fn what_cannot_be_written_into_a_head_is_an_error() {
    let config = "{originGroups: [{origins: [''], headers: ['a b'], exposedHeaders: ['c:'], allowedMethods: [{methodName: 'G T'}]}]}";
    assert_eq!(
        problems::<Cors>(config),
        [
            "E config.originGroups[0].origins[0]: is no origin",
            "E config.originGroups[0].headers[0]: `a b` is not the name of a header field",
            "E config.originGroups[0].exposedHeaders[0]: `c:` is not the name of a header field",
            "E config.originGroups[0].allowedMethods[0].methodName: `G T` is no method",
        ]
    );
}

#[test]
fn cors_is_always_first() {
    const { assert!(Cors::ALWAYS_FIRST) }
}
