//! What a message about a configured certificate has to name and rustls does not show: validity and
//! size of an RSA key. Whether a certificate is accepted is never decided here alone.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// The part of a certificate that is looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// Bits of the modulus; `None` for other keys.
    pub rsa_bits: Option<usize>,
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
/// `rsaEncryption` and `id-RSASSA-PSS` without their last byte (RFC 8017 appendix A).
const PKCS1: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];

/// Reads a certificate (RFC 5280 section 4.1); `None` when it is none.
pub fn read(der: &[u8]) -> Option<Facts> {
    let mut certificate = Elements(Elements(der).expect(SEQUENCE)?);
    let mut fields = Elements(certificate.expect(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.expect(VERSION)?;
    }
    fields.expect(INTEGER)?;
    let _signature = fields.expect(SEQUENCE)?;
    let _issuer = fields.expect(SEQUENCE)?;
    let mut validity = Elements(fields.expect(SEQUENCE)?);
    let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
    let _subject = fields.expect(SEQUENCE)?;
    let mut key = Elements(fields.expect(SEQUENCE)?);
    let mut algorithm = Elements(key.expect(SEQUENCE)?);
    let is_rsa = algorithm.expect(OBJECT_IDENTIFIER)?.starts_with(&PKCS1);
    let rsa_bits = if is_rsa { Some(modulus_bits(key.expect(BIT_STRING)?)?) } else { None };
    Some(Facts { not_before, not_after, rsa_bits })
}

fn modulus_bits(key: &[u8]) -> Option<usize> {
    // The first byte of a bit string counts bits that are unused at its end.
    let mut numbers = Elements(Elements(key.get(1..)?).expect(SEQUENCE)?);
    let modulus = numbers.expect(INTEGER)?;
    let significant = modulus.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &modulus[at..]);
    Some(significant.len() * 8 - significant.first().map_or(0, |byte| byte.leading_zeros() as usize))
}

/// `YYMMDDHHMMSSZ`, until 2049, or with four digits for the year.
fn time((tag, text): (u8, &[u8])) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i16 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i8>().ok();
    let moment = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    Some(moment.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// DER elements one after the other (X.690 section 8.1).
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match usize::from(first) {
            short @ 0..=0x7f => (short, rest),
            long => {
                let (bytes, rest) = rest.split_at_checked(long & 0x7f)?;
                if bytes.is_empty() || bytes.len() > 4 {
                    return None;
                }
                (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
            }
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, contents)| contents)
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
        assert_eq!(facts.not_before.to_string(), "2026-11-22T04:33:00Z");
        assert_eq!(facts.not_after.to_string(), "2126-10-29T04:33:00Z");
        assert_eq!(facts.rsa_bits, None);
        for length in 0..der.len() {
            assert_eq!(read(&der[..length]), None, "{length} bytes");
        }
    }
}
