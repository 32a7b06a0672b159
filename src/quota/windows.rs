//! The counters of one key: a fixed window per limit.

use super::{Allowance, Quota, Verdict};

/// A window at work. Windows tile: the next starts where this one ends (decision 34).
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Microseconds on the policy's clock.
    start: u64,
    used: u64,
}

/// The windows of one key, in the order of the limits.
#[derive(Debug)]
pub struct Windows(Box<[Window]>);

impl Windows {
    /// Windows that start now: with the first request of their key.
    pub fn starting(quotas: &[Quota], now: u64) -> Self {
        Self(quotas.iter().map(|_| Window { start: now, used: 0 }).collect())
    }

    /// When the last of the windows ends.
    pub fn end(&self, quotas: &[Quota]) -> u64 {
        let ends = self.0.iter().zip(quotas).map(|(window, quota)| window.end(quota));
        ends.max().unwrap_or_default()
    }

    /// Charges every limit with one request, if every limit has quota left; else none.
    pub fn charge(&mut self, quotas: &[Quota], now: u64) -> Verdict {
        let mut granted = true;
        for (window, quota) in self.0.iter_mut().zip(quotas) {
            window.roll(quota, now);
            granted &= window.used < quota.requests_max;
        }
        if granted {
            self.0.iter_mut().for_each(|window| window.used += 1);
        }
        let all = self.0.iter().zip(quotas).map(|(window, quota)| window.allowance(quota, now));
        Verdict { granted, allowance: Allowance::told(all) }
    }
}

impl Window {
    fn end(&self, quota: &Quota) -> u64 {
        self.start.saturating_add(quota.period)
    }

    /// Moves to the window that `now` lies in. After a whole window without a request, the next
    /// request starts afresh.
    fn roll(&mut self, quota: &Quota, now: u64) {
        let elapsed = now.saturating_sub(self.start);
        if elapsed < quota.period {
            return;
        }
        self.used = 0;
        self.start = if elapsed < quota.period.saturating_mul(2) { self.end(quota) } else { now };
    }

    fn allowance(&self, quota: &Quota, now: u64) -> Allowance {
        Allowance {
            limit: quota.requests_max,
            remaining: quota.requests_max.saturating_sub(self.used),
            // Rounded up: whoever waits that long meets the new window.
            reset_ms: self.end(quota).saturating_sub(now).div_ceil(1000),
        }
    }
}
