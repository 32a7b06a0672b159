//! The line of one upstream.

use super::*;

/// What a place has been given by now.
fn given(place: &mut Place) -> Option<Grant> {
    let grant = place.granted.as_mut()?.try_recv().ok()?;
    place.granted = None;
    Some(grant)
}

#[test]
fn permits_and_places_admit_exactly_their_limits() {
    let line = ConnectionLine::new(2);
    let held = [line.permit(), line.permit()];
    assert!(held.iter().all(Option::is_some) && line.permit().is_none());
    let places = [line.join(0, 2, true), line.join(1, 2, true)];
    assert!(places.iter().all(Option::is_some) && line.join(0, 2, true).is_none());
    assert_eq!((line.connections(), line.waiting()), (2, 2));
    drop(places);
    drop(held);
    assert_eq!((line.connections(), line.waiting()), (0, 0));
}

#[test]
fn what_is_opened_in_advance_leaves_half_of_the_limit_and_overtakes_nobody() {
    let line = ConnectionLine::new(4);
    let held = [line.spare(), line.spare(), line.spare()];
    assert_eq!(held.iter().flatten().count(), 2);
    assert!(line.permit().is_some());
    let _waits = line.join(0, 9, false).unwrap();
    line.set_limit(99);
    assert!(line.spare().is_none());
}

#[test]
fn a_permit_goes_to_the_first_in_line_and_nobody_overtakes() {
    let line = ConnectionLine::new(1);
    let held = line.permit();
    let [mut first, mut second] = [0, 1].map(|worker| line.join(worker, 9, true).unwrap());
    assert!(given(&mut first).is_none());
    drop(held);
    assert!(line.permit().is_none(), "it has gone to the first");
    let Some(Grant::Permit(permit)) = given(&mut first) else { panic!("the first waits on") };
    assert!(given(&mut second).is_none());
    // The first has left before it took what it was given.
    drop(permit);
    assert!(matches!(given(&mut second), Some(Grant::Permit(_))));
    assert_eq!((line.connections(), line.waiting()), (0, 0));
}

#[test]
fn what_is_given_to_somebody_who_leaves_goes_on() {
    let line = ConnectionLine::new(1);
    let held = line.permit();
    let [first, mut second] = [0, 0].map(|worker| line.join(worker, 9, true).unwrap());
    drop(held);
    drop(first);
    assert!(matches!(given(&mut second), Some(Grant::Permit(_))));
    let mut third = line.join(0, 9, true).unwrap();
    assert!(matches!(given(&mut third), Some(Grant::Permit(_))), "all of it was counted out");
    assert_eq!(line.connections(), 0);
}

#[test]
fn a_free_connection_stays_at_its_pool_unless_somebody_elsewhere_has_waited_longer() {
    let line = ConnectionLine::new(1);
    assert_eq!(line.next(0), Next::Nobody);
    let _held = line.permit();
    let mut elsewhere = line.join(1, 9, true).unwrap();
    assert_eq!(line.next(0), Next::Elsewhere);
    let mut here = line.join(0, 9, true).unwrap();
    assert_eq!(line.next(0), Next::Here, "both came at about the same time");
    assert!(matches!(given(&mut here), Some(Grant::Connection)));
    line.lock().line[0].since -= OVERTAKE_MAX;
    let mut late = line.join(0, 9, true).unwrap();
    assert_eq!(line.next(0), Next::Elsewhere);
    assert_eq!(line.next(1), Next::Here);
    assert!(matches!(given(&mut elsewhere), Some(Grant::Connection)));
    assert!(given(&mut late).is_none());
}

#[test]
fn who_shares_a_connection_keeps_nobody_from_opening_one() {
    let line = ConnectionLine::new(2);
    let mut sharing = line.join(0, 9, false).unwrap();
    let permit = line.permit();
    assert!(permit.is_some() && given(&mut sharing).is_none());
    sharing.set_opens(true);
    assert!(matches!(given(&mut sharing), Some(Grant::Permit(_))));
}

#[test]
fn a_limit_that_is_raised_serves_those_who_wait_and_one_that_is_lowered_closes_what_is_too_much() {
    let line = ConnectionLine::new(1);
    let mut held = vec![line.permit().unwrap()];
    let [mut first, mut second] = [0, 0].map(|worker| line.join(worker, 9, true).unwrap());
    line.set_limit(3);
    for waits in [&mut first, &mut second] {
        let Some(Grant::Permit(permit)) = given(waits) else { panic!("it waits on") };
        held.push(permit);
    }
    line.set_limit(1);
    for waiting in [None, line.join(0, 9, true)] {
        assert!(line.is_exceeded());
        assert_eq!(line.next(0), Next::Elsewhere, "{waiting:?}");
        held.pop();
    }
    assert!(!line.is_exceeded());
    assert_eq!(line.next(0), Next::Nobody);
    let mut waits = line.join(0, 9, true).unwrap();
    assert_eq!(line.next(0), Next::Here);
    assert!(matches!(given(&mut waits), Some(Grant::Connection)));
}

const LIMIT: usize = 3;

/// What one thread does with a line that others use too: every way to get something and to lose it.
fn work(line: &Arc<ConnectionLine>, worker: usize, open: &AtomicUsize) {
    let used = |permit: Permit| {
        assert!(open.fetch_add(1, Ordering::SeqCst) < LIMIT, "more than there may be");
        std::thread::yield_now();
        // What is given to somebody else counts for them.
        open.fetch_sub(1, Ordering::SeqCst);
        drop(permit);
    };
    for _ in 0..3_000 {
        if let Some(permit) = line.permit() {
            used(permit);
            continue;
        }
        let Some(mut place) = line.join(worker, 3, fastrand::u8(..4) > 0) else { continue };
        if fastrand::bool() {
            place.set_opens(true);
        }
        for _ in 0..fastrand::usize(..50) {
            match given(&mut place) {
                Some(Grant::Permit(permit)) => used(permit),
                // The worker has one for it; here there are none.
                Some(Grant::Connection) => {}
                None => {
                    if fastrand::u8(..20) == 0 {
                        line.next(worker);
                    }
                    std::thread::yield_now();
                    continue;
                }
            }
            break;
        }
    }
}

#[test]
fn threads_that_come_wait_get_and_leave_lose_nothing_and_exceed_nothing() {
    let (line, open) = (ConnectionLine::new(LIMIT), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (line, open) = (&line, &open);
            scope.spawn(move || work(line, worker, open));
        }
    });
    assert_eq!((line.connections(), line.waiting(), open.into_inner()), (0, 0, 0));
    assert!(line.permit().is_some());
}
