//! Why a call failed.

use std::{error, fmt, io};

/// Why there is no answer. Holds no part of the request, so that it may be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboundError {
    /// Too many calls run and wait already.
    Busy,
    /// Not an absolute `http` or `https` address, or a header that cannot be sent.
    InvalidUri,
    Dns,
    ConnectTimeout,
    Connect(io::ErrorKind),
    /// The forward proxy gives no connection; its address and why.
    Proxy(String),
    /// The handshake failed.
    Tls(String),
    /// The system holds no certificate authority.
    NoRoots,
    /// The deadline passed.
    Timeout,
    /// The peer closed before it answered.
    Closed,
    /// The peer's bytes are no HTTP response.
    Response,
    /// The peer sent an interim response, after which awc cannot read the final one.
    Interim(u16),
    /// The body is larger than `limit` bytes.
    TooLarge {
        limit: usize,
    },
    /// The outbound thread has ended.
    Stopped,
}

impl OutboundError {
    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::InvalidUri | Self::NoRoots | Self::Stopped)
    }
}

impl fmt::Display for OutboundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many calls at a time"),
            Self::InvalidUri => f.write_str("the address or a header cannot be sent"),
            Self::Dns => f.write_str("the host name cannot be resolved"),
            Self::ConnectTimeout => f.write_str("connecting took too long"),
            Self::Connect(kind) => write!(f, "connection failed: {kind}"),
            Self::Proxy(why) => write!(f, "forward proxy {why}"),
            Self::Tls(why) => write!(f, "TLS handshake failed: {why}"),
            Self::NoRoots => f.write_str("the system has no certificate authorities"),
            Self::Timeout => f.write_str("no complete answer within the deadline"),
            Self::Closed => f.write_str("the peer closed the connection before it answered"),
            Self::Response => f.write_str("the answer is not valid HTTP"),
            Self::Interim(status) => write!(f, "the peer sent an interim response ({status})"),
            Self::TooLarge { limit } => write!(f, "the answer is larger than {limit} bytes"),
            Self::Stopped => f.write_str("outbound calls have ended"),
        }
    }
}

impl error::Error for OutboundError {}
