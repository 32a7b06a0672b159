//! Parameters.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    document::OneOrMany,
    tls::{Certificate, Version},
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Accept any certificate. Whoever is between gateway and upstream can read and change everything.
    #[serde(default)]
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
    #[serde(default)]
    pub alpn: OneOrMany<String>,
    /// Lowest protocol version; absent: `1.2`.
    pub minversion: Option<Version>,
    /// Highest protocol version; absent: `1.3`.
    pub maxversion: Option<Version>,
    /// Cipher suites of TLS 1.2 and 1.1 by their IANA names, most preferred first. Empty: the six with ECDHE
    /// and AEAD. Those of TLS 1.3 are always on.
    #[serde(default)]
    pub ciphers: OneOrMany<String>,
}
