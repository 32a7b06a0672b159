//! The connections of one upstream over all workers of this replica, and the line of the requests
//! that wait for one (configuration reference 7.2): first come, first served, on whatever worker.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::base::lock;

use tokio::sync::oneshot;

/// A connection stays with its pool, so the next in line at another one gets it closed and opened
/// anew. That is worth its price only when they came so much earlier than the next in line here.
const OVERTAKE_MAX: Duration = Duration::from_millis(50);

/// Who holds a connection, and who waits for one.
#[derive(Debug, Default)]
pub struct ConnectionLine {
    state: Mutex<State>,
    /// Length of the line, to be looked at without the lock.
    waiting: AtomicUsize,
    /// How many of them may open a connection.
    openers: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    /// The limit that was named last: who waits since before a reload is served by the new one.
    connections_max: usize,
    line: VecDeque<Waiter>,
    /// Number of the latest.
    number: u64,
}

impl State {
    /// Nobody is in line, and less than half of `limit` are open.
    fn has_spare(&self, limit: usize) -> bool {
        self.line.is_empty() && self.connections < limit / 2
    }
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    /// Which pool it waits at.
    pool: usize,
    since: Instant,
    /// May open a connection; otherwise it waits for a place on one that it will share.
    opens: bool,
    grant: oneshot::Sender<Grant>,
}

/// What a waiter is given.
#[derive(Debug)]
pub enum Grant {
    /// To open a connection.
    Permit(Permit),
    /// An open connection: its pool has set one of this upstream aside for it.
    Connection,
}

/// Who gets a connection that has become free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Nobody,
    /// Somebody at this pool, who knows: the connection is to be set aside.
    Here,
    /// Somebody at another pool: the connection is to be closed.
    Elsewhere,
}

impl ConnectionLine {
    /// Open connections.
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    /// Requests in line.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Requests in line that may open a connection.
    pub fn openers(&self) -> usize {
        self.openers.load(Ordering::SeqCst)
    }

    /// Whether somebody at another pool has waited for a connection longer than is to be expected.
    pub fn is_overdue(&self, pool: usize) -> bool {
        let state = self.lock();
        let mut elsewhere = state.line.iter().filter(|waiter| waiter.opens && waiter.pool != pool);
        elsewhere.next().is_some_and(|first| first.since.elapsed() > OVERTAKE_MAX)
    }

    /// To open a connection at once, if there are less than `limit` and nobody is in line for it.
    pub fn permit(self: &Arc<Self>, limit: usize) -> Option<Permit> {
        let mut state = self.lock();
        state.connections_max = limit;
        self.advance(&mut state);
        if state.connections >= limit || self.openers() > 0 {
            return None;
        }
        state.connections += 1;
        Some(Permit { line: Some(Arc::clone(self)) })
    }

    /// Whether [`Self::spare`] would give one.
    pub fn has_spare(&self, limit: usize) -> bool {
        self.lock().has_spare(limit)
    }

    /// To open a connection that no request waits for.
    pub fn spare(self: &Arc<Self>, limit: usize) -> Option<Permit> {
        let mut state = self.lock();
        if !state.has_spare(limit) {
            return None;
        }
        state.connections += 1;
        Some(Permit { line: Some(Arc::clone(self)) })
    }

    /// A place at the end of the line, unless `waiting_max` stand there.
    pub fn join(
        self: &Arc<Self>,
        pool: usize,
        connections_max: usize,
        waiting_max: usize,
        opens: bool,
    ) -> Option<Place> {
        let mut state = self.lock();
        state.connections_max = connections_max;
        if state.line.len() >= waiting_max {
            return None;
        }
        let (grant, granted) = oneshot::channel();
        state.number += 1;
        let number = state.number;
        state.line.push_back(Waiter { number, pool, since: Instant::now(), opens, grant });
        self.advance(&mut state);
        Some(Place { line: Arc::clone(self), number, granted: Some(granted) })
    }

    /// Who gets a connection that has become free at a pool. Nobody, and no lock, in all but hard times.
    pub fn next(&self, pool: usize) -> Next {
        if self.waiting() == 0 {
            return Next::Nobody;
        }
        let mut state = self.lock();
        let Some(first) = state.line.front().map(|first| first.since) else { return Next::Nobody };
        let here = state.line.iter().position(|waiter| waiter.pool == pool);
        let Some(at) = here.filter(|at| state.line[*at].since <= first + OVERTAKE_MAX) else {
            return Next::Elsewhere;
        };
        let waiter = state.line.remove(at);
        self.note(&state);
        drop(state);
        match waiter.map(|waiter| waiter.grant.send(Grant::Connection)) {
            Some(Ok(())) => Next::Here,
            _ => Next::Nobody,
        }
    }

    /// Gives those in front what there is.
    fn advance(self: &Arc<Self>, state: &mut State) {
        self.note(state);
        while self.openers() > 0
            && state.connections < state.connections_max
            && let Some(at) = state.line.iter().position(|waiter| waiter.opens)
            && let Some(waiter) = state.line.remove(at)
        {
            let permit = Permit { line: Some(Arc::clone(self)) };
            match waiter.grant.send(Grant::Permit(permit)) {
                Ok(()) => state.connections += 1,
                // It never counted.
                Err(Grant::Permit(mut permit)) => permit.line = None,
                Err(Grant::Connection) => {}
            }
            self.note(state);
        }
    }

    fn note(&self, state: &State) {
        self.waiting.store(state.line.len(), Ordering::SeqCst);
        let openers = state.line.iter().filter(|waiter| waiter.opens).count();
        self.openers.store(openers, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// One connection that is open, or being opened. Dropped, it goes to the next in line.
#[derive(Debug)]
pub struct Permit {
    line: Option<Arc<ConnectionLine>>,
}

impl Permit {
    /// Counts nowhere.
    pub fn void() -> Self {
        Self { line: None }
    }

    /// Whether it counts in this line.
    pub fn is_of(&self, line: &Arc<ConnectionLine>) -> bool {
        self.line.as_ref().is_some_and(|own| Arc::ptr_eq(own, line))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            let mut state = line.lock();
            state.connections -= 1;
            line.advance(&mut state);
        }
    }
}

/// A place in line. Dropped, it is left; what it was given meanwhile goes on to the next.
#[derive(Debug)]
pub struct Place {
    line: Arc<ConnectionLine>,
    number: u64,
    /// `None` once the grant has been taken.
    granted: Option<oneshot::Receiver<Grant>>,
}

impl Place {
    /// Waits for the grant; never ends when it has been taken.
    pub async fn granted(&mut self) -> Grant {
        if let Some(granted) = &mut self.granted
            && let Ok(grant) = granted.await
        {
            self.granted = None;
            return grant;
        }
        std::future::pending().await
    }

    /// Whether it stands in line for a connection of its own.
    pub fn set_opens(&self, opens: bool) {
        let mut state = self.line.lock();
        if let Some(waiter) = state.line.iter_mut().find(|waiter| waiter.number == self.number) {
            waiter.opens = opens;
            self.line.advance(&mut state);
        }
    }

    /// Leaves, with what it was given and has not taken.
    pub fn leave(&mut self) -> Option<Grant> {
        let mut granted = self.granted.take()?;
        {
            let mut state = self.line.lock();
            state.line.retain(|waiter| waiter.number != self.number);
            self.line.advance(&mut state);
        }
        granted.try_recv().ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Arc<ConnectionLine> {
        Arc::default()
    }

    /// What a place has been given by now.
    fn given(place: &mut Place) -> Option<Grant> {
        let grant = place.granted.as_mut()?.try_recv().ok()?;
        place.granted = None;
        Some(grant)
    }

    #[test]
    fn permits_and_places_admit_exactly_their_limits() {
        let line = line();
        let held = [line.permit(2), line.permit(2)];
        assert!(held.iter().all(Option::is_some) && line.permit(2).is_none());
        let places = [line.join(0, 2, 2, true), line.join(1, 2, 2, true)];
        assert!(places.iter().all(Option::is_some) && line.join(0, 2, 2, true).is_none());
        assert_eq!((line.connections(), line.waiting()), (2, 2));
        drop(places);
        drop(held);
        assert_eq!((line.connections(), line.waiting()), (0, 0));
    }

    #[test]
    fn what_is_opened_in_advance_leaves_half_of_the_limit_and_overtakes_nobody() {
        let line = line();
        let held = [line.spare(4), line.spare(4), line.spare(4)];
        assert_eq!(held.iter().flatten().count(), 2);
        assert!(line.spare(1).is_none() && line.permit(4).is_some());
        let _waits = line.join(0, 2, 9, true).unwrap();
        assert!(line.spare(99).is_none());
    }

    #[test]
    fn a_permit_goes_to_the_first_in_line_and_nobody_overtakes() {
        let line = line();
        let held = line.permit(1);
        let [mut first, mut second] = [0, 1].map(|worker| line.join(worker, 1, 9, true).unwrap());
        assert!(given(&mut first).is_none());
        drop(held);
        assert!(line.permit(1).is_none(), "it has gone to the first");
        let Some(Grant::Permit(permit)) = given(&mut first) else { panic!("the first waits on") };
        assert!(given(&mut second).is_none());
        // The first has left before it took what it was given.
        drop(permit);
        assert!(matches!(given(&mut second), Some(Grant::Permit(_))));
        assert_eq!((line.connections(), line.waiting()), (0, 0));
    }

    #[test]
    fn what_is_given_to_somebody_who_leaves_goes_on() {
        let line = line();
        let held = line.permit(1);
        let [first, mut second] = [0, 0].map(|worker| line.join(worker, 1, 9, true).unwrap());
        drop(held);
        drop(first);
        assert!(matches!(given(&mut second), Some(Grant::Permit(_))));
        let mut third = line.join(0, 1, 9, true).unwrap();
        assert!(matches!(given(&mut third), Some(Grant::Permit(_))), "all of it was counted out");
        assert_eq!(line.connections(), 0);
    }

    #[test]
    fn a_free_connection_stays_at_its_pool_unless_somebody_elsewhere_has_waited_longer() {
        let line = line();
        assert_eq!(line.next(0), Next::Nobody);
        let _held = line.permit(1);
        let mut elsewhere = line.join(1, 1, 9, true).unwrap();
        assert_eq!(line.next(0), Next::Elsewhere);
        let mut here = line.join(0, 1, 9, true).unwrap();
        assert_eq!(line.next(0), Next::Here, "both came at about the same time");
        assert!(matches!(given(&mut here), Some(Grant::Connection)));
        line.lock().line[0].since -= OVERTAKE_MAX;
        let mut late = line.join(0, 1, 9, true).unwrap();
        assert_eq!(line.next(0), Next::Elsewhere);
        assert_eq!(line.next(1), Next::Here);
        assert!(matches!(given(&mut elsewhere), Some(Grant::Connection)));
        assert!(given(&mut late).is_none());
    }

    #[test]
    fn who_shares_a_connection_keeps_nobody_from_opening_one() {
        let line = line();
        let mut sharing = line.join(0, 2, 9, false).unwrap();
        let permit = line.permit(2);
        assert!(permit.is_some() && given(&mut sharing).is_none());
        sharing.set_opens(true);
        assert!(matches!(given(&mut sharing), Some(Grant::Permit(_))));
    }

    #[test]
    fn a_changed_limit_is_in_force_for_those_who_wait() {
        let line = line();
        let _held = line.permit(1);
        let mut before = line.join(0, 1, 9, true).unwrap();
        assert!(given(&mut before).is_none());
        let mut after = line.join(0, 3, 9, true).unwrap();
        let [first, second] = [given(&mut before), given(&mut after)];
        assert!(matches!((&first, &second), (Some(Grant::Permit(_)), Some(Grant::Permit(_)))));
        let lowered = line.join(0, 2, 9, true).unwrap();
        drop(first);
        assert_eq!((line.connections(), line.waiting()), (2, 1), "two are open, and may be");
        drop(lowered);
    }

    /// What one thread does with a line that others use too: every way to get something and to lose it.
    fn work(line: &Arc<ConnectionLine>, worker: usize, open: &AtomicUsize) {
        const LIMIT: usize = 3;
        let used = |permit: Permit| {
            assert!(open.fetch_add(1, Ordering::SeqCst) < LIMIT, "more than there may be");
            std::thread::yield_now();
            // What is given to somebody else counts for them.
            open.fetch_sub(1, Ordering::SeqCst);
            drop(permit);
        };
        for _ in 0..3_000 {
            if let Some(permit) = line.permit(LIMIT) {
                used(permit);
                continue;
            }
            let Some(mut place) = line.join(worker, LIMIT, 3, fastrand::u8(..4) > 0) else { continue };
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
        let (line, open) = (line(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (line, open) = (&line, &open);
                scope.spawn(move || work(line, worker, open));
            }
        });
        assert_eq!((line.connections(), line.waiting(), open.into_inner()), (0, 0, 0));
        assert!(line.permit(1).is_some());
    }
}
