//! Stream Idle Timeout: how long nothing may move on a stream (policies reference 3.8).

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

/// Overrides the stream idle timeout of the gateway.
pub struct StreamIdleTimeout {
    timeout: Duration,
}

impl PolicyDefinition for StreamIdleTimeout {
    const NAME: &'static str = "stream-idle-timeout-flex";
    const CATEGORY: Category = Category::QualityOfService;
    const DIRECTION: Direction = Direction::Inbound;
    const SUMMARY: &'static str = "Ends streams on which no byte moves in either direction.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");

    type Config = Config;

    fn build(config: Config, _: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        Ok(Built::Step(Arc::new(Self { timeout: config.timeout.0 })))
    }
}

impl Policy for StreamIdleTimeout {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        next.exchange().set_stream_idle_timeout(self.timeout);
        next.pass(request)
    }
}
