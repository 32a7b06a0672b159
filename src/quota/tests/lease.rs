//! A replica's side alone: a storage that lies, and headers.

use crate::{
    quota::{
        Fallback, Quota,
        lease::{Lease, idle},
        view::{Found, View},
    },
    storage::quota::{Answer, Leased, Record, Window},
};

const SECOND: u64 = 1_000_000;
const QUOTA: Quota = Quota { requests_max: 100, period: 10 * SECOND };

fn view(now: u64) -> View {
    View { now, away: 0, fallback: Fallback::Closed, replicas: 1, rank: 0, lost_at: None }
}

/// Asks whenever it can and takes what it gets; the storage answers at once with what `lie` makes of the call's number.
/// What was admitted in so many periods.
fn admitted(periods: u64, lie: impl Fn(u64, u64) -> Leased) -> u64 {
    let mut lease = Lease::default();
    let mut admitted = 0;
    let start = 7 * SECOND;
    for step in 0..periods * 1000 {
        let view = view(start + step * QUOTA.period / 1000);
        for _ in 0..10 {
            match lease.look(&QUOTA, &view) {
                Found::Token => {
                    lease.take();
                    admitted += 1;
                }
                Found::Wait | Found::Nothing => {
                    if let Some(call) = lease.ask(&QUOTA, &view, "claimant") {
                        let answer = Answer::Leased(lie(call.number, view.now));
                        lease.answered(&QUOTA, view.now, call.number, &answer);
                    }
                }
                Found::Unknown => panic!("the storage answers"),
            }
        }
    }
    admitted
}

#[test]
fn whoever_can_write_the_storage_gains_no_more_than_the_limit_in_each_window() {
    let window = |start| Window { start, end: start + QUOTA.period };
    let endless = |number: u64, now: u64, left: u64| Leased {
        window: window(now + number),
        left,
        carried: false,
        forgotten: false,
        grant: u64::MAX,
        rest: u64::MAX,
    };
    // Tokens without end, of windows that are new with each answer, and short, or last for ever.
    for left in [1, 1000, QUOTA.period, u64::MAX] {
        let admitted = admitted(20, |number, now| endless(number, now, left));
        assert!(admitted <= 22 * QUOTA.requests_max, "{admitted} of windows of {left}");
    }
    // One window that never ends.
    let admitted = admitted(20, |_, _| Leased { carried: true, ..endless(0, 0, u64::MAX) });
    assert!(admitted <= 22 * QUOTA.requests_max, "{admitted}");
}

#[test]
fn what_is_left_is_what_nobody_has_and_what_this_replica_has() {
    let mut lease = Lease::default();
    let view = view(0);
    assert_eq!(lease.look(&QUOTA, &view), Found::Wait);
    let call = lease.ask(&QUOTA, &view, "claimant").expect("none is under way");
    let leased = Leased {
        window: Window { start: SECOND, end: 11 * SECOND },
        left: 8 * SECOND,
        carried: true,
        forgotten: false,
        grant: 10,
        rest: 60,
    };
    lease.answered(&QUOTA, 1000, call.number, &Answer::Leased(leased));
    assert_eq!(lease.look(&QUOTA, &view), Found::Token);
    lease.take();
    let told = lease.allowance(&QUOTA, &view);
    assert_eq!((told.limit, told.remaining), (100, 69));
    // From when the answer came: who waits that long comes a round trip after the end at the most, and never before it.
    assert_eq!(told.reset_ms, 8_001);
    assert_eq!(lease.look(&QUOTA, &View { now: 8 * SECOND + 1000, ..view }), Found::Wait);
}

#[test]
fn what_is_not_known_to_be_less_is_whole() {
    let told = Lease::default().allowance(&QUOTA, &view(7));
    assert_eq!((told.remaining, told.reset_ms), (100, 10_000));
}

#[test]
fn what_was_granted_may_be_forgotten_and_what_was_admitted_alone_was_never_known() {
    let leased = Leased {
        window: Window { start: 0, end: 10 * SECOND },
        left: 9 * SECOND,
        carried: true,
        forgotten: true,
        grant: 5,
        rest: 60,
    };
    let answer = Answer::Leased(leased);
    let mut lease = Lease::default();
    let alone = View { away: 1, fallback: Fallback::Share, ..view(0) };
    assert_eq!(lease.look(&QUOTA, &alone), Found::Token);
    lease.take();
    let call = lease.ask(&QUOTA, &view(1), "claimant").expect("none is under way");
    assert_eq!((call.claim, call.granted), (1, false));
    lease.answered(&QUOTA, 2, call.number, &answer);
    let call = lease.ask(&QUOTA, &view(3), "claimant").expect("none is under way");
    assert_eq!((call.claim, call.granted), (6, true));
    assert!(lease.is_forgotten(call.number, &answer));
    let known = Answer::Leased(Leased { forgotten: false, ..leased });
    assert!(!lease.is_forgotten(call.number, &known));
    assert!(!lease.is_forgotten(call.number - 1, &answer), "an answer that is not waited for any more");
}

/// What requests at this replica are admitted, one after the other, by a storage that answers at once, at `now` of both clocks.
fn admitted_by(
    record: &mut Option<Record>,
    lease: &mut Lease,
    quota: &Quota,
    view: &View,
    claimant: &str,
) -> u64 {
    let mut admitted = 0;
    for _ in 0..10 * quota.requests_max {
        if lease.look(quota, view) == Found::Token {
            lease.take();
            admitted += 1;
        } else if let Some(call) = lease.ask(quota, view, claimant) {
            let answer = Record::lease(record, &call, view.now);
            lease.answered(quota, view.now, call.number, &answer);
        }
    }
    admitted
}

#[test]
fn what_was_admitted_alone_in_a_window_that_the_storage_has_not_seen_is_no_loss() {
    let quota = Quota { requests_max: 1000, ..QUOTA };
    let there = |now| View { fallback: Fallback::Share, replicas: 3, ..view(now) };
    let (mut record, mut lease) = (None, Lease::default());
    assert_eq!(admitted_by(&mut record, &mut lease, &quota, &there(SECOND), "a"), 1000);
    // The storage is away from the first window into the second.
    let away = View { away: 1, ..there(12 * SECOND) };
    for _ in 0..5 {
        assert_eq!(lease.look(&quota, &away), Found::Token);
        lease.take();
    }
    assert_eq!(
        admitted_by(&mut record, &mut lease, &quota, &there(13 * SECOND), "a"),
        328,
        "the rest of the share"
    );
    assert_eq!(
        admitted_by(&mut record, &mut lease, &quota, &there(14 * SECOND), "a"),
        667,
        "all that is left"
    );
    assert_eq!(record.map(|record| record.held()), Some(1000));
}

#[test]
fn what_replicas_admitted_alone_makes_no_burst_when_they_are_back_one_after_the_other() {
    let quota = Quota { requests_max: 1000, ..QUOTA };
    let view = |rank, away, now| View { fallback: Fallback::Share, replicas: 3, rank, away, ..view(now) };
    for period in [0, 1] {
        let (mut record, mut leases) = (None, [Lease::default(), Lease::default(), Lease::default()]);
        // Of a window that began before the storage was away, and of one that it never told of.
        let begins = period * quota.period + SECOND;
        if period == 1 {
            for (lease, rank) in leases.iter_mut().zip(0..) {
                admitted_by(&mut record, lease, &quota, &view(rank, 0, SECOND), &format!("c{rank}"));
            }
        }
        let mut admitted = 0;
        for (lease, rank) in leases.iter_mut().zip(0..) {
            let away = view(rank, 1, begins + SECOND);
            while lease.look(&quota, &away) == Found::Token {
                lease.take();
                admitted += 1;
            }
        }
        assert_eq!(admitted, 1000, "the shares");
        for later in [0, 300_000, 600_000, 2 * SECOND] {
            for (lease, rank) in leases.iter_mut().zip(0..).take(1 + later as usize / 300_000) {
                let back = view(rank, 0, begins + 2 * SECOND + later);
                admitted += admitted_by(&mut record, lease, &quota, &back, &format!("c{rank}"));
            }
        }
        assert_eq!(admitted, 1000, "{period}");
    }
}

#[test]
fn a_lease_is_called_for_once_however_many_requests_wait_for_it() {
    let mut lease = Lease::default();
    let calls = |lease: &mut Lease| (0..100).filter(|_| lease.should_ask(&view(0), true)).count();
    assert_eq!(calls(&mut lease), 1, "as long as nobody has made the call");
    let call = lease.ask(&QUOTA, &view(0), "claimant").expect("none is under way");
    assert_eq!((call.want, calls(&mut lease)), (100, 0), "as long as it is under way");
    assert!(lease.ask(&QUOTA, &view(0), "claimant").is_none());
    lease.failed(1, call.number);
    assert_eq!(calls(&mut lease), 1);
    // A call of another kind was quicker: who finds nothing in its answer calls for the next.
    let mut lease = leased(10, 60);
    assert_eq!(calls(&mut lease), 1);
    let told = lease.tell(&QUOTA, &view(2), "claimant", true).expect("it holds tokens");
    assert!(lease.ask(&QUOTA, &view(2), "claimant").is_none());
    lease.failed(3, told.number);
    assert_eq!(calls(&mut lease), 1);
}

#[test]
fn only_a_lease_of_a_district_that_is_away_does_without_the_storage() {
    let away = View { away: 1 << 3 | 1 << 63, ..view(0) };
    for (district, found) in [(0, Found::Wait), (3, Found::Unknown), (4, Found::Wait), (63, Found::Unknown)] {
        let mut lease = Lease::of(district);
        assert_eq!(lease.look(&QUOTA, &away), found, "{district}");
    }
}

#[test]
fn shares_of_all_replicas_make_the_limit() {
    for (limit, replicas) in [(2, 3), (3, 3), (100, 7), (0, 2)] {
        let quota = Quota { requests_max: limit, ..QUOTA };
        let share = |rank| {
            let view = View { away: 1, fallback: Fallback::Share, replicas, rank, ..view(0) };
            Lease::default().allowance(&quota, &view).remaining
        };
        let shares: Vec<u64> = (0..replicas).map(share).collect();
        assert_eq!(shares.iter().sum::<u64>(), limit, "{shares:?}");
        assert!(shares.iter().all(|share| share.abs_diff(limit / replicas) <= 1), "{shares:?}");
    }
}

#[test]
fn an_answer_that_is_not_waited_for_any_more_brings_nothing() {
    let mut lease = Lease::default();
    let first = lease.ask(&QUOTA, &view(0), "claimant").expect("none is under way");
    lease.failed(1, first.number);
    let leased = Leased {
        window: Window { start: 0, end: 10 * SECOND },
        left: 10 * SECOND,
        carried: true,
        forgotten: false,
        grant: 10,
        rest: 60,
    };
    lease.answered(&QUOTA, 2, first.number, &Answer::Leased(leased));
    assert_eq!(lease.look(&QUOTA, &view(3)), Found::Wait);
    let second = lease.ask(&QUOTA, &view(3), "claimant").expect("none is under way");
    assert_eq!((second.number, second.claim), (2, 0));
}

/// A lease that was granted so many of a window of ten seconds; so many are left for all.
fn leased(grant: u64, rest: u64) -> Lease {
    let mut lease = Lease::default();
    assert_eq!(lease.look(&QUOTA, &view(0)), Found::Wait);
    let call = lease.ask(&QUOTA, &view(0), "claimant").expect("none is under way");
    let window = Window { start: 0, end: 10 * SECOND };
    let leased = Leased { window, left: 10 * SECOND, carried: true, forgotten: false, grant, rest };
    lease.answered(&QUOTA, 1, call.number, &Answer::Leased(leased));
    lease
}

#[test]
fn what_could_not_be_given_back_is_given_back_again_until_the_storage_has_heard_it() {
    let mut lease = leased(100, 0);
    let mut now = 1;
    for _ in 0..3 {
        now += 2 * idle(&QUOTA);
        assert!(lease.holds());
        let call = lease.give_back(&QUOTA, &view(now), "claimant").expect("nobody uses them");
        assert_eq!((call.claim, call.want), (0, 0));
        lease.failed(now + 1, call.number);
    }
    now += 2 * idle(&QUOTA);
    let call = lease.give_back(&QUOTA, &view(now), "claimant").expect("it is still not told");
    let window = Window { start: 0, end: 10 * SECOND };
    let heard = Leased { window, left: 5 * SECOND, carried: true, forgotten: false, grant: 0, rest: 100 };
    lease.answered(&QUOTA, now, call.number, &Answer::Leased(heard));
    assert!(!lease.holds());
    assert!(lease.give_back(&QUOTA, &view(now + 2 * idle(&QUOTA)), "claimant").is_none());
}

#[test]
fn a_grant_whose_answer_was_lost_is_given_back_and_not_after_its_window() {
    for (later, is_told) in [(SECOND, true), (11 * SECOND, false)] {
        let mut lease = leased(1, 50);
        lease.take();
        let call = lease.ask(&QUOTA, &view(2), "claimant").expect("none is under way");
        lease.failed(3, call.number);
        assert!(lease.holds(), "the storage may have granted some");
        assert_eq!(lease.give_back(&QUOTA, &view(later), "claimant").is_some(), is_told);
        assert_eq!(lease.holds(), is_told);
    }
}

#[test]
fn the_end_is_told_where_an_answer_may_still_bring_tokens() {
    let mut lease = leased(1, 50);
    lease.take();
    assert!(lease.tell(&QUOTA, &view(2), "claimant", false).is_none(), "the storage knows of that one");
    let asked = lease.ask(&QUOTA, &view(2), "claimant").expect("none is under way");
    let last = lease.tell(&QUOTA, &view(3), "claimant", false).expect("it may be granted more");
    assert!(last.number > asked.number && last.claim == 1 && last.want == 0);
}

#[test]
fn nothing_is_left_for_who_is_refused_whatever_others_hold_back() {
    let mut lease = leased(0, 57);
    assert_eq!(lease.look(&QUOTA, &view(2)), Found::Nothing);
    assert_eq!(lease.allowance(&QUOTA, &view(2)).remaining, 0);
}
