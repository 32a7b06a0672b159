use std::{sync::Arc, time::Duration};

use crate::{
    base::Clock,
    quota::{Charge, Fallback, Ledger, Quota, Quotas},
    storage::{
        Keys, Storage,
        quota::{Answer, Call, Leased, Window},
    },
    telemetry::metrics::Registry,
};

const SECOND: u64 = 1_000_000;

/// Replicas on one storage.
fn replicas(count: usize) -> Vec<Quotas> {
    let storage = Storage::in_memory();
    let replica = |_| {
        let (quotas, asker) = Quotas::on(storage.clone(), "test", Clock::system());
        actix_rt::spawn(asker.run());
        quotas
    };
    (0..count).map(replica).collect()
}

fn ledger(quotas: &Quotas, limits: &[(u64, u64)]) -> Arc<Ledger> {
    let limits = limits.iter().map(|&(requests_max, period)| Quota { requests_max, period }).collect();
    quotas.ledger("policy".to_owned(), limits, Some(1000), Fallback::Closed)
}

async fn granted(ledger: &Arc<Ledger>, key: &str) -> bool {
    let charge = match ledger.charge(key) {
        Ok(charge) => charge,
        Err(waiting) => waiting.settle().await,
    };
    match charge {
        Charge::Counted(verdict) => verdict.granted,
        Charge::Unknown => panic!("the storage is there"),
    }
}

#[actix_rt::test]
async fn replicas_admit_a_limit_together_and_not_once_more() {
    let ledgers: Vec<_> = replicas(3).iter().map(|quotas| ledger(quotas, &[(100, 3600 * SECOND)])).collect();
    let mut admitted = 0;
    for request in 0..1000 {
        admitted += usize::from(granted(&ledgers[request % 3], "k").await);
    }
    assert_eq!(admitted, 100);
    assert!(granted(&ledgers[0], "another").await);
}

#[actix_rt::test]
async fn requests_at_once_wait_for_the_same_answer() {
    let ledger = ledger(&replicas(1)[0], &[(1000, 3600 * SECOND)]);
    let all = futures_util::future::join_all((0..200).map(|_| granted(&ledger, "k"))).await;
    assert!(all.into_iter().all(|granted| granted));
}

#[actix_rt::test]
async fn keys_that_wait_for_an_answer_make_no_room_for_others() {
    let ledger = ledger(&replicas(1)[0], &[(10, SECOND / 10)]);
    // The second time the windows of the first ended long ago.
    for count in [300, 600] {
        let keys: Vec<String> = (0..count).map(|key| key.to_string()).collect();
        let all = futures_util::future::join_all(keys.iter().map(|key| granted(&ledger, key))).await;
        assert!(all.into_iter().all(|granted| granted));
        actix_rt::time::sleep(Duration::from_millis(250)).await;
    }
}

#[actix_rt::test]
async fn a_key_that_is_seen_once_costs_one_call() {
    let quotas = &replicas(1)[0];
    let ledger = ledger(quotas, &[(1000, 3600 * SECOND)]);
    for key in 0..50 {
        assert!(granted(&ledger, &key.to_string()).await);
    }
    actix_rt::time::sleep(Duration::from_millis(100)).await;
    let registry = Registry::new(1);
    let counted = quotas.clone();
    registry.add_collector(move |page| counted.expose(page));
    let page = registry.render();
    assert!(page.contains("\nportcullis_quota_calls_total 50\n"), "{page}");
}

#[actix_rt::test]
async fn a_request_needs_a_token_of_every_limit_and_a_refused_one_takes_none() {
    let quotas = &replicas(1)[0];
    let ledger = ledger(quotas, &[(2, 3600 * SECOND), (5, 7200 * SECOND)]);
    let mut admitted = 0;
    for _ in 0..20 {
        admitted += usize::from(granted(&ledger, "k").await);
    }
    assert_eq!(admitted, 2);
    let told: Vec<_> = quotas.accounts().iter().map(|account| (account.limit, account.admitted)).collect();
    assert_eq!(told, [(0, 2), (1, 2)]);
}

#[actix_rt::test]
async fn a_policy_that_is_rebuilt_goes_on_in_the_window() {
    let quotas = &replicas(1)[0];
    let before = ledger(quotas, &[(10, 3600 * SECOND)]);
    for _ in 0..6 {
        assert!(granted(&before, "k").await);
    }
    let after = ledger(quotas, &[(8, 3600 * SECOND)]);
    drop(before);
    // What it held comes back as soon as its last call is made.
    actix_rt::time::sleep(Duration::from_millis(20)).await;
    let mut admitted = 0;
    for _ in 0..20 {
        admitted += usize::from(granted(&after, "k").await);
    }
    assert_eq!(admitted, 2);
}

#[actix_rt::test]
async fn an_entry_that_was_forgotten_and_comes_back_does_not_begin_anew() {
    let quotas = &replicas(1)[0];
    let limits: Box<[Quota]> = Box::new([Quota { requests_max: 3, period: 3600 * SECOND }]);
    let ledger = quotas.ledger("policy".to_owned(), limits, Some(1), Fallback::Closed);
    let mut admitted = 0;
    for _ in 0..10 {
        admitted += usize::from(granted(&ledger, "k").await);
        // The only place goes to another key.
        granted(&ledger, "other").await;
    }
    assert_eq!(admitted, 3);
}

#[actix_rt::test]
async fn a_period_after_the_storage_forgot_new_keys_are_as_if_it_had_not() {
    let storage = Storage::in_memory();
    storage.fleet().saw(3, 0);
    let (quotas, asker) = Quotas::on(storage.clone(), "test", Clock::system());
    actix_rt::spawn(asker.run());
    let ledger = ledger(&quotas, &[(2, SECOND / 2)]);
    assert!(granted(&ledger, "before").await);
    storage.fleet().lost();
    actix_rt::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!granted(&ledger, "at once").await, "others may hold what was forgotten");
    storage.fleet().saw(3, 2);
    assert!(granted(&ledger, "another").await, "of two tokens for three replicas, this one's share");
    assert!(!granted(&ledger, "another").await, "and no more");
    actix_rt::time::sleep(std::time::Duration::from_millis(600)).await;
    assert!(granted(&ledger, "later").await && granted(&ledger, "later").await);
}

#[actix_rt::test]
async fn a_storage_that_does_not_know_what_it_granted_has_lost_its_memory() {
    let storage = Storage::in_memory();
    let (quotas, asker) = Quotas::on(storage.clone(), "test", Clock::system());
    actix_rt::spawn(asker.run());
    let ledger = ledger(&quotas, &[(1000, 3600 * SECOND)]);
    assert!(granted(&ledger, "k").await);
    let name = Keys::of("test").digested("quota", &[b"policy", &0_u64.to_be_bytes(), b"k"]);
    storage.remove(&[name]).await.expect("memory answers");
    assert_eq!(storage.fleet().losses(), 0);
    for _ in 0..100 {
        assert!(granted(&ledger, "k").await);
    }
    assert_eq!(storage.fleet().losses(), 1, "once, though there may be many");
}

#[actix_rt::test]
async fn a_burst_of_as_many_requests_as_there_are_tokens_is_admitted_by_all_replicas_together() {
    let quotas = replicas(3);
    let ledgers: Vec<_> = quotas.iter().map(|quotas| ledger(quotas, &[(300, 3600 * SECOND)])).collect();
    quotas[0].fleet().saw(3, 0);
    let all =
        futures_util::future::join_all((0..300).map(|request| granted(&ledgers[request % 3], "k"))).await;
    let admitted = all.into_iter().filter(|granted| *granted).count();
    assert!(
        (270..=300).contains(&admitted),
        "{admitted}: what one holds and does not need is given back later"
    );
    assert!(!granted(&ledgers[0], "k").await || admitted < 300);
}

#[actix_rt::test]
async fn a_storage_that_is_back_is_asked_again_without_a_request_that_pays_for_it() {
    let quotas = replicas(1);
    let ledger = ledger(&quotas[0], &[(1, 3600 * SECOND)]);
    quotas[0].suspect();
    assert!(matches!(ledger.charge("k"), Ok(Charge::Unknown)));
    actix_rt::time::sleep(std::time::Duration::from_millis(1200)).await;
    assert!(granted(&ledger, "another").await);
}

/// Policies reference 3.1: windows restart when the configuration changes.
#[actix_rt::test]
async fn a_window_that_was_longer_before_the_policy_changed_does_not_last() {
    let quotas = replicas(1);
    let before = ledger(&quotas[0], &[(1, 24 * 3600 * SECOND)]);
    assert!(granted(&before, "k").await && !granted(&before, "k").await);
    drop(before);
    let after = ledger(&quotas[0], &[(1, SECOND / 2)]);
    assert!(!granted(&after, "k").await, "what was given is given");
    actix_rt::time::sleep(std::time::Duration::from_millis(700)).await;
    assert!(granted(&after, "k").await);
}

/// What it admitted alone, it does not admit again because something else of it was changed.
#[actix_rt::test]
async fn a_policy_whose_limits_stay_goes_on_with_what_it_has() {
    let quotas = &replicas(1)[0];
    let before = ledger(quotas, &[(10, SECOND)]);
    assert!(Arc::ptr_eq(&before, &ledger(quotas, &[(10, SECOND)])));
    assert!(!Arc::ptr_eq(&before, &ledger(quotas, &[(11, SECOND)])));
    assert!(!Arc::ptr_eq(&before, &ledger(quotas, &[(10, 2 * SECOND)])));
    let limits = Box::new([Quota { requests_max: 10, period: SECOND }]);
    let open = quotas.ledger("policy".to_owned(), limits.clone(), Some(1000), Fallback::Open);
    let other = quotas.ledger("other".to_owned(), limits, Some(1000), Fallback::Closed);
    assert!(!Arc::ptr_eq(&before, &open) && !Arc::ptr_eq(&before, &other));
}

#[actix_rt::test]
async fn an_answer_to_an_entry_that_was_forgotten_means_nothing_to_its_successor() {
    let (quotas, _asker) = Quotas::on(Storage::in_memory(), "test", Clock::system());
    let ledger = ledger(&quotas, &[(100, 3600 * SECOND)]);
    assert!(ledger.charge("k").is_err());
    let key: Arc<str> = "k".into();
    let (pending, _) = ledger.call(&key, 0).expect("none is under way");
    let window = Window { start: 0, end: 3600 * SECOND };
    let leased = Leased { window, left: SECOND, carried: false, forgotten: false, grant: 10, rest: 0 };
    let answer = Ok(Answer::Leased(leased));
    let of_another = Call { claimant: "before".to_owned(), ..pending.call };
    ledger.answered(&pending.concerned, &of_another, &answer);
    assert!(ledger.charge("k").is_err(), "still waiting");
    ledger.answered(&pending.concerned, &pending.call, &answer);
    assert!(ledger.charge("k").is_ok());
}
