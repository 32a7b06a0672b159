//! Whom a context trusts: the authorities of its peers' certificates (configuration reference 6.1).

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use rustls::{
    Error, RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject},
};

use super::{
    Findings,
    identity::{RSA_BITS_MIN, certificates},
    verify::{ClientVerifier, ServerVerifier},
    x509,
};
use crate::base::{ConfigProblem, Digest};

const TRUSTED_CA: &str = "trustedCA";
const CRL: &str = "crl";

/// The authorities that a configuration names, and what they have revoked.
#[derive(Clone, Debug)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    certificates: Arc<[CertificateDer<'static>]>,
    revoked: Arc<[CertificateRevocationListDer<'static>]>,
    digest: Digest,
}

impl Authorities {
    /// `None` when there are errors.
    pub fn read(trusted_ca: &str, crl: Option<&str>, findings: &mut Findings) -> Option<Self> {
        let authorities = findings.keep(certificates(trusted_ca, TRUSTED_CA))?;
        let mut digest = Digest::builder();
        let mut roots = RootCertStore::empty();
        let mut sound = true;
        for (index, authority) in authorities.iter().cloned().enumerate() {
            digest.add(&authority);
            let problem = match unfit(&authority) {
                None if roots.add(authority).is_ok() => continue,
                None => "is not an X.509 certificate".to_owned(),
                Some(unfit) => unfit,
            };
            findings.error(ConfigProblem::new(TRUSTED_CA, format!("certificate {} {problem}", index + 1)));
            sound = false;
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
        let roots = Arc::new(roots);
        // The only check of a list is its use.
        if !revoked.is_empty() && ServerVerifier::trusting(Arc::clone(&roots), &[], &revoked).is_err() {
            findings
                .error(ConfigProblem::new(CRL, "a revocation list in it is malformed, or not of version 2"));
            return None;
        }
        Some(Self {
            roots,
            certificates: authorities.into(),
            revoked: revoked.into(),
            digest: digest.finish(),
        })
    }
}

/// What keeps an authority from ever being of use.
fn unfit(authority: &CertificateDer<'_>) -> Option<String> {
    let bits = x509::read(authority)?.rsa_bits.filter(|bits| *bits < RSA_BITS_MIN)?;
    Some(format!("has an RSA key of {bits} bits: 2048 are the least"))
}

fn revocations(pem: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, ConfigProblem> {
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
    authorities: Authorities,
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
        let Authorities { roots, certificates, revoked, .. } = &self.authorities;
        ClientVerifier::new(Arc::clone(roots), certificates, self.required, revoked).map(Arc::new)
    }
}

/// The certificate authorities of the system, read once (`SSL_CERT_FILE` and `SSL_CERT_DIR` name
/// others). `None` when there are none.
pub fn system_roots() -> Option<Arc<RootCertStore>> {
    static ROOTS: LazyLock<Option<Arc<RootCertStore>>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        // Systems carry a few certificates that no parser takes; the rest serves.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        (!roots.is_empty()).then(|| Arc::new(roots))
    });
    ROOTS.clone()
}

/// Which servers are believed to be who they say.
#[derive(Clone, Debug)]
pub enum ServerTrust {
    Authorities(Authorities),
    /// Those of the operating system.
    System(Arc<RootCertStore>),
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
            Self::Authorities(Authorities { roots, certificates, revoked, .. }) => {
                ServerVerifier::trusting(Arc::clone(roots), certificates, revoked)?
            }
            Self::System(roots) => ServerVerifier::trusting(Arc::clone(roots), &[], &[])?,
            Self::Anyone => ServerVerifier::trusting_any(),
        }))
    }
}
