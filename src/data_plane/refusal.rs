//! Refusals of what is not a request yet: no policy has seen it, no instance was chosen.

use super::http1::head::HeadError;
use crate::http::Method;

/// A request that is refused before it is one.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    Head(HeadError),
    HeadTooLarge,
    HeadTimeout,
    BodyTooLarge,
    /// The connection was made when its port asked for no certificate, and it does now.
    Unproven,
}

/// What was asked for, as far as it was read and is valid: for the access log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub method: Option<Method>,
    /// In its normal form, without a query.
    pub path: Option<String>,
}

impl Refusal {
    /// Decision 5.
    pub fn status(self) -> u16 {
        match self {
            Self::Head(HeadError::Malformed(_)) => 400,
            Self::Head(HeadError::TooManyFields) | Self::HeadTooLarge => 431,
            Self::Head(HeadError::Version) => 505,
            Self::Head(HeadError::MethodNotAllowed) => 405,
            Self::Head(HeadError::Expectation) => 417,
            Self::HeadTimeout => 408,
            Self::BodyTooLarge => 413,
            // RFC 9110 section 15.5.20: on another connection it would be served.
            Self::Unproven => 421,
        }
    }

    /// The metric label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Head(HeadError::Malformed(_)) => "malformed_head",
            Self::Head(HeadError::TooManyFields) => "too_many_fields",
            Self::Head(HeadError::Version) => "version",
            Self::Head(HeadError::MethodNotAllowed) => "method",
            Self::Head(HeadError::Expectation) => "expectation",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::Unproven => "client_certificate_missing",
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "Payload Too Large",
            other => crate::http::response::reason_phrase(other.status()),
        }
    }
}
