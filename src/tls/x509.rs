//! What a certificate says of itself, for messages, policies and headers. Whether it is accepted is never decided
//! here alone.

use std::{
    fmt::{self, Write},
    net::IpAddr,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::{
    certificate::X509Certificate,
    der_parser::asn1_rs::{Any, FromDer, Tag},
    extensions::GeneralName,
    objects::{oid_registry, oid2abbrev},
    parse_x509_certificate, parse_x509_crl,
    public_key::{PublicKey, RSAPublicKey},
    time::ASN1Time,
    x509::{SubjectPublicKeyInfo, X509Name, X509Version},
};

/// The part of a certificate that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub validity: Validity,
    /// Bits of the modulus; `None` for other keys.
    pub rsa_bits: Option<usize>,
    /// Neither RSA, nor ECDSA on P-256, P-384 or P-521, nor one of the kinds that came later.
    pub has_strange_key: bool,
    /// As RFC 4514 writes it, the most specific part first.
    pub subject: String,
    pub issuer: String,
    /// Alternative names (RFC 5280 section 4.2.1.6).
    pub dns_names: Vec<String>,
    pub uris: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub emails: Vec<String>,
    /// It has no extensions (section 4.1.2.1).
    pub is_of_version_1: bool,
    /// An authority's own (section 4.2.1.9).
    pub is_authority: bool,
    /// Its key may sign certificates (section 4.2.1.3). Of version 1, which cannot say so: a self-signed one.
    pub may_issue: bool,
    /// What its extended key usage allows (section 4.2.1.12): everything where there is none.
    pub for_servers: bool,
    pub for_clients: bool,
}

/// From one second to another, both in it (RFC 5280 section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// How a moment lies outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    NotYetValid(Timestamp),
    Expired(Timestamp),
}

impl Validity {
    /// Its end is the one that says that there is none.
    pub fn is_endless(self) -> bool {
        self.not_after == Timestamp::MAX
    }

    /// When both are valid.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let not_before = self.not_before.max(other.not_before);
        Self { not_before, not_after: self.not_after.min(other.not_after) }
    }

    /// `None`: it is valid at this moment.
    pub fn outside(self, now: Timestamp) -> Option<Outside> {
        if now.as_second() > self.not_after.as_second() {
            Some(Outside::Expired(self.not_after))
        } else if now.as_second() < self.not_before.as_second() {
            Some(Outside::NotYetValid(self.not_before))
        } else {
            None
        }
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYetValid(from) => write!(f, "is not valid before {from}"),
            Self::Expired(at) => write!(f, "expired at {at}"),
        }
    }
}

/// Reads a certificate (RFC 5280 section 4.1); `None` when it is none.
pub fn read(der: &[u8]) -> Option<Facts> {
    let (rest, certificate) = parse_x509_certificate(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut facts = Facts {
        validity: Validity {
            not_before: timestamp(certificate.validity().not_before),
            not_after: timestamp(certificate.validity().not_after),
        },
        rsa_bits: rsa_bits(certificate.public_key())?,
        has_strange_key: is_strange(certificate.public_key()),
        subject: name(certificate.subject()),
        issuer: name(certificate.issuer()),
        dns_names: Vec::new(),
        uris: Vec::new(),
        addresses: Vec::new(),
        emails: Vec::new(),
        is_of_version_1: certificate.version() == X509Version::V1,
        is_authority: certificate.is_ca(),
        may_issue: may_issue(&certificate),
        for_servers: true,
        for_clients: true,
    };
    // Twice, or damaged: it is for nothing.
    match certificate.extended_key_usage() {
        Ok(None) => {}
        Ok(Some(usage)) => {
            facts.for_servers = usage.value.any || usage.value.server_auth;
            facts.for_clients = usage.value.any || usage.value.client_auth;
        }
        Err(_) => (facts.for_servers, facts.for_clients) = (false, false),
    }
    // Twice, or damaged: nothing of it counts.
    if let Ok(Some(names)) = certificate.subject_alternative_name() {
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(name) => facts.dns_names.push((*name).to_owned()),
                GeneralName::URI(uri) => facts.uris.push((*uri).to_owned()),
                GeneralName::IPAddress(octets) => facts.addresses.extend(address(octets)),
                GeneralName::RFC822Name(email) => facts.emails.push((*email).to_owned()),
                _ => {}
            }
        }
    }
    Some(facts)
}

fn may_issue(certificate: &X509Certificate<'_>) -> bool {
    if certificate.version() == X509Version::V1 {
        return certificate.subject() == certificate.issuer();
    }
    // Twice, or damaged: for nothing.
    let usage = certificate.key_usage();
    certificate.is_ca() && usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

/// The public key of a certificate (RFC 5280 section 4.1.2.7), encoded.
pub struct Key {
    /// `SubjectPublicKeyInfo` as a whole.
    pub info: Vec<u8>,
    /// What its `AlgorithmIdentifier` contains.
    pub algorithm: Vec<u8>,
    /// What its bit string contains.
    pub bits: Vec<u8>,
}

/// `None` when it is no certificate.
pub fn key(der: &[u8]) -> Option<Key> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let info = certificate.public_key();
    let (_, sequence) = Any::from_der(info.raw).ok()?;
    let (_, algorithm) = Any::from_der(sequence.data).ok()?;
    Some(Key {
        info: info.raw.to_vec(),
        algorithm: algorithm.data.to_vec(),
        bits: info.subject_public_key.data.to_vec(),
    })
}

/// When a revocation list is to be replaced by the next one; `None` when it does not say.
pub fn next_update(list: &[u8]) -> Option<Timestamp> {
    parse_x509_crl(list).ok()?.1.next_update().map(timestamp)
}

/// The name of who issued a revocation list, encoded; `None` when it cannot be read.
pub fn issuer_of(list: &[u8]) -> Option<Vec<u8>> {
    Some(parse_x509_crl(list).ok()?.1.tbs_cert_list.issuer.as_raw().to_vec())
}

/// The `AlgorithmIdentifier` of the signature of a revocation list (RFC 5280 section 5.1.1.2), without its head; `None` when it
/// is no list.
pub fn algorithm_of(list: &[u8]) -> Option<&[u8]> {
    let (_, sequence) = Any::from_der(list).ok()?;
    let (after_content, _) = Any::from_der(sequence.data).ok()?;
    Some(Any::from_der(after_content).ok()?.1.data)
}

/// SHA-256 of a certificate, lower-case hexadecimal digits.
pub fn fingerprint(der: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(der) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The nearest moment that a [`Timestamp`] can be: the end of the year 9999, which says that there is none (RFC 5280
/// section 4.1.2.5), is a day beyond its last one.
fn timestamp(time: ASN1Time) -> Timestamp {
    let seconds = time.timestamp();
    let nearest = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(seconds).unwrap_or(nearest)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?)),
        _ => None,
    }
}

/// The size of an RSA key, `Some(None)` for other keys; `None` when it is damaged.
fn rsa_bits(key: &SubjectPublicKeyInfo<'_>) -> Option<Option<usize>> {
    /// `id-RSASSA-PSS` (RFC 8017 appendix A.2.3): the key is written as for `rsaEncryption`.
    const PSS: &str = "1.2.840.113549.1.1.10";
    let modulus = if key.algorithm.algorithm.to_id_string() == PSS {
        RSAPublicKey::from_der(&key.subject_public_key.data).ok()?.1.modulus
    } else {
        match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => rsa.modulus,
            Ok(_) => return Some(None),
            Err(_) => return None,
        }
    };
    let significant = modulus.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &modulus[at..]);
    Some(Some(significant.len() * 8 - significant.first().map_or(0, |byte| byte.leading_zeros() as usize)))
}

/// DSA, and elliptic curves that are not among the three (RFC 5480 section 2.1.1.1).
fn is_strange(key: &SubjectPublicKeyInfo<'_>) -> bool {
    const DSA: &str = "1.2.840.10040.4.1";
    const EC: &str = "1.2.840.10045.2.1";
    const CURVES: [&str; 3] = ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];
    match key.algorithm.algorithm.to_id_string().as_str() {
        DSA => true,
        EC => {
            let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            !curve.is_some_and(|curve| CURVES.contains(&curve.to_id_string().as_str()))
        }
        _ => false,
    }
}

/// Attributes that have other names elsewhere: RFC 4514 section 3, and RFC 2985 section 5.2.1 as the original writes it.
const ATTRIBUTES: [(&str, &str); 4] = [
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// The text of an attribute (RFC 5280 section 4.1.2.4), if it is one. TeletexString is Latin-1 to everybody.
fn characters(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::NumericString | Tag::PrintableString | Tag::Utf8String | Tag::Ia5String => {
            std::str::from_utf8(value.data).ok().map(str::to_owned)
        }
        Tag::T61String => Some(value.data.iter().copied().map(char::from).collect()),
        Tag::BmpString if value.data.len().is_multiple_of(2) => {
            let units = value.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

/// A distinguished name as RFC 4514 writes it.
fn name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (index, part) in parts.into_iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            let id = attribute.attr_type().to_id_string();
            let named = ATTRIBUTES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name);
            let named = named.or_else(|| oid2abbrev(attribute.attr_type(), oid_registry()).ok());
            text.push_str(named.unwrap_or(&id));
            text.push('=');
            match characters(attribute.attr_value()) {
                Some(value) => escape(&value, &mut text),
                // Section 2.4: the value as it is encoded.
                None => {
                    text.push('#');
                    for byte in attribute.as_slice() {
                        // Writing to a string cannot fail.
                        let _ = write!(text, "{byte:02x}");
                    }
                }
            }
        }
    }
    text
}

/// RFC 4514 section 2.4; what is not printable as pairs of hexadecimal digits, so that a name cannot forge a line
/// of a log or a header.
fn escape(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', character]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            ' '..='~' => text.push(character),
            _ => {
                let mut bytes = [0; 4];
                for byte in character.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(text, "\\{byte:02x}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    #[test]
    fn validity_and_key_are_read_and_damage_is_no_certificate() {
        let pem = include_bytes!("../outbound/fixtures/self-signed.crt");
        let der = CertificateDer::from_pem_slice(pem).unwrap();
        let facts = read(&der).unwrap();
        assert_eq!(facts.validity.not_before.to_string(), "2026-11-22T04:33:00Z");
        assert_eq!(facts.validity.not_after.to_string(), "2126-10-29T04:33:00Z");
        assert_eq!(facts.rsa_bits, None);
        for length in 0..der.len() {
            assert_eq!(read(&der[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn a_certificate_is_valid_up_to_its_last_second() {
        let der = CertificateDer::from_pem_slice(include_bytes!("fixtures/ec.crt")).unwrap();
        let validity = read(&der).unwrap().validity;
        let second = std::time::Duration::from_secs(1);
        let Validity { not_before, not_after } = validity;
        assert_eq!([not_before, not_after].map(|now| validity.outside(now)), [None; 2]);
        assert_eq!(validity.outside(not_before - second), Some(Outside::NotYetValid(not_before)));
        assert_eq!(validity.outside(not_after + second), Some(Outside::Expired(not_after)));
    }

    #[test]
    fn a_certificate_without_expiry_is_one_and_valid_for_as_long_as_there_is_time() {
        let der = CertificateDer::from_pem_slice(include_bytes!("fixtures/endless.crt")).unwrap();
        let validity = read(&der).unwrap().validity;
        assert!(validity.is_endless(), "{validity:?}");
        assert_eq!(validity.outside(Timestamp::MAX), None);
        let before = validity.not_before - std::time::Duration::from_secs(1);
        assert_eq!(validity.outside(before), Some(Outside::NotYetValid(validity.not_before)));
    }

    #[test]
    fn attributes_have_the_names_of_rfc_4514_and_all_kinds_of_text_are_read() {
        let der = CertificateDer::from_pem_slice(include_bytes!("fixtures/names.crt")).unwrap();
        let subject = "UID=ada,emailAddress=ada@example.com,STREET=High Street 1,OU=caf\\c3\\a9,O=\\ce\\a9\\ce\\bc,DC=example";
        assert_eq!(read(&der).unwrap().subject, subject);
    }

    #[test]
    fn names_are_written_as_rfc_4514_does_and_forge_no_line() {
        let escaped = |value: &str| {
            let mut text = String::new();
            escape(value, &mut text);
            text
        };
        assert_eq!(escaped("Sue, \"the\" <boss>"), "Sue\\, \\\"the\\\" \\<boss\\>");
        assert_eq!(escaped("#1 "), "\\#1\\ ");
        assert_eq!(escaped("a\r\nb"), "a\\0d\\0ab");
        assert_eq!(escaped("Lučić"), "Lu\\c4\\8di\\c4\\87");
    }
}
