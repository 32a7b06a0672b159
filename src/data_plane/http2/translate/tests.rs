use http::HeaderMap;

use super::*;
use crate::http::Body;

const RULES: HeadRules = HeadRules { fields_max: 8, merge_slashes: true };

fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut builder = http::Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn read(method: &str, uri: &str, fields: &[(&str, &str)]) -> Result<RequestHead, Refused> {
    request(&parts(method, uri, fields), RULES)
}

fn status(method: &str, uri: &str, fields: &[(&str, &str)]) -> u16 {
    match read(method, uri, fields) {
        Err(Refused::Answered(refusal)) => refusal.status(),
        Err(Refused::Malformed(what)) => panic!("reset: {what}"),
        Ok(_) => 200,
    }
}

fn is_malformed(uri: &str, fields: &[(&str, &str)]) -> bool {
    matches!(read("GET", uri, fields), Err(Refused::Malformed(_)))
}

#[test]
fn a_request_is_what_the_same_request_in_http_1_1_is() {
    let head = read("POST", "http://api.test:80/a/../b//c?x=1", &[("x-one", "1"), ("content-length", "5")]);
    let Ok(head) = head else { panic!() };
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.headers.str(head.path), "/b/c");
    assert_eq!(head.query.map(|query| head.headers.str(query)), Some("x=1"));
    assert_eq!(head.headers.str(head.authority), "api.test:80");
    assert_eq!(head.length, Some(5));
    let mut out = Vec::new();
    head.headers.write_to(&mut out);
    assert_eq!(out, b"x-one: 1\r\n");
}

#[test]
fn authority_and_host_agree_or_the_stream_is_reset() {
    assert!(read("GET", "http://api.test/", &[("host", "API.test")]).is_ok());
    assert!(is_malformed("http://api.test/", &[("host", "other.test")]));
    assert!(is_malformed("http://api.test/", &[("host", "api.test"), ("host", "api.test")]));
    assert!(is_malformed("http://user@api.test/", &[]));
    let Ok(head) = read("GET", "/", &[("host", "api.test")]) else { panic!() };
    assert_eq!(head.headers.str(head.authority), "api.test");
    assert!(!head.headers.contains("host"));
    assert_eq!(status("GET", "/", &[]), 400, "nobody is named");
}

#[test]
fn paths_without_one_meaning_are_refused_as_in_http_1_1() {
    for path in ["/a%00", "/a%zz", "/a%4"] {
        assert_eq!(status("GET", &format!("http://api.test{path}"), &[]), 400, "{path}");
    }
    assert_eq!(status("GET", "http://api.test/%2e%2e/a", &[]), 200);
}

#[test]
fn methods_that_a_gateway_does_not_serve_are_405() {
    assert_eq!(status("TRACE", "http://api.test/", &[]), 405);
    assert_eq!(status("CONNECT", "api.test:443", &[]), 405);
}

#[test]
fn a_scheme_other_than_http_is_400() {
    assert_eq!(status("GET", "ftp://api.test/", &[]), 400);
    assert_eq!(status("GET", "https://api.test/", &[]), 200);
}

#[test]
fn lengths_are_digits_and_given_once() {
    for fields in [
        &[("content-length", "+1")][..],
        &[("content-length", "1, 1")],
        &[("content-length", "1"), ("content-length", "1")],
        &[("content-length", "")],
        &[("content-length", "99999999999999999999")],
    ] {
        assert!(is_malformed("http://api.test/", fields), "{fields:?}");
    }
}

#[test]
fn white_space_around_a_value_is_malformed() {
    assert!(is_malformed("http://api.test/", &[("x-a", " a")]));
    assert!(is_malformed("http://api.test/", &[("x-a", "a\t")]));
    assert!(!is_malformed("http://api.test/", &[("x-a", "a b")]));
}

#[test]
fn cookie_crumbs_become_one_field() {
    let Ok(head) = read("GET", "http://api.test/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")])
    else {
        panic!()
    };
    assert_eq!(head.headers.get_all("cookie").collect::<Vec<_>>(), [b"a=1; b=2"]);
}

#[test]
fn more_fields_than_the_limit_are_431() {
    let fields: Vec<(String, String)> = (0..9).map(|i| (format!("x-{i}"), "v".to_owned())).collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(status("GET", "http://api.test/", &fields), 431);
    assert_eq!(status("GET", "http://api.test/", &fields[..8]), 200);
}

#[test]
fn only_100_continue_can_be_expected() {
    assert!(
        read("POST", "http://api.test/", &[("expect", "100-Continue")]).is_ok_and(|h| h.expects_continue)
    );
    assert_eq!(status("POST", "http://api.test/", &[("expect", "200-ok")]), 417);
}

#[test]
fn connection_fields_never_become_headers() {
    let fields = [("te", "trailers"), ("http2-settings", "AAMAAABk"), ("x-kept", "1")];
    let Ok(head) = read("GET", "http://api.test/", &fields) else { panic!() };
    assert_eq!(head.headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["x-kept"]);
}

#[test]
fn a_response_has_lower_case_names_and_no_field_of_a_connection() {
    let mut message = Response::empty(200);
    for (name, value) in [("X-Upper", "1"), ("Connection", "close"), ("Transfer-Encoding", "chunked")] {
        message.headers.append(name, value).unwrap();
    }
    message.body = Body::from("hello");
    let (head, follows) = response(&message, false);
    assert_eq!(follows, Some(Length::Known(5)));
    let names: Vec<_> = head.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-upper", "content-length"]);
}

#[test]
fn responses_without_a_body_declare_its_length_only_where_one_is_known() {
    let declared = |message: &Response, to_head| {
        let (head, follows) = response(message, to_head);
        let length = head.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
        (length, follows)
    };
    let mut message = Response::empty(304);
    message.declared_length = Some(12);
    assert_eq!(declared(&message, false), (Some("12".into()), None));
    assert_eq!(declared(&Response::empty(204), false), (None, None));
    assert_eq!(declared(&Response::empty(200), false), (None, None));
    assert_eq!(declared(&Response::json_error(404, "gone"), true), (Some("16".into()), None));
    assert_eq!(declared(&Response::empty(200), true), (None, None));
}

#[test]
fn trailers_carry_no_framing_and_no_credentials() {
    let mut fields = HeaderMap::new();
    for (name, value) in [
        ("grpc-status", "0"),
        ("content-length", "5"),
        ("authorization", "x"),
        ("host", "h"),
        ("te", "trailers"),
    ] {
        fields.append(name, HeaderValue::from_static(value));
    }
    let trailers = trailers(&fields).unwrap();
    assert_eq!(trailers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["grpc-status"]);
    assert!(super::trailers(&HeaderMap::new()).is_none());
}

#[test]
fn only_an_interim_status_is_sent_as_an_interim_response() {
    assert_eq!(interim(103, &Headers::new()).map(|head| head.status().as_u16()), Some(103));
    assert!(interim(200, &Headers::new()).is_none());
}

#[test]
fn a_request_to_an_upstream_names_it_in_pseudo_fields_only() {
    let fields = [("X-One", "1"), ("Content-Type", "application/grpc"), ("Keep-Alive", "5")];
    let message = Request::for_test("POST", "/a/b?x=1", &fields);
    let head = outgoing(&message, "store.internal", Scheme::HTTP, Some(Length::Known(5))).unwrap();
    assert_eq!(head.uri().to_string(), "http://store.internal/a/b?x=1");
    let names: Vec<_> = head.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-one", "content-type", "content-length", "te"]);
    let plain = outgoing(&Request::for_test("GET", "/", &[]), "h", Scheme::HTTP, None).unwrap();
    assert!(plain.headers().is_empty());
}

#[test]
fn every_path_that_http_1_1_forwards_can_be_forwarded() {
    let forwarded = |path: &str| {
        let head = outgoing(&Request::for_test("GET", path, &[]), "h", Scheme::HTTP, None).unwrap();
        head.uri().path_and_query().unwrap().to_string()
    };
    for path in ["/%2F%3F", "/:@!$&'()*+,;=", "/?a=%20&b"] {
        assert_eq!(forwarded(path), path);
    }
    for byte in "\"<>[]^`{|}".chars() {
        let path = forwarded(&format!("/a{byte}?b{byte}"));
        let escaped = format!("%{:02X}", u32::from(byte));
        assert!(path.starts_with(&format!("/a{escaped}?b")), "{path}");
        assert_eq!(path.replace(&escaped, &byte.to_string()), format!("/a{byte}?b{byte}"));
    }
}

#[test]
fn a_response_of_an_upstream_has_one_length_and_no_field_of_a_connection() {
    let parts = |status: u16, fields: &[(&str, &str)]| {
        let mut builder = http::Response::builder().status(status);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    };
    let fields = [("x-a", "1"), ("upgrade", "h2c"), ("content-length", "7")];
    let (headers, length) = incoming(&parts(200, &fields)).unwrap();
    assert_eq!(headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["x-a"]);
    assert_eq!(length, Some(7));
    assert!(incoming(&parts(200, &[("content-length", "7"), ("content-length", "7")])).is_err());
    assert!(incoming(&parts(200, &[("content-length", "x")])).is_err());
    assert!(incoming(&parts(600, &[])).is_err());
}
