//! The authorities that are trusted, each in its time, and what verifies chains to them.

use std::{fmt, ops::Range, sync::Arc};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    CertificateError, DistinguishedName, Error, RootCertStore,
    pki_types::{CertificateDer, TrustAnchor, UnixTime},
};

use super::{
    Failure, Reason,
    identity::RSA_BITS_MIN,
    x509::{self, Facts, Validity},
};

/// Those whose certificates are trusted, in their order.
#[derive(Debug, Default)]
pub struct Anchors(Vec<Anchor>);

#[derive(Clone, Debug)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    subject: String,
    /// Only an authority makes others trusted; who is none is trusted itself ([`Pinned`]).
    may_issue: bool,
    validity: Validity,
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
            validity: facts.validity,
        }));
        true
    }

    /// The same, as if all were valid for ever.
    pub fn timeless(&self) -> Self {
        let validity = Validity { not_before: Timestamp::MIN, not_after: Timestamp::MAX };
        Self(self.0.iter().map(|anchor| Anchor { validity, ..anchor.clone() }).collect())
    }

    /// Subject and validity of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Validity)> {
        self.0.iter().map(|anchor| (&*anchor.subject, anchor.validity))
    }

    /// Whether nobody's certificates would be accepted but their own.
    pub fn issue_nothing(&self) -> bool {
        !self.0.iter().any(|anchor| anchor.may_issue)
    }

    /// What clients are told that certificates may come from.
    pub fn names(&self) -> Vec<DistinguishedName> {
        self.0.iter().map(|anchor| DistinguishedName::in_sequence(&anchor.anchor.subject)).collect()
    }

    fn issuers(&self) -> impl Iterator<Item = &Anchor> {
        self.0.iter().filter(|anchor| anchor.may_issue)
    }

    /// The authorities that are valid at this second, and the seconds for which they are the same.
    fn at(&self, now: Timestamp) -> (RootCertStore, Range<i64>) {
        let mut roots = RootCertStore::empty();
        let mut same = i64::MIN..i64::MAX;
        for authority in self.issuers() {
            let Validity { not_before, not_after } = authority.validity;
            for boundary in [not_before.as_second(), not_after.as_second() + 1] {
                if boundary <= now.as_second() {
                    same.start = same.start.max(boundary);
                } else {
                    same.end = same.end.min(boundary);
                }
            }
            if authority.validity.outside(now).is_none() {
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
        now: Timestamp,
    ) -> Error {
        let failure = match &error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                self.invalid(&missing_issuer(facts, intermediates), now)
            }
            // Keys that are too small verify nothing.
            Error::InvalidCertificate(CertificateError::BadSignature) => weak_issuer(intermediates),
            Error::InvalidCertificate(CertificateError::Other(_)) if facts.is_authority => {
                Some(Failure::new(
                    Reason::CertificateRefused,
                    "the certificate is an authority's own, and not itself among those that are trusted",
                ))
            }
            _ => None,
        };
        failure.map_or(error, Failure::into_rustls)
    }

    /// An authority of this name that is not valid now.
    fn invalid(&self, subject: &str, now: Timestamp) -> Option<Failure> {
        let outside = self.issuers().filter(|one| one.subject == subject);
        let outside = outside.filter_map(|one| one.validity.outside(now)).next()?;
        let detail = format!("the certificate of the authority `{subject}` {outside}");
        Some(Failure::new(Reason::CertificateIssuer, detail))
    }
}

/// What verifies chains to those authorities that are valid: made anew when that changes.
pub struct Chains<V: ?Sized> {
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
    pub fn new(
        anchors: Arc<Anchors>,
        make: impl Fn(Arc<RootCertStore>) -> Result<Arc<V>, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let make: Box<Make<V>> = Box::new(make);
        let current = ArcSwap::from_pointee(Current::of(&anchors, &make, Timestamp::now())?);
        Ok(Self { anchors, make, current })
    }

    fn at(&self, now: Timestamp) -> Result<Option<Arc<V>>, Error> {
        let current = self.current.load();
        if current.seconds.contains(&now.as_second()) {
            return Ok(current.verifier.clone());
        }
        let current = Current::of(&self.anchors, &self.make, now)?;
        let verifier = current.verifier.clone();
        self.current.store(Arc::new(current));
        Ok(verifier)
    }

    /// What the verifier of this moment answers, and why not.
    pub fn verify<T>(
        &self,
        facts: &Facts,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        ask: impl FnOnce(&V) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let now = moment(now);
        let answer = match self.at(now)? {
            Some(verifier) => ask(&verifier),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        answer.map_err(|error| self.anchors.explain(error, facts, intermediates, now))
    }
}

impl<V: ?Sized + 'static> Current<V> {
    fn of(anchors: &Anchors, make: &Make<V>, now: Timestamp) -> Result<Self, Error> {
        let (roots, seconds) = anchors.at(now);
        let verifier = if roots.is_empty() { None } else { Some(make(Arc::new(roots))?) };
        Ok(Self { seconds, verifier })
    }
}

impl<V: ?Sized> fmt::Debug for Chains<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chains").field(&self.anchors).finish()
    }
}

/// Who would have to be trusted, or whose certificate the peer would have to send.
pub fn missing_issuer(facts: &Facts, intermediates: &[CertificateDer<'_>]) -> String {
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

/// The first certificate of the chain, after the own one, whose key is too small.
fn weak_issuer(intermediates: &[CertificateDer<'_>]) -> Option<Failure> {
    let mut chain = intermediates.iter().filter_map(|certificate| x509::read(certificate));
    chain.find_map(|Facts { rsa_bits, subject, .. }| {
        let bits = rsa_bits.filter(|bits| *bits < RSA_BITS_MIN)?;
        let detail = format!(
            "the certificate of `{subject}` has an RSA key of {bits} bits: {RSA_BITS_MIN} are the least"
        );
        Some(Failure::new(Reason::CertificateKey, detail))
    })
}

pub fn moment(now: UnixTime) -> Timestamp {
    i64::try_from(now.as_secs())
        .ok()
        .and_then(|now| Timestamp::from_second(now).ok())
        .unwrap_or(Timestamp::MAX)
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
        let second = |second| Timestamp::from_second(second).unwrap();
        for (anchor, (from, to)) in anchors.0.iter_mut().zip([(10, 19), (15, 29), (0, 99)]) {
            anchor.validity = Validity { not_before: second(from), not_after: second(to) };
            anchor.may_issue = true;
        }
        anchors.0[2].may_issue = false;
        let at = |now: i64| {
            let (roots, same) = anchors.at(second(now));
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
