//! Memory that several policies share: a ceiling for all of them together, under which the oldest goes first,
//! whoever holds it.

use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::base::lock;

/// A ceiling in bytes. What is taken beyond it is taken back from whoever holds the oldest.
pub struct Budget {
    bytes_max: usize,
    bytes: AtomicUsize,
    sequence: AtomicU64,
    holders: Mutex<Vec<Weak<dyn Holder>>>,
}

/// Who holds memory of a budget. Neither method may call the budget's [`Budget::make_room`].
pub trait Holder: Send + Sync {
    /// The [`Budget::tick`] of what it would give first.
    fn oldest(&self) -> Option<u64>;

    /// Gives up what came first, if that is still what [`Holder::oldest`] told of.
    fn give_up(&self, oldest: u64);
}

impl Budget {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: AtomicUsize::new(0), sequence: AtomicU64::new(0), holders: Mutex::default() }
    }

    /// Who may be asked to give something up, for as long as it lives.
    pub fn register(&self, holder: &Arc<impl Holder + 'static>) {
        let holder: Arc<dyn Holder> = Arc::clone(holder) as _;
        let mut holders = lock(&self.holders);
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push(Arc::downgrade(&holder));
    }

    /// A number above all that it gave before: it tells what is older.
    pub fn tick(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts bytes that are held from now on; [`Budget::make_room`] follows.
    pub fn take(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that are held no more.
    pub fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Has the oldest given up until all fits. The caller holds no lock of a holder.
    pub fn make_room(&self) {
        while self.bytes() > self.bytes_max {
            let holders = lock(&self.holders).clone();
            let holders = holders.iter().filter_map(Weak::upgrade);
            let oldest =
                holders.filter_map(|holder| Some((holder.oldest()?, holder))).min_by_key(|(at, _)| *at);
            let Some((at, holder)) = oldest else { return };
            holder.give_up(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Held<'b> {
        budget: &'b Budget,
        pieces: Mutex<Vec<u64>>,
    }

    impl Held<'static> {
        fn new(budget: &'static Budget) -> Arc<Self> {
            let held = Arc::new(Self { budget, pieces: Mutex::default() });
            budget.register(&held);
            held
        }

        fn hold(&self) {
            self.pieces.lock().unwrap().push(self.budget.tick());
            self.budget.take(10);
            self.budget.make_room();
        }

        fn len(&self) -> usize {
            self.pieces.lock().unwrap().len()
        }
    }

    impl Holder for Held<'static> {
        fn oldest(&self) -> Option<u64> {
            self.pieces.lock().unwrap().first().copied()
        }

        fn give_up(&self, oldest: u64) {
            let mut pieces = self.pieces.lock().unwrap();
            if pieces.first() == Some(&oldest) {
                pieces.remove(0);
                self.budget.give_back(10);
            }
        }
    }

    #[test]
    fn beyond_the_ceiling_the_oldest_goes_whoever_holds_it() {
        let budget: &'static Budget = Box::leak(Box::new(Budget::new(30)));
        let (first, second) = (Held::new(budget), Held::new(budget));
        first.hold();
        second.hold();
        first.hold();
        assert_eq!((first.len(), second.len(), budget.bytes()), (2, 1, 30));
        second.hold();
        assert_eq!((first.len(), second.len(), budget.bytes()), (1, 2, 30));
        second.hold();
        assert_eq!((first.len(), second.len(), budget.bytes()), (1, 2, 30));
        drop(second);
        first.hold();
        assert_eq!(first.len(), 1, "who is gone gives nothing up");
    }
}
