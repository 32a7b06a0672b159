//! A response on its way back to the client.

use super::{Body, Headers};

/// Who made a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Upstream,
    /// A policy or the gateway itself.
    Gateway,
}

/// Head and body of a final response.
pub struct Response {
    /// 200 to 599; 101 where the upstream switches to a protocol that the client asked for.
    pub status: u16,
    pub headers: Headers,
    pub body: Body,
    pub origin: Origin,
    /// `content-length` that the upstream declared for a response without a body (to HEAD, or 304).
    pub declared_length: Option<u64>,
    /// The gateway's own fields are on it.
    pub stamped: bool,
}

impl Response {
    /// A response of the gateway without a body.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Headers::new(),
            body: Body::Empty,
            origin: Origin::Gateway,
            declared_length: None,
            stamped: false,
        }
    }

    /// `{"error":"<text>"}` with the content type of the reference (policies 1.5).
    pub fn json_error(status: u16, text: &str) -> Self {
        let mut response = Self::empty(status);
        let field = response.headers.append("content-type", "application/json; charset=UTF-8");
        debug_assert!(field.is_ok());
        response.body = serde_json::json!({ "error": text }).to_string().into();
        response
    }

    /// A plain text, as the proxy core answers (configuration reference 4.8).
    pub fn text(status: u16, text: &'static str) -> Self {
        let mut response = Self::empty(status);
        let field = response.headers.append("content-type", "text/plain");
        debug_assert!(field.is_ok());
        response.body = text.into();
        response
    }
}

/// The reason phrase of a status (RFC 9110 section 15); empty for one without a name.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
