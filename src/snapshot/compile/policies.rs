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
    /// Of the same version.
    rules: RuleSet,
    /// Bindings of the same resource to the same target, itself included: the list that an inline policy stands in.
    beside: Arc<[ResourceName]>,
    /// Something was said of its configuration.
    has_warnings: bool,
    /// There was a shared storage when that was looked at.
    shares: bool,
}

impl KeptPolicy {
    fn is(&self, policy: &BoundPolicy, run: &Run<'_>) -> bool {
        self.digest == policy.digest && (self.state_name == policy.state_name || !run.shares)
    }
}

fn beside(policy: &BoundPolicy, siblings: &[BoundPolicy]) -> Arc<[ResourceName]> {
    let same_resource = siblings.iter().filter(|other| other.subject == policy.subject);
    let mut bindings: Vec<_> = same_resource.map(|other| other.binding.clone()).collect();
    bindings.sort();
    bindings.into()
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
        let known = |policy: &BoundPolicy| {
            let kept = self.policies.get(&(target.clone(), policy.binding.clone()))?;
            kept.is(policy, run).then_some(kept)
        };
        let Some(known) = policies.iter().map(known).collect::<Option<Vec<_>>>() else { return false };
        for (policy, kept) in policies.iter().zip(known) {
            let kept = self.go_on(kept, policy, target, policies, run);
            run.policies.insert((target.clone(), policy.binding.clone()), kept);
        }
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
        let key = (target.clone(), policy.binding.clone());
        let before = self.policies.get(&key).filter(|kept| kept.is(policy, run));
        let in_force = match before.or_else(|| self.moved(policy, &key, siblings, run)) {
            Some(kept) => self.go_on(kept, policy, target, siblings, run),
            None => match self.build(policy, target, siblings, run) {
                Some(built) => built,
                None => self.last_good(policy, &key, siblings, run)?,
            },
        };
        let (built, rules) = (in_force.built.clone(), in_force.rules.clone());
        run.policies.insert(key, in_force);
        Some((built, rules))
    }

    /// The same object as before. What is to be said of its configuration is said in each generation, at the place
    /// where it stands now.
    fn go_on(
        &self,
        kept: &KeptPolicy,
        policy: &BoundPolicy,
        target: &ResourceName,
        siblings: &[BoundPolicy],
        run: &mut Run<'_>,
    ) -> KeptPolicy {
        let mut kept = KeptPolicy { beside: beside(policy, siblings), ..kept.clone() };
        if (kept.has_warnings || kept.shares != run.shares)
            && let Some(entry) = catalog::find(&policy.policy)
        {
            let services = self.services(policy, target, run);
            let mut problems = entry.build(&policy.config, &policy.config_field, &services).problems;
            problems.retain(|problem| !problem.is_error());
            (kept.has_warnings, kept.shares) = (!problems.is_empty(), run.shares);
            run.diagnostics.extend(problems.into_iter().map(|problem| problem.about(&policy.subject)));
        }
        kept
    }

    /// The version before one that cannot be built, with its own rules. An inline policy is named by its place in a
    /// list: where that is another list, or what stood there stands elsewhere in it, it may have been another policy.
    fn last_good(
        &self,
        policy: &BoundPolicy,
        key: &PolicyKey,
        siblings: &[BoundPolicy],
        run: &mut Run<'_>,
    ) -> Option<KeptPolicy> {
        let beside = beside(policy, siblings);
        let others = || siblings.iter().filter(|other| other.binding != policy.binding);
        let is_elsewhere = |kept: &KeptPolicy| {
            others().any(|other| other.subject == policy.subject && other.digest == kept.digest)
        };
        let kept = self.policies.get(key).filter(|kept| kept.beside == beside && !is_elsewhere(kept));
        let effect = if kept.is_some() { "stays as it was" } else { "cannot be built" };
        let reason = format!("policy {} of binding {} {effect}", policy.policy, policy.binding);
        run.not_ready.push((policy.subject.clone(), reason));
        let kept = kept?;
        let message = format!("the last good configuration of `{}` stays in force", policy.policy);
        let found = Diagnostic::warning(message).about(&policy.subject).at(policy.location.clone());
        run.diagnostics.push(
            found.help("correct the errors above; the new configuration is applied as soon as it is valid"),
        );
        Some(kept.clone())
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
    ) -> Option<&KeptPolicy> {
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
        Some(kept)
    }

    fn build(
        &self,
        policy: &BoundPolicy,
        target: &ResourceName,
        siblings: &[BoundPolicy],
        run: &mut Run<'_>,
    ) -> Option<KeptPolicy> {
        let rules = compile_rules(&policy.rules, &policy.subject, &policy.location, run);
        if rules.is_none() {
            let reason = format!("a rule of policy {} is invalid", policy.policy);
            run.not_ready.push((policy.subject.clone(), reason));
        }
        let entry = catalog::find(&policy.policy)?;
        let mut services = self.services(policy, target, run);
        services.observer = self.observer(policy, target);
        services.quotas = self.quotas.clone();
        services.storage = self.storage.clone();
        let outcome = entry.build(&policy.config, &policy.config_field, &services);
        let failed = outcome.problems.iter().any(crate::document::Problem::is_error);
        let has_warnings = !outcome.problems.is_empty();
        run.diagnostics.extend(outcome.problems.into_iter().map(|problem| problem.about(&policy.subject)));
        let built = match outcome.built? {
            _ if failed => return None,
            Built::Step(step) => KeptBuilt::Step(step),
            Built::Upstream(settings) => KeptBuilt::Upstream(settings),
            Built::Route => KeptBuilt::Route,
            Built::Inbound(inbound) => KeptBuilt::Inbound(inbound),
        };
        Some(KeptPolicy {
            digest: policy.digest,
            state_name: Arc::clone(&policy.state_name),
            built,
            rules: rules?,
            beside: beside(policy, siblings),
            has_warnings,
            shares: run.shares,
        })
    }

    /// What a configuration is looked at with; nothing that is counted, shared or called yet.
    fn services(&self, policy: &BoundPolicy, target: &ResourceName, run: &Run<'_>) -> PolicyServices {
        let mut services =
            PolicyServices::new(policy.binding.clone(), target.clone(), Arc::clone(&self.replica_name));
        services.state_name = Arc::clone(&policy.state_name);
        services.shared_storage = run.shares;
        services.caching = self.caching.clone();
        services.proxies_are_declared = !run.engine.trusted_proxies.is_empty();
        services
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
