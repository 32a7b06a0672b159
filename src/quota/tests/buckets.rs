use std::thread;

use crate::quota::{Buckets, Quota, windows::Windows};

const SECOND: u64 = 1_000_000;

fn quotas(list: &[(u64, u64)]) -> Box<[Quota]> {
    list.iter().map(|&(requests_max, period)| Quota { requests_max, period }).collect()
}

#[test]
fn counting_is_exact_over_all_threads() {
    let one = Buckets::one(quotas(&[(1000, SECOND), (999, 9 * SECOND)]));
    let keyed = Buckets::keyed(quotas(&[(1000, SECOND), (999, 9 * SECOND)]), 1000);
    for buckets in [&one, &keyed] {
        let granted: usize = thread::scope(|scope| {
            let work = || (0..700).filter(|_| buckets.charge("k", 5).granted).count();
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
        });
        assert_eq!(granted, 999);
    }
}

#[test]
fn above_the_ceiling_the_key_whose_window_ends_first_makes_room() {
    let buckets = Buckets::keyed(quotas(&[(1, 10 * SECOND)]), 3);
    for (key, now) in [("a", 0), ("b", SECOND), ("c", 2 * SECOND)] {
        assert!(buckets.charge(key, now).granted);
    }
    // A new window for `a`, so that the window of `b` ends first.
    assert!(buckets.charge("a", 10 * SECOND).granted);
    assert!(buckets.charge("d", 10 * SECOND + 1).granted);
    assert_eq!(buckets.count(), 3);
    let granted = |key: &str| buckets.charge(key, 10 * SECOND + 2).granted;
    assert!(!granted("a") && !granted("c") && !granted("d"));
    assert!(granted("b"), "it was forgotten");
}

#[test]
fn the_ceiling_holds_over_many_shards() {
    let buckets = Buckets::keyed(quotas(&[(1, SECOND)]), 1600);
    for key in 0..20_000 {
        buckets.charge(&key.to_string(), 0);
    }
    assert!((1500..=1600).contains(&buckets.count()), "{} keys", buckets.count());
}

#[test]
fn idle_keys_are_dropped_after_one_unused_window() {
    let buckets = Buckets::keyed(quotas(&[(1, SECOND), (1, 2 * SECOND)]), 200);
    for key in 0..100 {
        buckets.charge(&key.to_string(), 0);
    }
    assert_eq!(buckets.count(), 100);
    // Their last windows end at 2 s, the unused ones after them at 4 s.
    for key in 0..60 {
        buckets.charge(&format!("b{key}"), 4 * SECOND - 1);
    }
    assert_eq!(buckets.count(), 160);
    for key in 0..60 {
        buckets.charge(&format!("c{key}"), 4 * SECOND);
    }
    assert_eq!(buckets.count(), 120);
}

#[test]
fn a_key_is_counted_the_same_with_others_as_alone() {
    let quotas = quotas(&[(3, 7), (5, 20)]);
    let keyed = Buckets::keyed(quotas.clone(), 1000);
    let mut alone: Vec<Option<Windows>> = (0..8).map(|_| None).collect();
    let mut random = fastrand::Rng::with_seed(7);
    let mut now = 0;
    for step in 0..20_000 {
        now += random.u64(0..4);
        let key = random.usize(0..8);
        let expected = alone[key].get_or_insert_with(|| Windows::starting(&quotas, now)).charge(&quotas, now);
        assert_eq!(keyed.charge(&key.to_string(), now), expected, "step {step}");
    }
}
