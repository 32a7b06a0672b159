//! Owns the bound addresses.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult};
use serde::Serialize;

use super::sockets;
use crate::{data_plane::Workers, snapshot::plan::covers};

/// How long all addresses of a port stay open beside one of them that takes over. New connections come
/// to that one at once; those whose handshake with the kernel had begun come to the socket before.
const TAKEN_OVER: Duration = Duration::from_secs(1);

pub struct Listeners {
    workers: Arc<Workers>,
    drain: Duration,
    open: BTreeSet<SocketAddr>,
    /// What was told last.
    wanted: BTreeSet<SocketAddr>,
}

impl Listeners {
    pub fn new(workers: Arc<Workers>, drain: Duration) -> Self {
        Self { workers, drain, open: BTreeSet::new(), wanted: BTreeSet::new() }
    }

    /// Nothing that is wanted comes in there. One address of a port of which all are wanted is not in
    /// the way: closing it would reset who connects to it in that moment.
    fn is_unused(&self, address: &SocketAddr) -> bool {
        !self.wanted.iter().any(|wanted| covers(wanted, address))
    }

    fn close_unused(&mut self, candidates: impl IntoIterator<Item = SocketAddr>) {
        for address in candidates {
            if self.is_unused(&address) && self.open.remove(&address) {
                self.workers.close(address, self.drain);
                tracing::info!("closing {address}");
            }
        }
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

/// Closes every address where none of these comes in. Their connections have the drain period to end.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Retain(pub BTreeSet<SocketAddr>);

impl Handler<Retain> for Listeners {
    type Result = ();

    fn handle(&mut self, Retain(wanted): Retain, ctx: &mut Context<Self>) {
        self.wanted = wanted;
        let is_taken_over = |own: &SocketAddr| self.wanted.iter().any(|wanted| covers(own, wanted));
        let (taken_over, others): (Vec<_>, Vec<_>) = self.open.iter().partition(|own| is_taken_over(own));
        self.close_unused(others);
        ctx.run_later(TAKEN_OVER, |act, _| act.close_unused(taken_over));
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
