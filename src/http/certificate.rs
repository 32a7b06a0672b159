//! What a client has proved to be with its certificate, and the field that tells upstreams of it.

use std::{fmt::Write, net::IpAddr};

/// A client's certificate, verified in the TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// As RFC 4514 writes it.
    pub subject: String,
    /// Alternative names (RFC 5280 section 4.2.1.6).
    pub uris: Vec<String>,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub emails: Vec<String>,
    /// SHA-256 of the certificate, lower-case hexadecimal digits.
    pub fingerprint: String,
    /// URIs in the certificate that the gateway presented to it.
    pub presented_uris: Vec<String>,
}

impl ClientCertificate {
    /// As an element of `x-forwarded-client-cert` (configuration reference 4.7, decision 29), in Envoy's form: pairs
    /// of key and value with `;` between them, values quoted where they need it.
    pub fn forwarded(&self) -> String {
        let mut element = String::new();
        for uri in &self.presented_uris {
            pair(&mut element, "By", uri);
        }
        pair(&mut element, "Hash", &self.fingerprint);
        pair(&mut element, "Subject", &self.subject);
        for uri in &self.uris {
            pair(&mut element, "URI", uri);
        }
        for name in &self.dns_names {
            pair(&mut element, "DNS", name);
        }
        element
    }
}

fn pair(element: &mut String, key: &str, value: &str) {
    if !element.is_empty() {
        element.push(';');
    }
    let plain = key != "Subject" && !value.contains([',', ';', '=', '"', '\\', ' ']);
    // Writing to a string cannot fail. What is not visible can stand in no field: a certificate may say anything.
    let visible = value.chars().map(|character| if matches!(character, ' '..='~') { character } else { '?' });
    if plain {
        let _ = write!(element, "{key}=");
        element.extend(visible);
        return;
    }
    let _ = write!(element, "{key}=\"");
    for character in visible {
        if matches!(character, '"' | '\\') {
            element.push('\\');
        }
        element.push(character);
    }
    element.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_has_the_pairs_of_decision_29_in_order_and_quotes_what_would_end_it() {
        let certificate = ClientCertificate {
            subject: "CN=\"a\",O=b".to_owned(),
            uris: vec!["spiffe://example.com/a".to_owned(), "urn:x;y".to_owned()],
            dns_names: vec!["a.example.com".to_owned(), "b\r\nc,d".to_owned()],
            addresses: vec![IpAddr::from([10, 0, 0, 7])],
            emails: vec!["ada@example.com".to_owned()],
            fingerprint: "00ff".to_owned(),
            presented_uris: vec!["spiffe://example.com/gateway".to_owned()],
        };
        assert_eq!(
            certificate.forwarded(),
            "By=spiffe://example.com/gateway;Hash=00ff;Subject=\"CN=\\\"a\\\",O=b\";URI=spiffe://example.com/a;\
             URI=\"urn:x;y\";DNS=a.example.com;DNS=\"b??c,d\""
        );
    }
}
