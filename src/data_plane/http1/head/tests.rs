use super::*;

const RULES: HeadRules = HeadRules { fields_max: 128, merge_slashes: true };

fn request(text: &str) -> Result<Option<RequestHead>, HeadError> {
    parse_request(text.as_bytes(), RULES).map(|parsed| parsed.map(|(head, _)| head))
}

#[test]
fn a_plain_request_is_read() {
    let head = request("GET /a/../b?x=1 HTTP/1.1\r\nHost: api.test\r\nAccept: */*\r\n\r\n").unwrap().unwrap();
    assert_eq!(head.headers.str(head.path), "/b");
    assert_eq!(head.query.map(|query| head.headers.str(query)), Some("x=1"));
    assert_eq!(head.headers.str(head.authority), "api.test");
    assert_eq!(head.headers.len(), 1);
    assert_eq!(head.framing, Framing::None);
}

#[test]
fn framing_never_enters_the_headers() {
    let text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: x-gone, keep-alive\r\n\
                X-Gone: 1\r\nX-Kept: 2\r\nTE: trailers\r\nUpgrade: h2c\r\n\r\n";
    let head = request(text).unwrap().unwrap();
    assert_eq!(head.framing, Framing::Length(5));
    assert_eq!(head.headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["X-Kept"]);
}

#[test]
fn connection_names_few_fields() {
    let naming = |count: usize| format!("Host: a\r\nConnection: close{}\r\n", ", x".repeat(count));
    assert_eq!(refusal("GET / HTTP/1.1", &naming(64)), None);
    assert_eq!(refusal("GET / HTTP/1.1", &naming(65)), malformed("Connection"));
}

fn refusal(start: &str, fields: &str) -> Option<HeadError> {
    request(&format!("{start}\r\n{fields}\r\n")).err()
}

fn malformed(what: &'static str) -> Option<HeadError> {
    Some(HeadError::Malformed(what))
}

const POST: &str = "POST / HTTP/1.1";

#[test]
fn content_length_is_one_number_of_digits() {
    for value in ["", "+5", "-1", "5 5", "5,5", "0x5", "5;", "99999999999999999999", "5\u{a0}"] {
        let fields = format!("Host: a\r\nContent-Length: {value}\r\n");
        assert_eq!(refusal(POST, &fields), malformed("Content-Length"), "{value:?}");
    }
    for second in ["5", "6"] {
        let fields = format!("Host: a\r\nContent-Length: 5\r\ncontent-length: {second}\r\n");
        assert_eq!(refusal(POST, &fields), malformed("several Content-Length"));
    }
}

#[test]
fn transfer_encoding_is_one_final_chunked_and_never_beside_content_length() {
    for value in [
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked;x",
        "",
        "x chunked",
        "\"chunked\"",
    ] {
        let fields = format!("Host: a\r\nTransfer-Encoding: {value}\r\n");
        assert_eq!(refusal(POST, &fields), malformed("Transfer-Encoding"), "{value:?}");
    }
    let twice = "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(refusal(POST, twice), malformed("Transfer-Encoding"));
    let both = "Host: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(refusal(POST, both), malformed("Content-Length with Transfer-Encoding"));
    let old = refusal("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n");
    assert_eq!(old, malformed("Transfer-Encoding in HTTP/1.0"));
}

#[test]
fn lines_end_with_cr_and_lf_and_are_never_folded() {
    for text in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert!(matches!(request(text), Err(HeadError::Malformed(_))), "{text:?}");
    }
}

#[test]
fn field_names_are_tokens_right_before_their_colon() {
    for field in ["X : b", "X\t: b", ": b", "X y: b", "X(y): b", "no colon", "X\u{e9}: b", "X\0: b"] {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        assert!(matches!(request(&text), Err(HeadError::Malformed(_))), "{field:?}");
    }
}

#[test]
fn field_values_have_no_control_characters() {
    for byte in (0..=0x1f).chain([0x7f]).filter(|&byte| byte != b'\t') {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\nX: b{}c\r\n\r\n", char::from(byte));
        assert!(matches!(request(&text), Err(HeadError::Malformed(_))), "{byte:#x}");
    }
    let kept = request("GET / HTTP/1.1\r\nHost: a\r\nX:\tb\tc\u{e9} \r\n\r\n").unwrap().unwrap();
    assert_eq!(kept.headers.get("x"), Some("b\tc\u{e9}".as_bytes()));
}

#[test]
fn the_start_line_is_three_words_with_one_blank_between() {
    for start in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        " GET / HTTP/1.1",
        "GET /",
        "GET / HTTP/1.1 ",
        "G@T / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/1",
    ] {
        let refusal = refusal(start, "Host: a\r\n");
        assert!(matches!(refusal, Some(HeadError::Malformed(_))), "{start:?}: {refusal:?}");
    }
    for start in ["GET / HTTP/2.0", "GET / HTTP/1.2", "GET / HTTP/0.9"] {
        assert_eq!(refusal(start, "Host: a\r\n"), Some(HeadError::Version), "{start:?}");
    }
}

#[test]
fn targets_are_paths_urls_of_this_protocol_or_a_star_for_options() {
    for target in [
        "*",
        "a",
        "/a b",
        "/a\\b",
        "/a#b",
        "/%",
        "/%0",
        "/%zz",
        "/%00",
        "/?a\\b",
        "ftp://a/",
        "http:/a",
        "http:///x",
        "http://u@a/",
        "http://a#/",
    ] {
        let refusal = refusal(&format!("GET {target} HTTP/1.1"), "Host: a\r\n");
        assert!(matches!(refusal, Some(HeadError::Malformed(_))), "{target:?}: {refusal:?}");
    }
    for method in ["TRACE", "CONNECT"] {
        let refusal = refusal(&format!("{method} / HTTP/1.1"), "Host: a\r\n");
        assert_eq!(refusal, Some(HeadError::MethodNotAllowed));
    }
    for method in ["delete", "Get", "trace", "cONNECT"] {
        let refusal = refusal(&format!("{method} / HTTP/1.1"), "Host: a\r\n");
        assert_eq!(refusal, Some(HeadError::Malformed("method")), "{method}: no rule would know it");
    }
}

#[test]
fn there_is_one_host_and_the_target_agrees_with_it() {
    const GET: &str = "GET / HTTP/1.1";
    assert_eq!(refusal(GET, ""), malformed("no Host"));
    assert_eq!(refusal(GET, "Host: a\r\nhost: a\r\n"), malformed("several Hosts"));
    for host in [
        "a b", "a/b", "u@a", "a:b", "a:99999", "a:1:2", ":80", "[::1", "[x]", "[::1]x", "a%zz", "a,b@c",
        "\u{e9}",
    ] {
        assert_eq!(refusal(GET, &format!("Host: {host}\r\n")), malformed("Host"), "{host:?}");
    }
    for host in ["", "a", "A.b:80", "a:", "[::1]", "[::1]:8443", "a%41", "127.0.0.1:1"] {
        assert_eq!(refusal(GET, &format!("Host: {host}\r\n")), None, "{host:?}");
    }
    let absolute = "GET http://a.test/x HTTP/1.1";
    assert_eq!(refusal(absolute, "Host: A.TEST\r\n"), None);
    for host in ["b.test", "a.test:80", ""] {
        let refusal = refusal(absolute, &format!("Host: {host}\r\n"));
        assert_eq!(refusal, malformed("target and Host disagree"), "{host:?}");
    }
}

#[test]
fn an_http_1_0_client_is_never_told_to_continue() {
    let head = |version| {
        request(&format!(
            "POST / HTTP/{version}\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n"
        ))
    };
    assert!(head("1.1").unwrap().unwrap().connection.expects_continue);
    assert!(!head("1.0").unwrap().unwrap().connection.expects_continue);
    assert_eq!(refusal(POST, "Host: a\r\nExpect: x\r\n"), Some(HeadError::Expectation));
}

#[test]
fn of_a_head_that_is_refused_the_log_has_what_is_valid() {
    let asked = |text: &str| {
        let asked = asked(text.as_bytes(), true);
        (asked.method.map(|method| method.to_string()), asked.path)
    };
    let known = |method: &str, path: &str| (Some(method.to_owned()), Some(path.to_owned()));
    assert_eq!(asked("GET /a/../b//c?d=e HTTP/1.1\r\nbad"), known("GET", "/b/c"));
    assert_eq!(asked("TRACE http://a/x HTTP/9.9\r\n"), known("TRACE", "/x"));
    for target in ["/%zz", "/a#b", "/a\u{1b}[31m", "*a", "", "/a b"] {
        assert_eq!(
            asked(&format!("GET {target} HTTP/1.1\r\n")),
            (Some("GET".to_owned()), None),
            "{target:?}"
        );
    }
    for text in
        ["", "GET / HTTP/1.1", "GET / HTTP/1.1\n", "G\u{1b}T / HTTP/1.1\r\n", "GET\r\n", "\u{16}\u{3}\r\n"]
    {
        assert_eq!(asked(text), (None, None), "{text:?}");
    }
}
