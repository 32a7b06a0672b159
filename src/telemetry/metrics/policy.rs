//! Counters of one policy of one API.

use std::sync::Arc;

use super::{
    cells::{Counter, PerWorker},
    exposition::{Exposition, Kind},
};
use crate::base::ResourceName;

/// What tells one policy's series from another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyLabel {
    /// The API instance, or the service of an outbound policy.
    pub target: ResourceName,
    /// Name of the binding, or of its place in an inline list.
    pub binding: Arc<str>,
    /// `policyRef.name`.
    pub policy: Arc<str>,
}

/// The statuses that policies answer with; anything else is `other`.
const STATUSES: [u16; 14] = [400, 401, 403, 404, 405, 406, 408, 413, 415, 429, 500, 502, 503, 504];

/// What a policy that stores responses found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheLookup {
    /// A response that answers the request.
    Hit,
    /// One that the origin is asked about first.
    Stale,
    Miss,
}

const LOOKUPS: [(CacheLookup, &str); 3] =
    [(CacheLookup::Hit, "hit"), (CacheLookup::Stale, "stale"), (CacheLookup::Miss, "miss")];

#[derive(Default)]
struct Slot {
    rejections: [Counter; STATUSES.len() + 1],
    errors: Counter,
    lookups: [Counter; LOOKUPS.len()],
}

/// Counters of one policy; see the module for who may write them.
pub struct PolicyMetrics {
    pub(super) label: PolicyLabel,
    slots: PerWorker<Slot>,
}

impl PolicyMetrics {
    pub(super) fn new(label: PolicyLabel, workers: usize) -> Self {
        Self { label, slots: PerWorker::new(workers) }
    }

    /// The policy answered in place of the API.
    pub fn rejected(&self, status: u16) {
        let index = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        let (slot, writer) = self.slots.mine();
        slot.rejections[index].add(writer, 1);
    }

    /// The policy could not do its work, such as an expression that failed.
    pub fn failed(&self) {
        let (slot, writer) = self.slots.mine();
        slot.errors.add(writer, 1);
    }

    /// The policy looked for a stored response.
    pub fn looked_up(&self, lookup: CacheLookup) {
        let (slot, writer) = self.slots.mine();
        slot.lookups[lookup as usize].add(writer, 1);
    }
}

/// Writes the families of all policies.
pub(super) fn expose(policies: &[Arc<PolicyMetrics>], page: &mut Exposition) {
    page.family(
        "portcullis_policy_rejections_total",
        Kind::Counter,
        "Requests that a policy answered itself, by status.",
    );
    for policy in policies {
        for index in 0..=STATUSES.len() {
            let count = policy.slots.sum(|slot| &slot.rejections[index]);
            if count > 0 {
                let status = STATUSES.get(index).map_or_else(|| "other".to_owned(), u16::to_string);
                sample(page, policy, Some(("status", &status)), count);
            }
        }
    }
    page.family(
        "portcullis_policy_errors_total",
        Kind::Counter,
        "Times that a policy could not do its work.",
    );
    for policy in policies {
        sample(page, policy, None, policy.slots.sum(|slot| &slot.errors));
    }
    page.family(
        "portcullis_policy_cache_lookups_total",
        Kind::Counter,
        "Requests for which a policy looked for a stored response, by what it found.",
    );
    for policy in policies {
        for (lookup, result) in LOOKUPS {
            let count = policy.slots.sum(|slot| &slot.lookups[lookup as usize]);
            if count > 0 {
                sample(page, policy, Some(("result", result)), count);
            }
        }
    }
}

/// One line, with what tells the policy from others and what tells the line from others of it.
fn sample(page: &mut Exposition, policy: &PolicyMetrics, more: Option<(&str, &str)>, count: u64) {
    let PolicyLabel { target, binding, policy } = &policy.label;
    let labels = [
        ("namespace", &*target.namespace),
        ("target", &*target.name),
        ("binding", binding),
        ("policy", policy),
    ];
    let labels: Vec<(&str, &str)> = labels.into_iter().chain(more).collect();
    page.sample("", &labels, count);
}
