//! Whom a context trusts: the authorities of its peers' certificates (configuration reference 6.1).

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use rustls::{
    Error,
    pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject},
};

use super::{
    Findings,
    anchors::Anchors,
    identity::{RSA_BITS_MIN, certificates, unindented},
    verify::{ClientVerifier, ServerVerifier, is_verifiable},
    x509::{self, Facts, Outside},
};
use crate::base::{ConfigProblem, Digest};

const TRUSTED_CA: &str = "trustedCA";
const CRL: &str = "crl";

/// The authorities that a configuration names, and what they have revoked.
#[derive(Clone, Debug)]
pub struct Authorities {
    pub anchors: Arc<Anchors>,
    certificates: Arc<[CertificateDer<'static>]>,
    revoked: Arc<[CertificateRevocationListDer<'static>]>,
    digest: Digest,
}

impl Authorities {
    /// `None` when there are errors.
    pub fn read(trusted_ca: &str, crl: Option<&str>, findings: &mut Findings) -> Option<Self> {
        let authorities = findings.keep(certificates(trusted_ca, TRUSTED_CA))?;
        let mut digest = Digest::builder();
        let mut anchors = Anchors::default();
        let mut sound = true;
        let now = Timestamp::now();
        for (index, authority) in authorities.iter().enumerate() {
            digest.add(authority);
            let which = format!("certificate {}", index + 1);
            let facts = x509::read(authority).filter(|_| anchors.add(authority));
            let unfit = match &facts {
                None => Some("is not an X.509 certificate".to_owned()),
                Some(facts) => unfit(facts),
            };
            if let Some(unfit) = unfit {
                findings.error(ConfigProblem::new(TRUSTED_CA, format!("{which} {unfit}")));
                sound = false;
            } else if let Some(outside) = facts.and_then(|facts| facts.validity.outside(now)) {
                let problem = ConfigProblem::new(TRUSTED_CA, format!("{which} {outside}"));
                findings.warning(problem.help(match outside {
                    Outside::Expired(_) => "neither it nor what it has signed is accepted: renew it",
                    Outside::NotYetValid(_) => "neither it nor what it has signed is accepted until then",
                }));
            }
        }
        let revoked = match crl {
            Some(pem) => findings.keep(revocations(pem))?,
            None => Vec::new(),
        };
        for (index, list) in revoked.iter().enumerate() {
            digest.add(list);
            if let Some(next) = x509::next_update(list).filter(|next| *next < Timestamp::now()) {
                let message = format!("revocation list {} was to be replaced at {next}", index + 1);
                let problem = ConfigProblem::new(CRL, message);
                findings.warning(problem.help("what was revoked since is not known: give the next one"));
            }
        }
        if !sound {
            return None;
        }
        if !revoked.is_empty() && anchors.issue_nothing() {
            let problem =
                ConfigProblem::new(CRL, "none of the certificates in `trustedCA` is an authority's");
            findings.error(
                problem.help("a list speaks of what an authority has issued: leave it out, or name one"),
            );
            return None;
        }
        let anchors = Arc::new(anchors);
        // The only check of a list is its use.
        let timeless = || Arc::new(anchors.timeless());
        if !revoked.is_empty() && ServerVerifier::trusting(timeless(), &[], &revoked).is_err() {
            findings
                .error(ConfigProblem::new(CRL, "a revocation list in it is malformed, or not of version 2"));
            return None;
        }
        // It would have to be taken for one that names everybody.
        let unverifiable = |list: &CertificateRevocationListDer<'_>| {
            x509::algorithm_of(list).is_none_or(|algorithm| !is_verifiable(algorithm))
        };
        if let Some(index) = revoked.iter().position(unverifiable) {
            let message =
                format!("revocation list {} is signed by an algorithm that is not accepted", index + 1);
            let help = "have it issued with SHA-256 or better: signatures with SHA-1 can be forged";
            findings.error(ConfigProblem::new(CRL, message).help(help));
            return None;
        }
        Some(Self {
            anchors,
            certificates: authorities.into(),
            revoked: revoked.into(),
            digest: digest.finish(),
        })
    }
}

/// What keeps an authority from ever being of use.
fn unfit(authority: &Facts) -> Option<String> {
    let bits = authority.rsa_bits.filter(|bits| *bits < RSA_BITS_MIN)?;
    Some(format!("has an RSA key of {bits} bits: 2048 are the least"))
}

fn revocations(pem: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, ConfigProblem> {
    let pem = unindented(pem);
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|_| ConfigProblem::new(CRL, "the text is not PEM"))?;
    if found.is_empty() {
        let problem = ConfigProblem::new(CRL, "there is no revocation list in it");
        return Err(
            problem.help("write the lines from `-----BEGIN X509 CRL-----` to `-----END X509 CRL-----`")
        );
    }
    Ok(found)
}

/// How client certificates are asked for.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    pub authorities: Authorities,
    /// Without one the handshake fails; otherwise one is verified if given (decision 29).
    pub required: bool,
}

impl ClientCertificates {
    /// `None` when none are asked for, or when there are errors.
    pub fn read(
        trusted_ca: Option<&str>,
        crl: Option<&str>,
        required: bool,
        findings: &mut Findings,
    ) -> Option<Self> {
        let Some(pem) = trusted_ca else {
            if required {
                findings.error(
                    ConfigProblem::new(
                        "requireClientCertificate",
                        "`requireClientCertificate` needs `trustedCA`",
                    )
                    .help("give the certificates of the authorities that issue client certificates"),
                );
            } else if crl.is_some() {
                let problem =
                    ConfigProblem::new(CRL, "without `trustedCA` no client certificate is asked for");
                findings.warning(problem.help("the list has no effect: remove it, or give `trustedCA`"));
            }
            return None;
        };
        Some(Self { authorities: Authorities::read(pem, crl, findings)?, required })
    }

    /// Two of one digest admit the same clients.
    pub fn digest(of: Option<&Self>) -> Digest {
        let Some(clients) = of else { return Digest::of("nobody is asked") };
        let required = if clients.required { "required" } else { "optional" };
        Digest::builder().part(required).part(clients.authorities.digest.to_string()).finish()
    }

    pub(super) fn verifier(&self) -> Result<Arc<ClientVerifier>, Error> {
        let Authorities { anchors, certificates, revoked, .. } = &self.authorities;
        ClientVerifier::new(Arc::clone(anchors), certificates, self.required, revoked).map(Arc::new)
    }
}

/// The certificate authorities of the system, read once (`SSL_CERT_FILE` and `SSL_CERT_DIR` name
/// others). `None` when there are none.
pub fn system_roots() -> Option<Arc<Anchors>> {
    static ROOTS: LazyLock<Option<Arc<Anchors>>> = LazyLock::new(|| {
        let mut anchors = Anchors::default();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // Systems carry a few certificates that no parser takes; the rest serves.
            anchors.add(&certificate);
        }
        (!anchors.issue_nothing()).then(|| Arc::new(anchors))
    });
    ROOTS.clone()
}

/// Which servers are believed to be who they say.
#[derive(Clone, Debug)]
pub enum ServerTrust {
    Authorities(Authorities),
    /// Those of the operating system.
    System(Arc<Anchors>),
    /// `skipValidation`.
    Anyone,
}

impl ServerTrust {
    pub fn digest(&self) -> Digest {
        match self {
            Self::Authorities(authorities) => authorities.digest,
            // They are read once in the life of the process.
            Self::System(_) => Digest::of("the system's"),
            Self::Anyone => Digest::of("anyone"),
        }
    }

    pub(super) fn verifier(&self) -> Result<Arc<ServerVerifier>, Error> {
        Ok(Arc::new(match self {
            Self::Authorities(Authorities { anchors, certificates, revoked, .. }) => {
                ServerVerifier::trusting(Arc::clone(anchors), certificates, revoked)?
            }
            Self::System(anchors) => ServerVerifier::trusting(Arc::clone(anchors), &[], &[])?,
            Self::Anyone => ServerVerifier::trusting_any(),
        }))
    }
}
