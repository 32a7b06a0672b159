//! Rate Limiting: a quota of requests per window, for each key (policies reference 3.1).

mod buckets;
mod config;
#[cfg(test)]
mod tests;
mod windows;

use std::{borrow::Cow, sync::Arc};

use crate::{
    expression::{Template, Value},
    http::Request,
    policy::{
        Allowance, Built, Category, Clock, ConfigProblem, Direction, Exchange, Handling, Next, Policy,
        PolicyDefinition, PolicyServices, RequestScope,
        chain::PolicyObserver,
        payload::{self, Payload},
        scope::advise,
    },
};
use buckets::{Buckets, KEYS_MAX};
use config::{Config, Limit};
use windows::{Quota, Verdict};

/// The counters, which live as long as the configuration does not change, and how to find the one
/// that a request is counted by.
pub struct RateLimiting {
    buckets: Buckets,
    key: Option<Template>,
    exposes_headers: bool,
    buffered_body_bytes_max: usize,
    clock: Clock,
    observer: Arc<dyn PolicyObserver>,
}

impl PolicyDefinition for RateLimiting {
    const NAME: &'static str = "rate-limiting-flex";
    const CATEGORY: Category = Category::QualityOfService;
    const DIRECTION: Direction = Direction::Inbound;
    const SUMMARY: &'static str =
        "Gives each client, or all together, a number of requests per window of time.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");

    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        RateLimiting::new(config, services, Clock::system()).map(|policy| Built::Step(Arc::new(policy)))
    }
}

impl RateLimiting {
    fn new(mut config: Config, services: &PolicyServices, clock: Clock) -> Result<Self, Vec<ConfigProblem>> {
        config.lift_options(services);
        let quotas = quotas(&config.rate_limits, services)?;
        if config.clusterizable == Some(true) {
            let problem = ConfigProblem::new("clusterizable", "sharing over Redis is not supported yet");
            services
                .warn(problem.help("each replica grants the whole quota; `false` says that this is meant"));
        }
        let key = config.key_selector.filter(|key| !key.source().is_empty());
        if let Some(key) = &key {
            advise(services, "keySelector", key);
            if key.literal().is_some() {
                let problem =
                    ConfigProblem::new("keySelector", "a plain text is the same key for every request");
                services
                    .warn(problem.help("write an expression, such as `#[attributes.headers['x-api-key']]`"));
            }
        }
        let buckets = match &key {
            Some(key) if key.literal().is_none() => Buckets::keyed(quotas, KEYS_MAX),
            _ => Buckets::one(quotas),
        };
        Ok(Self {
            buckets,
            key,
            exposes_headers: config.expose_headers.unwrap_or(false),
            buffered_body_bytes_max: services.buffered_body_bytes_max,
            clock,
            observer: Arc::clone(&services.observer),
        })
    }

    /// Charges a request to its bucket. Null and errors are the bucket of the empty key (policies
    /// reference 7.4).
    fn charge(&self, request: &Request, exchange: &Exchange, payload: &Value<'static>) -> Verdict {
        let scope = RequestScope::new(request, exchange).with_payload(payload);
        let key = match &self.key {
            None => Cow::Borrowed(""),
            Some(key) => match key.eval_string(&scope) {
                Ok(key) => key.unwrap_or_default(),
                Err(error) => {
                    self.observer.failed();
                    tracing::debug!(request_id = exchange.request_id(), "rate limiting: no key: {error}");
                    Cow::Borrowed("")
                }
            },
        };
        self.buckets.charge(&key, self.clock.micros())
    }

    /// Goes on with a request that has been charged, or refuses it.
    fn act<'a>(&'a self, verdict: Verdict, request: Request, next: Next<'a>) -> Handling<'a> {
        match verdict {
            Verdict { granted: false, allowance } => {
                Handling::refuse(Allowance::refusal(self.exposes_headers.then_some(allowance)))
            }
            Verdict { allowance, .. } if self.exposes_headers => Handling::wait(async move {
                let mut response = next.run(request).await;
                allowance.write_to(&mut response.headers);
                Ok(response)
            }),
            Verdict { .. } => next.pass(request),
        }
    }
}

impl Policy for RateLimiting {
    fn handle<'a>(&'a self, mut request: Request, next: Next<'a>) -> Handling<'a> {
        if !self.reads_request_body() {
            let verdict = self.charge(&request, next.exchange(), &Value::Null);
            return self.act(verdict, request, next);
        }
        Handling::wait(async move {
            let limit = self.buffered_body_bytes_max;
            let payload = match payload::read(&mut request.body, &request.headers, limit).await {
                Ok(Payload::Read(payload)) => payload,
                Ok(Payload::TooLarge) => return Err(payload::too_large_request()),
                Err(error) => return Err(payload::broken_request(error)),
            };
            let verdict = self.charge(&request, next.exchange(), &payload);
            self.act(verdict, request, next).await
        })
    }

    fn reads_request_body(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.uses().payload)
    }
}

fn quotas(limits: &[Limit], services: &PolicyServices) -> Result<Box<[Quota]>, Vec<ConfigProblem>> {
    let mut problems = Vec::new();
    if limits.is_empty() {
        let problem = ConfigProblem::new("rateLimits", "`rateLimits` is empty: at least one limit is needed");
        problems.push(problem.help("add `- {maximumRequests: 100, timePeriodInMilliseconds: 60000}`"));
    }
    for (index, limit) in limits.iter().enumerate() {
        if limit.time_period_in_milliseconds == 0 {
            let field = format!("rateLimits[{index}].timePeriodInMilliseconds");
            problems
                .push(ConfigProblem::new(field, "a window of 0 milliseconds has no end: expected 1 or more"));
        }
        if limit.maximum_requests == 0 {
            let field = format!("rateLimits[{index}].maximumRequests");
            services.warn(ConfigProblem::new(field, "0 refuses every request"));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let quota = |limit: &Limit| Quota {
        requests_max: limit.maximum_requests,
        period: limit.time_period_in_milliseconds.saturating_mul(1000),
    };
    Ok(limits.iter().map(quota).collect())
}
