//! Which sockets the instances need, and who answers on each port.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use crate::snapshot::{InstancePlan, Router, plan::covers};

/// The sockets to bind: a wildcard address makes the specific ones of its family superfluous.
pub(super) fn listeners(plans: &[Arc<InstancePlan>]) -> BTreeSet<SocketAddr> {
    let all: BTreeSet<_> = plans.iter().map(|plan| plan.address()).collect();
    let superfluous =
        |address: &SocketAddr| all.iter().any(|other| other != address && covers(other, address));
    all.iter().filter(|address| !superfluous(address)).copied().collect()
}

pub(super) fn routers(plans: Vec<Arc<InstancePlan>>) -> BTreeMap<u16, Router> {
    let mut by_port: HashMap<u16, Vec<Arc<InstancePlan>>> = HashMap::new();
    for plan in plans {
        by_port.entry(plan.port).or_default().push(plan);
    }
    by_port.into_iter().map(|(port, plans)| (port, Router::new(plans))).collect()
}
