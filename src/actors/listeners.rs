//! Owns the bound addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

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
    /// Those of them that are taken over, and since when.
    leaving: BTreeMap<SocketAddr, Instant>,
}

impl Listeners {
    pub fn new(workers: Arc<Workers>, drain: Duration) -> Self {
        Self { workers, drain, open: BTreeSet::new(), leaving: BTreeMap::new() }
    }

    fn close(&mut self, address: SocketAddr) {
        self.workers.close(address, self.drain);
        self.open.remove(&address);
        tracing::info!("closing {address}");
    }

    fn close_taken_over(&mut self) {
        let is_due = |_: &SocketAddr, since: &mut Instant| since.elapsed() >= TAKEN_OVER;
        let due: Vec<_> = self.leaving.extract_if(.., is_due).collect();
        due.into_iter().for_each(|(address, _)| self.close(address));
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
        self.leaving.retain(|address, _| !wanted.contains(address));
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
///
/// One address of a port stays open where all of them are wanted: closing it would reset who connects to
/// it in that moment.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Retain(pub BTreeSet<SocketAddr>);

impl Handler<Retain> for Listeners {
    type Result = ();

    fn handle(&mut self, Retain(wanted): Retain, ctx: &mut Context<Self>) {
        let is_unused = |own: &SocketAddr| !wanted.iter().any(|wanted| covers(wanted, own));
        let unused: BTreeSet<_> = self.open.iter().copied().filter(is_unused).collect();
        self.leaving.retain(|address, _| unused.contains(address));
        for address in unused {
            if wanted.iter().any(|wanted| covers(&address, wanted)) {
                self.leaving.entry(address).or_insert_with(Instant::now);
                ctx.run_later(TAKEN_OVER, |act, _| act.close_taken_over());
            } else {
                self.close(address);
            }
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
