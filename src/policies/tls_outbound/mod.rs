//! TLS towards an upstream (configuration reference 6.1, 6.3).

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    outbound::root_store,
    policy::{Built, Category, ConfigProblem, Direction, PolicyDefinition, PolicyServices, UpstreamSettings},
    tls::{
        Certificate, Findings, Negotiable, Outbound,
        identity::Identity,
        trust::{Authorities, ServerTrust},
    },
};
use config::Config;

pub struct TlsOutbound;

impl PolicyDefinition for TlsOutbound {
    const NAME: &'static str = "tls-outbound";
    const CATEGORY: Category = Category::Security;
    const DIRECTION: Direction = Direction::Outbound;
    const SUMMARY: &'static str = "Sets the TLS context towards an upstream.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");
    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        let mut findings = Findings::default();
        let outbound = read(&config, Timestamp::now(), &mut findings);
        findings.warnings.into_iter().for_each(|problem| services.warn(problem));
        match outbound {
            Some(outbound) if findings.errors.is_empty() => {
                Ok(Built::Upstream(UpstreamSettings { tls: Some(Arc::new(outbound)), ..Default::default() }))
            }
            _ => Err(findings.errors),
        }
    }
}

fn read(config: &Config, now: Timestamp, findings: &mut Findings) -> Option<Outbound> {
    let Config { minversion, maxversion, ciphers, alpn, .. } = config;
    let negotiable = Negotiable::read(*minversion, *maxversion, ciphers, alpn, findings);
    let trust = trust(config, findings);
    let identity = config.certificate.as_ref().map(|certificate| identity(certificate, now, findings));
    let identity = match identity {
        Some(None) => return None,
        Some(identity) => identity,
        None => None,
    };
    Some(Outbound::new(negotiable?, trust?, identity))
}

fn identity(certificate: &Certificate, now: Timestamp, findings: &mut Findings) -> Option<Identity> {
    let mut of_this = Findings::default();
    let identity = Identity::read(certificate, now, &mut of_this);
    findings.adopt("certificate", of_this);
    identity
}

fn trust(config: &Config, findings: &mut Findings) -> Option<ServerTrust> {
    if config.skip_validation {
        findings.warning(
            ConfigProblem::new("skipValidation", "the upstream's certificate is not checked")
                .help("give its authority as `trustedCA`, and remove `skipValidation`"),
        );
        // Nobody is asked, but what is written must be sound.
        if let Some(pem) = &config.trusted_ca {
            Authorities::read(pem, config.crl.as_deref(), findings)?;
        }
        return Some(ServerTrust::Anyone);
    }
    let Some(pem) = &config.trusted_ca else {
        findings.warning(
            ConfigProblem::new(
                "trustedCA",
                "`trustedCA` is missing: the authorities of the operating system are trusted",
            )
            .help("give the authority of the upstream's certificate, so that no other can stand in for it"),
        );
        if config.crl.is_some() {
            let problem = ConfigProblem::new("crl", "`crl` needs `trustedCA`");
            findings.error(problem.help("give the certificates of the authorities whose lists these are"));
            return None;
        }
        let Some(roots) = root_store() else {
            findings.error(
                ConfigProblem::new("trustedCA", "the system has no CA certificates").help(
                    "give `trustedCA`; or install `ca-certificates`, or name a bundle in SSL_CERT_FILE",
                ),
            );
            return None;
        };
        return Some(ServerTrust::System(roots));
    };
    Authorities::read(pem, config.crl.as_deref(), findings).map(ServerTrust::Authorities)
}
