//! Digests of resolved parts: equal digest, same behaviour; positions do not count.

use crate::{
    base::{Digest, digest::DigestBuilder},
    document::Node,
    resources::model::{BoundPolicy, Instance, Rule, Service},
    settings::DynamicPort,
};

pub(super) fn policy(name: &str, config: &Node, rules: &[Rule]) -> Digest {
    let mut digest = Digest::builder().part(name).part(config.canonical_digest().to_string());
    add_rules(&mut digest, rules);
    digest.finish()
}

/// A dynamic port counts as it is written: it is the platform's, and another one for each replica.
pub(super) fn instance(instance: &Instance, dynamic_port: Option<DynamicPort>) -> Digest {
    let mut address = instance.address.clone();
    address.port = DynamicPort::written(dynamic_port, address.port);
    let mut digest = Digest::builder().part(instance.name.to_string()).part(address.to_string());
    for (name, value) in &instance.labels {
        digest.add(name);
        digest.add(value);
    }
    digest.add("policies");
    add_policies(&mut digest, &instance.policies);
    for route in &instance.routes {
        digest.add("route");
        digest.add(route.name.to_string());
        add_rules(&mut digest, &route.rules);
        for destination in &route.destinations {
            digest.add(format!("{} {}", destination.weight, destination.service));
            digest.add(&destination.path);
        }
    }
    add_blocked(&mut digest, instance.blocked.as_deref());
    digest.finish()
}

pub(super) fn service(service: &Service) -> Digest {
    let mut digest = Digest::builder().part(service.name.to_string()).part(service.address.to_string());
    add_policies(&mut digest, &service.policies);
    add_blocked(&mut digest, service.blocked.as_deref());
    digest.finish()
}

fn add_policies(digest: &mut DigestBuilder, policies: &[BoundPolicy]) {
    for policy in policies {
        digest.add(policy.binding.to_string());
        digest.add(policy.digest.to_string());
    }
}

fn add_rules(digest: &mut DigestBuilder, rules: &[Rule]) {
    for rule in rules {
        digest.add("rule");
        for part in [&rule.path, &rule.methods, &rule.host] {
            match part {
                Some(text) => digest.add(&text.value),
                None => digest.add([0]),
            }
        }
        for (name, value) in &rule.headers {
            digest.add(name.to_ascii_lowercase());
            digest.add(&value.value);
        }
    }
}

fn add_blocked(digest: &mut DigestBuilder, blocked: Option<&str>) {
    digest.add(if blocked.is_some() { "blocked" } else { "open" });
    digest.add(blocked.unwrap_or(""));
}
