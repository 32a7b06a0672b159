//! Sentences of policies reference 2.1 and of its rows in 1.5.

use super::*;
use crate::{
    http::Response,
    policy::testkit::{Bench, body_text, build, header, problems, step},
};

fn bench() -> Bench {
    Bench::new(step::<BasicAuthentication>("{username: chris, password: 'ad:min'}"))
}

fn basic(text: &str) -> String {
    format!("Basic {}", BASE64.encode(text))
}

fn get(bench: &Bench, authorization: &str) -> Response {
    bench.get("/", &[("Authorization", authorization)])
}

fn assert_refused(response: Response, text: &str) {
    assert_eq!(response.status, 401);
    assert_eq!(header(&response, "www-authenticate").as_deref(), Some(r#"Basic realm="mule-realm""#));
    assert_eq!(header(&response, "content-type").as_deref(), Some("application/json; charset=UTF-8"));
    assert_eq!(body_text(response), format!(r#"{{"error":"{text}"}}"#));
}

#[test]
fn the_configured_user_is_let_in_and_becomes_the_principal() {
    let bench = bench();
    assert_eq!(get(&bench, &basic("chris:ad:min")).status, 200);
    let who = bench.exchange.authentication().expect("established");
    assert_eq!(who.principal.as_deref(), Some("chris"));
}

#[test]
fn the_authorization_field_is_not_removed() {
    let bench = bench();
    get(&bench, &basic("chris:ad:min"));
    assert_eq!(bench.upstream_header("authorization"), Some(basic("chris:ad:min")));
}

#[test]
fn the_scheme_is_compared_without_regard_to_case() {
    for scheme in ["basic", "BASIC", "bAsIc"] {
        let field = basic("chris:ad:min").replacen("Basic", scheme, 1);
        assert_eq!(get(&bench(), &field).status, 200, "{scheme}");
    }
    let blanks = basic("chris:ad:min").replacen(' ', "   ", 1);
    assert_eq!(get(&bench(), &blanks).status, 200);
}

#[test]
fn the_first_colon_ends_the_user_name() {
    assert_refused(get(&bench(), &basic("chris:ad")), "Authentication Attempt Failed");
    assert_refused(get(&bench(), &basic("chris")), NO_CREDENTIALS);
}

#[test]
fn wrong_credentials_are_refused_with_their_text() {
    let bench = bench();
    let long = "x".repeat(4000);
    for wrong in
        ["chris:ad:mi", "chris:ad:minn", "Chris:ad:min", ":ad:min", "chris:", ":", &format!("chris:{long}")]
    {
        assert_refused(get(&bench, &basic(wrong)), "Authentication Attempt Failed");
    }
    assert_eq!(bench.upstream_calls(), 0);
    assert!(bench.exchange.authentication().is_none());
}

#[test]
fn what_is_no_basic_credentials_is_refused_as_no_credentials() {
    let bench = bench();
    assert_refused(bench.get("/", &[]), NO_CREDENTIALS);
    for field in
        ["", "Basic", "Basic ", "Bearer abc", "Basic %%%", "Basic Y2hyaXM", "Basicx Y2hyaXM6YWQ6bWlu"]
    {
        assert_refused(get(&bench, field), NO_CREDENTIALS);
    }
    assert_eq!(bench.upstream_calls(), 0);
}

#[test]
fn more_than_one_authorization_field_counts_as_none() {
    let bench = bench();
    let good = basic("chris:ad:min");
    let fields = [("authorization", good.as_str()), ("Authorization", good.as_str())];
    assert_refused(bench.get("/", &fields), NO_CREDENTIALS);
}

#[test]
fn credentials_are_compared_as_utf8_bytes_without_normalisation() {
    let bench = Bench::new(step::<BasicAuthentication>("{username: zo\u{eb}, password: p}"));
    assert_eq!(get(&bench, &basic("zo\u{eb}:p")).status, 200);
    assert_eq!(get(&bench, &basic("zoe\u{308}:p")).status, 401);
}

#[test]
fn missing_padding_is_accepted() {
    let unpadded = basic("chris:ad:min").trim_end_matches('=').to_owned();
    assert_eq!(get(&bench(), &unpadded).status, 200);
}

#[test]
fn empty_user_or_password_are_let_in_only_if_configured_that_way() {
    let (built, found) = build::<BasicAuthentication>("{username: '', password: ''}");
    assert_eq!(found, ["W config.password: the password is empty"]);
    let Some(Built::Step(policy)) = built else { panic!("built all the same") };
    let bench = Bench::new(policy);
    assert_eq!(get(&bench, &basic(":")).status, 200);
    assert_eq!(get(&bench, &basic("a:")).status, 401);
    assert_eq!(get(&bench, &basic(":a")).status, 401);
}

#[test]
fn both_parameters_are_required_and_a_user_name_has_no_colon() {
    assert_eq!(
        problems::<BasicAuthentication>("{}"),
        [
            "E config.username: the field `username` is missing",
            "E config.password: the field `password` is missing",
        ]
    );
    assert_eq!(
        problems::<BasicAuthentication>("{username: 'a:b', password: p}"),
        ["E config.username: a user name cannot contain a colon"]
    );
}

#[test]
fn comparing_finds_every_difference() {
    for (given, expected, equal) in [
        ("", "", true),
        ("a", "", false),
        ("", "a", false),
        ("ab", "ab", true),
        ("abab", "ab", false),
        ("ab", "abab", false),
    ] {
        assert_eq!(bool::from(same(given.as_bytes(), expected.as_bytes())), equal, "{given} {expected}");
    }
}

#[test]
fn options_is_authenticated_like_any_method() {
    let bench = bench();
    let preflight = Request::for_test("OPTIONS", "/", &[("origin", "https://a.test")]);
    assert_refused(bench.send(preflight), NO_CREDENTIALS);
    assert_eq!(bench.upstream_calls(), 0);
}
