//! The cipher suites of the reference (6.5), and which of them a context uses.

use rustls::{
    SupportedCipherSuite,
    crypto::aws_lc_rs::cipher_suite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    },
};

use super::{
    Findings, Version,
    Version::{V1_1, V1_2, V1_3},
    Versions,
};
use crate::base::{ConfigProblem, suggest::closest};

/// One row of the table.
pub struct Cipher {
    /// The name that IANA has registered.
    pub name: &'static str,
    pub lowest: Version,
    pub highest: Version,
    served: Served,
}

#[derive(Clone, Copy)]
enum Served {
    By(&'static SupportedCipherSuite),
    /// Needs a key that no parameter can give: never negotiated, by anybody.
    PreShared,
    /// Not in rustls.
    NotYet,
}

const fn row(name: &'static str, lowest: Version, highest: Version, served: Served) -> Cipher {
    Cipher { name, lowest, highest, served }
}

const fn served(name: &'static str, version: Version, suite: &'static SupportedCipherSuite) -> Cipher {
    row(name, version, version, Served::By(suite))
}

/// In the order of preference. All that can be served are defaults, and the other way round.
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
    row("TLS_RSA_WITH_AES_128_GCM_SHA256", V1_2, V1_2, Served::NotYet),
    row("TLS_RSA_WITH_AES_256_GCM_SHA384", V1_2, V1_2, Served::NotYet),
    row("TLS_RSA_WITH_AES_128_CBC_SHA", V1_1, V1_2, Served::NotYet),
    row("TLS_RSA_WITH_AES_256_CBC_SHA", V1_1, V1_2, Served::NotYet),
    row("TLS_PSK_WITH_AES_128_CBC_SHA", V1_1, V1_2, Served::PreShared),
    row("TLS_PSK_WITH_AES_256_CBC_SHA", V1_1, V1_2, Served::PreShared),
    row("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", V1_1, V1_2, Served::NotYet),
    row("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", V1_1, V1_2, Served::NotYet),
    row("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", V1_1, V1_2, Served::NotYet),
    row("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", V1_1, V1_2, Served::NotYet),
    row("TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA", V1_1, V1_2, Served::PreShared),
    row("TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA", V1_1, V1_2, Served::PreShared),
    // At 1.2 too, as the original does (decision 26).
    row("TLS_RSA_WITH_3DES_EDE_CBC_SHA", V1_1, V1_2, Served::NotYet),
];

/// The suites of a context, most preferred first (rules 1 to 6 of configuration reference 6.5).
pub fn select(listed: &[String], versions: Versions, findings: &mut Findings) -> Vec<SupportedCipherSuite> {
    let known: Vec<(usize, &Cipher)> = listed
        .iter()
        .enumerate()
        .filter_map(|(index, name)| {
            let found = TABLE.iter().find(|cipher| cipher.name == name);
            if found.is_none() {
                findings.error(unknown(index, name));
            }
            Some((index, found?))
        })
        .collect();
    // Names of 1.3 are legal and have no effect (rules 1 and 4).
    let chosen: Vec<(usize, &Cipher)> =
        known.into_iter().filter(|(_, cipher)| cipher.highest < V1_3).collect();
    for (index, cipher) in &chosen {
        let field = format!("ciphers[{index}]");
        let in_range = cipher.lowest <= versions.max && cipher.highest >= versions.min;
        match cipher.served {
            Served::NotYet if in_range => findings.error(
                ConfigProblem::new(field, format!("`{}` is not supported yet", cipher.name))
                    .help("leave it out if no client needs it: it is weak"),
            ),
            Served::PreShared => findings.warning(
                ConfigProblem::new(field, format!("`{}` is never negotiated", cipher.name))
                    .help("no parameter gives the pre-shared key that it needs; remove it"),
            ),
            Served::By(_) | Served::NotYet => {}
        }
    }
    let mut suites: Vec<SupportedCipherSuite> = Vec::new();
    let mut add = |cipher: &Cipher| {
        if let Served::By(suite) = cipher.served
            && versions.contains(cipher.highest)
            && !suites.contains(suite)
        {
            suites.push(*suite);
        }
    };
    TABLE.iter().filter(|cipher| cipher.lowest == V1_3).for_each(&mut add);
    match chosen.is_empty() {
        true => TABLE.iter().filter(|cipher| cipher.highest < V1_3).for_each(add),
        false => chosen.iter().for_each(|(_, cipher)| add(cipher)),
    }
    if findings.errors.is_empty() {
        check_reach(&suites, versions, findings);
    }
    suites
}

/// Whether each version can be negotiated, and any at all (rules 3 and 6, decision 26).
fn check_reach(suites: &[SupportedCipherSuite], versions: Versions, findings: &mut Findings) {
    if suites.is_empty() {
        let problem = ConfigProblem::new("ciphers", "no suite can be negotiated within these versions");
        findings.error(
            problem
                .help("TLS 1.1 has no default suites, and suites with pre-shared keys are never negotiated"),
        );
    } else if versions.contains(V1_1) {
        findings.warning(
            ConfigProblem::new("minversion", "TLS 1.1 is never negotiated: no suite of it is listed")
                .help("write `minversion: \"1.2\"`"),
        );
    }
}

fn unknown(index: usize, name: &str) -> ConfigProblem {
    let problem = ConfigProblem::new(format!("ciphers[{index}]"), format!("unknown cipher suite `{name}`"));
    match closest(name, TABLE.iter().map(|cipher| cipher.name)) {
        Some(close) => problem.help(format!("did you mean `{close}`?")),
        None => {
            problem.help("suites are named as IANA does, such as `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`")
        }
    }
}
