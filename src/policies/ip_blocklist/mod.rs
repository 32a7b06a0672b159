//! Refuses listed addresses (policies reference 2.10, 2.11).

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::addresses::{AddressFilter, refusal};
use crate::{
    http::Request,
    policy::{
        Built, Category, ConfigProblem, Direction, Handling, Next, Policy, PolicyDefinition, PolicyServices,
    },
};
pub use config::Config;

pub struct IpBlocklist(AddressFilter);

impl PolicyDefinition for IpBlocklist {
    const NAME: &'static str = "ip-blocklist-flex";
    const CATEGORY: Category = Category::Security;
    const DIRECTION: Direction = Direction::Inbound;
    const SUMMARY: &'static str = "Refuses listed addresses.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");
    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        let filter = AddressFilter::new(&config.ips, config.ip_expression, services)?;
        Ok(Built::Step(Arc::new(Self(filter))))
    }
}

impl Policy for IpBlocklist {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        // What has no address is on no list (policies reference 2.11).
        match self.0.is_listed(&request, &next) {
            Some(true) => Handling::refuse(refusal()),
            Some(false) | None => next.pass(request),
        }
    }
}
