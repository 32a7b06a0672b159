//! Circuit Breaker: limits on what one upstream is asked at the same time (policies reference 5.1).

mod config;
#[cfg(test)]
mod tests;

use crate::policy::{
    Built, Category, CircuitLimits, ConfigProblem, Direction, PolicyDefinition, PolicyServices,
    UpstreamSettings,
};
use config::Config;

/// Sets the limits of an upstream. There is no open and half-open state: it limits concurrency.
pub struct CircuitBreaker;

impl PolicyDefinition for CircuitBreaker {
    const NAME: &'static str = "circuit-breaker-flex";
    const CATEGORY: Category = Category::QualityOfService;
    const DIRECTION: Direction = Direction::Outbound;
    const SUMMARY: &'static str = "Limits connections, queued and parallel requests of an upstream.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");

    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        let thresholds = config.thresholds;
        if thresholds.max_connection_pools.is_some() {
            let problem =
                ConfigProblem::new("thresholds.maxConnectionPools", "this limit has no effect here");
            services.warn(problem.help("connections are limited by `maxConnections`"));
        }
        for (field, limit) in
            [("maxConnections", thresholds.max_connections), ("maxRequests", thresholds.max_requests)]
        {
            if limit == Some(0) {
                let problem = ConfigProblem::new(format!("thresholds.{field}"), "0 refuses every request");
                services.warn(problem.help("leave the field out for its default"));
            }
        }
        let limits = CircuitLimits {
            connections_max: thresholds.max_connections,
            pending_requests_max: thresholds.max_pending_requests,
            requests_max: thresholds.max_requests,
            retries_max: thresholds.max_retries,
        };
        Ok(Built::Upstream(UpstreamSettings { limits: Some(limits), ..UpstreamSettings::default() }))
    }
}
