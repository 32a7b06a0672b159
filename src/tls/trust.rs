//! Whom a port trusts: the authorities of client certificates (configuration reference 6.1).

use std::sync::Arc;

use rustls::RootCertStore;

use super::{Findings, identity::certificates};
use crate::base::{ConfigProblem, Digest};

const TRUSTED_CA: &str = "trustedCA";

/// How client certificates are asked for.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    pub roots: Arc<RootCertStore>,
    /// Without one the handshake fails; otherwise one is verified if given (decision 29).
    pub required: bool,
    digest: Digest,
}

impl ClientCertificates {
    /// `None` when none are asked for, or when there are errors.
    pub fn read(trusted_ca: Option<&str>, required: bool, findings: &mut Findings) -> Option<Self> {
        let Some(pem) = trusted_ca else {
            if required {
                findings.error(
                    ConfigProblem::new(
                        "requireClientCertificate",
                        "`requireClientCertificate` needs `trustedCA`",
                    )
                    .help("give the certificates of the authorities that issue client certificates"),
                );
            }
            return None;
        };
        let authorities = findings.keep(certificates(pem, TRUSTED_CA))?;
        let mut digest = Digest::builder().part(if required { "required" } else { "optional" });
        let mut roots = RootCertStore::empty();
        for (index, authority) in authorities.into_iter().enumerate() {
            digest.add(&authority);
            if roots.add(authority).is_err() {
                let message = format!("certificate {} is not an X.509 certificate", index + 1);
                findings.error(ConfigProblem::new(TRUSTED_CA, message));
                return None;
            }
        }
        Some(Self { roots: Arc::new(roots), required, digest: digest.finish() })
    }

    /// Two of one digest admit the same clients.
    pub fn digest(of: Option<&Self>) -> Digest {
        of.map_or_else(|| Digest::of("nobody is asked"), |clients| clients.digest)
    }
}
