//! Spike Control: at most so many requests in any stretch of time; the others wait a little, or are
//! refused (policies reference 3.3).

mod config;
#[cfg(test)]
mod tests;
mod window;

use std::{sync::Arc, time::Duration};

use crate::{
    http::Request,
    policy::{
        Allowance, Built, Category, Clock, ConfigProblem, Direction, Handling, Next, Policy,
        PolicyDefinition, PolicyServices,
    },
};
use config::Config;
use window::SlidingWindow;

/// One window for the binding, over all worker threads; it lives as long as the configuration does
/// not change.
pub struct SpikeControl {
    window: SlidingWindow,
    delay: Duration,
    delay_attempts: u32,
    exposes_headers: bool,
    clock: Clock,
}

impl PolicyDefinition for SpikeControl {
    const NAME: &'static str = "spike-control-flex";
    const CATEGORY: Category = Category::QualityOfService;
    const DIRECTION: Direction = Direction::Inbound;
    const HAS_STATE: bool = true;
    const SUMMARY: &'static str =
        "Smooths peaks: a sliding window of requests; those beyond it wait or are refused.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");

    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        SpikeControl::new(&config, services, Clock::system()).map(|policy| Built::Step(Arc::new(policy)))
    }
}

impl SpikeControl {
    fn new(config: &Config, services: &PolicyServices, clock: Clock) -> Result<Self, Vec<ConfigProblem>> {
        if config.time_period_in_milliseconds == 0 {
            let message = "a window of 0 milliseconds limits nothing: expected 1 or more";
            return Err(vec![ConfigProblem::new("timePeriodInMilliseconds", message)]);
        }
        if config.maximum_requests == 0 {
            services.warn(ConfigProblem::new("maximumRequests", "0 refuses every request"));
        }
        let period = config.time_period_in_milliseconds.saturating_mul(1000);
        Ok(Self {
            window: SlidingWindow::new(config.maximum_requests, period, config.queuing_limit),
            delay: Duration::from_millis(config.delay_time_in_millis),
            delay_attempts: config.delay_attempts,
            exposes_headers: config.expose_headers,
            clock,
        })
    }

    fn refusal(&self) -> Handling<'_> {
        let exposed = self.exposes_headers.then(|| self.window.allowance(self.clock.micros()));
        Handling::refuse(Allowance::refusal(exposed))
    }

    /// Goes on with an accepted request.
    fn accept<'a>(&'a self, allowance: Allowance, request: Request, next: Next<'a>) -> Handling<'a> {
        if !self.exposes_headers {
            return next.pass(request);
        }
        Handling::wait(async move {
            let mut response = next.run(request).await;
            allowance.write_to(&mut response.headers);
            Ok(response)
        })
    }
}

impl Policy for SpikeControl {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        if let Some(allowance) = self.window.admit(self.clock.micros()) {
            return self.accept(allowance, request, next);
        }
        if self.delay_attempts == 0 {
            return self.refusal();
        }
        let Some(place) = self.window.queue() else { return self.refusal() };
        Handling::wait(async move {
            for _ in 0..self.delay_attempts {
                self.clock.sleep(self.delay).await;
                if let Some(allowance) = self.window.admit(self.clock.micros()) {
                    drop(place);
                    return self.accept(allowance, request, next).await;
                }
            }
            drop(place);
            self.refusal().await
        })
    }
}
