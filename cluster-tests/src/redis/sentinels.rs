//! One master, one replica, and three sentinels that watch over them.

use std::net::SocketAddr;
use std::time::Duration;

use super::{ADMIN, Door, Redis, Terms};
use crate::process::Process;
use crate::{eventually, ports};

/// By which the sentinels know the master.
pub const MASTER_NAME: &str = "harness-master";

/// How many sentinels there are; two of them decide.
const SENTINELS: usize = 3;

/// The topology; it ends with the value.
pub struct Sentinels {
    nodes: Vec<Redis>,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    process: Process,
    door: Door,
    _folder: tempfile::TempDir,
}

impl Sentinels {
    /// In plain TCP, without a password.
    ///
    /// # Panics
    /// As [`Sentinels::with`].
    #[must_use]
    pub fn start() -> Self {
        Self::with(Terms::default(), None)
    }

    /// Data nodes on these terms, sentinels over the same transport, with a password if there is one. Returns when the replica
    /// follows and all sentinels know it and each other.
    ///
    /// # Panics
    /// When Redis is not installed or does not start.
    #[must_use]
    pub fn with(terms: Terms, password: Option<&str>) -> Self {
        let master = Redis::start(terms.clone());
        let follow = format!("replicaof 127.0.0.1 {}", master.address().port());
        let replica = Redis::start_with(terms.clone(), &[follow], None);
        let master_port = master.address().port();
        let start = |_| Sentinel::start(&terms, master_port, password);
        let topology = Self { nodes: vec![master, replica], sentinels: (0..SENTINELS).map(start).collect() };
        topology.await_stable();
        topology
    }

    /// Where the sentinels listen.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(|sentinel| sentinel.door.address).collect()
    }

    /// The master on which all sentinels agree.
    ///
    /// # Panics
    /// When they do not agree within the harness's patience.
    #[must_use]
    pub fn master(&self) -> SocketAddr {
        eventually("the sentinels agree", || self.agreed())
    }

    fn agreed(&self) -> Option<SocketAddr> {
        let said: Vec<_> = self.sentinels.iter().map(Sentinel::master).collect();
        let first = said[0]?;
        said.iter().all(|master| *master == Some(first)).then_some(first)
    }

    /// The data node with this address.
    ///
    /// # Panics
    /// When there is none.
    pub fn node(&mut self, address: SocketAddr) -> &mut Redis {
        self.nodes.iter_mut().find(|node| node.address() == address).expect("an address of a data node")
    }

    /// The data node that is master now.
    pub fn master_node(&mut self) -> &mut Redis {
        let master = self.master();
        self.node(master)
    }

    /// The data node that is not master now.
    ///
    /// # Panics
    /// As [`Sentinels::master`].
    pub fn other_node(&mut self) -> &mut Redis {
        let master = self.master();
        self.nodes.iter_mut().find(|node| node.address() != master).expect("two data nodes")
    }

    /// Kills the master; the new one, when it takes writes and all sentinels agree on it.
    ///
    /// # Panics
    /// When no other one is elected within the harness's patience.
    pub fn failover(&mut self) -> SocketAddr {
        let old = self.master();
        self.node(old).kill();
        let new = eventually("a new master", || self.agreed().filter(|master| *master != old));
        let node = self.node(new);
        eventually("it takes writes", || (node.info("role")? == "master").then_some(()));
        new
    }

    /// Starts killed data nodes again, which become replicas, and waits until all is as it was at the start. They come back empty:
    /// until they have what the master has, no sentinel may elect them, as a machine that stands still for a second makes it want to.
    ///
    /// # Panics
    /// When that does not come within the harness's patience.
    pub fn rejoin(&mut self) {
        let mut restarted = Vec::new();
        for node in &mut self.nodes {
            if !node.running() {
                node.configure("replica-priority 0");
                node.restart();
                restarted.push(node.address());
            }
        }
        self.await_stable();
        for address in restarted {
            let node = self.node(address);
            assert_eq!(node.cli(&["config", "set", "replica-priority", "100"]), "OK");
            assert_eq!(node.cli(&["config", "rewrite"]), "OK");
        }
        self.await_stable();
        eventually("sentinels that may elect the replica", || {
            let replicas = self.nodes.len() - 1;
            self.sentinels.iter().all(|sentinel| sentinel.may_elect_all(replicas)).then_some(())
        });
    }

    /// The replica loses its master and may not come back: what is written from now on is lost by a [`Sentinels::failover`].
    /// Sentinels elect a replica that was away for less than five seconds only.
    pub fn detach_replica(&mut self) {
        self.other_node().cli(&["config", "set", "masterauth", "wrong"]);
        self.master_node().cli(&["client", "kill", "type", "replica"]);
        let replica = self.other_node();
        let down = || (replica.info("master_link_status")? == "down").then_some(());
        eventually("the replica is cut off", down);
    }

    /// The opposite of [`Sentinels::detach_replica`], on every node that runs.
    pub fn attach_replica(&mut self) {
        for node in self.nodes.iter_mut().filter_map(|node| node.running().then_some(node)) {
            node.cli(&["config", "set", "masterauth", ADMIN]);
        }
    }

    fn await_stable(&self) {
        let linked = |node: &Redis| {
            let replica = node.info("role")? == "slave";
            (!replica || node.info("master_link_status")? == "up").then_some(replica)
        };
        eventually("a replica that follows", || {
            let replicas: Option<Vec<bool>> = self.nodes.iter().map(linked).collect();
            (replicas?.into_iter().filter(|replica| *replica).count() == 1).then_some(())
        });
        let nodes = self.nodes.len();
        eventually("sentinels that know all", || {
            self.agreed()?;
            self.sentinels.iter().all(|sentinel| sentinel.knows_all(nodes - 1)).then_some(())
        });
    }
}

impl Sentinel {
    fn start(terms: &Terms, master_port: u16, password: Option<&str>) -> Self {
        let folder = super::folder();
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let tls = !terms.transport.is_plain();
        let mut lines =
            if tls { terms.listening(None, Some(address)) } else { terms.listening(Some(address), None) };
        lines.push(format!("dir {}", folder.path().display()));
        lines.push(format!("sentinel monitor {MASTER_NAME} 127.0.0.1 {master_port} 2"));
        for (name, value) in [
            ("down-after-milliseconds", "1000"),
            ("failover-timeout", "3000"),
            ("parallel-syncs", "1"),
            ("auth-user", ADMIN),
            ("auth-pass", ADMIN),
        ] {
            lines.push(format!("sentinel {name} {MASTER_NAME} {value}"));
        }
        if let Some(password) = password {
            lines.extend([format!("requirepass {password}"), format!("sentinel sentinel-pass {password}")]);
        }
        let config = folder.path().join("sentinel.conf");
        std::fs::write(&config, lines.join("\n") + "\n").expect("the temporary folder is writable");
        let log = folder.path().join(format!("sentinel-{}.log", address.port()));
        let process = Process::start("redis-sentinel", vec![config.display().to_string()], &log);
        let login = password.map(|password| ("default".to_owned(), password.to_owned()));
        let certificates = if tls { terms.certificates.clone() } else { None };
        let sentinel = Self { process, door: Door { address, login, certificates }, _folder: folder };
        sentinel.hurry();
        sentinel
    }

    /// Once it answers: it looks for the others often, and distrusts its clock on a busy machine for a short while only.
    fn hurry(&self) {
        let periods = ["info-period", "1000", "publish-period", "500", "tilt-period", "500"];
        let command: Vec<&str> = ["sentinel", "debug"].into_iter().chain(periods).collect();
        let done = || self.ask(&command).filter(|said| said == "OK");
        eventually(&format!("a sentinel at {}: {}", self.door.address, self.process.log()), done);
    }

    fn ask(&self, command: &[&str]) -> Option<String> {
        self.door.ask_within(Duration::from_secs(5), command)
    }

    fn master(&self) -> Option<SocketAddr> {
        let said = self.ask(&["sentinel", "get-master-addr-by-name", MASTER_NAME])?;
        let (host, port) = said.split_once('\n')?;
        format!("{host}:{port}").parse().ok()
    }

    /// Whether it knows this many replicas and the other sentinels, and believes all of them to be well.
    fn knows_all(&self, replicas: usize) -> bool {
        self.values("master", "flags") == ["master"]
            && self.values("replicas", "flags") == vec!["slave"; replicas]
            && self.values("sentinels", "flags") == vec!["sentinel"; SENTINELS - 1]
    }

    fn may_elect_all(&self, replicas: usize) -> bool {
        self.values("replicas", "slave-priority") == vec!["100"; replicas]
    }

    /// What it knows by this name of the master, the replicas or the other sentinels. Its entries are lines of names and values in
    /// turn.
    fn values(&self, what: &str, name: &str) -> Vec<String> {
        let page = self.ask(&["sentinel", what, MASTER_NAME]).unwrap_or_default();
        let lines: Vec<&str> = page.lines().collect();
        lines.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1].to_owned()).collect()
    }
}
