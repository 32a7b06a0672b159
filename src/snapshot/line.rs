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
#[derive(Debug)]
pub struct ConnectionLine {
    state: Mutex<State>,
    /// These change under the lock, and are looked at without it. Open connections.
    connections: AtomicUsize,
    /// That of the snapshot that was published last: who waits or has a connection since before is held to it, too.
    connections_max: AtomicUsize,
    /// Length of the line.
    waiting: AtomicUsize,
    /// How many of them may open a connection.
    openers: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    line: VecDeque<Waiter>,
    /// Number of the latest.
    number: u64,
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
    /// Somebody at another pool, or nobody because it is one too many: the connection is to be closed.
    Elsewhere,
}

impl ConnectionLine {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            connections: AtomicUsize::new(0),
            connections_max: AtomicUsize::new(limit),
            waiting: AtomicUsize::new(0),
            openers: AtomicUsize::new(0),
        })
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn limit(&self) -> usize {
        self.connections_max.load(Ordering::SeqCst)
    }

    /// More are open than there may be: the limit has been lowered.
    pub fn is_exceeded(&self) -> bool {
        self.connections() > self.limit()
    }

    /// The limit that counts from now on.
    pub fn set_limit(self: &Arc<Self>, limit: usize) {
        let mut state = self.lock();
        self.connections_max.store(limit, Ordering::SeqCst);
        self.advance(&mut state);
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

    /// To open a connection at once, if there are less than there may be and nobody is in line for it.
    pub fn permit(self: &Arc<Self>) -> Option<Permit> {
        let _state = self.lock();
        (self.connections() < self.limit() && self.openers() == 0).then(|| self.give())
    }

    /// Whether [`Self::spare`] would give one.
    pub fn has_spare(&self) -> bool {
        self.waiting() == 0 && self.connections() < self.limit() / 2
    }

    /// To open a connection that no request waits for: nobody is in line, and less than half of the limit are open.
    pub fn spare(self: &Arc<Self>) -> Option<Permit> {
        let _state = self.lock();
        self.has_spare().then(|| self.give())
    }

    /// One more. Under the lock.
    fn give(self: &Arc<Self>) -> Permit {
        self.connections.fetch_add(1, Ordering::SeqCst);
        Permit { line: Some(Arc::clone(self)) }
    }

    /// A place at the end of the line, unless `waiting_max` stand there.
    pub fn join(self: &Arc<Self>, pool: usize, waiting_max: usize, opens: bool) -> Option<Place> {
        let mut state = self.lock();
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
        if self.is_exceeded() {
            return Next::Elsewhere;
        }
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
            && self.connections() < self.limit()
            && let Some(at) = state.line.iter().position(|waiter| waiter.opens)
            && let Some(waiter) = state.line.remove(at)
        {
            if let Err(Grant::Permit(mut permit)) = waiter.grant.send(Grant::Permit(self.give())) {
                // Not as others are: the lock is held.
                permit.line = None;
                self.connections.fetch_sub(1, Ordering::SeqCst);
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
            line.connections.fetch_sub(1, Ordering::SeqCst);
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
mod tests;
