//! Application protocols that a context offers (configuration reference 6.1, `alpn`).

use super::{Findings, Version, Versions};
use crate::{
    base::{ConfigProblem, suggest::closest},
    document::shortened,
};

/// An application protocol by its registered name (RFC 7301 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    H2,
    Http11,
}

impl Protocol {
    /// What a context offers when it names nothing, most preferred first.
    pub const DEFAULT: [Self; 2] = [Self::H2, Self::Http11];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
        }
    }

    pub fn of(name: &[u8]) -> Option<Self> {
        Self::DEFAULT.into_iter().find(|known| known.as_str().as_bytes() == name)
    }
}

/// The protocols to offer, in the order written; an empty list is the default. HTTP/2 needs TLS 1.2 (RFC 9113
/// section 9.2).
pub fn select(listed: &[String], versions: Versions, findings: &mut Findings) -> Vec<Protocol> {
    let mut offered: Vec<Protocol> = Vec::new();
    for (index, name) in listed.iter().enumerate() {
        let field = format!("alpn[{index}]");
        match Protocol::of(name.as_bytes()) {
            None => {
                let mut problem =
                    ConfigProblem::new(field, format!("unknown protocol `{}`", shortened(name)));
                if let Some(close) = closest(name, Protocol::DEFAULT.map(Protocol::as_str)) {
                    problem = problem.help(format!("did you mean `{close}`?"));
                }
                findings.error(problem.help("allowed: `h2`, `http/1.1`"));
            }
            Some(known) if !offered.contains(&known) => offered.push(known),
            Some(_) => {}
        }
    }
    if listed.is_empty() {
        offered = Protocol::DEFAULT.to_vec();
    }
    if versions.max < Version::V1_2 && offered.contains(&Protocol::H2) {
        offered.retain(|protocol| *protocol != Protocol::H2);
        if offered.is_empty() && findings.errors.is_empty() {
            let problem = ConfigProblem::new("alpn", "`h2` needs TLS 1.2, and `maxversion` is 1.1");
            findings.error(problem.help("add `http/1.1`"));
        }
    }
    offered
}

/// As the extension writes a list of names (RFC 7301 section 3.1).
#[cfg(feature = "legacy-tls")]
pub(super) fn encode(protocols: &[Protocol]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for protocol in protocols {
        let name = protocol.as_str().as_bytes();
        // Both names are shorter than 256 bytes.
        encoded.push(name.len() as u8);
        encoded.extend_from_slice(name);
    }
    encoded
}
