//! Upstream Idle Timeout: how long a connection may idle between requests (policies reference 5.2).

mod config;
#[cfg(test)]
mod tests;

use crate::policy::{
    Built, Category, ConfigProblem, Direction, PolicyDefinition, PolicyServices, UpstreamSettings,
};
use config::Config;

/// Overrides all other idle settings of an upstream.
pub struct IdleTimeout;

impl PolicyDefinition for IdleTimeout {
    const NAME: &'static str = "idle-timeout-flex";
    const CATEGORY: Category = Category::QualityOfService;
    const DIRECTION: Direction = Direction::Outbound;
    const SUMMARY: &'static str = "Closes upstream connections that idle between requests.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");

    type Config = Config;

    fn build(config: Config, _: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        Ok(Built::Upstream(UpstreamSettings {
            idle_timeout: Some(config.timeout.0),
            ..UpstreamSettings::default()
        }))
    }
}
