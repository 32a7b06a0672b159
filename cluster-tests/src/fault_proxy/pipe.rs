//! One way of one connection: pieces in the order in which they came, and when each may go on.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Faults;
use crate::lock;

/// What is held back at most; then the sender has to wait, as on a full network.
const HELD_BYTES_MAX: usize = 1 << 20;
/// A bandwidth is kept by pieces of so many a second.
const PIECES_PER_SECOND: u64 = 50;

/// How the bytes of one way end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Reset,
}

/// What the receiver gets next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Bytes(Vec<u8>),
    End(End),
}

struct Piece {
    content: Next,
    came: Instant,
    /// Where in the jitter it falls, and whether it is lost: drawn once, so that its fate does not change with each look.
    jitter: f64,
    luck: f64,
}

struct State {
    faults: Faults,
    held: VecDeque<Piece>,
    held_bytes: usize,
    /// When the bandwidth has room again.
    free: Instant,
    /// Bytes were swallowed: the rest is, too.
    torn: bool,
    broken: bool,
}

/// A queue between the thread that reads one side and the thread that writes the other.
pub(super) struct Pipe {
    state: Mutex<State>,
    changed: Condvar,
}

impl Pipe {
    pub(super) fn new(faults: Faults) -> Self {
        let state = State {
            faults,
            held: VecDeque::new(),
            held_bytes: 0,
            free: Instant::now(),
            torn: false,
            broken: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn set(&self, faults: Faults) {
        let mut state = lock(&self.state);
        state.faults = faults;
        state.free = Instant::now();
        self.changed.notify_all();
    }

    /// Whoever waits here stops.
    pub(super) fn break_off(&self) {
        lock(&self.state).broken = true;
        self.changed.notify_all();
    }

    pub(super) fn broken(&self) -> bool {
        lock(&self.state).broken
    }

    /// Takes what came in; waits while too much is held back. False when the connection is broken.
    pub(super) fn put(&self, content: Next) -> bool {
        let mut state = lock(&self.state);
        while state.held_bytes >= HELD_BYTES_MAX && !state.broken {
            state = wait(&self.changed, state);
        }
        if let Next::Bytes(bytes) = &content {
            state.held_bytes += bytes.len();
        }
        let piece = Piece { content, came: Instant::now(), jitter: fastrand::f64(), luck: fastrand::f64() };
        state.held.push_back(piece);
        self.changed.notify_all();
        !state.broken
    }

    /// What goes on next, when its time has come; `None` when the connection is broken.
    pub(super) fn take(&self) -> Option<Next> {
        let mut state = lock(&self.state);
        loop {
            if state.broken {
                return None;
            }
            let now = Instant::now();
            state = match state.due() {
                Some(due) if due <= now => match state.pop(now) {
                    Some(next) => {
                        self.changed.notify_all();
                        return Some(next);
                    }
                    None => state,
                },
                Some(due) => {
                    let waited = self.changed.wait_timeout(state, due - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => wait(&self.changed, state),
            };
        }
    }
}

fn wait<'a>(changed: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    changed.wait(state).unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// When the first piece goes on, by the faults of now; `None`: not before something changes.
    fn due(&self) -> Option<Instant> {
        let piece = self.held.front()?;
        let bytes = matches!(piece.content, Next::Bytes(_));
        let faults = &self.faults;
        if bytes && (self.torn || faults.black_hole) {
            return Some(piece.came);
        }
        if faults.partition || faults.black_hole {
            return None;
        }
        let stall = if piece.luck < faults.loss { faults.stall } else { Duration::ZERO };
        let due = piece.came + faults.delay + faults.jitter.mul_f64(piece.jitter) + stall;
        Some(due.max(self.free))
    }

    /// The first piece, or as much of it as the bandwidth has room for; `None` when it was swallowed.
    fn pop(&mut self, now: Instant) -> Option<Next> {
        let mut piece = self.held.pop_front()?;
        let Next::Bytes(bytes) = &mut piece.content else {
            // The end of a torn stream is all that its receiver ever learns.
            return Some(if self.torn { Next::End(End::Reset) } else { piece.content });
        };
        if self.torn || self.faults.black_hole {
            self.torn = true;
            self.held_bytes -= bytes.len();
            return None;
        }
        let Some(bandwidth) = self.faults.bandwidth else {
            self.held_bytes -= bytes.len();
            return Some(piece.content);
        };
        let room = usize::try_from((bandwidth / PIECES_PER_SECOND).max(1)).unwrap_or(usize::MAX);
        let rest = bytes.split_off(room.min(bytes.len()));
        self.held_bytes -= bytes.len();
        self.free = now + Duration::from_secs_f64(bytes.len() as f64 / bandwidth.max(1) as f64);
        if !rest.is_empty() {
            // It was delayed, and perhaps lost, together with its beginning.
            let (came, jitter, luck) = (piece.came, piece.jitter, piece.luck);
            self.held.push_front(Piece { content: Next::Bytes(rest), came, jitter, luck });
        }
        Some(piece.content)
    }
}
