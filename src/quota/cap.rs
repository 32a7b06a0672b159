//! What a replica admits at most, whoever writes the storage.

use super::Quota;

/// What the replica allows itself, whatever the storage says (decision 37): windows may open as often as they are
/// long, one of them early.
#[derive(Debug, Default)]
pub struct Cap {
    next: u64,
    /// Admitted since the last window opened.
    pub used: u64,
}

impl Cap {
    /// A window opens, if it may.
    pub fn open(&mut self, quota: &Quota, now: u64) {
        if self.next > now.saturating_add(quota.period) {
            return;
        }
        // A hundredth less, so that a clock that goes slower than the storage's never runs short of windows.
        let length = quota.period - quota.period / 100;
        self.next = self.next.max(now).saturating_add(length);
        self.used = 0;
    }
}
