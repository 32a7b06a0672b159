//! Clocks that jump, and names that come and go: with Debian's faketime and nss_wrapper, which stand between the binary and
//! its C library.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cluster_tests::client::{Client, get};
use cluster_tests::clock::WallClock;
use cluster_tests::config::{api, api_with, configuration};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::json;

use crate::faults::assert_nothing_left;

const DAY: i64 = 86_400;

/// How far the gateway's wall clock is from ours, by when it says that it applied a configuration.
fn offset(gateway: &Gateway, file: &str, round: usize) -> i64 {
    let changed =
        configuration("settings", json!({"timeouts": {"upstreamConnectionIdleSeconds": 100 + round}}));
    assert_eq!(gateway.apply(file, &[changed]).json()["errors"], 0);
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
    gateway.metric("portcullis_config_applied_timestamp_seconds", &[]) as i64 - ours
}

#[test]
fn a_wall_clock_that_jumps_fires_no_timeout_moves_no_window_and_stops_no_log() {
    const TIMEOUT: Duration = Duration::from_secs(8);
    let Some(clock) = WallClock::new() else { return };
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let opened = std::sync::Mutex::new(opened);
    let upstream = Upstream::start(move |exchange| {
        match exchange.request.target.as_str() {
            "/gate" => drop(opened.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv()),
            "/never" => {
                exchange.close();
                exchange.until_closed();
                return Ok(());
            }
            _ => {}
        }
        exchange.reply(200, "", b"whole")
    });
    let (port, limited) = (ports::free(), ports::free());
    let timeout =
        json!([{"policyRef": {"name": "response-timeout-flex"}, "config": {"timeout": TIMEOUT.as_secs()}}]);
    let limit = json!([{"policyRef": {"name": "rate-limiting-flex"}, "config": {
        "clusterizable": false,
        "rateLimits": [{"maximumRequests": 2, "timePeriodInMilliseconds": 3_600_000}],
    }}]);
    let resources = [
        api_with("api", &format!("http://127.0.0.1:{port}"), &upstream.url(), timeout),
        api_with("limited", &format!("http://127.0.0.1:{limited}"), &upstream.url(), limit),
    ];
    let plan = Plan::new().with("api.yaml", &resources).argument("--set").argument("access_log=true");
    let gateway = clock.shown_to(plan).start();
    let (address, limited) = (([127, 0, 0, 1], port).into(), ([127, 0, 0, 1], limited).into());
    let mut kept = Client::connect(address);
    assert_eq!(kept.get("/first", "a", "").status, 200);
    assert_eq!(get(limited, "/").status, 200, "one of two in an hour");
    for (round, (jump, left)) in [(DAY, 200), (-DAY, 429), (0, 429)].into_iter().enumerate() {
        let (mut gated, mut silent) = (Client::connect(address), Client::connect(address));
        let begun = Instant::now();
        upstream.forget();
        gated.send(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n");
        silent.send(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
        eventually("both are under way", || (upstream.received().len() == 2).then_some(()));
        clock.jump(jump);
        // The file of the change was written before or after the time that the gateway believes in.
        let seen = offset(&gateway, "settings.yaml", round);
        assert!((seen - jump).abs() < 600, "the gateway's clock is {seen} s from ours instead of {jump}");
        assert_eq!(get(limited, "/").status, left, "the window goes on, {jump}");
        assert_eq!(kept.get(&format!("/after{jump}"), "a", "").status, 200, "no idle timeout, {jump}");
        gateway.says(&format!("GET /after{jump}"));
        open.send(()).expect("the upstream waits for this");
        assert_eq!(gated.response_to("GET").expect("an answer").status, 200, "no early timeout, {jump}");
        assert_eq!(silent.response_to("GET").expect("an answer").status, 504, "{jump}");
        let took = begun.elapsed();
        assert!(took >= TIMEOUT && took < 4 * TIMEOUT, "the response timeout took {took:?}, {jump}");
    }
    let uptime = gateway.metric("portcullis_uptime_seconds", &[]);
    assert!((0.0..600.0).contains(&uptime), "{uptime}");
    assert_nothing_left(&gateway);
}

/// The hosts that one process sees, by nss_wrapper.
struct Hosts {
    folder: tempfile::TempDir,
    written: Cell<u64>,
}

impl Hosts {
    const PRELOAD: (&str, &str) = ("LD_PRELOAD", "libnss_wrapper.so");

    /// `None`, and a line that says so, where there is no nss_wrapper.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hosts = Self { folder, written: Cell::new(0) };
        hosts.are("127.0.0.9 probe.test\n");
        let mut asked = Command::new("getent");
        asked.args(["ahosts", "probe.test"]).env(Self::PRELOAD.0, Self::PRELOAD.1);
        let asked = asked.env("NSS_WRAPPER_HOSTS", hosts.file()).output().ok();
        if asked.is_some_and(|asked| asked.stdout.starts_with(b"127.0.0.9")) {
            return Some(hosts);
        }
        println!("skipped: no nss_wrapper; scripts/test installs it");
        None
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("hosts")
    }

    fn are(&self, lines: &str) {
        std::fs::write(self.file(), lines).expect("the temporary folder is writable");
        // It is read again when its time has changed, by whole seconds.
        self.written.set(self.written.get() + 1);
        let time = SystemTime::now() + Duration::from_secs(10 * self.written.get());
        let file = std::fs::File::options().write(true).open(self.file()).expect("it was just written");
        file.set_modified(time).expect("it is ours");
    }
}

#[test]
fn a_name_is_served_soon_after_it_becomes_known_and_its_last_address_outlives_the_resolver() {
    let Some(hosts) = Hosts::new() else { return };
    hosts.are("127.0.0.9 other.test\n");
    let upstream = Upstream::start(|exchange| {
        // Each request needs a connection, and so an address.
        exchange.close();
        exchange.reply(200, "Connection: close\r\n", b"whole")
    });
    let port = ports::free();
    let url = format!("http://orders.test:{}", upstream.address().port());
    let plan = Plan::new().with("api.yaml", &[api("api", &format!("http://127.0.0.1:{port}"), &url)]);
    let gateway = plan
        .environment(Hosts::PRELOAD.0, Hosts::PRELOAD.1)
        .environment("NSS_WRAPPER_HOSTS", &hosts.file().display().to_string())
        // What the file does not have is asked of the network: not for long.
        .environment("RES_OPTIONS", "timeout:1 attempts:1")
        .environment("FLEX_DNS_REFRESH_RATE", "5s")
        .start();
    let address = ([127, 0, 0, 1], port).into();
    let failed = || gateway.metric("portcullis_dns_lookups_total", &["outcome=\"failed\""]);
    let unknown = get(address, "/");
    let text = "upstream connect error or disconnect/reset before headers. reset reason: connection failure";
    assert_eq!((unknown.status, unknown.text().as_str()), (503, text));
    assert!(failed() >= 1.0);
    let known = Instant::now();
    hosts.are("127.0.0.1 orders.test\n");
    eventually("the name is found", || {
        let status = get(address, "/").status;
        assert!([200, 503].contains(&status), "{status}");
        (status == 200).then_some(())
    });
    // Asked for again half a second after the first failure; up to eight after many. The rest is the resolver's.
    assert!(known.elapsed() < Duration::from_secs(12), "{:?}", known.elapsed());
    hosts.are("127.0.0.9 other.test\n");
    let before = failed();
    eventually("the name is asked for again, in vain", || {
        assert_eq!(get(address, "/").status, 200, "by its last address");
        (failed() >= before + 2.0).then_some(())
    });
    assert_eq!(get(address, "/").status, 200);
    assert_nothing_left(&gateway);
}
