//! Floor 1: TLS contexts from what a configuration says of them (configuration reference 6).
//!
//! Everything is checked first, with every problem reported; what passes is served exactly as
//! written. What the reference allows and rustls cannot serve exactly (TLS 1.1, CBC suites, RSA key
//! exchange) is refused as "not supported yet", never replaced by something else.

pub mod alpn;
pub mod ciphers;
pub mod identity;
pub mod inbound;
pub mod trust;
pub mod x509;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::{ConfigProblem, Secret};
pub use inbound::{Inbound, InboundContext};

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

/// The certificate that the gateway presents.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Certificate {
    /// The private key, PEM: PKCS#8, PKCS#1 or SEC1, not encrypted; RSA of 2048 bits or more, ECDSA on
    /// P-256, P-384 or P-521, or Ed25519.
    pub key: Secret,
    /// The certificate, PEM: the gateway's own first, then the intermediates.
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
    fn error(&mut self, problem: ConfigProblem) {
        self.errors.push(problem);
    }

    fn warning(&mut self, problem: ConfigProblem) {
        self.warnings.push(problem);
    }

    /// The value, or the problem noted.
    pub fn keep<T>(&mut self, outcome: Result<T, ConfigProblem>) -> Option<T> {
        outcome.map_err(|problem| self.error(problem)).ok()
    }
}
