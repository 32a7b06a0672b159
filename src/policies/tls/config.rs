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
    /// Revocation lists of these authorities, PEM: clients whose certificates they name are refused, and so
    /// are those of whose issuer no list speaks. Ours.
    pub crl: Option<String>,
    /// More certificates, for clients that ask for other names (SNI). Ours.
    #[serde(default)]
    pub certificates: Vec<NamedCertificate>,
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

/// A certificate for some names.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct NamedCertificate {
    /// Host names, `*.example.com` for all one level below. Empty: those that the certificate is issued for.
    #[serde(default)]
    pub hosts: OneOrMany<String>,
    /// As `certificate`.
    pub certificate: Certificate,
}
