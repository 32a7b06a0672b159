//! Which node a call goes to.

use std::sync::{Arc, OnceLock};

use redis::{Cmd, ServerErrorKind, Value};

use super::{
    cluster::Cluster,
    link::{Dialer, is, said},
    node::{Lane, Losses, Node, NodeStatus, Target},
    plan::{Address, Plan, Topology},
    reply,
    sentinel::Sentinels,
    slots::slot,
};
use crate::storage::{Key, Outcome, Unavailable};

/// How often one call is sent on: a slot moves, and while it does its keys are on either side.
const REDIRECTIONS_MAX: usize = 4;

pub(super) enum Routes {
    /// Which may turn out to be one of a cluster: the reference has no other way to name one (8.1).
    One(Node, OnceLock<Cluster>),
    Cluster(Cluster),
}

impl Routes {
    /// Starts to connect to all nodes of the plan.
    ///
    /// # Errors
    /// A connection pool cannot be made.
    pub fn start(plan: &Plan, dialer: &Arc<Dialer>, losses: &Arc<Losses>) -> Result<Self, String> {
        let target = match &plan.topology {
            Topology::Standalone(address) => Target::At(address.clone()),
            Topology::Sentinel { sentinels, master, .. } => {
                Target::Master(Sentinels::new(sentinels.clone(), master.clone()))
            }
            Topology::Cluster(seeds) => {
                let cluster = Cluster::start(seeds.clone(), Arc::clone(dialer), Arc::clone(losses));
                return Ok(Self::Cluster(cluster));
            }
        };
        Node::start(target, Arc::clone(dialer), Arc::clone(losses))
            .map(|node| Self::One(node, OnceLock::new()))
    }

    /// Asks the node that has the slot; one that is connected if it is all the same. Follows redirections.
    ///
    /// # Errors
    /// [`Unavailable`]. Errors of a script that it does not have are answers; all others are errors.
    pub async fn ask(&self, slot: Option<u16>, lane: Lane, command: &Cmd) -> Outcome<Value> {
        match self.cluster() {
            Err(node) => self.judge(node, node.ask(lane, command, false).await?),
            Ok(cluster) => {
                let mut node = cluster.node(slot)?;
                let mut redirected = false;
                for _ in 0..=REDIRECTIONS_MAX {
                    let answer = node.ask(lane, command, redirected).await?;
                    let Value::ServerError(error) = &answer else { return Ok(answer) };
                    let moved = is(error, ServerErrorKind::Moved);
                    if !moved && !is(error, ServerErrorKind::Ask) {
                        return self.judge(&node, answer);
                    }
                    let asked = node.address().unwrap_or_else(|| Address::new("", 0));
                    let (slot, to) = reply::redirection(error, &asked)?;
                    node = if moved { cluster.moved(slot, &to)? } else { cluster.at(&to)? };
                    redirected = !moved;
                }
                Err(Unavailable(format!("sent on more than {REDIRECTIONS_MAX} times")))
            }
        }
    }

    /// The cluster, or the node that is alone.
    fn cluster(&self) -> Result<&Cluster, &Node> {
        match self {
            Self::Cluster(cluster) => Ok(cluster),
            Self::One(node, found) => match (found.get(), node.seed_of_a_cluster()) {
                (Some(cluster), _) => Ok(cluster),
                (None, Some(seed)) => Ok(found.get_or_init(|| node.cluster_from(seed))),
                (None, None) => Err(node),
            },
        }
    }

    /// Which of the nodes has a key; the first where there is one alone.
    pub fn place(&self, key: impl FnOnce() -> Key) -> usize {
        self.cluster().map_or(0, |cluster| cluster.place(slot(&key())))
    }

    fn judge(&self, node: &Node, answer: Value) -> Outcome<Value> {
        let Value::ServerError(error) = &answer else { return Ok(answer) };
        if is(error, ServerErrorKind::NoScript) || error.code() == "WRONGTYPE" {
            return Ok(answer);
        }
        if is(error, ServerErrorKind::ReadOnly) {
            node.leave();
        }
        let address = node.address().unwrap_or_else(|| Address::new("Redis", 0));
        Err(said(&address, error))
    }

    /// A node that is connected.
    pub fn somewhere(&self) -> Option<Address> {
        match self.cluster() {
            Err(node) => node.address(),
            Ok(cluster) => cluster.node(None).ok()?.address(),
        }
    }

    /// Whether a node at this address is connected.
    pub fn is_at(&self, address: &Address) -> bool {
        match self.cluster() {
            Err(node) => node.address().as_ref() == Some(address),
            Ok(cluster) => cluster.is_at(address),
        }
    }

    pub fn status(&self) -> Vec<NodeStatus> {
        match self.cluster() {
            Err(node) => vec![node.status()],
            Ok(cluster) => cluster.status(),
        }
    }
}
