//! What ends an exchange with an upstream before there is a response.

use super::head::HeadError;
use crate::{
    http::{Body, BodyError},
    tls::Reason,
};

/// Why there is no response.
#[derive(Debug)]
pub struct ExchangeError {
    pub fault: Fault,
    /// Something of the request was written: the upstream may have acted on it.
    pub begun: bool,
    /// Nothing of the body has been taken: it can be sent on another connection.
    pub body_untouched: bool,
    /// Whether a byte of the response came.
    pub answered: bool,
    /// What is left of the request body.
    pub body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The upstream closed or reset the connection.
    Closed,
    /// The upstream has refused us after the handshake.
    Tls(Reason),
    /// The upstream's response cannot be trusted.
    Malformed(&'static str),
    /// The head of the upstream's response cannot be.
    Head(HeadError),
    ResponseTimeout,
    StreamIdle,
    /// The client's body broke off.
    RequestBody(BodyError),
    /// The forward proxy asks for other credentials: not the client's business.
    ProxyCredentials,
    /// Too many requests in flight (configuration reference 7.2).
    Overflow,
}
