//! Owns the bound addresses.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use actix::{Actor, Context, Handler, Message, MessageResult};
use serde::Serialize;

use super::sockets;
use crate::{data_plane::Workers, snapshot::plan::covers};

pub struct Listeners {
    workers: Arc<Workers>,
    drain: Duration,
    open: BTreeSet<SocketAddr>,
}

impl Listeners {
    pub fn new(workers: Arc<Workers>, drain: Duration) -> Self {
        Self { workers, drain, open: BTreeSet::new() }
    }
}

impl Actor for Listeners {
    type Context = Context<Self>;
}

/// Opens what of these addresses is not open yet; those that are stay untouched. Answers what could
/// not be bound, with the reason.
#[derive(Message)]
#[rtype(result = "Vec<(SocketAddr, String)>")]
pub struct Open(pub BTreeSet<SocketAddr>);

impl Handler<Open> for Listeners {
    type Result = MessageResult<Open>;

    fn handle(&mut self, Open(wanted): Open, _: &mut Context<Self>) -> Self::Result {
        let mut failed = Vec::new();
        let new: Vec<_> = wanted.difference(&self.open).copied().collect();
        for address in new {
            let beside_own = self.open.iter().any(|own| covers(own, &address) || covers(&address, own));
            match sockets::bind(address, self.workers.count(), beside_own) {
                Ok(sockets) => {
                    self.workers.open(address, sockets);
                    self.open.insert(address);
                    tracing::info!("listening on {address}");
                }
                Err(error) => failed.push((address, error.to_string())),
            }
        }
        MessageResult(failed)
    }
}

/// Closes every address but these. Their connections have the drain period to end.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Retain(pub BTreeSet<SocketAddr>);

impl Handler<Retain> for Listeners {
    type Result = ();

    fn handle(&mut self, Retain(wanted): Retain, _: &mut Context<Self>) {
        let gone: Vec<_> = self.open.difference(&wanted).copied().collect();
        for address in gone {
            self.workers.close(address, self.drain);
            self.open.remove(&address);
            tracing::info!("closing {address}");
        }
    }
}

/// Asks for the state.
#[derive(Message)]
#[rtype(result = "ListenersState")]
pub struct Describe;

#[derive(Debug, Serialize)]
pub struct ListenersState {
    pub open: Vec<String>,
    pub workers: usize,
    /// Client connections.
    pub connections: usize,
}

impl Handler<Describe> for Listeners {
    type Result = MessageResult<Describe>;

    fn handle(&mut self, _: Describe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(ListenersState {
            open: self.open.iter().map(ToString::to_string).collect(),
            workers: self.workers.count(),
            connections: self.workers.connections(),
        })
    }
}
