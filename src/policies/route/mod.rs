//! `route`: sends requests to one upstream (policies reference 5.13, configuration reference 4.6).
//!
//! Nothing runs per request: the router has taken the route from the same configuration.

pub mod config;
#[cfg(test)]
mod tests;

use crate::policy::{Built, Category, ConfigProblem, Direction, PolicyDefinition, PolicyServices};
use config::Config;

/// One route of an instance.
pub struct Route;

impl PolicyDefinition for Route {
    const NAME: &'static str = "route";
    const CATEGORY: Category = Category::TrafficManagement;
    const DIRECTION: Direction = Direction::Routing;
    const SUMMARY: &'static str = "Sends requests to a service.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");

    type Config = Config;

    fn build(config: Config, _: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        match config.destination_ref.problem("destinationRef") {
            None => Ok(Built::Route),
            Some(problem) => Err(vec![problem]),
        }
    }
}
