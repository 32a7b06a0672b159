//! What a scrape shows, read by a parser that shares nothing with the writer.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{cells::current_worker, *};
use crate::base::ResourceName;

type Labels = BTreeMap<String, String>;

/// A page after a strict reading of text exposition 0.0.4.
#[derive(Debug, Default)]
struct Page {
    types: BTreeMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Page {
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line must end with a line feed");
        let mut page = Self::default();
        let mut helped = HashSet::new();
        let mut current = String::new();
        let mut seen = HashSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("HELP has a text");
                assert!(helped.insert(name.to_owned()), "second HELP for {name}");
                assert!(!help.is_empty());
                current = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("TYPE has a kind");
                assert_eq!(name, current, "TYPE follows its HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
                assert!(
                    page.types.insert(name.to_owned(), kind.to_owned()).is_none(),
                    "second TYPE for {name}"
                );
            } else {
                let (name, labels, value) = sample(line);
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let histogram = page.types.get(&current).is_some_and(|kind| kind == "histogram");
                let family = if histogram { base.expect("a histogram's sample has a suffix") } else { &name };
                assert_eq!(family, current, "samples stand under their family");
                assert!(seen.insert((name.clone(), labels.clone())), "twice: {line}");
                page.samples.push((name, labels, value));
            }
        }
        page.check_names();
        page.check_histograms();
        page
    }

    fn check_names(&self) {
        for (name, kind) in &self.types {
            assert!(name.starts_with("portcullis_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            assert!(
                !["_ms", "_us", "_millis", "_kb"].iter().any(|unit| name.contains(unit)),
                "base units: {name}"
            );
        }
    }

    fn check_histograms(&self) {
        for name in self.types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let mut groups: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            for (_, labels, value) in self.samples.iter().filter(|(n, ..)| *n == format!("{name}_bucket")) {
                let mut labels = labels.clone();
                let bound = labels.remove("le").expect("a bucket has a bound");
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a number") };
                groups.entry(labels).or_default().push((bound, *value));
            }
            for (labels, buckets) in groups {
                assert!(
                    buckets.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1),
                    "cumulative: {name}"
                );
                let (bound, last) = buckets[buckets.len() - 1];
                assert!(bound.is_infinite());
                let count =
                    self.samples.iter().find(|(n, l, _)| *n == format!("{name}_count") && *l == labels);
                assert_eq!(count.map(|(.., value)| *value), Some(last), "{name}");
            }
        }
    }

    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.samples.iter().find(|(n, l, _)| n == name && *l == wanted).map(|(.., value)| *value)
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect("label=\"");
            assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().expect("a closing quote") {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().expect("an escape").1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("unknown escape {c} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "label twice: {line}");
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("}");
    }
    let value = rest.strip_prefix(' ').expect("one blank before the value");
    assert!(!value.contains(' '), "no timestamps: {line}");
    (name.to_owned(), labels, value.parse().expect("a number"))
}

fn record(method: Method, status: u16, micros: u64) -> RequestRecord {
    let elapsed = Duration::from_micros(micros);
    RequestRecord { method, status, elapsed, request_bytes: 10, response_bytes: 100 }
}

const ORDERS: [(&str, &str); 2] = [("namespace", "default"), ("api", "orders")];

#[test]
fn requests_are_counted_by_api_method_and_class_with_bytes_and_latency() {
    let registry = Registry::new(2);
    let api = registry.api(&ResourceName::new("default", "orders"));
    for (status, micros) in [(200, 900), (204, 1_000), (404, 1_001), (503, 61_000_000), (0, 5)] {
        api.started();
        api.finished(&record(Method::Get, status, micros));
    }
    api.started();
    api.started();
    api.finished(&record(Method::from(&b"PROPFIND"[..]), 200, 100));
    let page = Page::parse(&registry.render());
    let requests = |method, status| {
        let labels = [ORDERS[0], ORDERS[1], ("method", method), ("status", status)];
        page.get("portcullis_api_requests_total", &labels)
    };
    assert_eq!(requests("GET", "2xx"), Some(2.0));
    assert_eq!(requests("GET", "4xx"), Some(1.0));
    assert_eq!(requests("GET", "5xx"), Some(1.0));
    assert_eq!(requests("GET", "none"), Some(1.0));
    assert_eq!(requests("other", "2xx"), Some(1.0));
    assert_eq!(page.get("portcullis_api_active_requests", &ORDERS), Some(1.0));
    assert_eq!(page.get("portcullis_api_request_bytes_total", &ORDERS), Some(60.0));
    assert_eq!(page.get("portcullis_api_response_bytes_total", &ORDERS), Some(600.0));
    let bucket =
        |le| page.get("portcullis_api_request_duration_seconds_bucket", &[ORDERS[0], ORDERS[1], ("le", le)]);
    assert_eq!(bucket("0.001"), Some(4.0), "a bound belongs to its bucket");
    assert_eq!(bucket("0.0025"), Some(5.0));
    assert_eq!(bucket("60"), Some(5.0));
    assert_eq!(bucket("+Inf"), Some(6.0));
    let sum = page.get("portcullis_api_request_duration_seconds_sum", &ORDERS).expect("a sum");
    assert!((sum - 61.003_006).abs() < 1e-9, "{sum}");
}

#[test]
fn workers_write_their_own_slots_and_other_threads_share_one_without_losing_counts() {
    let registry = Arc::new(Registry::new(2));
    let api = registry.api(&ResourceName::new("default", "orders"));
    let threads: Vec<_> = (0..4)
        .map(|index| {
            let api = api.clone();
            thread::spawn(move || {
                // Two workers, two strangers.
                if index < 2 {
                    enter_worker(index);
                    assert_eq!(current_worker(), Some(index));
                } else {
                    assert_eq!(current_worker(), None);
                }
                for _ in 0..50_000 {
                    api.started();
                    api.finished(&record(Method::Get, 200, 10));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(api.total(), 200_000);
    assert_eq!(api.active(), 0);
}

#[test]
fn a_gauge_may_go_down_on_another_thread_than_it_went_up_on() {
    let registry = Registry::new(2);
    let upstream = registry.upstream(&ResourceName::new("default", "billing"));
    let other = upstream.clone();
    upstream.idle_added();
    upstream.idle_added();
    thread::spawn(move || {
        enter_worker(1);
        other.idle_removed();
    })
    .join()
    .expect("no panic");
    assert_eq!(upstream.idle(), 1);
}

#[test]
fn upstreams_show_pool_state_failures_and_latency() {
    let registry = Registry::new(1);
    let upstream = registry.upstream(&ResourceName::new("shop", "billing"));
    upstream.connect_attempt();
    upstream.connect_failed(ConnectFailure::Refused);
    upstream.connect_attempt();
    upstream.opened();
    upstream.opened();
    upstream.idle_added();
    upstream.pending_added();
    upstream.request();
    upstream.reused();
    upstream.retry();
    upstream.timeout();
    upstream.overflow();
    upstream.responded(Duration::from_millis(7));
    let page = Page::parse(&registry.render());
    let labels = [("namespace", "shop"), ("upstream", "billing")];
    for (name, value) in [
        ("portcullis_upstream_requests_total", 1.0),
        ("portcullis_upstream_connect_attempts_total", 2.0),
        ("portcullis_upstream_reused_total", 1.0),
        ("portcullis_upstream_retries_total", 1.0),
        ("portcullis_upstream_timeouts_total", 1.0),
        ("portcullis_upstream_overflows_total", 1.0),
        ("portcullis_upstream_idle_connections", 1.0),
        ("portcullis_upstream_active_connections", 1.0),
        ("portcullis_upstream_pending_requests", 1.0),
        ("portcullis_upstream_response_seconds_sum", 0.007),
    ] {
        assert_eq!(page.get(name, &labels), Some(value), "{name}");
    }
    let failures = |reason| {
        page.get("portcullis_upstream_connect_failures_total", &[labels[0], labels[1], ("reason", reason)])
    };
    assert_eq!((failures("refused"), failures("tls")), (Some(1.0), Some(0.0)));
}

#[test]
fn policies_show_rejections_by_status_errors_and_what_they_found_stored() {
    let registry = Registry::new(1);
    let label = PolicyLabel {
        target: ResourceName::new("default", "orders"),
        binding: "limit".into(),
        policy: "rate-limiting-flex".into(),
    };
    let policy = registry.policy(&label);
    policy.rejected(429);
    policy.rejected(429);
    policy.rejected(418);
    policy.failed();
    policy.looked_up(CacheLookup::Hit);
    policy.looked_up(CacheLookup::Hit);
    policy.looked_up(CacheLookup::Stale);
    let page = Page::parse(&registry.render());
    let labels = [
        ("namespace", "default"),
        ("target", "orders"),
        ("binding", "limit"),
        ("policy", "rate-limiting-flex"),
    ];
    let rejected = |status| {
        let labels = [labels[0], labels[1], labels[2], labels[3], ("status", status)];
        page.get("portcullis_policy_rejections_total", &labels)
    };
    assert_eq!((rejected("429"), rejected("other"), rejected("401")), (Some(2.0), Some(1.0), None));
    assert_eq!(page.get("portcullis_policy_errors_total", &labels), Some(1.0));
    let found = |result| {
        let labels = [labels[0], labels[1], labels[2], labels[3], ("result", result)];
        page.get("portcullis_policy_cache_lookups_total", &labels)
    };
    assert_eq!((found("hit"), found("stale"), found("miss")), (Some(2.0), Some(1.0), None));
}

#[test]
fn the_process_shows_connections_refusals_reloads_configuration_and_resources() {
    let registry = Registry::new(1);
    let gateway = registry.gateway();
    assert!(gateway.admit(2) && gateway.admit(2) && !gateway.admit(2));
    gateway.connection_closed();
    gateway.connection_refused(ConnectionRefusal::Limit);
    gateway.request_refused("head_too_large");
    gateway.request_refused("head_too_large");
    gateway.request_refused("bad_request");
    gateway.panicked();
    let closed = gateway.tunnels.opened("WebSocket");
    let _open = gateway.tunnels.opened("chat/7");
    drop(closed);
    gateway.tunnels.moved(Tunnelled { up: 3, down: 5 });
    gateway.reloaded(2, "ffffffffffff", true);
    gateway.reloaded(3, "0123456789ab", false);
    gateway.reload_failed();
    gateway.apis(2, 3);
    gateway.looked_up(true);
    gateway.looked_up(true);
    gateway.looked_up(false);
    let page = Page::parse(&registry.render());
    for (name, value) in [
        ("portcullis_connections_total", 2.0),
        ("portcullis_connections_active", 1.0),
        ("portcullis_panics_total", 1.0),
        ("portcullis_config_generation", 3.0),
        ("portcullis_apis_configured", 3.0),
        ("portcullis_apis_served", 2.0),
    ] {
        assert_eq!(page.get(name, &[]), Some(value), "{name}");
    }
    let refused = |reason| page.get("portcullis_connections_refused_total", &[("reason", reason)]);
    assert_eq!((refused("limit"), refused("proxy_header_missing")), (Some(1.0), Some(0.0)));
    assert_eq!(page.get("portcullis_requests_refused_total", &[("reason", "head_too_large")]), Some(2.0));
    assert_eq!(page.get("portcullis_tunnels_total", &[("protocol", "websocket")]), Some(1.0));
    assert_eq!(page.get("portcullis_tunnels_total", &[("protocol", "other")]), Some(1.0));
    assert_eq!(page.get("portcullis_tunnels_active", &[]), Some(1.0));
    assert_eq!(page.get("portcullis_tunnel_bytes_total", &[("direction", "up")]), Some(3.0));
    assert_eq!(page.get("portcullis_tunnel_bytes_total", &[("direction", "down")]), Some(5.0));
    assert_eq!(page.get("portcullis_reloads_total", &[("outcome", "ok")]), Some(1.0));
    assert_eq!(page.get("portcullis_reloads_total", &[("outcome", "failed")]), Some(2.0));
    assert_eq!(page.get("portcullis_dns_lookups_total", &[("outcome", "found")]), Some(2.0));
    assert_eq!(page.get("portcullis_dns_lookups_total", &[("outcome", "failed")]), Some(1.0));
    assert_eq!(page.get("portcullis_config_info", &[("digest", "0123456789ab")]), Some(1.0));
    assert!(page.get("portcullis_process_resident_memory_bytes", &[]).is_some_and(|bytes| bytes > 1e5));
    assert!(page.get("portcullis_process_open_fds", &[]).is_some_and(|count| count >= 3.0));
    assert!(page.get("portcullis_process_cpu_seconds_total", &[]).is_some());
}

#[test]
fn label_values_are_escaped() {
    let registry = Registry::new(1);
    let strange = "a\"b\\c\nd}é";
    let _api = registry.api(&ResourceName::new("default", strange));
    let page = Page::parse(&registry.render());
    let labels = [("namespace", "default"), ("api", strange)];
    assert_eq!(page.get("portcullis_api_active_requests", &labels), Some(0.0));
}

#[test]
fn a_label_keeps_its_counts_while_held_and_disappears_when_nobody_holds_it() {
    let registry = Registry::new(1);
    let name = ResourceName::new("default", "orders");
    let api = registry.api(&name);
    api.started();
    let again = registry.api(&name);
    drop(api);
    assert_eq!(again.active(), 1, "a snapshot that still names the API goes on counting");
    assert!(registry.render().contains("orders"));
    drop(again);
    assert!(!registry.render().contains("orders"));
    assert_eq!(registry.api(&name).active(), 0);
}

#[test]
fn labels_beyond_the_limit_share_one() {
    let registry = Registry::with_series_max(1, 2);
    let apis: Vec<_> =
        (0..5).map(|n| registry.api(&ResourceName::new("default", format!("api-{n}")))).collect();
    apis.iter().for_each(|api| api.started());
    let page = Page::parse(&registry.render());
    let overflow = [("namespace", "overflow"), ("api", "overflow")];
    assert_eq!(page.get("portcullis_api_active_requests", &overflow), Some(3.0));
    let count = page.samples.iter().filter(|(name, ..)| name == "portcullis_api_active_requests").count();
    assert_eq!(count, 3);
    drop(apis);
    let _fits_again = registry.api(&ResourceName::new("default", "late"));
    assert!(registry.render().contains("late"));
}

#[test]
fn more_reasons_than_there_is_room_for_are_counted_as_other() {
    let registry = Registry::new(1);
    for n in 0..40 {
        registry.gateway().request_refused(Box::leak(format!("reason_{n}").into_boxed_str()));
    }
    let page = Page::parse(&registry.render());
    assert_eq!(page.get("portcullis_requests_refused_total", &[("reason", "reason_31")]), Some(1.0));
    assert_eq!(page.get("portcullis_requests_refused_total", &[("reason", "other")]), Some(8.0));
}

#[test]
fn other_parts_of_the_gateway_add_their_families() {
    let registry = Registry::new(1);
    registry.add_collector(|page| {
        page.family("portcullis_extra_bytes", Kind::Gauge, "With a \\ and\na line.");
        page.sample("", &[], 7);
    });
    assert_eq!(Page::parse(&registry.render()).get("portcullis_extra_bytes", &[]), Some(7.0));
}
