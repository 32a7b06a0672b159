//! TLS towards clients (configuration reference 6.1, 6.2).

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    policy::{Built, Category, ConfigProblem, Direction, PolicyDefinition, PolicyServices},
    tls::{Findings, Inbound, Negotiable, choice::Choice, identity::Identity, trust::ClientCertificates},
};
pub use config::Config;

pub struct Tls;

impl PolicyDefinition for Tls {
    const NAME: &'static str = "tls";
    const CATEGORY: Category = Category::Security;
    const DIRECTION: Direction = Direction::Port;
    const SUMMARY: &'static str = "Serves a port over TLS.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");
    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        let mut findings = Findings::default();
        let inbound = read(&config, Timestamp::now(), &mut findings);
        findings.warnings.into_iter().for_each(|problem| services.warn(problem));
        match inbound {
            Some(inbound) if findings.errors.is_empty() => Ok(Built::Inbound(Arc::new(inbound))),
            _ => Err(findings.errors),
        }
    }
}

fn read(config: &Config, now: Timestamp, findings: &mut Findings) -> Option<Inbound> {
    let Config { minversion, maxversion, ciphers, alpn, .. } = config;
    let negotiable = Negotiable::read(*minversion, *maxversion, ciphers, alpn, findings);
    let certificates = certificates(config, now, findings);
    let clients = ClientCertificates::read(
        config.trusted_ca.as_deref(),
        config.crl.as_deref(),
        config.require_client_certificate,
        findings,
    );
    let (negotiable, certificates) = (negotiable?, certificates?);
    let field = |index: usize| match index.checked_sub(1) {
        None => "certificate".to_owned(),
        Some(index) => format!("certificates[{index}].certificate"),
    };
    let presented = certificates.identities().iter().enumerate();
    let presented: Vec<_> = presented.map(|(index, identity)| (field(index), identity)).collect();
    negotiable.suites.check_keys(negotiable.versions, &presented, findings);
    Some(Inbound::new(negotiable, certificates, clients))
}

fn certificates(config: &Config, now: Timestamp, findings: &mut Findings) -> Option<Choice> {
    let default = Identity::read_at("certificate", &config.certificate, now, findings);
    let named = config.certificates.iter().enumerate().map(|(index, named)| {
        let field = format!("certificates[{index}]");
        let below = format!("{field}.certificate");
        (Identity::read_at(&below, &named.certificate, now, findings), &named.hosts, field)
    });
    let named: Vec<_> = named.collect();
    let mut choice = Choice::new(default?);
    for (identity, hosts, field) in named {
        choice.add(identity?, hosts, &field, findings);
    }
    Some(choice)
}
