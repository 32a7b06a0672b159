//! A file system that hangs, as a network mount does whose server is away: what reads the configuration waits, and nobody
//! else.

use std::process::Command;
use std::time::{Duration, Instant};

use cluster_tests::client::get;
use cluster_tests::config::{api, documents};
use cluster_tests::gateway::Plan;
use cluster_tests::python::{self, Script};
use cluster_tests::upstream::Upstream;
use cluster_tests::{binary, eventually, ports};

#[test]
fn a_file_system_that_hangs_keeps_nobody_waiting_but_who_reads_the_configuration() {
    let Some(python) = python::with("fcntl") else { return };
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let resource = |name: &str, port: u16| api(name, &format!("http://127.0.0.1:{port}"), &upstream.url());
    let plan = Plan::new().with("api.yaml", &[resource("api", port)]);
    let mut gateway = plan.environment("FLEX_SERVICE_ENVOY_DRAIN_TIME", "1").start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("hangs.yaml");
    std::fs::write(&file, documents(&[resource("hangs", ports::free())])).expect("a writable folder");
    let mut holder = Script::start(&python, "lease.py", &[&file]);
    let said = holder.line();
    if said != "leased" {
        println!("skipped: no lease on a file of this file system: {said}");
        return;
    }
    std::fs::rename(&file, gateway.folder().join("hangs.yaml")).expect("one file system");
    gateway.signal("HUP");
    let (told, took) = eventually("the look hangs", || {
        let asked = Instant::now();
        let told = gateway.admin("GET", "/status").json();
        told["reconciler"]["error"].is_string().then(|| (told, asked.elapsed()))
    });
    assert!(told["fileWatcher"]["error"].is_string() && told["listeners"]["error"].is_null(), "{told}");
    assert!(took < Duration::from_secs(9), "those that hang are waited for together: {took:?}");
    let replicas = Command::new(binary::portcullis())
        .args(["replicas", "--admin", &gateway.admin_address().to_string()])
        .output()
        .expect("the binary starts");
    assert!(replicas.status.success(), "{}", String::from_utf8_lossy(&replicas.stderr));
    assert_eq!(get(([127, 0, 0, 1], port).into(), "/").status, 200);
    gateway.signal("TERM");
    // Long before the file can be opened.
    assert!(gateway.wait(Duration::from_secs(15)).success());
    assert!(gateway.log().contains("draining"), "{}", gateway.log());
}
