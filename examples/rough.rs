use std::{collections::*, io::{Read, Write}, net::*, path::PathBuf, sync::{Arc, atomic::*}, time::*};
use portcullis::{data_plane::{Workers, worker::Shared, resolver::Resolver}, policies::catalog, policy::definition as def, resources::*, settings::*, snapshot::*, telemetry::metrics::Registry};
struct Names;
impl PolicyNames for Names {
    fn find(&self, name: &str) -> Option<PolicyFacts> {
        catalog::find(name).map(|e| PolicyFacts { name: e.name, direction: match e.direction { def::Direction::Inbound => Direction::Inbound, def::Direction::Outbound => Direction::Outbound, def::Direction::Routing => Direction::Routing }, cors_first: e.always_first, supported: true })
    }
    fn names(&self) -> Vec<&str> { catalog::CATALOG.iter().map(|e| e.name).collect() }
}
#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut dirs = vec![]; let mut admin = String::new(); let mut workers = 2;
    for w in args.windows(2) { match w[0].as_str() { "--config" => dirs.push(PathBuf::from(&w[1])), "--admin" => admin = w[1].clone(), "--workers" => workers = w[1].parse().unwrap(), _ => {} } }
    let settings = Sources::of_process(None, vec![]).load().ok().unwrap().settings;
    let log = portcullis::telemetry::log::Log::start(&settings.log).unwrap(); let _ = log.install();
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel::<(u8, std::sync::mpsc::Sender<bool>)>();
    let ready = Arc::new(AtomicBool::new(false));
    let l = TcpListener::bind(&admin).unwrap();
    { let tx = tx.clone(); let ready = ready.clone(); std::thread::spawn(move || for c in l.incoming().flatten() { let tx = tx.clone(); let ready = ready.clone(); std::thread::spawn(move || {
        let mut c = c; let mut b = vec![0; 4096]; let n = c.read(&mut b).unwrap_or(0); let t = String::from_utf8_lossy(&b[..n]).into_owned();
        let (mut st, mut body) = (200, "{}");
        if t.contains("/reload") { let (a, r) = std::sync::mpsc::channel(); let _ = tx.send((1, a)); let _ = r.recv(); }
        else if t.contains("readiness") { if !ready.load(Ordering::SeqCst) { st = 503 } }
        else if !t.contains("liveness") { st = 404; body = "" }
        let _ = write!(c, "HTTP/1.1 {st} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    }); }); }
    let sys = actix_rt::System::new();
    sys.block_on(async move {
        let registry = Arc::new(Registry::new(workers));
        let mut store = ResourceStore::new(Arc::new(|n: &str| std::env::var(n).ok()));
        let mut compiler = Compiler::new(registry.clone(), "rough", Box::new(|_| Err("no tls".into())));
        let (publisher, reader) = snapshot_cell(Snapshot::empty(EngineSettings::of(&settings, &Default::default())));
        let shared = Shared { snapshots: reader.clone(), resolver: Arc::new(Resolver::new(settings.dns.refresh, settings.dns.hosts.clone())), registry: registry.clone(), connections: Default::default() };
        let w = Workers::start(workers, shared);
        let mut open: BTreeSet<SocketAddr> = BTreeSet::new();
        let mut previous: Option<ResolvedModel> = None;
        let mut draining: Option<Instant> = None;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        let mut hup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).unwrap();
        loop {
            let reply = tokio::select! {
                m = rx.recv() => m.map(|m| m.1),
                _ = tick.tick() => None,
                _ = hup.recv() => None,
                _ = term.recv() => { w.drain(); ready.store(false, Ordering::SeqCst); draining = Some(Instant::now()); None }
            };
            if let Some(t) = draining { if t.elapsed() > settings.shutdown.drain || (t.elapsed() > Duration::from_secs(5) && w.connections() == 0) { std::process::exit(0) } }
            let re = store.rescan(&dirs, Instant::now());
            if re.changed {
                let env = |n: &str| std::env::var(n).ok();
                let model = resolve(&re.set, Inputs { policies: &Names, environment: &env, previous: previous.as_ref() });
                let c = compiler.compile(&model, EngineSettings::of(&settings, &model.settings));
                let mut errors = false;
                for d in model.diagnostics.iter().chain(c.diagnostics.iter()) { errors |= d.is_error(); println!("{d}"); }
                for (s, r) in &c.not_ready { errors = true; println!("{s} not ready: {r}"); }
                let wanted = c.snapshot.listeners.clone();
                let n = c.snapshot.instances().count();
                for a in wanted.difference(&open) {
                    let s = socket2::Socket::new(socket2::Domain::for_address(*a), socket2::Type::STREAM, None).unwrap();
                    s.set_reuse_address(true).unwrap(); s.set_nonblocking(true).unwrap();
                    if let Err(e) = s.bind(&(*a).into()).and_then(|()| s.listen(1024)) { println!("bind {a}: {e}"); continue; }
                    let l: TcpListener = s.into();
                    w.open(*a, (0..workers).map(|_| l.try_clone().unwrap()).collect());
                }
                publisher.publish(c.snapshot);
                for a in open.difference(&wanted) { w.close(*a, settings.shutdown.drain); }
                open = wanted;
                if draining.is_none() && n > 0 && !errors { ready.store(true, Ordering::SeqCst); }
                previous = Some(model);
            }
            if let Some(r) = reply { let _ = r.send(true); }
        }
    });
}
