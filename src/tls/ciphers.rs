//! The cipher suites of the reference (6.5), and which of them a context uses.

use rustls::{
    SignatureAlgorithm, SupportedCipherSuite,
    crypto::aws_lc_rs::cipher_suite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    },
};

use super::{
    Backend, Findings, Version,
    Version::{V1_1, V1_2, V1_3},
    Versions,
    identity::Identity,
};
use crate::{
    base::{ConfigProblem, suggest::closest},
    document::shortened,
};

/// One row of the table.
#[derive(Debug)]
pub struct Cipher {
    /// The name that IANA has registered.
    pub name: &'static str,
    pub lowest: Version,
    pub highest: Version,
    pub served: Served,
}

/// How a suite can be negotiated.
#[derive(Clone, Copy, Debug)]
pub enum Served {
    /// A default of its version.
    By(&'static SupportedCipherSuite),
    /// Not in rustls, because it is weak.
    Legacy,
    /// Needs a key that no parameter can give: never negotiated, by anybody.
    PreShared,
}

impl Cipher {
    /// What the table advises against.
    pub fn is_weak(&self) -> bool {
        match self.served {
            Served::By(_) => false,
            Served::Legacy => true,
            Served::PreShared => self.lowest == V1_1,
        }
    }

    /// Whether a server with such a key can negotiate it at one of these versions.
    fn fits(&self, key: SignatureAlgorithm, versions: Versions) -> bool {
        // TLS 1.1 has no name for signatures by Ed25519 (RFC 8422 section 5.10).
        let is_too_old = key == SignatureAlgorithm::ED25519 && versions.max < V1_2;
        self.lowest == V1_3
            || !is_too_old && self.name.contains("_ECDSA_") != (key == SignatureAlgorithm::RSA)
    }

    fn is_within(&self, versions: Versions) -> bool {
        self.lowest <= versions.max && self.highest >= versions.min
    }
}

const fn row(name: &'static str, lowest: Version, highest: Version, served: Served) -> Cipher {
    Cipher { name, lowest, highest, served }
}

const fn served(name: &'static str, version: Version, suite: &'static SupportedCipherSuite) -> Cipher {
    row(name, version, version, Served::By(suite))
}

/// In the order of preference. Defaults are those that rustls serves, and the other way round.
pub static TABLE: [Cipher; 23] = [
    served("TLS_AES_128_GCM_SHA256", V1_3, &TLS13_AES_128_GCM_SHA256),
    served("TLS_AES_256_GCM_SHA384", V1_3, &TLS13_AES_256_GCM_SHA384),
    served("TLS_CHACHA20_POLY1305_SHA256", V1_3, &TLS13_CHACHA20_POLY1305_SHA256),
    served("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", V1_2, &TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    served("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", V1_2, &TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    served(
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        V1_2,
        &TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    row("TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256", V1_2, V1_2, Served::PreShared),
    served("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", V1_2, &TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    served("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", V1_2, &TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    served("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", V1_2, &TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    row("TLS_RSA_WITH_AES_128_GCM_SHA256", V1_2, V1_2, Served::Legacy),
    row("TLS_RSA_WITH_AES_256_GCM_SHA384", V1_2, V1_2, Served::Legacy),
    row("TLS_RSA_WITH_AES_128_CBC_SHA", V1_1, V1_2, Served::Legacy),
    row("TLS_RSA_WITH_AES_256_CBC_SHA", V1_1, V1_2, Served::Legacy),
    row("TLS_PSK_WITH_AES_128_CBC_SHA", V1_1, V1_2, Served::PreShared),
    row("TLS_PSK_WITH_AES_256_CBC_SHA", V1_1, V1_2, Served::PreShared),
    row("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", V1_1, V1_2, Served::Legacy),
    row("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", V1_1, V1_2, Served::Legacy),
    row("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", V1_1, V1_2, Served::Legacy),
    row("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", V1_1, V1_2, Served::Legacy),
    row("TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA", V1_1, V1_2, Served::PreShared),
    row("TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA", V1_1, V1_2, Served::PreShared),
    // At 1.2 too, as the original does (decision 26).
    row("TLS_RSA_WITH_3DES_EDE_CBC_SHA", V1_1, V1_2, Served::Legacy),
];

/// The suites that a context negotiates, most preferred first, those of TLS 1.3 before the others.
#[derive(Clone, Debug)]
pub struct Suites(Vec<&'static Cipher>);

impl Suites {
    /// The defaults within these versions.
    pub fn defaults(versions: Versions) -> Self {
        let defaults = TABLE.iter().filter(|cipher| matches!(cipher.served, Served::By(_)));
        Self(defaults.filter(|cipher| cipher.is_within(versions)).collect())
    }

    /// By rules 1 to 6 of configuration reference 6.5.
    pub fn select(listed: &[String], versions: Versions, findings: &mut Findings) -> Self {
        let mut chosen: Vec<&'static Cipher> = Vec::new();
        let mut none_below_1_3 = true;
        for (index, name) in listed.iter().enumerate() {
            let Some(cipher) = TABLE.iter().find(|cipher| cipher.name == name) else {
                findings.errors.extend(unknown_suite(index, name));
                continue;
            };
            // Names of 1.3 are legal and have no effect (rules 1 and 4).
            if cipher.lowest == V1_3 {
                continue;
            }
            none_below_1_3 = false;
            if advise(cipher, index, versions, findings)
                && !chosen.iter().any(|other| std::ptr::eq(*other, cipher))
            {
                chosen.push(cipher);
            }
        }
        let mut suites = Self::defaults(versions);
        if !none_below_1_3 {
            suites.0.retain(|cipher| cipher.lowest == V1_3);
            suites.0.extend(chosen);
        }
        if findings.errors.is_empty() {
            suites.check_reach(versions, findings);
        }
        suites
    }

    /// Who can serve them exactly.
    pub fn backend(&self) -> Backend {
        let legacy = self.0.iter().any(|cipher| matches!(cipher.served, Served::Legacy));
        if legacy { Backend::OpenSsl } else { Backend::Rustls }
    }

    pub fn iter(&self) -> impl Iterator<Item = &'static Cipher> {
        self.0.iter().copied()
    }

    pub(super) fn of_rustls(&self) -> Vec<SupportedCipherSuite> {
        let suites = self.0.iter().filter_map(|cipher| match cipher.served {
            Served::By(suite) => Some(*suite),
            Served::Legacy | Served::PreShared => None,
        });
        suites.collect()
    }

    /// Whether a server that presents these certificates, each with its field, can negotiate what is below TLS 1.3.
    pub fn check_keys(&self, versions: Versions, presented: &[(String, &Identity)], findings: &mut Findings) {
        let below_1_3: Vec<_> = self.iter().filter(|cipher| cipher.lowest < V1_3).collect();
        let fits = |identity: &Identity| {
            below_1_3.iter().any(|cipher| cipher.fits(identity.certified.key.algorithm(), versions))
        };
        if below_1_3.is_empty() {
            return;
        }
        let names: Vec<_> = below_1_3.iter().map(|cipher| format!("`{}`", cipher.name)).collect();
        let names = names.join(", ");
        let is_error = !versions.contains(V1_3) && !presented.iter().any(|(_, identity)| fits(identity));
        for (field, identity) in presented.iter().filter(|(_, identity)| !fits(identity)) {
            let (kind, other) = match identity.certified.key.algorithm() {
                SignatureAlgorithm::RSA => ("RSA", "ECDSA"),
                SignatureAlgorithm::ED25519 if names.contains("_ECDSA_") => ("Ed25519", "ECDSA"),
                SignatureAlgorithm::ED25519 => ("Ed25519", "RSA"),
                _ => ("ECDSA", "RSA"),
            };
            let what = match versions.contains(V1_3) {
                true => "only TLS 1.3 can be negotiated",
                false => "no suite can be negotiated",
            };
            let message =
                format!("{what}: the key of `{field}` is {kind}, and these are not for it: {names}");
            let help = format!("list suites for such a key, or present a certificate with another: {other}");
            let problem = ConfigProblem::new("ciphers", message).help(help);
            if is_error { findings.error(problem) } else { findings.warning(problem) }
        }
    }

    /// Whether each version can be negotiated, and any at all (rules 3 and 6, decision 26).
    fn check_reach(&self, versions: Versions, findings: &mut Findings) {
        if self.0.is_empty() {
            let problem = ConfigProblem::new("ciphers", "no suite can be negotiated within these versions");
            findings.error(
                problem.help(
                    "TLS 1.1 has no default suites, and suites with pre-shared keys are never negotiated",
                ),
            );
        } else if versions.contains(V1_1) {
            let problem = if self.0.iter().any(|cipher| cipher.lowest == V1_1) {
                ConfigProblem::new("minversion", "TLS 1.1 is weak: it is deprecated (RFC 8996)")
                    .help("write `minversion: \"1.2\"` once no peer needs it")
            } else {
                ConfigProblem::new("minversion", "TLS 1.1 is never negotiated: no suite of it is listed")
                    .help("write `minversion: \"1.2\"`")
            };
            findings.warning(problem);
        }
    }
}

/// Says what is to be said of a listed suite; whether it can be negotiated within these versions.
fn advise(cipher: &Cipher, index: usize, versions: Versions, findings: &mut Findings) -> bool {
    let field = format!("ciphers[{index}]");
    match cipher.served {
        Served::PreShared => {
            findings.warning(
                ConfigProblem::new(field, format!("`{}` is never negotiated", cipher.name))
                    .help("no parameter gives the pre-shared key that it needs; remove it"),
            );
            false
        }
        _ if !cipher.is_within(versions) => false,
        Served::By(_) => true,
        Served::Legacy if cfg!(feature = "legacy-tls") => {
            findings.warning(
                ConfigProblem::new(field, format!("`{}` is weak", cipher.name))
                    .help("leave it out once no peer needs it"),
            );
            true
        }
        Served::Legacy => {
            findings.error(
                ConfigProblem::new(field, format!("this build has no `{}`: it is without `legacy-tls`", cipher.name))
                    .help("leave the suite out if no peer needs it: it is weak; or build with `--features legacy-tls`"),
            );
            false
        }
    }
}

/// What is wrong with the name of a suite in a list, if anything.
pub(super) fn unknown_suite(index: usize, name: &str) -> Option<ConfigProblem> {
    if TABLE.iter().any(|cipher| cipher.name == name) {
        return None;
    }
    let problem = ConfigProblem::new(
        format!("ciphers[{index}]"),
        format!("unknown cipher suite `{}`", shortened(name)),
    );
    Some(match closest(name, TABLE.iter().map(|cipher| cipher.name)) {
        Some(close) => problem.help(format!("did you mean `{close}`?")),
        None => {
            problem.help("suites are named as IANA does, such as `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`")
        }
    })
}
