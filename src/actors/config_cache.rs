//! Owns this replica's view of the cluster: who else is there, and the configuration that replicas share (decisions
//! 31 and 38). What to do is decided in [`crate::cluster`]; this carries it out.

#[cfg(test)]
mod tests;
mod work;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{
    Actor, Addr, AsyncContext, Context, Handler, Message, MessageResult, ResponseFuture, WrapFuture,
};
use tokio::sync::watch;

use super::reconciler::{InForce, Reconciler};
use crate::{
    base::{lock, seal::KeyRing},
    cluster::view::ClusterView,
    settings::Settings,
    storage::{Key, Keys, Storage},
};
use work::Work;

const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

pub struct ConfigCache {
    work: Option<Work>,
    leaving: watch::Sender<bool>,
    view: Arc<Mutex<ClusterView>>,
    storage: Storage,
    members: Key,
    replica: String,
}

/// What the actor works with.
pub struct Parts {
    pub settings: Arc<Settings>,
    pub ring: Option<Arc<KeyRing>>,
    pub storage: Storage,
    pub reconciler: Addr<Reconciler>,
    pub in_force: watch::Receiver<InForce>,
    pub view: Arc<Mutex<ClusterView>>,
}

impl ConfigCache {
    pub fn new(parts: Parts) -> Self {
        let (leaving, leaves) = watch::channel(false);
        Self {
            leaving,
            view: Arc::clone(&parts.view),
            storage: parts.storage.clone(),
            members: members(&parts.settings),
            replica: parts.settings.gateway.replica.clone(),
            work: Some(Work::new(parts, leaves)),
        }
    }
}

/// Where the replicas of the gateway say that they live.
fn members(settings: &Settings) -> Key {
    Keys::of(&settings.gateway.id).named("members")
}

impl Actor for ConfigCache {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(work) = self.work.take() {
            ctx.spawn(work.run().into_actor(self));
        }
    }
}

/// Asks for the view of the cluster.
#[derive(Message)]
#[rtype(result = "ClusterView")]
pub struct Describe;

impl Handler<Describe> for ConfigCache {
    type Result = MessageResult<Describe>;

    fn handle(&mut self, _: Describe, _: &mut Self::Context) -> Self::Result {
        MessageResult(lock(&self.view).clone())
    }
}

/// The replica ends: the others need not wait until it is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave;

impl Handler<Leave> for ConfigCache {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Leave, _: &mut Self::Context) -> Self::Result {
        self.leaving.send_replace(true);
        let (storage, members, replica) = (self.storage.clone(), self.members.clone(), self.replica.clone());
        Box::pin(async move {
            // It is gone by itself otherwise.
            let _ = tokio::time::timeout(LEAVE_TIMEOUT, storage.leave(&members, &replica)).await;
        })
    }
}
