//! Invalidations that nothing may undo (policies reference 3.4; RFC 9111 section 4.4; decision 39).

use super::{
    distributed::{SHARED, get, replica, send, settle},
    *,
};
use crate::{base::ResourceName, policies::http_caching::keys::RequestKeys};

const STRICT: &str = "{distributed: true, rfc9111: true}";

/// An unsafe request that reaches the origin, whose client leaves before the response.
async fn abandoned(cache: Arc<dyn Policy>) {
    let gate = Arc::new(Gate::default());
    let bench = Bench::chain(vec![cache, Arc::clone(&gate) as _]);
    let mut sent = Box::pin(bench.send_async(Request::for_test("PUT", "/", &[])));
    let pending = poll_fn(|cx| Poll::Ready(sent.as_mut().poll(cx).is_pending())).await;
    assert!(pending && gate.arrived() == 1);
    drop(sent);
    settle().await;
}

#[actix_rt::test]
async fn an_unsafe_request_whose_client_leaves_invalidates_what_it_may_have_changed() {
    let (services, clock) = (services(), Clock::manual());
    let alone = replica("{rfc9111: true}", &services, &clock, "a");
    get(&alone, "/", &[]).await;
    let unsafe_ones = HttpCaching { cache: Arc::clone(&alone.cache) };
    abandoned(Arc::new(unsafe_ones)).await;
    get(&alone, "/", &[]).await;
    assert_eq!(alone.calls(), 2);

    let shared = replica(STRICT, &services, &clock, "a");
    get(&shared, "/", &[]).await;
    abandoned(Arc::new(policy(STRICT, &services, &clock))).await;
    get(&shared, "/", &[]).await;
    assert_eq!(shared.calls(), 2);
}

#[actix_rt::test]
async fn a_configuration_that_comes_back_does_not_find_what_was_invalidated_under_another() {
    let other = "{distributed: true, invalidationHeader: x-purge, ttl: 300}";
    for purge in ["invalidate", "invalidate-all"] {
        let (services, clock) = (services(), Clock::manual());
        get(&replica(SHARED, &services, &clock, "old"), "/", &[]).await;
        send(&replica(other, &services, &clock, "other"), "POST", "/", &[("x-purge", purge)]).await;
        assert_eq!(get(&replica(SHARED, &services, &clock, "new"), "/", &[]).await, "new", "{purge}");
    }
}

#[actix_rt::test]
async fn an_invalidation_means_no_other_binding() {
    let (services, clock) = (services(), Clock::manual());
    let other = with(services.clone(), |services| services.target = ResourceName::new("default", "other"));
    let a = replica(SHARED, &services, &clock, "a");
    get(&a, "/", &[]).await;
    send(&replica(SHARED, &other, &clock, "other"), "POST", "/", &[("x-purge", "invalidate-all")]).await;
    get(&a, "/", &[]).await;
    assert_eq!(a.calls(), 1);
}

#[test]
fn a_policy_that_keeps_nothing_on_the_disk_removes_what_an_earlier_one_kept_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let services = with(services(), |services| services.caching.state_folder = Some(folder.path().into()));
    let clock = Clock::manual();
    for config in ["{}", "{distributed: true}"] {
        let binding = super::super::config::Config::binding(&services).to_string();
        let kept = folder.path().join("http-cache").join(binding).join("configuration");
        std::fs::create_dir_all(&kept).expect("writable");
        let cached = Cached::with(config, &services, &clock, |_| upstream(200, &[], "x"));
        cached.cache.begin();
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while kept.exists() {
            assert!(std::time::Instant::now() < until, "{config}: it is still there");
            std::thread::yield_now();
        }
    }
}

#[actix_rt::test]
async fn an_invalidation_that_fails_while_another_is_owed_is_owed_for_its_own_time() {
    let (services, clock) = (services(), Clock::manual());
    let a = replica("{distributed: true, ttl: 10}", &services, &clock, "a");
    let shared = a.cache.place.shared().expect("shared");
    shared.owe();
    let first = shared.owed();
    clock.advance(Duration::from_secs(9));
    shared.owe();
    assert_eq!(shared.owed() - first, 9_000_000);
    settle().await;
    assert!(!shared.owes(), "the storage answers: paid");
}

#[test]
fn a_response_does_not_replace_one_that_was_asked_for_later() {
    let cached = Cached::new("{}", &[]);
    let memory = &cached.cache.place.memory;
    let keys = RequestKeys::of_expression("/");
    let (old, new) = (memory.begin(), memory.begin());
    let kept = |body| Arc::new(super::entry::response(body));
    memory.put(keys.full, keys.subject, new, kept("new"), 0);
    let newer = memory.get(&keys.full, 0).expect("stored");
    memory.put(keys.full, keys.subject, old, kept("old"), 0);
    assert!(Arc::ptr_eq(&newer, &memory.get(&keys.full, 0).expect("stored")));
    memory.put(keys.full, keys.subject, memory.begin(), kept("newest"), 0);
    assert!(!Arc::ptr_eq(&newer, &memory.get(&keys.full, 0).expect("stored")));
}
