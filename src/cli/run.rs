//! `portcullis run`.

use actix::Actor;

use super::{exit::Exit, refuse_settings};
use crate::{
    actors::{gateway::Gateway, probes::Probes, reconciler::ProbesAre},
    admin, resources,
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
        eprintln!("{warning}");
    }
    if loaded.settings.config.paths.is_empty() {
        eprintln!(
            "error: no configuration to serve\n  = help: name a folder of resources: portcullis run --config \
             conf.d\n  = help: or try the demo, which needs nothing: portcullis demo"
        );
        return Exit::Usage;
    }
    if let Err(missing) = check_paths(&loaded.settings) {
        return missing;
    }
    if let Some(refused) = refuse_broken_files(&loaded.settings) {
        return refused;
    }
    actix::System::new().block_on(serve(loaded.settings, || {}))
}

fn check_paths(settings: &Settings) -> Result<(), Exit> {
    let missing: Vec<_> = settings.config.paths.iter().filter(|path| !path.exists()).collect();
    for path in &missing {
        eprintln!("error: {} does not exist\n  = help: name an existing folder or file", path.display());
    }
    if missing.is_empty() { Ok(()) } else { Err(Exit::Usage) }
}

/// A file that is no YAML hides whatever is in it, among it perhaps the policies that protect an API
/// of another file. A running gateway keeps the last good version of it; a starting one has none, so
/// it does not start.
fn refuse_broken_files(settings: &Settings) -> Option<Exit> {
    let lookup = std::sync::Arc::new(|name: &str| std::env::var(name).ok());
    let set = resources::load(&settings.config.paths, lookup);
    let broken: Vec<_> = set.diagnostics.iter().filter(|d| d.is_error() && d.subject.is_none()).collect();
    for found in &broken {
        eprintln!("{found}");
    }
    let first = broken.first()?;
    let file = first.location.as_ref().map_or_else(String::new, |location| location.file.to_string());
    eprintln!(
        "error: not started: {file} cannot be read, and what it holds may protect an API\n  = help: correct or \
         remove it; `portcullis validate` shows all findings"
    );
    Some(Exit::Resources)
}

/// Serves with these settings. `ready` is called once the first generation is in force.
pub async fn serve(settings: Settings, ready: impl FnOnce()) -> Exit {
    let log = match Log::start(&settings.log).and_then(|log| {
        log.install().map_err(std::io::Error::other)?;
        Ok(log)
    }) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("error: the log cannot be started: {error}");
            return Exit::Failure;
        }
    };
    let admin_address = settings.admin.address;
    let gateway = match Gateway::start(settings, log).await {
        Ok(gateway) => gateway,
        Err(error) => {
            eprintln!("error: the gateway cannot be started: {error}");
            return Exit::Failure;
        }
    };
    let for_probes = gateway.clone();
    let probes = Probes::new(Box::new(move |address, path| {
        let server = admin::start_probes(for_probes.clone(), address, path)?;
        let handle = server.handle();
        actix_rt::spawn(server);
        Ok(handle)
    }));
    if gateway.reconciler.send(ProbesAre(probes.start())).await.is_err() {
        eprintln!("error: the gateway cannot be started: the reconciler does not answer");
        return Exit::Failure;
    }
    if let Some(address) = admin_address {
        match admin::start(gateway.clone(), address) {
            Ok(server) => {
                actix_rt::spawn(server);
            }
            Err(error) => {
                eprintln!(
                    "error: the admin API cannot listen on {address}: {error}\n  = help: free the port, or choose \
                     another: --admin HOST:PORT (or --admin off)"
                );
                return Exit::Unavailable;
            }
        }
    }
    ready();
    match gateway.run().await {
        Ok(()) => Exit::Ok,
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failure
        }
    }
}
