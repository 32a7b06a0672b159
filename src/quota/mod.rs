//! Floor 2, limits: how many requests a window admits, in this replica alone ([`Buckets`]) or in all replicas together
//! ([`Ledger`], `docs/cluster-limits.md`).

mod buckets;
mod cap;
mod keyed;
mod lease;
mod ledger;
mod service;
#[cfg(test)]
mod tests;
mod view;
mod windows;

pub use buckets::Buckets;
pub use keyed::KEYS_MAX;
pub use ledger::{Charge, Ledger, Waiting};
pub use service::{Asker, Quotas};

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests per window.
    pub requests_max: u64,
    /// Length of a window, microseconds; not zero.
    pub period: u64,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub granted: bool,
    pub allowance: Allowance,
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests per window.
    pub limit: u64,
    pub remaining: u64,
    /// Milliseconds until there is more.
    pub reset_ms: u64,
}

impl Allowance {
    /// Of several limits the one that is told: the one with the least left, of these the one that stays so longest
    /// (policies reference 3.1). After a refusal the limits that refused have the least left, which is nothing.
    fn told(all: impl Iterator<Item = Self>) -> Self {
        all.min_by(|a, b| a.remaining.cmp(&b.remaining).then(b.reset_ms.cmp(&a.reset_ms))).unwrap_or(Self {
            limit: 0,
            remaining: 0,
            reset_ms: 0,
        })
    }
}

/// What a request without a token is told while the storage is away (decision 35).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The replica's share of the limit: `blockOnUnknownQuota` is not written.
    Share,
    /// Nothing: `true`.
    Closed,
    /// Everything: `false`.
    Open,
}
