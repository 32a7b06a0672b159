//! A worker with a hand-made snapshot on a real socket, in front of an upstream that a test scripts.

use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
    time::timeout,
};

use crate::{
    base::ResourceName,
    data_plane::{
        acceptor::{Listener, accept},
        http1::tests::oracle,
        resolver::{Lookup, Resolver},
        worker::{Shared, Worker},
    },
    policy::{Chain, Policy, RuleSet, Step, chain::Unobserved},
    resources::{ServiceAddress, ServiceScheme},
    settings::Settings,
    snapshot::{
        DestinationPlan, EngineSettings, InstancePlan, RoutePlan, Router, Snapshot, SnapshotPublisher,
        UpstreamGauges, UpstreamPlan, endpoint::Endpoints, snapshot_cell, upstream::UpstreamLimits,
    },
    telemetry::metrics::Registry,
};

/// Longer than any test takes; what hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test as a worker thread runs.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { timeout(PATIENCE, test).await.expect("the test hangs") };
    runtime.block_on(LocalSet::new().run_until(test));
}

pub struct Bench {
    pub address: SocketAddr,
    pub upstream: Arc<UpstreamPlan>,
    pub worker: Rc<Worker>,
    pub listener: Rc<Listener>,
    pub registry: Arc<Registry>,
    publisher: SnapshotPublisher,
}

/// A snapshot with one API on this address.
fn snapshot(
    address: SocketAddr,
    chain: Chain,
    upstream: &Arc<UpstreamPlan>,
    registry: &Registry,
    engine: EngineSettings,
) -> Snapshot {
    let destination = DestinationPlan { weight: 1, prefix: "".into(), upstream: Some(Arc::clone(upstream)) };
    let instance = InstancePlan {
        host: address.ip(),
        port: address.port(),
        base_path: "".into(),
        slash_required: false,
        chain,
        routes: vec![RoutePlan {
            rules: RuleSet::default(),
            destinations: vec![destination],
            weight_total: 1,
        }],
        blocked: None,
        metrics: registry.api(&upstream.name),
        name: upstream.name.clone(),
    };
    let mut snapshot = Snapshot::empty(engine);
    snapshot.ports = BTreeMap::from([(address.port(), Router::new([Arc::new(instance)]))]);
    snapshot.upstreams = vec![Arc::clone(upstream)];
    snapshot
}

/// Where a gateway of a test leads to.
struct Target {
    scheme: ServiceScheme,
    host: String,
    port: u16,
    /// Who is asked for the host.
    lookup: Option<Lookup>,
}

impl Target {
    fn of(upstream: &TcpListener, scheme: ServiceScheme) -> Self {
        let address = upstream.local_addr().unwrap();
        Self { scheme, host: address.ip().to_string(), port: address.port(), lookup: None }
    }
}

pub const ROOMY: UpstreamLimits =
    UpstreamLimits { connections_max: 64, pending_requests_max: 64, requests_max: 64, retries_max: 3 };

impl Bench {
    /// A gateway in front of what listens on `upstream`.
    pub async fn new(upstream: &TcpListener, limits: UpstreamLimits) -> Self {
        Self::with(upstream, limits, |_| {}).await
    }

    /// A gateway in front of an upstream that speaks HTTP/2.
    pub async fn h2(upstream: &TcpListener, limits: UpstreamLimits) -> Self {
        Self::h2_with(upstream, limits, |_| {}).await
    }

    /// The same with other settings of the engine.
    pub async fn h2_with(
        upstream: &TcpListener,
        limits: UpstreamLimits,
        adjust: impl FnOnce(&mut EngineSettings),
    ) -> Self {
        Self::build(Target::of(upstream, ServiceScheme::H2), limits, Vec::new(), adjust).await
    }

    /// The same with other settings of the engine.
    pub async fn with(
        upstream: &TcpListener,
        limits: UpstreamLimits,
        adjust: impl FnOnce(&mut EngineSettings),
    ) -> Self {
        Self::build(Target::of(upstream, ServiceScheme::Http), limits, Vec::new(), adjust).await
    }

    /// The same behind these policies.
    pub async fn behind(
        upstream: &TcpListener,
        limits: UpstreamLimits,
        policies: Vec<Arc<dyn Policy>>,
    ) -> Self {
        Self::build(Target::of(upstream, ServiceScheme::Http), limits, policies, |_| {}).await
    }

    /// A gateway in front of what a name leads to.
    pub async fn named(scheme: ServiceScheme, port: u16, lookup: Lookup) -> Self {
        let target = Target { scheme, host: "up.test".to_owned(), port, lookup: Some(lookup) };
        Self::build(target, ROOMY, Vec::new(), |_| {}).await
    }

    async fn build(
        target: Target,
        limits: UpstreamLimits,
        policies: Vec<Arc<dyn Policy>>,
        adjust: impl FnOnce(&mut EngineSettings),
    ) -> Self {
        let step = |policy| Step {
            policy,
            rules: RuleSet::default(),
            binding: ResourceName::new("default", "policy"),
            name: "policy".into(),
            observer: Arc::new(Unobserved),
        };
        let chain = Chain::new(policies.into_iter().map(step).collect(), 1 << 20);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let registry = Arc::new(Registry::new(1));
        let name = ResourceName::new("default", "api");
        let address_of_upstream = ServiceAddress {
            scheme: target.scheme,
            host: target.host,
            port: target.port,
            path: String::new(),
        };
        let refresh = if target.lookup.is_some() { Duration::from_millis(1) } else { Duration::from_secs(1) };
        let mut resolver = Resolver::new(refresh, BTreeMap::new(), registry.gateway());
        if let Some(lookup) = target.lookup {
            resolver = resolver.asking(lookup);
        }
        let endpoint = Endpoints::default().endpoint(&Endpoints::default(), &address_of_upstream, None, None);
        let upstream = Arc::new(UpstreamPlan {
            tls_binding: None,
            endpoint,
            metrics: registry.upstream(&name),
            name,
            address: address_of_upstream,
            authority: "upstream.test".into(),
            chain: Chain::default(),
            idle_timeout: Duration::from_secs(60),
            limits,
            gauges: UpstreamGauges::new(limits.connections_max),
            blocked: None,
        });
        let mut engine = EngineSettings::of(&Settings::default(), &Default::default());
        adjust(&mut engine);
        let (publisher, snapshots) = snapshot_cell(snapshot(address, chain, &upstream, &registry, engine));
        let worker = Worker::new(Shared {
            snapshots,
            resolver: Arc::new(resolver),
            registry: Arc::clone(&registry),
            recalls: Arc::default(),
        });
        actix_rt::spawn(Rc::clone(&worker.timers).run());
        let listener = Listener::new(address);
        actix_rt::spawn(accept(Rc::clone(&worker), Rc::clone(&listener), socket));
        Self { address, upstream, worker, listener, registry, publisher }
    }

    /// Changes the upstream so, and looks.
    pub fn reload(&self, change: impl FnOnce(&mut UpstreamPlan)) {
        let plan = self.publish(change);
        self.worker.pools.reload(&[plan]);
    }

    /// Changes the upstream so; no worker has looked.
    pub fn publish(&self, change: impl FnOnce(&mut UpstreamPlan)) -> Arc<UpstreamPlan> {
        let before = &self.upstream;
        let mut plan = UpstreamPlan {
            name: before.name.clone(),
            address: before.address.clone(),
            endpoint: Arc::clone(&before.endpoint),
            tls_binding: None,
            authority: before.authority.clone(),
            chain: Chain::default(),
            idle_timeout: before.idle_timeout,
            limits: before.limits,
            gauges: Arc::clone(&before.gauges),
            metrics: Arc::clone(&before.metrics),
            blocked: None,
        };
        change(&mut plan);
        let plan = Arc::new(plan);
        let engine = self.worker.pins.pin().engine.clone();
        self.publisher.publish(snapshot(self.address, Chain::default(), &plan, &self.registry, engine));
        plan
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> Option<String> {
        let page = self.registry.render();
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
    }

    /// For each connection to an upstream.
    pub fn connect_timeout() -> Duration {
        EngineSettings::of(&Settings::default(), &Default::default()).connect_timeout
    }

    /// What a worker does four times a second.
    pub fn look(&self) {
        self.worker.pools.reap(&self.worker.resolver, Instant::now());
    }

    pub async fn connect(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: &str) -> Message {
        let mut client = self.connect().await;
        client.send(request).await;
        client.message().await.expect("a response")
    }
}

pub async fn upstream() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// The next connection that the gateway makes.
pub async fn accepted(upstream: &TcpListener) -> Peer {
    Peer::new(upstream.accept().await.unwrap().0)
}

/// Serves every connection and request with one answer.
pub fn answer_all(upstream: TcpListener, answer: &'static str) {
    actix_rt::spawn(async move {
        loop {
            let mut peer = accepted(&upstream).await;
            actix_rt::spawn(async move {
                while peer.message().await.is_some() {
                    peer.send(answer).await;
                }
            });
        }
    });
}

/// One end of a connection that speaks plain HTTP/1.1, read by the oracle.
pub struct Peer<S = TcpStream> {
    pub stream: S,
    pub unread: Vec<u8>,
    /// Statuses of the interim responses that [`Self::message`] passed over.
    pub interims: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub head: String,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Message {
    pub fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub fn has(&self, line: &str) -> bool {
        self.head.split("\r\n").any(|other| other.eq_ignore_ascii_case(line))
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl<S> Peer<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new(), interims: Vec::new() }
    }
}

impl<S: AsyncWrite + Unpin> Peer<S> {
    pub async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.expect("the peer reads");
    }
}

impl<S: AsyncRead + Unpin> Peer<S> {
    /// `false` at the end of the connection, in order or not.
    pub async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.unread).await.is_ok_and(|bytes| bytes > 0)
    }

    pub async fn head(&mut self) -> Option<Message> {
        loop {
            if let Some(length) = oracle::head_length(&self.unread) {
                let rest = self.unread.split_off(length);
                let head = String::from_utf8(std::mem::replace(&mut self.unread, rest)).unwrap();
                return Some(Message { head, body: Vec::new(), trailers: Vec::new() });
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// A message with its body. `None`: the connection ended before the message did.
    pub async fn message(&mut self) -> Option<Message> {
        let mut message = self.head().await?;
        while message.head.starts_with("HTTP/1.1 1") {
            self.interims.push(message.status().to_owned());
            message = self.head().await?;
        }
        if message.has("transfer-encoding: chunked") {
            loop {
                if let Some((body, trailers, length)) = oracle::chunked(&self.unread) {
                    self.unread.drain(..length);
                    return Some(Message { body, trailers, ..message });
                }
                if !self.more().await {
                    return None;
                }
            }
        }
        let length: usize = message.value("content-length").map_or(0, |value| value.parse().unwrap());
        while self.unread.len() < length {
            if !self.more().await {
                return None;
            }
        }
        message.body = self.unread.drain(..length).collect();
        Some(message)
    }

    /// Everything up to the end of the connection, and whether the end was in order.
    pub async fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut rest = std::mem::take(&mut self.unread);
        let ended = self.stream.read_to_end(&mut rest).await.is_ok();
        (rest, ended)
    }
}

/// The largest piece that a body falls into: of any size, but there are not too many of them.
pub fn largest_piece(random: &mut fastrand::Rng, bytes: usize) -> usize {
    let sizes = [1, 100, 5_000, 30_000];
    sizes[random.usize(..sizes.len())].max(bytes / 500)
}

/// A body on the wire, chunked in pieces of any size and followed by trailers, or as it is.
pub fn framed(random: &mut fastrand::Rng, body: &[u8], chunked: bool, trailers: &str) -> Vec<u8> {
    if !chunked {
        return [format!("content-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    }
    let mut wire = b"transfer-encoding: chunked\r\n\r\n".to_vec();
    let largest = largest_piece(random, body.len());
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(random.usize(1..=rest.len().min(largest)));
        wire.extend_from_slice(format!("{:X};x=y\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
        rest = after;
    }
    wire.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    wire
}

/// Sends `wire` in pieces of any size and reads a message meanwhile.
pub async fn send_while_reading(peer: &mut Peer, wire: &[u8], random: &mut fastrand::Rng) -> Option<Message> {
    let (from, to) = peer.stream.split();
    let (mut reader, mut writer) = (Peer::new(from), Peer::new(to));
    reader.unread = std::mem::take(&mut peer.unread);
    let sent = async {
        let mut rest = wire;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.usize(1..=rest.len()));
            writer.send(piece).await;
            tokio::task::yield_now().await;
            rest = after;
        }
    };
    let ((), message) = tokio::join!(sent, reader.message());
    peer.unread = reader.unread;
    message
}
