//! A Redis Cluster of three masters without replicas.

use std::net::SocketAddr;

use super::{ADMIN, Redis, Terms};
use crate::{eventually, ports};

const NODES: usize = 3;
const SLOTS: u16 = 16_384;

/// The cluster; it ends with the value.
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// In plain TCP, without a password.
    ///
    /// # Panics
    /// As [`RedisCluster::with`].
    #[must_use]
    pub fn start() -> Self {
        Self::with(Terms::default())
    }

    /// Nodes on these terms; each has a third of the slots. Returns when all of them say that the cluster is well.
    ///
    /// # Panics
    /// When Redis is not installed or does not start.
    #[must_use]
    pub fn with(terms: Terms) -> Self {
        let cluster = Self { nodes: (0..NODES).map(|_| node(&terms)).collect() };
        let share = usize::from(SLOTS) / NODES;
        for (index, node) in cluster.nodes.iter().enumerate() {
            let last = if index + 1 == NODES { usize::from(SLOTS) - 1 } else { (index + 1) * share - 1 };
            accepted(node, &["cluster", "addslotsrange", &(index * share).to_string(), &last.to_string()]);
            accepted(node, &["cluster", "set-config-epoch", &(index + 1).to_string()]);
        }
        for node in &cluster.nodes[1..] {
            let (port, bus) = (node.address().port().to_string(), node.bus.unwrap_or_default().to_string());
            accepted(&cluster.nodes[0], &["cluster", "meet", "127.0.0.1", &port, &bus]);
        }
        cluster.await_well();
        cluster
    }

    /// Where the nodes listen.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Redis::address).collect()
    }

    /// A node, counted from 0.
    ///
    /// # Panics
    /// When there is none.
    pub fn node(&mut self, index: usize) -> &mut Redis {
        &mut self.nodes[index]
    }

    /// The slot of a key.
    ///
    /// # Panics
    /// When the first node does not answer.
    #[must_use]
    pub fn slot(&self, key: &str) -> u16 {
        self.nodes[0].cli(&["cluster", "keyslot", key]).parse().expect("a number of a slot")
    }

    /// The node that a slot belongs to, as the nodes say it.
    ///
    /// # Panics
    /// When they do not agree within the harness's patience.
    #[must_use]
    pub fn owner(&self, slot: u16) -> usize {
        eventually("the owner of a slot", || {
            let owners: Vec<_> = self.nodes.iter().map(|node| self.owner_by(node, slot)).collect();
            owners[0].filter(|first| owners.iter().all(|owner| *owner == Some(*first)))
        })
    }

    fn owner_by(&self, node: &Redis, slot: u16) -> Option<usize> {
        // Each line: the id, the address, …, and ranges of slots from the ninth word.
        let page = node.cli(&["cluster", "nodes"]);
        let owns = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u16>().ok();
            number(first).zip(number(last)).is_some_and(|(first, last)| (first..=last).contains(&slot))
        };
        let line = page.lines().find(|line| line.split(' ').skip(8).any(owns))?;
        let id = line.split(' ').next()?;
        self.nodes.iter().position(|node| node_id(node) == id)
    }

    /// Moves a slot with its keys from one node to another: clients that still ask the first are answered `MOVED`.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.open_move(slot, from, to);
        self.move_keys(slot, from, to);
        self.close_move(slot, to);
    }

    /// The first half of [`RedisCluster::move_slot`]: for keys that the first node does not have it answers `ASK`.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn open_move(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let [from, to] = [from, to].map(|index| &self.nodes[index]);
        accepted(to, &["cluster", "setslot", &slot, "importing", &node_id(from)]);
        accepted(from, &["cluster", "setslot", &slot, "migrating", &node_id(to)]);
    }

    /// Moves the keys of a slot that is open by [`RedisCluster::open_move`].
    ///
    /// # Panics
    /// When a node refuses.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let port = self.nodes[to].address().port().to_string();
        loop {
            let keys = self.nodes[from].cli(&["cluster", "getkeysinslot", &slot.to_string(), "100"]);
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                return;
            }
            let move_there = ["migrate", "127.0.0.1", &port, "", "0", "5000", "auth2", ADMIN, ADMIN, "keys"];
            accepted(&self.nodes[from], &[&move_there, &keys[..]].concat());
        }
    }

    /// The last part of [`RedisCluster::move_slot`]; returns when all nodes know the new owner.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn close_move(&self, slot: u16, to: usize) {
        let id = node_id(&self.nodes[to]);
        // The new owner first: it must not be without one.
        let others = self.nodes.iter().enumerate().filter(|(index, _)| *index != to).map(|(_, node)| node);
        for node in std::iter::once(&self.nodes[to]).chain(others) {
            accepted(node, &["cluster", "setslot", &slot.to_string(), "node", &id]);
        }
        assert_eq!(self.owner(slot), to);
    }

    /// Waits until all nodes say that the cluster is well.
    ///
    /// # Panics
    /// When that does not come within the harness's patience.
    pub fn await_well(&self) {
        let well = |node: &Redis| {
            let page = node.cli(&["cluster", "info"]);
            let known = format!("cluster_known_nodes:{NODES}");
            page.contains("cluster_state:ok") && page.contains(&known) && page.contains("slots_ok:16384")
        };
        eventually("a cluster that is well", || self.nodes.iter().all(well).then_some(()));
    }
}

/// A node, with the bus on a port that was free: the default, 10000 above its own, may be taken.
fn node(terms: &Terms) -> Redis {
    let bus = ports::free();
    let mut lines = vec![
        "cluster-enabled yes".to_owned(),
        format!("cluster-port {bus}"),
        // Beside the folder of data: a node whose data is wiped keeps its place.
        "cluster-config-file ../nodes.conf".to_owned(),
        "cluster-node-timeout 60000".to_owned(),
    ];
    if terms.transport.is_tls() && !terms.transport.is_plain() {
        lines.push("tls-cluster yes".to_owned());
    }
    Redis::start_with(terms.clone(), &lines, Some(bus))
}

fn node_id(node: &Redis) -> String {
    node.cli(&["cluster", "myid"])
}

fn accepted(node: &Redis, command: &[&str]) {
    let said = node.cli(command);
    assert!(said == "OK" || said == "NOKEY", "{command:?} at {}: {said}", node.address());
}
