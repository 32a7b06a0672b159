//! Which certificates of peers are accepted: one answer, whoever makes the handshake. Alternative names only, never
//! the common name; no certificate is fetched; RSA keys have 2048 bits or more (decision 27).

use std::{
    fmt,
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, TrustAnchor, UnixTime},
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

/// Those whose certificates are trusted, in their order.
#[derive(Debug, Default)]
pub struct Anchors(Vec<Anchor>);

#[derive(Debug)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    subject: String,
    /// Only an authority makes others trusted; who is none is trusted itself ([`Pinned`]).
    may_issue: bool,
    /// Seconds since 1970 in which it is valid, the last one too.
    valid: RangeInclusive<i64>,
}

impl Anchors {
    /// One more; `false` when it is no certificate.
    pub fn add(&mut self, certificate: &CertificateDer<'_>) -> bool {
        let mut one = RootCertStore::empty();
        let (Ok(()), Some(facts)) = (one.add(certificate.clone()), x509::read(certificate)) else {
            return false;
        };
        self.0.extend(one.roots.pop().map(|anchor| Anchor {
            anchor,
            subject: facts.subject,
            may_issue: facts.may_issue,
            valid: facts.not_before.as_second()..=facts.not_after.as_second(),
        }));
        true
    }

    /// Whether nobody's certificates would be accepted but their own.
    pub fn issue_nothing(&self) -> bool {
        !self.0.iter().any(|anchor| anchor.may_issue)
    }

    fn issuers(&self) -> impl Iterator<Item = &Anchor> {
        self.0.iter().filter(|anchor| anchor.may_issue)
    }

    /// The authorities that are valid at this second, and the seconds for which they are the same.
    fn at(&self, now: i64) -> (RootCertStore, Range<i64>) {
        let mut roots = RootCertStore::empty();
        let mut same = i64::MIN..i64::MAX;
        for authority in self.issuers() {
            for boundary in [*authority.valid.start(), authority.valid.end().saturating_add(1)] {
                if boundary <= now {
                    same.start = same.start.max(boundary);
                } else {
                    same.end = same.end.min(boundary);
                }
            }
            if authority.valid.contains(&now) {
                roots.roots.push(authority.anchor.clone());
            }
        }
        (roots, same)
    }

    /// Says of webpki's reason what it leaves open.
    fn explain(
        &self,
        error: Error,
        facts: &Facts,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Error {
        let failure = match &error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                let issuer = missing_issuer(facts, intermediates);
                self.invalid(&issuer, now).unwrap_or_else(|| {
                    let detail = format!(
                        "the certificate of the issuer `{issuer}` is missing: it is neither trusted nor sent (none is fetched)"
                    );
                    Failure::new(Reason::CertificateIssuer, detail)
                })
            }
            Error::InvalidCertificate(CertificateError::Other(_)) if facts.is_authority => Failure::new(
                Reason::CertificateRefused,
                "the certificate is an authority's own, and not itself among those that are trusted",
            ),
            _ => return error,
        };
        failure.into_rustls()
    }

    /// An authority of this name that is not valid now.
    fn invalid(&self, subject: &str, now: UnixTime) -> Option<Failure> {
        let now = now.as_secs() as i64;
        let named = self.issuers().find(|one| one.subject == subject && !one.valid.contains(&now))?;
        let detail = match now < *named.valid.start() {
            true => format!("the certificate of the authority `{subject}` is not valid yet"),
            false => format!("the certificate of the authority `{subject}` has expired"),
        };
        Some(Failure::new(Reason::CertificateIssuer, detail))
    }
}

/// What verifies chains to those authorities that are valid: made anew when that changes.
struct Chains<V: ?Sized> {
    anchors: Arc<Anchors>,
    make: Box<Make<V>>,
    current: ArcSwap<Current<V>>,
}

type Make<V> = dyn Fn(Arc<RootCertStore>) -> Result<Arc<V>, Error> + Send + Sync;

struct Current<V: ?Sized> {
    seconds: Range<i64>,
    /// `None`: no authority is valid.
    verifier: Option<Arc<V>>,
}

impl<V: ?Sized + 'static> Chains<V> {
    fn new(
        anchors: Arc<Anchors>,
        make: impl Fn(Arc<RootCertStore>) -> Result<Arc<V>, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let make: Box<Make<V>> = Box::new(make);
        let current = ArcSwap::from_pointee(Current::of(&anchors, &make, UnixTime::now())?);
        Ok(Self { anchors, make, current })
    }

    fn at(&self, now: UnixTime) -> Result<Option<Arc<V>>, Error> {
        let current = self.current.load();
        if current.seconds.contains(&(now.as_secs() as i64)) {
            return Ok(current.verifier.clone());
        }
        let current = Current::of(&self.anchors, &self.make, now)?;
        let verifier = current.verifier.clone();
        self.current.store(Arc::new(current));
        Ok(verifier)
    }
}

impl<V: ?Sized + 'static> Current<V> {
    fn of(anchors: &Anchors, make: &Make<V>, now: UnixTime) -> Result<Self, Error> {
        let (roots, seconds) = anchors.at(now.as_secs() as i64);
        let verifier = if roots.is_empty() { None } else { Some(make(Arc::new(roots))?) };
        Ok(Self { seconds, verifier })
    }
}

impl<V: ?Sized> fmt::Debug for Chains<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chains").field(&self.anchors).finish()
    }
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
        let revoked = revoked.to_vec();
        let chains = Chains::new(anchors, move |roots| {
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
        let verified = match chains.at(now)? {
            Some(chain) => chain.verify_server_cert(end_entity, intermediates, server_name, ocsp, now),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        verified.map_err(|error| chains.anchors.explain(error, &facts, intermediates, now))
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

/// Who would have to be trusted, or whose certificate the peer would have to send.
fn missing_issuer(facts: &Facts, intermediates: &[CertificateDer<'_>]) -> String {
    let chain: Vec<_> = intermediates.iter().filter_map(|certificate| x509::read(certificate)).collect();
    let mut issuer = facts.issuer.clone();
    // A chain has no end if its certificates name each other.
    for _ in 0..chain.len() {
        match chain.iter().find(|facts| facts.subject == issuer) {
            Some(facts) if facts.issuer != issuer => issuer.clone_from(&facts.issuer),
            _ => break,
        }
    }
    issuer
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
        let hints = anchors.0.iter().map(|anchor| DistinguishedName::in_sequence(&anchor.anchor.subject));
        let hints = hints.collect();
        let revoked = revoked.to_vec();
        let chains = Chains::new(anchors, move |roots| {
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
        let verified = match self.chains.at(now)? {
            Some(chain) => chain.verify_client_cert(end_entity, intermediates, now),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        verified.map_err(|error| self.chains.anchors.explain(error, &facts, intermediates, now))
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
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn an_authority_counts_in_its_time_and_what_is_made_of_them_is_good_until_the_next_change() {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("fixtures/ec.crt")).unwrap();
        let mut anchors = Anchors::default();
        for _ in 0..3 {
            assert!(anchors.add(&certificate));
        }
        for (anchor, valid) in anchors.0.iter_mut().zip([10..=19, 15..=29, 0..=99]) {
            (anchor.valid, anchor.may_issue) = (valid, true);
        }
        anchors.0[2].may_issue = false;
        let at = |now: i64| {
            let (roots, same) = anchors.at(now);
            (roots.len(), same)
        };
        assert_eq!(at(9), (0, i64::MIN..10));
        assert_eq!(at(10), (1, 10..15));
        assert_eq!(at(15), (2, 15..20));
        assert_eq!(at(19), (2, 15..20));
        assert_eq!(at(20), (1, 20..30));
        assert_eq!(at(30), (0, 30..i64::MAX));
    }
}
