//! Resources that are not valid still have policies to be looked at, so that all problems are said at
//! once.

use super::Compiler;
use crate::{
    base::Diagnostic,
    document::{Node, substitute_environment},
    policies::catalog,
    policy::PolicyServices,
    resources::{Kind, Resource, ResourceSet},
};

impl Compiler {
    /// What the policies of resources that cannot be used find in their configurations.
    pub fn check_unread(
        &self,
        set: &ResourceSet,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Vec<Diagnostic> {
        let unread =
            set.entries.iter().map(|entry| &*entry.resource).filter(|resource| resource.spec.is_none());
        let mut found = Vec::new();
        for resource in unread {
            for (field, policy) in policies(resource) {
                let name = policy.get_ignore_case("policyRef").and_then(|to| to.get_ignore_case("name"));
                let entry = name.and_then(Node::as_text).and_then(|name| catalog::find(name));
                let (Some(entry), Some(config)) = (entry, policy.get_ignore_case("config")) else { continue };
                let field = format!("{field}.config");
                let (config, _) = substitute_environment(config, &field, environment);
                let name = resource.subject.name.clone();
                let mut services = PolicyServices::new(name.clone(), name, self.replica_name.clone());
                services.caching = self.caching.clone();
                let problems = entry.build(&config, &field, &services).problems;
                found.extend(problems.into_iter().map(|problem| problem.about(&resource.subject)));
            }
        }
        found
    }
}

/// Policies as they are written, with the paths of their fields.
fn policies(resource: &Resource) -> Vec<(String, &Node)> {
    let spec = &resource.written;
    match resource.kind {
        Kind::PolicyBinding => vec![("spec".to_owned(), spec)],
        Kind::ApiInstance => {
            let services = spec.get_ignore_case("services").map_or(&[][..], Node::entries);
            let holders =
                services.iter().map(|(key, service)| (format!("spec.services.{}", key.text), service));
            std::iter::once(("spec".to_owned(), spec))
                .chain(holders)
                .flat_map(|(field, holder)| {
                    let items = holder.get_ignore_case("policies").map_or(&[][..], Node::items);
                    items.iter().enumerate().map(move |(n, item)| (format!("{field}.policies[{n}]"), item))
                })
                .collect()
        }
        _ => Vec::new(),
    }
}
