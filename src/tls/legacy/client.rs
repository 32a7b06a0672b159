//! The client's side. Sessions are not resumed: OpenSSL's interface for it needs `unsafe`.

use std::sync::{Arc, OnceLock};

use openssl::{
    error::ErrorStack,
    ssl::{Ssl, SslContext, SslMethod, SslOptions, SslVerifyMode},
};
use rustls::{
    Error,
    client::danger::ServerCertVerifier,
    pki_types::{ServerName, UnixTime},
};
use tokio::net::TcpStream;

use super::{Stream, Verdict, builder, check_suites, explain, internal, judge, present};
use crate::tls::{
    self, Failure, Outbound, Protocol, Reason, Version, alpn, outbound::Connected, verify::ServerVerifier,
};

/// `SSL_OP_LEGACY_SERVER_CONNECT`, which the crate does not name.
const LEGACY_SERVER_CONNECT: SslOptions = SslOptions::from_bits_retain(1 << 2);

/// A service's context.
pub struct Client {
    context: SslContext,
    verifier: Arc<ServerVerifier>,
}

impl Client {
    /// # Errors
    /// Of OpenSSL, if it lacks suites; the checks of the description leave none.
    pub fn new(outbound: &Outbound) -> Result<Self, Error> {
        check_suites()?;
        let verifier = outbound.trust.verifier()?;
        let context = context(outbound).map_err(internal)?;
        Ok(Self { context, verifier })
    }

    /// As [`crate::tls::OutboundContext::connect`].
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn connect(&self, name: &ServerName<'static>, socket: TcpStream) -> Result<Connected, Failure> {
        let verdict: Verdict = Arc::new(OnceLock::new());
        let begun = self.begin(name, &verdict).and_then(|ssl| Stream::new(ssl, socket.into()));
        let mut stream = begun.map_err(|error| Failure::new(Reason::Unexpected, error.to_string()))?;
        stream.handshake().await.map_err(|error| explain(&error, Some(&verdict)))?;
        // What was not judged is not accepted, whatever OpenSSL thinks of it.
        if !matches!(verdict.get(), Some(Ok(()))) {
            return Err(Failure::new(Reason::CertificateRefused, "the certificate was not verified"));
        }
        let protocol = stream.ssl().selected_alpn_protocol().and_then(Protocol::of);
        if protocol == Some(Protocol::H2) && stream.version() < Version::V1_2 {
            return Err(Failure::new(Reason::NoCommonProtocol, "the server chose HTTP/2 over TLS 1.1"));
        }
        Ok(Connected { stream: tls::Stream::OpenSsl(Box::new(stream)), protocol })
    }

    fn begin(&self, name: &ServerName<'static>, verdict: &Verdict) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        if let ServerName::DnsName(host) = name {
            // The final dot of an absolute name is not sent (RFC 6066 section 3).
            ssl.set_hostname(host.as_ref().trim_end_matches('.'))?;
        }
        let (verifier, verdict, name) = (Arc::clone(&self.verifier), Arc::clone(verdict), name.clone());
        ssl.set_verify_callback(SslVerifyMode::PEER, move |clean, found| {
            judge(clean, found, &verdict, |own, others| {
                verifier.verify_server_cert(own, others, &name, &[], UnixTime::now()).map(|_| ())
            })
        });
        ssl.set_connect_state();
        Ok(ssl)
    }
}

fn context(outbound: &Outbound) -> Result<SslContext, ErrorStack> {
    let mut builder = builder(SslMethod::tls_client(), &outbound.negotiable)?;
    // Old servers know nothing of secure renegotiation (RFC 5746); we never renegotiate.
    builder.set_options(LEGACY_SERVER_CONNECT);
    if let Some(identity) = &outbound.identity {
        present(&mut builder, identity)?;
    }
    if !outbound.negotiable.alpn.is_empty() {
        builder.set_alpn_protos(&alpn::encode(&outbound.negotiable.alpn))?;
    }
    Ok(builder.build())
}
