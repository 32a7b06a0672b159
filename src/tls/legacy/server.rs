//! The server's side.

use std::sync::{Arc, LazyLock, OnceLock};

use openssl::{
    error::ErrorStack,
    ex_data::Index,
    ssl::{
        AlpnError, NameType, SniError, Ssl, SslContext, SslMethod, SslOptions, SslRef, SslSessionCacheMode,
        SslVerifyMode, SslVersion,
    },
    stack::Stack,
    x509::X509Name,
};
use rustls::{
    Error,
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
};

use super::{Stream, Verdict, builder, check_suites, explain, internal, judge, present};
use crate::tls::{
    self, Failure, Inbound, Protocol, Reason,
    hello::Greeted,
    identity::Identity,
    inbound::{Accepted, Proven, Refused, reverify},
    sessions::{SESSIONS_MAX, Sessions},
    trust::ClientCertificates,
    verify::ClientVerifier,
};

/// A port's context.
pub struct Server(Arc<Parts>);

struct Parts {
    /// Its sessions outlive changed certificates: connections begin with it.
    sessions: Arc<Sessions<SslContext>>,
    described: Arc<Inbound>,
    /// One for each certificate.
    contexts: Vec<SslContext>,
    clients: Option<(Arc<ClientVerifier>, SslVerifyMode)>,
}

/// Where a connection keeps what its port presents.
static PARTS: LazyLock<Result<Index<Ssl, Arc<Parts>>, ErrorStack>> = LazyLock::new(Ssl::new_ex_index);

impl Server {
    /// # Errors
    /// Of OpenSSL, if it lacks suites; the checks of the description leave none.
    pub fn new(inbound: &Arc<Inbound>, before: Option<&Self>) -> Result<Self, Error> {
        check_suites()?;
        let clients = match &inbound.clients {
            Some(clients) => {
                let mut mode = SslVerifyMode::PEER;
                mode.set(SslVerifyMode::FAIL_IF_NO_PEER_CERT, clients.required);
                Some((clients.verifier()?, mode))
            }
            None => None,
        };
        let sessions = match before {
            Some(before) => Arc::clone(&before.0.sessions),
            None => Arc::new(Sessions::new(sessions(inbound).map_err(internal)?)),
        };
        let verifier = clients.as_ref().map(|(verifier, _)| verifier);
        let identities = inbound.certificates.identities();
        let contexts: Result<Vec<_>, _> =
            identities.iter().map(|identity| context(inbound, identity, verifier)).collect();
        Ok(Self(Arc::new(Parts {
            sessions,
            described: Arc::clone(inbound),
            contexts: contexts.map_err(internal)?,
            clients,
        })))
    }

    /// As [`crate::tls::InboundContext::accept`].
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn accept(&self, client: Greeted) -> Result<Accepted, Refused> {
        let verdict: Verdict = Arc::new(OnceLock::new());
        let begun = self.begin(&verdict).and_then(|ssl| Stream::new(ssl, client.into()));
        let begun = begun.map_err(|error| Failure::new(Reason::Unexpected, error.to_string()))?;
        let mut stream = Box::new(begun);
        let client = match stream.handshake().await {
            Ok(()) => self.client(stream.ssl(), &verdict),
            Err(error) => Err(explain(&error, Some(&verdict))),
        };
        match client {
            Ok(client) => Ok(Accepted {
                resumed: stream.ssl().session_reused(),
                protocol: stream.ssl().selected_alpn_protocol().and_then(Protocol::of),
                client,
                stream: tls::Stream::OpenSsl(stream),
            }),
            Err(failure) => Err(Refused { failure, stream: Some(tls::Stream::OpenSsl(stream)) }),
        }
    }

    /// What the client has proved.
    fn client(&self, ssl: &SslRef, verdict: &Verdict) -> Result<Option<Proven>, Failure> {
        let (Some((verifier, _)), Some(own)) = (&self.0.clients, ssl.peer_certificate()) else {
            return Ok(None);
        };
        let unreadable = |error: ErrorStack| Failure::new(Reason::Unexpected, error.to_string());
        let own = own.to_der().map_err(unreadable)?;
        if ssl.session_reused() {
            let others = ssl.peer_cert_chain().into_iter().flatten();
            let others = others.map(|other| other.to_der().map(CertificateDer::from));
            let all = [Ok(CertificateDer::from(own.as_slice()))].into_iter().chain(others);
            let all: Vec<_> = all.collect::<Result<_, _>>().map_err(unreadable)?;
            reverify(verifier, &all)
                .inspect_err(|_| self.0.sessions.forget(|| sessions(&self.0.described)))?;
        } else if !matches!(verdict.get(), Some(Ok(()))) {
            // What was not judged is not accepted, whatever OpenSSL thinks of it.
            return Err(Failure::new(Reason::CertificateRefused, "the certificate was not verified"));
        }
        Ok(Some(self.0.described.proven(own, ssl.servername(NameType::HOST_NAME))))
    }

    fn begin(&self, verdict: &Verdict) -> Result<Ssl, ErrorStack> {
        let parts = &self.0;
        let mut ssl = Ssl::new(&parts.sessions.load())?;
        ssl.set_ssl_context(&parts.contexts[0])?;
        ssl.set_ex_data((*PARTS).clone()?, Arc::clone(parts));
        if let Some((verifier, mode)) = &parts.clients {
            let (verifier, verdict) = (Arc::clone(verifier), Arc::clone(verdict));
            ssl.set_verify_callback(*mode, move |clean, found| {
                judge(clean, found, &verdict, |own, others| {
                    verifier.verify_client_cert(own, others, UnixTime::now()).map(|_| ())
                })
            });
        }
        ssl.set_accept_state();
        Ok(ssl)
    }
}

/// The context whose sessions are used, and what it lets negotiate.
fn sessions(inbound: &Inbound) -> Result<SslContext, ErrorStack> {
    let mut builder = builder(SslMethod::tls_server(), &inbound.negotiable)?;
    // Sessions stay in memory: OpenSSL changes the keys of its tickets never.
    builder.set_options(SslOptions::NO_TICKET);
    builder.set_session_cache_mode(SslSessionCacheMode::SERVER);
    builder.set_session_cache_size(SESSIONS_MAX.into());
    builder.set_session_id_context(&session_id_context(inbound))?;
    builder.set_servername_callback(|ssl, _| choose_certificate(ssl));
    Ok(builder.build())
}

/// The context that presents one certificate.
fn context(
    inbound: &Inbound,
    identity: &Identity,
    verifier: Option<&Arc<ClientVerifier>>,
) -> Result<SslContext, ErrorStack> {
    let mut builder = builder(SslMethod::tls_server(), &inbound.negotiable)?;
    builder.set_session_id_context(&session_id_context(inbound))?;
    present(&mut builder, identity)?;
    let offered = inbound.negotiable.alpn.clone();
    builder.set_alpn_select_callback(move |ssl, listed| select_protocol(ssl, &offered, listed));
    if let Some(verifier) = verifier {
        let mut names = Stack::new()?;
        for name in verifier.root_hint_subjects() {
            names.push(X509Name::from_der(name.as_ref())?)?;
        }
        builder.set_client_ca_list(names);
    }
    Ok(builder.build())
}

/// Sessions made under other trust are not resumed (32 bytes, as many as OpenSSL takes).
fn session_id_context(inbound: &Inbound) -> [u8; 32] {
    let trust = ClientCertificates::digest(inbound.clients.as_ref()).to_string();
    let mut context = [0; 32];
    for (into, byte) in context.iter_mut().zip(trust.bytes()) {
        *into = byte;
    }
    context
}

fn choose_certificate(ssl: &mut SslRef) -> Result<(), SniError> {
    let parts = match &*PARTS {
        Ok(index) => ssl.ex_data(*index).cloned(),
        Err(_) => None,
    };
    let Some(parts) = parts else { return Err(SniError::ALERT_FATAL) };
    let index = parts.described.certificates.index(ssl.servername(NameType::HOST_NAME));
    ssl.set_ssl_context(&parts.contexts[index]).map_err(|_| SniError::ALERT_FATAL)
}

/// The first of ours that the client has listed (RFC 7301 section 3.2); no HTTP/2 below TLS 1.2.
fn select_protocol<'l>(ssl: &SslRef, offered: &[Protocol], listed: &'l [u8]) -> Result<&'l [u8], AlpnError> {
    let may_h2 =
        ssl.version2().is_some_and(|version| version == SslVersion::TLS1_2 || version == SslVersion::TLS1_3);
    let find = |wanted: &Protocol| {
        let mut rest = listed;
        while let Some((&length, after)) = rest.split_first() {
            let (name, after) = after.split_at_checked(usize::from(length))?;
            if name == wanted.as_str().as_bytes() {
                return Some(name);
            }
            rest = after;
        }
        None
    };
    let mut usable = offered.iter().filter(|protocol| may_h2 || **protocol != Protocol::H2);
    usable.find_map(find).ok_or(AlpnError::ALERT_FATAL)
}
