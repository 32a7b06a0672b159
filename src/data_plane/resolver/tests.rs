use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::telemetry::metrics::Registry;

fn resolver(refresh: Duration) -> (Resolver, Registry) {
    let hosts = [("two.test".to_owned(), vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()])];
    let registry = Registry::new(1);
    (Resolver::new(refresh, hosts.into(), registry.gateway()), registry)
}

/// What a resolver of the test answers once it is let, and how often it was asked.
struct Dns {
    asked: AtomicUsize,
    says: Mutex<Option<IpAddr>>,
    held: watch::Sender<bool>,
}

impl Dns {
    fn says(&self, address: Option<&str>) {
        *self.says.lock().unwrap() = address.map(|address| address.parse().unwrap());
    }

    /// Whether answers wait, those to questions from before too.
    fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn with_dns(refresh: Duration) -> (Arc<Resolver>, Arc<Dns>, Registry) {
    let dns =
        Arc::new(Dns { asked: AtomicUsize::new(0), says: Mutex::new(None), held: watch::Sender::new(false) });
    let asked = Arc::clone(&dns);
    let (resolver, registry) = resolver(refresh);
    let resolver = resolver.asking(Arc::new(move |_| {
        asked.asked.fetch_add(1, Ordering::SeqCst);
        let (address, mut held) = (*asked.says.lock().unwrap(), asked.held.subscribe());
        Box::pin(async move {
            held.wait_for(|held| !held).await.map_err(io::Error::other)?;
            address.map(|address| vec![address]).ok_or_else(|| io::Error::other("SERVFAIL"))
        })
    }));
    (Arc::new(resolver), dns, registry)
}

/// Time passes for what is known of the name, so that the answer is older than its refresh period.
fn grow_old(resolver: &Resolver) {
    let mut names = lock(&resolver.names);
    let answer = names.get_mut("up.test").and_then(|name| name.answer.as_mut());
    answer.expect("an answer is known").asked -= LONG;
}

fn lookups(registry: &Registry, outcome: &str) -> u64 {
    let page = registry.render();
    let start = format!("portcullis_dns_lookups_total{{outcome=\"{outcome}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

const LONG: Duration = Duration::from_secs(60);

/// Asks again and again until this is the answer.
async fn until(resolver: &Resolver, wanted: &str) {
    let seen = async {
        while first(resolver).await.as_deref() != Some(wanted) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, seen).await.expect("the answer comes");
}

async fn first(resolver: &Resolver) -> Option<String> {
    resolver.resolve("up.test").await.ok().map(|found| found[0].to_string())
}

#[actix_rt::test]
async fn fixed_addresses_come_before_dns() {
    let (resolver, registry) = resolver(LONG);
    let two = resolver.resolve("two.test").await.unwrap();
    assert_eq!(two.len(), 2);
    assert!(Arc::ptr_eq(&two, &resolver.known("two.test").unwrap()));
    assert_eq!(lookups(&registry, "found"), 0);
}

#[actix_rt::test]
async fn an_address_is_not_asked_for() {
    let (resolver, registry) = resolver(LONG);
    let found = resolver.resolve("::1").await.unwrap();
    assert_eq!(*found, ["::1".parse::<IpAddr>().unwrap()]);
    assert_eq!(lookups(&registry, "found"), 0);
}

#[actix_rt::test]
async fn a_final_dot_and_capitals_make_no_other_name() {
    let (resolver, _) = resolver(LONG);
    for name in ["two.test", "two.test.", "Two.Test"] {
        assert_eq!(resolver.resolve(name).await.unwrap().len(), 2, "{name}");
    }
}

#[actix_rt::test]
async fn the_system_is_asked() {
    let (resolver, registry) = resolver(LONG);
    assert!(!resolver.resolve("localhost").await.unwrap().is_empty());
    assert!(resolver.resolve("no-such-name.invalid").await.is_err());
    assert_eq!((lookups(&registry, "found"), lookups(&registry, "failed")), (1, 1));
}

/// Configuration reference 7.3.
#[actix_rt::test]
async fn an_answer_older_than_the_refresh_period_is_asked_for_anew_and_nobody_waits() {
    let (resolver, dns, _registry) = with_dns(LONG);
    dns.says(Some("192.0.2.1"));
    assert_eq!(first(&resolver).await.as_deref(), Some("192.0.2.1"));
    assert_eq!((first(&resolver).await.as_deref(), dns.asked()), (Some("192.0.2.1"), 1));
    grow_old(&resolver);
    dns.says(Some("192.0.2.2"));
    dns.hold(true);
    assert_eq!((first(&resolver).await.as_deref(), dns.asked()), (Some("192.0.2.1"), 2));
    dns.hold(false);
    until(&resolver, "192.0.2.2").await;
    assert_eq!(dns.asked(), 2, "the new answer is as good as the first was");
}

#[actix_rt::test]
async fn one_question_serves_all_who_wait_for_it() {
    let (resolver, dns, _registry) = with_dns(LONG);
    dns.says(Some("192.0.2.1"));
    dns.hold(true);
    let all = futures_util::future::join_all((0..50).map(|_| first(&resolver)));
    let (found, ()) = futures_util::future::join(all, async { dns.hold(false) }).await;
    assert!(found.iter().all(|found| found.as_deref() == Some("192.0.2.1")));
    assert_eq!(dns.asked(), 1);
}

#[actix_rt::test]
async fn while_asking_fails_the_last_good_answer_is_used_and_a_failure_is_not_repeated_for_each_request() {
    let (resolver, dns, registry) = with_dns(Duration::ZERO);
    // However long this takes here, a question has to wait after a failure.
    let questions_max = |since: Instant| since.elapsed().div_duration_f64(RETRY_MIN) as usize + 1;
    dns.says(None);
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(first(&resolver).await, None);
    }
    assert!(dns.asked() <= questions_max(begun), "{}", dns.asked());
    assert_eq!(lookups(&registry, "failed"), dns.asked() as u64);
    dns.says(Some("192.0.2.1"));
    until(&resolver, "192.0.2.1").await;
    dns.says(None);
    let (asked, begun) = (dns.asked(), Instant::now());
    for _ in 0..1000 {
        assert_eq!(first(&resolver).await.as_deref(), Some("192.0.2.1"));
        tokio::task::yield_now().await;
    }
    let since = dns.asked() - asked;
    assert!((1..=questions_max(begun) + 1).contains(&since), "{since}");
}

#[actix_rt::test]
async fn a_resolver_that_hangs_is_given_up_and_blocks_nobody_who_knows_an_answer() {
    let (resolver, dns, _registry) = with_dns(LONG);
    dns.says(Some("192.0.2.1"));
    assert!(first(&resolver).await.is_some());
    grow_old(&resolver);
    dns.hold(true);
    for _ in 0..3 {
        let found = timeout(LOOKUP_MAX / 2, first(&resolver)).await;
        assert_eq!(found.expect("at once").as_deref(), Some("192.0.2.1"));
    }
    assert_eq!(dns.asked(), 2);
    // However long it hangs.
    for _ in 0..10 {
        grow_old(&resolver);
        let found = timeout(LOOKUP_MAX / 2, first(&resolver)).await;
        assert_eq!(found.expect("at once").as_deref(), Some("192.0.2.1"));
    }
    // What nobody has used for so long is waited for.
    lock(&resolver.names).get_mut("up.test").unwrap().used = Some(Instant::now() - UNUSED_MAX - 2 * LONG);
    assert!(timeout(LOOKUP_MAX / 50, first(&resolver)).await.is_err());
    let (resolver, dns, _registry) = with_dns(LONG);
    dns.hold(true);
    let both = futures_util::future::join(first(&resolver), first(&resolver));
    let both = timeout(LONG, both).await.expect("it is given up");
    assert_eq!((both, dns.asked()), ((None, None), 1));
    assert_eq!(first(&resolver).await, None, "and at once for a while");
}
