//! What is worth saying, but not each time.

use std::{
    fmt::Display,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::lock;

/// Lets something be said once in a period, whichever thread comes first.
pub struct Seldom {
    period: Duration,
    last: Mutex<Option<Instant>>,
}

impl Seldom {
    pub const fn new(period: Duration) -> Self {
        Self { period, last: Mutex::new(None) }
    }

    /// Whether it is time again; if so, not for the next period.
    pub fn is_due(&self, now: Instant) -> bool {
        let mut last = lock(&self.last);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= self.period);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

/// Whether something fails at present: only the first failure in a row is a warning.
#[derive(Debug, Default)]
pub struct Trouble(AtomicBool);

impl Trouble {
    /// It has failed.
    pub fn note(&self, what: &dyn Display) {
        if self.0.swap(true, Relaxed) {
            tracing::debug!("{what}");
        } else {
            tracing::warn!("{what}");
        }
    }

    /// It has not; whether it did before.
    pub fn ends(&self) -> bool {
        self.0.load(Relaxed) && self.0.swap(false, Relaxed)
    }

    /// It has not, and that is said if it did before.
    pub fn over(&self, what: &dyn Display) {
        if self.ends() {
            tracing::info!("{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_and_then_not_before_the_period_is_over() {
        let (seldom, now) = (Seldom::new(Duration::from_secs(60)), Instant::now());
        let said =
            [0, 1, 59, 60, 61, 119, 120].map(|second| seldom.is_due(now + Duration::from_secs(second)));
        assert_eq!(said, [true, false, false, true, false, false, true]);
    }
}
