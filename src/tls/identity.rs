//! A certificate that the gateway presents, with its key (configuration reference 6.1).

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use rustls::{
    Error, InconsistentKeys,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SigningKey},
};

use x509_parser::der_parser::asn1_rs::{FromDer, Integer, OctetString, Sequence};

use super::{
    Certificate, Findings, provider,
    x509::{self, Facts, Outside, Validity},
};
use crate::{
    base::{ConfigProblem, Digest},
    document::shortened,
};

/// Below it a modulus can be factored (decision 27).
pub const RSA_BITS_MIN: usize = 2048;

const CRT: &str = "crt";
const KEY: &str = "key";

/// A chain, the own certificate first, and the key that fits it.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certified: Arc<CertifiedKey>,
    #[cfg_attr(not(feature = "legacy-tls"), expect(dead_code, reason = "rustls has read it"))]
    pub(super) key: Arc<PrivateKeyDer<'static>>,
    /// Of the own certificate.
    pub facts: Facts,
    /// Of the chain as a whole.
    pub validity: Validity,
    /// Of chain and key.
    pub digest: Digest,
}

impl Identity {
    /// As [`Self::read`], for the certificate in this field.
    pub fn read_at(
        field: &str,
        written: &Certificate,
        now: Timestamp,
        findings: &mut Findings,
    ) -> Option<Self> {
        let mut below = Findings::default();
        let identity = Self::read(written, now, &mut below);
        findings.adopt(field, below);
        identity
    }

    /// Reads both; problems go to `findings`, with fields below the certificate's.
    pub fn read(written: &Certificate, now: Timestamp, findings: &mut Findings) -> Option<Self> {
        let chain = findings.keep(certificates(&written.crt, CRT));
        let facts = chain.as_ref().and_then(|chain| check_chain(chain, now, findings));
        let key = findings.keep(private_key(written.key.expose()));
        let (Some((facts, validity)), Some(chain), Some((key, signing))) = (facts, chain, key) else {
            return None;
        };
        let mut digest = Digest::builder().part(written.key.expose());
        chain.iter().for_each(|certificate| digest.add(certificate));
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Some(Self {
                certified: Arc::new(certified),
                key: Arc::new(key),
                facts,
                validity,
                digest: digest.finish(),
            }),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                findings.error(
                    ConfigProblem::new(KEY, "the key does not belong to the certificate")
                        .help("`crt` starts with the gateway's own certificate, then the intermediates"),
                );
                None
            }
            Err(_) if facts.is_of_version_1 => {
                let problem = ConfigProblem::new(CRT, "the certificate is of version 1, which has no names");
                findings.error(problem.help("issue it as version 3, with a `subjectAltName`"));
                None
            }
            Err(_) => {
                let message = "the certificate has an extension that must be understood, and is not";
                findings.error(
                    ConfigProblem::new(CRT, message)
                        .help("issue it without critical extensions of other kinds"),
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
    let pem = unindented(pem);
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|_| ConfigProblem::new(field, "the text is not PEM").help(help))?;
    // None is left out: what it was to say would be missed later, by a peer that is refused.
    let labels = pem.lines().filter_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    let other = labels
        .filter(|label| label.ends_with(CERTIFICATE))
        .enumerate()
        .find(|(_, label)| *label != CERTIFICATE);
    if let Some((index, label)) = other {
        let problem = format!("certificate {} begins with `-----BEGIN {}-----`", index + 1, shortened(label));
        let help =
            "write it as `-----BEGIN CERTIFICATE-----`: `openssl x509 -in other.pem -out plain.pem` does";
        return Err(ConfigProblem::new(field, problem).help(help));
    }
    match found.is_empty() {
        true => Err(ConfigProblem::new(field, "there is no certificate in it").help(help)),
        false => Ok(found),
    }
}

const CERTIFICATE: &str = "CERTIFICATE";

/// Without what editors put before a line: a mark of the byte order, or blanks.
pub(super) fn unindented(pem: &str) -> Cow<'_, str> {
    let is_plain = pem.lines().all(|line| !line.starts_with(['\u{feff}', ' ', '\t']));
    if is_plain {
        return Cow::Borrowed(pem);
    }
    let lines = pem.trim_start_matches('\u{feff}').lines().flat_map(|line| [line.trim_start(), "\n"]);
    Cow::Owned(lines.collect())
}

/// The facts of the own certificate, and when all of them are valid, if all of them are sound.
fn check_chain(
    chain: &[CertificateDer<'_>],
    now: Timestamp,
    findings: &mut Findings,
) -> Option<(Facts, Validity)> {
    let mut own = None;
    let mut validity = Validity { not_before: Timestamp::MIN, not_after: Timestamp::MAX };
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
        if let Some(outside) = facts.validity.outside(now) {
            let help = match outside {
                Outside::Expired(_) => "peers will refuse it: renew it",
                Outside::NotYetValid(_) => "peers will refuse it until then",
            };
            findings.warning(ConfigProblem::new(CRT, format!("{which} {outside}")).help(help));
        }
        validity = validity.and(facts.validity);
        own = own.or(Some(facts));
    }
    own.filter(|_| sound).map(|facts| (facts, validity))
}

/// As PKCS#8, or with a `DEK-Info` header; what the text beside the blocks says is no matter.
pub(super) fn is_encrypted(pem: &str) -> bool {
    pem.split(['\r', '\n']).map(str::trim).any(|line| {
        line.starts_with("-----BEGIN ENCRYPTED")
            || line.starts_with("Proc-Type:") && line.contains("ENCRYPTED")
    })
}

/// Whether a SEC1 key has the parameters that say on which curve it is: some can do without, and guess.
fn names_curve(sec1: &[u8]) -> bool {
    let Ok((_, key)) = Sequence::from_der(sec1) else { return false };
    let Ok((after_version, _)) = Integer::from_der(&key.content) else { return false };
    OctetString::from_der(after_version).is_ok_and(|(after_key, _)| after_key.first() == Some(&0xa0))
}

type Key = (PrivateKeyDer<'static>, Arc<dyn SigningKey>);

fn private_key(pem: &str) -> Result<Key, ConfigProblem> {
    if is_encrypted(pem) {
        return Err(ConfigProblem::new(
            KEY,
            "the key is encrypted, and there is no parameter for its passphrase",
        )
        .help("decrypt it: `openssl pkey -in encrypted.key -out plain.key`"));
    }
    let der = PrivateKeyDer::from_pem_slice(unindented(pem).as_bytes()).map_err(|_| {
        ConfigProblem::new(KEY, "there is no private key in it")
            .help("write the lines from `-----BEGIN PRIVATE KEY-----` to `-----END PRIVATE KEY-----`, as a block (`|`)")
    })?;
    if let PrivateKeyDer::Sec1(sec1) = &der
        && !names_curve(sec1.secret_sec1_der())
    {
        return Err(ConfigProblem::new(KEY, "the key does not name its curve (RFC 5915 section 3)")
            .help("export it anew, best as PKCS#8 (`-----BEGIN PRIVATE KEY-----`)"));
    }
    let signing = provider().key_provider.load_private_key(der.clone_key()).map_err(|_| {
        ConfigProblem::new(KEY, "the key cannot be used")
            .help("it must be RSA of 2048 bits or more, ECDSA on P-256, P-384 or P-521, or Ed25519")
    })?;
    Ok((der, signing))
}

#[cfg(test)]
mod tests {
    use super::is_encrypted;

    #[test]
    fn what_is_encrypted_says_so_in_its_block_and_not_beside_it() {
        let blocks = [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\rProc-Type: 4,ENCRYPTED\rDEK-Info: AES-128-CBC,00\r\rAA==\r",
        ];
        assert!(blocks.iter().all(|block| is_encrypted(block)));
        let plain = "# UNENCRYPTED, see wiki\n-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";
        assert!(!is_encrypted(plain));
    }
}
