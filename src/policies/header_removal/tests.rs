//! Sentences of policies reference 4.2, and its row in 8.3.

use bytes::Bytes;

use super::*;
use crate::{
    http::{Body, Headers, Response},
    policies::header_injection::HeaderInjection,
    policy::testkit::{Bench, body_text, build, header, problems, step},
};

fn bench(config: &str) -> Bench {
    Bench::new(step::<HeaderRemoval>(config)).answering(|_| {
        let mut response = Response::empty(200);
        for (name, value) in [("Server", "up"), ("X-Powered-By", "x"), ("content-type", "a/b"), ("Date", "d")]
        {
            response.headers.append(name, value).expect("a valid field");
        }
        response
    })
}

fn upstream_names(bench: &Bench) -> Vec<String> {
    bench.seen.borrow().last().expect("one").headers.iter().map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn inbound_headers_are_removed_from_the_request_and_outbound_headers_from_the_response() {
    let bench = bench("{inboundHeaders: [cookie], outboundHeaders: [server, x-powered-by]}");
    let response = bench.get("/", &[("Cookie", "a"), ("server", "s"), ("cookie", "b"), ("x-a", "1")]);
    assert_eq!(upstream_names(&bench), ["server", "x-a"]);
    let left: Vec<_> = response.headers.iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["content-type", "Date"]);
}

#[test]
fn without_its_upgrade_field_a_request_opens_no_tunnel() {
    for (entry, kept) in [("upgrade", false), ("U.*e", false), ("#['Upgrade']", false), ("x-a", true)] {
        let bench = bench(&format!("{{inboundHeaders: [\"{entry}\"]}}"));
        let mut request = Request::for_test("GET", "/", &[]);
        request.upgrade = Some(request.headers.push_text(b"websocket"));
        bench.send(request);
        assert_eq!(bench.seen.borrow()[0].upgrade.is_some(), kept, "{entry}");
    }
}

#[test]
fn both_lists_empty_is_invalid() {
    assert_eq!(problems::<HeaderRemoval>("{inboundHeaders: []}"), ["E config: both lists are empty"]);
}

#[test]
fn entries_match_the_whole_name_without_regard_to_case() {
    let bench = bench("{inboundHeaders: ['X-Internal-.*', 'x-(one|two)', 'x-sing', 'x.dot']}");
    let fields = [
        ("x-internal-a", "1"),
        ("X-INTERNAL-", "1"),
        ("x-internal", "1"),
        ("a-x-internal-a", "1"),
        ("X-One", "1"),
        ("x-one-more", "1"),
        ("x-single", "1"),
        ("x.dot", "1"),
        ("x-dot", "1"),
    ];
    bench.get("/", &fields);
    assert_eq!(upstream_names(&bench), ["x-internal", "a-x-internal-a", "x-one-more", "x-single"]);
}

#[test]
fn an_entry_that_is_a_valid_token_is_compared_literally_too() {
    let bench = bench("{inboundHeaders: ['+x', 'x+', 'a*']}");
    bench.get("/", &[("+x", "1"), ("x+", "1"), ("xx", "1"), ("a*", "1"), ("aaa", "1"), ("b", "1")]);
    assert_eq!(upstream_names(&bench), ["b"]);
}

#[test]
fn these_seven_are_never_removed() {
    let kept = ["accept", "content-type", "date"];
    let (built, found) =
        build::<HeaderRemoval>("{inboundHeaders: ['.*', Accept], outboundHeaders: ['.*', date]}");
    assert_eq!(
        found,
        [
            "W config.inboundHeaders[1]: `Accept` is never removed",
            "W config.outboundHeaders[1]: `date` is never removed"
        ]
    );
    let Some(Built::Step(policy)) = built else { panic!("built all the same") };
    let bench = Bench::new(policy);
    bench.get("/", &[("Accept", "a"), ("content-type", "b"), ("date", "c"), ("x", "d"), ("host", "h.test")]);
    assert_eq!(upstream_names(&bench).iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>(), kept);
    assert_eq!(bench.seen.borrow()[0].authority(), "h.test");
    for name in KEPT {
        assert!(is_kept(name) && is_kept(&name.to_ascii_uppercase()));
    }
}

#[test]
fn entries_may_be_expressions_that_give_names() {
    let bench = bench(
        "{inboundHeaders: ['#[attributes.queryParams.drop]'], outboundHeaders: [\"#[lower('X-POWERED') ++ '-by']\"]}",
    );
    let response = bench.get("/?drop=X-A", &[("x-a", "1"), ("x-b", "1")]);
    assert_eq!(upstream_names(&bench), ["x-b"]);
    assert_eq!(header(&response, "x-powered-by"), None);
    assert_eq!(header(&response, "content-type").as_deref(), Some("a/b"));
}

#[test]
fn a_failing_expression_is_a_500() {
    for config in [
        "{inboundHeaders: ['#[attributes.queryParams.drop]']}",
        "{outboundHeaders: ['#[attributes.queryParams.drop]']}",
    ] {
        for target in ["/", "/?drop=a%20b", "/?drop=.%28"] {
            let response = bench(config).get(target, &[]);
            assert_eq!(response.status, 500, "{config} {target}");
            assert_eq!(body_text(response), r#"{"error":"Internal Server Error"}"#);
        }
    }
}

#[test]
fn what_an_expression_gives_is_never_a_pattern() {
    let bench = bench("{inboundHeaders: ['#[attributes.queryParams.drop]']}");
    bench.get("/?drop=x.*", &[("x-a", "1")]);
    assert_eq!(upstream_names(&bench), ["x-a"]);
}

#[test]
fn an_entry_that_is_neither_name_nor_expression_is_an_error() {
    assert_eq!(
        problems::<HeaderRemoval>("{inboundHeaders: ['x-(']}"),
        [
            "E config.inboundHeaders[0]: no header name, and `x-(` is no valid regular expression: unclosed group"
        ]
    );
}

#[test]
fn removing_server_wins_over_the_field_of_the_gateway() {
    for (config, expected) in [
        ("{outboundHeaders: [Server]}", None),
        ("{outboundHeaders: ['ser.*']}", None),
        ("{outboundHeaders: [\"#['server']\"]}", None),
        ("{outboundHeaders: [x-powered-by]}", Some("portcullis")),
        ("{inboundHeaders: [server]}", Some("portcullis")),
    ] {
        let mut bench = bench(config);
        bench.exchange = std::mem::replace(&mut bench.exchange, Bench::chain(Vec::new()).exchange)
            .with_server(Some("portcullis".into()));
        assert_eq!(header(&bench.get("/", &[]), "server").as_deref(), expected, "{config}");
    }
}

#[test]
fn removal_before_injection_overwrites() {
    let bench = Bench::chain(vec![
        step::<HeaderRemoval>("{inboundHeaders: [x-tag]}"),
        step::<HeaderInjection>("{inboundHeaders: [{key: x-tag, value: ours}]}"),
    ]);
    bench.get("/", &[("x-tag", "theirs")]);
    assert_eq!(bench.upstream_header("x-tag").as_deref(), Some("ours"));
}

#[test]
fn trailers_are_fields_too() {
    let body = || {
        let mut trailers = Headers::new();
        for name in ["X-Internal-User", "x-sum", "x-powered-by"] {
            trailers.append(name, "1").expect("a valid field");
        }
        Body::whole(Bytes::from_static(b"a"), Some(trailers))
    };
    let names = |body: &Body| {
        let trailers = body.trailers().unwrap_or_default();
        trailers.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let config = "{inboundHeaders: ['x-internal-.*'], outboundHeaders: [x-powered-by]}";
    let bench = Bench::new(step::<HeaderRemoval>(config)).answering(move |request| {
        assert_eq!(names(&request.body), ["x-sum", "x-powered-by"]);
        Response { body: body(), ..Response::empty(200) }
    });
    let response = bench.send(Request { body: body(), ..Request::for_test("POST", "/", &[]) });
    assert_eq!(names(&response.body), ["X-Internal-User", "x-sum"]);
}
