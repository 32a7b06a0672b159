//! Why a handshake failed: a word for metrics, and a sentence for the log that holds nothing of a certificate but the
//! name of a missing issuer.

use std::{fmt, io};

use rustls::{CertificateError, Error, OtherError, PeerIncompatible};

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Closed,
    Timeout,
    NoCommonVersion,
    NoCommonCipher,
    NoCommonProtocol,
    CertificateMissing,
    /// No alternative name fits.
    CertificateName,
    CertificateIssuer,
    CertificateTime,
    CertificateKey,
    CertificateRevoked,
    CertificateRefused,
    RefusedByPeer,
    Malformed,
    /// Its place was given to a later one.
    Overload,
    Unexpected,
}

impl Reason {
    /// The label of a failed handshake with a client.
    pub fn of_client(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::NoCommonVersion => "no_common_version",
            Self::NoCommonCipher => "no_common_cipher",
            Self::NoCommonProtocol => "no_common_protocol",
            Self::CertificateMissing => "client_certificate_missing",
            Self::CertificateName
            | Self::CertificateIssuer
            | Self::CertificateTime
            | Self::CertificateKey
            | Self::CertificateRevoked
            | Self::CertificateRefused => "client_certificate_refused",
            Self::RefusedByPeer => "refused_by_client",
            Self::Malformed => "malformed",
            Self::Overload => "overload",
            Self::Unexpected => "unexpected",
        }
    }

    /// The code of a failed handshake with an upstream (connected mode reference 21.11).
    pub fn of_upstream(self) -> &'static str {
        self.code_and_label().0
    }

    /// The label of a failed handshake with an upstream.
    pub fn label_of_upstream(self) -> &'static str {
        self.code_and_label().1
    }

    fn code_and_label(self) -> (&'static str, &'static str) {
        match self {
            Self::Closed => ("UPSTREAM_TLS_CLOSED", "closed"),
            Self::Timeout => ("UPSTREAM_TLS_TIMEOUT", "timeout"),
            Self::NoCommonVersion => ("UPSTREAM_TLS_VERSION", "no_common_version"),
            Self::NoCommonCipher => ("UPSTREAM_TLS_CIPHER", "no_common_cipher"),
            Self::NoCommonProtocol => ("UPSTREAM_TLS_ALPN", "no_common_protocol"),
            Self::CertificateMissing => ("UPSTREAM_TLS_CERTIFICATE_MISSING", "certificate_missing"),
            Self::CertificateName => ("UPSTREAM_TLS_SAN", "certificate_name"),
            Self::CertificateIssuer => ("UPSTREAM_TLS_ISSUER", "certificate_issuer"),
            Self::CertificateTime => ("UPSTREAM_TLS_VALIDITY", "certificate_validity"),
            Self::CertificateKey => ("UPSTREAM_TLS_KEY", "certificate_key"),
            Self::CertificateRevoked => ("UPSTREAM_TLS_REVOKED", "certificate_revoked"),
            Self::CertificateRefused => ("UPSTREAM_TLS_CERTIFICATE", "certificate_refused"),
            Self::RefusedByPeer => ("UPSTREAM_TLS_REFUSED", "refused_by_upstream"),
            Self::Malformed => ("UPSTREAM_TLS_MALFORMED", "malformed"),
            Self::Overload | Self::Unexpected => ("UPSTREAM_TLS_UNEXPECTED", "unexpected"),
        }
    }
}

/// A handshake that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub reason: Reason,
    pub detail: Box<str>,
    /// Of what the server has proved in a handshake before: the next one is full, and tells what it proves now.
    pub is_of_session: bool,
}

impl Failure {
    pub fn new(reason: Reason, detail: impl Into<Box<str>>) -> Self {
        Self { reason, detail: detail.into(), is_of_session: false }
    }

    /// Of a stream; what TLS says of it is inside.
    pub fn of_io(error: &io::Error) -> Self {
        Self::inside(error).unwrap_or_else(|| Self::new(Reason::Closed, error.to_string()))
    }

    fn inside(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        let of_rustls = inner.downcast_ref::<Error>().map(Self::of_rustls);
        of_rustls.or_else(|| inner.downcast_ref::<Self>().cloned())
    }

    /// Of the first read after a handshake: with TLS 1.3 the peer says only then that it refuses us (RFC 8446 section
    /// 4.4.2.4). `None`: it may have closed the connection for any other reason.
    pub fn of_first_read(error: &io::Error) -> Option<Self> {
        Self::inside(error).filter(|failure| failure.reason != Reason::Closed)
    }

    pub fn of_rustls(error: &Error) -> Self {
        let reason = match error {
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // Clients of TLS 1.1 and below do not send it, and it is missed before their version is.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            ) => Reason::NoCommonVersion,
            Error::PeerIncompatible(_) => Reason::NoCommonCipher,
            Error::NoApplicationProtocol => Reason::NoCommonProtocol,
            Error::NoCertificatesPresented => Reason::CertificateMissing,
            Error::InvalidCertificate(error) => return Self::of_certificate(error),
            Error::InvalidCertRevocationList(_) => {
                let detail = "no revocation list of the certificate's issuer can be verified by its key";
                return Self::new(Reason::CertificateRevoked, detail);
            }
            Error::AlertReceived(_) => Reason::RefusedByPeer,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Reason::Malformed,
            _ => Reason::Unexpected,
        };
        Self::new(reason, error.to_string())
    }

    fn of_certificate(error: &CertificateError) -> Self {
        let (reason, detail) = match error {
            CertificateError::Other(OtherError(error)) => {
                return match error.downcast_ref::<Self>() {
                    Some(failure) => failure.clone(),
                    None => Self::new(Reason::CertificateRefused, "the certificate is not accepted"),
                };
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                Reason::CertificateName,
                "the certificate has no alternative name for this host (its common name does not count)",
            ),
            CertificateError::UnknownIssuer => {
                (Reason::CertificateIssuer, "the certificate leads to no trusted authority")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                (Reason::CertificateTime, "the certificate has expired")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                (Reason::CertificateTime, "the certificate is not valid yet")
            }
            CertificateError::Revoked => (Reason::CertificateRevoked, "the certificate has been revoked"),
            CertificateError::UnknownRevocationStatus => {
                (Reason::CertificateRevoked, "no revocation list speaks of the certificate's issuer")
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                (Reason::CertificateRefused, "the certificate is not meant for this purpose")
            }
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
                Reason::CertificateKey,
                "a signature of the chain does not fit its key, or the key is too small",
            ),
            CertificateError::BadSignature => {
                (Reason::CertificateRefused, "a signature of the handshake or the chain is wrong")
            }
            CertificateError::BadEncoding => (Reason::CertificateRefused, "the certificate is malformed"),
            _ => (Reason::CertificateRefused, "the certificate is not accepted"),
        };
        Self::new(reason, detail)
    }

    /// As rustls carries it through a handshake.
    pub(super) fn into_rustls(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(std::sync::Arc::new(self))))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Failure {}
