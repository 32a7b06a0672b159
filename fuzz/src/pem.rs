//! Certificates, keys, authorities and revocation lists as text: whatever it is, there is a context or an error that
//! names its field, and no key in any message.

use jiff::Timestamp;
use portcullis::{
    base::Secret,
    tls::{
        Certificate, Findings,
        identity::Identity,
        trust::{Authorities, ClientCertificates},
        x509,
    },
};

/// The parts of an input stand between lines of `==`: certificate, key, authorities, revocation lists.
fn parts(bytes: &[u8]) -> [String; 4] {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split("\n==\n").map(str::to_owned);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

fn identity(crt: &str, key: &str, findings: &mut Findings) -> Option<Identity> {
    let certificate = Certificate { key: Secret::new(key.to_owned()), crt: crt.to_owned() };
    Identity::read(&certificate, Timestamp::UNIX_EPOCH, findings)
}

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let [crt, key, authorities, lists] = parts(bytes);
    let mut findings = Findings::default();
    let read = identity(&crt, &key, &mut findings);
    assert_eq!(read.is_some(), findings.errors.is_empty(), "{:?}", findings.errors);
    assert!(findings.errors.iter().all(|error| ["crt", "key"].contains(&error.field.as_str())));
    let said = format!("{read:?} {findings:?}");
    // In Base64: our own words may stand in an input, too.
    let is_not_key = |c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c));
    let pieces = key.split(is_not_key).filter(|piece| piece.len() >= 32);
    for piece in pieces.filter(|piece| !crt.contains(*piece)) {
        assert!(!said.contains(piece), "a piece of the key is shown");
    }
    if let Some(read) = read {
        // Names reach headers and logs.
        let facts = &read.facts;
        for name in [&facts.subject, &facts.issuer] {
            assert!(name.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{name:?}");
        }
        assert!(facts.validity.not_after >= read.validity.not_after);
        assert_eq!(x509::read(&read.certified.cert[0]).as_ref(), Some(facts));
        let again = identity(&crt, &key, &mut Findings::default());
        assert_eq!(again.map(|again| again.digest), Some(read.digest));
    }
    let mut findings = Findings::default();
    let lists = Some(lists.as_str()).filter(|lists| !lists.is_empty());
    let read = Authorities::read(&authorities, lists, &mut findings);
    assert_eq!(read.is_some(), findings.errors.is_empty(), "{:?}", findings.errors);
    let clients = ClientCertificates::read(Some(&authorities), lists, true, &mut Findings::default());
    assert_eq!(clients.is_some(), read.is_some());
}

/// Whether there is an identity.
pub fn is_accepted(bytes: &[u8]) -> bool {
    let [crt, key, ..] = parts(bytes);
    identity(&crt, &key, &mut Findings::default()).is_some()
}
