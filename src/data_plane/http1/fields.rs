//! Fields into types and [`Headers`].

use super::{
    head::{ConnectionFields, Framing, HeadError, line_end},
    target::is_authority,
};
use crate::http::{
    Headers, Span, Version,
    headers::{is_text_of_lines, is_token, token_len, trim},
};

/// Fields that `Connection` may name: each of them is looked for.
const NOMINATED_MAX: usize = 64;

/// Reads field lines and sorts the fields into types and [`Headers`].
pub struct FieldReader<'b> {
    /// The head, from its first byte; what follows it is not looked at.
    received: &'b [u8],
    pub headers: Headers,
    pub content_length: Option<u64>,
    chunked: bool,
    /// Coded in a way that is not a single final `chunked`.
    other_coding: bool,
    pub host: Option<Span>,
    pub connection: ConnectionFields,
    pub unknown_expectation: bool,
    /// Names in `Connection`, of fields that would otherwise be forwarded.
    nominated: Vec<&'b [u8]>,
    upgrade: Option<Span>,
    several_upgrades: bool,
}

impl<'b> FieldReader<'b> {
    pub fn new(received: &'b [u8]) -> Self {
        Self {
            received,
            headers: Headers::new(),
            content_length: None,
            chunked: false,
            other_coding: false,
            host: None,
            connection: ConnectionFields::default(),
            unknown_expectation: false,
            nominated: Vec::new(),
            upgrade: None,
            several_upgrades: false,
        }
    }

    /// Reads from the first field line, at `start`, to the empty line; where the head ends, or `None`
    /// if that line has not come yet.
    pub fn read_all(&mut self, start: usize, fields_max: usize) -> Result<Option<usize>, HeadError> {
        let mut at = start;
        let received = self.received;
        for (fields, line_feed) in memchr::memchr_iter(b'\n', &received[start..]).enumerate() {
            let next = start + line_feed + 1;
            let end = line_end(received, at, next)?;
            if end == at {
                // The start line, the fields, and this one.
                if !is_text_of_lines(&received[..next], fields + 2) {
                    return Err(HeadError::Malformed("control character"));
                }
                // The spans of all fields are those of one text, which is the head as it came.
                self.headers.push_text(&received[..next]);
                for name in std::mem::take(&mut self.nominated) {
                    self.headers.remove(std::str::from_utf8(name).unwrap_or_default());
                }
                return Ok(Some(next));
            }
            if fields == fields_max {
                return Err(HeadError::TooManyFields);
            }
            self.field(at, end)?;
            at = next;
        }
        Ok(None)
    }

    /// `field-name ":" OWS field-value OWS` (RFC 9112 section 5), nothing between name and colon.
    fn field(&mut self, start: usize, end: usize) -> Result<(), HeadError> {
        let line = &self.received[start..end];
        let colon = token_len(line);
        if colon == 0 || line.get(colon) != Some(&b':') {
            return Err(HeadError::Malformed("field name"));
        }
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        let span =
            |part: &[u8]| Headers::span_at(part.as_ptr().addr() - self.received.as_ptr().addr(), part.len());
        match ConnectionField::of(name) {
            None => self.headers.push_spans(span(name), span(value)),
            Some(ConnectionField::ContentLength) => self.content_length(value)?,
            Some(ConnectionField::TransferEncoding) => {
                self.other_coding |= self.chunked || !value.eq_ignore_ascii_case(b"chunked");
                self.chunked = true;
            }
            Some(ConnectionField::Host) => {
                if self.host.is_some() {
                    return Err(HeadError::Malformed("several Hosts"));
                }
                if !is_authority(value) {
                    return Err(HeadError::Malformed("Host"));
                }
                self.host = Some(span(value));
            }
            Some(ConnectionField::Connection) => self.connection_options(value)?,
            Some(ConnectionField::Expect) => {
                if value.eq_ignore_ascii_case(b"100-continue") {
                    self.connection.expects_continue = true;
                } else {
                    self.unknown_expectation = true;
                }
            }
            Some(ConnectionField::Upgrade) => {
                self.several_upgrades |= self.upgrade.replace(span(value)).is_some();
            }
            Some(ConnectionField::Dropped) => {}
        }
        Ok(())
    }

    /// Digits only; repeated or listed values are refused even when they agree (issue: never guess).
    fn content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if self.content_length.is_some() {
            return Err(HeadError::Malformed("several Content-Length"));
        }
        self.content_length = Some(parse_length(value).ok_or(HeadError::Malformed("Content-Length"))?);
        Ok(())
    }

    fn connection_options(&mut self, value: &'b [u8]) -> Result<(), HeadError> {
        for option in value.split(|&b| b == b',').map(trim).filter(|option| !option.is_empty()) {
            if !is_token(option) {
                return Err(HeadError::Malformed("Connection"));
            }
            if option.eq_ignore_ascii_case(b"close") {
                self.connection.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.connection.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.connection.upgrade = true;
            } else if self.nominated.len() == NOMINATED_MAX {
                return Err(HeadError::Malformed("Connection"));
            } else {
                self.nominated.push(option);
            }
        }
        Ok(())
    }

    pub fn request_framing(&self, version: Version) -> Result<Framing, HeadError> {
        self.check_codings(version)?;
        Ok(match self.content_length {
            _ if self.chunked => Framing::Chunked,
            None | Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
        })
    }

    pub fn response_framing(
        &self,
        version: Version,
        status: u16,
        to_head: bool,
    ) -> Result<Framing, HeadError> {
        let bodiless = matches!(status, 100..=199 | 204);
        if bodiless && (self.chunked || self.content_length.is_some_and(|length| length > 0)) {
            return Err(HeadError::Malformed("framing on a response without body"));
        }
        self.check_codings(version)?;
        Ok(match self.content_length {
            _ if bodiless || to_head || status == 304 => Framing::None,
            _ if self.chunked => Framing::Chunked,
            Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }

    /// The value of `Upgrade`, if `Connection` announces it and there is one field only.
    pub fn upgrade(&self) -> Option<Span> {
        self.upgrade.filter(|_| self.connection.upgrade && !self.several_upgrades)
    }

    fn check_codings(&self, version: Version) -> Result<(), HeadError> {
        if self.other_coding {
            return Err(HeadError::Malformed("Transfer-Encoding"));
        }
        if self.chunked && self.content_length.is_some() {
            return Err(HeadError::Malformed("Content-Length with Transfer-Encoding"));
        }
        if self.chunked && version == Version::Http10 {
            return Err(HeadError::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        Ok(())
    }
}

/// The value of `content-length`: digits only.
pub fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |sum: u64, &b| sum * 10 + u64::from(b - b'0')))
}

/// Fields that concern one connection, or become types, and so never enter [`Headers`].
pub enum ConnectionField {
    ContentLength,
    TransferEncoding,
    Host,
    Connection,
    Expect,
    Upgrade,
    /// Hop-by-hop without use here (RFC 9110 section 7.6.1).
    Dropped,
}

impl ConnectionField {
    pub fn of(name: &[u8]) -> Option<Self> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        Some(match name.len() {
            2 if is("te") => Self::Dropped,
            4 if is("host") => Self::Host,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::Dropped,
            14 if is("content-length") => Self::ContentLength,
            14 if is("http2-settings") => Self::Dropped,
            16 if is("proxy-connection") => Self::Dropped,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            _ => return None,
        })
    }
}

/// Whether a name may not be a trailer field (RFC 9110 section 6.5.1): framing, routing,
/// authentication, the connection's own fields, and what the gateway says of the client in the head.
pub fn is_forbidden_trailer(name: &str) -> bool {
    const FORBIDDEN: [&str; 15] = [
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-type",
        "cookie",
        "forwarded",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "set-cookie",
        "trailer",
        "x-real-ip",
        "x-request-id",
    ];
    let begins = |with: &str| name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    ConnectionField::of(name.as_bytes()).is_some()
        || begins("x-forwarded-")
        || begins("x-envoy-")
        || FORBIDDEN.iter().any(|field| name.eq_ignore_ascii_case(field))
}
