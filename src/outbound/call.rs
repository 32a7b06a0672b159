//! One call over awc.

use std::{sync::Arc, time::Duration};

use awc::{
    Client, ClientBuilder, Connector,
    error::{PayloadError, SendRequestError},
    http::{Method, Uri, header::HeaderMap},
};
use bytes::Bytes;
use rustls::ClientConfig;

use super::{OutboundError, tls};

/// Bounds on calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the submission to the last byte of the answer, unless the call says otherwise.
    pub deadline: Duration,
    /// TCP and, once more, TLS.
    pub connect: Duration,
    /// Largest body of an answer.
    pub answer_bytes: usize,
    /// Calls at a time; at least 1.
    pub concurrency: usize,
    /// Calls that may wait for their turn.
    pub waiting: usize,
}

/// A request to make.
#[derive(Clone)]
pub struct Call {
    pub method: Method,
    /// Absolute, `http` or `https`.
    pub uri: String,
    /// Sent in this order; names may repeat.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// In place of [`Limits::deadline`].
    pub deadline: Option<Duration>,
    /// For `https`; `None`: the system's roots.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Call {
    pub fn new(method: Method, uri: impl Into<String>) -> Self {
        Self { method, uri: uri.into(), headers: Vec::new(), body: Bytes::new(), deadline: None, tls: None }
    }
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 200 to 599.
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Runs a call without its deadline, which the caller keeps.
pub(super) async fn run(call: &Call, limits: &Limits) -> Result<Answer, OutboundError> {
    let uri: Uri = call.uri.parse().map_err(|_| OutboundError::InvalidUri)?;
    let tls = match (uri.scheme_str(), &call.tls) {
        (Some("http"), _) => None,
        (Some("https"), Some(given)) => Some(given.clone()),
        (Some("https"), None) => Some(tls::system_roots().ok_or(OutboundError::NoRoots)?),
        _ => return Err(OutboundError::InvalidUri),
    };
    if uri.host().is_none_or(str::is_empty) {
        return Err(OutboundError::InvalidUri);
    }
    let mut request = client(tls, limits).request(call.method.clone(), uri).force_close();
    for (name, value) in &call.headers {
        request = request.append_header((name.as_str(), value.as_str()));
    }
    let response = request.send_body(call.body.clone()).await;
    let mut response = response.map_err(|error| failed(&error))?;
    let status = response.status().as_u16();
    if status < 200 {
        return Err(OutboundError::Interim(status));
    }
    let body = response.body().limit(limits.answer_bytes).await.map_err(|error| match error {
        PayloadError::Overflow => OutboundError::TooLarge { limit: limits.answer_bytes },
        _ => OutboundError::Response,
    })?;
    Ok(Answer { status, headers: response.headers().clone(), body })
}

/// A client with a connector, and so a pool, of its own: see the module.
fn client(tls: Option<Arc<ClientConfig>>, limits: &Limits) -> Client {
    let connector = Connector::new()
        .timeout(limits.connect)
        .handshake_timeout(limits.connect)
        .conn_keep_alive(Duration::ZERO)
        .conn_lifetime(Duration::ZERO);
    let connector = match tls {
        Some(config) => connector.rustls_0_23(config),
        None => connector,
    };
    ClientBuilder::new()
        .connector(connector)
        // The deadline over everything is kept by the caller.
        .disable_timeout()
        .disable_redirects()
        .no_default_headers()
        .add_default_header(("user-agent", concat!("portcullis/", env!("CARGO_PKG_VERSION"))))
        .finish()
}

fn failed(error: &SendRequestError) -> OutboundError {
    use awc::error::ConnectError;
    match error {
        SendRequestError::Url(_) | SendRequestError::Http(_) => OutboundError::InvalidUri,
        SendRequestError::Connect(ConnectError::Timeout) => OutboundError::ConnectTimeout,
        SendRequestError::Connect(ConnectError::Resolver(_) | ConnectError::NoRecords) => OutboundError::Dns,
        SendRequestError::Connect(ConnectError::Io(error)) => match error.get_ref() {
            // rustls reports its findings inside an I/O error.
            Some(inner) => inner
                .downcast_ref::<rustls::Error>()
                .map_or(OutboundError::Connect(error.kind()), |error| OutboundError::Tls(error.to_string())),
            None => OutboundError::Connect(error.kind()),
        },
        SendRequestError::Connect(_) => OutboundError::Closed,
        SendRequestError::Send(error) => OutboundError::Connect(error.kind()),
        SendRequestError::Timeout => OutboundError::Timeout,
        _ => OutboundError::Response,
    }
}
