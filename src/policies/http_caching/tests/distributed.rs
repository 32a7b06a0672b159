//! Policies reference 3.4, the storage matrix: `distributed`; decision 39.

use std::future::Future;

use super::{
    bodies::{LARGE, pieces, receive},
    *,
};
use crate::{
    base::seal::KeyRing,
    storage::{Keys, Storage},
};

pub const SHARED: &str = "{distributed: true, invalidationHeader: x-purge}";

/// A replica of a gateway: its upstream answers with its name.
pub fn replica(config: &str, services: &PolicyServices, clock: &Clock, name: &'static str) -> Cached {
    Cached::with(config, services, clock, move |_| upstream(200, &[("cache-control", "max-age=60")], name))
}

fn pair(config: &str) -> (Cached, Cached, Clock) {
    let (services, clock) = (services(), Clock::manual());
    (replica(config, &services, &clock, "a"), replica(config, &services, &clock, "b"), clock)
}

pub async fn send(cached: &Cached, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let response = cached.bench.send_async(Request::for_test(method, target, headers)).await;
    settle().await;
    response
}

pub async fn get(cached: &Cached, target: &str, headers: &[(&str, &str)]) -> String {
    body_text(send(cached, "GET", target, headers).await)
}

/// What is done beside the request is done.
pub async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[actix_rt::test]
async fn replica_b_answers_with_what_replica_a_stored() {
    let (a, b, clock) = pair(SHARED);
    assert_eq!(get(&a, "/", &[]).await, "a");
    clock.advance(Duration::from_secs(3));
    let hit = send(&b, "GET", "/", &[]).await;
    assert_eq!((age(&hit), body_text(hit)), (Some(3), "a".to_owned()));
    assert_eq!((a.calls(), b.calls()), (1, 0));
    assert_eq!(send(&b, "HEAD", "/", &[]).await.declared_length, Some(1));
    clock.advance(Duration::from_secs(57));
    assert_eq!(get(&b, "/", &[]).await, "b");
}

#[actix_rt::test]
async fn gateways_bindings_and_configurations_have_caches_of_their_own() {
    let (services, clock) = (services(), Clock::manual());
    let a = replica(SHARED, &services, &clock, "a");
    get(&a, "/", &[]).await;
    let other_gateway = with(services.clone(), |services| services.caching.keys = Keys::of("other"));
    let mut other_binding = services.clone();
    other_binding.state_name = "default/other".into();
    let mut other_target = services.clone();
    other_target.target = crate::base::ResourceName::new("default", "other");
    for (config, services) in [
        (SHARED, &other_gateway),
        (SHARED, &other_binding),
        (SHARED, &other_target),
        ("{distributed: true, invalidationHeader: x-purge, ttl: 601}", &services),
    ] {
        assert_eq!(get(&replica(config, services, &clock, "b"), "/", &[]).await, "b");
    }
    assert_eq!(get(&replica(SHARED, &services, &clock, "b"), "/", &[]).await, "a");
}

#[actix_rt::test]
async fn an_invalidation_reaches_all_replicas() {
    let (a, b, _) = pair(SHARED);
    get(&a, "/1", &[]).await;
    get(&a, "/2", &[]).await;
    assert_eq!(get(&b, "/1", &[("x-purge", "invalidate")]).await, "b");
    assert_eq!((get(&a, "/1", &[]).await, get(&a, "/2", &[]).await), ("b".to_owned(), "a".to_owned()));
    send(&b, "POST", "/", &[("x-purge", "invalidate-all")]).await;
    assert_eq!((get(&a, "/1", &[]).await, get(&b, "/2", &[]).await), ("a".to_owned(), "b".to_owned()));
}

/// A replica whose origin waits at a gate.
fn gated(config: &str, services: &PolicyServices, clock: &Clock, status: u16) -> (Bench, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let cache: Arc<dyn Policy> = Arc::new(policy(config, services, clock));
    let bench = Bench::chain(vec![cache, Arc::clone(&gate) as _]);
    (bench.answering(move |_| upstream(status, &[("cache-control", "max-age=60")], "gated")), gate)
}

/// A request that has got as far as it can.
async fn begun<'b>(
    bench: &'b Bench,
    headers: &[(&str, &str)],
) -> std::pin::Pin<Box<dyn Future<Output = Response> + 'b>> {
    let mut sent: std::pin::Pin<Box<dyn Future<Output = Response> + 'b>> =
        Box::pin(bench.send_async(Request::for_test("GET", "/", headers)));
    for _ in 0..5 {
        let pending = poll_fn(|cx| Poll::Ready(sent.as_mut().poll(cx).is_pending())).await;
        assert!(pending, "it has to wait");
        settle().await;
    }
    sent
}

#[actix_rt::test]
async fn no_late_store_brings_back_what_was_invalidated() {
    for purge in ["invalidate", "invalidate-all"] {
        let (services, clock) = (services(), Clock::manual());
        let (slow, gate) = gated(SHARED, &services, &clock, 200);
        let other = replica(SHARED, &services, &clock, "b");
        let sent = begun(&slow, &[]).await;
        send(&other, "POST", "/", &[("x-purge", purge)]).await;
        gate.open();
        assert_eq!(body_text(sent.await), "gated");
        settle().await;
        assert_eq!(get(&other, "/", &[]).await, "b", "{purge}");
    }
}

#[actix_rt::test]
async fn an_entry_is_filled_once_and_the_others_wait_for_it() {
    let (services, clock) = (services(), Clock::manual());
    let (slow, gate) = gated(SHARED, &services, &clock, 200);
    let other = replica(SHARED, &services, &clock, "b");
    let first = begun(&slow, &[]).await;
    let second = begun(&slow, &[]).await;
    let third = begun(&other.bench, &[]).await;
    assert_eq!(gate.arrived(), 1);
    gate.open();
    assert_eq!(body_text(first.await), "gated");
    settle().await;
    clock.advance(Duration::from_millis(25));
    assert_eq!((body_text(second.await), body_text(third.await)), ("gated".to_owned(), "gated".to_owned()));
    assert_eq!((gate.arrived(), other.calls()), (1, 0));
}

#[actix_rt::test]
async fn who_waited_long_enough_goes_on_alone() {
    let (services, clock) = (services(), Clock::manual());
    let (slow, gate) = gated(SHARED, &services, &clock, 200);
    let other = replica(SHARED, &services, &clock, "b");
    let first = begun(&slow, &[]).await;
    let second = begun(&other.bench, &[]).await;
    clock.advance(Duration::from_secs(2));
    assert_eq!(body_text(second.await), "b");
    gate.open();
    first.await;
}

#[actix_rt::test]
async fn a_client_that_goes_away_leaves_the_right_to_fill_to_another() {
    let (services, clock) = (services(), Clock::manual());
    let (slow, _gate) = gated(SHARED, &services, &clock, 200);
    let other = replica(SHARED, &services, &clock, "b");
    let first = begun(&slow, &[]).await;
    let second = begun(&other.bench, &[]).await;
    drop(first);
    settle().await;
    clock.advance(Duration::from_millis(25));
    assert_eq!(body_text(second.await), "b");
}

#[actix_rt::test]
async fn nobody_waits_for_a_response_that_is_not_stored() {
    let (services, clock) = (services(), Clock::manual());
    let (slow, gate) = gated(SHARED, &services, &clock, 500);
    let first = begun(&slow, &[]).await;
    let waiting = begun(&slow, &[]).await;
    assert_eq!(gate.arrived(), 1);
    gate.open();
    first.await;
    settle().await;
    clock.advance(Duration::from_millis(25));
    waiting.await;
    let (next, gate) = gated(SHARED, &services, &clock, 500);
    let _second = begun(&next, &[]).await;
    let _third = begun(&next, &[]).await;
    assert_eq!(gate.arrived(), 2);
}

#[actix_rt::test]
async fn nobody_waits_for_what_turns_out_not_to_be_stored_while_it_is_sent() {
    const EVENT: &[u8] = b"data: x";
    for (what, piece, trailers, kind) in [
        ("large", &LARGE[..], false, "text/plain"),
        ("with trailers", EVENT, true, "text/plain"),
        ("events", EVENT, false, "text/event-stream; x=y"),
    ] {
        let (services, clock) = (services(), Clock::manual());
        let a = Cached::with(SHARED, &services, &clock, move |_| {
            let mut response = pieces(&[Ok(piece)], None, trailers);
            response.headers.append("content-type", kind).expect("valid");
            response
        });
        assert_eq!(receive(send(&a, "GET", "/", &[]).await), piece.len(), "{what}");
        settle().await;
        let shared = a.cache.place.shared().expect("shared");
        let fills = super::super::keys::RequestKeys::of_expression("/").full;
        assert_eq!(shared.filling(fills).await, Ok(super::super::fill::Filling::Useless), "{what}");
    }
}

#[actix_rt::test]
async fn nobody_waits_for_what_has_to_be_validated_each_time() {
    for said in ["no-cache", "max-age=0"] {
        let (services, clock) = (services(), Clock::manual());
        let gate = Arc::new(Gate::default());
        let cache: Arc<dyn Policy> =
            Arc::new(policy("{distributed: true, rfc9111: true}", &services, &clock));
        let fields = [("cache-control", said), ("etag", "\"x\"")];
        let bench = Bench::chain(vec![cache, Arc::clone(&gate) as _]);
        let bench = bench.answering(move |request| match request.headers.contains("if-none-match") {
            true => upstream(304, &fields, ""),
            false => upstream(200, &fields, "x"),
        });
        let first = begun(&bench, &[]).await;
        gate.open();
        assert_eq!(body_text(first.await), "x");
        settle().await;
        gate.close();
        let _second = begun(&bench, &[]).await;
        let _third = begun(&bench, &[]).await;
        assert_eq!(gate.arrived(), 2, "{said}");
    }
}

#[actix_rt::test]
async fn reloads_do_not_wait_for_each_other() {
    let (services, clock) = (services(), Clock::manual());
    let (slow, gate) = gated("{distributed: true, rfc9111: true}", &services, &clock, 200);
    let _one = begun(&slow, &[("cache-control", "max-age=0")]).await;
    let _two = begun(&slow, &[("cache-control", "max-age=0")]).await;
    assert_eq!(gate.arrived(), 2);
}

#[actix_rt::test]
async fn a_response_that_took_long_does_not_replace_a_newer_one() {
    let (services, clock) = (services(), Clock::manual());
    let old = Cached::with(SHARED, &services, &clock, |_| pieces(&[Ok(b"old")], None, false));
    let new = replica(SHARED, &services, &clock, "new");
    let slow = old.bench.send_async(Request::for_test("GET", "/", &[])).await;
    clock.advance(Duration::from_secs(3));
    assert_eq!(get(&new, "/", &[("cache-control", "no-cache")]).await, "new");
    clock.advance(Duration::from_secs(3));
    receive(slow);
    settle().await;
    assert_eq!(get(&new, "/", &[]).await, "new");
}

#[actix_rt::test]
async fn variants_of_one_response_do_not_wait_for_each_other() {
    let (services, clock) = (services(), Clock::manual());
    let config = "{distributed: true, honorVary: true}";
    let gate = Arc::new(Gate::default());
    let cache: Arc<dyn Policy> = Arc::new(policy(config, &services, &clock));
    let fields = [("cache-control", "max-age=60"), ("vary", "accept")];
    let bench = Bench::chain(vec![cache, Arc::clone(&gate) as _]);
    let bench = bench.answering(move |_| upstream(200, &fields, "gated"));
    let known = Cached::with(config, &services, &clock, move |_| upstream(200, &fields, "known"));
    get(&known, "/", &[("accept", "0")]).await;
    let _one = begun(&bench, &[("accept", "1")]).await;
    let _two = begun(&bench, &[("accept", "2")]).await;
    assert_eq!(gate.arrived(), 2);
}

#[actix_rt::test]
async fn what_was_stored_with_a_number_that_the_storage_has_lost_is_not_found() {
    let (a, b, _) = pair(SHARED);
    get(&a, "/", &[]).await;
    assert_eq!(get(&b, "/", &[]).await, "a");
    let shared = a.cache.place.shared().expect("shared");
    let keys = super::super::keys::RequestKeys::of_expression("/");
    shared.invalidate(&keys.subject, &[]).await.expect("it answers");
    assert_eq!(get(&b, "/", &[]).await, "b", "the entry is there, its number is not");
    assert_eq!(get(&a, "/", &[]).await, "b");
}

#[actix_rt::test]
async fn the_oldest_makes_room_for_all_replicas_together() {
    let (services, clock) = (services(), Clock::manual());
    let config = "{distributed: true, maxCacheEntries: 2}";
    let (a, b) = (replica(config, &services, &clock, "a"), replica(config, &services, &clock, "b"));
    get(&a, "/1", &[]).await;
    get(&b, "/2", &[]).await;
    get(&a, "/2", &[("cache-control", "no-cache")]).await;
    get(&a, "/3", &[]).await;
    assert_eq!(get(&a, "/2", &[]).await, "a");
    assert_eq!(get(&a, "/3", &[]).await, "a");
    assert_eq!(get(&b, "/1", &[]).await, "b");
}

#[actix_rt::test]
async fn responses_that_vary_are_shared_too() {
    let (services, clock) = (services(), Clock::manual());
    let make = |name: &'static str| {
        let fields = [("cache-control", "max-age=60"), ("vary", "accept")];
        Cached::with("{distributed: true, honorVary: true}", &services, &clock, move |_| {
            upstream(200, &fields, name)
        })
    };
    let (a, b) = (make("a"), make("b"));
    assert_eq!(get(&a, "/", &[("accept", "1")]).await, "a");
    assert_eq!(get(&b, "/", &[("accept", "2")]).await, "b");
    assert_eq!(get(&b, "/", &[("accept", "1")]).await, "a");
    assert_eq!(get(&a, "/", &[("accept", "2")]).await, "b");
}

#[actix_rt::test]
async fn with_rfc9111_a_stale_entry_is_validated_by_any_replica_and_unsafe_requests_invalidate_for_all() {
    let (services, clock) = (services(), Clock::manual());
    let make = |name: &'static str| {
        Cached::with("{distributed: true, rfc9111: true}", &services, &clock, move |request| {
            match request.headers.contains("if-none-match") {
                true => upstream(304, &[("etag", "\"x\""), ("cache-control", "max-age=60")], ""),
                false => upstream(200, &[("etag", "\"x\""), ("cache-control", "max-age=60")], name),
            }
        })
    };
    let (a, b) = (make("a"), make("b"));
    get(&a, "/", &[]).await;
    clock.advance(Duration::from_secs(60));
    assert_eq!(get(&b, "/", &[]).await, "a");
    assert_eq!(b.bench.upstream_header("if-none-match").as_deref(), Some("\"x\""));
    assert_eq!(get(&a, "/", &[]).await, "a");
    assert_eq!((a.calls(), b.calls()), (1, 1));
    send(&b, "DELETE", "/", &[]).await;
    assert_eq!(get(&b, "/", &[]).await, "b");
}

#[actix_rt::test]
async fn freshness_ends_by_the_storages_clock_whatever_a_replica_thinks() {
    let (services, clock) = (services(), Clock::manual());
    let config = "{distributed: true, rfc9111: true}";
    let a = replica(config, &services, &clock, "a");
    get(&a, "/", &[]).await;
    let shared = a.cache.place.shared().expect("shared");
    shared
        .forget_marks(
            &services.storage,
            &super::super::keys::RequestKeys::of_target("/", &Request::for_test("GET", "/", &[])),
        )
        .await;
    // By the replicas' clocks it is as fresh as can be.
    assert_eq!(get(&replica(config, &services, &clock, "b"), "/", &[]).await, "b");
}

fn ring() -> (Option<Arc<KeyRing>>, String) {
    let line = KeyRing::new_line("one");
    (KeyRing::parse("keys", &line).ok().map(Arc::new), line)
}

#[actix_rt::test]
async fn with_keys_entries_are_sealed_and_what_is_not_sealed_is_a_miss() {
    let (keys, _) = ring();
    let (plain, clock) = (services(), Clock::manual());
    let sealed = with(plain.clone(), |services| services.caching.seals = keys);
    let (a, b) = (replica(SHARED, &sealed, &clock, "secret-a"), replica(SHARED, &sealed, &clock, "b"));
    get(&a, "/", &[]).await;
    assert_eq!(get(&b, "/", &[]).await, "secret-a");
    let shared = a.cache.place.shared().expect("shared");
    let key = shared.entry_key(&super::super::keys::RequestKeys::of_expression("/").full);
    let stored = sealed.storage.get(&[key]).await.expect("it answers").remove(0).expect("it is stored");
    assert!(!stored.windows(6).any(|window| window == b"secret"));
    // Nobody without the keys reads it, and what such a one writes is not believed.
    let c = replica(SHARED, &plain, &clock, "forged");
    assert_eq!(get(&c, "/", &[]).await, "forged");
    assert_eq!(get(&b, "/", &[]).await, "b");
}

#[actix_rt::test]
async fn a_sealed_entry_opens_under_its_own_key_only() {
    let (keys, _) = ring();
    let services = with(services(), |services| services.caching.seals = keys);
    let clock = Clock::manual();
    let a = replica(SHARED, &services, &clock, "a");
    get(&a, "/1", &[]).await;
    let shared = a.cache.place.shared().expect("shared");
    let key = |path: &str| shared.entry_key(&super::super::keys::RequestKeys::of_expression(path).full);
    let stored = services.storage.get(&[key("/1")]).await.expect("it answers").remove(0).expect("stored");
    services.storage.set(&key("/2"), &stored, Duration::from_secs(60)).await.expect("it answers");
    assert_eq!(get(&replica(SHARED, &services, &clock, "b"), "/2", &[]).await, "b");
}

#[actix_rt::test]
async fn forged_and_malformed_values_are_a_miss() {
    let (services, clock) = (services(), Clock::manual());
    let a = replica(SHARED, &services, &clock, "a");
    let shared = a.cache.place.shared().expect("shared");
    let key = shared.entry_key(&super::super::keys::RequestKeys::of_expression("/").full);
    for forged in [vec![], vec![1], vec![0xff; 300], vec![1; 3 << 20]] {
        services.storage.set(&key, &forged, Duration::from_secs(60)).await.expect("it answers");
        let calls = a.calls();
        assert_eq!(get(&a, "/", &[]).await, "a");
        assert_eq!(a.calls(), calls + 1);
    }
}

#[test]
fn without_a_runtime_nothing_is_stored_and_nothing_fails() {
    let (services, clock) = (services(), Clock::manual());
    let a = replica(SHARED, &services, &clock, "a");
    assert_eq!(a.get("/", &[]), "a");
    assert!(!Storage::in_memory().is_shared());
}
