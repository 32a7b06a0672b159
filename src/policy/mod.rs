//! Floor 2, the policy kernel: one shape for every policy, and the chain that runs them.
//!
//! A policy is an onion layer: it receives the request and the rest of the chain. A *gate* looks at
//! the request and ends in `next.pass(request)`, a tail call that costs no allocation; a *wrap*
//! awaits `next.run(request)` and acts on the response too. State between request and response is a
//! local variable.

pub mod allowance;
pub mod budget;
pub mod chain;
pub mod definition;
pub mod exchange;
pub mod payload;
pub mod rejection;
pub mod rules;
pub mod scope;
pub mod seconds;
#[cfg(test)]
pub mod testkit;

pub use crate::base::Clock;
pub use allowance::Allowance;
pub use budget::Budget;
pub use chain::{Chain, Handling, Next, Policy, Step, Terminal};
pub use definition::{
    Built, Caching, Category, CircuitLimits, ConfigProblem, Direction, PolicyDefinition, PolicyEntry,
    PolicyServices, UpstreamSettings,
};
pub use exchange::{Authentication, Exchange, RequestId, Violation};
pub use rejection::{Rejection, ViolationKind};
pub use rules::{RuleError, RuleSet, RuleSource};
pub use scope::{RequestScope, RequestView, ResponseScope, Variables};
pub use seconds::Seconds;
