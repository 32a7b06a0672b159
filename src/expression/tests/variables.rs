//! Reference 7.5 and 1.6.

use super::*;

/// What the scope is asked for.
fn asked(expression: &str) -> Vec<String> {
    let template = compile(expression);
    let request = Request::default();
    template.eval(&request).unwrap_or_else(|error| panic!("{expression}: {error}"));
    request.asked.take()
}

#[test]
fn each_attribute_reads_what_its_row_says() {
    assert_values(&[
        ("attributes.method", r#""GET""#),
        ("attributes.queryParams", r#"{"page": "2", "q": "a b"}"#),
        ("attributes.queryParams.q", r#""a b""#),
        ("attributes.queryString", r#""page=2&q=a%20b""#),
        ("attributes.requestPath", r#""/orders/7""#),
        ("attributes.requestUri", r#""/orders/7?page=2&q=a%20b""#),
        ("attributes.localAddress", r#""10.0.0.1:8081""#),
        ("attributes.remoteAddress", r#""203.0.113.7:51234""#),
        ("attributes.scheme", r#""https""#),
        ("attributes.version", r#""HTTP/1.1""#),
    ]);
}

#[test]
fn the_status_code_is_a_number_in_the_response_half_and_null_before() {
    assert_values(&[("attributes.statusCode", "null")]);
    let response =
        Request { attributes: vec![(Attribute::StatusCode, Value::from(503_u16))], ..Request::default() };
    assert_eq!(compile("attributes.statusCode >= 500").eval_condition(&response), Ok(Some(true)));
    assert_eq!(compile("attributes.statusCode").eval_string(&response).unwrap().unwrap(), "503");
}

#[test]
fn headers_are_selected_without_regard_to_case() {
    assert_values(&[
        ("attributes.headers.Host", r#""shop.example""#),
        ("attributes.headers['X-TENANT-ID']", r#""acme""#),
        ("attributes.headers[upper('host')]", r#""shop.example""#),
        ("(attributes.headers -- []).'X-Tenant-Id'", r#""acme""#),
        ("attributes['headers'].HOST", r#""shop.example""#),
        ("attributes.headers.absent", "null"),
    ]);
}

#[test]
fn a_repeated_set_cookie_is_an_array() {
    let cookies = Value::from(vec![Value::from("a=1"), Value::from("b=2")]);
    let response = Request { headers: vec![("set-cookie", cookies)], ..Request::default() };
    let template = compile("attributes.headers.'Set-Cookie'[-1]");
    assert_eq!(template.eval(&response), Ok(Value::from("b=2")));
    assert_eq!(response.asked.take(), ["header set-cookie"]);
}

#[test]
fn other_objects_are_selected_by_exact_keys() {
    assert_values(&[("payload.User", "null"), ("attributes.queryParams.Page", "null")]);
}

#[test]
fn one_header_asks_the_scope_for_one_header() {
    assert_eq!(asked("attributes.headers.'X-Tenant-Id'"), ["header x-tenant-id"]);
    assert_eq!(asked("attributes.headers['Host']"), ["header host"]);
    assert_eq!(asked("attributes['headers']['Host']"), ["header host"]);
    assert_eq!(asked("attributes.headers[lower('HOST')]"), ["header host"]);
    assert_eq!(asked("attributes.headers"), ["headers"]);
    assert_eq!(asked("attributes.headers -- 'a'"), ["headers"]);
}

#[test]
fn paths_ask_the_scope_for_the_deepest_value_they_name() {
    assert_eq!(asked("authentication.properties.claims.scope"), ["authentication properties/claims/scope"]);
    assert_eq!(asked("authentication"), ["authentication "]);
    assert_eq!(asked("vars.claimSet['iss']"), ["var claimSet/iss"]);
    assert_eq!(asked("vars.claimSet[lower('ISS')]"), ["var claimSet"]);
    assert_eq!(asked("attributes.queryParams.page"), ["queryParams"]);
    assert_eq!(asked("vars.a.b.c.d.e.f.g.h.i.j"), ["var a/b/c/d/e/f/g/h"]);
}

#[test]
fn only_the_branch_that_is_taken_asks() {
    assert_eq!(asked("if (attributes.method == 'GET') 1 else payload"), ["method"]);
    assert_eq!(asked("attributes.method default payload"), ["method"]);
}

#[test]
fn values_are_borrowed_from_the_scope_and_the_template() {
    let request = Request::default();
    for expression in [
        "attributes.headers.host",
        "trim(splitBy(attributes.headers['x-forwarded-for'], ',')[-1])",
        "payload.user.name",
        "vars.none default 'literal'",
        "['a', 'b'][1]",
        "lower('abc')",
    ] {
        let template = compile(expression);
        let value = template.eval(&request).unwrap();
        assert!(matches!(value, Value::String(std::borrow::Cow::Borrowed(_))), "{expression}: {value:?}");
    }
}

#[test]
fn attributes_as_a_whole_hold_what_is_known() {
    assert_values(&[
        ("sizeOf(attributes)", "10"),
        ("(attributes).method", r#""GET""#),
        ("(attributes).headers.HOST", r#""shop.example""#),
        ("attributes[lower('SCHEME')]", r#""https""#),
    ]);
}

#[test]
fn the_authentication_object_is_readable_and_null_where_absent() {
    assert_values(&[
        ("authentication.principal", r#""alice""#),
        ("authentication.clientId", r#""c-1""#),
        ("authentication.clientName", "null"),
        ("authentication.properties.slaId", "3"),
        ("authentication.properties.claims.admin", "true"),
        ("authentication.properties.userProperties.mail", "null"),
        ("authentication.principal.more", "null"),
    ]);
}

#[test]
fn unknown_vars_read_as_null() {
    assert_values(&[
        ("vars.apiName", r#""orders""#),
        ("vars.claimSet.iss", r#""https://idp""#),
        ("vars.unknown", "null"),
        ("vars.unknown.deeper", "null"),
    ]);
}

#[test]
fn a_template_says_what_it_uses() {
    let uses = |expression: &str| compile(expression).uses();
    let none = Uses::default();
    assert_eq!(uses("'x'"), none);
    assert_eq!(Template::compile("payload").unwrap().uses(), none);
    assert_eq!(uses("payload.a"), Uses { payload: true, ..none });
    assert_eq!(uses("attributes.statusCode"), Uses { status_code: true, ..none });
    assert_eq!(uses("attributes.requestPath"), Uses { request_attributes: true, ..none });
    assert_eq!(uses("attributes.headers.a"), Uses { headers: true, ..none });
    assert_eq!(uses("attributes.headers"), Uses { headers: true, all_headers: true, ..none });
    assert_eq!(uses("authentication.clientId"), Uses { authentication: true, ..none });
    assert_eq!(uses("vars.x"), Uses { vars: true, ..none });
    assert_eq!(uses("if (true) 1 else [lower(payload[0])]"), Uses { payload: true, ..none });
    assert_eq!(
        uses("attributes[vars.x]"),
        Uses {
            headers: true,
            all_headers: true,
            status_code: true,
            request_attributes: true,
            vars: true,
            ..none
        }
    );
}

#[test]
fn a_template_names_the_vars_it_reads() {
    let template = compile("vars.apiName ++ vars.request.headers['Host'] ++ vars.apiName");
    assert_eq!(template.vars(), ["apiName", "request.headers.Host"]);
}
