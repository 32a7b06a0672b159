//! Between those who log and an output's thread: a bounded buffer of finished lines.
//!
//! A line that does not fit is dropped and counted; nobody ever waits for room. The lines lie in
//! segments, so that the lock is held for the copy of one line or for moving a few segments, however
//! much waits.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::base::lock;

/// Of a segment, unless one line is longer. Two of the longest lines; growing so far takes no time
/// that a request could notice.
pub(super) const SEGMENT_BYTES_MAX: usize = 64 * 1024;

/// Bounds on what waits for an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    pub bytes: usize,
    pub lines: usize,
}

/// What became of the lines of one name: shared by all outputs that have had it, so that counters go
/// on when its parameters change.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub written: AtomicU64,
    pub dropped: AtomicU64,
}

/// Lines, each with its line feed.
#[derive(Default)]
struct Segment {
    bytes: Vec<u8>,
    lines: usize,
}

#[derive(Default)]
struct State {
    /// None is empty.
    waiting: VecDeque<Segment>,
    waiting_bytes: usize,
    waiting_lines: usize,
    /// The thread sleeps until so many bytes wait; 0: it is awake.
    wake_bytes: usize,
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

impl State {
    fn append(&mut self, line: &str) {
        let room = |last: &&mut Segment| last.bytes.len() + line.len() <= SEGMENT_BYTES_MAX;
        match self.waiting.back_mut().filter(room) {
            Some(last) => {
                last.bytes.extend_from_slice(line.as_bytes());
                last.lines += 1;
            }
            None => self.waiting.push_back(Segment { bytes: line.into(), lines: 1 }),
        }
        self.waiting_bytes += line.len();
        self.waiting_lines += 1;
    }

    /// Takes as many segments as `bytes_max` has room for, but one at least.
    fn take(&mut self, bytes_max: usize) -> Vec<Segment> {
        let mut taken = Vec::new();
        self.busy = true;
        while let Some(next) = self
            .waiting
            .pop_front_if(|next| self.taken_bytes == 0 || self.taken_bytes + next.bytes.len() <= bytes_max)
        {
            self.waiting_bytes -= next.bytes.len();
            self.waiting_lines -= next.lines;
            self.taken_bytes += next.bytes.len();
            self.taken_lines += next.lines;
            taken.push(next);
        }
        taken
    }
}

pub(super) struct Queue {
    limits: QueueLimits,
    totals: Arc<Totals>,
    state: Mutex<State>,
    changed: Condvar,
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
    pub fn new(limits: QueueLimits, totals: Arc<Totals>) -> Self {
        Self { limits, totals, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Adds a line that ends in a line feed, or drops and counts it.
    pub fn push(&self, line: &str) {
        let mut state = self.lock();
        let bytes = state.waiting_bytes + state.taken_bytes + line.len();
        let lines = state.waiting_lines + state.taken_lines;
        if state.finished || bytes > self.limits.bytes || lines >= self.limits.lines {
            self.totals.dropped.fetch_add(1, Relaxed);
            return;
        }
        let before = state.waiting_bytes;
        state.append(line);
        if before < state.wake_bytes && state.wake_bytes <= state.waiting_bytes {
            self.changed.notify_all();
        }
    }

    /// Waits for lines, then up to `linger` for more, and takes whole lines of about `bytes_max`.
    /// `None`: closed and empty.
    pub fn take(&self, bytes_max: usize, linger: Duration) -> Option<Work> {
        let mut state = self.lock();
        state.wake_bytes = 1;
        while state.waiting.is_empty() && !state.closed && !state.reopen {
            state = self.wait(state);
        }
        let until = Instant::now() + linger;
        // A small buffer must not overflow while its output lingers.
        state.wake_bytes = bytes_max.min(self.limits.bytes / 2);
        while !state.waiting.is_empty()
            && state.waiting_bytes < state.wake_bytes
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
        state.wake_bytes = 0;
        let reopen = std::mem::take(&mut state.reopen);
        if state.waiting.is_empty() && !reopen {
            return None;
        }
        let taken = state.take(bytes_max);
        drop(state);
        let mut taken = taken.into_iter().map(|segment| segment.bytes);
        let mut batch = taken.next().unwrap_or_default();
        taken.for_each(|bytes| batch.extend_from_slice(&bytes));
        Some(Work { batch, reopen })
    }

    /// What was taken is delivered, or given up.
    pub fn done(&self, delivered: bool) {
        let mut state = self.lock();
        state.busy = false;
        state.taken_bytes = 0;
        let lines = std::mem::take(&mut state.taken_lines) as u64;
        let counter = if delivered { &self.totals.written } else { &self.totals.dropped };
        counter.fetch_add(lines, Relaxed);
        self.changed.notify_all();
    }

    /// Waits between two attempts; shorter when somebody flushes or the output was closed, and not at
    /// all when the file is to be opened anew. False when a closed output should give up.
    pub fn pause(&self, delay: Duration, give_up_after_close: bool) -> bool {
        let until = Instant::now() + delay;
        let mut state = self.lock();
        let shortest = Instant::now() + Duration::from_millis(50);
        loop {
            let hurried = state.closed || state.hurry > 0;
            let end = if hurried { until.min(shortest) } else { until };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.reopen {
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

    /// Whether [`Self::reopen`] was called since the thread was told last.
    pub fn take_reopen(&self) -> bool {
        std::mem::take(&mut self.lock().reopen)
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

    /// Bytes that wait or are being delivered.
    pub fn held_bytes(&self) -> usize {
        let state = self.lock();
        state.waiting_bytes + state.taken_bytes
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
