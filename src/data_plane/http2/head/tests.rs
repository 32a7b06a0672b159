use super::*;

const RULES: Rules = Rules { fields: HeadRules { fields_max: 8, merge_slashes: true }, bytes_max: 2000 };

/// Reads a head whose first fields are made of a method and a URI.
fn read(method: &str, uri: &str, fields: &[(&str, &str)]) -> Result<RequestHead, Refused> {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("http", uri));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut pseudo = vec![(":method", method), (":scheme", scheme), (":path", path)];
    if !authority.is_empty() {
        pseudo.push((":authority", authority));
    }
    raw(&[&pseudo, fields].concat())
}

fn raw(fields: &[(&str, &str)]) -> Result<RequestHead, Refused> {
    let mut reader = HeadReader::default();
    for (name, value) in fields {
        assert!(reader.field(name.as_bytes(), value.as_bytes(), RULES));
    }
    reader.finish(RULES).map_err(|unread| unread.refused)
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
    assert_eq!(status("delete", "http://api.test/", &[]), 400, "no rule would know it");
    assert_eq!(status("purge", "http://api.test/", &[]), 200);
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
    // However many crumbs: eight fields are allowed.
    assert_eq!(status("GET", "http://api.test/", &[("cookie", "a=1"); 20]), 200);
}

#[test]
fn a_reader_that_rests_holds_no_memory_for_a_cookie_of_many_crumbs() {
    let mut reader = HeadReader::default();
    let rules = Rules { bytes_max: 65_536, ..RULES };
    let mut kept_after = |crumbs: usize| {
        for _ in 0..crumbs {
            assert!(reader.field(b"cookie", b"", rules));
        }
        let _ = reader.finish(rules);
        reader.rest();
        reader.crumbs.capacity()
    };
    assert!(kept_after(40) >= 40);
    assert_eq!(kept_after(1600), 0);
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
    assert_eq!(status("POST", "http://api.test/", &[("expect", "200-ok"), ("expect", "100-continue")]), 417);
}

#[test]
fn connection_fields_never_become_headers() {
    let fields = [("te", "trailers"), ("http2-settings", "AAMAAABk"), ("x-kept", "1")];
    let Ok(head) = read("GET", "http://api.test/", &fields) else { panic!() };
    assert_eq!(head.headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["x-kept"]);
}

#[test]
fn a_reader_remembers_nothing_of_the_head_before() {
    let mut reader = HeadReader::default();
    let first = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/a"),
        (":authority", "one.test"),
        ("content-length", "5"),
        ("cookie", "a=1"),
        ("expect", "100-continue"),
        ("content-type", "application/grpc"),
        ("Bad", ""),
    ];
    for (name, value) in first {
        reader.field(name.as_bytes(), value.as_bytes(), RULES);
    }
    let Err(Unread { refused: Refused::Malformed(_), asked, is_grpc: true }) = reader.finish(RULES) else {
        panic!("upper case")
    };
    assert_eq!(asked, Asked { method: Some(Method::Post), path: Some("/a".to_owned()) });
    for (name, value) in [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "two.test")] {
        reader.field(name.as_bytes(), value.as_bytes(), RULES);
    }
    let Ok(head) = reader.finish(RULES) else { panic!() };
    assert_eq!(
        (head.length, head.expects_continue, head.is_grpc, head.headers.len()),
        (None, false, false, 0)
    );
    assert_eq!(head.headers.str(head.authority), "two.test");
    assert!(matches!(
        reader.finish(RULES),
        Err(Unread { refused: Refused::Malformed("no :method"), is_grpc: false, .. })
    ));
}

#[test]
fn a_list_over_the_limit_is_431_and_one_far_over_it_is_not_read_to_its_end() {
    let mut reader = HeadReader::default();
    for (name, value) in [(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "a.test")]
    {
        assert!(reader.field(name.as_bytes(), value.as_bytes(), RULES));
    }
    let long = [b'v'; 965];
    assert!(reader.field(b"x-1", &long, RULES) && reader.field(b"x-2", &long, RULES));
    let kept = reader.headers.len();
    assert_eq!(kept, 1, "what is too much is not kept");
    for _ in 2..7 {
        assert!(reader.field(b"x-3", &long, RULES));
    }
    assert!(!reader.field(b"x-4", &long, RULES), "four times as much");
    let Err(Unread { refused: Refused::Answered(refusal), asked, .. }) = reader.finish(RULES) else {
        panic!()
    };
    assert_eq!((refusal.status(), asked.path.as_deref()), (431, Some("/a")));
}

#[test]
fn trailers_carry_no_framing_and_no_credentials() {
    let read = |fields: &[(&str, &str)]| {
        let mut reader = TrailerReader::default();
        fields.iter().for_each(|(name, value)| {
            reader.field(name.as_bytes(), value.as_bytes(), RULES);
        });
        reader.finish()
    };
    let fields = [
        ("grpc-status", "0"),
        ("content-length", "5"),
        ("authorization", "x"),
        ("host", "h"),
        ("te", "trailers"),
    ];
    let trailers = read(&fields).unwrap().unwrap();
    assert_eq!(trailers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["grpc-status"]);
    assert!(read(&[]).unwrap().is_none());
    for bad in [
        (":status", "200"),
        ("Upper", "1"),
        ("a", " b"),
        ("connection", "close"),
        ("te", "deflate"),
        ("", "x"),
    ] {
        assert!(read(&[bad]).is_err(), "{bad:?}");
    }
}

#[test]
fn trailers_are_as_many_and_as_large_as_over_http_1_1() {
    let rules = Rules { bytes_max: 1024 * 1024, ..RULES };
    let is_taken = |count: usize, value: &str| {
        let mut reader = TrailerReader::default();
        (0..count).for_each(|_| {
            reader.field(b"a", value.as_bytes(), rules);
        });
        reader.finish().is_ok()
    };
    assert!(is_taken(TRAILER_FIELDS_MAX, "b") && !is_taken(TRAILER_FIELDS_MAX + 1, "b"));
    assert!(is_taken(1, &"b".repeat(8_000)) && !is_taken(1, &"b".repeat(TRAILER_BYTES_MAX)));
}
