//! The authorities that are trusted, each in its time, and what verifies chains to them.

use std::{collections::HashMap, fmt, ops::Range, sync::Arc};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    CertRevocationListError, CertificateError, DistinguishedName, Error, RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime},
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
    layers: Vec<Vec<RevocationList>>,
    make: Box<Make<V>>,
    current: ArcSwap<Current<V>>,
}

type RevocationList = CertificateRevocationListDer<'static>;
type Make<V> = dyn Fn(Arc<RootCertStore>, &[RevocationList]) -> Result<Arc<V>, Error> + Send + Sync;

struct Current<V: ?Sized> {
    seconds: Range<i64>,
    /// One for each layer of lists; none: no authority is valid.
    verifiers: Arc<[Arc<V>]>,
}

impl<V: ?Sized + 'static> Chains<V> {
    pub fn new(
        anchors: Arc<Anchors>,
        revoked: &[RevocationList],
        make: impl Fn(Arc<RootCertStore>, &[RevocationList]) -> Result<Arc<V>, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let (layers, make): (_, Box<Make<V>>) = (layers(revoked), Box::new(make));
        let current = ArcSwap::from_pointee(Current::of(&anchors, &layers, &make, Timestamp::now())?);
        Ok(Self { anchors, layers, make, current })
    }

    fn at(&self, now: Timestamp) -> Result<Arc<[Arc<V>]>, Error> {
        let current = self.current.load();
        if current.seconds.contains(&now.as_second()) {
            return Ok(Arc::clone(&current.verifiers));
        }
        let current = Current::of(&self.anchors, &self.layers, &self.make, now)?;
        let verifiers = Arc::clone(&current.verifiers);
        self.current.store(Arc::new(current));
        Ok(verifiers)
    }

    /// What the verifiers of this moment answer, and why not.
    pub fn verify<T>(
        &self,
        facts: &Facts,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        ask: impl Fn(&V) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let now = moment(now);
        let verifiers = self.at(now)?;
        let answer = together(verifiers.iter().map(|verifier| ask(verifier)));
        answer.map_err(|error| self.anchors.explain(error, facts, intermediates, now))
    }
}

impl<V: ?Sized + 'static> Current<V> {
    fn of(
        anchors: &Anchors,
        layers: &[Vec<RevocationList>],
        make: &Make<V>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let (roots, seconds) = anchors.at(now);
        let roots = Arc::new(roots);
        let layers = if roots.is_empty() { &[] } else { layers };
        let verifiers: Result<_, _> = layers.iter().map(|layer| make(Arc::clone(&roots), layer)).collect();
        Ok(Self { seconds, verifiers: verifiers? })
    }
}

/// Lists in layers, at least one, no two of one issuer in the same: of several, webpki would look at the first alone.
fn layers(revoked: &[RevocationList]) -> Vec<Vec<RevocationList>> {
    let mut layers = vec![Vec::new()];
    let mut seen: HashMap<Option<Vec<u8>>, usize> = HashMap::new();
    for list in revoked {
        let count = seen.entry(x509::issuer_of(list)).or_default();
        if layers.len() == *count {
            layers.push(Vec::new());
        }
        layers[*count].push(list.clone());
        *count += 1;
    }
    layers
}

/// What the answers of all layers come to: accepted by one, and refused by none of those whose list counts. A list that
/// is not for the certificate, or not by the key of its issuer, says nothing of it.
fn together<T>(answers: impl Iterator<Item = Result<T, Error>>) -> Result<T, Error> {
    let mut outcome = None;
    for answer in answers {
        match answer {
            Err(error) if !says_nothing(&error) => return Err(error),
            Ok(_) => outcome = Some(answer),
            Err(_) => outcome = outcome.or(Some(answer)),
        }
    }
    // No authority is valid.
    outcome.unwrap_or(Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)))
}

/// Where authorities of one name have keys of their own, webpki may tell of the wrong key for the certificate instead of the
/// wrong key for the list. That a certificate is revoked goes before all of these, whatever else its owner sends.
fn says_nothing(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::UnknownRevocationStatus
                | CertificateError::BadSignature
                | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
        ) | Error::InvalidCertRevocationList(
            CertRevocationListError::BadSignature
                | CertRevocationListError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
        )
    )
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

    #[test]
    fn a_certificate_is_accepted_by_one_list_of_its_issuer_and_refused_by_any() {
        use CertificateError::{ExpiredContext, Revoked, UnknownRevocationStatus};
        let refused = |why| Err(Error::InvalidCertificate(why));
        let of_other_key = Err(Error::InvalidCertRevocationList(CertRevocationListError::BadSignature));
        let other_key = refused(CertificateError::BadSignature);
        let [unknown, revoked] = [UnknownRevocationStatus, Revoked].map(refused);
        // Whoever sends an expired intermediate of the same name has this for an answer, whatever the list says.
        let zero = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
        let decoy = refused(ExpiredContext { time: zero, not_after: zero });
        let no_list = || Err(Error::InvalidCertRevocationList(CertRevocationListError::IssuerInvalidForCrl));
        for (answers, outcome) in [
            (vec![Ok(())], Ok(())),
            (vec![of_other_key.clone(), other_key.clone(), Ok(()), unknown.clone()], Ok(())),
            (vec![other_key.clone()], other_key),
            (vec![Ok(()), of_other_key.clone(), revoked.clone()], revoked.clone()),
            (vec![revoked.clone(), Ok(())], revoked),
            (vec![Ok(()), decoy.clone()], decoy),
            (vec![Ok(()), no_list()], no_list()),
            (vec![of_other_key.clone(), unknown.clone()], of_other_key),
            (vec![unknown.clone()], unknown),
            (vec![], refused(CertificateError::UnknownIssuer)),
        ] {
            assert_eq!(together(answers.clone().into_iter()), outcome, "{answers:?}");
        }
    }

    #[test]
    fn no_two_lists_of_one_issuer_are_in_one_layer_nor_two_that_do_not_tell_whose_they_are() {
        assert_eq!(layers(&[]), [[]]);
        let lists = [1, 2].map(|byte| CertificateRevocationListDer::from(vec![byte]));
        assert_eq!(layers(&lists), lists.map(|list| [list]));
    }
}
