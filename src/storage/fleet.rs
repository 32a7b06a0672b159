//! How many replicas there are, for whoever divides something among them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What was last seen of the gateway's replicas. It stays as it was while the storage does not answer. Any thread
/// may read it, at the price of a load.
#[derive(Debug)]
pub struct Fleet {
    /// Replicas in the upper half, this one's rank in the lower; 0 as long as nothing was seen.
    seen: AtomicU64,
    expected: AtomicUsize,
    losses: AtomicU64,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { seen: AtomicU64::new(0), expected: AtomicUsize::new(1), losses: AtomicU64::new(0) }
    }
}

impl Fleet {
    /// Replicas as they were last seen, this one among them; until then as many as were expected (decision 35). At
    /// least 1.
    pub fn replicas(&self) -> usize {
        match self.seen.load(Relaxed) {
            0 => self.expected.load(Relaxed).max(1),
            seen => usize::try_from(seen >> 32).unwrap_or(usize::MAX),
        }
    }

    /// Which of the replicas this one is, from 0, by their ids; below the number of replicas of the same moment. Until
    /// some were seen it is the last, whose shares are the largest.
    pub fn rank(&self) -> usize {
        match self.seen.load(Relaxed) {
            0 => self.replicas() - 1,
            seen => usize::try_from(seen & u64::from(u32::MAX)).unwrap_or(usize::MAX),
        }
    }

    /// How often the storage was found to have forgotten what this replica had stored.
    pub fn losses(&self) -> u64 {
        self.losses.load(Relaxed)
    }

    /// Sets how many replicas there are until some are seen.
    pub fn expect(&self, replicas: usize) {
        self.expected.store(replicas, Relaxed);
    }

    /// This many were seen, at least 1, of which this replica is number `rank`.
    pub fn saw(&self, replicas: usize, rank: usize) {
        let number = |number: usize| u64::from(u32::try_from(number).unwrap_or(u32::MAX));
        self.seen.store(number(replicas.max(1)) << 32 | number(rank), Relaxed);
    }

    /// The storage has forgotten.
    pub fn lost(&self) {
        self.losses.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Fleet;

    #[test]
    fn until_replicas_are_seen_there_are_as_many_as_were_expected_and_at_least_one() {
        let fleet = Fleet::default();
        assert_eq!((fleet.replicas(), fleet.rank()), (1, 0));
        fleet.expect(3);
        assert_eq!((fleet.replicas(), fleet.rank()), (3, 2));
        fleet.saw(2, 1);
        assert_eq!((fleet.replicas(), fleet.rank()), (2, 1));
        fleet.saw(0, 0);
        assert_eq!(fleet.replicas(), 1);
    }
}
