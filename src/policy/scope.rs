//! What the expressions of policies read (policies reference 7.5): a request on its way in, or a
//! response together with what was kept of its request.

use std::{borrow::Cow, rc::Rc};

use percent_encoding::percent_decode;

use super::{ConfigProblem, Exchange, PolicyServices};
use crate::{
    expression::{Attribute, Object, Scope, Template, Uses, Value},
    http::{Headers, Method, Peer, Request, Response, Span, Version, headers::into_text},
};

#[cfg(test)]
mod tests;

/// A policy's own variables, `vars.…`.
pub trait Variables {
    /// The value at a path of keys; all of them for the empty path, null for unknown names.
    fn var(&self, path: &[&str]) -> Value<'_>;
}

/// The request half.
pub struct RequestScope<'a> {
    request: &'a Request,
    exchange: &'a Exchange,
    extras: Extras<'a>,
}

/// The response half. `attributes.headers` are of the response, other attributes of the request, if they were kept.
pub struct ResponseScope<'a> {
    response: &'a Response,
    request: &'a RequestView,
    exchange: &'a Exchange,
    extras: Extras<'a>,
}

#[derive(Clone, Copy, Default)]
struct Extras<'a> {
    payload: Option<&'a Value<'static>>,
    variables: Option<&'a dyn Variables>,
}

impl<'a> RequestScope<'a> {
    pub fn new(request: &'a Request, exchange: &'a Exchange) -> Self {
        Self { request, exchange, extras: Extras::default() }
    }

    #[must_use]
    pub fn with_payload(mut self, payload: &'a Value<'static>) -> Self {
        self.extras.payload = Some(payload);
        self
    }

    #[must_use]
    pub fn with_variables(mut self, variables: &'a dyn Variables) -> Self {
        self.extras.variables = Some(variables);
        self
    }
}

impl<'a> ResponseScope<'a> {
    pub fn new(response: &'a Response, request: &'a RequestView, exchange: &'a Exchange) -> Self {
        Self { response, request, exchange, extras: Extras::default() }
    }

    #[must_use]
    pub fn with_payload(mut self, payload: &'a Value<'static>) -> Self {
        self.extras.payload = Some(payload);
        self
    }

    #[must_use]
    pub fn with_variables(mut self, variables: &'a dyn Variables) -> Self {
        self.extras.variables = Some(variables);
        self
    }
}

impl Scope for RequestScope<'_> {
    fn attribute(&self, attribute: Attribute) -> Value<'_> {
        RequestHead::of(self.request).attribute(attribute)
    }

    fn header(&self, name: &str) -> Value<'_> {
        RequestHead::of(self.request).header(name)
    }

    fn headers(&self) -> Value<'_> {
        RequestHead::of(self.request).headers()
    }

    fn query_param(&self, name: &str) -> Value<'_> {
        query_param(self.request.query(), name)
    }

    fn authentication(&self, path: &[&str]) -> Value<'_> {
        authentication(self.exchange, path)
    }

    fn payload(&self) -> &Value<'_> {
        self.extras.payload.unwrap_or(&Value::Null)
    }

    fn var(&self, path: &[&str]) -> Value<'_> {
        self.extras.variables.map_or(Value::Null, |variables| variables.var(path))
    }
}

impl Scope for ResponseScope<'_> {
    fn attribute(&self, attribute: Attribute) -> Value<'_> {
        match attribute {
            Attribute::StatusCode => self.response.status.into(),
            _ => self.request.head().map_or(Value::Null, |head| head.attribute(attribute)),
        }
    }

    fn header(&self, name: &str) -> Value<'_> {
        response_field(&self.response.headers, self.response_length(), name)
    }

    fn headers(&self) -> Value<'_> {
        let length = self.response_length();
        let headers = &self.response.headers;
        all_fields(headers, ["content-length"].into_iter(), |name| response_field(headers, length, name))
    }

    fn query_param(&self, name: &str) -> Value<'_> {
        query_param(self.request.query(), name)
    }

    fn authentication(&self, path: &[&str]) -> Value<'_> {
        authentication(self.exchange, path)
    }

    fn payload(&self) -> &Value<'_> {
        self.extras.payload.unwrap_or(&Value::Null)
    }

    fn var(&self, path: &[&str]) -> Value<'_> {
        self.extras.variables.map_or(Value::Null, |variables| variables.var(path))
    }
}

impl ResponseScope<'_> {
    fn response_length(&self) -> Option<u64> {
        self.response.declared_length.or_else(|| self.response.body.stated_length())
    }
}

/// What is kept of a request for the time when only its response is there. Its texts lie in a
/// recycled head, so that keeping them costs no allocation in steady state.
pub struct RequestView {
    kept: Option<Kept>,
}

struct Kept {
    method: Method,
    version: Version,
    peer: Rc<Peer>,
    text: Headers,
    path: Span,
    query: Option<Span>,
    authority: Span,
    length: Option<u64>,
    upgrade: Option<Span>,
    expects: bool,
}

impl RequestView {
    /// Keeps what expressions with these uses can ask for in the response half.
    pub fn capture(request: &Request, uses: Uses) -> Self {
        if !uses.request_attributes {
            return Self { kept: None };
        }
        let mut text = Headers::new();
        let path = text.push_text(request.path().as_bytes());
        let query = request.query().map(|query| text.push_text(query.as_bytes()));
        Self { kept: Some(Kept { text, path, query, ..Kept::without_text(request) }) }
    }

    /// Keeps the request's header fields too, for `vars.request.headers`.
    pub fn capture_with_headers(request: &Request) -> Self {
        // The spans of path, query and authority hold in a copy of the head.
        let kept = Kept {
            text: request.headers.clone(),
            path: request.path,
            query: request.query,
            authority: request.authority,
            upgrade: request.upgrade,
            ..Kept::without_text(request)
        };
        Self { kept: Some(kept) }
    }

    /// An attribute of the request; null when nothing was kept.
    pub fn attribute(&self, attribute: Attribute) -> Value<'_> {
        self.head().map_or(Value::Null, |head| head.attribute(attribute))
    }

    /// A header field of the request by its name in lower case.
    pub fn header(&self, name: &str) -> Value<'_> {
        self.head().map_or(Value::Null, |head| head.header(name))
    }

    /// All kept header fields of the request.
    pub fn headers(&self) -> Value<'_> {
        self.head().map_or(Value::Null, |head| head.headers())
    }

    fn query(&self) -> Option<&str> {
        self.head().and_then(|head| head.query)
    }

    /// What was kept; `None` when nothing was.
    pub fn head(&self) -> Option<RequestHead<'_>> {
        let kept = self.kept.as_ref()?;
        Some(RequestHead {
            method: &kept.method,
            version: kept.version,
            path: kept.text.str(kept.path),
            query: kept.query.map(|query| kept.text.str(query)),
            authority: kept.text.str(kept.authority),
            headers: &kept.text,
            length: kept.length,
            upgrade: kept.upgrade.map(|protocols| kept.text.str(protocols)),
            expects: kept.expects,
            peer: &kept.peer,
        })
    }
}

impl Kept {
    fn without_text(request: &Request) -> Self {
        Self {
            method: request.method.clone(),
            version: request.version,
            peer: Rc::clone(&request.peer),
            text: Headers::default(),
            path: Span::default(),
            query: None,
            authority: Span::default(),
            length: request.body.stated_length(),
            upgrade: None,
            expects: request.body.awaits_continue(),
        }
    }
}

/// The head of a request, wherever it is kept.
pub struct RequestHead<'a> {
    method: &'a Method,
    version: Version,
    path: &'a str,
    query: Option<&'a str>,
    authority: &'a str,
    headers: &'a Headers,
    length: Option<u64>,
    upgrade: Option<&'a str>,
    expects: bool,
    peer: &'a Peer,
}

impl<'a> RequestHead<'a> {
    pub fn of(request: &'a Request) -> Self {
        Self {
            method: &request.method,
            version: request.version,
            path: request.path(),
            query: request.query(),
            authority: request.authority(),
            headers: &request.headers,
            length: request.body.stated_length(),
            upgrade: request.upgrade.map(|protocols| request.headers.str(protocols)),
            expects: request.body.awaits_continue(),
            peer: &request.peer,
        }
    }

    pub fn attribute(&self, attribute: Attribute) -> Value<'a> {
        match attribute {
            Attribute::Method => self.method.as_str().into(),
            Attribute::QueryParams => query_params(self.query),
            Attribute::QueryString => self.query.unwrap_or_default().into(),
            Attribute::RequestPath => self.path.into(),
            Attribute::RequestUri => match self.query {
                Some(query) => format!("{}?{query}", self.path).into(),
                None => self.path.into(),
            },
            Attribute::LocalAddress => self.peer.local.to_string().into(),
            Attribute::RemoteAddress => self.peer.remote.to_string().into(),
            Attribute::Scheme => self.peer.scheme.as_str().into(),
            Attribute::Version => self.version.as_str().into(),
            Attribute::ClientCertificate => client_certificate(self.peer),
            Attribute::StatusCode => Value::Null,
        }
    }

    /// A header field by its name in lower case, as the client sent it: also those that describe the
    /// body or the connection and are no members of [`Headers`]. Rules and expressions read it here.
    pub fn field(&self, name: &str) -> Option<Cow<'a, str>> {
        self.field_bytes(name).map(into_text)
    }

    /// As [`Self::field`], as the bytes that it is.
    pub fn field_bytes(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        match name {
            "host" => Some(self.authority.as_bytes()).filter(|host| !host.is_empty()).map(Cow::Borrowed),
            "content-length" => self.length.map(|length| Cow::Owned(length.to_string().into_bytes())),
            "upgrade" => self.upgrade.map(|protocols| Cow::Borrowed(protocols.as_bytes())),
            "expect" => self.expects.then_some(Cow::Borrowed(b"100-continue")),
            name => self.headers.joined_bytes(name),
        }
    }

    pub fn header(&self, name: &str) -> Value<'a> {
        self.field(name).map_or(Value::Null, Value::String)
    }

    pub fn headers(&self) -> Value<'a> {
        let beside = ["host", "content-length", "upgrade", "expect"];
        all_fields(self.headers, beside.into_iter(), |name| self.header(name))
    }
}

const SET_COOKIE: &str = "set-cookie";

/// One header field of a response. Its length is no member of [`Headers`], but readers expect it.
fn response_field<'a>(headers: &'a Headers, length: Option<u64>, name: &str) -> Value<'a> {
    match name {
        "content-length" => length.map(|length| length.to_string()).into(),
        SET_COOKIE => match headers.contains(name) {
            true => headers.get_all(name).map(text).map(Value::String).collect::<Vec<_>>().into(),
            false => Value::Null,
        },
        _ => headers.joined(name).map_or(Value::Null, Value::String),
    }
}

/// All header fields, each name once, in lower case: those of `headers`, and those that `beside` has.
fn all_fields<'a>(
    headers: &'a Headers,
    beside: impl Iterator<Item = &'static str>,
    field: impl Fn(&str) -> Value<'a>,
) -> Value<'a> {
    let mut members: Vec<(Cow<'a, str>, Value<'a>)> = Vec::with_capacity(headers.len() + 2);
    for name in beside {
        match field(name) {
            Value::Null => {}
            value => members.push((name.into(), value)),
        }
    }
    for (name, _) in headers.iter() {
        if members.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            continue;
        }
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        let value = field(&name);
        members.push((name, value));
    }
    Object::headers(members).into()
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// A form-encoded text decoded: `+` is a blank. Malformed escapes stay as they are.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let blanks = text.replace('+', " ");
    Cow::Owned(percent_decode(blanks.as_bytes()).decode_utf8_lossy().into_owned())
}

fn query_param<'a>(query: Option<&'a str>, name: &str) -> Value<'a> {
    pairs(query).find(|(key, _)| key == name).map_or(Value::Null, |(_, value)| Value::String(value))
}

/// Of a repeated parameter the first value.
fn query_params(query: Option<&str>) -> Value<'_> {
    let mut members: Vec<_> = pairs(query).map(|(key, value)| (key, Value::String(value))).collect();
    // `Object::new` keeps the last of equal keys.
    members.reverse();
    let object = Object::new(members);
    let mut members: Vec<_> = object.members().to_vec();
    members.reverse();
    Object::new(members).into()
}

/// What the client proved to be in the TLS handshake.
fn client_certificate(peer: &Peer) -> Value<'static> {
    let Some(certificate) = &peer.certificate else { return Value::Null };
    Value::from(serde_json::json!({
        "subject": certificate.subject,
        "dnsNames": certificate.dns_names,
        "uris": certificate.uris,
        "ipAddresses": certificate.addresses,
        "emailAddresses": certificate.emails,
        "fingerprint": certificate.fingerprint,
    }))
}

/// The authentication object at a path (policies reference 1.6).
fn authentication(exchange: &Exchange, path: &[&str]) -> Value<'static> {
    let Some(who) = exchange.authentication() else { return Value::Null };
    let text = |text: &Option<String>| Value::from(text.clone());
    match path {
        [] => Object::new(vec![
            ("principal".into(), text(&who.principal)),
            ("clientId".into(), text(&who.client_id)),
            ("clientName".into(), text(&who.client_name)),
            ("properties".into(), serde_json::Value::Object(who.properties.clone()).into()),
        ])
        .into(),
        ["principal"] => text(&who.principal),
        ["clientId"] => text(&who.client_id),
        ["clientName"] => text(&who.client_name),
        ["properties"] => serde_json::Value::Object(who.properties.clone()).into(),
        ["properties", first, rest @ ..] => {
            // Only the branch that is asked for is copied, not every claim of a token.
            let Some(mut json) = who.properties.get(*first) else { return Value::Null };
            let mut rest = rest;
            while let (serde_json::Value::Object(members), [key, deeper @ ..]) = (json, rest) {
                let Some(member) = members.get(*key) else { return Value::Null };
                (json, rest) = (member, deeper);
            }
            Value::from(json.clone()).at(rest).into_owned()
        }
        _ => Value::Null,
    }
}

/// Passes on what is allowed in an expression but probably not meant.
pub fn advise(services: &PolicyServices, field: &str, template: &Template) {
    for warning in template.warnings() {
        services.warn(ConfigProblem::new(field, warning.message.as_str()).help(warning.help.as_str()));
    }
}
