//! Where the master is, by what sentinels say.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::base::lock;

use redis::{Value, cmd};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    link::{Dialer, Link, Peer, said},
    node::{SENTINEL_PATIENCE, SILENCE_MAX, Target},
    plan::Address,
    reply,
};

pub(super) struct Sentinels {
    addresses: Vec<Address>,
    /// The name of the master among all that they watch.
    name: String,
    /// The connection with the one that answered last.
    kept: Mutex<Option<Arc<Link>>>,
    /// Whom to ask first where there is no such connection: the one after who was tried last, so that neither one that does
    /// not answer in time nor one that knows less than the others stands in their way for ever.
    turn: AtomicUsize,
}

impl Sentinels {
    pub fn new(addresses: Vec<Address>, name: String) -> Self {
        Self { addresses, name, kept: Mutex::default(), turn: AtomicUsize::new(0) }
    }

    /// The first answer that any of them gives.
    ///
    /// # Errors
    /// What the last one said.
    async fn master(&self, dialer: &Dialer) -> Result<Address, String> {
        let kept = lock(&self.kept).take();
        if let Some(link) = kept
            && let Ok(Ok(master)) = timeout(SENTINEL_PATIENCE, self.ask(&link)).await
        {
            self.keep(link);
            return Ok(master);
        }
        let mut cause = "no sentinel is configured".to_owned();
        let turn = self.turn.load(Relaxed);
        for at in turn..turn + self.addresses.len() {
            let address = &self.addresses[at % self.addresses.len()];
            self.turn.store((at + 1) % self.addresses.len(), Relaxed);
            match dialer.dial(address, Peer::Sentinel, None).await {
                Ok((link, _)) => {
                    let link = Arc::new(link);
                    match timeout(SENTINEL_PATIENCE, self.ask(&link)).await {
                        Ok(Ok(master)) => {
                            self.keep(link);
                            return Ok(master);
                        }
                        Ok(Err(said)) => cause = format!("sentinel {said}"),
                        Err(_) => cause = format!("sentinel {address} does not answer"),
                    }
                }
                Err(error) => cause = format!("sentinel {error}"),
            }
        }
        Err(cause)
    }

    fn keep(&self, link: Arc<Link>) {
        *lock(&self.kept) = Some(link);
    }

    /// What the one that answered last says cannot be right: the next is asked.
    fn doubt(&self) {
        *lock(&self.kept) = None;
    }

    async fn ask(&self, link: &Link) -> Result<Address, String> {
        let mut question = cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(&self.name);
        let at = &link.address;
        match link.ask(&question).await? {
            Value::Nil => Err(format!("{at} knows no master `{}`", self.name)),
            Value::ServerError(error) => Err(said(at, &error).0),
            answer => reply::address(answer).map_err(|error| format!("{at} answers {error}")),
        }
    }
}

impl Target {
    /// A connection with the node, and the task that ends when it does.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn dial(&self, dialer: &Dialer) -> Result<(Link, JoinHandle<()>), String> {
        let sentinels = match self {
            Self::At(address) => return dialer.dial(address, Peer::Data, None).await,
            Self::Master(sentinels) => sentinels,
        };
        let address = sentinels.master(dialer).await?;
        let cause = match dialer.dial(&address, Peer::Data, None).await {
            Ok((link, task)) if link.server.role == "master" => return Ok((link, task)),
            Ok((link, _)) => {
                format!("{address} is a {}, though the sentinels call it the master", link.server.role)
            }
            Err(cause) => cause,
        };
        sentinels.doubt();
        Err(cause)
    }

    /// Asks the node something small, and whether it is the master still.
    ///
    /// # Errors
    /// It is of no use any more.
    pub async fn check(&self, dialer: &Dialer, link: &Link) -> Result<(), String> {
        let at = &link.address;
        let question = cmd(if matches!(self, Self::At(_)) { "PING" } else { "ROLE" });
        let Ok(answer) = timeout(SILENCE_MAX, link.ask(&question)).await else {
            return Err(format!("{at} has been silent for {SILENCE_MAX:?}"));
        };
        let answer = answer?;
        let Self::Master(sentinels) = self else { return Ok(()) };
        if reply::role(&answer).is_some_and(|role| role != "master") {
            return Err(format!("{at} is not the master any more"));
        }
        // As long as no sentinel answers nothing speaks against it.
        match timeout(SENTINEL_PATIENCE, sentinels.master(dialer)).await {
            Ok(Ok(master)) if master != *at => {
                Err(format!("the sentinels call {master} the master, not {at}"))
            }
            _ => Ok(()),
        }
    }
}
