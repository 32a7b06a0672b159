//! The kinds of resources, one file each: what may be written in `spec`, and checks that need
//! nothing but the resource itself.

pub mod api_instance;
pub mod configuration;
pub mod contract;
pub mod extension;
mod forward_proxy;
pub mod logging;
mod ordered;
pub mod policy_binding;
pub mod secret;
pub mod service;
pub mod shared_storage;
mod tls_parameters;
mod unsupported;

pub use configuration::GatewaySettings;
pub use ordered::Ordered;

use crate::document::{Node, Problem, substitute_environment};

/// The kinds that can be written, in the spelling of the reference (2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    ApiInstance,
    Service,
    PolicyBinding,
    Configuration,
    Extension,
    Secret,
    Contract,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::ApiInstance,
        Kind::Service,
        Kind::PolicyBinding,
        Kind::Configuration,
        Kind::Extension,
        Kind::Secret,
        Kind::Contract,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::ApiInstance => "ApiInstance",
            Kind::Service => "Service",
            Kind::PolicyBinding => "PolicyBinding",
            Kind::Configuration => "Configuration",
            Kind::Extension => "Extension",
            Kind::Secret => "Secret",
            Kind::Contract => "Contract",
        }
    }
}

/// A valid `spec`.
#[derive(Clone, Debug)]
pub enum Spec {
    ApiInstance(api_instance::ApiInstance),
    Service(service::Service),
    PolicyBinding(policy_binding::PolicyBinding),
    Configuration(Box<configuration::Configuration>),
    Extension(extension::Extension),
    Secret,
    Contract,
}

/// Reads a `spec`; `None` exactly when a problem is an error. `lookup` gives environment variables,
/// which are replaced in a `Configuration` here (2.4) and in policies when they are bound.
pub fn read(
    kind: Kind,
    spec: &Node,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> (Option<Spec>, Vec<Problem>) {
    let mut problems = Vec::new();
    let spec = match kind {
        Kind::ApiInstance => api_instance::read(spec, &mut problems).map(Spec::ApiInstance),
        Kind::Service => service::read(spec, &mut problems).map(Spec::Service),
        Kind::PolicyBinding => policy_binding::read(spec, &mut problems).map(Spec::PolicyBinding),
        Kind::Configuration => {
            let (spec, unset) = substitute_environment(spec, "spec", lookup);
            problems.extend(unset);
            configuration::read(&spec, &mut problems).map(|read| Spec::Configuration(Box::new(read)))
        }
        Kind::Extension => extension::read(spec, &mut problems).map(Spec::Extension),
        Kind::Secret => secret::read(spec, &mut problems).map(|()| Spec::Secret),
        Kind::Contract => contract::read(spec, &mut problems).map(|()| Spec::Contract),
    };
    problems.retain(Problem::is_somewhere);
    let failed = problems.iter().any(Problem::is_error);
    (spec.filter(|_| !failed), problems)
}

/// Deserializes and collects the problems. When some are errors the value is partial, so that the
/// checks that follow find the rest; checks that look at several fields ask [`sound`] first.
fn typed<T: serde::de::DeserializeOwned>(node: &Node, path: &str, problems: &mut Vec<Problem>) -> Option<T> {
    let read = crate::document::deserialize(node, path);
    problems.extend(read.problems);
    read.value.or(read.partial)
}

/// Nothing wrong so far, so nothing was left out.
fn sound(problems: &[Problem]) -> bool {
    !problems.iter().any(Problem::is_error)
}
