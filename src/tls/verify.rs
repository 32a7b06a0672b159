//! Which certificates of peers are accepted: one answer, whoever makes the handshake. Alternative names only, never
//! the common name; no certificate is fetched; RSA keys have 2048 bits or more (decision 27).

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{
    Failure, Reason,
    identity::RSA_BITS_MIN,
    provider,
    x509::{self, Facts},
};

fn algorithms() -> &'static WebPkiSupportedAlgorithms {
    &provider().signature_verification_algorithms
}

/// The facts of the peer's own certificate, if its key is one that may be used; those of the chain are webpki's to
/// look at.
fn check_key(certificate: &CertificateDer<'_>) -> Result<Facts, Error> {
    let Some(facts) = x509::read(certificate) else {
        return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
    };
    let detail = match facts.rsa_bits {
        Some(bits) if bits < RSA_BITS_MIN => {
            format!("the certificate has an RSA key of {bits} bits: 2048 are the least")
        }
        None if facts.has_strange_key => {
            "the certificate has a key of a kind that is not accepted".to_owned()
        }
        _ => return Ok(facts),
    };
    Err(Failure::new(Reason::CertificateKey, detail).into_rustls())
}

/// Certificates that are trusted as they are: of those that a configuration trusts, the ones that their owner presents
/// itself. `openssl req -x509` makes such a certificate, which says that it is an authority's; webpki takes none of
/// these for a server or a client.
#[derive(Debug, Default)]
struct Pinned(Vec<CertificateDer<'static>>);

impl Pinned {
    /// Where lists are kept of what is revoked, only a chain can be looked up in them.
    fn new(
        authorities: &[CertificateDer<'static>],
        revoked: &[CertificateRevocationListDer<'static>],
    ) -> Self {
        if revoked.is_empty() { Self(authorities.to_vec()) } else { Self::default() }
    }

    /// What becomes of a certificate that is one of these; its validity and purpose are checked here.
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        facts: &Facts,
        purpose: bool,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        if !facts.is_authority || !self.0.iter().any(|pinned| pinned == certificate) {
            return None;
        }
        let now = now.as_secs() as i64;
        let refused = if now > facts.not_after.as_second() {
            CertificateError::Expired
        } else if now < facts.not_before.as_second() {
            CertificateError::NotValidYet
        } else if !purpose {
            CertificateError::InvalidPurpose
        } else {
            return Some(Ok(()));
        };
        Some(Err(Error::InvalidCertificate(refused)))
    }
}

/// Where webpki's reason is none of the usual ones and the certificate is an authority's, that is the reason.
fn explain_authority(error: Error, facts: &Facts) -> Error {
    if facts.is_authority && matches!(error, Error::InvalidCertificate(CertificateError::Other(_))) {
        let detail = "the certificate is an authority's own, and not itself among those that are trusted";
        return Failure::new(Reason::CertificateRefused, detail).into_rustls();
    }
    error
}

/// Certificates of upstreams.
#[derive(Debug)]
pub struct ServerVerifier {
    pinned: Pinned,
    /// `None`: any certificate is accepted (`skipValidation`), its key and signature are still checked.
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerVerifier {
    /// `authorities` are the certificates that `roots` were made of, where they are known one by one.
    ///
    /// # Errors
    /// There are no roots, or a list is malformed.
    pub fn trusting(
        roots: Arc<RootCertStore>,
        authorities: &[CertificateDer<'static>],
        revoked: &[CertificateRevocationListDer<'static>],
    ) -> Result<Self, Error> {
        let mut builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider()));
        if !revoked.is_empty() {
            builder = builder.with_crls(revoked.iter().cloned()).only_check_end_entity_revocation();
        }
        let chain = builder.build().map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { pinned: Pinned::new(authorities, revoked), chain: Some(chain) })
    }

    pub fn trusting_any() -> Self {
        Self { pinned: Pinned::default(), chain: None }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let facts = check_key(end_entity)?;
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        if let Some(judged) = self.pinned.judge(end_entity, &facts, facts.for_servers, now) {
            judged?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        chain.verify_server_cert(end_entity, intermediates, server_name, ocsp, now).map_err(|error| {
            match error {
                Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    missing_issuer(&facts, intermediates).into_rustls()
                }
                error => explain_authority(error, &facts),
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Names who would have to be trusted, or whose certificate the upstream would have to send.
fn missing_issuer(facts: &Facts, intermediates: &[CertificateDer<'_>]) -> Failure {
    let chain: Vec<_> = intermediates.iter().filter_map(|certificate| x509::read(certificate)).collect();
    let mut issuer = facts.issuer.clone();
    // A chain has no end if its certificates name each other.
    for _ in 0..chain.len() {
        match chain.iter().find(|facts| facts.subject == issuer) {
            Some(facts) if facts.issuer != issuer => issuer.clone_from(&facts.issuer),
            _ => break,
        }
    }
    Failure::new(
        Reason::CertificateIssuer,
        format!(
            "the certificate of the issuer `{issuer}` is missing: it is neither trusted nor sent (none is fetched)"
        ),
    )
}

/// Certificates of clients.
#[derive(Debug)]
pub struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    pinned: Pinned,
}

impl ClientVerifier {
    /// Not `required`: a client may have none. `authorities` as in [`ServerVerifier::trusting`].
    ///
    /// # Errors
    /// There are no roots, or a list is malformed.
    pub fn new(
        roots: Arc<RootCertStore>,
        authorities: &[CertificateDer<'static>],
        required: bool,
        revoked: &[CertificateRevocationListDer<'static>],
    ) -> Result<Self, Error> {
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()));
        if !required {
            builder = builder.allow_unauthenticated();
        }
        if !revoked.is_empty() {
            builder = builder.with_crls(revoked.iter().cloned()).only_check_end_entity_revocation();
        }
        let chain = builder.build().map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { chain, pinned: Pinned::new(authorities, revoked) })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let facts = check_key(end_entity)?;
        if let Some(judged) = self.pinned.judge(end_entity, &facts, facts.for_clients, now) {
            return judged.map(|()| ClientCertVerified::assertion());
        }
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now);
        verified.map_err(|error| explain_authority(error, &facts))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
