//! Counts by reason.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::exposition::Exposition;

/// Reasons told apart; more than there are in the code, so the overflow stays empty.
const REASONS_MAX: usize = 32;

#[derive(Default)]
struct Reason {
    name: OnceLock<&'static str>,
    count: AtomicU64,
}

/// Counts by reason, a fixed word of the code.
#[derive(Default)]
pub(super) struct Reasons {
    known: [Reason; REASONS_MAX],
    other: AtomicU64,
}

impl Reasons {
    pub fn count(&self, reason: &'static str) {
        for known in &self.known {
            if *known.name.get_or_init(|| reason) == reason {
                known.count.fetch_add(1, Relaxed);
                return;
            }
        }
        self.other.fetch_add(1, Relaxed);
    }

    /// One sample for each reason that has come, and for the overflow.
    pub fn expose(&self, labels: &[(&str, &str)], page: &mut Exposition) {
        let sample = |reason: &str, count: &AtomicU64, page: &mut Exposition| {
            page.sample("", &[labels, &[("reason", reason)]].concat(), count.load(Relaxed));
        };
        for reason in &self.known {
            if let Some(name) = reason.name.get() {
                sample(name, &reason.count, page);
            }
        }
        sample("other", &self.other, page);
    }
}
