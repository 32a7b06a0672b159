//! A TCP balancer that honours readiness: Debian's HAProxy, which asks each replica's admin interface.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

use crate::daemon::Daemon;
use crate::eventually;

/// A running balancer; it ends with the value.
pub struct Balancer {
    daemon: Daemon,
}

impl Balancer {
    /// A balancer before these servers, each with the address where its `/probes/readiness` is asked twenty times a second.
    /// Connections go round in turn; one that a server refuses goes to the next. Returns when every server was asked once.
    ///
    /// # Panics
    /// When HAProxy is not installed or does not start.
    #[must_use]
    pub fn start(servers: &[(SocketAddr, SocketAddr)]) -> Self {
        let daemon = Daemon::start("haproxy", &["-db", "-q", "-f"], |port, log| {
            let socket = log.with_file_name("stats");
            let mut lines = format!(
                "global\n  stats socket {} mode 600 level operator\n\
                 defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
                 timeout check 10s\n  retries 3\n  option redispatch 1\n\
                 frontend front\n  bind 127.0.0.1:{port}\n  default_backend gateways\n\
                 backend gateways\n  balance roundrobin\n  option httpchk\n  \
                 http-check send meth GET uri /probes/readiness ver HTTP/1.1 hdr Host localhost\n  \
                 http-check expect status 200\n  default-server inter 50ms fall 1 rise 1\n",
                socket.display()
            );
            for (index, (server, admin)) in servers.iter().enumerate() {
                let check = format!("check addr {} port {}", admin.ip(), admin.port());
                lines += &format!("  server {index} {server} {check}\n");
            }
            lines
        });
        let balancer = Self { daemon };
        eventually("a check of every server", || balancer.all_checked(servers.len()).then_some(()));
        balancer
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.daemon.address()
    }

    /// Numbers of the servers that get new connections now.
    #[must_use]
    pub fn in_service(&self) -> Vec<usize> {
        self.servers().into_iter().filter(|server| server.up).map(|server| server.index).collect()
    }

    /// Waits until these servers, by number, and no others get new connections.
    ///
    /// # Panics
    /// When that does not come within the harness's patience.
    pub fn await_in_service(&self, wanted: &[usize]) {
        eventually(&format!("in service: {wanted:?}"), || (self.in_service() == wanted).then_some(()));
    }

    fn all_checked(&self, count: usize) -> bool {
        let servers = self.servers();
        servers.len() == count && servers.iter().all(|server| server.checked)
    }

    fn servers(&self) -> Vec<Server> {
        let socket = self.daemon.folder().join("stats");
        let mut page = String::new();
        let read = UnixStream::connect(socket).and_then(|mut stream| {
            stream.write_all(b"show stat\n")?;
            stream.read_to_string(&mut page)
        });
        if read.is_err() {
            return Vec::new();
        }
        let mut lines = page.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
        lines.filter_map(|line| Server::read(&names, line)).collect()
    }
}

struct Server {
    index: usize,
    up: bool,
    /// A check of it has an outcome.
    checked: bool,
}

impl Server {
    /// One line of HAProxy's statistics, unless it speaks of something else than a server.
    fn read(names: &[&str], line: &str) -> Option<Self> {
        let values: Vec<&str> = line.split(',').collect();
        let value = |name: &str| values.get(names.iter().position(|other| *other == name)?).copied();
        let index = value("svname")?.parse().ok()?;
        let outcome = value("check_status")?;
        let checked = !outcome.is_empty() && !outcome.starts_with("* ") && outcome != "INI";
        Some(Self { index, up: value("status")?.starts_with("UP"), checked })
    }
}
