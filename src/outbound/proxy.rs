//! The forward proxy (configuration reference 11): whom it serves, what it is told, CONNECT.
//!
//! The conventional `HTTP_PROXY` variables have no part in it; only `spec.forwardProxy` does.

use std::{fmt, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    base::Secret,
    http::{PreambleError, read_preamble},
};

/// Largest head of an answer to CONNECT, and the most fields in it.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const ANSWER_FIELDS_MAX: usize = 64;

/// A proxy that calls to other hosts go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardProxy {
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// Value of `proxy-authorization`.
    authorization: Option<Secret>,
    /// `noProxy`, in lower case.
    direct: Vec<String>,
}

/// Why a proxy gives no connection to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// Its status; 407 asks for other credentials.
    Refused(u16),
    /// Its answer is no HTTP response.
    Malformed(&'static str),
    Closed,
}

impl ForwardProxy {
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, authorization: None, direct: Vec::new() }
    }

    /// Basic authentication (RFC 7617). A user name with a colon cannot be expressed.
    #[must_use]
    pub fn with_credentials(mut self, username: &str, password: &Secret) -> Self {
        let credentials = STANDARD.encode(format!("{username}:{}", password.expose()));
        self.authorization = Some(Secret::new(format!("Basic {credentials}")));
        self
    }

    /// Hosts that are reached directly: exact names and addresses, or suffixes with a leading dot.
    #[must_use]
    pub fn except(mut self, hosts: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.direct = hosts.into_iter().map(|host| host.as_ref().to_ascii_lowercase()).collect();
        self
    }

    /// Whether calls to a host, without brackets, go through the proxy.
    pub fn serves(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.serves_exact(&host)
            && !self.direct.iter().any(|suffix| suffix.starts_with('.') && host.ends_with(suffix.as_str()))
    }

    /// As [`Self::serves`] for the calls that heed exact names only: those of log outputs.
    pub fn serves_exact(&self, host: &str) -> bool {
        let address = host.parse::<IpAddr>().ok();
        let is_host = |entry: &String| {
            entry.eq_ignore_ascii_case(host)
                || address.is_some_and(|address| unbracketed(entry).parse() == Ok(address))
        };
        !self.direct.iter().any(is_host)
    }

    /// Value of `proxy-authorization`.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_ref().map(|value| value.expose().as_str())
    }

    /// Has the proxy connect to `authority` (`host:port`); from then on the stream leads there, its
    /// first byte unread. Has no deadline of its own.
    ///
    /// # Errors
    /// [`ProxyError`]; the stream is of no more use.
    pub async fn tunnel(&self, stream: &mut TcpStream, authority: &str) -> Result<(), ProxyError> {
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n");
        if let Some(credentials) = self.authorization() {
            request.push_str("proxy-authorization: ");
            request.push_str(credentials);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|_| ProxyError::Closed)?;
        match read_preamble(stream, parse_answer).await {
            Ok(200..=299) => Ok(()),
            Ok(status) => Err(ProxyError::Refused(status)),
            Err(PreambleError::Malformed(what)) => Err(ProxyError::Malformed(what)),
            Err(PreambleError::Closed | PreambleError::Io(_)) => Err(ProxyError::Closed),
        }
    }
}

/// `HOST:PORT`, an IPv6 address in brackets.
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// The status of an answer to CONNECT and the length of its head, which is all that counts of it:
/// what frames a body has no meaning in a 2xx (RFC 9110 section 9.3.6), and after any other the
/// connection is closed.
fn parse_answer(bytes: &[u8]) -> Result<Option<(u16, usize)>, &'static str> {
    // httparse would pass over empty lines.
    if bytes.first().is_some_and(|first| *first != b'H') {
        return Err("it does not begin with HTTP");
    }
    let mut fields = [httparse::EMPTY_HEADER; ANSWER_FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut fields);
    let length = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= ANSWER_BYTES_MAX => {
            return Err("its head is too long");
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("its head has too many fields"),
        Err(_) => return Err("it is no HTTP response"),
    };
    let head = &bytes[..length];
    // httparse takes a bare LF for a line end.
    if memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r') {
        return Err("it is no HTTP response");
    }
    match answer.code {
        // Nothing was asked that an interim response could answer.
        Some(status @ 200..=599) => Ok(Some((status, length))),
        _ => Err("it has no final status"),
    }
}

impl fmt::Display for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", host_and_port(&self.host, self.port))
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(407) => f.write_str("it asks for other credentials (status 407)"),
            Self::Refused(status) => write!(f, "it refused to connect (status {status})"),
            Self::Malformed(what) => write!(f, "its answer cannot be understood: {what}"),
            Self::Closed => f.write_str("it closed the connection"),
        }
    }
}

impl std::error::Error for ProxyError {}

#[cfg(test)]
mod tests;
