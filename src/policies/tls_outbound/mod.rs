//! TLS towards an upstream (configuration reference 6.1, 6.3).

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    policy::{Built, Category, ConfigProblem, Direction, PolicyDefinition, PolicyServices, UpstreamSettings},
    tls::Findings,
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
        let outbound = config.read(Timestamp::now(), &mut findings);
        findings.warnings.into_iter().for_each(|problem| services.warn(problem));
        match outbound {
            Some(outbound) => {
                Ok(Built::Upstream(UpstreamSettings { tls: Some(Arc::new(outbound)), ..Default::default() }))
            }
            None => Err(findings.errors),
        }
    }
}
