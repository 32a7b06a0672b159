//! A request on its way through the gateway.

use std::{net::SocketAddr, rc::Rc};

use super::{Body, ClientCertificate, Headers, Method, Span};
use crate::base::Digest;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

impl Version {
    /// The spelling of `attributes.version` (policies reference 7.5).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The client's side of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub remote: SocketAddr,
    pub local: SocketAddr,
    pub scheme: Scheme,
    /// Whose certificates its port accepted when the connection was made; `None` in plain text.
    pub trust: Option<Digest>,
    /// What the client has proved to be, where its port asks for certificates.
    pub certificate: Option<Box<ClientCertificate>>,
    address: Box<str>,
}

impl Peer {
    pub fn new(remote: SocketAddr, local: SocketAddr, scheme: Scheme) -> Self {
        let address = remote.ip().to_canonical().to_string().into();
        Self { remote, local, scheme, trust: None, certificate: None, address }
    }

    /// After a TLS handshake under this trust.
    #[must_use]
    pub fn secured(self, trust: Digest, certificate: Option<ClientCertificate>) -> Self {
        Self { trust: Some(trust), certificate: certificate.map(Box::new), ..self }
    }

    /// The remote IP address as text, an IPv4 address mapped into IPv6 as IPv4.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Head and body of a request. Path, query and authority are spans of the text that the header
/// fields lie in.
pub struct Request {
    pub method: Method,
    pub version: Version,
    pub headers: Headers,
    pub body: Body,
    pub peer: Rc<Peer>,
    /// Normalised (see [`super::path`]), starts with `/`.
    pub path: Span,
    /// Without `?`.
    pub query: Option<Span>,
    /// The value of `Host`, or of the authority of an absolute target.
    pub authority: Span,
    /// The protocols, in order, that the client asks to switch to (RFC 9110 section 7.8).
    pub upgrade: Option<Span>,
    /// `OPTIONS *`: the path is `/`, but the server as a whole is asked (RFC 9110 section 9.3.7).
    pub whole_server: bool,
}

impl Request {
    /// The normalised path, without query.
    pub fn path(&self) -> &str {
        self.headers.str(self.path)
    }

    /// The raw query without `?`; `None` where the target has no `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|query| self.headers.str(query))
    }

    /// Path with `?` and query.
    pub fn path_and_query(&self) -> String {
        match self.query() {
            Some(query) => format!("{}?{query}", self.path()),
            None => self.path().to_owned(),
        }
    }

    /// What stands for the path in a request target: the path, or `*`.
    pub fn target_path(&self) -> &[u8] {
        if self.whole_server { b"*" } else { self.headers.bytes(self.path) }
    }

    /// Host and, if given, port as the client wrote them.
    pub fn authority(&self) -> &str {
        self.headers.str(self.authority)
    }

    /// The authority without its port.
    pub fn host(&self) -> &str {
        host_of(self.authority())
    }

    /// The same head once more.
    pub fn without_body(&self) -> Self {
        Self {
            method: self.method.clone(),
            version: self.version,
            headers: self.headers.clone(),
            body: Body::Empty,
            peer: Rc::clone(&self.peer),
            path: self.path,
            query: self.query,
            authority: self.authority,
            upgrade: self.upgrade,
            whole_server: self.whole_server,
        }
    }

    /// A request as a parser would make it, for tests of policies and routes.
    ///
    /// # Panics
    /// If the path is not valid.
    #[cfg(test)]
    pub fn for_test(method: &str, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut text = Headers::new();
        let (raw, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let path = super::path::normalise(raw.as_bytes(), true).expect("a valid path");
        let path = text.push_text(&path);
        let query = query.map(|query| text.push_text(query.as_bytes()));
        let host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let authority = text.push_text(host.map_or("api.test", |(_, value)| value).as_bytes());
        for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
            text.append(name, value).expect("a valid field");
        }
        Self {
            method: Method::from_token(method).unwrap(),
            version: Version::Http11,
            headers: text,
            body: Body::Empty,
            peer: Rc::new(Peer::new(
                SocketAddr::from(([192, 0, 2, 7], 50_000)),
                SocketAddr::from(([127, 0, 0, 1], 8080)),
                Scheme::Http,
            )),
            path,
            query,
            authority,
            upgrade: None,
            whole_server: false,
        }
    }
}

/// The host of an authority: without `:port`, brackets of an IPv6 literal kept.
pub fn host_of(authority: &str) -> &str {
    let end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    &authority[..end]
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn the_host_is_the_authority_without_its_port() {
        assert_eq!(host_of("example.com:8080"), "example.com");
        assert_eq!(host_of("example.com"), "example.com");
        assert_eq!(host_of("[::1]:80"), "[::1]");
        assert_eq!(host_of("[::1]"), "[::1]");
        assert_eq!(host_of(""), "");
    }
}
