//! From a request and its response to a tunnel.

use super::{
    super::{
        encode::ResponseRules,
        tunnel::{self, TunnelEnd, Upgraded},
    },
    After, ServerConnection,
};
use crate::{
    data_plane::{panic::Panicked, worker::Worker},
    http::Response,
    policy::Exchange,
};

impl ServerConnection {
    /// Sends the response of the chain; after a 101 follows the tunnel. Gives what is to follow.
    pub(super) async fn send_or_switch(
        &self,
        worker: &Worker,
        mut response: Response,
        rules: ResponseRules<'_>,
        exchange: &Exchange,
    ) -> Result<After, Panicked> {
        // Where a policy answered otherwise, this closes the upstream's connection.
        let upgraded = self.upgraded.take().filter(|_| response.status == 101);
        let Some(upgraded) = upgraded else {
            if response.status == 101 {
                // Nothing is behind it: the client would be left with a protocol that nobody speaks.
                response = exchange.stamped(Response::json_error(500, "Internal Server Error"));
            }
            return self.send(worker, response, rules, exchange).await;
        };
        let rules = ResponseRules { close: false, upgrade: Some(&upgraded.protocol), ..rules };
        match self.send(worker, response, rules, exchange).await? {
            After::NextRequest => Ok(After::Tunnel(upgraded)),
            failed => Ok(failed),
        }
    }

    /// Runs a tunnel and ends the connection.
    pub(super) async fn tunnel(&self, worker: &Worker, upgraded: Upgraded) {
        let closing = || self.listener.is_closed();
        let metrics = &worker.metrics.tunnels;
        match tunnel::run(&self.wire, &upgraded, &self.watch, metrics, closing).await {
            TunnelEnd::Complete | TunnelEnd::Expired => self.end().await,
            TunnelEnd::Broken => self.wire.borrow().transport.reset_when_closed(),
        }
    }
}
