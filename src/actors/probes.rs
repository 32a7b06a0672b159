//! Owns the probe port (configuration reference 10.1): opened, moved and closed by `spec.probe`.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use actix::{
    Actor, ActorFutureExt, Context, ContextFutureSpawner, Handler, Message, MessageResult, WrapFuture,
};
use actix_web::dev::ServerHandle;
use serde::Serialize;

use super::health::Health;

/// Starts the HTTP server of the probes on an address, with readiness at a path of the user's too.
pub type StartProbes = fn(Arc<Health>, SocketAddr, Option<String>) -> io::Result<ServerHandle>;

pub struct Probes {
    start: StartProbes,
    health: Arc<Health>,
    wanted: Option<ProbePort>,
    running: Option<(ProbePort, ServerHandle)>,
    /// Why the wanted port is not open.
    error: Option<String>,
}

/// What `spec.probe` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePort {
    pub port: u16,
    pub path: Option<String>,
}

impl ProbePort {
    /// Probes come from outside the host (decision 22).
    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port))
    }
}

impl Probes {
    pub fn new(start: StartProbes, health: Arc<Health>) -> Self {
        Self { start, health, wanted: None, running: None, error: None }
    }

    /// Whether what is wanted is served, and there is something.
    fn is_open(&self) -> bool {
        self.wanted.is_some() && self.running.as_ref().map(|(port, _)| port) == self.wanted.as_ref()
    }

    fn open(&mut self) {
        let before = self.error.take();
        let Some(wanted) = self.wanted.clone() else { return };
        let address = wanted.address();
        match (self.start)(Arc::clone(&self.health), address, wanted.path.clone()) {
            Ok(server) => {
                tracing::info!("probes are served on {address}");
                self.running = Some((wanted, server));
            }
            Err(error) => {
                let error = format!("cannot listen on {address}: {error}");
                // Once, not with each attempt.
                if before.as_ref() != Some(&error) {
                    tracing::error!(
                        "probes: {error}; help: free the port, which each look tries again, or change \
                         `spec.probe.port`"
                    );
                }
                self.error = Some(error);
            }
        }
    }
}

impl Actor for Probes {
    type Context = Context<Self>;
}

/// The probe port of the generation in force. Told by each look, so that a port that was taken is
/// tried again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Serve(pub Option<ProbePort>);

impl Handler<Serve> for Probes {
    type Result = ();

    fn handle(&mut self, Serve(wanted): Serve, ctx: &mut Context<Self>) {
        self.wanted = wanted;
        if self.is_open() {
            self.error = None;
            return;
        }
        let Some((old, server)) = self.running.take() else { return self.open() };
        let same = self.wanted.as_ref().is_some_and(|wanted| wanted.port == old.port);
        // Another port answers before the old one closes; the same has to be free first. Either way
        // the next message waits until the old server is gone.
        if !same {
            self.open();
            if self.error.is_some() {
                // The old one answers until the new one does.
                self.running = Some((old, server));
                return;
            }
        }
        server
            .stop(true)
            .into_actor(self)
            .map(move |(), act, _| {
                if same {
                    act.open();
                }
            })
            .wait(ctx);
    }
}

/// Asks for the state.
#[derive(Message)]
#[rtype(result = "ProbesState")]
pub struct Describe;

#[derive(Debug, Serialize)]
pub struct ProbesState {
    /// What `spec.probe` asks for; `None`: nothing, the admin address alone serves probes.
    pub address: Option<String>,
    pub path: Option<String>,
    pub listening: bool,
    /// Why it does not listen.
    pub error: Option<String>,
}

impl Handler<Describe> for Probes {
    type Result = MessageResult<Describe>;

    fn handle(&mut self, _: Describe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(ProbesState {
            address: self.wanted.as_ref().map(|wanted| wanted.address().to_string()),
            path: self.wanted.as_ref().and_then(|wanted| wanted.path.clone()),
            listening: self.is_open(),
            error: self.error.clone(),
        })
    }
}
