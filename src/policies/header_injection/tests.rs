//! Sentences of policies reference 4.1, and its row in 7.4.

use super::*;
use crate::{
    http::{Body, Response},
    policy::testkit::{Bench, block_on_ready, body_text, build, header, problems, step},
};

fn bench(config: &str) -> Bench {
    Bench::new(step::<HeaderInjection>(config))
}

fn assert_failure(response: Response) {
    assert_eq!(response.status, 500);
    assert_eq!(body_text(response), r#"{"error":"Internal Server Error"}"#);
}

fn respond(fields: &'static [(&'static str, &'static str)]) -> impl Fn(&Request) -> Response {
    move |_| {
        let mut response = Response::empty(200);
        for (name, value) in fields {
            response.headers.append(name, value).expect("a valid field");
        }
        response
    }
}

#[test]
fn inbound_headers_are_added_to_the_request_and_outbound_headers_to_the_response() {
    let bench = bench(
        "{inboundHeaders: [{key: x-edge, value: eu-1}], outboundHeaders: [{key: X-Out, value: '#[attributes.statusCode]'}]}",
    );
    let response = bench.get("/", &[]);
    assert_eq!(bench.upstream_header("x-edge").as_deref(), Some("eu-1"));
    assert_eq!(bench.upstream_header("x-out"), None);
    assert_eq!(header(&response, "x-out").as_deref(), Some("200"));
    assert_eq!(header(&response, "x-edge"), None);
}

#[test]
fn both_lists_empty_is_invalid() {
    for config in ["{}", "{inboundHeaders: [], outboundHeaders: []}"] {
        assert_eq!(problems::<HeaderInjection>(config), ["E config: both lists are empty"]);
    }
}

#[test]
fn an_existing_header_is_kept_and_another_value_is_appended() {
    let bench = bench("{inboundHeaders: [{key: X-Tag, value: b}], outboundHeaders: [{key: vary, value: y}]}")
        .answering(respond(&[("Vary", "x")]));
    let response = bench.get("/", &[("x-tag", "a")]);
    assert_eq!(bench.upstream_header("x-tag").as_deref(), Some("a, b"));
    assert_eq!(header(&response, "vary").as_deref(), Some("x, y"));
}

#[test]
fn access_control_allow_origin_and_content_type_are_replaced() {
    let bench = bench(
        "{inboundHeaders: [{key: content-type, value: text/plain}],
          outboundHeaders: [{key: Access-Control-Allow-Origin, value: 'https://a.test'}, {key: content-type, value: text/xml}]}",
    )
    .answering(respond(&[("content-type", "text/html"), ("access-control-allow-origin", "*")]));
    let response = bench.get("/", &[("Content-Type", "application/json")]);
    assert_eq!(bench.upstream_header("content-type").as_deref(), Some("text/plain"));
    assert_eq!(header(&response, "content-type").as_deref(), Some("text/xml"));
    assert_eq!(header(&response, "access-control-allow-origin").as_deref(), Some("https://a.test"));
}

#[test]
fn an_expression_that_cannot_be_evaluated_is_a_500() {
    for expression in [
        "'a' ++ attributes.headers['x-none']",
        "attributes.headers['x-none']",
        "['a']",
        "attributes.headers",
        "1 < 'a'",
    ] {
        let config = |list: &str| format!("{{{list}: [{{key: x-a, value: \"#[{expression}]\"}}]}}");
        let request = bench(&config("inboundHeaders"));
        assert_failure(request.get("/", &[]));
        assert_eq!(request.upstream_calls(), 0, "{expression}");
        let response = bench(&config("outboundHeaders"));
        assert_failure(response.get("/", &[]));
        assert_eq!(response.upstream_calls(), 1, "{expression}");
    }
}

#[test]
fn in_the_response_half_the_response_is_replaced_by_the_500() {
    let bench = bench("{outboundHeaders: [{key: x-a, value: '#[null]'}]}").answering(|_| {
        let mut response = respond(&[("x-secret", "1")])(&Request::for_test("GET", "/", &[]));
        response.body = "secret".into();
        response
    });
    let response = bench.get("/", &[]);
    assert_eq!(header(&response, "x-secret"), None);
    assert_failure(response);
}

#[test]
fn booleans_and_numbers_are_cast_to_strings() {
    let bench = bench(
        "{inboundHeaders: [{key: x-number, value: '#[42]'}, {key: x-flag, value: '#[true]'}, {key: x-half, value: '#[0.5]'}]}",
    );
    bench.get("/", &[]);
    assert_eq!(bench.upstream_header("x-number").as_deref(), Some("42"));
    assert_eq!(bench.upstream_header("x-flag").as_deref(), Some("true"));
    assert_eq!(bench.upstream_header("x-half").as_deref(), Some("0.5"));
}

#[test]
fn names_may_be_expressions_and_must_be_tokens() {
    let bench = bench("{inboundHeaders: [{key: \"#['x-' ++ attributes.queryParams.name]\", value: v}]}");
    assert_eq!(bench.get("/?name=good", &[]).status, 200);
    assert_eq!(bench.upstream_header("x-good").as_deref(), Some("v"));
    for bad in ["a%20b", "a%3Ab", "a%0d%0ab", "%C3%A9"] {
        assert_failure(bench.get(&format!("/?name={bad}"), &[]));
    }
}

#[test]
fn a_value_never_splits_a_head() {
    let bench = bench("{inboundHeaders: [{key: x-a, value: '#[attributes.queryParams.v]'}]}");
    for bad in ["a%0d%0aevil:%201", "a%0aevil", "a%0d", "a%00b"] {
        assert_failure(bench.get(&format!("/?v={bad}"), &[]));
    }
    assert_eq!(bench.upstream_calls(), 0);
}

#[test]
fn literals_that_cannot_be_written_are_errors_of_the_configuration() {
    assert_eq!(
        problems::<HeaderInjection>("{inboundHeaders: [{key: 'x y', value: v}, {key: x, value: \"a\\nb\"}]}"),
        [
            "E config.inboundHeaders[0].key: is not the name of a header field (RFC 9110 section 5.1)",
            "E config.inboundHeaders[1].value: control characters cannot stand in a header field",
        ]
    );
}

#[test]
fn framing_headers_are_accepted_but_ignored_with_a_warning() {
    for name in ["Content-Length", "transfer-encoding", "host", "connection", "Expect", "http2-settings"] {
        let (built, found) =
            build::<HeaderInjection>(&format!("{{inboundHeaders: [{{key: {name}, value: '5'}}]}}"));
        assert_eq!(
            found,
            ["W config.inboundHeaders[0].key: the gateway sets this field itself: it is not injected"]
        );
        let Some(Built::Step(policy)) = built else { panic!("built all the same") };
        let bench = Bench::new(policy);
        assert_eq!(bench.get("/", &[]).status, 200);
        assert_eq!(bench.upstream_header(name), None);
    }
    let bench = bench("{inboundHeaders: [{key: \"#['content-' ++ 'length']\", value: '5'}]}");
    assert_eq!(bench.get("/", &[]).status, 200);
    assert_eq!(bench.upstream_header("content-length"), None);
}

#[test]
fn request_attributes_are_readable_in_the_response_half_and_headers_are_those_of_the_response() {
    let bench = bench(
        "{outboundHeaders: [{key: x-path, value: '#[attributes.requestPath]'},
           {key: x-copy, value: \"#[attributes.headers['x-up'] ++ attributes.method]\"},
           {key: x-req, value: \"#[attributes.headers['x-down'] default 'none']\"}]}",
    )
    .answering(respond(&[("x-up", "u")]));
    let response = bench.get("/a?b", &[("x-down", "d")]);
    assert_eq!(header(&response, "x-path").as_deref(), Some("/a"));
    assert_eq!(header(&response, "x-copy").as_deref(), Some("uGET"));
    assert_eq!(header(&response, "x-req").as_deref(), Some("none"));
}

#[test]
fn list_order_is_preserved() {
    let bench =
        bench("{inboundHeaders: [{key: x-a, value: '1'}, {key: x-b, value: '2'}, {key: x-a, value: '3'}]}");
    bench.get("/", &[]);
    let seen = bench.seen.borrow();
    let names: Vec<_> = seen[0].headers.iter().map(|(name, value)| (name, value[0])).collect();
    assert_eq!(names, [("x-a", b'1'), ("x-b", b'2'), ("x-a", b'3')]);
}

#[test]
fn the_identity_that_earlier_policies_found_is_readable() {
    let bench = bench(
        "{inboundHeaders: [{key: x-caller, value: \"#[authentication.clientName default 'anonymous']\"}]}",
    );
    bench.get("/", &[]);
    assert_eq!(bench.upstream_header("x-caller").as_deref(), Some("anonymous"));
    bench.exchange.authentication_mut().client_name = Some("shop".to_owned());
    bench.get("/", &[]);
    assert_eq!(bench.upstream_header("x-caller").as_deref(), Some("shop"));
}

#[test]
fn a_payload_reference_makes_the_policy_read_the_body_and_forward_it_unchanged() {
    let policy = step::<HeaderInjection>(
        "{inboundHeaders: [{key: x-user, value: '#[payload.user]'}], outboundHeaders: [{key: x-id, value: '#[payload.id]'}]}",
    );
    assert!(policy.reads_request_body());
    assert!(!step::<HeaderInjection>("{inboundHeaders: [{key: a, value: b}]}").reads_request_body());
    let bench = Bench::new(policy).answering(|_| {
        let mut response =
            respond(&[("content-type", "application/json")])(&Request::for_test("GET", "/", &[]));
        response.body = r#"{"id": 7}"#.into();
        response
    });
    let mut request = Request::for_test("POST", "/", &[("content-type", "application/json")]);
    request.body = r#"{"user": "ada"}"#.into();
    let response = bench.send(request);
    assert_eq!(bench.upstream_header("x-user").as_deref(), Some("ada"));
    assert_eq!(header(&response, "x-id").as_deref(), Some("7"));
    assert_eq!(body_text(response), r#"{"id": 7}"#);
    let sent = std::mem::take(&mut bench.seen.borrow_mut()[0].body);
    assert!(matches!(sent, Body::Whole(bytes) if &*bytes == br#"{"user": "ada"}"#));
}

#[test]
fn a_request_body_over_the_limit_is_a_413() {
    let bench = bench("{inboundHeaders: [{key: x, value: '#[payload]'}]}");
    let mut request = Request::for_test("POST", "/", &[]);
    request.body = "x".repeat((1 << 20) + 1).into();
    let response = block_on_ready(bench.send_async(request));
    assert_eq!(response.status, 413);
    assert_eq!(body_text(response), r#"{"error":"Payload Too Large"}"#);
}
