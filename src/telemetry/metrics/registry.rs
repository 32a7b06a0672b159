//! Hands out counters by label and writes the page.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
};

use super::{
    ApiMetrics, Exposition, GatewayMetrics, PolicyLabel, PolicyMetrics, UpstreamMetrics, api, policy,
    process, upstream,
};
use crate::base::{ResourceName, lock};

/// Labels of one kind at a time: far above the thousand APIs that a gateway is made for
/// (configuration reference 16). Beyond it new ones share the label `overflow`.
pub const SERIES_MAX: usize = 20_000;

const OVERFLOW: &str = "overflow";

type Family<L, M> = Mutex<BTreeMap<L, Weak<M>>>;
type Collector = Box<dyn Fn(&mut Exposition) + Send + Sync>;

/// All counters of the process. Asking for one takes a lock and belongs to the control path.
pub struct Registry {
    workers: usize,
    series_max: usize,
    gateway: Arc<GatewayMetrics>,
    apis: Family<ResourceName, ApiMetrics>,
    upstreams: Family<ResourceName, UpstreamMetrics>,
    policies: Family<PolicyLabel, PolicyMetrics>,
    /// Kept, so that the counts of what did not fit are not lost between two snapshots.
    overflow: (Arc<ApiMetrics>, Arc<UpstreamMetrics>, Arc<PolicyMetrics>),
    collectors: Mutex<Vec<Collector>>,
}

impl Registry {
    /// For workers `0..workers`.
    pub fn new(workers: usize) -> Self {
        Self::with_series_max(workers, SERIES_MAX)
    }

    pub(super) fn with_series_max(workers: usize, series_max: usize) -> Self {
        let name = ResourceName::new(OVERFLOW, OVERFLOW);
        let label = PolicyLabel { target: name.clone(), binding: OVERFLOW.into(), policy: OVERFLOW.into() };
        Self {
            workers,
            series_max,
            gateway: Arc::new(GatewayMetrics::new(workers)),
            apis: Mutex::default(),
            upstreams: Mutex::default(),
            policies: Mutex::default(),
            overflow: (
                Arc::new(ApiMetrics::new(name.clone(), workers)),
                Arc::new(UpstreamMetrics::new(name, workers)),
                Arc::new(PolicyMetrics::new(label, workers)),
            ),
            collectors: Mutex::default(),
        }
    }

    pub fn gateway(&self) -> Arc<GatewayMetrics> {
        self.gateway.clone()
    }

    /// The counters of an API instance; the same while anybody holds them.
    pub fn api(&self, name: &ResourceName) -> Arc<ApiMetrics> {
        self.get(&self.apis, name, &self.overflow.0, || ApiMetrics::new(name.clone(), self.workers))
    }

    /// The counters of a service; the same while anybody holds them.
    pub fn upstream(&self, name: &ResourceName) -> Arc<UpstreamMetrics> {
        self.get(&self.upstreams, name, &self.overflow.1, || UpstreamMetrics::new(name.clone(), self.workers))
    }

    /// The counters of a policy; the same while anybody holds them.
    pub fn policy(&self, label: &PolicyLabel) -> Arc<PolicyMetrics> {
        self.get(&self.policies, label, &self.overflow.2, || PolicyMetrics::new(label.clone(), self.workers))
    }

    /// Adds families that another part of the gateway writes itself.
    pub fn add_collector(&self, collector: impl Fn(&mut Exposition) + Send + Sync + 'static) {
        lock(&self.collectors).push(Box::new(collector));
    }

    /// The page for Prometheus: text exposition 0.0.4, served as [`Exposition::CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut page = Exposition::default();
        self.gateway.expose(&mut page);
        process::expose(&mut page);
        api::expose(&live(&self.apis, &self.overflow.0), &mut page);
        upstream::expose(&live(&self.upstreams, &self.overflow.1), &mut page);
        policy::expose(&live(&self.policies, &self.overflow.2), &mut page);
        lock(&self.collectors).iter().for_each(|collector| collector(&mut page));
        page.finish()
    }

    fn get<L: Ord + Clone, M>(
        &self,
        family: &Family<L, M>,
        label: &L,
        overflow: &Arc<M>,
        make: impl FnOnce() -> M,
    ) -> Arc<M> {
        let mut family = lock(family);
        if let Some(found) = family.get(label).and_then(Weak::upgrade) {
            return found;
        }
        if family.len() >= self.series_max {
            family.retain(|_, metrics| metrics.strong_count() > 0);
        }
        if family.len() >= self.series_max {
            return overflow.clone();
        }
        let made = Arc::new(make());
        family.insert(label.clone(), Arc::downgrade(&made));
        made
    }
}

/// What somebody still holds, in order of labels; forgets the rest. The overflow shows once in use.
fn live<L: Ord, M>(family: &Family<L, M>, overflow: &Arc<M>) -> Vec<Arc<M>> {
    let mut family = lock(family);
    family.retain(|_, metrics| metrics.strong_count() > 0);
    let shared = (Arc::strong_count(overflow) > 1).then(|| overflow.clone());
    family.values().filter_map(Weak::upgrade).chain(shared).collect()
}
