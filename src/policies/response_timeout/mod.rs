//! Response Timeout: how long an upstream may take to answer (policies reference 3.7).

mod config;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use crate::{
    http::Request,
    policy::{
        Built, Category, ConfigProblem, Direction, Handling, Next, Policy, PolicyDefinition, PolicyServices,
    },
};
use config::Config;

/// Overrides the response timeout of the gateway.
pub struct ResponseTimeout {
    timeout: Duration,
}

impl PolicyDefinition for ResponseTimeout {
    const NAME: &'static str = "response-timeout-flex";
    const CATEGORY: Category = Category::QualityOfService;
    const DIRECTION: Direction = Direction::Inbound;
    const SUMMARY: &'static str = "Limits the time that an upstream may take to answer.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");

    type Config = Config;

    fn build(config: Config, _: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        Ok(Built::Step(Arc::new(Self { timeout: config.timeout.0 })))
    }
}

impl Policy for ResponseTimeout {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        next.exchange().set_response_timeout(self.timeout);
        next.pass(request)
    }
}
