//! The context of a service: the client's side of handshakes.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, Connection, Error,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption,
        danger::ServerCertVerifier,
    },
    pki_types::{ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::net::TcpStream;

use super::{
    Backend, Failure, Negotiable, Protocol, Reason, Stream, identity::Identity, inbound::is_resumed,
    session::Session, trust::ServerTrust, verify::ServerVerifier,
};
use crate::base::Digest;

/// A checked description of the TLS towards a service.
#[derive(Clone, Debug)]
pub struct Outbound {
    pub negotiable: Negotiable,
    pub trust: ServerTrust,
    /// For servers that ask for it.
    pub identity: Option<Identity>,
    /// Equal digests: connections made with the one may be used for the other.
    pub digest: Digest,
}

/// What handshakes with a service use.
pub struct OutboundContext {
    made: Made,
    pub described: Arc<Outbound>,
}

enum Made {
    Rustls(OfRustls),
    #[cfg(feature = "legacy-tls")]
    OpenSsl(super::legacy::Client),
}

struct OfRustls {
    config: Arc<ClientConfig>,
    sessions: Arc<ClientSessionMemoryCache>,
    verifier: Arc<ServerVerifier>,
}

/// Sessions that are kept for each context, as many as rustls keeps.
const SESSIONS_MAX: usize = 256;

/// A connection with a server.
pub struct Connected {
    pub stream: Stream,
    /// What the server has chosen; `None` where it does not know of ALPN.
    pub protocol: Option<Protocol>,
}

impl Outbound {
    pub fn new(negotiable: Negotiable, trust: ServerTrust, identity: Option<Identity>) -> Self {
        let identity_digest = identity.as_ref().map_or(Digest::of("none"), |identity| identity.digest);
        let digest = Digest::builder()
            .part(negotiable.digest().to_string())
            .part(trust.digest().to_string())
            .part(identity_digest.to_string())
            .finish();
        Self { negotiable, trust, identity, digest }
    }

    /// The same with other protocols.
    #[must_use]
    pub fn speaking(&self, alpn: Vec<Protocol>) -> Self {
        let negotiable = Negotiable { alpn, ..self.negotiable.clone() };
        Self::new(negotiable, self.trust.clone(), self.identity.clone())
    }

    pub fn backend(&self) -> Backend {
        self.negotiable.suites.backend()
    }

    /// The context.
    ///
    /// # Errors
    /// Of the backend; the checks before leave none.
    pub fn context(self: &Arc<Self>) -> Result<OutboundContext, Error> {
        let made = match self.backend() {
            Backend::Rustls => Made::Rustls(self.of_rustls()?),
            #[cfg(feature = "legacy-tls")]
            Backend::OpenSsl => Made::OpenSsl(super::legacy::Client::new(self)?),
            #[cfg(not(feature = "legacy-tls"))]
            Backend::OpenSsl => return Err(Error::General("this build is without `legacy-tls`".to_owned())),
        };
        Ok(OutboundContext { made, described: Arc::clone(self) })
    }

    fn of_rustls(&self) -> Result<OfRustls, Error> {
        let (provider, versions) = self.negotiable.of_rustls();
        let verifier = self.trust.verifier()?;
        let of_config = Arc::clone(&verifier);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(of_config);
        let mut config = match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(presenting(&identity.certified)),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.negotiable.alpn_of_rustls();
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS_MAX));
        let of_config = Arc::clone(&sessions);
        config.resumption = Resumption::store(of_config);
        Ok(OfRustls { config: Arc::new(config), sessions, verifier })
    }
}

impl OfRustls {
    async fn connect(&self, name: &ServerName<'static>, socket: TcpStream) -> Result<Box<Session>, Failure> {
        let client = ClientConnection::new(Arc::clone(&self.config), name.clone())
            .map_err(|error| Failure::of_rustls(&error))?;
        let mut session = Box::new(Session::new(client.into(), socket));
        session.handshake(&[]).await.map_err(|error| Failure::of_io(&error))?;
        self.look_again(name, session.tls())?;
        Ok(session)
    }

    /// Asks again of the certificates of a resumed session, which may be for ever: each resumption brings new tickets. If
    /// they are refused, the sessions with this name are forgotten: the server may have others by now, and is asked at the
    /// next handshake.
    fn look_again(&self, name: &ServerName<'static>, tls: &Connection) -> Result<(), Failure> {
        let Some([own, others @ ..]) = tls.peer_certificates().filter(|_| is_resumed(tls)) else {
            return Ok(());
        };
        let verified = self.verifier.verify_server_cert(own, others, name, &[], UnixTime::now());
        verified.map(|_| ()).map_err(|error| {
            self.sessions.remove_tls12_session(name);
            while self.sessions.take_tls13_ticket(name).is_some() {}
            Failure { is_of_session: true, ..Failure::of_rustls(&error) }
        })
    }
}

fn presenting(certified: &CertifiedKey) -> Arc<dyn ResolvesClientCert> {
    Arc::new(SingleCertAndKey::from(certified.clone()))
}

impl OutboundContext {
    /// Secures a connection to the server of this name, which is sent (not if it is an address) and checked.
    ///
    /// # Errors
    /// [`Failure`]; if it is of a session, another try is worth while. The deadline is the caller's.
    pub async fn connect(&self, name: &ServerName<'static>, socket: TcpStream) -> Result<Connected, Failure> {
        match &self.made {
            Made::Rustls(made) => made.connect(name, socket).await.map(|session| {
                let protocol = session.tls().alpn_protocol().and_then(Protocol::of);
                Connected { stream: Stream::Rustls(session), protocol }
            }),
            #[cfg(feature = "legacy-tls")]
            Made::OpenSsl(client) => client.connect(name, socket).await,
        }
        .and_then(|connected| self.check_protocol(connected))
    }

    /// HTTP/2 is spoken only where it was chosen; where nothing else was offered, it must have been.
    fn check_protocol(&self, connected: Connected) -> Result<Connected, Failure> {
        let alpn = &self.described.negotiable.alpn;
        let agreed = alpn.is_empty() || alpn.contains(&connected.protocol.unwrap_or(Protocol::Http11));
        match agreed {
            true => Ok(connected),
            false => {
                Err(Failure::new(Reason::NoCommonProtocol, "the server speaks none of the protocols offered"))
            }
        }
    }

    /// What rustls uses, for tests.
    #[cfg(test)]
    pub fn rustls(&self) -> Option<&Arc<ClientConfig>> {
        match &self.made {
            Made::Rustls(made) => Some(&made.config),
            #[cfg(feature = "legacy-tls")]
            Made::OpenSsl(_) => None,
        }
    }
}

impl fmt::Debug for OutboundContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundContext").field("digest", &self.described.digest).finish_non_exhaustive()
    }
}
