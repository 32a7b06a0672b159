//! Which certificates of peers are accepted: one answer, whoever makes the handshake. Alternative names only, never
//! the common name; no certificate is fetched; RSA keys have 2048 bits or more (decision 27).

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{
        WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{
        CertificateDer, CertificateRevocationListDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
    },
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{
    Failure, Reason,
    anchors::{Anchors, Chains, missing_issuer, moment},
    identity::RSA_BITS_MIN,
    provider,
    x509::{self, Facts, Outside},
};

fn algorithms() -> &'static WebPkiSupportedAlgorithms {
    &provider().signature_verification_algorithms
}

/// Whether a list that is signed with this algorithm can be verified with a key that fits it.
pub fn is_verifiable(algorithm: &[u8]) -> bool {
    algorithms().all.iter().any(|known| known.signature_alg_id().as_ref() == algorithm)
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
/// itself. What `openssl req -x509` makes says that it is an authority's, and webpki takes none of these for a server or a
/// client; one that is no authority's is to make nobody else trusted.
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
        if !self.0.iter().any(|pinned| pinned == certificate) {
            return None;
        }
        let refused = match facts.validity.outside(moment(now)) {
            Some(Outside::Expired(_)) => CertificateError::Expired,
            Some(Outside::NotYetValid(_)) => CertificateError::NotValidYet,
            None if !purpose => CertificateError::InvalidPurpose,
            None => return Some(Ok(())),
        };
        Some(Err(Error::InvalidCertificate(refused)))
    }
}

/// Certificates of upstreams.
#[derive(Debug)]
pub struct ServerVerifier {
    pinned: Pinned,
    /// `None`: any certificate is accepted (`skipValidation`), its key and signature are still checked.
    chains: Option<Chains<WebPkiServerVerifier>>,
}

impl ServerVerifier {
    /// `authorities` are the certificates that `anchors` were made of, where they count one by one.
    ///
    /// # Errors
    /// A list is malformed.
    pub fn trusting(
        anchors: Arc<Anchors>,
        authorities: &[CertificateDer<'static>],
        revoked: &[CertificateRevocationListDer<'static>],
    ) -> Result<Self, Error> {
        let pinned = Pinned::new(authorities, revoked);
        let chains = Chains::new(anchors, revoked, |roots, revoked| {
            let mut builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider()));
            if !revoked.is_empty() {
                builder = builder.with_crls(revoked.iter().cloned()).only_check_end_entity_revocation();
            }
            builder.build().map_err(|error| Error::General(error.to_string()))
        })?;
        Ok(Self { pinned, chains: Some(chains) })
    }

    pub fn trusting_any() -> Self {
        Self { pinned: Pinned::default(), chains: None }
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
        let Some(chains) = &self.chains else { return Ok(ServerCertVerified::assertion()) };
        if let Some(judged) = self.pinned.judge(end_entity, &facts, facts.for_servers, now) {
            judged?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let verified = chains.verify(&facts, intermediates, now, |chain| {
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
        });
        verified.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                missing(&missing_issuer(&facts, intermediates)).into_rustls()
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.chains {
            Some(_) => verify_tls12_signature(message, certificate, signed, algorithms()),
            None => verify_tls12_signature_with_key(message, &key(certificate)?, signed),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.chains {
            Some(_) => verify_tls13_signature(message, certificate, signed, algorithms()),
            None => {
                let key = SubjectPublicKeyInfoDer::from(key(certificate)?.info);
                verify_tls13_signature_with_raw_key(message, &key, signed, algorithms())
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// The key alone: webpki reads no certificate of version 1, which many an appliance has made for itself.
fn key(certificate: &CertificateDer<'_>) -> Result<x509::Key, Error> {
    x509::key(certificate).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// As [`verify_tls12_signature`]: below TLS 1.3 a scheme does not say which curve it is (RFC 8446 section 4.2.3).
fn verify_tls12_signature_with_key(
    message: &[u8],
    key: &x509::Key,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let listed = algorithms().mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let mut fitting = listed.into_iter().flat_map(|(_, algorithms)| *algorithms);
    fitting
        .find(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm)
        .and_then(|algorithm| algorithm.verify_signature(&key.bits, message, signed.signature()).ok())
        .map(|()| HandshakeSignatureValid::assertion())
        .ok_or(Error::InvalidCertificate(CertificateError::BadSignature))
}

fn missing(issuer: &str) -> Failure {
    let detail = format!(
        "the certificate of the issuer `{issuer}` is missing: it is neither trusted nor sent (none is fetched)"
    );
    Failure::new(Reason::CertificateIssuer, detail)
}

/// Certificates of clients.
#[derive(Debug)]
pub struct ClientVerifier {
    chains: Chains<dyn ClientCertVerifier>,
    pinned: Pinned,
    required: bool,
    hints: Vec<DistinguishedName>,
}

impl ClientVerifier {
    /// Not `required`: a client may have none. `authorities` as in [`ServerVerifier::trusting`].
    ///
    /// # Errors
    /// A list is malformed.
    pub fn new(
        anchors: Arc<Anchors>,
        authorities: &[CertificateDer<'static>],
        required: bool,
        revoked: &[CertificateRevocationListDer<'static>],
    ) -> Result<Self, Error> {
        let pinned = Pinned::new(authorities, revoked);
        let hints = anchors.names();
        let chains = Chains::new(anchors, revoked, |roots, revoked| {
            let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()));
            if !revoked.is_empty() {
                builder = builder.with_crls(revoked.iter().cloned()).only_check_end_entity_revocation();
            }
            builder.build().map_err(|error| Error::General(error.to_string()))
        })?;
        Ok(Self { chains, pinned, required, hints })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
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
        let verified = self.chains.verify(&facts, intermediates, now, |chain| {
            chain.verify_client_cert(end_entity, intermediates, now)
        });
        verified.inspect_err(|error| {
            if let Error::InvalidCertificate(CertificateError::UnknownIssuer) = error {
                // It stays what it is: the client is told so by the alert that is for it.
                let issuer = missing_issuer(&facts, intermediates);
                tracing::debug!(issuer, "a client's certificate is of an issuer that is not trusted");
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

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    use rustls::{
        ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection, SupportedProtocolVersion,
        crypto::aws_lc_rs::sign::any_supported_type,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
        server::ResolvesServerCert,
        sign::{CertifiedKey, SingleCertAndKey},
        version::{TLS12, TLS13},
    };

    use super::*;

    /// What a client that trusts anyone says of a server with the certificate of the fixture and this key.
    fn handshake(version: &'static SupportedProtocolVersion, key: &PrivateKeyDer<'_>) -> Result<(), Error> {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("fixtures/ec.crt")).unwrap();
        let certified = CertifiedKey::new(vec![certificate], any_supported_type(key).unwrap());
        let server: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
        let server = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&[version])?
            .with_no_client_auth()
            .with_cert_resolver(server);
        let client = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&[version])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerVerifier::trusting_any()))
            .with_no_client_auth();
        let name = ServerName::try_from("any.test").unwrap();
        let mut client = Connection::from(ClientConnection::new(Arc::new(client), name)?);
        let mut server = Connection::from(ServerConnection::new(Arc::new(server))?);
        while client.is_handshaking() {
            pass(&mut client, &mut server)?;
            pass(&mut server, &mut client)?;
        }
        Ok(())
    }

    fn pass(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
        let mut sent = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut sent).unwrap();
        }
        let mut sent = &sent[..];
        while !sent.is_empty() {
            to.read_tls(&mut sent).unwrap();
            to.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn whoever_is_trusted_must_have_the_key_of_the_certificate_all_the_same() {
        let own = PrivateKeyDer::from_pem_slice(include_bytes!("fixtures/ec-sec1.key")).unwrap();
        let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap().to_pkcs8v1().unwrap();
        let other = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(other.as_ref()));
        for version in [&TLS12, &TLS13] {
            assert_eq!(handshake(version, &own), Ok(()));
            let refused = Err(Error::InvalidCertificate(CertificateError::BadSignature));
            assert_eq!(handshake(version, &other), refused, "{version:?}");
        }
    }
}
