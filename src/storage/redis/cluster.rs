//! The nodes of a cluster and their slots, as its nodes tell them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use redis::cmd;
use tokio::{sync::Notify, task::AbortHandle, time::timeout};

use super::{
    link::{Dialer, Peer},
    node::{Lane, Losses, Node, NodeStatus, SILENCE_MAX, Target},
    plan::Address,
    reply,
    slots::{SLOTS, Share},
};
use crate::base::{Trouble, lock};
use crate::storage::{Outcome, Unavailable};

/// Masters. The specification recommends at most 1000.
const NODES_MAX: usize = 1000;
/// How often the map is looked at while all is well.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// And while something is not, or a node has sent a call on.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A cluster. Its nodes are left when this is dropped.
pub(super) struct Cluster {
    inner: Arc<Inner>,
    task: AbortHandle,
}

struct Inner {
    seeds: Vec<Address>,
    dialer: Arc<Dialer>,
    losses: Arc<Losses>,
    map: ArcSwap<Map>,
    /// Which of the nodes is asked for the map next: one that is cut off from the others does not have the only word.
    turn: AtomicUsize,
    /// One changes the map at a time.
    changing: Mutex<()>,
    look: Notify,
    last_error: Mutex<Option<String>>,
}

#[derive(Clone, Default)]
struct Map {
    nodes: Vec<(Address, Arc<Node>)>,
    /// For each slot which of `nodes` has it.
    owners: Vec<Option<u16>>,
}

impl Cluster {
    pub fn start(seeds: Vec<Address>, dialer: Arc<Dialer>, losses: Arc<Losses>) -> Self {
        let runtime = dialer.runtime.clone();
        let inner = Arc::new(Inner {
            seeds,
            dialer,
            losses,
            map: ArcSwap::from_pointee(Map::new()),
            turn: AtomicUsize::new(0),
            changing: Mutex::default(),
            look: Notify::new(),
            last_error: Mutex::default(),
        });
        let task = runtime.spawn(follow(Arc::clone(&inner))).abort_handle();
        Self { inner, task }
    }

    /// The node that has the slot; for `None` some that is connected.
    ///
    /// # Errors
    /// [`Unavailable`]: nobody has it, or the map is not known.
    pub fn node(&self, slot: Option<u16>) -> Outcome<Arc<Node>> {
        let map = self.inner.map.load();
        let node = match slot {
            Some(slot) => map.owner(slot),
            None => map.nodes.iter().map(|(_, node)| node).find(|node| node.is_connected()),
        };
        node.cloned().ok_or_else(|| {
            let cause = self.inner.last_error();
            Unavailable(format!(
                "no node of the cluster: {}",
                cause.as_deref().unwrap_or("none has this slot")
            ))
        })
    }

    /// Which of the nodes has the slot, as they stand in the map; the first where nobody has it.
    pub fn place(&self, slot: u16) -> usize {
        let owner = self.inner.map.load().owners.get(usize::from(slot)).copied().flatten();
        usize::from(owner.unwrap_or_default())
    }

    /// The node at an address; a new one if there is none yet.
    ///
    /// # Errors
    /// [`Unavailable`]: there are too many.
    pub fn at(&self, address: &Address) -> Outcome<Arc<Node>> {
        let found = self.inner.map.load().at(address).cloned();
        match found {
            Some(node) => Ok(node),
            None => self.inner.change(|map| map.node(address, &self.inner).map(|(_, node)| node)),
        }
    }

    /// Whether one of the nodes is at this address, and connected.
    pub fn is_at(&self, address: &Address) -> bool {
        self.inner.map.load().at(address).is_some_and(|node| node.is_connected())
    }

    /// The node that a slot has moved to, from now on. Whether it has brought its keys along, or was taken over, the next look
    /// at the map tells.
    ///
    /// # Errors
    /// As [`Cluster::at`].
    pub fn moved(&self, slot: u16, to: &Address) -> Outcome<Arc<Node>> {
        self.inner.look.notify_one();
        self.inner.change(|map| {
            let (index, node) = map.node(to, &self.inner)?;
            map.give(slot, index);
            Ok(node)
        })
    }

    pub fn status(&self) -> Vec<NodeStatus> {
        let map = self.inner.map.load();
        match map.nodes.is_empty() {
            true => vec![NodeStatus::unknown(self.inner.last_error())],
            false => map.nodes.iter().map(|(_, node)| node.status()).collect(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    fn change<T>(&self, change: impl FnOnce(&mut Map) -> T) -> T {
        let _alone = lock(&self.changing);
        let mut map = Map::clone(&self.map.load());
        let changed = change(&mut map);
        self.map.store(Arc::new(map));
        changed
    }

    fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }

    /// The map as some node tells it: one that is in use, or one of those in the configuration.
    async fn ask(&self) -> Result<Vec<Share>, String> {
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let nodes = &self.map.load_full().nodes;
        let turn = self.turn.fetch_add(1, Relaxed) % nodes.len().max(1);
        let in_turn = nodes[turn..].iter().chain(&nodes[..turn]);
        for (address, node) in in_turn.filter(|(_, node)| node.is_connected()) {
            let answer = timeout(SILENCE_MAX, node.ask(Lane::Quick, &question, false)).await;
            if let Ok(Ok(answer)) = answer
                && let Ok(shares) = reply::shares(answer, address)
                && !shares.is_empty()
            {
                return Ok(shares);
            }
        }
        let mut cause = "no node is configured".to_owned();
        for seed in &self.seeds {
            match self.ask_seed(seed, &question).await {
                Ok(shares) => return Ok(shares),
                Err(error) => cause = error,
            }
        }
        Err(cause)
    }

    async fn ask_seed(&self, seed: &Address, question: &redis::Cmd) -> Result<Vec<Share>, String> {
        let (link, _) = self.dialer.dial(seed, Peer::Data, None).await?;
        if link.server.mode != "cluster" {
            return Err(format!("{seed} is no node of a cluster: write `address` instead of `cluster`"));
        }
        let answer = timeout(SILENCE_MAX, link.ask(question)).await;
        let answer = answer.map_err(|_| format!("{seed} does not answer"))??;
        if let redis::Value::ServerError(error) = &answer {
            return Err(super::link::said(seed, error).0);
        }
        let shares = reply::shares(answer, seed).map_err(|error| format!("{seed} answers {error}"))?;
        match shares.is_empty() {
            true => Err(format!("{seed} knows of no slots: has the cluster been created?")),
            false => Ok(shares),
        }
    }

    /// Nodes that have no slots any more are left. What they had was taken over, perhaps by one that knew less; between nodes
    /// that both have some, slots move with their keys.
    fn adopt(&self, shares: &[Share]) -> Outcome<()> {
        self.change(|map| {
            let mut next = Map { nodes: Vec::new(), owners: vec![None; usize::from(SLOTS)] };
            let lost = map.nodes.iter().zip(0..).any(|((address, _), index)| {
                map.owners.contains(&Some(index)) && shares.iter().all(|share| share.master != *address)
            });
            for share in shares {
                if next.at(&share.master).is_none()
                    && let Some(node) = map.at(&share.master)
                {
                    next.nodes.push((share.master.clone(), Arc::clone(node)));
                }
                let (index, _) = next.node(&share.master, self)?;
                for slot in share.first..=share.last {
                    next.give(slot, index);
                }
            }
            if lost {
                self.losses.count();
            }
            *map = next;
            Ok(())
        })
    }

    fn is_well(&self) -> bool {
        let map = self.map.load();
        map.nodes.iter().all(|(_, node)| node.is_connected()) && map.owners.iter().all(Option::is_some)
    }
}

impl Map {
    fn new() -> Self {
        Self { nodes: Vec::new(), owners: vec![None; usize::from(SLOTS)] }
    }

    fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        let index = (*self.owners.get(usize::from(slot))?)?;
        self.nodes.get(usize::from(index)).map(|(_, node)| node)
    }

    fn at(&self, address: &Address) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|(there, _)| there == address).map(|(_, node)| node)
    }

    /// The node at an address and its index; a new one if there is none yet.
    fn node(&mut self, address: &Address, inner: &Inner) -> Outcome<(u16, Arc<Node>)> {
        if let Some(index) = self.nodes.iter().position(|(there, _)| there == address) {
            return Ok((index as u16, Arc::clone(&self.nodes[index].1)));
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(Unavailable(format!("the cluster has more than {NODES_MAX} nodes")));
        }
        let (dialer, losses) = (Arc::clone(&inner.dialer), Arc::clone(&inner.losses));
        let node = Arc::new(Node::start(Target::At(address.clone()), dialer, losses).map_err(Unavailable)?);
        self.nodes.push((address.clone(), Arc::clone(&node)));
        Ok((self.nodes.len() as u16 - 1, node))
    }

    fn give(&mut self, slot: u16, to: u16) {
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            *owner = Some(to);
        }
    }
}

/// Keeps the map as the cluster tells it, for as long as it is not aborted.
async fn follow(inner: Arc<Inner>) {
    let trouble = Trouble::default();
    loop {
        let outcome = match inner.ask().await {
            Ok(shares) => inner.adopt(&shares).map_err(|error| error.0),
            Err(cause) => Err(cause),
        };
        match &outcome {
            Ok(()) => _ = trouble.ends(),
            Err(cause) => trouble.note(&format_args!("shared storage: {cause}; trying again")),
        }
        *lock(&inner.last_error) = outcome.err();
        tokio::time::sleep(LOOK_AGAIN).await;
        if inner.is_well() {
            // Either way it is time to look.
            let _ = timeout(LOOK_EVERY, inner.look.notified()).await;
        }
    }
}
