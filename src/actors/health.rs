//! Readiness (configuration reference 10.1): false at the start, true once there is something to
//! serve and the shared storage has been waited for, not flipped by later changes, false again from the signal to end on.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use crate::base::lock;

use serde::Serialize;

/// Which errors do not keep a starting gateway from being ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    pub api_errors: bool,
    pub policy_errors: bool,
    pub envoy_errors: bool,
}

impl Allowed {
    fn index(self) -> usize {
        usize::from(self.api_errors)
            | usize::from(self.policy_errors) << 1
            | usize::from(self.envoy_errors) << 2
    }
}

/// What the last generation came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deployment {
    /// API instances that are served: open, and not closed by an error. Without any the gateway is not
    /// ready, whatever is allowed: a balancer that sends it requests would have them refused.
    pub apis: usize,
    pub api_errors: usize,
    pub policy_errors: usize,
    /// Of the engine: addresses that cannot be bound.
    pub envoy_errors: usize,
}

#[derive(Debug, Default)]
pub struct Health {
    draining: AtomicBool,
    /// The shared storage is still being connected to.
    waiting: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Deployment,
    /// For each combination of allowances, whether the gateway has been ready once.
    was_ready: [bool; 8],
}

impl Health {
    pub fn deployed(&self, deployment: Deployment) {
        let mut state = lock(&self.state);
        state.last = deployment;
        for (index, ready) in state.was_ready.iter_mut().enumerate() {
            let fine = |bit: usize, errors: usize| errors == 0 || index & bit != 0;
            *ready |= deployment.apis > 0
                && fine(1, deployment.api_errors)
                && fine(2, deployment.policy_errors)
                && fine(4, deployment.envoy_errors);
        }
    }

    /// Not ready until [`Health::go_on`], whatever is deployed.
    pub fn wait(&self) {
        self.waiting.store(true, Ordering::Release);
    }

    pub fn go_on(&self) {
        self.waiting.store(false, Ordering::Release);
    }

    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub fn is_ready(&self, allowed: Allowed) -> bool {
        let state = lock(&self.state);
        let is_held = self.draining.load(Ordering::Acquire) || self.waiting.load(Ordering::Acquire);
        !is_held && state.was_ready[allowed.index()]
    }

    pub fn last(&self) -> Deployment {
        lock(&self.state).last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENIENT: Allowed = Allowed { api_errors: true, policy_errors: true, envoy_errors: true };

    #[test]
    fn with_no_api_configured_it_stays_not_ready() {
        let health = Health::default();
        health.deployed(Deployment::default());
        assert!(!health.is_ready(LENIENT));
    }

    #[test]
    fn an_error_keeps_a_starting_gateway_not_ready_unless_it_is_allowed() {
        let health = Health::default();
        health.deployed(Deployment { apis: 1, policy_errors: 1, ..Deployment::default() });
        assert!(!health.is_ready(Allowed::default()));
        assert!(health.is_ready(Allowed { policy_errors: true, ..Allowed::default() }));
        assert!(!health.is_ready(Allowed { api_errors: true, ..Allowed::default() }));
    }

    #[test]
    fn it_waits_for_the_storage_with_all_else_deployed() {
        let health = Health::default();
        health.wait();
        health.deployed(Deployment { apis: 1, ..Deployment::default() });
        assert!(!health.is_ready(LENIENT));
        health.go_on();
        assert!(health.is_ready(Allowed::default()));
    }

    #[test]
    fn later_changes_do_not_flip_it_but_the_drain_does() {
        let health = Health::default();
        health.deployed(Deployment { apis: 1, ..Deployment::default() });
        health.deployed(Deployment { apis: 0, api_errors: 3, ..Deployment::default() });
        assert!(health.is_ready(Allowed::default()));
        health.drain();
        assert!(!health.is_ready(LENIENT));
    }
}
