//! `portcullis run`.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use super::{descriptors, exit::Exit, refuse_settings};
use crate::{
    actors::{
        gateway::{Gateway, Signals},
        reconciler::NotApplied,
    },
    admin,
    base::Diagnostic,
    settings::{Settings, Sources},
    telemetry::log::Log,
};

/// Runs a gateway until a signal ends it.
pub fn run(sources: &Sources) -> Exit {
    let loaded = match sources.load() {
        Ok(loaded) => loaded,
        Err(error) => return refuse_settings(&error),
    };
    for warning in loaded.warnings.iter() {
        report!("{warning}");
    }
    if loaded.settings.config.paths.is_empty() {
        report!(
            "error: no configuration to serve\n  = help: name a folder of resources: portcullis run --config \
             conf.d\n  = help: or try the demo, which needs nothing: portcullis demo"
        );
        return Exit::Usage;
    }
    if let Err(missing) = check_paths(&loaded.settings) {
        return missing;
    }
    actix::System::new().block_on(serve(loaded.settings, |_| Ok(())))
}

fn check_paths(settings: &Settings) -> Result<(), Exit> {
    let missing: Vec<_> = settings.config.paths.iter().filter(|path| !path.exists()).collect();
    for path in &missing {
        report!("error: {} does not exist\n  = help: name an existing folder or file", path.display());
    }
    if missing.is_empty() { Ok(()) } else { Err(Exit::Usage) }
}

/// A file that is no YAML hides whatever is in it, among it perhaps the policies that protect an API
/// of another file. A running gateway keeps the last good version of it; a starting one has none, so
/// it does not start.
fn refuse_broken_files(broken: &[Diagnostic]) -> Exit {
    for found in broken {
        report!("{found}");
    }
    let file = broken.first().and_then(|first| first.location.as_ref());
    let file = file.map_or_else(|| "a file".to_owned(), |location| location.file.to_string());
    report!(
        "error: not started: {file} cannot be read, and what it holds may protect an API\n  = help: correct or \
         remove it; `portcullis validate` shows all findings"
    );
    Exit::Resources
}

/// Serves with these settings. `ready` is called once the first generation is in force, and may end it.
pub async fn serve(settings: Settings, ready: impl FnOnce(&Gateway) -> Result<(), Exit>) -> Exit {
    let keys = match settings.cluster.key_ring() {
        Ok((keys, warnings)) => {
            warnings.iter().for_each(|warning| report!("{warning}"));
            keys.map(Arc::new)
        }
        Err(error) => return refuse_settings(&error),
    };
    let log = match Log::start(&settings.log).and_then(|log| {
        log.install().map_err(std::io::Error::other)?;
        Ok(log)
    }) {
        Ok(log) => log,
        Err(error) => {
            report!("error: the log cannot be started: {error}");
            return Exit::Failure;
        }
    };
    // Before anything else: a reload that is asked for during the start must not end it.
    let mut signals = match Signals::receive() {
        Ok(signals) => signals,
        Err(error) => {
            report!("error: signals cannot be received: {error}");
            return Exit::Failure;
        }
    };
    descriptors::raise(settings.limits.connections);
    // Before the APIs: one that wants the same address is to be without, and not all of them.
    let admin = match settings.admin.address.map(|address| (address, TcpListener::bind(address))) {
        None => None,
        Some((_, Ok(socket))) => Some(socket),
        Some((address, Err(error))) => return no_admin(address, &error),
    };
    let environment = Arc::new(|name: &str| std::env::var(name).ok());
    let started = tokio::select! {
        started = Gateway::start(settings, keys, log, environment, admin::start_probes) => started,
        () = signals.end() => return Exit::Ok,
    };
    let gateway = match started {
        Ok(gateway) => gateway,
        Err(NotApplied::Broken(found)) => return refuse_broken_files(&found),
        Err(error) => {
            report!("error: the gateway cannot be started: {error}");
            return Exit::Failure;
        }
    };
    if let Some(socket) = admin {
        match admin::start(gateway.clone(), socket) {
            Ok(server) => {
                actix_rt::spawn(server);
            }
            Err(error) => {
                report!("error: the admin API cannot be started: {error}");
                return Exit::Failure;
            }
        }
    }
    if let Err(exit) = ready(&gateway) {
        return exit;
    }
    match gateway.run(signals).await {
        Ok(()) => Exit::Ok,
        Err(error) => {
            report!("error: {error}");
            Exit::Failure
        }
    }
}

fn no_admin(address: SocketAddr, error: &io::Error) -> Exit {
    report!(
        "error: the admin API cannot listen on {address}: {error}\n  = help: free the port, or choose another, or `off`: the \
         setting `admin.address` (`run --admin`, PORTCULLIS_ADMIN__ADDRESS)"
    );
    Exit::Unavailable
}
