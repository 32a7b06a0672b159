//! Names to addresses: the system's resolver, kept for the refresh period, shared by all workers.
//!
//! A name is asked for by one task at a time, whoever waits for it. An answer that is older than the
//! period is asked for anew while it goes on being used, so that no request waits for a resolver that has
//! answered once; only one that nobody has used for long is waited for. A resolver that fails or hangs
//! costs one question now and then, not one for each request.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::timeout};

use crate::base::{dns_name, lock};
use crate::telemetry::metrics::GatewayMetrics;

/// Names that are remembered; more than any configuration has.
const NAMES_MAX: usize = 10_000;

/// How long the system's resolver may take: what a connection may take by default.
const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// An answer that has grown so old without being used is waited for.
const UNUSED_MAX: Duration = Duration::from_secs(300);

/// After a failure, how long until the name is asked for again; twice as long after each further one.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(8);

/// Whom to ask: a future of its own for each name.
pub type Lookup = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>>>> + Send + Sync>;

pub struct Resolver {
    refresh: Duration,
    /// Fixed answers (`dns.hosts`).
    hosts: BTreeMap<String, Arc<[IpAddr]>>,
    names: Arc<Mutex<HashMap<String, Name>>>,
    lookup: Lookup,
    metrics: Arc<GatewayMetrics>,
}

/// What is known of a name.
#[derive(Default)]
struct Name {
    answer: Option<Answer>,
    /// When somebody wanted to know it last.
    used: Option<Instant>,
    failure: Option<Failure>,
    /// A question that is not answered yet; closed when it is.
    question: Option<watch::Receiver<()>>,
}

struct Answer {
    addresses: Arc<[IpAddr]>,
    asked: Instant,
}

struct Failure {
    at: Instant,
    retry_in: Duration,
    kind: io::ErrorKind,
    message: String,
}

impl Name {
    fn is_asked_for(&self) -> bool {
        self.question.as_ref().is_some_and(|question| question.has_changed().is_ok())
    }

    fn may_be_asked_for(&self) -> bool {
        !self.is_asked_for()
            && self.failure.as_ref().is_none_or(|failure| failure.at.elapsed() >= failure.retry_in)
    }

    fn settle(&mut self, outcome: io::Result<Vec<IpAddr>>) {
        self.question = None;
        match outcome {
            Ok(mut addresses) => {
                let mut seen = Vec::new();
                addresses.retain(|ip| {
                    !seen.contains(ip) && {
                        seen.push(*ip);
                        true
                    }
                });
                self.answer = Some(Answer { addresses: addresses.into(), asked: Instant::now() });
                self.failure = None;
            }
            Err(error) => {
                let before = self.failure.take().map(|failure| failure.retry_in);
                let retry_in = before.map_or(RETRY_MIN, |before| (before * 2).min(RETRY_MAX));
                let (kind, message) = (error.kind(), error.to_string());
                self.failure = Some(Failure { at: Instant::now(), retry_in, kind, message });
            }
        }
    }
}

impl Resolver {
    pub fn new(
        refresh: Duration,
        hosts: BTreeMap<String, Vec<IpAddr>>,
        metrics: Arc<GatewayMetrics>,
    ) -> Self {
        Self {
            refresh,
            hosts: hosts.into_iter().map(|(name, addresses)| (name, addresses.into())).collect(),
            names: Arc::default(),
            lookup: Arc::new(|host| Box::pin(ask_system(host))),
            metrics,
        }
    }

    /// Asks somebody else than the system.
    #[must_use]
    pub fn asking(mut self, lookup: Lookup) -> Self {
        self.lookup = lookup;
        self
    }

    /// The addresses of a host, at least one.
    ///
    /// # Errors
    /// When the name has no address, or nobody could be asked and nothing is known from before.
    pub async fn resolve(&self, host: &str) -> io::Result<Arc<[IpAddr]>> {
        if let Some(fixed) = self.fixed(host) {
            return Ok(fixed);
        }
        let addresses = self.ask(host).await?;
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(addresses)
    }

    /// The same, as far as it is known; asks where that is called for.
    pub fn known(&self, host: &str) -> Option<Arc<[IpAddr]>> {
        if let Some(fixed) = self.fixed(host) {
            return Some(fixed);
        }
        match self.look(host) {
            Known::Answer(addresses) if !addresses.is_empty() => Some(addresses),
            _ => None,
        }
    }

    /// Addresses that no DNS is asked for.
    fn fixed(&self, host: &str) -> Option<Arc<[IpAddr]>> {
        match host.parse::<IpAddr>() {
            Ok(address) => Some([address].into()),
            Err(_) => self.hosts.get(&*dns_name(host)).cloned(),
        }
    }

    async fn ask(&self, host: &str) -> io::Result<Arc<[IpAddr]>> {
        loop {
            let mut question = match self.look(host) {
                Known::Answer(addresses) => return Ok(addresses),
                Known::Failure(error) => return Err(error),
                Known::Asked(question) => question,
            };
            // Ends with the question, answered or not.
            while question.changed().await.is_ok() {}
        }
    }

    /// What is known now; asks where that is called for.
    fn look(&self, host: &str) -> Known {
        let mut names = lock(&self.names);
        let now = Instant::now();
        let is_young = |since: Instant, age: Duration| now.saturating_duration_since(since) < age;
        if let Some(name) = names.get_mut(host)
            && let Some(answer) = name.answer.as_ref().filter(|answer| is_young(answer.asked, self.refresh))
        {
            name.used = Some(now);
            return Known::Answer(Arc::clone(&answer.addresses));
        }
        if names.len() >= NAMES_MAX && !names.contains_key(host) {
            names.clear();
        }
        let name = names.entry(host.to_owned()).or_default();
        if name.may_be_asked_for() {
            name.question = Some(self.begin(host));
        }
        let in_use = name.used.replace(now).is_some_and(|used| is_young(used, self.refresh + UNUSED_MAX));
        let usable = in_use || !name.is_asked_for();
        match (name.answer.as_ref().filter(|_| usable), &name.question, &name.failure) {
            (Some(answer), ..) => Known::Answer(Arc::clone(&answer.addresses)),
            (None, Some(question), _) => Known::Asked(question.clone()),
            (None, None, Some(failure)) => {
                Known::Failure(io::Error::new(failure.kind, failure.message.clone()))
            }
            (None, None, None) => Known::Failure(io::Error::other("the question was given up")),
        }
    }

    /// Asks in a task of its own, which outlives the request that wants to know.
    fn begin(&self, host: &str) -> watch::Receiver<()> {
        let (open, question) = watch::channel(());
        let (host, names) = (host.to_owned(), Arc::clone(&self.names));
        let (lookup, metrics) = ((self.lookup)(host.clone()), Arc::clone(&self.metrics));
        actix_rt::spawn(async move {
            let outcome = timeout(LOOKUP_MAX, lookup).await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the resolver does not answer"))
            });
            metrics.looked_up(outcome.is_ok());
            let mut names = lock(&names);
            names.entry(host).or_default().settle(outcome);
            drop(open);
        });
        question
    }
}

enum Known {
    Answer(Arc<[IpAddr]>),
    Failure(io::Error),
    Asked(watch::Receiver<()>),
}

async fn ask_system(host: String) -> io::Result<Vec<IpAddr>> {
    // Port 0: only the addresses are of interest.
    let found = tokio::net::lookup_host((host, 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests;
