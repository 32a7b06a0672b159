//! The sliding window: when each of the last requests was accepted, and how many wait.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
};

use crate::base::lock;
use crate::policy::Allowance;

/// At most `requests_max` requests are accepted in any stretch of `period`.
pub struct SlidingWindow {
    requests_max: u64,
    /// Microseconds.
    period: u64,
    queue_max: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When each request in the window was accepted, microseconds, oldest first.
    accepted: VecDeque<u64>,
    waiting: u64,
}

/// A place in the queue, free again when dropped: also when the client goes away.
pub struct Place<'a>(&'a SlidingWindow);

impl SlidingWindow {
    pub fn new(requests_max: u64, period: u64, queue_max: u64) -> Self {
        Self { requests_max, period, queue_max, state: Mutex::default() }
    }

    /// Accepts a request now, if there is room in the window, and tells what is left.
    pub fn admit(&self, now: u64) -> Option<Allowance> {
        let mut state = self.state();
        // Two workers may read the clock in one order and come here in the other.
        let now = state.accepted.back().map_or(now, |&latest| now.max(latest));
        state.forget(now, self.period);
        if state.accepted.len() as u64 >= self.requests_max {
            return None;
        }
        state.accepted.push_back(now);
        Some(self.told(&state, now))
    }

    /// What is left now.
    pub fn allowance(&self, now: u64) -> Allowance {
        let mut state = self.state();
        state.forget(now, self.period);
        self.told(&state, now)
    }

    /// Takes a place in the queue, unless all are taken.
    pub fn queue(&self) -> Option<Place<'_>> {
        let mut state = self.state();
        if state.waiting >= self.queue_max {
            return None;
        }
        state.waiting += 1;
        Some(Place(self))
    }

    fn told(&self, state: &State, now: u64) -> Allowance {
        let remaining = self.requests_max.saturating_sub(state.accepted.len() as u64);
        let reset_ms = match state.accepted.front() {
            Some(oldest) if remaining == 0 => {
                oldest.saturating_add(self.period).saturating_sub(now).div_ceil(1000)
            }
            _ => 0,
        };
        Allowance { limit: self.requests_max, remaining, reset_ms }
    }

    /// A panic elsewhere while the lock was held leaves a log that is still a log.
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn forget(&mut self, now: u64, period: u64) {
        while self.accepted.front().is_some_and(|accepted| now.saturating_sub(*accepted) >= period) {
            self.accepted.pop_front();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}
