//! The routes of the admin API and of the probe port.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Addr, Handler, Message, dev::ToEnvelope};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, Route,
    dev::{Server, ServerHandle, ServiceRequest, ServiceResponse},
    guard,
    http::{StatusCode, header::HOST},
    middleware::{Next, from_fn},
    web,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{dump, host};
use crate::{
    actors::{
        config_cache, file_watcher,
        gateway::Gateway,
        health::{Allowed, Health},
        listeners, probes, reconciler,
    },
    telemetry::{log::Level, metrics::Exposition},
};

/// How long an actor may take to describe itself.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds that answers under way have when the probe port closes; they take microseconds, and a client
/// that keeps its connection open is not waited for.
const PROBES_STOP_S: u64 = 1;

/// Starts the admin API on this socket. It runs until it is dropped.
///
/// # Errors
/// When the socket cannot be used.
pub fn start(gateway: Gateway, socket: TcpListener) -> io::Result<Server> {
    let health = web::Data::from(Arc::clone(&gateway.health));
    let data = web::Data::new(gateway);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(health.clone())
            .wrap(from_fn(only_local_names))
            .route("/status", web::get().to(status))
            .route("/metrics", web::get().to(metrics))
            .route("/config/dump", web::get().to(config_dump))
            .route("/reload", web::post().to(reload))
            .route("/log/level", web::get().to(log_level))
            .route("/log/level", web::put().to(set_log_level))
            .configure(probe_routes)
    });
    Ok(server.workers(1).disable_signals().listen(socket)?.run())
}

/// Starts the probe port (configuration reference 10.1), with readiness at `path` too. It runs until it is
/// stopped.
///
/// # Errors
/// When the address cannot be bound.
pub fn start_probes(
    health: Arc<Health>,
    address: SocketAddr,
    path: Option<String>,
) -> io::Result<ServerHandle> {
    let health = web::Data::from(health);
    let server = HttpServer::new(move || {
        let mut app = App::new().app_data(health.clone()).configure(probe_routes);
        if let Some(path) = &path {
            app = app.route(path, get_or_head().to(readiness));
        }
        app
    });
    let server = server.workers(1).disable_signals().shutdown_timeout(PROBES_STOP_S).bind(address)?.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(handle)
}

fn probe_routes(config: &mut web::ServiceConfig) {
    config
        .route("/probes/readiness", get_or_head().to(readiness))
        .route("/probes/liveness", get_or_head().to(liveness));
}

fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn only_local_names(
    request: ServiceRequest,
    next: Next<impl actix_web::body::MessageBody + 'static>,
) -> Result<ServiceResponse<impl actix_web::body::MessageBody>, actix_web::Error> {
    // Not `connection_info`: that believes forwarded fields, which a page can set. A browser always names a host; a
    // load balancer that checks in HTTP/1.0 need not.
    let host = request.headers().get(HOST).map(|host| host.to_str().unwrap_or_default());
    let absolute = request.uri().authority().map(|authority| authority.as_str());
    if host.into_iter().chain(absolute).any(|authority| !host::is_local_name(authority)) {
        return Err(actix_web::error::ErrorForbidden("address the admin API by IP address or localhost"));
    }
    next.call(request).await
}

async fn readiness(health: web::Data<Health>, request: HttpRequest) -> HttpResponse {
    let allowed = allowances(request.query_string());
    let ready = health.is_ready(allowed);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).json(json!({ "ready": ready, "deployment": health.last() }))
}

/// `allowAPIErrors=true&…`, names without regard to case, with or without dashes.
fn allowances(query: &str) -> Allowed {
    let given: HashMap<String, bool> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.replace('-', "").to_ascii_lowercase(), value.eq_ignore_ascii_case("true")))
        .collect();
    let is_given = |name: &str| given.get(name).copied().unwrap_or_default();
    Allowed {
        api_errors: is_given("allowapierrors"),
        policy_errors: is_given("allowpolicyerrors"),
        envoy_errors: is_given("allowenvoyerrors"),
    }
}

async fn liveness() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "alive": true }))
}

/// What an actor says of itself; one that does not answer leaves the others readable.
async fn describe<A, M>(actor: &Addr<A>, message: M) -> Value
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result: Serialize + Send> + Send + 'static,
{
    match actor.send(message).timeout(DESCRIBE_TIMEOUT).await {
        Ok(state) => serde_json::to_value(state).unwrap_or_default(),
        Err(error) => json!({"error": format!("does not answer: {error}")}),
    }
}

async fn status(gateway: web::Data<Gateway>) -> HttpResponse {
    // At the same time: those that hang together are waited for together.
    let (described, listeners, watcher, probes, cluster) = tokio::join!(
        gateway.reconciler.send(reconciler::Describe).timeout(DESCRIBE_TIMEOUT),
        describe(&gateway.listeners, listeners::Describe),
        describe(&gateway.watcher, file_watcher::Describe),
        describe(&gateway.probes, probes::Describe),
        describe(&gateway.config_cache, config_cache::Describe),
    );
    let (reconciler, not_ready) = match described {
        Ok(described) => (json!({"last": described.last}), described.not_ready),
        Err(error) => (json!({"error": format!("does not answer: {error}")}), BTreeMap::new()),
    };
    HttpResponse::Ok().json(json!({
        "gateway": {
            "id": gateway.settings.gateway.id,
            "name": gateway.settings.gateway.name,
            "replica": gateway.settings.gateway.replica,
            "workers": gateway.settings.workers,
            "version": env!("CARGO_PKG_VERSION"),
            "uptimeSeconds": gateway.started.elapsed().as_secs(),
        },
        "ready": gateway.health.is_ready(Allowed::default()),
        "deployment": gateway.health.last(),
        "reconciler": reconciler,
        "notReady": not_ready.iter().map(|(resource, reason)| {
            json!({"resource": resource, "reason": reason})
        }).collect::<Vec<_>>(),
        "listeners": listeners,
        "fileWatcher": watcher,
        "probes": probes,
        "cluster": cluster,
        "limits": gateway.quotas.accounts(),
        "sharedStorage": gateway.storage.status(),
        "logLevel": gateway.log.level().name(),
    }))
}

async fn metrics(gateway: web::Data<Gateway>) -> HttpResponse {
    HttpResponse::Ok().content_type(Exposition::CONTENT_TYPE).body(gateway.registry.render())
}

async fn config_dump(gateway: web::Data<Gateway>) -> HttpResponse {
    match gateway.reconciler.send(reconciler::Describe).timeout(DESCRIBE_TIMEOUT).await {
        Ok(described) => HttpResponse::Ok().json(dump::dump(&described)),
        Err(_) => HttpResponse::ServiceUnavailable().json(json!({"error": "the reconciler does not answer"})),
    }
}

async fn reload(gateway: web::Data<Gateway>) -> HttpResponse {
    match gateway.reload().await {
        Ok(reloaded) => HttpResponse::Ok().json(reloaded),
        Err(error) => HttpResponse::ServiceUnavailable().json(json!({"error": error.to_string()})),
    }
}

async fn log_level(gateway: web::Data<Gateway>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "level": gateway.log.level().name() }))
}

/// The level as plain text or as `{"level": "debug"}`.
async fn set_log_level(gateway: web::Data<Gateway>, body: web::Bytes) -> HttpResponse {
    let text = String::from_utf8_lossy(&body);
    let word = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(json) => json.get("level").and_then(|level| level.as_str()).unwrap_or_default().to_owned(),
        Err(_) => text.trim().to_owned(),
    };
    match Level::parse(&word) {
        Some(level) => {
            gateway.log.set_level(level);
            tracing::info!("log level is now {}", level.name());
            HttpResponse::Ok().json(json!({ "level": level.name() }))
        }
        None => HttpResponse::BadRequest()
            .json(json!({"error": "unknown level: one of debug, info, warn, error, fatal"})),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, init_service, try_call_service};

    use super::*;

    #[actix_rt::test]
    async fn forwarded_fields_do_not_open_the_admin_api_to_another_host_name() {
        let app = App::new().wrap(from_fn(only_local_names)).configure(probe_routes);
        let app = init_service(app).await;
        let ask = |host: &str| {
            let request = TestRequest::get().uri("/probes/liveness");
            let request =
                request.insert_header(("host", host)).insert_header(("x-forwarded-host", "127.0.0.1"));
            try_call_service(&app, request.to_request())
        };
        assert!(ask("rebound.example").await.is_err());
        assert_eq!(ask("127.0.0.1:9902").await.map(|answer| answer.status().as_u16()).ok(), Some(200));
    }
}
