//! Owns the probe port (configuration reference 10.1): opened, moved and closed by `spec.probe`.

use std::net::{Ipv4Addr, SocketAddr};

use actix::{Actor, Context, Handler, Message};
use actix_web::dev::ServerHandle;

/// Starts the HTTP server of the probes on an address, with readiness at a path of the user's too.
pub type StartProbes = Box<dyn Fn(SocketAddr, Option<String>) -> std::io::Result<ServerHandle>>;

pub struct Probes {
    start: StartProbes,
    running: Option<(ProbePort, ServerHandle)>,
}

/// What `spec.probe` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePort {
    pub port: u16,
    pub path: Option<String>,
}

impl Probes {
    pub fn new(start: StartProbes) -> Self {
        Self { start, running: None }
    }
}

impl Actor for Probes {
    type Context = Context<Self>;
}

/// The probe port of the newest generation.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Serve(pub Option<ProbePort>);

impl Handler<Serve> for Probes {
    type Result = ();

    fn handle(&mut self, Serve(wanted): Serve, _: &mut Context<Self>) {
        if self.running.as_ref().map(|(port, _)| port) == wanted.as_ref() {
            return;
        }
        if let Some((_, server)) = self.running.take() {
            actix_rt::spawn(server.stop(false));
        }
        let Some(wanted) = wanted else { return };
        // Probes come from outside the host (decision 22).
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port));
        match (self.start)(address, wanted.path.clone()) {
            Ok(server) => self.running = Some((wanted, server)),
            Err(error) => tracing::error!(
                "the probe port cannot be opened on {address}: {error}; help: free the port or change \
                 `spec.probe.port`, then reload"
            ),
        }
    }
}
