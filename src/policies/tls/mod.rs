//! TLS towards clients (configuration reference 6.1, 6.2).

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    policy::{Built, Category, ConfigProblem, Direction, PolicyDefinition, PolicyServices},
    tls::{Findings, Inbound, Versions, alpn, ciphers, identity::Identity, trust::ClientCertificates},
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
    let versions = findings.keep(Versions::new(config.minversion, config.maxversion));
    let suites = versions.map(|versions| ciphers::select(&config.ciphers, versions, findings));
    let alpn = alpn::inbound(&config.alpn, findings);
    let identity = Identity::read(&config.certificate, now, findings);
    let clients =
        ClientCertificates::read(config.trusted_ca.as_deref(), config.require_client_certificate, findings);
    Some(Inbound::new(versions?, suites?, alpn, identity?, clients))
}
