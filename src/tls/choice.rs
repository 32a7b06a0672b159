//! The certificates of a port: one for all names, and others for the names they are listed for.

use std::{collections::HashMap, net::IpAddr};

use super::{Findings, identity::Identity};
use crate::{
    base::{ConfigProblem, Digest},
    document::shortened,
};

/// Certificates by the name that a client asks for (RFC 6066 section 3).
#[derive(Debug)]
pub struct Choice {
    /// The first one is for all other names, and for clients that name none.
    identities: Vec<Identity>,
    exact: HashMap<String, usize>,
    /// By what follows `*`: `.example.com`.
    wildcard: HashMap<String, usize>,
}

impl Choice {
    pub fn new(default: Identity) -> Self {
        Self { identities: vec![default], exact: HashMap::new(), wildcard: HashMap::new() }
    }

    /// One more certificate for these names; without any, for those that it was issued for. `field` is its own.
    pub fn add(&mut self, identity: Identity, hosts: &[String], field: &str, findings: &mut Findings) {
        let hosts = if hosts.is_empty() { &identity.facts.dns_names } else { hosts };
        if hosts.is_empty() {
            let problem =
                ConfigProblem::new(field, "the certificate has no names, and none are listed for it");
            return findings.error(problem.help("list them under `hosts`"));
        }
        let index = self.identities.len();
        for host in hosts {
            let host = host.to_ascii_lowercase();
            let host = host.trim_end_matches('.');
            let (names, name) = match host.strip_prefix('*') {
                Some(domain) => (&mut self.wildcard, domain),
                None => (&mut self.exact, host),
            };
            let is_name = name.trim_start_matches('.').split('.').all(|label| {
                !label.is_empty()
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            });
            let is_address = name.parse::<IpAddr>().is_ok();
            if !is_name || is_address || host.starts_with('*') && !name.starts_with('.') {
                let problem = ConfigProblem::new(
                    format!("{field}.hosts"),
                    format!("`{}` is not a host name", shortened(host)),
                );
                findings.error(
                    problem
                        .help("write `shop.example.com`, or `*.example.com` for all names one level below"),
                );
            } else if names.insert(name.to_owned(), index).is_some_and(|before| before != index) {
                let problem = ConfigProblem::new(
                    format!("{field}.hosts"),
                    format!("`{host}` is listed for two certificates"),
                );
                findings.error(problem.help("leave it to one of them"));
            }
        }
        self.identities.push(identity);
    }

    /// Where the certificate for a name is in [`Self::identities`].
    pub fn index(&self, name: Option<&str>) -> usize {
        if self.exact.is_empty() && self.wildcard.is_empty() {
            return 0;
        }
        let Some(name) = name.map(str::to_ascii_lowercase) else { return 0 };
        let name = name.trim_end_matches('.');
        let below = || name.find('.').and_then(|dot| self.wildcard.get(&name[dot..]));
        self.exact.get(name).or_else(below).copied().unwrap_or(0)
    }

    pub fn presented(&self, name: Option<&str>) -> &Identity {
        &self.identities[self.index(name)]
    }

    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    pub fn digest(&self) -> Digest {
        let mut digest = Digest::builder();
        self.identities.iter().for_each(|identity| digest.add(identity.digest.to_string()));
        for names in [&self.exact, &self.wildcard] {
            let mut names: Vec<_> = names.iter().collect();
            names.sort();
            digest.add(format!("{names:?}"));
        }
        digest.finish()
    }
}
