use super::*;
use crate::telemetry::metrics::Registry;

fn resolver(refresh: Duration) -> (Resolver, Registry) {
    let hosts = [("two.test".to_owned(), vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()])];
    let registry = Registry::new(1);
    (Resolver::new(refresh, hosts.into(), registry.gateway()), registry)
}

/// What a resolver of the test answers, after so long, and how often it was asked.
struct Dns {
    asked: AtomicUsize,
    says: Mutex<(Duration, Option<IpAddr>)>,
}

impl Dns {
    fn says(&self, after: Duration, address: Option<&str>) {
        *self.says.lock().unwrap() = (after, address.map(|address| address.parse().unwrap()));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn with_dns(refresh: Duration) -> (Arc<Resolver>, Arc<Dns>, Registry) {
    let dns = Arc::new(Dns { asked: AtomicUsize::new(0), says: Mutex::new((Duration::ZERO, None)) });
    let asked = Arc::clone(&dns);
    let (resolver, registry) = resolver(refresh);
    let resolver = resolver.asking(Arc::new(move |_| {
        asked.asked.fetch_add(1, Ordering::SeqCst);
        let (after, address) = *asked.says.lock().unwrap();
        Box::pin(async move {
            tokio::time::sleep(after).await;
            address.map(|address| vec![address]).ok_or_else(|| io::Error::other("SERVFAIL"))
        })
    }));
    (Arc::new(resolver), dns, registry)
}

fn lookups(registry: &Registry, outcome: &str) -> u64 {
    let page = registry.render();
    let start = format!("portcullis_dns_lookups_total{{outcome=\"{outcome}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(20);

async fn first(resolver: &Resolver) -> Option<String> {
    resolver.resolve("up.test", 80).await.ok().map(|found| found[0].ip().to_string())
}

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
async fn the_system_is_asked() {
    let (resolver, registry) = resolver(LONG);
    assert!(!resolver.resolve("localhost", 80).await.unwrap().is_empty());
    assert!(resolver.resolve("no-such-name.invalid", 80).await.is_err());
    assert_eq!((lookups(&registry, "found"), lookups(&registry, "failed")), (1, 1));
}

/// Configuration reference 7.3.
#[actix_rt::test]
async fn an_answer_older_than_the_refresh_period_is_asked_for_anew_and_nobody_waits() {
    let (resolver, dns, _registry) = with_dns(SOON);
    dns.says(Duration::ZERO, Some("192.0.2.1"));
    assert_eq!(first(&resolver).await.as_deref(), Some("192.0.2.1"));
    assert_eq!((first(&resolver).await.as_deref(), dns.asked()), (Some("192.0.2.1"), 1));
    tokio::time::sleep(SOON).await;
    dns.says(SOON, Some("192.0.2.2"));
    let before = Instant::now();
    assert_eq!(first(&resolver).await.as_deref(), Some("192.0.2.1"));
    assert!(before.elapsed() < SOON, "it did not wait");
    // Long enough for the answer to come, however busy the machine is, and to be old again.
    tokio::time::sleep(10 * SOON).await;
    assert_eq!((first(&resolver).await.as_deref(), dns.asked()), (Some("192.0.2.2"), 3));
}

#[actix_rt::test]
async fn one_question_serves_all_who_wait_for_it() {
    let (resolver, dns, _registry) = with_dns(LONG);
    dns.says(SOON, Some("192.0.2.1"));
    let all = (0..50).map(|_| first(&resolver));
    let found = futures_util::future::join_all(all).await;
    assert!(found.iter().all(|found| found.as_deref() == Some("192.0.2.1")));
    assert_eq!(dns.asked(), 1);
}

#[actix_rt::test]
async fn while_asking_fails_the_last_good_answer_is_used_and_a_failure_is_not_repeated_for_each_request() {
    let (resolver, dns, registry) = with_dns(Duration::ZERO);
    dns.says(Duration::ZERO, None);
    for _ in 0..20 {
        assert_eq!(first(&resolver).await, None);
    }
    assert_eq!((dns.asked(), lookups(&registry, "failed")), (1, 1), "the next question has to wait");
    dns.says(Duration::ZERO, Some("192.0.2.1"));
    tokio::time::sleep(RETRY_MIN).await;
    assert_eq!(first(&resolver).await.as_deref(), Some("192.0.2.1"), "it comes back");
    dns.says(Duration::ZERO, None);
    for _ in 0..20 {
        assert_eq!(first(&resolver).await.as_deref(), Some("192.0.2.1"));
        tokio::task::yield_now().await;
    }
    assert!(dns.asked() <= 4, "{}", dns.asked());
}

#[actix_rt::test]
async fn a_resolver_that_hangs_is_given_up_and_blocks_nobody_who_knows_an_answer() {
    let (resolver, dns, _registry) = with_dns(SOON);
    dns.says(Duration::ZERO, Some("192.0.2.1"));
    assert!(first(&resolver).await.is_some());
    tokio::time::sleep(SOON).await;
    dns.says(LONG, None);
    for _ in 0..3 {
        let found = timeout(SOON, first(&resolver)).await;
        assert_eq!(found.expect("at once").as_deref(), Some("192.0.2.1"));
    }
    assert_eq!(dns.asked(), 2);
    let (resolver, dns, _registry) = with_dns(LONG);
    dns.says(LONG, None);
    let before = Instant::now();
    let both = futures_util::future::join(first(&resolver), first(&resolver)).await;
    assert_eq!((both, dns.asked()), ((None, None), 1));
    assert!(before.elapsed() < LOOKUP_MAX + Duration::from_secs(3), "{:?}", before.elapsed());
    assert_eq!(first(&resolver).await, None, "and at once for a while");
}
