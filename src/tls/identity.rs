//! The certificate that the gateway presents, with its key (configuration reference 6.1).

use std::sync::Arc;

use jiff::Timestamp;
use rustls::{
    Error, InconsistentKeys,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SigningKey},
};

use super::{Certificate, Findings, x509};
use crate::base::{ConfigProblem, Digest};

/// Below it a modulus can be factored (decision 27).
pub const RSA_BITS_MIN: usize = 2048;

const CRT: &str = "certificate.crt";
const KEY: &str = "certificate.key";

/// A chain, the own certificate first, and the key that fits it.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certified: CertifiedKey,
    /// Of chain and key.
    pub digest: Digest,
}

impl Identity {
    /// Reads both; problems go to `findings`, with fields below `config`.
    pub fn read(written: &Certificate, now: Timestamp, findings: &mut Findings) -> Option<Self> {
        let chain = findings.keep(certificates(&written.crt, CRT));
        let sound = chain.as_ref().is_some_and(|chain| check_chain(chain, now, findings));
        let key = findings.keep(private_key(written.key.expose()));
        let (true, Some(chain), Some(key)) = (sound, chain, key) else { return None };
        let mut digest = Digest::builder().part(written.key.expose());
        chain.iter().for_each(|certificate| digest.add(certificate));
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Some(Self { certified, digest: digest.finish() })
            }
            Err(_) => {
                findings.error(
                    ConfigProblem::new(KEY, "the key does not belong to the certificate")
                        .help("`crt` starts with the gateway's own certificate, then the intermediates"),
                );
                None
            }
        }
    }
}

/// The certificates of a PEM text, at least one.
pub(super) fn certificates(pem: &str, field: &str) -> Result<Vec<CertificateDer<'static>>, ConfigProblem> {
    let help =
        "write the lines from `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`, as a block (`|`)";
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(ConfigProblem::new(field, "there is no certificate in it").help(help))
        }
        Ok(found) => Ok(found),
        Err(_) => Err(ConfigProblem::new(field, "the text is not PEM").help(help)),
    }
}

fn check_chain(chain: &[CertificateDer<'_>], now: Timestamp, findings: &mut Findings) -> bool {
    let mut sound = true;
    for (index, certificate) in chain.iter().enumerate() {
        let which = if index == 0 {
            "the certificate".to_owned()
        } else {
            format!("certificate {} of the chain", index + 1)
        };
        let Some(facts) = x509::read(certificate) else {
            findings.error(ConfigProblem::new(CRT, format!("{which} is not an X.509 certificate")));
            sound = false;
            continue;
        };
        if let Some(bits) = facts.rsa_bits.filter(|bits| *bits < RSA_BITS_MIN) {
            findings.error(
                ConfigProblem::new(CRT, format!("{which} has an RSA key of {bits} bits"))
                    .help("RSA keys need 2048 bits or more: issue it anew"),
            );
            sound = false;
        }
        if now > facts.not_after {
            let message = format!("{which} expired at {}", facts.not_after);
            findings.warning(ConfigProblem::new(CRT, message).help("clients will refuse it: renew it"));
        } else if now < facts.not_before {
            let message = format!("{which} is not valid before {}", facts.not_before);
            findings.warning(ConfigProblem::new(CRT, message).help("clients will refuse it until then"));
        }
    }
    sound
}

fn private_key(pem: &str) -> Result<Arc<dyn SigningKey>, ConfigProblem> {
    if pem.contains("ENCRYPTED") {
        return Err(ConfigProblem::new(
            KEY,
            "the key is encrypted, and there is no parameter for its passphrase",
        )
        .help("decrypt it: `openssl pkey -in encrypted.key -out plain.key`"));
    }
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
        ConfigProblem::new(KEY, "there is no private key in it")
            .help("write the lines from `-----BEGIN PRIVATE KEY-----` to `-----END PRIVATE KEY-----`, as a block (`|`)")
    })?;
    aws_lc_rs::default_provider().key_provider.load_private_key(der).map_err(|_| {
        ConfigProblem::new(KEY, "the key cannot be used")
            .help("it must be RSA of 2048 bits or more, ECDSA on P-256, P-384 or P-521, or Ed25519")
    })
}
