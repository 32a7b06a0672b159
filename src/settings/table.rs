//! The one list of settings.

use super::value::Kind;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Dotted path in the settings file.
    pub key: &'static str,
    pub kind: Kind,
    /// As one would write it.
    pub default: &'static str,
    /// The vendor's variable of the same meaning (configuration reference 13).
    pub vendor: Option<&'static str>,
    /// One or more sentences for the user.
    pub text: &'static str,
}

impl Setting {
    const fn new(key: &'static str, kind: Kind, default: &'static str, text: &'static str) -> Self {
        Self { key, kind, default, vendor: None, text }
    }

    const fn vendor(mut self, variable: &'static str) -> Self {
        self.vendor = Some(variable);
        self
    }

    /// Our variable: `timeouts.client_idle` is `PORTCULLIS_TIMEOUTS__CLIENT_IDLE`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.replace('.', "__").to_uppercase())
    }

    /// The setting with this key.
    pub fn find(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

/// What our variables begin with.
pub const PREFIX: &str = "PORTCULLIS_";
/// Of the scripts, the compose file and the test suite, in whose environment a gateway may be started: no settings.
pub const OTHER_VARIABLES: &[(&str, &str)] = &[
    ("PORTCULLIS_ADMIN_PORTS", "`docker-compose.yml`: where the replicas' admin APIs are published"),
    ("PORTCULLIS_BIN", "scripts and tests: the gateway's binary"),
    ("PORTCULLIS_CHAOS", "`cluster-tests`: `full` for windows of ten seconds, for a minute each"),
    ("PORTCULLIS_CLUSTER_DIR", "the cluster's scripts and `docker-compose.yml`: the folder of its files"),
    ("PORTCULLIS_ENTRY_PORT", "the cluster's scripts and `docker-compose.yml`: where its APIs are served"),
    ("PORTCULLIS_FUZZ", "`scripts/test`: `true` runs the fuzzers too"),
    ("PORTCULLIS_IMAGES", "`scripts/images` and `docker-compose.yml`: what goes before the names of images"),
    ("PORTCULLIS_PROMETHEUS_PORT", "`docker-compose.yml`: where Prometheus is published"),
    (
        "PORTCULLIS_STATE_PORT",
        "the cluster's scripts and `docker-compose.yml`: where HAProxy shows its state",
    ),
    ("PORTCULLIS_TEST_SEED", "tests: repeats what chance did in a run"),
];
/// Names the settings file; not a setting itself.
pub const FILE_VARIABLE: &str = "PORTCULLIS_SETTINGS";

const LEVELS: &[&str] = &["debug", "info", "warn", "error", "fatal"];
const CERT_DETAILS: &[&str] =
    &["SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"];

const MS: u64 = 1;
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const MIB: u64 = 1 << 20;

/// In the order of the settings file.
pub const SETTINGS: &[Setting] = &[
    Setting::new("config.paths", Kind::List("path"), "", "Folders and files with resources."),
    Setting::new("gateway.id", Kind::Name, "default", "Names the gateway that replicas form together."),
    Setting::new("gateway.name", Kind::Or("auto", &Kind::Name), "auto", "Name of this replica, for people. `auto`: made anew at each start.")
        .vendor("FLEX_NAME"),
    Setting::new("gateway.replica", Kind::Or("auto", &Kind::Name), "auto", "Id of this replica, for machines. `auto`: its name.")
        .vendor("FLEX_INSTANCE_ID"),
    Setting::new("cluster.expected_replicas", Kind::Count(1, 10_000), "1", "Replicas that share a limit while none has been seen yet, because the shared storage does not answer."),
    Setting::new("cluster.share_config", Kind::Choice(&["off", "publish", "follow"]), "off", "`publish`: what this replica accepts becomes the configuration of all that follow. `follow`: resources come from there, own files may hold `Configuration` resources only. Both need `cluster.key_file` and `sharedStorage` in a `Configuration`."),
    Setting::new("cluster.key_file", Kind::Or("", &Kind::Name), "", "File with the keys that seal what replicas share, the same for all of them: a line `id: key` for each, the first seals, all open. `portcullis cluster-key` makes one."),
    Setting::new("workers", Kind::Or("auto", &Kind::Count(1, 1024)), "auto", "Worker threads. `auto`: the CPU quota of the control group rounded down, else the cores.")
        .vendor("FLEX_SERVICE_ENVOY_CONCURRENCY"),
    Setting::new("admin.address", Kind::Or("off", &Kind::Address), "127.0.0.1:9902", "Where metrics, status and reload are served. Keep it on loopback: it asks for no password."),
    Setting::new("state.folder", Kind::Or("none", &Kind::Name), "none", "Folder of this replica alone, for what is to survive a restart: cached responses (`persistCache`), the last good configuration. It is made if it is missing. `none`: nothing survives."),
    Setting::new("sync.debounce", Kind::Duration(0, HOUR), "50ms", "Quiet time before changed files are applied.")
        .vendor("FLEX_SYNC_DEBOUNCE_TIME"),
    Setting::new("sync.debounce_max", Kind::Duration(0, HOUR), "250ms", "Longest wait while files keep changing; raised to `sync.debounce` when below it."),
    Setting::new("sync.hold", Kind::Duration(0, HOUR), "1s", "How long the resources of a file that vanished or became empty stay. They stay longer while another file cannot be read: it may hold them."),
    Setting::new("shutdown.drain", Kind::Duration(0, HOUR), "25s", "How long connections may finish after SIGTERM. Must be below the supervisor's own limit.")
        .vendor("FLEX_SERVICE_ENVOY_DRAIN_TIME"),
    Setting::new("timeouts.client_idle", Kind::Duration(10 * MS, 24 * HOUR), "60s", "A client connection without a request is closed.")
        .vendor("FLEX_CONNECTION_IDLE_TIMEOUT_SECONDS"),
    Setting::new("timeouts.stream_idle", Kind::Duration(10 * MS, 24 * HOUR), "300s", "A request on which no byte moves either way is ended: 504.")
        .vendor("FLEX_STREAM_IDLE_TIMEOUT_SECONDS"),
    Setting::new("timeouts.upstream_response", Kind::Duration(10 * MS, 24 * HOUR), "15s", "From the end of the request until the head of the response: 504.")
        .vendor("FLEX_UPSTREAM_RESPONSE_TIMEOUT_SECONDS"),
    Setting::new("timeouts.upstream_idle", Kind::Duration(10 * MS, 24 * HOUR), "60s", "A pooled upstream connection without a request is closed.")
        .vendor("FLEX_UPSTREAM_CONNECTION_IDLE_TIMEOUT_SECONDS"),
    Setting::new("timeouts.connect", Kind::Duration(10 * MS, HOUR), "5s", "Connecting to an upstream, TLS included: 503."),
    Setting::new("timeouts.head", Kind::Duration(10 * MS, HOUR), "10s", "From the first byte of a request's head to its last: 408."),
    Setting::new("timeouts.tls_handshake", Kind::Duration(10 * MS, HOUR), "10s", "From accepting a connection on a TLS port to the end of its handshake; then it is closed."),
    Setting::new("limits.head_bytes", Kind::Bytes(1024, MIB), "61440", "Size of a request head: 431."),
    Setting::new("limits.head_fields", Kind::Count(8, 10_000), "128", "Header fields in a request head: 431."),
    Setting::new("limits.buffered_body", Kind::Bytes(0, 1024 * MIB), "1MiB", "Largest body held in memory for a policy that needs it whole: 413.")
        .vendor("FLEX_DOWNSTREAM_CONNECTION_BUFFER_LIMIT_BYTES"),
    Setting::new("limits.request_body", Kind::Or("none", &Kind::Bytes(0, u64::MAX)), "none", "Largest request body at all, streamed or not: 413."),
    Setting::new("limits.connections", Kind::Count(1, 10_000_000), "65536", "Client connections at a time, over all listeners; more are turned away at once: with 503 and `retry-after` where the port is plain text."),
    Setting::new("limits.requests", Kind::Count(1, 10_000_000), "65536", "Requests under way in each worker; more are answered 503 with `retry-after` at once."),
    Setting::new("limits.tls_handshakes", Kind::Count(1, 1_000_000), "1024", "TLS handshakes with clients under way in each worker, from the complete ClientHello on; one more takes the place of the oldest."),
    Setting::new("limits.cache_bytes", Kind::Bytes(MIB, 1 << 40), "256MiB", "Memory for cached responses, over all HTTP Caching policies of the replica; beyond it the oldest go first."),
    Setting::new("headers.rewrite_host", Kind::Bool, "true", "Send an upstream its own host name as `Host`; otherwise the client's.")
        .vendor("FLEX_REWRITE_HOST_HEADER"),
    Setting::new("headers.remove_server", Kind::Bool, "false", "Leave `server` out of responses.")
        .vendor("FLEX_REMOVE_SERVER_HEADER"),
    Setting::new("headers.server", Kind::Token, "portcullis", "The `server` of every response to a request."),
    Setting::new("headers.forward_client_cert_details", Kind::Choice(CERT_DETAILS), "SANITIZE", "What happens to `x-forwarded-client-cert`. `SANITIZE`: it is removed. For a client that proved a certificate in the TLS handshake, `FORWARD_ONLY` passes on what it sent, `APPEND_FORWARD` appends its identity to that, `SANITIZE_SET` sets its identity; from others these three remove it. `ALWAYS_FORWARD_ONLY` passes on whatever was sent.")
        .vendor("FLEX_FORWARD_CLIENT_CERT_DETAILS"),
    Setting::new("headers.envoy", Kind::Bool, "false", "Let `x-envoy-*` fields of heads (not of trailers, nor of interim responses) pass in both directions and add `x-envoy-expected-rq-timeout-ms`, `x-envoy-original-path`, `x-envoy-upstream-service-time` and `x-envoy-overloaded`; otherwise such fields are removed.")
        .vendor("FLEX_ENVOY_HEADERS_ENABLED"),
    Setting::new("paths.merge_slashes", Kind::Bool, "true", "Treat `//` in a path as `/`, for matching and forwarding."),
    Setting::new("paths.base_path_canonicalizer", Kind::Bool, "false", "Serve `/api` as `/api/` where the base path is `/api/`; otherwise 404.")
        .vendor("FLEX_BASE_PATH_CANONICALIZER_ENABLED"),
    Setting::new("trusted_proxies", Kind::Networks, "", "Networks whose `x-forwarded-for` is believed; hops outside are cut off. Empty: the field is kept as it came."),
    Setting::new("proxy_protocol.trusted_sources", Kind::Networks, "", "Networks from which connections with a PROXY header are accepted where `spec.proxyProtocol` requires it; others are closed at once. Empty: any."),
    Setting::new("dns.refresh", Kind::Clamped(5 * SECOND, 60 * SECOND), "5s", "How often upstream names are resolved again.")
        .vendor("FLEX_DNS_REFRESH_RATE"),
    Setting::new("dns.hosts", Kind::Hosts, "", "Addresses for host names, asked before DNS; several for one name are joined by a blank."),
    Setting::new("log.level", Kind::Choice(LEVELS), "info", "Lowest level written. A `Configuration` resource ranks above it, and the admin port changes it at run time."),
    Setting::new("log.format", Kind::Choice(&["text", "json"]), "text", "Form of the lines on standard output."),
    Setting::new("log.buffer", Kind::Bytes(64 * 1024, 1024 * MIB), "8MiB", "Memory for lines that an output has not taken yet, for each output. Beyond it lines are dropped and counted."),
    Setting::new("access_log", Kind::Bool, "false", "Write one line for each request, besides what Message Logging writes. These lines have the level `info`: where the level is `warn` or above there are none."),
    Setting::new("dynamic_port.enabled", Kind::Bool, "false", "Replace one instance port, `dynamic_port.value`, by the port that the platform names.")
        .vendor("FLEX_DYNAMIC_PORT_ENABLE"),
    Setting::new("dynamic_port.variable", Kind::Or("", &Kind::Name), "", "Environment variable that holds the platform's port, such as `PORT`; needed when enabled.")
        .vendor("FLEX_DYNAMIC_PORT_ENVAR"),
    Setting::new("dynamic_port.value", Kind::Count(1, 65_535), "8081", "The port to replace.")
        .vendor("FLEX_DYNAMIC_PORT_VALUE"),
];

/// The vendor's variables that have no meaning here yet, with what to know about each. They are
/// accepted with a warning (decision 19).
pub const NOT_SUPPORTED_YET: &[(&str, &str)] = &[
    ("FLEX_CONFIG", "registration belongs to Connected Mode and is not needed here"),
    ("FLEX_HEADER_RAW_VALUE_ENABLE", "it belongs to external authorization"),
    (
        "FLEX_FLUENTBIT_OUTPUT_STORAGE_TOTAL_LIMIT_SIZE",
        "log outputs are buffered in memory; see `log.buffer`",
    ),
    ("FLEX_DATASOURCE_CONTROL_NODE_ENABLED", "it belongs to Connected Mode"),
    ("FLEX_METRIC_ADDR", "metrics are served at `admin.address`, path /metrics"),
];
