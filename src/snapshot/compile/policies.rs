//! Policies of instances and services, kept from one snapshot to the next.
//!
//! A policy instance is known by target, binding and the digest of its configuration: as long as
//! these stay, the same object goes on, with its windows and counters. Where replicas share state, it
//! has to have the same name for that, too. One that cannot be built
//! never opens its API: an update keeps the last good instance, without one the API answers 503
//! (decision 12).

use std::sync::Arc;

use super::{Compiler, Run, compile_rules};
use crate::{
    base::{Diagnostic, Digest, ResourceName},
    policies::catalog,
    policy::{Built, PolicyServices, RuleSet, Step, UpstreamSettings, chain::PolicyObserver},
    resources::BoundPolicy,
    telemetry::metrics::{CacheLookup, PolicyLabel, PolicyMetrics},
};

pub(super) type PolicyKey = (ResourceName, ResourceName);

#[derive(Clone)]
pub(super) struct KeptPolicy {
    digest: Digest,
    state_name: Arc<str>,
    built: KeptBuilt,
}

impl KeptPolicy {
    fn is(&self, policy: &BoundPolicy, run: &Run<'_>) -> bool {
        self.digest == policy.digest && (self.state_name == policy.state_name || !run.shares)
    }
}

#[derive(Clone)]
pub(super) enum KeptBuilt {
    Step(Arc<dyn crate::policy::Policy>),
    Upstream(UpstreamSettings),
    Route,
    Inbound(Arc<crate::tls::Inbound>),
}

impl Compiler {
    /// Carries the policies of a target over, if all of them are what the configuration names (and
    /// none a last good version).
    pub(super) fn keep_policies(
        &self,
        target: &ResourceName,
        policies: &[BoundPolicy],
        run: &mut Run<'_>,
    ) -> bool {
        let mut kept = Vec::with_capacity(policies.len());
        for policy in policies {
            let key = (target.clone(), policy.binding.clone());
            match self.policies.get(&key).filter(|kept| kept.is(policy, run)) {
                Some(policy) => kept.push((key, policy.clone())),
                None => return false,
            }
        }
        run.policies.extend(kept);
        true
    }

    /// The instance of a policy and its rules; `None` if there is none that may be used.
    pub(super) fn policy(
        &self,
        policy: &BoundPolicy,
        target: &ResourceName,
        siblings: &[BoundPolicy],
        run: &mut Run<'_>,
    ) -> Option<(KeptBuilt, RuleSet)> {
        let rules = compile_rules(&policy.rules, &policy.subject, &policy.location, run);
        if rules.is_none() {
            run.not_ready
                .push((policy.subject.clone(), format!("a rule of policy {} is invalid", policy.policy)));
        }
        let key = (target.clone(), policy.binding.clone());
        let last_good = self.policies.get(&key).cloned();
        if let Some(kept) = last_good.as_ref().filter(|kept| kept.is(policy, run)) {
            run.policies.insert(key, kept.clone());
            return Some((kept.built.clone(), rules?));
        }
        if let Some(kept) = self.moved(policy, &key, siblings, run) {
            run.policies.insert(key, kept.clone());
            return Some((kept.built, rules?));
        }
        let built = match self.build(policy, target, run) {
            Some(built) => {
                KeptPolicy { digest: policy.digest, state_name: Arc::clone(&policy.state_name), built }
            }
            None => {
                let effect = if last_good.is_some() { "stays as it was" } else { "cannot be built" };
                let reason = format!("policy {} of binding {} {effect}", policy.policy, policy.binding);
                run.not_ready.push((policy.subject.clone(), reason));
                let kept = last_good?;
                run.diagnostics.push(
                    Diagnostic::warning(format!(
                        "the last good configuration of `{}` stays in force",
                        policy.policy
                    ))
                    .about(&policy.subject)
                    .at(policy.location.clone())
                    .help(
                        "correct the errors above; the new configuration is applied as soon as it is valid",
                    ),
                );
                kept
            }
        };
        run.policies.insert(key, built.clone());
        Some((built.built, rules?))
    }

    /// The policy with state as it stood under another binding of its target, whose name has gone to another: an
    /// inline policy is named by its place in the list, and one inserted before it must not begin its
    /// windows anew. (What has no state is built anew, and bears its new name in logs and metrics.)
    fn moved(
        &self,
        policy: &BoundPolicy,
        key: &PolicyKey,
        siblings: &[BoundPolicy],
        run: &mut Run<'_>,
    ) -> Option<KeptPolicy> {
        if !catalog::find(&policy.policy)?.has_state {
            return None;
        }
        let stays = |binding: &ResourceName| {
            siblings.iter().any(|other| other.binding == *binding && other.digest == policy.digest)
        };
        let (from, kept) = self.policies.iter().find(|(from, kept)| {
            from.0 == key.0 && kept.is(policy, run) && !stays(&from.1) && !run.moved.contains(*from)
        })?;
        run.moved.insert(from.clone());
        Some(kept.clone())
    }

    fn build(&self, policy: &BoundPolicy, target: &ResourceName, run: &mut Run<'_>) -> Option<KeptBuilt> {
        let entry = catalog::find(&policy.policy)?;
        let mut services = PolicyServices::new(
            policy.binding.clone(),
            target.clone(),
            Arc::clone(&self.replica_name),
        );
        services.state_name = Arc::clone(&policy.state_name);
        services.observer = self.observer(policy, target);
        services.shared_storage = run.shares;
        services.quotas = self.quotas.clone();
        services.storage = self.storage.clone();
        services.caching = self.caching.clone();
        services.proxies_are_declared = !run.engine.trusted_proxies.is_empty();
        let outcome = entry.build(&policy.config, &policy.config_field, &services);
        let failed = outcome.problems.iter().any(crate::document::Problem::is_error);
        run.diagnostics.extend(outcome.problems.into_iter().map(|problem| problem.about(&policy.subject)));
        match outcome.built? {
            _ if failed => None,
            Built::Step(step) => Some(KeptBuilt::Step(step)),
            Built::Upstream(settings) => Some(KeptBuilt::Upstream(settings)),
            Built::Route => Some(KeptBuilt::Route),
            Built::Inbound(inbound) => Some(KeptBuilt::Inbound(inbound)),
        }
    }

    pub(super) fn step(
        &self,
        policy: &BoundPolicy,
        target: &ResourceName,
        instance: Arc<dyn crate::policy::Policy>,
        rules: RuleSet,
    ) -> Step {
        Step {
            policy: instance,
            rules,
            binding: policy.binding.clone(),
            name: Arc::from(policy.policy.as_str()),
            observer: self.observer(policy, target),
        }
    }

    fn observer(&self, policy: &BoundPolicy, target: &ResourceName) -> Arc<dyn PolicyObserver> {
        Arc::new(Counted(self.registry.policy(&PolicyLabel {
            target: target.clone(),
            binding: Arc::from(policy.binding.to_string()),
            policy: Arc::from(policy.policy.as_str()),
        })))
    }
}

pub(super) fn cannot_be_built(policy: &BoundPolicy) -> String {
    format!("policy {} of binding {} cannot be built", policy.policy, policy.binding)
}

/// Counts where the metrics of the policy are.
struct Counted(Arc<PolicyMetrics>);

impl PolicyObserver for Counted {
    fn refused(&self, status: u16) {
        self.0.rejected(status);
    }

    fn failed(&self) {
        self.0.failed();
    }

    fn looked_up(&self, lookup: CacheLookup) {
        self.0.looked_up(lookup);
    }
}
