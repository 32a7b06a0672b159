//! What becomes of the gateway when a part of it fails.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use actix_web::dev::ServerHandle;

use super::{
    file_watcher,
    gateway::{Gateway, Signals},
    health::{Allowed, Health},
    listeners,
    reconciler::NotApplied,
};
use crate::{settings::Settings, telemetry::log::Log};

/// Of all kinds this one takes its values from the environment while it is read.
const CONFIGURATION: &str = "apiVersion: gateway.mulesoft.com/v1beta1
kind: Configuration
metadata: {name: timeouts}
spec: {timeouts: {streamIdleSeconds: SECONDS}}
";

fn no_probes(_: Arc<Health>, _: SocketAddr, _: Option<String>) -> io::Result<ServerHandle> {
    Err(io::Error::other("not in this test"))
}

/// How long the environment takes to tell `SLOW`.
const SLOW: Duration = Duration::from_secs(2);

/// A gateway on a folder with one `Configuration`, in an environment that panics when asked for `PANIC`.
async fn start(seconds: &str) -> (tempfile::TempDir, Result<Gateway, NotApplied>) {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, seconds);
    let mut settings = Settings { workers: 1, ..Settings::default() };
    settings.config.paths = vec![folder.path().to_owned()];
    settings.shutdown.drain = Duration::from_millis(50);
    let log = Log::start(&settings.log).unwrap();
    let environment = Arc::new(|name: &str| {
        assert_ne!(name, "PANIC", "as the test wants it");
        if name == "SLOW" {
            // Nobody sends: it takes all of that time.
            let (_nobody, nothing) = mpsc::channel::<()>();
            let _ = nothing.recv_timeout(SLOW);
        }
        None
    });
    let gateway = Gateway::start(settings, None, log, environment, no_probes).await;
    (folder, gateway)
}

/// In one step: who looks meanwhile finds the old text or the new one.
fn write(folder: &tempfile::TempDir, seconds: &str) {
    let new = folder.path().join("new");
    std::fs::write(&new, CONFIGURATION.replace("SECONDS", seconds)).unwrap();
    std::fs::rename(new, folder.path().join("timeouts.yaml")).unwrap();
}

#[actix_rt::test]
async fn an_actor_that_dies_ends_the_process_after_a_drain_with_an_error_that_names_it() {
    let (_folder, gateway) = start("9").await;
    let gateway = gateway.unwrap();
    gateway.watcher.try_send(file_watcher::Stop).unwrap();
    let error = gateway.run(Signals::receive().unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), "the file watcher has died");
    assert!(!gateway.health.is_ready(Allowed { api_errors: true, policy_errors: true, envoy_errors: true }));
}

#[actix_rt::test]
async fn while_the_configuration_is_read_the_thread_of_signals_is_free() {
    let (folder, gateway) = start("9").await;
    let gateway = gateway.unwrap();
    write(&folder, "$SLOW");
    let begun = Instant::now();
    let mut reload = pin!(gateway.reload());
    let ended = tokio::time::timeout(SLOW / 10, reload.as_mut()).await.is_ok();
    assert!(!ended && begun.elapsed() < SLOW / 2, "{:?}", begun.elapsed());
    assert!(gateway.listeners.send(listeners::Describe).await.is_ok() && begun.elapsed() < SLOW / 2);
    reload.await.unwrap();
}

#[actix_rt::test]
async fn a_look_that_panics_leaves_what_is_served_and_counts_as_failed_until_one_succeeds() {
    let (folder, gateway) = start("9").await;
    let gateway = gateway.unwrap();
    for _ in 0..2 {
        write(&folder, "$PANIC");
        assert!(matches!(gateway.reload().await, Err(NotApplied::Failed(_))));
    }
    let page = gateway.registry.render();
    assert!(page.contains("portcullis_config_generation 1\n"), "{page}");
    assert!(page.contains("portcullis_reloads_total{outcome=\"ok\"} 1\n"), "{page}");
    // The watcher may have looked too.
    let failed = "portcullis_reloads_total{outcome=\"failed\"} ";
    let failed = page.lines().find_map(|line| line.strip_prefix(failed)?.parse::<u32>().ok());
    assert!(failed.is_some_and(|failed| failed >= 2), "{page}");
    write(&folder, "10");
    let reloaded = gateway.reload().await.unwrap();
    assert!(reloaded.changed && reloaded.errors == 0, "{reloaded:?}");
}

#[actix_rt::test]
async fn a_gateway_does_not_start_on_a_file_that_cannot_be_read() {
    let (_folder, gateway) = start("[").await;
    assert!(matches!(gateway, Err(NotApplied::Broken(found)) if found.len() == 1));
}
