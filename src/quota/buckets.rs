//! The counters of a replica that counts alone, exact over all worker threads.

use super::{
    Quota, Verdict,
    keyed::{Counter, Keyed},
    windows::Windows,
};

/// Counts the requests of every key.
pub struct Buckets {
    quotas: Box<[Quota]>,
    /// The longest window.
    period_max: u64,
    counters: Keyed<Bucket>,
}

struct Bucket {
    windows: Windows,
    end: u64,
}

impl Counter for Bucket {
    fn end(&self) -> u64 {
        self.end
    }
}

impl Buckets {
    /// One bucket for all requests.
    pub fn one(quotas: Box<[Quota]>) -> Self {
        Self::new(quotas, Keyed::one())
    }

    /// A bucket per key, about `keys_max` of them.
    pub fn keyed(quotas: Box<[Quota]>, keys_max: usize) -> Self {
        Self::new(quotas, Keyed::many(keys_max))
    }

    fn new(quotas: Box<[Quota]>, counters: Keyed<Bucket>) -> Self {
        let period_max = quotas.iter().map(|quota| quota.period).max().unwrap_or_default();
        Self { quotas, period_max, counters }
    }

    /// Charges a request to the bucket of its key. `now`: microseconds on the policy's clock.
    pub fn charge(&self, key: &str, now: u64) -> Verdict {
        let make = |_: &_| {
            let windows = Windows::starting(&self.quotas, now);
            Bucket { end: windows.end(&self.quotas), windows }
        };
        self.counters.with(key, now.saturating_sub(self.period_max), make, |bucket| {
            let verdict = bucket.windows.charge(&self.quotas, now);
            bucket.end = bucket.windows.end(&self.quotas);
            verdict
        })
    }

    /// How many keys are counted.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        let mut count = 0;
        self.counters.for_each(|_, _| count += 1);
        count
    }
}
