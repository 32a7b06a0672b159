//! The cells that counters are made of: one slot per worker, one writer per slot.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

thread_local! {
    static WORKER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Says that this thread is worker `index` (from 0). Each index belongs to one thread: two threads
/// under one index would lose counts. Threads that never say so share a slot with locked additions.
pub fn enter_worker(index: usize) {
    WORKER.set(index);
}

/// The index given to [`enter_worker`] on this thread.
#[cfg(test)]
pub(super) fn current_worker() -> Option<usize> {
    Some(WORKER.get()).filter(|index| *index != usize::MAX)
}

/// Whether the caller is the only writer of the slot it holds.
#[derive(Clone, Copy)]
pub(super) enum Writer {
    Only,
    OneOfMany,
}

/// One `T` per worker and one for all other threads. 128: two cache lines, because processors
/// fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Slot<T>(T);

pub(super) struct PerWorker<T> {
    slots: Box<[OnceLock<Box<Slot<T>>>]>,
}

impl<T: Default> PerWorker<T> {
    pub fn new(workers: usize) -> Self {
        Self { slots: (0..=workers).map(|_| OnceLock::new()).collect() }
    }

    /// The slot of this thread.
    pub fn mine(&self) -> (&T, Writer) {
        let shared = self.slots.len() - 1;
        let index = WORKER.get();
        let (index, writer) =
            if index < shared { (index, Writer::Only) } else { (shared, Writer::OneOfMany) };
        (&self.slots[index].get_or_init(Box::default).0, writer)
    }

    /// The slots in use.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(OnceLock::get).map(|slot| &slot.0)
    }

    /// The sum over all slots.
    pub fn sum(&self, counter: impl Fn(&T) -> &Counter) -> u64 {
        self.all().fold(0, |sum, slot| sum.wrapping_add(counter(slot).get()))
    }
}

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, writer: Writer, amount: u64) {
        match writer {
            Writer::Only => self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed),
            Writer::OneOfMany => {
                self.0.fetch_add(amount, Relaxed);
            }
        }
    }

    /// A gauge going down; slots may wrap, their sum does not, wherever it went up.
    pub fn subtract(&self, writer: Writer, amount: u64) {
        self.add(writer, amount.wrapping_neg());
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds in microseconds, inclusive: 1 ms to 60 s. Beyond is the last, unbounded bucket.
pub(super) const BOUNDS_US: [u64; 15] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];

#[derive(Default)]
pub(super) struct Histogram {
    buckets: [Counter; BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    pub fn observe(&self, writer: Writer, elapsed: Duration) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS_US.len());
        self.buckets[bucket].add(writer, 1);
        self.sum_us.add(writer, micros);
    }
}

/// A histogram summed over workers.
#[derive(Clone, Debug, Default)]
pub(super) struct Distribution {
    pub buckets: [u64; BOUNDS_US.len() + 1],
    pub sum_us: u64,
}

impl Distribution {
    pub fn add(&mut self, histogram: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.get();
        }
        self.sum_us = self.sum_us.wrapping_add(histogram.sum_us.get());
    }
}
