//! The shared storage on the page of metrics. Of memory there is nothing to say.

use crate::{
    storage::Storage,
    telemetry::metrics::{Exposition, Kind},
};

pub fn expose(storage: &Storage, page: &mut Exposition) {
    if !storage.is_shared() {
        return;
    }
    let status = storage.status();
    let (nodes, connected) = (status.nodes.len(), status.nodes.iter().filter(|node| node.connected).count());
    page.single("portcullis_storage_nodes", Kind::Gauge, "Nodes of the shared storage.", nodes as u64);
    page.single(
        "portcullis_storage_nodes_connected",
        Kind::Gauge,
        "Those that are connected.",
        connected as u64,
    );
    page.family("portcullis_storage_calls_total", Kind::Counter, "Calls to the shared storage, by outcome.");
    page.sample("", &[("outcome", "answered")], status.calls_answered);
    page.sample("", &[("outcome", "unavailable")], status.calls_unavailable);
    page.family(
        "portcullis_storage_call_seconds_total",
        Kind::Counter,
        "Time that these calls took together.",
    );
    page.decimal("", &[], status.calls_micros as f64 / 1e6);
    page.single(
        "portcullis_storage_losses_total",
        Kind::Counter,
        "Times that the shared storage may have lost what it remembered.",
        storage.losses(),
    );
}
