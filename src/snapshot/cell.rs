//! One publisher, many readers.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use arc_swap::{ArcSwap, cache::Cache};

use super::Snapshot;

/// The one that replaces the snapshot. Not `Clone`: there is a single publisher.
pub struct SnapshotPublisher(Arc<ArcSwap<Snapshot>>);

/// Gives access to the current snapshot; each thread makes a [`Pins`] of its own from it.
#[derive(Clone)]
pub struct SnapshotReader(Arc<ArcSwap<Snapshot>>);

/// A cell that holds `first`.
pub fn snapshot_cell(first: Snapshot) -> (SnapshotPublisher, SnapshotReader) {
    let cell = Arc::new(ArcSwap::from_pointee(first));
    (SnapshotPublisher(Arc::clone(&cell)), SnapshotReader(cell))
}

impl SnapshotPublisher {
    /// From now on every new request sees `next`; requests under way keep theirs. But its limits of connections are in
    /// force for all at once.
    pub fn publish(&self, next: Snapshot) {
        for plan in &next.upstreams {
            plan.gauges.line.set_limit(plan.limits.connections_max);
        }
        self.0.store(Arc::new(next));
    }
}

impl SnapshotReader {
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Access for one thread.
    pub fn pins(&self) -> Pins {
        let current = Rc::new(self.load());
        Pins { state: RefCell::new((Cache::new(Arc::clone(&self.0)), current)) }
    }
}

/// Pins snapshots without touching a shared reference count: while the snapshot stays the same,
/// pinning it is one atomic load and a thread-local count.
#[expect(
    clippy::redundant_allocation,
    reason = "the outer count is the thread's own, not shared between cores"
)]
pub struct Pins {
    state: RefCell<(LatestSnapshot, Rc<Arc<Snapshot>>)>,
}

/// The publisher's cell with the last value read from it.
type LatestSnapshot = Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>;

impl Pins {
    /// The current snapshot, kept alive for as long as the pin is.
    pub fn pin(&self) -> Rc<Arc<Snapshot>> {
        let (cache, current) = &mut *self.state.borrow_mut();
        let latest = cache.load();
        if !Arc::ptr_eq(latest, current) {
            *current = Rc::new(Arc::clone(latest));
        }
        Rc::clone(current)
    }
}
