//! HTTP Caching: answers requests from responses that were stored (policies reference 3.4; RFC 9111 where asked for).

mod bodies;
mod collect;
mod config;
mod directives;
mod disk;
pub mod entry;
mod fill;
mod flights;
mod freshness;
mod keys;
mod memory;
mod serve;
mod shared;
mod storing;
#[cfg(test)]
mod tests;
mod trip;
mod validators;

use std::{
    sync::{Arc, Once, atomic::AtomicBool},
    time::Duration,
};

use crate::{
    expression::{Template, Uses, Value},
    http::{Request, headers::is_token},
    policy::{
        Budget, Built, Category, Clock, ConfigProblem, Direction, Handling, Next, Policy, PolicyDefinition,
        PolicyServices, RequestScope, chain::PolicyObserver, payload, scope::advise,
    },
};
use config::Config;
use disk::{Disk, Mirror};
use freshness::{MICROS_MAX, Rules};
use memory::Memory;
use shared::Shared;
use storing::Terms;

/// The policy: when to look and what to store.
pub struct HttpCaching {
    cache: Arc<Cache>,
}

/// What it works with, also while a response is still on its way to its client.
struct Cache {
    key: Template,
    /// `None`: all.
    request: Option<Template>,
    /// `None`: all.
    response: Option<Template>,
    response_uses: Uses,
    terms: Terms,
    /// Ours: RFC 9111 in full.
    is_strict: bool,
    invalidation_header: Option<String>,
    strips_cookies: bool,
    place: Place,
    budget: Arc<Budget>,
    clock: Clock,
    observer: Arc<dyn PolicyObserver>,
    binding: String,
    has_warned: AtomicBool,
}

/// Where responses are stored.
struct Place {
    /// In use as long as no shared storage is.
    memory: Arc<Memory>,
    disk: Option<OnDisk>,
    shared: Option<Arc<Shared>>,
}

impl Place {
    /// The storage that replicas share, where the policy wants it and there is one.
    fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref().filter(|shared| shared.is_in_force())
    }
}

/// The disk, which is touched when the first request comes: `validate` builds policies too.
struct OnDisk {
    start: Once,
    disk: Box<dyn Fn() -> Disk + Send + Sync>,
    /// `None`: nothing is kept there, and what is there goes.
    mirror: Option<Arc<Mirror>>,
}

impl PolicyDefinition for HttpCaching {
    const NAME: &'static str = "http-caching-flex";
    const CATEGORY: Category = Category::QualityOfService;
    const DIRECTION: Direction = Direction::Inbound;
    const HAS_STATE: bool = true;
    const SUMMARY: &'static str = "Answers requests from stored responses, per replica or for all of them.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");

    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        HttpCaching::new(config, services, Clock::system()).map(|policy| Built::Step(Arc::new(policy)))
    }
}

impl HttpCaching {
    fn new(config: Config, services: &PolicyServices, clock: Clock) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let is_strict = config.rfc9111.unwrap_or(false);
        let rules = rules(&config, is_strict, &mut problems);
        let invalidation_header = config.invalidation_header.clone().filter(|name| !name.is_empty());
        if invalidation_header.as_ref().is_some_and(|name| !is_token(name.as_bytes())) {
            let problem = ConfigProblem::new(
                "invalidationHeader",
                "is not the name of a header (RFC 9110 section 5.1)",
            );
            problems.push(problem.help("write a name such as `x-invalidate`, or leave it out"));
        }
        let entries_max = config.max_cache_entries.unwrap_or(config::ENTRIES_MAX);
        if entries_max == 0 {
            let problem =
                ConfigProblem::new("maxCacheEntries", "0 entries store nothing: expected 1 or more");
            problems.push(problem.help("to switch the cache off remove the policy"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let ttl = config.ttl.unwrap_or(config::TTL);
        if ttl == 0 {
            services.warn(ConfigProblem::new("ttl", "0 seconds store nothing"));
        }
        let ttl = ttl.saturating_mul(1_000_000).min(MICROS_MAX);
        let entries_max = usize::try_from(entries_max).unwrap_or(usize::MAX);
        let honor_vary = is_strict || config.honor_vary.unwrap_or(false);
        let terms = Terms { rules, ttl, honor_vary };
        let place = place(&config, services, &clock, entries_max, ttl, is_strict);
        let key = config.http_caching_key.filter(|key| !key.source().is_empty());
        let key = key.unwrap_or_else(|| default(config::KEY));
        let request = condition(config.request_expression, config::REQUEST);
        let response = condition(config.response_expression, config::RESPONSE);
        let named = [("requestExpression", &request), ("responseExpression", &response)];
        advise(services, "httpCachingKey", &key);
        for (name, template) in named {
            template.iter().for_each(|template| advise(services, name, template));
        }
        if key.literal().is_some() {
            let problem =
                ConfigProblem::new("httpCachingKey", "a plain text is the same key for every request");
            services.warn(problem.help("write an expression, such as `#[attributes.requestUri]`"));
        }
        let cache = Cache {
            response_uses: response.as_ref().map(Template::uses).unwrap_or_default(),
            key,
            request,
            response,
            terms,
            is_strict,
            invalidation_header,
            strips_cookies: config.strip_set_cookie.unwrap_or(false),
            place,
            budget: Arc::clone(&services.caching.budget),
            clock,
            observer: Arc::clone(&services.observer),
            binding: services.binding.to_string(),
            has_warned: AtomicBool::new(false),
        };
        Ok(Self { cache: Arc::new(cache) })
    }
}

fn default(text: &str) -> Template {
    Template::compile(text).expect("the defaults are valid: a test compiles them")
}

/// A condition that is left out is its default; an empty one holds for all.
fn condition(given: Option<Template>, otherwise: &str) -> Option<Template> {
    match given {
        None => Some(default(otherwise)),
        Some(given) => (!given.source().is_empty()).then_some(given),
    }
}

fn rules(config: &Config, is_strict: bool, problems: &mut Vec<ConfigProblem>) -> Rules {
    match (is_strict, config.use_http_cache_headers) {
        (true, Some(false)) => {
            let problem = "cannot be `false` with `rfc9111: true`, which follows the headers in full";
            let problem = ConfigProblem::new("useHttpCacheHeaders", problem);
            problems.push(problem.help("remove one of the two"));
            Rules::Rfc9111
        }
        (true, _) => Rules::Rfc9111,
        (false, Some(false)) => Rules::Fixed,
        (false, _) => Rules::Vendor,
    }
}

fn place(
    config: &Config,
    services: &PolicyServices,
    clock: &Clock,
    entries_max: usize,
    ttl: u64,
    is_strict: bool,
) -> Place {
    let (binding, namespace) = (Config::binding(services), config.namespace(services));
    let on_disk = |mirror| {
        let folder = Arc::clone(services.caching.state_folder.as_ref()?);
        let (seals, clock) = (services.caching.seals.clone(), clock.clone());
        let disk =
            move || Disk::new(&folder, [binding, namespace], seals.clone(), clock.clone(), entries_max);
        Some(OnDisk { start: Once::new(), disk: Box::new(disk), mirror })
    };
    if config.distributed == Some(true) {
        if !services.shared_storage {
            let problem = "there is no shared storage: each replica has a cache of its own";
            let problem = ConfigProblem::new("distributed", problem);
            services.warn(
                problem.help("write `sharedStorage` in a Configuration; `false` says that this is meant"),
            );
        } else if services.caching.seals.is_none() {
            let problem = "whoever can read the shared storage reads the cached responses, and who can write to it \
                           writes them";
            let problem = ConfigProblem::new("distributed", problem);
            services.warn(problem.help("give all replicas the same keys: the setting `cluster.key_file`"));
        }
        let life = Duration::from_micros(ttl);
        let shared = Shared::new(services, [binding, namespace], clock.clone(), entries_max, life, is_strict);
        let memory = Memory::new(entries_max, &services.caching.budget, None);
        return Place { memory, disk: on_disk(None), shared: Some(Arc::new(shared)) };
    }
    let persists = config.persist_cache == Some(true);
    if persists && services.caching.state_folder.is_none() {
        let problem = "there is no folder for state: the cache ends with the process";
        let problem = ConfigProblem::new("persistCache", problem);
        services.warn(problem.help("name a folder in the setting `state.folder`"));
    }
    let disk = on_disk(persists.then(Arc::default));
    let mirror = disk.as_ref().and_then(|disk| disk.mirror.clone());
    Place { memory: Memory::new(entries_max, &services.caching.budget, mirror), disk, shared: None }
}

impl Policy for HttpCaching {
    fn handle<'a>(&'a self, mut request: Request, next: Next<'a>) -> Handling<'a> {
        self.cache.begin();
        if !self.reads_request_body() {
            return self.cache.serve(request, next, Some(&Value::Null));
        }
        Handling::wait(async move {
            let limit = next.body_bytes_max();
            let payload = payload::of_request(&mut request, limit).await?;
            self.cache.serve(request, next, payload.as_ref()).await
        })
    }

    fn reads_request_body(&self) -> bool {
        let request = self.cache.request.as_ref();
        self.cache.key.uses().payload || request.is_some_and(|request| request.uses().payload)
    }
}

impl Cache {
    /// The disk is read beside the first request.
    fn begin(&self) {
        if let Some(OnDisk { start, disk, mirror }) = &self.place.disk {
            start.call_once(|| match mirror {
                Some(mirror) => disk().start(Arc::clone(mirror), &self.place.memory),
                None => disk().forget(),
            });
        }
    }

    /// The key of a request; `None`: the policy does nothing for it.
    fn key_of(&self, request: &Request, next: &Next<'_>, payload: &Value<'static>) -> Option<String> {
        let scope = RequestScope::new(request, next.exchange()).with_payload(payload);
        match self.key.eval_string(&scope) {
            // Bytes that are no UTF-8 are this one sign in texts: different requests would share a key.
            Ok(key) => key.filter(|key| !key.contains(char::REPLACEMENT_CHARACTER)).map(Into::into),
            Err(error) => {
                self.observer.failed();
                tracing::debug!(request_id = next.exchange().request_id(), "HTTP caching: no key: {error}");
                None
            }
        }
    }

    /// Whether the cache is for this request; null and errors are no (policies reference 7.4).
    fn is_for(&self, request: &Request, next: &Next<'_>, payload: &Value<'static>) -> bool {
        let Some(condition) = &self.request else { return true };
        let scope = RequestScope::new(request, next.exchange()).with_payload(payload);
        matches!(condition.eval_condition(&scope), Ok(Some(true)))
    }
}
