//! Contexts with suites or versions that rustls leaves out on purpose, by OpenSSL built from source (feature
//! `legacy-tls`; docs/decisions/0007).
//!
//! OpenSSL makes the handshakes, nothing else: which certificates are accepted is decided by [`super::verify`], as
//! for rustls, from within its callback; it has no trust store of its own. Security level 0 lets TLS 1.1 pass; what
//! that level would forbid is bounded by the list of suites and by the checks of keys.

mod client;
mod server;
mod socket;
mod stream;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock, OnceLock},
};

use openssl::{
    error::ErrorStack,
    pkey::PKey,
    ssl::{SslContextBuilder, SslMethod, SslMode, SslOptions, SslVersion},
    stack::StackRef,
    x509::{X509, X509StoreContext, X509StoreContextRef},
};
use rustls::{Error, pki_types::CertificateDer};

use super::{
    Failure, Negotiable, Reason, Version,
    ciphers::{Cipher, Served, TABLE},
    identity::{Identity, unindented},
};
use crate::base::Secret;
pub use client::Client;
pub use server::Server;
pub use stream::Stream;

/// What a builder of contexts fails with; the checks before leave nothing of it.
fn internal(error: ErrorStack) -> Error {
    Error::General(error.to_string())
}

/// What both sides have in common.
fn builder(method: SslMethod, negotiable: &Negotiable) -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContextBuilder::new(method)?;
    builder.set_security_level(0);
    builder.set_min_proto_version(Some(version(negotiable.versions.min)))?;
    builder.set_max_proto_version(Some(version(negotiable.versions.max)))?;
    let (of_1_3, others): (Vec<_>, Vec<_>) =
        negotiable.suites.iter().partition(|cipher| cipher.lowest == Version::V1_3);
    let names = |of: &[&Cipher]| of.iter().map(|cipher| cipher.name).collect::<Vec<_>>().join(":");
    // An empty list is refused; the versions keep these out then.
    if !of_1_3.is_empty() {
        builder.set_ciphersuites(&names(&of_1_3))?;
    }
    builder.set_cipher_list(&names(&others))?;
    // With shares of the first two: a server that knows no hybrid need not ask again.
    builder.set_groups_list("*X25519MLKEM768:*X25519:P-256:P-384:P-521")?;
    builder.set_options(
        SslOptions::CIPHER_SERVER_PREFERENCE
            | SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_SESSION_RESUMPTION_ON_RENEGOTIATION,
    );
    builder.set_mode(SslMode::RELEASE_BUFFERS | SslMode::NO_AUTO_CHAIN);
    Ok(builder)
}

fn version(version: Version) -> SslVersion {
    match version {
        Version::V1_1 => SslVersion::TLS1_1,
        Version::V1_2 => SslVersion::TLS1_2,
        Version::V1_3 => SslVersion::TLS1_3,
    }
}

fn present(builder: &mut SslContextBuilder, identity: &Identity) -> Result<(), ErrorStack> {
    let mut chain = identity.certified.cert.iter();
    if let Some(own) = chain.next() {
        builder.set_certificate(&*X509::from_der(own)?)?;
    }
    for certificate in chain {
        builder.add_extra_chain_cert(X509::from_der(certificate)?)?;
    }
    builder.set_private_key(&*PKey::private_key_from_der(identity.key.secret_der())?)
}

/// What a verifier has said of the peer's certificate.
type Verdict = Arc<OnceLock<Result<(), Failure>>>;

/// Asks `verify` about the peer's certificates, its own first; the answer stays in `verdict`. OpenSSL calls this
/// for each of its own findings, which do not count, and with a clean result at the end of the chain.
fn judge(
    clean: bool,
    found: &X509StoreContextRef,
    verdict: &Verdict,
    verify: impl FnOnce(&CertificateDer<'_>, &[CertificateDer<'_>]) -> Result<(), Error>,
) -> bool {
    if !clean || found.error_depth() != 0 {
        return true;
    }
    let chain: Option<Vec<CertificateDer<'static>>> =
        sent_by_server(found).or(found.chain()).and_then(|chain| {
            chain.iter().map(|certificate| certificate.to_der().ok().map(CertificateDer::from)).collect()
        });
    // A panic must not leave through OpenSSL: that would end the process.
    let judged = catch_unwind(AssertUnwindSafe(|| match chain.as_deref() {
        Some([own, others @ ..]) => verify(own, others).map_err(|error| Failure::of_rustls(&error)),
        _ => Err(Failure::new(Reason::CertificateRefused, "the certificate is malformed")),
    }));
    let judged = judged.unwrap_or_else(|_| {
        Err(Failure::new(Reason::Unexpected, "the certificate made its check panic: a defect of ours"))
    });
    let accepted = judged.is_ok();
    verdict.set(judged).is_ok() && accepted
}

/// All certificates that a server has sent. OpenSSL's own chain has one of those that bear the same name, which need
/// not be the one that leads to whom we trust; of a client's certificates it shows us no other.
fn sent_by_server(found: &X509StoreContextRef) -> Option<&StackRef<X509>> {
    let session = found.ex_data(X509StoreContext::ssl_idx().ok()?)?;
    if session.is_server() { None } else { session.peer_cert_chain() }
}

/// What OpenSSL says of a handshake that failed.
fn explain(error: &openssl::ssl::Error, verdict: Option<&Verdict>) -> Failure {
    if let Some(Err(failure)) = verdict.and_then(|verdict| verdict.get()) {
        return failure.clone();
    }
    let Some(stack) = error.ssl_error() else {
        let detail =
            error.io_error().map_or_else(|| "the peer closed the connection".to_owned(), ToString::to_string);
        return Failure::new(Reason::Closed, detail);
    };
    let text = stack.errors().iter().rev().find_map(|error| error.reason()).unwrap_or("unknown");
    let has = |part: &str| text.contains(part);
    let reason = if has("unexpected eof") {
        Reason::Closed
    } else if has(" alert ") {
        Reason::RefusedByPeer
    } else if has("no shared cipher") || has("no suitable") || has("wrong cipher") || has("no shared group") {
        Reason::NoCommonCipher
    } else if has("unsupported protocol") || has("version too low") || has("inappropriate fallback") {
        Reason::NoCommonVersion
    } else if has("did not return a certificate") {
        Reason::CertificateMissing
    } else if has("no application protocol") {
        Reason::NoCommonProtocol
    } else if has("certificate verify failed") {
        Reason::CertificateRefused
    } else if has("internal error") || has("malloc") {
        Reason::Unexpected
    } else {
        Reason::Malformed
    };
    Failure::new(reason, text)
}

/// The key without its passphrase, as PKCS#8; `None` if the passphrase is wrong.
pub fn decrypt_key(pem: &Secret, passphrase: &Secret) -> Option<Secret> {
    let pem = unindented(pem.expose());
    let key = PKey::private_key_from_pem_passphrase(pem.as_bytes(), passphrase.expose().as_bytes()).ok()?;
    String::from_utf8(key.private_key_to_pem_pkcs8().ok()?).ok().map(Secret::new)
}

/// Once for all: whether the suites of the reference's table were compiled in, 3DES and others only with `weak-crypto`. A
/// list leaves out in silence what OpenSSL does not know.
///
/// # Errors
/// Names the first suite that is missing.
fn check_suites() -> Result<(), Error> {
    static CHECKED: LazyLock<Result<(), String>> = LazyLock::new(|| {
        let of_openssl =
            |cipher: &&Cipher| cipher.highest < Version::V1_3 && !matches!(cipher.served, Served::PreShared);
        has_all(TABLE.iter().filter(of_openssl).map(|cipher| cipher.name))
    });
    CHECKED.clone().map_err(Error::General)
}

fn has_all(suites: impl Iterator<Item = &'static str>) -> Result<(), String> {
    for name in suites {
        let mut builder = SslContextBuilder::new(SslMethod::tls()).map_err(|error| error.to_string())?;
        builder.set_security_level(0);
        builder.set_cipher_list(name).map_err(|_| format!("OpenSSL was built without {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check_suites, has_all};

    #[test]
    fn every_suite_of_the_table_is_compiled_in_and_one_that_is_not_is_named() {
        check_suites().unwrap();
        let missing = has_all(["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_NO_SUCH_SUITE"].into_iter());
        assert_eq!(missing, Err("OpenSSL was built without TLS_NO_SUCH_SUITE".to_owned()));
    }
}
