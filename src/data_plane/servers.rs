//! The addresses of an endpoint, as one worker sees them: requests take turns (configuration reference 7.3), and leave
//! out those that gave no connection as long as others do.

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::http1::client::ClientConnection;
use crate::snapshot::UpstreamPlan;

/// After a failure, how long until an address gets another try; twice as long after each further one.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// One address, and the idle connections to it.
pub struct Server {
    pub address: SocketAddr,
    health: Cell<Health>,
    retry_in: Cell<Duration>,
    /// The name leads elsewhere: no connection to it comes home, and none is used again.
    gone: Cell<bool>,
    /// No connection was made in advance since the last look.
    may_warm: Cell<bool>,
    pub idle: RefCell<Vec<Idle>>,
}

pub struct Idle {
    pub connection: Rc<ClientConnection>,
    pub since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Untried,
    Works,
    Failing { since: Instant },
}

impl Server {
    fn new(address: SocketAddr) -> Rc<Self> {
        Rc::new(Self {
            address,
            health: Cell::new(Health::Untried),
            retry_in: Cell::new(Duration::ZERO),
            gone: Cell::new(false),
            may_warm: Cell::new(true),
            idle: RefCell::default(),
        })
    }

    pub fn works(&self) {
        self.health.set(Health::Works);
        self.retry_in.set(Duration::ZERO);
    }

    /// It gave no connection.
    pub fn failed(&self) {
        let before = self.health.replace(Health::Failing { since: Instant::now() });
        // Many may have tried at once.
        if !matches!(before, Health::Failing { .. }) {
            self.retry_in.set((self.retry_in.get() * 2).clamp(RETRY_MIN, RETRY_MAX));
        }
    }

    fn is_working(&self) -> bool {
        self.health.get() == Health::Works
    }

    /// The connection that was used last of those that count for an upstream.
    pub fn remove_idle_of(&self, plan: &UpstreamPlan) -> Option<Rc<ClientConnection>> {
        let at = self.idle.borrow().iter().rposition(|idle| idle.connection.counts_for(plan))?;
        Some(self.remove_idle(at))
    }

    pub fn remove_idle(&self, at: usize) -> Rc<ClientConnection> {
        let Idle { connection, .. } = self.idle.borrow_mut().remove(at);
        connection.user().metrics.idle_removed();
        connection
    }

    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Whether a connection to it may be made in advance, which this call stands for: one for each look.
    pub fn take_turn_to_warm(&self) -> bool {
        self.may_warm.replace(false)
    }

    fn leave(&self) {
        self.gone.set(true);
        for idle in self.idle.take() {
            idle.connection.user().metrics.idle_removed();
        }
    }
}

/// All addresses of an endpoint; none before its name was asked for.
pub struct Servers {
    list: RefCell<Vec<Rc<Server>>>,
    /// What the list was made of.
    answer: RefCell<Option<Arc<[IpAddr]>>>,
    turn: Cell<usize>,
    /// One of them may be new.
    untried: Cell<bool>,
}

impl Default for Servers {
    fn default() -> Self {
        // Workers do not begin with the same one.
        let turn = Cell::new(fastrand::u16(..).into());
        Self { list: RefCell::default(), answer: RefCell::default(), turn, untried: Cell::new(false) }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.list.take().iter().for_each(|server| server.leave());
    }
}

impl Servers {
    /// Whose turn it is, of those that work.
    pub fn next(&self) -> Option<Rc<Server>> {
        let list = self.list.borrow();
        let at = self.in_turn(&list).find(|at| list[*at].is_working())?;
        self.turn.set(at);
        Some(Rc::clone(&list[at]))
    }

    /// It has had its turn.
    pub fn advance(&self) {
        self.turn.set(self.turn.get() + 1);
    }

    /// All of them in the order in which to try them: those that work, then the new ones, or both in turn.
    pub fn candidates(&self, new_in_turn: bool) -> Vec<Rc<Server>> {
        let list = self.list.borrow();
        let mut candidates: Vec<_> = self.in_turn(&list).map(|at| Rc::clone(&list[at])).collect();
        candidates.sort_by_key(|server| match server.health.get() {
            Health::Works => 0,
            Health::Untried if new_in_turn => 0,
            Health::Untried => 1,
            Health::Failing { .. } => 2,
        });
        candidates
    }

    /// One that nobody has tried yet, or not for long, if others work: where none does, requests try themselves.
    pub fn untried(&self) -> Option<Rc<Server>> {
        if !self.untried.get() {
            return None;
        }
        let list = self.list.borrow();
        if !list.iter().any(|server| server.is_working()) {
            return None;
        }
        let mut untried = list.iter().filter(|server| server.health.get() == Health::Untried).peekable();
        self.untried.set(untried.peek().is_some());
        untried.find(|server| server.may_warm.get()).cloned()
    }

    /// The addresses are these from now on.
    pub fn learn(&self, answer: &Arc<[IpAddr]>, port: u16) {
        if self.answer.borrow().as_ref().is_some_and(|known| known == answer) {
            return;
        }
        self.answer.replace(Some(Arc::clone(answer)));
        let before = self.list.take();
        let known = |address| before.iter().find(|server| server.address == address).cloned();
        let addresses = answer.iter().map(|ip| SocketAddr::new(*ip, port));
        let list: Vec<_> =
            addresses.map(|address| known(address).unwrap_or_else(|| Server::new(address))).collect();
        let gone = before.iter().filter(|server| !list.iter().any(|kept| Rc::ptr_eq(kept, server)));
        gone.for_each(|server| server.leave());
        self.list.replace(list);
        self.untried.set(true);
    }

    /// Those that have failed for long enough are as new, and all may be connected to in advance.
    pub fn forgive(&self, now: Instant) {
        for server in self.list.borrow().iter() {
            server.may_warm.set(true);
            if let Health::Failing { since } = server.health.get()
                && now.saturating_duration_since(since) >= server.retry_in.get()
            {
                server.health.set(Health::Untried);
                self.untried.set(true);
            }
        }
    }

    pub fn for_each(&self, act: impl FnMut(&Rc<Server>)) {
        self.list.borrow().iter().for_each(act);
    }

    /// What one of them has, in turn.
    pub fn find_map<T>(&self, mut find: impl FnMut(&Rc<Server>) -> Option<T>) -> Option<T> {
        let list = self.list.borrow();
        self.in_turn(&list).find_map(|at| find(&list[at]))
    }

    pub fn count(&self) -> usize {
        self.list.borrow().len()
    }

    fn in_turn(&self, list: &[Rc<Server>]) -> impl Iterator<Item = usize> + use<> {
        let (turn, count) = (self.turn.get(), list.len());
        (0..count).map(move |step| (turn + step) % count)
    }
}
