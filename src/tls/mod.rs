//! Floor 1: TLS contexts from what a configuration says of them, and the handshakes made with them (configuration
//! reference 6).
//!
//! Everything is checked first, with every problem reported; what passes is served exactly as written, by rustls
//! where it can, else by OpenSSL (`legacy`). Which certificates are accepted is decided by the same code for both
//! (`verify`).
//!
//! | module | what it does |
//! | --- | --- |
//! | `ciphers`, `alpn` | what may be negotiated |
//! | `identity` | the certificates that the gateway presents |
//! | `trust`, `verify` | whose certificates it accepts |
//! | `inbound`, `hello`, `choice`, `sessions` | the context of a port, and the server's side of a handshake |
//! | `outbound`, `parameters` | the context of a service, and the client's side |
//! | `stream`, `session` | what a handshake leaves: payload both ways |
//! | `failure` | why a handshake failed |

pub mod alpn;
pub mod anchors;
pub mod choice;
pub mod ciphers;
pub mod failure;
pub mod hello;
pub mod identity;
pub mod inbound;
#[cfg(feature = "legacy-tls")]
pub mod legacy;
pub mod outbound;
pub mod parameters;
mod session;
mod sessions;
mod stream;
#[cfg(all(test, feature = "legacy-tls"))]
mod tests;
pub mod trust;
pub mod verify;
pub mod x509;

use std::sync::{Arc, LazyLock};

use rustls::{
    SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::{ConfigProblem, Digest, Secret};
pub use alpn::Protocol;
use ciphers::Suites;
pub use failure::{Failure, Reason};
pub use inbound::{Inbound, InboundContext};
pub use outbound::{Outbound, OutboundContext};
pub use parameters::{OutboundParameters, RedisParameters};
pub use stream::Stream;

/// Who makes the handshakes of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Rustls,
    /// With weak suites compiled in (feature `legacy-tls`).
    OpenSsl,
}

impl Backend {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rustls => "rustls",
            Self::OpenSsl => "OpenSSL",
        }
    }
}

/// A protocol version of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum Version {
    #[serde(rename = "1.1")]
    V1_1,
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

impl Version {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// The versions that a context may negotiate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub min: Version,
    pub max: Version,
}

impl Versions {
    /// Configuration reference 6.1.
    pub const DEFAULT: Self = Self { min: Version::V1_2, max: Version::V1_3 };

    /// What is not written is as in [`Self::DEFAULT`].
    ///
    /// # Errors
    /// No version lies between them.
    pub fn new(min: Option<Version>, max: Option<Version>) -> Result<Self, ConfigProblem> {
        let versions = Self { min: min.unwrap_or(Self::DEFAULT.min), max: max.unwrap_or(Self::DEFAULT.max) };
        if versions.min <= versions.max {
            return Ok(versions);
        }
        let (field, defaulted) =
            if min.is_some() { ("minversion", "") } else { ("maxversion", " (its default)") };
        let message = format!(
            "`minversion` {}{defaulted} is above `maxversion` {}",
            versions.min.as_str(),
            versions.max.as_str()
        );
        Err(ConfigProblem::new(field, message)
            .help("no version is left: raise `maxversion` or lower `minversion`"))
    }

    pub fn contains(self, version: Version) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// What a context may negotiate.
#[derive(Clone, Debug)]
pub struct Negotiable {
    pub versions: Versions,
    pub suites: Suites,
    /// Most preferred first.
    pub alpn: Vec<Protocol>,
}

impl Negotiable {
    /// From the parameters of these names.
    pub fn read(
        minversion: Option<Version>,
        maxversion: Option<Version>,
        ciphers: &[String],
        alpn: &[String],
        findings: &mut Findings,
    ) -> Option<Self> {
        // The checks of the others need a range.
        let range = findings.keep(Versions::new(minversion, maxversion));
        let versions = range.unwrap_or(Versions::DEFAULT);
        let suites = Suites::select(ciphers, versions, findings);
        let alpn = alpn::select(alpn, versions, findings);
        range.map(|versions| Self { versions, suites, alpn })
    }

    /// Equal for those that negotiate the same.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::builder().part(format!("{:?} {:?}", self.versions, self.alpn));
        self.suites.iter().for_each(|cipher| digest.add(cipher.name));
        digest.finish()
    }

    /// For rustls: its provider with these suites, and versions.
    fn of_rustls(&self) -> (Arc<CryptoProvider>, Vec<&'static SupportedProtocolVersion>) {
        let provider =
            CryptoProvider { cipher_suites: self.suites.of_rustls(), ..provider().as_ref().clone() };
        let known = [(Version::V1_3, &TLS13), (Version::V1_2, &TLS12)];
        let versions = known.into_iter().filter(|(version, _)| self.versions.contains(*version));
        (Arc::new(provider), versions.map(|(_, of)| of).collect())
    }

    fn alpn_of_rustls(&self) -> Vec<Vec<u8>> {
        self.alpn.iter().map(|protocol| protocol.as_str().as_bytes().to_vec()).collect()
    }
}

/// What all contexts of rustls have in common. The hybrid key exchange comes first: a peer that has it shall not have
/// to be asked twice.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
        let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
        Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
    });
    &PROVIDER
}

/// The certificate that the gateway presents.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Certificate {
    /// The private key, PEM: PKCS#8, PKCS#1 or SEC1, not encrypted; RSA of 2048 bits or more, ECDSA on
    /// P-256, P-384 or P-521, or Ed25519. Or `keyFile`, a path.
    pub key: Secret,
    /// The certificate, PEM: the gateway's own first, then the intermediates. Or `crtFile`, a path.
    pub crt: String,
}

/// What was found while a context was checked.
#[derive(Debug, Default)]
pub struct Findings {
    pub errors: Vec<ConfigProblem>,
    /// They do not keep the context from being served.
    pub warnings: Vec<ConfigProblem>,
}

impl Findings {
    pub fn error(&mut self, problem: ConfigProblem) {
        self.errors.push(problem);
    }

    pub fn warning(&mut self, problem: ConfigProblem) {
        self.warnings.push(problem);
    }

    /// Notes the errors and warnings of another check, whose fields lie below `field`.
    pub fn adopt(&mut self, field: &str, other: Self) {
        let below = |mut problem: ConfigProblem| {
            problem.field = format!("{field}.{}", problem.field);
            problem
        };
        self.errors.extend(other.errors.into_iter().map(below));
        self.warnings.extend(other.warnings.into_iter().map(below));
    }

    /// The value, or the problem noted.
    pub fn keep<T>(&mut self, outcome: Result<T, ConfigProblem>) -> Option<T> {
        outcome.map_err(|problem| self.error(problem)).ok()
    }
}
