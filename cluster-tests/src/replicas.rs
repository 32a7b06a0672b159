//! Several gateways that are replicas of one: the same gateway id, a replica id each, a port each, and between each of them
//! and Redis a [`FaultProxy`] of its own where a test wants to break what lies between.

use std::net::SocketAddr;
use std::ops::{Index, IndexMut};

use crate::balancer::Balancer;
use crate::clock::WallClock;
use crate::fault_proxy::FaultProxy;
use crate::gateway::{Gateway, Plan};
use crate::ports;

/// What one replica is to be: a test builds its plan from it.
pub struct Place {
    /// Counted from 0.
    pub index: usize,
    /// `r1`, `r2`, … as `gateway.replica`.
    pub id: String,
    /// Its listening ports.
    pub ports: Vec<u16>,
    /// Where it reaches Redis: its proxy, if [`Crew::through`] made one.
    pub redis: Option<SocketAddr>,
}

impl Place {
    /// Where clients reach its first port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        local(self.ports[0])
    }

    /// The address of an `ApiInstance` on its first port.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// `host:port` of its Redis.
    ///
    /// # Panics
    /// Without [`Crew::through`].
    #[must_use]
    pub fn redis(&self) -> String {
        self.redis.expect("Crew::through").to_string()
    }
}

/// How replicas are to be started.
pub struct Crew {
    count: usize,
    id: String,
    ports: usize,
    redis: Option<SocketAddr>,
    clocks: bool,
    unready: bool,
}

impl Crew {
    /// So many replicas of one gateway with an id that no other crew has.
    #[must_use]
    pub fn of(count: usize) -> Self {
        let id = format!("crew-{:08x}", fastrand::u32(..));
        Self { count, id, ports: 1, redis: None, clocks: false, unready: false }
    }

    /// With this `gateway.id`.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// With so many listening ports each.
    #[must_use]
    pub fn ports(mut self, count: usize) -> Self {
        self.ports = count;
        self
    }

    /// Each reaches this Redis through a proxy of its own.
    #[must_use]
    pub fn through(mut self, redis: SocketAddr) -> Self {
        self.redis = Some(redis);
        self
    }

    /// Each has a wall clock of its own, by faketime.
    #[must_use]
    pub fn with_clocks(mut self) -> Self {
        self.clocks = true;
        self
    }

    /// They need not be ready: the admin interface answers, no more.
    #[must_use]
    pub fn unready(mut self) -> Self {
        self.unready = true;
        self
    }

    /// Starts them, each with the plan that the test makes for its place.
    ///
    /// # Panics
    /// When one does not start, or clocks are wanted and there is no faketime.
    #[must_use]
    pub fn start(self, plan: impl Fn(&Place) -> Plan) -> Replicas {
        let all = (0..self.count).map(|index| self.replica(index, &plan)).collect();
        Replicas { all, id: self.id }
    }

    fn replica(&self, index: usize, plan: impl Fn(&Place) -> Plan) -> Replica {
        let proxy = self.redis.map(FaultProxy::start);
        let clock =
            self.clocks.then(|| WallClock::new().expect("faketime is installed; scripts/test does it"));
        let place = Place {
            index,
            id: format!("r{}", index + 1),
            ports: (0..self.ports).map(|_| ports::free()).collect(),
            redis: proxy.as_ref().map(FaultProxy::address),
        };
        let mut plan = plan(&place);
        for setting in [format!("gateway.id={}", self.id), format!("gateway.replica={}", place.id)] {
            plan = plan.argument("--set").argument(&setting);
        }
        if let Some(clock) = &clock {
            plan = clock.shown_to(plan);
        }
        let gateway = if self.unready { plan.start_unready() } else { plan.start() };
        Replica { place, gateway, proxy, clock }
    }
}

struct Replica {
    place: Place,
    gateway: Gateway,
    proxy: Option<FaultProxy>,
    clock: Option<WallClock>,
}

/// Running replicas; they end with the value. `replicas[i]` is a gateway.
pub struct Replicas {
    all: Vec<Replica>,
    id: String,
}

impl Replicas {
    /// `n` replicas, each with the plan that the test makes for its place; [`Crew`] has more options.
    ///
    /// # Panics
    /// As [`Crew::start`].
    #[must_use]
    pub fn start(count: usize, plan: impl Fn(&Place) -> Plan) -> Self {
        Crew::of(count).start(plan)
    }

    /// Their `gateway.id`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What a replica was started as.
    #[must_use]
    pub fn place(&self, index: usize) -> &Place {
        &self.all[index].place
    }

    /// Where clients reach the first port of each.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(|replica| replica.place.address()).collect()
    }

    /// What lies between a replica and Redis.
    ///
    /// # Panics
    /// Without [`Crew::through`].
    #[must_use]
    pub fn proxy(&self, index: usize) -> &FaultProxy {
        self.all[index].proxy.as_ref().expect("Crew::through")
    }

    /// The wall clock that a replica sees.
    ///
    /// # Panics
    /// Without [`Crew::with_clocks`].
    #[must_use]
    pub fn clock(&self, index: usize) -> &WallClock {
        self.all[index].clock.as_ref().expect("Crew::with_clocks")
    }

    /// Ends a replica with SIGKILL.
    pub fn kill(&mut self, index: usize) {
        self.all[index].gateway.kill();
    }

    /// Starts a killed replica on its folder and ports, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_again(&mut self, index: usize) {
        self.all[index].gateway.start_again();
        crate::eventually("a replica that is ready again", || self[index].ready().then_some(()));
    }

    /// Each gateway that runs, by its number.
    pub fn each(&mut self, mut act: impl FnMut(usize, &Gateway)) {
        for (index, replica) in self.all.iter_mut().enumerate() {
            if replica.gateway.running() {
                act(index, &replica.gateway);
            }
        }
    }

    /// A balancer before the first port of each, which sends new connections to those that are ready.
    ///
    /// # Panics
    /// As [`Balancer::start`].
    #[must_use]
    pub fn balanced(&self) -> Balancer {
        let servers: Vec<_> = self
            .all
            .iter()
            .map(|replica| (replica.place.address(), replica.gateway.admin_address()))
            .collect();
        Balancer::start(&servers)
    }
}

impl Index<usize> for Replicas {
    type Output = Gateway;

    fn index(&self, index: usize) -> &Gateway {
        &self.all[index].gateway
    }
}

impl IndexMut<usize> for Replicas {
    fn index_mut(&mut self, index: usize) -> &mut Gateway {
        &mut self.all[index].gateway
    }
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}
