//! What is in flight to an upstream, counted over all workers of this replica (decision 24).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::line::ConnectionLine;

/// What is counted in requests (configuration reference 7.2). Connections, and requests that wait
/// for one, are counted by [`ConnectionLine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    Requests,
    Retries,
}

/// The gauges of one upstream.
#[derive(Debug)]
pub struct UpstreamGauges {
    counts: [AtomicUsize; 2],
    pub line: Arc<ConnectionLine>,
}

impl UpstreamGauges {
    pub fn new(connections_max: usize) -> Arc<Self> {
        Arc::new(Self { counts: Default::default(), line: ConnectionLine::new(connections_max) })
    }

    pub fn count(&self, gauge: Gauge) -> usize {
        self.counts[gauge as usize].load(Ordering::Relaxed)
    }

    /// Counts one more, unless `limit` are counted already. Never above it, not even for a moment:
    /// that would refuse someone else for whom there is room.
    pub fn enter(self: &Arc<Self>, gauge: Gauge, limit: usize) -> Option<Ticket> {
        let count = &self.counts[gauge as usize];
        let more = |now| (now < limit).then_some(now + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Ticket { gauges: Arc::clone(self), gauge })
    }
}

/// One counted thing; dropping it counts it out.
pub struct Ticket {
    gauges: Arc<UpstreamGauges>,
    gauge: Gauge,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gauges.counts[self.gauge as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_admits_exactly_its_limit() {
        let gauges = UpstreamGauges::new(1);
        let first = gauges.enter(Gauge::Requests, 2);
        let second = gauges.enter(Gauge::Requests, 2);
        assert!(first.is_some() && second.is_some());
        assert!(gauges.enter(Gauge::Requests, 2).is_none());
        assert_eq!(gauges.count(Gauge::Requests), 2);
        drop(first);
        assert!(gauges.enter(Gauge::Requests, 2).is_some());
        assert_eq!(gauges.count(Gauge::Retries), 0);
    }
}
