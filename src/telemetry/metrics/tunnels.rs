//! Tunnels: client connections that have switched to another protocol.

use super::{
    cells::{Counter, PerWorker},
    exposition::{Exposition, Kind},
};

#[derive(Default)]
struct Slot {
    websocket: Counter,
    other: Counter,
    active: Counter,
    up: Counter,
    down: Counter,
}

/// Bytes that went through a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnelled {
    /// From the client to the upstream.
    pub up: u64,
    /// From the upstream to the client.
    pub down: u64,
}

/// Counters of all tunnels.
pub struct Tunnels {
    slots: PerWorker<Slot>,
}

/// Counts a tunnel as open.
pub struct OpenTunnel<'a>(&'a Tunnels);

impl Tunnels {
    pub(super) fn new(workers: usize) -> Self {
        Self { slots: PerWorker::new(workers) }
    }

    /// A tunnel was opened; it counts as open until the value is dropped, on the same thread. The
    /// protocol is told apart only as far as it is known by name: clients choose it.
    #[must_use]
    pub fn opened(&self, protocol: &str) -> OpenTunnel<'_> {
        let (slot, writer) = self.slots.mine();
        let total = if protocol.eq_ignore_ascii_case("websocket") { &slot.websocket } else { &slot.other };
        total.add(writer, 1);
        slot.active.add(writer, 1);
        OpenTunnel(self)
    }

    pub fn moved(&self, bytes: Tunnelled) {
        let (slot, writer) = self.slots.mine();
        slot.up.add(writer, bytes.up);
        slot.down.add(writer, bytes.down);
    }

    pub(super) fn expose(&self, page: &mut Exposition) {
        let sum = |read: fn(&Slot) -> &Counter| self.slots.sum(read);
        page.family("portcullis_tunnels_total", Kind::Counter, "Protocol upgrades, by protocol.");
        page.sample("", &[("protocol", "websocket")], sum(|s| &s.websocket));
        page.sample("", &[("protocol", "other")], sum(|s| &s.other));
        page.single(
            "portcullis_tunnels_active",
            Kind::Gauge,
            "Upgraded connections now open.",
            sum(|s| &s.active),
        );
        page.family(
            "portcullis_tunnel_bytes_total",
            Kind::Counter,
            "Bytes through upgraded connections, by direction (up: from client to upstream).",
        );
        page.sample("", &[("direction", "up")], sum(|s| &s.up));
        page.sample("", &[("direction", "down")], sum(|s| &s.down));
    }
}

impl Drop for OpenTunnel<'_> {
    fn drop(&mut self) {
        let (slot, writer) = self.0.slots.mine();
        slot.active.subtract(writer, 1);
    }
}
