//! The connections of one upstream over all workers of this replica, and the line of the requests
//! that wait for one (configuration reference 7.2): first come, first served, on whatever worker.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// A connection stays with its worker, so the next in line on another one gets it closed and opened
/// anew. That is worth its price only when they came so much earlier than the next in line here.
const OVERTAKE_MAX: Duration = Duration::from_millis(50);

/// Who holds a connection, and who waits for one.
#[derive(Debug, Default)]
pub struct ConnectionLine {
    state: Mutex<State>,
    /// Length of the line, to be looked at without the lock.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    line: VecDeque<Waiter>,
    /// Number of the latest.
    number: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    worker: usize,
    since: Instant,
    connections_max: usize,
    /// May open a connection; otherwise it waits for a place on one that it will share.
    opens: bool,
    grant: oneshot::Sender<Grant>,
}

/// What a waiter is given.
#[derive(Debug)]
pub enum Grant {
    /// To open a connection.
    Permit(Permit),
    /// An open connection: its worker has set one of this upstream aside for it.
    Connection,
}

/// Who gets a connection that has become free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Nobody,
    /// Somebody on this worker, who knows: the connection is to be set aside.
    Here,
    /// Somebody on another worker: the connection is to be closed.
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

    /// To open a connection at once, if there are less than `limit` and nobody is in line for it.
    pub fn permit(self: &Arc<Self>, limit: usize) -> Option<Permit> {
        let mut state = self.lock();
        if state.connections >= limit || state.line.iter().any(|waiter| waiter.opens) {
            return None;
        }
        state.connections += 1;
        Some(Permit { line: Some(Arc::clone(self)) })
    }

    /// A place at the end of the line, unless `waiting_max` stand there.
    pub fn join(
        self: &Arc<Self>,
        worker: usize,
        connections_max: usize,
        waiting_max: usize,
        opens: bool,
    ) -> Option<Place> {
        let mut state = self.lock();
        if state.line.len() >= waiting_max {
            return None;
        }
        let (grant, granted) = oneshot::channel();
        state.number += 1;
        let number = state.number;
        state.line.push_back(Waiter { number, worker, since: Instant::now(), connections_max, opens, grant });
        self.advance(&mut state);
        Some(Place { line: Arc::clone(self), number, granted: Some(granted) })
    }

    /// Who gets a connection that has become free on a worker. Nobody, and no lock, in all but hard times.
    pub fn next(&self, worker: usize) -> Next {
        if self.waiting() == 0 {
            return Next::Nobody;
        }
        let mut state = self.lock();
        let Some(first) = state.line.front().map(|first| first.since) else { return Next::Nobody };
        let here = state.line.iter().position(|waiter| waiter.worker == worker);
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
        while let Some(at) = state.line.iter().position(|waiter| waiter.opens)
            && state.connections < state.line[at].connections_max
            && let Some(waiter) = state.line.remove(at)
        {
            let permit = Permit { line: Some(Arc::clone(self)) };
            match waiter.grant.send(Grant::Permit(permit)) {
                Ok(()) => state.connections += 1,
                // It never counted.
                Err(Grant::Permit(mut permit)) => permit.line = None,
                Err(Grant::Connection) => {}
            }
        }
        self.note(state);
    }

    fn note(&self, state: &State) {
        self.waiting.store(state.line.len(), Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_free_connection_stays_on_its_worker_unless_another_has_waited_longer() {
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
    fn a_raised_limit_is_noticed_by_the_next_in_line() {
        let line = line();
        let _held = line.permit(1);
        let mut before = line.join(0, 1, 9, true).unwrap();
        let mut after = line.join(0, 3, 9, true).unwrap();
        assert!(given(&mut before).is_none() && given(&mut after).is_none(), "in order");
        drop(before);
        assert!(matches!(given(&mut after), Some(Grant::Permit(_))));
    }
}
