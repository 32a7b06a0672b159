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
