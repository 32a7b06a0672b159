//! Where the variables of an expression come from (reference 7.5).

use super::value::{Object, Value};

/// The request or response that an expression is evaluated for. The evaluator asks for the
/// narrowest thing the text names: `attributes.headers['x-a']` asks for one header, and only
/// `attributes.headers` on its own asks for all of them.
pub trait Scope {
    /// A member of `attributes` other than `headers`; null when it is not known (the status code
    /// in the request half).
    fn attribute(&self, attribute: Attribute) -> Value<'_>;

    /// One header by its name, which is given in lower case: values of repeated fields joined with
    /// `, `, for `set-cookie` an array; null when absent.
    fn header(&self, name: &str) -> Value<'_>;

    /// All headers: [`Object::headers`], values as in [`Scope::header`].
    fn headers(&self) -> Value<'_>;

    /// One decoded query parameter, the first of that name.
    fn query_param(&self, name: &str) -> Value<'_> {
        self.attribute(Attribute::QueryParams).member(name).unwrap_or_default()
    }

    /// The authentication object (reference 1.6) at a path of keys; the empty path is all of it.
    /// Null when absent.
    fn authentication(&self, path: &[&str]) -> Value<'_> {
        let _ = path;
        Value::Null
    }

    /// The body as [`payload_value`](super::payload_value) reads it; null when it was not captured.
    fn payload(&self) -> &Value<'_> {
        &Value::Null
    }

    /// The policy's own variables at a path of keys; unknown names are null.
    fn var(&self, path: &[&str]) -> Value<'_> {
        let _ = path;
        Value::Null
    }

    /// Randomness for `uuid()`.
    fn random(&self) -> u128 {
        fastrand::u128(..)
    }
}

/// The members of `attributes` other than `headers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    Method,
    QueryParams,
    QueryString,
    RequestPath,
    RequestUri,
    LocalAddress,
    RemoteAddress,
    Scheme,
    Version,
    /// What the client proved with TLS; ours.
    ClientCertificate,
    StatusCode,
}

impl Attribute {
    pub const ALL: [Self; 11] = [
        Self::Method,
        Self::QueryParams,
        Self::QueryString,
        Self::RequestPath,
        Self::RequestUri,
        Self::LocalAddress,
        Self::RemoteAddress,
        Self::Scheme,
        Self::Version,
        Self::ClientCertificate,
        Self::StatusCode,
    ];

    /// The name after `attributes.`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::QueryParams => "queryParams",
            Self::QueryString => "queryString",
            Self::RequestPath => "requestPath",
            Self::RequestUri => "requestUri",
            Self::LocalAddress => "localAddress",
            Self::RemoteAddress => "remoteAddress",
            Self::Scheme => "scheme",
            Self::Version => "version",
            Self::ClientCertificate => "clientCertificate",
            Self::StatusCode => "statusCode",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attribute| attribute.name() == name)
    }
}

/// The name of the headers among the attributes.
pub(super) const HEADERS: &str = "headers";

/// `attributes` as a whole: what has a value, and the headers.
pub(super) fn all_attributes(scope: &dyn Scope) -> Value<'_> {
    let mut members = vec![(HEADERS.into(), scope.headers())];
    for attribute in Attribute::ALL {
        let value = scope.attribute(attribute);
        if !value.is_null() {
            members.push((attribute.name().into(), value));
        }
    }
    Object::new(members).into()
}

/// What a template reads: decides what a policy captures and whether it buffers the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// `payload`: the policy depends on the body (reference 1.9).
    pub payload: bool,
    /// `attributes.headers` or one of them.
    pub headers: bool,
    /// All headers are wanted, not single ones.
    pub all_headers: bool,
    /// `attributes.statusCode`: meaningful in the response half only.
    pub status_code: bool,
    /// Any other attribute: data of the request, to be kept for the response half.
    pub request_attributes: bool,
    /// `authentication`.
    pub authentication: bool,
    /// `vars`.
    pub vars: bool,
    /// `uuid()`: the result differs from call to call.
    pub random: bool,
}
