//! `portcullis demo`: the gateway on embedded resources, in front of an upstream of its own.

use std::{fs, io, net::SocketAddr, os::unix::fs::DirBuilderExt as _, path::Path};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Map, Value, json};

use super::{exit::Exit, print, refuse_settings, run};
use crate::{
    actors::gateway::Gateway,
    settings::{Override, Sources},
};

/// The resources, which are also those of `config/demo`.
const RESOURCES: [(&str, &str); 3] = [
    ("routed.yaml", include_str!("../../config/demo/routed.yaml")),
    ("protected.yaml", include_str!("../../config/demo/protected.yaml")),
    ("limited.yaml", include_str!("../../config/demo/limited.yaml")),
];

const UPSTREAM: &str = "127.0.0.1:9080";

const GREETING: &str = "
The demo gateway serves http://127.0.0.1:8080. In another terminal:

  curl http://127.0.0.1:8080/shop/items/7                          routed: the upstream sees /v2/7
  curl http://127.0.0.1:8080/private/notes                         protected: 401
  curl -u demo:demo http://127.0.0.1:8080/private/notes            protected: 200
  for i in 1 2 3 4 5 6; do curl -i http://127.0.0.1:8080/limited/; done   limited: the sixth gets 429

";

pub fn run() -> Exit {
    // Where nobody else can have put anything before.
    let folder = std::env::temp_dir().join(format!("portcullis-demo-{:016x}", fastrand::u64(..)));
    let paths = Override::new("config.paths", folder.to_string_lossy(), "demo");
    let drain = Override::new("shutdown.drain", "1s", "demo");
    let loaded = match Sources::of_process(None, vec![paths, drain]).load() {
        Ok(loaded) => loaded,
        Err(error) => return refuse_settings(&error),
    };
    if let Err(error) = unpack(&folder) {
        report!("error: the demo's resources cannot be written to {}: {error}", folder.display());
        return Exit::Failure;
    }
    let admin = loaded.settings.admin.address;
    let exit = actix::System::new().block_on(async {
        let upstream = match HttpServer::new(|| App::new().default_service(web::to(echo)))
            .workers(1)
            .disable_signals()
            .bind(UPSTREAM)
        {
            Ok(server) => server.run(),
            Err(error) => {
                report!(
                    "error: the demo's upstream cannot listen on {UPSTREAM}: {error}\n  = help: free the port: the demo \
                     has no other"
                );
                return Exit::Unavailable;
            }
        };
        actix_rt::spawn(upstream);
        run::serve(loaded.settings, |gateway| greet(gateway, admin)).await
    });
    if let Err(error) = fs::remove_dir_all(&folder) {
        report!("warning: {} cannot be removed: {error}", folder.display());
    }
    exit
}

/// Says what to try, if there is something to be tried.
fn greet(gateway: &Gateway, admin: Option<SocketAddr>) -> Result<(), Exit> {
    if gateway.health.last().envoy_errors > 0 {
        report!("error: the demo's port 8080 is taken\n  = help: free it: the demo serves nowhere else");
        return Err(Exit::Unavailable);
    }
    let admin =
        admin.map(|address| format!("Admin API: http://{address}/status and /metrics. ")).unwrap_or_default();
    match print(&format!("{GREETING}{admin}Ctrl-C ends it.\n\n")) {
        Exit::Ok => Ok(()),
        failed => Err(failed),
    }
}

/// Writes the embedded resources to a new folder that is nobody else's.
fn unpack(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(folder)?;
    RESOURCES.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))
}

/// Tells what reached the upstream.
async fn echo(request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let headers: Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    HttpResponse::Ok().json(json!({
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "headers": headers,
        "bodyBytes": body.len(),
    }))
}
