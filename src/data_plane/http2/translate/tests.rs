use http::HeaderMap;

use super::*;

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
fn a_request_to_an_upstream_names_it_in_pseudo_fields_only() {
    let fields = [("X-One", "1"), ("Content-Type", "application/grpc"), ("Keep-Alive", "5")];
    let message = Request::for_test("POST", "/a/b?x=1", &fields);
    let head = outgoing(&message, "store.internal", Scheme::HTTP, Some(Length::Known(5))).unwrap();
    assert_eq!(head.uri().to_string(), "http://store.internal/a/b?x=1");
    let names: Vec<_> = head.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-one", "content-type", "content-length", "te"]);
    let plain = outgoing(&Request::for_test("GET", "/", &[]), "h", Scheme::HTTP, None).unwrap();
    // Trailers come through, whatever the client said.
    assert_eq!(plain.headers().len(), 1);
    assert_eq!(plain.headers()["te"], "trailers");
}

#[test]
fn only_what_is_harmless_is_kept_in_the_header_table_of_an_upstream() {
    let mut headers = Headers::new();
    for (name, value) in [
        ("Accept", "*/*"),
        ("User-Agent", "curl/8"),
        ("X-Forwarded-Proto", "https"),
        ("Content-Type", "application/grpc"),
        ("X-Api-Key", "secret"),
        ("Authorization", "Basic YTpi"),
        ("Cookie", "session=1"),
        ("X-Customer", "7"),
    ] {
        headers.append(name, value).unwrap();
    }
    let fields = fields(&headers);
    let kept: Vec<_> =
        fields.iter().filter(|(_, value)| !value.is_sensitive()).map(|(name, _)| name).collect();
    assert_eq!(kept, ["accept", "user-agent", "x-forwarded-proto", "content-type"]);
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
