//! Between those who log and an output's thread: a bounded buffer of finished lines.
//!
//! A line that does not fit is dropped and counted; nobody ever waits for room. The lock is held
//! for the copy of one line or the swap of two buffers.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::base::lock;

/// Bounds on what waits for an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    pub bytes: usize,
    pub lines: usize,
}

#[derive(Default)]
struct State {
    /// Lines, each with its line feed.
    waiting: Vec<u8>,
    lines: usize,
    /// Taken by the thread and not yet delivered.
    taken_bytes: usize,
    taken_lines: usize,
    /// The thread has work in hand.
    busy: bool,
    closed: bool,
    reopen: bool,
    /// Somebody waits in `flush`: no lingering.
    hurry: usize,
    /// The thread has ended.
    finished: bool,
}

pub(super) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    changed: Condvar,
    written: AtomicU64,
    dropped: AtomicU64,
}

/// What the thread is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work {
    /// Whole lines.
    pub batch: Vec<u8>,
    /// Open the file anew before writing.
    pub reopen: bool,
}

impl Queue {
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            changed: Condvar::new(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Adds a line that ends in a line feed, or drops and counts it.
    pub fn push(&self, line: &str) {
        let mut state = self.lock();
        let bytes = state.waiting.len() + state.taken_bytes + line.len();
        if state.finished || bytes > self.limits.bytes || state.lines + state.taken_lines >= self.limits.lines
        {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(line.as_bytes());
        state.lines += 1;
        if was_empty {
            self.changed.notify_all();
        }
    }

    /// Waits for lines, then up to `linger` for more, and takes whole lines of about `bytes_max`.
    /// `None`: closed and empty.
    pub fn take(&self, bytes_max: usize, linger: Duration) -> Option<Work> {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.closed && !state.reopen {
            state = self.wait(state);
        }
        let until = Instant::now() + linger;
        while !state.waiting.is_empty()
            && state.waiting.len() < bytes_max
            && !state.closed
            && !state.reopen
            && state.hurry == 0
        {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.wait_for(state, left);
        }
        let reopen = std::mem::take(&mut state.reopen);
        if state.waiting.is_empty() && !reopen {
            return None;
        }
        let (batch, lines) = if state.waiting.len() <= bytes_max {
            let lines = std::mem::take(&mut state.lines);
            (std::mem::take(&mut state.waiting), lines)
        } else {
            let end = memchr::memchr(b'\n', &state.waiting[bytes_max - 1..]).map(|at| bytes_max + at);
            let end = end.unwrap_or(state.waiting.len());
            let batch: Vec<u8> = state.waiting.drain(..end).collect();
            let lines = memchr::memchr_iter(b'\n', &batch).count().min(state.lines);
            state.lines -= lines;
            (batch, lines)
        };
        state.busy = true;
        state.taken_bytes = batch.len();
        state.taken_lines = lines;
        Some(Work { batch, reopen })
    }

    /// What was taken is delivered, or given up.
    pub fn done(&self, delivered: bool) {
        let mut state = self.lock();
        state.busy = false;
        state.taken_bytes = 0;
        let lines = std::mem::take(&mut state.taken_lines) as u64;
        let counter = if delivered { &self.written } else { &self.dropped };
        counter.fetch_add(lines, Relaxed);
        self.changed.notify_all();
    }

    /// Waits between two attempts; shorter when somebody flushes or the output was closed. False
    /// when a closed output should give up.
    pub fn pause(&self, delay: Duration, give_up_after_close: bool) -> bool {
        let until = Instant::now() + delay;
        let mut state = self.lock();
        let shortest = Instant::now() + Duration::from_millis(50);
        loop {
            let hurried = state.closed || state.hurry > 0;
            let end = if hurried { until.min(shortest) } else { until };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return !(state.closed && give_up_after_close);
            }
            state = self.wait_for(state, left);
        }
    }

    /// No more lines will come; the thread ends when the rest is delivered.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub fn reopen(&self) {
        self.lock().reopen = true;
        self.changed.notify_all();
    }

    /// The thread is about to end.
    pub fn finish(&self) {
        self.lock().finished = true;
        self.changed.notify_all();
    }

    /// Waits until everything that was pushed before is delivered or given up. False when `until`
    /// came first.
    pub fn flush(&self, until: Instant) -> bool {
        let mut state = self.lock();
        state.hurry += 1;
        self.changed.notify_all();
        loop {
            if state.finished || (state.waiting.is_empty() && !state.busy && !state.reopen) {
                state.hurry -= 1;
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.hurry -= 1;
                return false;
            }
            state = self.wait_for(state, left);
        }
    }

    pub fn is_finished(&self) -> bool {
        self.lock().finished
    }

    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Lines delivered, lines dropped, bytes held.
    pub fn totals(&self) -> (u64, u64, u64) {
        let state = self.lock();
        let held = (state.waiting.len() + state.taken_bytes) as u64;
        (self.written.load(Relaxed), self.dropped.load(Relaxed), held)
    }

    /// No code that can panic runs under the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }
}
