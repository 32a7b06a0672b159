//! A policy that cannot be built after an update stays in force as it was; only one that never was
//! good takes its target out (decision 12).

use super::{Resolver, targets::Targets};
use crate::{
    base::{ResourceName, suggest::closest},
    resources::{
        model::{BoundPolicy, Route, TlsBinding},
        names::Direction,
        normalise::{Binding, NOT_INLINE, RouteDraft, bare},
    },
};

enum Kept {
    Policy(BoundPolicy),
    Route(Route),
}

impl Resolver<'_> {
    /// Keeps what served before wherever there is something; returns the targets without.
    pub(super) fn keep_last_good(&mut self, binding: &Binding, targets: &Targets) -> Vec<ResourceName> {
        match targets {
            Targets::Instances(names) if self.keep_tls(binding, names) => Vec::new(),
            Targets::Instances(names) => {
                let names = names.iter().filter(|name| !self.keep_on_instance(binding, name));
                names.cloned().collect::<Vec<_>>()
            }
            Targets::Service(name) => {
                if self.keep_on_service(binding, name) {
                    Vec::new()
                } else {
                    vec![name.clone()]
                }
            }
        }
    }

    /// A `tls` binding that became something unusable leaves its ports as they are: what they serve
    /// never turns to plain text by a slip (decision 12).
    fn keep_tls(&mut self, binding: &Binding, names: &[ResourceName]) -> bool {
        let before = self.inputs.previous.iter().flat_map(|model| &model.tls).find(|tls| {
            let policy = &tls.policy;
            policy.subject == binding.subject
                && (policy.binding == binding.name || policy.config_field == binding.config_field)
        });
        let Some(before) = before else { return false };
        let kept = TlsBinding { instances: names.to_vec(), ..before.clone() };
        self.tls.push(kept);
        true
    }

    fn keep_on_instance(&mut self, binding: &Binding, name: &ResourceName) -> bool {
        let Some(before) = self.inputs.previous.and_then(|model| model.instance(name)) else { return false };
        let beside = binding.siblings.iter().filter(|name| self.is_in_chain(name)).count();
        let kept = policy_before(binding, &before.policies, beside).map(Kept::Policy).or_else(|| {
            let route = before.routes.iter().find(|route| route.name == binding.name)?;
            (binding.index == NOT_INLINE).then(|| Kept::Route(route.clone()))
        });
        let Some(draft) = self.instances.get_mut(name) else { return false };
        match kept {
            Some(Kept::Policy(policy)) => draft.policies.push(as_before(binding, policy)),
            Some(Kept::Route(route)) => {
                let automated = binding.automated;
                draft.routes.push(RouteDraft { route, automated, index: binding.index });
            }
            None => return false,
        }
        true
    }

    /// Whether an inline policy of an instance stands in its chain: not TLS, a route, or what acts on upstreams.
    fn is_in_chain(&self, policy: &str) -> bool {
        self.facts(policy).is_none_or(|facts| facts.direction == Direction::Inbound)
    }

    fn keep_on_service(&mut self, binding: &Binding, name: &ResourceName) -> bool {
        let before = self.inputs.previous.and_then(|model| model.service(name));
        let kept = before.and_then(|before| policy_before(binding, &before.policies, binding.siblings.len()));
        match (kept, self.services.get_mut(name)) {
            (Some(policy), Some(draft)) => {
                draft.policies.push(as_before(binding, policy));
                true
            }
            _ => false,
        }
    }
}

/// The version of a policy that is served: a binding by its name; an inline policy by its position,
/// provided there are as many as there were in the chain, and the policy of that position has not moved to another one.
fn policy_before(binding: &Binding, before: &[BoundPolicy], beside: usize) -> Option<BoundPolicy> {
    let mut same_resource = before.iter().filter(|policy| policy.subject == binding.subject);
    let found = if binding.index == NOT_INLINE {
        same_resource.find(|policy| policy.binding == binding.name)
    } else if same_resource.clone().count() == beside {
        let here = same_resource.find(|policy| policy.config_field == binding.config_field);
        here.filter(|here| {
            is_spelling(&binding.policy.name, &here.policy)
                || !binding.siblings.iter().any(|other| is_spelling(other, &here.policy))
        })
    } else {
        None
    };
    found.cloned()
}

/// Whether what is written means this policy of the catalog, give or take the suffix or a slip of the finger.
fn is_spelling(written: &str, policy: &str) -> bool {
    closest(bare(written), [bare(policy)]).is_some()
}

fn as_before(binding: &Binding, policy: BoundPolicy) -> Binding {
    let mut kept = binding.clone();
    kept.order = policy.order;
    kept.policy.name.value.clone_from(&policy.policy);
    kept.kept = Some(Box::new(policy));
    kept
}
