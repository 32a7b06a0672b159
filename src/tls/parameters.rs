//! The parameters of a context towards servers as configurations write them: of a `tls-outbound` policy, of
//! `defaultTLS.outboundPolicyCalls` and of Redis (configuration reference 6.1, 6.4, 8.1).

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Certificate, Findings, Negotiable, Outbound, Version,
    ciphers::unknown_suite,
    identity::{Identity, is_encrypted},
    trust::{Authorities, ServerTrust, system_roots},
};
use crate::{
    base::{ConfigProblem, Secret},
    document::OneOrMany,
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundParameters {
    /// Accept any certificate. Whoever is between gateway and upstream can read and change everything.
    pub skip_validation: bool,
    /// The authorities of the upstream's certificate, PEM. Absent: those of the operating system.
    #[serde(rename = "trustedCA")]
    pub trusted_ca: Option<String>,
    /// Revocation lists of these authorities, PEM: upstreams whose certificates they name are refused, and so
    /// are those of whose issuer no list speaks. Ours.
    pub crl: Option<String>,
    /// What the gateway presents when the upstream asks for a certificate.
    pub certificate: Option<Certificate>,
    /// Application protocols, most preferred first: `h2`, `http/1.1`. Empty: both.
    pub alpn: OneOrMany<String>,
    /// Lowest protocol version; absent: `1.2`.
    pub minversion: Option<Version>,
    /// Highest protocol version; absent: `1.3`.
    pub maxversion: Option<Version>,
    /// Cipher suites of TLS 1.2 and 1.1 by their IANA names, most preferred first. Empty: the six with ECDHE
    /// and AEAD. Those of TLS 1.3 are always on.
    pub ciphers: OneOrMany<String>,
}

impl OutboundParameters {
    /// What they describe, if nothing is wrong.
    pub fn read(&self, now: Timestamp, findings: &mut Findings) -> Option<Outbound> {
        let negotiable =
            Negotiable::read(self.minversion, self.maxversion, &self.ciphers, &self.alpn, findings);
        let trust = self.trust(findings);
        let identity = match &self.certificate {
            Some(certificate) => Some(Identity::read_at("certificate", certificate, now, findings)?),
            None => None,
        };
        Some(Outbound::new(negotiable?, trust?, identity)).filter(|_| findings.errors.is_empty())
    }

    fn trust(&self, findings: &mut Findings) -> Option<ServerTrust> {
        if self.skip_validation {
            findings.warning(
                ConfigProblem::new("skipValidation", "the upstream's certificate is not checked")
                    .help("give its authority as `trustedCA`, and remove `skipValidation`"),
            );
            // Nobody is asked, but what is written must be sound.
            if let Some(pem) = &self.trusted_ca {
                Authorities::read(pem, self.crl.as_deref(), findings)?;
            }
            return Some(ServerTrust::Anyone);
        }
        if let Some(pem) = &self.trusted_ca {
            return Authorities::read(pem, self.crl.as_deref(), findings).map(ServerTrust::Authorities);
        }
        findings.warning(
            ConfigProblem::new(
                "trustedCA",
                "`trustedCA` is missing: the authorities of the operating system are trusted",
            )
            .help("give the authority of the upstream's certificate, so that no other can stand in for it"),
        );
        if self.crl.is_some() {
            let problem = ConfigProblem::new("crl", "`crl` needs `trustedCA`");
            findings.error(problem.help("give the certificates of the authorities whose lists these are"));
            return None;
        }
        let roots = system_roots();
        if roots.is_none() {
            findings.error(
                ConfigProblem::new("trustedCA", "the system has no CA certificates").help(
                    "give `trustedCA`; or install `ca-certificates`, or name a bundle in SSL_CERT_FILE",
                ),
            );
        }
        roots.map(ServerTrust::System)
    }
}

/// The certificate of a client of Redis: its key may be encrypted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedisCertificate {
    key: Secret,
    crt: String,
    key_passphrase: Option<Secret>,
}

/// TLS towards Redis (configuration reference 8.1).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RedisParameters {
    skip_validation: bool,
    #[serde(rename = "trustedCA")]
    trusted_ca: Option<String>,
    certificate: Option<RedisCertificate>,
    /// One table of the vendor prints it here instead of in `certificate`.
    key_passphrase: Option<Secret>,
    alpn: OneOrMany<String>,
    minversion: Option<Version>,
    maxversion: Option<Version>,
    ciphers: OneOrMany<String>,
}

impl RedisParameters {
    /// What they describe, if nothing is wrong. Unknown suites are left out with a warning (decision 26).
    pub fn read(&self, now: Timestamp, findings: &mut Findings) -> Option<Outbound> {
        let mut ciphers = Vec::new();
        for (index, name) in self.ciphers.iter().enumerate() {
            match unknown_suite(index, name) {
                Some(problem) => findings.warning(problem),
                None => ciphers.push(name.clone()),
            }
        }
        let certificate = match &self.certificate {
            Some(written) => Some(self.decrypted(written, findings)?),
            None => None,
        };
        let parameters = OutboundParameters {
            skip_validation: self.skip_validation,
            trusted_ca: self.trusted_ca.clone(),
            crl: None,
            certificate,
            alpn: self.alpn.clone(),
            minversion: self.minversion,
            maxversion: self.maxversion,
            ciphers: OneOrMany(ciphers),
        };
        let described = parameters.read(now, findings)?;
        if !self.alpn.is_empty() {
            findings.warning(
                ConfigProblem::new("alpn", "`alpn` has no effect: Redis speaks neither of these protocols")
                    .help("remove it"),
            );
        }
        Some(described.speaking(Vec::new()))
    }

    fn decrypted(&self, written: &RedisCertificate, findings: &mut Findings) -> Option<Certificate> {
        let crt = written.crt.clone();
        let passphrase = written.key_passphrase.as_ref().or(self.key_passphrase.as_ref());
        let key = match passphrase {
            _ if !is_encrypted(written.key.expose()) => Ok(written.key.clone()),
            Some(passphrase) => decrypt(&written.key, passphrase),
            None => Err(ConfigProblem::new(
                "certificate.key",
                "the key is encrypted, and its passphrase is missing",
            )
            .help("give it as `certificate.keyPassphrase`")),
        };
        Some(Certificate { key: findings.keep(key)?, crt })
    }
}

#[cfg(feature = "legacy-tls")]
fn decrypt(key: &Secret, passphrase: &Secret) -> Result<Secret, ConfigProblem> {
    super::legacy::decrypt_key(key, passphrase).ok_or_else(|| {
        ConfigProblem::new("certificate.key", "the key cannot be decrypted with this passphrase")
    })
}

#[cfg(not(feature = "legacy-tls"))]
fn decrypt(_: &Secret, _: &Secret) -> Result<Secret, ConfigProblem> {
    let problem =
        ConfigProblem::new("certificate.key", "this build decrypts no keys: it is without `legacy-tls`");
    Err(problem.help("decrypt it: `openssl pkey -in encrypted.key -out plain.key`"))
}
