//! The context of a port: the server's side of handshakes.

use std::{fmt, sync::Arc};

use rustls::{
    Connection, Error, HandshakeKind, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, UnixTime},
    server::{ClientHello, ResolvesServerCert, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use super::{
    Backend, Failure, Negotiable, Protocol, Stream,
    choice::Choice,
    hello::Greeted,
    session::Session,
    sessions::{RustlsSessions, Sessions},
    trust::ClientCertificates,
    verify::ClientVerifier,
};
use crate::base::Digest;

/// A checked description of a port's TLS.
#[derive(Debug)]
pub struct Inbound {
    pub negotiable: Negotiable,
    pub certificates: Choice,
    pub clients: Option<ClientCertificates>,
    /// Equal digests: clients cannot tell the contexts apart.
    pub digest: Digest,
}

/// What handshakes on a port use.
pub struct InboundContext {
    made: Made,
    pub described: Arc<Inbound>,
    /// Equal digests: whoever was accepted under the one is accepted under the other.
    pub trust: Digest,
    /// Sessions may be resumed where it is the same: what they have settled is not settled again.
    sessions: Digest,
}

enum Made {
    Rustls(OfRustls),
    #[cfg(feature = "legacy-tls")]
    OpenSsl(super::legacy::Server),
}

struct OfRustls {
    config: Arc<ServerConfig>,
    sessions: Arc<Sessions<RustlsSessions>>,
    clients: Option<Arc<ClientVerifier>>,
}

/// A connection with a client.
pub struct Accepted {
    pub stream: Stream,
    pub resumed: bool,
    /// What the two agreed on; `None` where the client does not know of ALPN.
    pub protocol: Option<Protocol>,
    /// Where the port asks for certificates and the client gave one.
    pub client: Option<Proven>,
}

/// A handshake that failed, and the connection on which the client was told why: what it still sends must be read, or closing
/// would take that away from it.
pub struct Refused {
    pub failure: Failure,
    pub stream: Option<Stream>,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { failure, stream: None }
    }
}

/// What a client has proved.
pub struct Proven {
    /// Its own certificate, DER.
    pub certificate: Vec<u8>,
    /// URIs in the certificate that was presented to it.
    pub presented_uris: Vec<String>,
}

impl Inbound {
    pub fn new(negotiable: Negotiable, certificates: Choice, clients: Option<ClientCertificates>) -> Self {
        let digest = Digest::builder()
            .part(negotiable.digest().to_string())
            .part(certificates.digest().to_string())
            .part(ClientCertificates::digest(clients.as_ref()).to_string())
            .finish();
        Self { negotiable, certificates, clients, digest }
    }

    pub fn backend(&self) -> Backend {
        self.negotiable.suites.backend()
    }

    /// What a client with this certificate, that asked for this name, has proved.
    pub(super) fn proven(&self, certificate: Vec<u8>, name: Option<&str>) -> Proven {
        Proven { certificate, presented_uris: self.certificates.presented(name).facts.uris.clone() }
    }

    /// The context. Sessions of the one `before` it can be resumed unless trust has changed, or the backend (decision 30).
    ///
    /// # Errors
    /// Of the backend; the checks before leave none.
    pub fn context(self: &Arc<Self>, before: Option<&InboundContext>) -> Result<InboundContext, Error> {
        let digest = ClientCertificates::digest(self.clients.as_ref());
        let trust = digest.to_string();
        let (made, sessions) = match self.backend() {
            Backend::Rustls => {
                let sessions = Digest::builder().part("rustls").part(trust).finish();
                let before = before.filter(|before| before.sessions == sessions);
                (Made::Rustls(self.of_rustls(before)?), sessions)
            }
            #[cfg(feature = "legacy-tls")]
            Backend::OpenSsl => {
                // OpenSSL resumes with a suite that is not listed any more: what may be negotiated counts too.
                let negotiable = self.negotiable.digest().to_string();
                let sessions = Digest::builder().part("OpenSSL").part(trust).part(negotiable).finish();
                let before = before.filter(|before| before.sessions == sessions).map(|before| &before.made);
                let before = if let Some(Made::OpenSsl(before)) = before { Some(before) } else { None };
                (Made::OpenSsl(super::legacy::Server::new(self, before)?), sessions)
            }
            #[cfg(not(feature = "legacy-tls"))]
            Backend::OpenSsl => return Err(Error::General("this build is without `legacy-tls`".to_owned())),
        };
        Ok(InboundContext { made, described: Arc::clone(self), trust: digest, sessions })
    }

    fn of_rustls(self: &Arc<Self>, before: Option<&InboundContext>) -> Result<OfRustls, Error> {
        let (provider, versions) = self.negotiable.of_rustls();
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
        let clients = self.clients.as_ref().map(ClientCertificates::verifier).transpose()?;
        let builder = match &clients {
            Some(clients) => {
                let clients = Arc::clone(clients);
                builder.with_client_cert_verifier(clients)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName(Arc::clone(self))));
        config.ignore_client_order = true;
        config.alpn_protocols = self.negotiable.alpn_of_rustls();
        let sessions = match before.map(|before| &before.made) {
            Some(Made::Rustls(before)) => Arc::clone(&before.sessions),
            _ => Arc::new(Sessions::new(RustlsSessions::new()?)),
        };
        let (tickets, others) = (Arc::clone(&sessions), Arc::clone(&sessions));
        (config.ticketer, config.session_storage) = (tickets, others);
        Ok(OfRustls { config: Arc::new(config), sessions, clients })
    }
}

impl OfRustls {
    async fn accept(&self, client: Greeted) -> Result<Box<Session>, Refused> {
        let server =
            ServerConnection::new(Arc::clone(&self.config)).map_err(|error| Failure::of_rustls(&error))?;
        let Greeted { socket, received } = client;
        let mut session = Box::new(Session::new(server.into(), socket));
        let accepted = match session.handshake(&received).await {
            Ok(()) => self.look_again(session.tls()),
            Err(error) => Err(Failure::of_io(&error)),
        };
        match accepted {
            Ok(()) => Ok(session),
            Err(failure) => Err(Refused { failure, stream: Some(Stream::Rustls(session)) }),
        }
    }

    fn look_again(&self, tls: &Connection) -> Result<(), Failure> {
        let (Some(verifier), Some(certificates)) = (&self.clients, tls.peer_certificates()) else {
            return Ok(());
        };
        if !is_resumed(tls) {
            return Ok(());
        }
        reverify(verifier, certificates).inspect_err(|_| self.sessions.forget(RustlsSessions::new))
    }
}

pub(super) fn is_resumed(tls: &Connection) -> bool {
    tls.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// Asks again of the certificates of a resumed session, which may be for ever: each resumption gives the client a new
/// ticket. If they are refused, sessions are to be forgotten: their owner may have others by now, and is to be asked.
pub(super) fn reverify(
    verifier: &ClientVerifier,
    certificates: &[CertificateDer<'_>],
) -> Result<(), Failure> {
    // Without a certificate nothing was proved.
    let [own, others @ ..] = certificates else { return Ok(()) };
    let verified = verifier.verify_client_cert(own, others, UnixTime::now());
    verified.map(|_| ()).map_err(|error| Failure::of_rustls(&error))
}

impl InboundContext {
    /// Whether a client without a certificate is refused.
    pub fn requires_certificate(&self) -> bool {
        self.described.clients.as_ref().is_some_and(|clients| clients.required)
    }

    /// Secures a connection whose client has been heard.
    ///
    /// # Errors
    /// [`Refused`]. The deadline is the caller's.
    pub async fn accept(&self, client: Greeted) -> Result<Accepted, Refused> {
        match &self.made {
            Made::Rustls(made) => {
                let session = made.accept(client).await?;
                let tls = session.tls();
                // Nobody gives one unasked.
                let own = tls.peer_certificates().and_then(<[_]>::first);
                Ok(Accepted {
                    client: own.map(|own| self.described.proven(own.to_vec(), server_name(tls))),
                    resumed: is_resumed(tls),
                    protocol: tls.alpn_protocol().and_then(Protocol::of),
                    stream: Stream::Rustls(session),
                })
            }
            #[cfg(feature = "legacy-tls")]
            Made::OpenSsl(server) => server.accept(client).await,
        }
    }

    /// What rustls uses, for tests.
    #[cfg(test)]
    pub fn rustls(&self) -> Option<&Arc<ServerConfig>> {
        match &self.made {
            Made::Rustls(made) => Some(&made.config),
            #[cfg(feature = "legacy-tls")]
            Made::OpenSsl(_) => None,
        }
    }
}

impl fmt::Debug for InboundContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundContext").field("digest", &self.described.digest).finish_non_exhaustive()
    }
}

/// The name that a client has asked for.
pub(super) fn server_name(tls: &Connection) -> Option<&str> {
    if let Connection::Server(server) = tls { server.server_name() } else { None }
}

#[derive(Debug)]
struct ByName(Arc<Inbound>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.certificates.presented(hello.server_name()).certified))
    }
}
