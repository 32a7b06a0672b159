//! A refusal: what the client is told, what the log is told, how it is counted.

use crate::http::Response;

/// Whose fault a refusal is (policies reference 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViolationKind {
    /// The client's.
    Violation,
    /// The policy could not do its work.
    Error,
}

impl ViolationKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Violation => "VIOLATION",
            Self::Error => "ERROR",
        }
    }
}

/// The answer of a policy, or of the gateway, in place of the upstream's. Boxed: it is rare, and a
/// `Result` that carries it stays small.
#[derive(Debug)]
pub struct Rejection(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: u16,
    reason: &'static str,
    kind: ViolationKind,
    body: ErrorBody,
    headers: Vec<(&'static str, String)>,
    detail: Option<String>,
}

#[derive(Debug)]
enum ErrorBody {
    Json(String),
    Text(&'static str),
    Empty,
}

impl Rejection {
    /// `{"error":"<text>"}`. `reason` is the metric label: a short constant in snake case.
    pub fn json(status: u16, reason: &'static str, text: impl Into<String>) -> Self {
        Self::new(status, reason, ErrorBody::Json(text.into()))
    }

    /// A plain text, as the proxy core answers.
    pub fn text(status: u16, reason: &'static str, text: &'static str) -> Self {
        Self::new(status, reason, ErrorBody::Text(text))
    }

    pub fn empty(status: u16, reason: &'static str) -> Self {
        Self::new(status, reason, ErrorBody::Empty)
    }

    fn new(status: u16, reason: &'static str, body: ErrorBody) -> Self {
        let kind = if status >= 500 { ViolationKind::Error } else { ViolationKind::Violation };
        Self(Box::new(Inner { status, reason, kind, body, headers: Vec::new(), detail: None }))
    }

    /// Adds a field to the response.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    /// What the log is told, never the client. No secrets, no payload.
    #[must_use]
    pub fn log(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// The policy could not do its work although the status does not say so.
    #[must_use]
    pub fn as_error(mut self) -> Self {
        self.0.kind = ViolationKind::Error;
        self
    }

    pub fn status(&self) -> u16 {
        self.0.status
    }

    pub fn reason(&self) -> &'static str {
        self.0.reason
    }

    pub fn kind(&self) -> ViolationKind {
        self.0.kind
    }

    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    pub fn into_response(self) -> Response {
        let mut response = match self.0.body {
            ErrorBody::Json(text) => Response::json_error(self.0.status, &text),
            ErrorBody::Text(text) => Response::text(self.0.status, text),
            ErrorBody::Empty => Response::empty(self.0.status),
        };
        for (name, value) in self.0.headers {
            let field = response.headers.append(name, value);
            debug_assert!(field.is_ok(), "{name}: a policy made an invalid field");
        }
        response
    }
}
