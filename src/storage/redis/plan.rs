//! Which Redis, and how it is spoken to: what `sharedStorage.redis` describes (configuration reference 8.1).

use std::{fmt, net::Ipv6Addr, sync::Arc, time::Duration};

use crate::{
    base::{Digest, Secret},
    tls::Outbound,
};

/// A description that has been checked. Equal digests: the same storage, reached in the same way.
#[derive(Clone, Debug)]
pub struct Plan {
    pub topology: Topology,
    /// Of the gateway at the nodes that hold its data.
    pub credentials: Credentials,
    /// 0 in a cluster.
    pub database: u32,
    /// `None`: plain TCP.
    pub tls: Option<Arc<Outbound>>,
    /// How long one call may take.
    pub deadline: Duration,
    /// Every write is on disk before it is answered (`appendfsync always`): a restart loses nothing (decision 36).
    pub durable: bool,
}

/// How many nodes there are, and how they are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    Standalone(Address),
    /// Sentinels tell which node is the master.
    Sentinel {
        sentinels: Vec<Address>,
        master: String,
        credentials: Credentials,
    },
    /// These nodes tell of all.
    Cluster(Vec<Address>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// `None`: the user `default`.
    pub username: Option<String>,
    pub password: Option<Secret>,
}

/// `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}

impl Plan {
    /// How long one call may take where nothing else is said.
    pub const DEADLINE: Duration = Duration::from_millis(500);

    /// One node, without TLS and without a password.
    pub fn standalone(address: Address) -> Self {
        Self::new(Topology::Standalone(address))
    }

    /// These nodes, without TLS and without a password.
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            credentials: Credentials::default(),
            database: 0,
            tls: None,
            deadline: Self::DEADLINE,
            durable: false,
        }
    }

    /// Of everything, secrets too.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::builder().part(format!("{:?}", self.topology));
        if let Topology::Sentinel { credentials, .. } = &self.topology {
            credentials.add_to(&mut digest);
        }
        self.credentials.add_to(&mut digest);
        let tls = self.tls.as_ref().map(|tls| tls.digest.to_string());
        digest.add(format!("{} {tls:?} {:?} {}", self.database, self.deadline, self.durable));
        digest.finish()
    }
}

impl Plan {
    /// Of where the data is, however it is spoken to.
    pub fn place(&self) -> Digest {
        let master = match &self.topology {
            Topology::Sentinel { master, .. } => master.as_str(),
            Topology::Standalone(_) | Topology::Cluster(_) => "",
        };
        let digest = Digest::builder().part(self.topology.as_str()).part(master);
        digest.part(format!("{:?} {}", self.topology.addresses(), self.database)).finish()
    }
}

impl Topology {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Standalone(_) => "standalone",
            Self::Sentinel { .. } => "sentinel",
            Self::Cluster(_) => "cluster",
        }
    }

    /// Those that are written in the configuration.
    pub fn addresses(&self) -> &[Address] {
        match self {
            Self::Standalone(address) => std::slice::from_ref(address),
            Self::Sentinel { sentinels: addresses, .. } | Self::Cluster(addresses) => addresses,
        }
    }
}

impl Credentials {
    fn add_to(&self, digest: &mut crate::base::DigestBuilder) {
        digest.add(format!("{:?}", self.username));
        digest.add(self.password.as_ref().map_or("", |password| password.expose()));
    }
}

impl Address {
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// From `HOST:PORT`, an IPv6 address in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let sound = match bracketed {
            Some(host) => host.parse::<Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && !host.contains([':', '/', '@', '[', ']'])
                    && !host.contains(char::is_whitespace)
            }
        };
        sound.then(|| Self::new(bracketed.unwrap_or(host), port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port_with_brackets_around_ipv6() {
        for (text, read) in [
            ("redis:6379", Some(("redis", 6379))),
            ("[::1]:6379", Some(("::1", 6379))),
            ("10.0.0.1:1", Some(("10.0.0.1", 1))),
            ("::1:6379", None),
            ("redis", None),
            (":6379", None),
            ("redis:0", None),
            ("redis:70000", None),
            ("redis://redis:6379", None),
            ("a b:6379", None),
        ] {
            let address = Address::parse(text);
            assert_eq!(address.as_ref().map(|a| (a.host.as_str(), a.port)), read, "{text}");
            if let Some(address) = address {
                assert_eq!(address.to_string(), text);
            }
        }
    }

    #[test]
    fn plans_that_differ_in_a_password_differ_and_do_not_show_it() {
        let plan = Plan::standalone(Address::new("redis", 6379));
        let mut other = plan.clone();
        other.credentials.password = Some(Secret::new("hunter2".to_owned()));
        assert_ne!(plan.digest(), other.digest());
        assert!(!format!("{other:?}").contains("hunter2"));
    }

    #[test]
    fn the_data_is_where_it_was_whoever_asks_for_it() {
        let credentials = |password: &str| Credentials {
            username: Some(password.to_owned()),
            password: Some(Secret::new(password.to_owned())),
        };
        let plan = |port, master: &str, password| {
            let master = master.to_owned();
            let sentinels = vec![Address::new("redis", port)];
            let credentials = credentials(password);
            Plan::new(Topology::Sentinel { sentinels, master, credentials })
        };
        let one = plan(1, "a", "one");
        let other = Plan {
            credentials: credentials("other"),
            deadline: Duration::ZERO,
            durable: true,
            ..plan(1, "a", "other")
        };
        assert_eq!(one.place(), other.place());
        for elsewhere in [
            plan(2, "a", "one"),
            plan(1, "b", "one"),
            Plan { database: 1, ..one.clone() },
            Plan::standalone(Address::new("redis", 1)),
            Plan::new(Topology::Cluster(vec![Address::new("redis", 1)])),
        ] {
            assert_ne!(one.place(), elsewhere.place(), "{elsewhere:?}");
        }
    }
}
