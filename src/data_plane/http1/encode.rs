//! Heads onto the wire: framing and connection fields are written here and nowhere else.

use super::sender::SendFraming;
use crate::{
    http::{Length, Method, Request, Response, Version, response::reason_phrase},
    outbound::ForwardProxy,
};

/// Writes the head of a request to an upstream and tells how its body is framed. In clear text
/// `through` a forward proxy, `authority` is the upstream's and part of an absolute target
/// (RFC 9112 section 3.2.2).
pub fn request(
    out: &mut Vec<u8>,
    request: &Request,
    authority: &str,
    through: Option<&ForwardProxy>,
) -> SendFraming {
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    let mut path = request.target_path();
    if through.is_some() {
        out.extend_from_slice(b"http://");
        out.extend_from_slice(authority.as_bytes());
        // RFC 9112 section 3.2.4: an absolute target without a path.
        path = path.strip_prefix(b"*").unwrap_or(path);
    }
    out.extend_from_slice(path);
    if let Some(query) = request.query {
        out.push(b'?');
        out.extend_from_slice(request.headers.bytes(query));
    }
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(authority.as_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some(credentials) = through.and_then(ForwardProxy::authorization) {
        out.extend_from_slice(b"proxy-authorization: ");
        out.extend_from_slice(credentials.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    request.headers.write_to(out);
    let framing = match request.body.length() {
        Length::Known(0) => {
            // RFC 9110 section 8.6: methods that define a meaning for content say that it is empty.
            if matches!(request.method, Method::Post | Method::Put | Method::Patch) {
                out.extend_from_slice(b"content-length: 0\r\n");
            }
            SendFraming::None
        }
        Length::Known(length) => {
            content_length(out, length);
            SendFraming::Length(length)
        }
        Length::Unknown => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            SendFraming::Chunked
        }
    };
    if request.body.awaits_continue() {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    if let Some(protocols) = request.upgrade {
        upgrade(out, request.headers.bytes(protocols));
    }
    out.extend_from_slice(b"\r\n");
    framing
}

fn upgrade(out: &mut Vec<u8>, protocols: &[u8]) {
    out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
    out.extend_from_slice(protocols);
    out.extend_from_slice(b"\r\n");
}

/// How a response goes out.
#[derive(Clone, Copy, Debug)]
pub struct ResponseRules<'a> {
    /// The version that the client speaks.
    pub version: Version,
    /// The request was HEAD.
    pub to_head: bool,
    /// The connection closes after it.
    pub close: bool,
    /// The protocol that a 101 switches to.
    pub upgrade: Option<&'a str>,
}

/// Writes the head of a response to a client and tells how its body is framed.
/// [`SendFraming::UntilClose`] says that the connection must close after it.
pub fn response(out: &mut Vec<u8>, response: &Response, rules: ResponseRules<'_>) -> SendFraming {
    let status = response.status;
    out.extend_from_slice(b"HTTP/1.1 ");
    number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    response.headers.write_to(out);
    if let Some(protocol) = rules.upgrade {
        upgrade(out, protocol.as_bytes());
        out.extend_from_slice(b"\r\n");
        return SendFraming::None;
    }
    let bodiless = rules.to_head || matches!(status, 204 | 304);
    let length = response.body.length();
    let framing = match length {
        _ if status == 204 => SendFraming::None,
        _ if bodiless => {
            let declared = response.declared_length.or(match length {
                Length::Known(length) if length > 0 => Some(length),
                _ => None,
            });
            if let Some(length) = declared {
                content_length(out, length);
            }
            SendFraming::None
        }
        Length::Known(length) => {
            content_length(out, length);
            if length == 0 { SendFraming::None } else { SendFraming::Length(length) }
        }
        Length::Unknown if rules.version == Version::Http10 => SendFraming::UntilClose,
        Length::Unknown => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            SendFraming::Chunked
        }
    };
    if rules.close || framing == SendFraming::UntilClose {
        out.extend_from_slice(b"connection: close\r\n");
    } else if rules.version == Version::Http10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    framing
}

fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    number(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Writes a number in decimal, without the machinery of `write!`.
pub fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::Secret, http::Body};

    fn rules(version: Version, to_head: bool) -> ResponseRules<'static> {
        ResponseRules { version, to_head, close: false, upgrade: None }
    }

    fn encoded(message: &Response, rules: ResponseRules<'_>) -> (String, SendFraming) {
        let mut out = Vec::new();
        let framing = response(&mut out, message, rules);
        (String::from_utf8(out).unwrap(), framing)
    }

    #[test]
    fn a_request_is_written_in_origin_form_with_the_host_of_the_upstream() {
        let mut message = Request::for_test("POST", "/a/b?x=1", &[("accept", "*/*")]);
        message.body = Body::from("hello");
        let mut out = Vec::new();
        assert_eq!(request(&mut out, &message, "store.internal", None), SendFraming::Length(5));
        let expected =
            "POST /a/b?x=1 HTTP/1.1\r\nhost: store.internal\r\naccept: */*\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn through_a_forward_proxy_the_target_is_absolute_and_the_credentials_are_ours() {
        let password = Secret::new("p".to_owned());
        for (proxy, credentials) in [
            (ForwardProxy::new("proxy.test", 3128), ""),
            (
                ForwardProxy::new("proxy.test", 3128).with_credentials("u", &password),
                "proxy-authorization: Basic dTpw\r\n",
            ),
        ] {
            let mut out = Vec::new();
            let message = Request::for_test("GET", "/a?b=c", &[("x-a", "1")]);
            assert_eq!(request(&mut out, &message, "up.test:81", Some(&proxy)), SendFraming::None);
            let expected = format!(
                "GET http://up.test:81/a?b=c HTTP/1.1\r\nhost: up.test:81\r\n{credentials}x-a: 1\r\n\r\n"
            );
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn an_empty_post_says_so_and_an_empty_get_says_nothing() {
        for (method, expected) in [("POST", true), ("GET", false)] {
            let mut out = Vec::new();
            let message = Request::for_test(method, "/", &[]);
            assert_eq!(request(&mut out, &message, "h", None), SendFraming::None);
            assert_eq!(String::from_utf8(out).unwrap().contains("content-length: 0"), expected, "{method}");
        }
    }

    #[test]
    fn a_204_has_no_framing_and_a_304_keeps_the_declared_length() {
        let (head, framing) = encoded(&Response::empty(204), rules(Version::Http11, false));
        assert_eq!((head.as_str(), framing), ("HTTP/1.1 204 No Content\r\n\r\n", SendFraming::None));
        let mut message = Response::empty(304);
        message.declared_length = Some(12);
        let (head, framing) = encoded(&message, rules(Version::Http11, false));
        assert!(head.contains("content-length: 12"));
        assert_eq!(framing, SendFraming::None);
    }

    #[test]
    fn a_response_to_head_tells_the_length_of_the_body_it_does_not_send() {
        let message = Response::json_error(404, "gone");
        let (head, framing) = encoded(&message, rules(Version::Http11, true));
        assert!(head.contains("content-length: 16"), "{head}");
        assert_eq!(framing, SendFraming::None);
    }

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 9, 10, 65_535, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn http_1_0_clients_that_stay_are_told_so() {
        let (head, _) = encoded(&Response::empty(200), rules(Version::Http10, false));
        assert!(head.contains("connection: keep-alive"));
    }
}
