//! Rate Limiting: a quota of requests per window, for each key (policies reference 3.1).

mod config;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use crate::{
    expression::{Template, Value},
    http::Request,
    policy::{
        Allowance, Built, Category, Clock, ConfigProblem, Direction, Exchange, Handling, Next, Policy,
        PolicyDefinition, PolicyServices, RequestScope, chain::PolicyObserver, payload, scope::advise,
        seconds::LONGEST,
    },
    quota::{Buckets, Charge, Fallback, KEYS_MAX, Ledger, Quota, Verdict, Waiting},
};
use config::{Config, Limit};

/// The counters, which live as long as the configuration does not change, and how to find the one
/// that a request is counted by.
pub struct RateLimiting {
    buckets: Buckets,
    /// Counts together with other replicas, where there is a shared storage; `None`: `clusterizable: false`.
    ledger: Option<Arc<Ledger>>,
    key: Option<Template>,
    exposes_headers: bool,
    clock: Clock,
    observer: Arc<dyn PolicyObserver>,
}

impl PolicyDefinition for RateLimiting {
    const NAME: &'static str = "rate-limiting-flex";
    const CATEGORY: Category = Category::QualityOfService;
    const DIRECTION: Direction = Direction::Inbound;
    const HAS_STATE: bool = true;
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
        let clusterizable = config.clusterizable.unwrap_or(true);
        if config.clusterizable == Some(true) && !services.shared_storage {
            let message = "there is no shared storage: each replica grants the whole quota";
            let problem = ConfigProblem::new("clusterizable", message);
            services.warn(
                problem.help("write `sharedStorage` in a Configuration; `false` says that this is meant"),
            );
        }
        if clusterizable && services.shared_storage {
            short_windows(&config.rate_limits, services);
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
        let keys_max = key.as_ref().filter(|key| key.literal().is_none()).map(|_| KEYS_MAX);
        let ledger = clusterizable.then(|| {
            let name = format!("{} {}", services.target, services.state_name);
            let fallback = match config.block_on_unknown_quota {
                None => Fallback::Share,
                Some(true) => Fallback::Closed,
                Some(false) => Fallback::Open,
            };
            services.quotas.ledger(name, quotas.clone(), keys_max, fallback)
        });
        let buckets = match keys_max {
            Some(keys_max) => Buckets::keyed(quotas, keys_max),
            None => Buckets::one(quotas),
        };
        Ok(Self {
            buckets,
            ledger,
            key,
            exposes_headers: config.expose_headers.unwrap_or(false),
            clock,
            observer: Arc::clone(&services.observer),
        })
    }

    /// Charges a request, if that can be done without waiting, else tells what to wait with. Null and errors are the empty
    /// key (policies reference 7.4).
    fn charge_request(
        &self,
        request: &Request,
        exchange: &Exchange,
        payload: &Value<'static>,
    ) -> Result<Charge, Waiting> {
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
        match self.ledger.as_ref().filter(|ledger| ledger.is_shared()) {
            Some(ledger) => ledger.charge(&key),
            None => Ok(Charge::Counted(self.buckets.charge(&key, self.clock.micros()))),
        }
    }

    /// Goes on with a request that has been charged, or refuses it.
    fn act<'a>(&'a self, charge: Charge, request: Request, next: Next<'a>) -> Handling<'a> {
        match charge {
            // As the body says, and nothing about a quota that nobody knows (policies reference 3.1).
            Charge::Unknown => Handling::refuse(Allowance::refusal(None).as_error()),
            Charge::Counted(Verdict { granted: false, allowance }) => {
                Handling::refuse(Allowance::refusal(self.exposes_headers.then_some(allowance)))
            }
            Charge::Counted(Verdict { allowance, .. }) if self.exposes_headers => {
                Handling::wait(async move {
                    let mut response = next.run(request).await;
                    allowance.write_to(&mut response.headers);
                    Ok(response)
                })
            }
            Charge::Counted(_) => next.pass(request),
        }
    }
}

impl Policy for RateLimiting {
    fn handle<'a>(&'a self, mut request: Request, next: Next<'a>) -> Handling<'a> {
        if !self.reads_request_body() {
            return match self.charge_request(&request, next.exchange(), &Value::Null) {
                Ok(charge) => self.act(charge, request, next),
                Err(waiting) => Handling::wait(async move {
                    let charge = waiting.settle().await;
                    self.act(charge, request, next).await
                }),
            };
        }
        Handling::wait(async move {
            let payload = payload::of_request(&mut request, next.body_bytes_max()).await?;
            let payload = payload.ok_or_else(payload::too_large_request)?;
            let charge = match self.charge_request(&request, next.exchange(), &payload) {
                Ok(charge) => charge,
                Err(waiting) => waiting.settle().await,
            };
            self.act(charge, request, next).await
        })
    }

    fn reads_request_body(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.uses().payload)
    }
}

/// Windows not much longer than a round trip cannot be shared both exactly and fast.
fn short_windows(limits: &[Limit], services: &PolicyServices) {
    for (index, limit) in limits.iter().enumerate() {
        if (1..1000).contains(&limit.time_period_in_milliseconds) {
            let field = format!("rateLimits[{index}].timePeriodInMilliseconds");
            let message = "windows below a second cost a call to the shared storage for almost every request";
            let problem = ConfigProblem::new(field, message);
            services.warn(
                problem
                    .help("use a longer window with a larger `maximumRequests`, or `clusterizable: false`"),
            );
        }
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
        period: limit.time_period_in_milliseconds.saturating_mul(1000).min(LONGEST.as_micros() as u64),
    };
    Ok(limits.iter().map(quota).collect())
}
