//! Names to addresses: the system's resolver, kept for the refresh period, shared by all workers.
//!
//! An answer is used until it is older than the period; then the next connection asks again. While
//! asking fails, the last good answer goes on being used.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::telemetry::metrics::GatewayMetrics;

/// Names that are remembered; more than any configuration has.
const NAMES_MAX: usize = 10_000;

pub struct Resolver {
    refresh: Duration,
    /// Fixed answers (`dns.hosts`).
    hosts: BTreeMap<String, Vec<IpAddr>>,
    known: Mutex<HashMap<String, Answer>>,
    turn: AtomicUsize,
    metrics: Arc<GatewayMetrics>,
}

#[derive(Clone)]
struct Answer {
    addresses: Arc<[IpAddr]>,
    asked: Instant,
}

impl Resolver {
    pub fn new(
        refresh: Duration,
        hosts: BTreeMap<String, Vec<IpAddr>>,
        metrics: Arc<GatewayMetrics>,
    ) -> Self {
        Self { refresh, hosts, known: Mutex::default(), turn: AtomicUsize::new(0), metrics }
    }

    /// The addresses of a host in the order in which to try them: round robin, so that each new
    /// connection begins with another one.
    ///
    /// # Errors
    /// When the name has no address, or nobody could be asked and nothing is known from before.
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let addresses = match self.hosts.get(host) {
            Some(fixed) => Arc::from(fixed.as_slice()),
            None => self.ask(host).await?,
        };
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
        let (before, from_first) = addresses.split_at(first);
        Ok(from_first.iter().chain(before).map(|ip| SocketAddr::new(*ip, port)).collect())
    }

    async fn ask(&self, host: &str) -> io::Result<Arc<[IpAddr]>> {
        let known = self.known().get(host).cloned();
        if let Some(answer) = &known
            && answer.asked.elapsed() < self.refresh
        {
            return Ok(Arc::clone(&answer.addresses));
        }
        // Port 0: only the addresses are of interest.
        let outcome = tokio::net::lookup_host((host, 0)).await;
        self.metrics.looked_up(outcome.is_ok());
        match outcome {
            Ok(found) => {
                let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
                addresses.dedup();
                let addresses: Arc<[IpAddr]> = addresses.into();
                let mut names = self.known();
                if names.len() >= NAMES_MAX {
                    names.clear();
                }
                let answer = Answer { addresses: Arc::clone(&addresses), asked: Instant::now() };
                names.insert(host.to_owned(), answer);
                Ok(addresses)
            }
            Err(error) => match known {
                Some(answer) => Ok(answer.addresses),
                None => Err(error),
            },
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Answer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Registry;

    fn resolver(refresh: Duration) -> (Resolver, Registry) {
        let hosts =
            [("two.test".to_owned(), vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()])];
        let registry = Registry::new(1);
        (Resolver::new(refresh, hosts.into(), registry.gateway()), registry)
    }

    fn lookups(registry: &Registry, outcome: &str) -> u64 {
        let page = registry.render();
        let start = format!("portcullis_dns_lookups_total{{outcome=\"{outcome}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[actix_rt::test]
    async fn each_connection_begins_with_the_next_address() {
        let (resolver, registry) = resolver(LONG);
        let first = resolver.resolve("two.test", 80).await.unwrap();
        let second = resolver.resolve("two.test", 80).await.unwrap();
        assert_eq!(first.len(), 2);
        assert_ne!(first[0], second[0]);
        assert_eq!(first[0], second[1]);
        assert_eq!(lookups(&registry, "found"), 0, "`dns.hosts` comes before DNS");
    }

    #[actix_rt::test]
    async fn an_address_is_not_asked_for() {
        let (resolver, registry) = resolver(LONG);
        let found = resolver.resolve("::1", 443).await.unwrap();
        assert_eq!(found, ["[::1]:443".parse().unwrap()]);
        assert_eq!(lookups(&registry, "found"), 0);
    }

    #[actix_rt::test]
    async fn a_name_without_address_is_an_error() {
        let (resolver, registry) = resolver(LONG);
        assert!(resolver.resolve("no-such-name.invalid", 80).await.is_err());
        assert_eq!(lookups(&registry, "failed"), 1);
    }

    /// Configuration reference 7.3.
    #[actix_rt::test]
    async fn a_name_is_asked_for_again_when_its_answer_is_older_than_the_refresh_period() {
        for (refresh, asked) in [(LONG, 1), (Duration::ZERO, 3)] {
            let (resolver, registry) = resolver(refresh);
            for _ in 0..3 {
                assert!(!resolver.resolve("localhost", 80).await.unwrap().is_empty());
            }
            assert_eq!(lookups(&registry, "found"), asked, "{refresh:?}");
        }
    }

    #[actix_rt::test]
    async fn while_asking_fails_the_last_good_answer_is_used() {
        let (resolver, registry) = resolver(Duration::ZERO);
        let name = "was-there-once.invalid";
        let answer = Answer { addresses: Arc::from(["192.0.2.9".parse().unwrap()]), asked: Instant::now() };
        resolver.known().insert(name.to_owned(), answer);
        let found = resolver.resolve(name, 80).await.unwrap();
        assert_eq!(found, ["192.0.2.9:80".parse().unwrap()]);
        assert_eq!(lookups(&registry, "failed"), 1);
    }
}
