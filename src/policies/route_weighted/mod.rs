//! `route-weighted`: shares requests among upstreams (policies reference 5.13, configuration
//! reference 4.6).
//!
//! Nothing runs per request: the router has taken the route from the same configuration.

mod config;
#[cfg(test)]
mod tests;

use crate::policy::{Built, Category, ConfigProblem, Direction, PolicyDefinition, PolicyServices};
use config::Config;

/// One route of an instance, with several upstreams. Each request draws on its own.
pub struct RouteWeighted;

impl PolicyDefinition for RouteWeighted {
    const NAME: &'static str = "route-weighted";
    const CATEGORY: Category = Category::TrafficManagement;
    const DIRECTION: Direction = Direction::Routing;
    const SUMMARY: &'static str = "Shares requests among several services by weight.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");

    type Config = Config;

    fn build(config: Config, _: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        if config.routes.is_empty() {
            let problem = ConfigProblem::new("routes", "`routes` is empty: at least one is needed");
            problems.push(problem.help("add `- {weight: 1, destinationRef: {name: …}}`"));
        }
        for (index, route) in config.routes.iter().enumerate() {
            if !(1..=100).contains(&route.weight) {
                let message = format!("the weight {} is out of range: expected 1 to 100", route.weight);
                let problem = ConfigProblem::new(format!("routes[{index}].weight"), message);
                problems.push(problem.help("to send nothing to a service, remove it from the list"));
            }
            problems.extend(route.destination_ref.problem(&format!("routes[{index}].destinationRef")));
        }
        if problems.is_empty() { Ok(Built::Route) } else { Err(problems) }
    }
}
