//! `route` and `route-weighted` (configuration reference 4.6).

use serde::Deserialize;

use super::{
    Resolver,
    targets::{Targets, similar},
};
use crate::{
    base::{ResourceName, Subject},
    document::{OneOrMany, Problem, Spanned, deserialize_config},
    resources::{
        kinds::api_instance::destination_path,
        model::{Destination, Route},
        normalise::{Binding, RouteDraft},
    },
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteConfig {
    destination_ref: DestinationRef,
    destination_path: Option<Spanned<String>>,
}

#[derive(Deserialize)]
struct WeightedConfig {
    routes: OneOrMany<Weighted>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Weighted {
    weight: Spanned<u32>,
    destination_ref: DestinationRef,
    destination_path: Option<Spanned<String>>,
}

#[derive(Deserialize)]
struct DestinationRef {
    name: Spanned<String>,
    namespace: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<DestinationKind>,
}

#[derive(Deserialize)]
enum DestinationKind {
    Service,
}

impl Resolver<'_> {
    /// Turns a routing policy into a route of its targets.
    pub(super) fn bind_route(&mut self, binding: &Binding, targets: &Targets, policy: &str) {
        let mut problems = Vec::new();
        let destinations = if policy == "route" {
            self.single(binding, &mut problems)
        } else {
            self.weighted(binding, &mut problems)
        };
        problems.retain(Problem::is_somewhere);
        if let Some(error) = problems.iter().find(|problem| problem.is_error()) {
            let reason = error.message.clone();
            // The first error also says what it means for the API.
            let at = problems.iter().position(Problem::is_error).unwrap_or(0);
            let error = problems.remove(at);
            self.refuse(binding, targets, error, &reason);
            self.report.add_all(&binding.subject, problems);
            return;
        }
        self.report.add_all(&binding.subject, problems);
        let Some(destinations) = destinations else { return };
        for (destination, written) in &destinations {
            self.check_destination(&binding.subject, destination, written);
        }
        let route = Route {
            name: binding.name.clone(),
            rules: binding.rules.clone(),
            destinations: destinations.into_iter().map(|(destination, _)| destination).collect(),
            order: binding.order,
            location: binding.policy.name.location(),
        };
        let Targets::Instances(names) = targets else { return };
        for name in names {
            if let Some(draft) = self.instances.get_mut(name) {
                let automated = binding.automated;
                draft.routes.push(RouteDraft { route: route.clone(), automated, index: binding.index });
            }
        }
    }

    fn single(
        &self,
        binding: &Binding,
        problems: &mut Vec<Problem>,
    ) -> Option<Vec<(Destination, Spanned<String>)>> {
        let read = deserialize_config::<RouteConfig>(&binding.config, &binding.config_field);
        problems.extend(read.problems);
        let config = read.value.or(read.partial)?;
        let path = destination_path(config.destination_path.as_ref(), problems);
        Some(vec![destination(binding, 1, config.destination_ref, path)])
    }

    fn weighted(
        &self,
        binding: &Binding,
        problems: &mut Vec<Problem>,
    ) -> Option<Vec<(Destination, Spanned<String>)>> {
        let read = deserialize_config::<WeightedConfig>(&binding.config, &binding.config_field);
        problems.extend(read.problems);
        let config = read.value.or(read.partial)?;
        if config.routes.is_empty() && problems.is_empty() {
            let place = binding
                .config
                .entry_ignore_case("routes")
                .map_or(&binding.config.place, |(key, _)| &key.place);
            let field = format!("{}.routes", binding.config_field);
            let problem = Problem::error(place, field, "`routes` is empty: at least one is needed");
            problems.push(problem.help("add `- {weight: 1, destinationRef: {name: …}}`"));
        }
        let mut destinations = Vec::new();
        for route in config.routes.0 {
            let weight = route.weight.value;
            if !(1..=100).contains(&weight) {
                problems.push(
                    route
                        .weight
                        .error(format!("the weight {weight} is out of range: expected 1 to 100"))
                        .help("shares are weights over their sum; to send nothing to an upstream, remove it"),
                );
            }
            let path = destination_path(route.destination_path.as_ref(), problems);
            destinations.push(destination(binding, weight, route.destination_ref, path));
        }
        Some(destinations)
    }

    /// A missing upstream is an error; the route stays and answers 503, so that its requests do not
    /// fall through to another.
    fn check_destination(&mut self, subject: &Subject, destination: &Destination, written: &Spanned<String>) {
        let service = &destination.service;
        if self.services.contains_key(service) {
            return;
        }
        let invalid = self.invalid.contains(&Subject::new("Service", service.clone()));
        let what = if invalid { "is not valid" } else { "does not exist" };
        let mut problem = written.error(format!("the Service {service} {what}"));
        let names: Vec<&ResourceName> = self.services.keys().collect();
        if let Some(help) = similar(service, &names) {
            problem = problem.help(help);
        }
        self.report.add(subject, problem.help("requests that take this route answer 503"));
    }
}

fn destination(
    binding: &Binding,
    weight: u32,
    reference: DestinationRef,
    path: String,
) -> (Destination, Spanned<String>) {
    let namespace = reference.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let service = ResourceName::new(namespace.unwrap_or(&binding.name.namespace), &reference.name.value);
    let location = reference.name.location();
    (Destination { weight, service, path, location }, reference.name)
}
