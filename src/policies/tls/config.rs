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
    /// What the gateway presents to clients.
    pub certificate: Certificate,
    /// Refuse clients without a certificate that chains to `trustedCA`.
    #[serde(default)]
    pub require_client_certificate: bool,
    /// The authorities of client certificates, PEM. Without `requireClientCertificate` a certificate is
    /// asked for, and verified if the client has one.
    #[serde(rename = "trustedCA")]
    pub trusted_ca: Option<String>,
    /// Application protocols, most preferred first: `h2`, `http/1.1`. Empty: both. Only `http/1.1` is
    /// offered yet.
    #[serde(default)]
    pub alpn: OneOrMany<String>,
    /// Lowest protocol version; absent: `1.2`.
    pub minversion: Option<Version>,
    /// Highest protocol version; absent: `1.3`.
    pub maxversion: Option<Version>,
    /// Cipher suites of TLS 1.2 by their IANA names, most preferred first. Empty: the six with ECDHE
    /// and AEAD. Those of TLS 1.3 are always on.
    #[serde(default)]
    pub ciphers: OneOrMany<String>,
}
