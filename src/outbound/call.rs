//! One call over awc.

use std::{io, sync::Arc, time::Duration};

use actix_rt::net::TcpStream;
use actix_service::{Service, fn_service};
use actix_tls::connect::{ConnectError as TcpConnectError, ConnectInfo, Connection};
use awc::{
    Client, ClientBuilder, Connector,
    error::{PayloadError, SendRequestError},
    http::{
        Method, Uri,
        uri::{Parts, PathAndQuery, Scheme},
    },
};
use bytes::Bytes;
use rustls::ClientConfig;

use super::{ForwardProxy, OutboundError, ProxyError, proxy::host_and_port, tls};

/// Bounds on calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the submission to the last byte of the answer.
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
    /// For `https`; `None`: the system's roots.
    pub tls: Option<Arc<ClientConfig>>,
    /// The proxy to go through. Whether it serves the host is the caller's to ask.
    pub proxy: Option<Arc<ForwardProxy>>,
}

impl Call {
    pub fn new(method: Method, uri: impl Into<String>) -> Self {
        Self { method, uri: uri.into(), headers: Vec::new(), body: Bytes::new(), tls: None, proxy: None }
    }
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 200 to 599.
    pub status: u16,
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
    let Some(proxy) = &call.proxy else {
        return exchange(call, uri, &client(tls, limits), &[], limits).await;
    };
    let tunnelled = tls.is_some();
    let (uri, client, more) = match tls {
        Some(tls) => (uri, tunnelling_client(proxy, tls, limits), Vec::new()),
        None => {
            let (uri, more) = absolute_form(proxy, &uri).ok_or(OutboundError::InvalidUri)?;
            (uri, client(None, limits), more)
        }
    };
    let whose = |error: &dyn std::fmt::Display| OutboundError::Proxy(format!("{proxy}: {error}"));
    match exchange(call, uri, &client, &more, limits).await {
        // The host itself has no part in these.
        Err(error @ (OutboundError::Dns | OutboundError::ConnectTimeout | OutboundError::Connect(_))) => {
            Err(whose(&error))
        }
        Err(OutboundError::Proxy(error)) => Err(whose(&error)),
        Ok(answer) if answer.status == 407 && !tunnelled => Err(whose(&ProxyError::Refused(407))),
        outcome => outcome,
    }
}

async fn exchange(
    call: &Call,
    uri: Uri,
    client: &Client,
    more: &[(&str, String)],
    limits: &Limits,
) -> Result<Answer, OutboundError> {
    let mut request = client.request(call.method.clone(), uri).force_close();
    for (name, value) in more {
        request = request.append_header((*name, value.as_str()));
    }
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
    Ok(Answer { status, body })
}

/// For clear text through a proxy: the address of the proxy with the whole address as its path
/// (RFC 9112 section 3.2.2), and the fields that go with it.
fn absolute_form(proxy: &ForwardProxy, uri: &Uri) -> Option<(Uri, Vec<(&'static str, String)>)> {
    let host = uri.host()?;
    let authority = uri.port_u16().filter(|port| *port != 80);
    let authority = authority.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let target = format!("http://{authority}{}", uri.path_and_query().map_or("/", PathAndQuery::as_str));
    let mut parts = Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = host_and_port(&proxy.host, proxy.port).parse().ok();
    parts.path_and_query = Some(target.parse().ok()?);
    let mut fields = vec![("host", authority)];
    fields.extend(proxy.authorization().map(|value| ("proxy-authorization", value.to_owned())));
    Some((Uri::from_parts(parts).ok()?, fields))
}

/// For TLS through a proxy: by CONNECT, TLS inside.
fn tunnelling_client(proxy: &Arc<ForwardProxy>, tls: Arc<ClientConfig>, limits: &Limits) -> Client {
    let proxy = Arc::clone(proxy);
    let tunnel = fn_service::<_, _, _, _, _, ()>(move |connect: ConnectInfo<Uri>| {
        let proxy = Arc::clone(&proxy);
        async move {
            let uri = connect.request().clone();
            let authority = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
            let mut stream =
                TcpStream::connect((proxy.host.as_str(), proxy.port)).await.map_err(TcpConnectError::Io)?;
            let tunnelled = proxy.tunnel(&mut stream, &authority).await;
            tunnelled.map_err(|error| TcpConnectError::Io(io::Error::other(error)))?;
            Ok(Connection::new(uri, stream))
        }
    });
    bounded(Connector::new().connector(tunnel), Some(tls), limits)
}

fn client(tls: Option<Arc<ClientConfig>>, limits: &Limits) -> Client {
    bounded(Connector::new(), tls, limits)
}

/// A client with a connector, and so a pool, of its own: see the module.
fn bounded<S>(connector: Connector<S>, tls: Option<Arc<ClientConfig>>, limits: &Limits) -> Client
where
    S: Service<ConnectInfo<Uri>, Response = Connection<Uri, TcpStream>, Error = TcpConnectError>
        + Clone
        + 'static,
{
    let connector = connector
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
        // rustls and the tunnel report their findings inside an I/O error.
        SendRequestError::Connect(ConnectError::Io(error)) => {
            let inner = error.get_ref();
            if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                OutboundError::Tls(error.to_string())
            } else if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<ProxyError>()) {
                OutboundError::Proxy(error.to_string())
            } else {
                OutboundError::Connect(error.kind())
            }
        }
        SendRequestError::Connect(_) => OutboundError::Closed,
        SendRequestError::Send(error) => OutboundError::Connect(error.kind()),
        SendRequestError::Timeout => OutboundError::Timeout,
        _ => OutboundError::Response,
    }
}
