//! Admits listed addresses only (policies reference 2.10, 2.11).

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

pub struct IpAllowlist(AddressFilter);

impl PolicyDefinition for IpAllowlist {
    const NAME: &'static str = "ip-allowlist-flex";
    const CATEGORY: Category = Category::Security;
    const DIRECTION: Direction = Direction::Inbound;
    const SUMMARY: &'static str = "Admits listed addresses only.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");
    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        let filter = AddressFilter::new(&config.ips, config.ip_expression, services)?;
        Ok(Built::Step(Arc::new(Self(filter))))
    }
}

impl Policy for IpAllowlist {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        // An address that is missing or unreadable must not defeat the list.
        match self.0.is_listed(&request, &next) {
            Some(true) => next.pass(request),
            Some(false) | None => Handling::refuse(refusal()),
        }
    }
}
